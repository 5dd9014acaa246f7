//! The servers of a stack with all that is done on each, or why it cannot be written down.

use std::collections::BTreeMap;

use vrooli_deploy_core::diagnostics::{Checked, Diagnostic, rules};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::ResourceKindDef as _;
use vrooli_deploy_core::render::FilePath;
use vrooli_deploy_core::stack::Stack;

use super::AnyRendered;
use crate::ground::Place;
use crate::host::HostName;
use crate::kinds::server::{Server, ServerSpec};

/// What is done on one server.
pub(super) struct RenderedServer {
    /// How it is reached.
    pub(super) host: HostName,
    /// Its name in files and inventories: that of its keys.
    pub(super) name: String,
    /// `app`, `database` or `cache`; nothing where the stack does not say.
    pub(super) role: String,
    /// The items of each kind, in the order of their work.
    pub(super) parts: Vec<(&'static dyn AnyRendered, Vec<Vec<String>>)>,
}

/// The servers of a stack, and where the stack lives there.
pub(super) struct RenderedServers {
    pub(super) place: Place,
    pub(super) servers: Vec<RenderedServer>,
    /// Resources that this format does not know, `key (kind)`.
    pub(super) left_out: Vec<String>,
}

impl RenderedServers {
    pub(super) fn of(stack: &Stack, format: &str) -> Checked<Self> {
        let place = Place::of(&stack.id);
        let mut diagnostics: Vec<Diagnostic> = Vec::new();
        let mut left_out = Vec::new();
        // By the name that users give, so that the order does not hang on that of keys.
        let mut servers: BTreeMap<String, RenderedServer> = BTreeMap::new();
        let refuse = |key: &ResourceKey, why: String| {
            rules::CANNOT_RENDER
                .diagnostic(format!("`{key}`: {why}"))
                .help("give the value in the manifest another form")
        };
        let kinds = super::kinds();
        for (key, resource) in &stack.resources {
            let server_kind = Server.kind() == resource.kind;
            let read = if server_kind {
                let read = serde_json::from_value::<ServerSpec>(resource.spec.clone());
                read.map(|spec| (spec.host, spec.role, None)).map_err(|error| error.to_string())
            } else if let Some(kind) = kinds.iter().find(|kind| kind.kind() == resource.kind) {
                let items = kind.items(&resource.spec, &place);
                items.map(|(host, items)| (host, String::new(), Some((*kind, items))))
            } else {
                let what = format!("`{key}` ({})", resource.kind);
                diagnostics.push(
                    rules::NOT_RENDERED
                        .diagnostic(format!("{what} is not written as {format}"))
                        .help("make it by hand, or let `vrooli-deploy deploy` make the whole stack"),
                );
                left_out.push(what);
                continue;
            };
            let host = read.and_then(|(host, role, part)| {
                Ok((HostName::new(host).map_err(|error| error.to_string())?, role, part))
            });
            let (host, role, part) = match host {
                Ok(read) => read,
                Err(why) => {
                    diagnostics.push(refuse(key, why));
                    continue;
                }
            };
            let name = host.as_str().to_ascii_lowercase().replace(':', "-");
            let name = if FilePath::new(name.as_str()).is_ok() { name } else { format!("host{name}") };
            let server = servers.entry(name.clone()).or_insert_with(|| RenderedServer {
                host,
                name,
                role: String::new(),
                parts: Vec::new(),
            });
            if server_kind {
                server.role = role;
            }
            if let Some((kind, items)) = part {
                match server.parts.iter_mut().find(|(other, _)| other.kind() == kind.kind()) {
                    Some((_, all)) => all.extend(items),
                    None => server.parts.push((kind, items)),
                }
            }
        }
        for server in servers.values_mut() {
            server.parts.sort_by_key(|(kind, _)| kind.rank());
            for (_, items) in &mut server.parts {
                // What two resources ask for is asked for once; parents come before what is in them.
                let mut seen = std::collections::BTreeSet::new();
                items.retain(|item| seen.insert(item.clone()));
            }
        }
        let servers = servers.into_values().collect();
        Checked { value: Some(Self { place, servers, left_out }), diagnostics }
    }

    /// The kinds that any server has, in the order of their work.
    pub(super) fn kinds(&self) -> Vec<&'static dyn AnyRendered> {
        let used = |kind: &&'static dyn AnyRendered| {
            self.servers
                .iter()
                .any(|server| server.parts.iter().any(|(other, _)| other.kind() == kind.kind()))
        };
        let mut kinds: Vec<_> = super::kinds().into_iter().filter(used).collect();
        kinds.sort_by_key(|kind| kind.rank());
        kinds
    }
}

/// Says in a README what is not in the files.
pub(super) fn left_out(text: &mut String, left_out: &[String]) {
    if left_out.is_empty() {
        return;
    }
    text.push_str("\n## Left out\n\nThe stack has these, too, which this format does not know:\n\n");
    for what in left_out {
        text.push_str("- ");
        text.push_str(what);
        text.push('\n');
    }
}
