//! What an app keeps data in: from its needs, and from what the manifest names beside them.

use std::collections::BTreeMap;

use super::lowering::{Lowering, resource_key, unknown};
use crate::diagnostics::rules;
use crate::manifest::PartConfig;
use crate::names::ResourceKey;
use crate::requirements::{Requirements, ResourceRequirement};

/// What kind of thing a part is; also the name of its section in `infrastructure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartGroup {
    /// `infrastructure.database`.
    Database,
    /// `infrastructure.cache`.
    Cache,
    /// `infrastructure.storage`.
    Storage,
}

/// One thing that holds data, and what asks for it.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Its key in the stack.
    pub key: ResourceKey,
    /// What kind of thing it is.
    pub group: PartGroup,
    /// The provider's engine.
    pub engine: &'static str,
    /// What the app declares, if it is that.
    pub requirement: Option<&'a ResourceRequirement>,
    /// What the manifest says about it.
    pub config: Option<&'a PartConfig>,
}

/// How a provider meets a declared resource.
#[derive(Debug, Clone, Copy)]
pub struct PartRule {
    /// The resource, by the catalogue's name.
    pub resource: &'static str,
    /// What kind of thing it is.
    pub group: PartGroup,
    /// The provider's engines that are this; the first is the default.
    pub engines: &'static [&'static str],
}

/// What a provider offers to keep data in.
#[derive(Debug, Clone, Copy)]
pub struct PartRules<'a> {
    /// The provider, for people: `AWS`.
    pub cloud: &'a str,
    /// Its word for machines of one's own: `ec2`.
    pub compute: &'a str,
    /// How it meets resources.
    pub rules: &'static [PartRule],
    /// What `type` may say in the manifest, by engine.
    pub words: &'a BTreeMap<String, Vec<String>>,
}

impl PartGroup {
    fn section(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cache => "cache",
            Self::Storage => "storage",
        }
    }

    /// Where the manifest speaks of it, as a JSON pointer.
    #[must_use]
    pub fn pointer(self) -> &'static str {
        match self {
            Self::Database => "/infrastructure/database",
            Self::Cache => "/infrastructure/cache",
            Self::Storage => "/infrastructure/storage",
        }
    }

    /// The key of one that only the manifest names.
    fn own_key(self) -> ResourceKey {
        resource_key(match self {
            Self::Database => "database/main",
            Self::Cache => "cache/main",
            Self::Storage => "store/main",
        })
    }
}

/// The name of a part, for people and for names of objects: the last segment of its key.
#[must_use]
pub fn part_name(key: &ResourceKey) -> &str {
    key.as_str().rsplit('/').next().unwrap_or_else(|| key.as_str())
}

/// All parts that are to be made. Each section of the manifest belongs to the first need of
/// its kind; a section that nothing needs is made too. What the provider does not offer is
/// said, with ways out.
pub fn parts<'a>(
    lowering: &mut Lowering<'a>,
    requirements: &'a Requirements,
    offered: PartRules<'_>,
) -> Vec<Part<'a>> {
    let infrastructure = &lowering.options().infrastructure;
    let mut sections: BTreeMap<PartGroup, &PartConfig> = BTreeMap::new();
    sections.extend(infrastructure.database.as_ref().map(|config| (PartGroup::Database, config)));
    sections.extend(infrastructure.cache.as_ref().map(|config| (PartGroup::Cache, config)));
    sections.extend(infrastructure.storage.as_ref().map(|config| (PartGroup::Storage, config)));
    let mut parts = Vec::new();
    for requirement in &requirements.resources {
        if lowering.pointed_elsewhere(requirement) {
            continue;
        }
        let Some(key) = requirement.key() else {
            let message = format!("`{}` cannot be part of a key", requirement.name);
            lowering.say_of(
                &requirement.name,
                rules::RESOURCE_UNUSABLE.diagnostic(message).help("rename the dependency"),
            );
            continue;
        };
        let Some(rule) = offered.rules.iter().find(|rule| rule.resource == requirement.resource) else {
            lowering.not_made(requirement, offered.cloud, offered.compute);
            continue;
        };
        let config = sections.remove(&rule.group);
        let engine = match config {
            None => rule.engines.first().copied(),
            Some(config) => engine(lowering, offered, rule.group, config).and_then(|engine| {
                if rule.engines.contains(&engine) {
                    return Some(engine);
                }
                let message = format!(
                    "`{}` is asked for, but `{}` is {}",
                    config.kind, requirement.name, rule.resource
                );
                let diagnostic = rules::PART_TYPE.diagnostic(message);
                let fitting = rule.engines.iter().filter_map(|engine| offered.words.get(*engine)?.first());
                let fitting = fitting.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
                let pointer = format!("{}/type", rule.group.pointer());
                lowering.say_at(&pointer, diagnostic.help(format!("ask for {fitting}")));
                None
            }),
        };
        if let Some(engine) = engine {
            parts.push(Part { key, group: rule.group, engine, requirement: Some(requirement), config });
        }
    }
    for (group, config) in sections {
        if let Some(engine) = engine(lowering, offered, group, config) {
            parts.push(Part { key: group.own_key(), group, engine, requirement: None, config: Some(config) });
        }
    }
    parts
}

/// The engine that a section's `type` means; `None` after saying that it means nothing.
fn engine(
    lowering: &mut Lowering<'_>,
    offered: PartRules<'_>,
    group: PartGroup,
    config: &PartConfig,
) -> Option<&'static str> {
    let engines = || offered.rules.iter().filter(|rule| rule.group == group).flat_map(|rule| rule.engines);
    let words = |engine: &str| offered.words.get(engine).into_iter().flatten();
    let found = engines().find(|engine| words(engine).any(|word| word.eq_ignore_ascii_case(&config.kind)));
    if found.is_none() {
        let known = engines().flat_map(|engine| words(engine)).map(String::as_str);
        let what = format!("{} of {}", group.section(), offered.cloud);
        let diagnostic = unknown(rules::PART_TYPE, &what, &config.kind, known);
        lowering.say_at(&format!("{}/type", group.pointer()), diagnostic);
    }
    found.copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::StackId;
    use crate::provider::LowerOptions;

    const RULES: &[PartRule] = &[
        PartRule { resource: "postgres", group: PartGroup::Database, engines: &["pg"] },
        PartRule { resource: "mysql", group: PartGroup::Database, engines: &["mysql"] },
        PartRule { resource: "redis", group: PartGroup::Cache, engines: &["valkey"] },
    ];

    fn found(resources: serde_json::Value, infrastructure: serde_json::Value) -> (Vec<String>, Vec<String>) {
        let stack: StackId =
            serde_json::from_value(serde_json::json!({ "app": "a", "environment": "b" })).unwrap();
        let requirements: Requirements = serde_json::from_value(serde_json::json!({
            "app": "a", "services": {}, "resources": resources, "dropped": [], "data_volume": false
        }))
        .unwrap();
        let options = LowerOptions {
            infrastructure: serde_json::from_value(infrastructure).unwrap(),
            ..LowerOptions::default()
        };
        let words = BTreeMap::from([
            ("pg".to_owned(), vec!["managed-postgres".to_owned()]),
            ("mysql".to_owned(), vec!["managed-mysql".to_owned()]),
            ("valkey".to_owned(), vec!["managed-redis".to_owned()]),
        ]);
        let mut lowering = Lowering::new(&stack, &options);
        let offered = PartRules { cloud: "here", compute: "box", rules: RULES, words: &words };
        let parts = parts(&mut lowering, &requirements, offered);
        let keys = parts.iter().map(|part| format!("{} {}", part.key, part.engine)).collect();
        let said = lowering.finish().diagnostics.iter().map(ToString::to_string).collect();
        (keys, said)
    }

    fn postgres() -> serde_json::Value {
        serde_json::json!([{ "name": "postgres", "resource": "postgres", "primitive": "database", "env": {} }])
    }

    #[test]
    fn a_section_belongs_to_the_first_need_or_stands_by_itself() {
        let infrastructure = serde_json::json!({
            "database": { "type": "managed-postgres" }, "cache": { "type": "Managed-Redis" }
        });
        let (keys, said) = found(postgres(), infrastructure);
        assert_eq!(keys, ["database/postgres pg", "cache/main valkey"]);
        assert!(said.is_empty(), "{said:?}");
    }

    #[test]
    fn what_contradicts_or_is_unknown_is_refused() {
        let (keys, said) = found(postgres(), serde_json::json!({ "database": { "type": "managed-mysql" } }));
        assert!(keys.is_empty());
        assert!(said[0].starts_with("VD0767") && said[0].contains("managed-mysql"), "{said:?}");
        let (keys, said) =
            found(postgres(), serde_json::json!({ "database": { "type": "managed-postgre" } }));
        assert!(keys.is_empty() && said[0].starts_with("VD0767"), "{said:?}");
    }
}
