//! `local.port`: the port under which an app is reached, chosen once and kept.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

/// The kind `local.port`.
#[derive(Debug, Clone, Copy)]
pub struct Port;

/// What is wanted of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// A number that somebody asked for; without one it is chosen, and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The address to listen on.
    pub listen: IpAddr,
}

/// What is seen of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortObserved {
    /// The number.
    pub port: u16,
    /// The address it is listened on.
    pub listen: IpAddr,
}

/// The URL under which this machine reaches what listens there.
#[must_use]
pub fn url(have: &PortObserved) -> String {
    let address = match have.listen {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    format!("http://{}/", SocketAddr::new(address, have.port))
}

impl ResourceKindDef for Port {
    type Spec<F: Form> = PortSpec;
    type Observed = PortObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("local.port")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["port", "url"]
    }
    fn diff(&self, want: &PortSpec, have: &PortObserved) -> Change {
        let PortSpec { port, listen } = want;
        Diff::new()
            .update("port", port.is_some_and(|port| port != have.port))
            .update("listen", *listen != have.listen)
            .done()
    }
    fn bill(&self, _: &PortSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &PortSpec) -> Vec<Permission> {
        match (op, want.port) {
            (Op::Create | Op::Update, Some(port)) if port < 1024 => vec![Permission {
                action: "CAP_NET_BIND_SERVICE".to_owned(),
                resource: SocketAddr::new(want.listen, port).to_string(),
            }],
            _ => Vec::new(),
        }
    }
    fn ownership(&self, _: &ResourceKey, _: &PortSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &PortObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("port", have.port.into()), ("url", url(have).into())])
    }
}

/// What the public port's record says, for whoever listens on it.
#[cfg(feature = "native")]
pub use native::read;

#[cfg(feature = "native")]
mod native {
    use std::fs;
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    use uuid::Uuid;
    use vrooli_deploy_core::names::StackId;
    use vrooli_deploy_core::provider::{
        CreateToken, Created, ErrorKind, Found, OpCtx, OpToken, Page, ProviderError, ResourceHandler, Result,
        Scope,
    };

    use super::{BTreeMap, Deserialize, PhysicalId, Port, PortObserved, PortSpec, ResourceKey, Serialize};
    use crate::claims::Claims;
    use crate::kinds::numbers::Chosen;
    use crate::kinds::{Machine, anothers, is_owned, numbers, physical_id};
    use crate::layout::Layout;
    use crate::{failure, files};

    /// `port.json`.
    #[derive(Debug, Serialize, Deserialize)]
    struct Record {
        key: ResourceKey,
        owner: Uuid,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<OpToken>,
        port: u16,
        listen: std::net::IpAddr,
    }

    fn record(path: &Path) -> Result<Option<Record>> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                ProviderError::new(
                    ErrorKind::Conflict,
                    format!("the record `{}` is damaged: {error}", path.display()),
                )
                .with_help("remove that file; the app then gets a new port unless `--port` says which")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure::io("read", path, &error)),
        }
    }

    fn write(path: &Path, record: &Record) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(record)
            .map_err(|error| ProviderError::new(ErrorKind::Unexpected, error.to_string()))?;
        text.push(b'\n');
        if let Some(folder) = path.parent() {
            files::make_private(folder).map_err(failure::at("make", folder))?;
            // What a killed write left.
            files::remove_temporary(folder).map_err(failure::at("clean", folder))?;
        }
        files::write_atomic(path, &text).map_err(failure::at("write", path))
    }

    /// The public port of a stack, if it has one yet.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn read(layout: &Layout, stack: &StackId) -> Result<Option<PortObserved>> {
        Ok(record(&layout.port_file(stack))?.map(|r| PortObserved { port: r.port, listen: r.listen }))
    }

    fn found(stack: &StackId, record: Record) -> Found<PortObserved> {
        Found {
            id: physical_id(stack, &record.key),
            observed: PortObserved { port: record.port, listen: record.listen },
            token: record.token,
            key: record.key,
        }
    }

    /// One record a stack, whatever the key: a second public port is refused, and so is one
    /// of another state.
    fn own(
        machine: &Machine,
        cx: &OpCtx,
        record: Option<Record>,
        key: &ResourceKey,
    ) -> Result<Option<Record>> {
        match record {
            Some(record) if !is_owned(&machine.layout, cx.owner, record.owner) => {
                Err(anothers(&cx.stack, &record.key, record.owner))
            }
            Some(record) if record.key != *key => Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!("an app has one public port on this machine, and `{}` is it", record.key),
            )),
            other => Ok(other),
        }
    }

    async fn settle(
        machine: &Machine,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &PortSpec,
    ) -> Result<Created<PortObserved>> {
        failure::may_begin(cx, "keeping a port")?;
        let path = machine.layout.port_file(&cx.stack);
        files::make_private(machine.layout.root()).map_err(failure::at("make", machine.layout.root()))?;
        let _lock = numbers::lock(cx, &machine.layout).await?;
        let before = own(machine, cx, record(&path)?, key)?;
        let kept = before.as_ref().map(|record| record.port);
        let layout = &machine.layout;
        let Chosen { port, claim: _until_written } = match (want.port, kept) {
            (Some(port), kept) => {
                Chosen { port, claim: numbers::check_fixed(layout, &path, want.listen, port, kept)? }
            }
            (None, Some(port)) => Chosen { port, claim: numbers::keep(&Claims::of_machine(), port, &path) },
            (None, None) => numbers::choose(layout, &cx.stack, key, &path, want.listen, numbers::public())?,
        };
        let record = Record {
            key: key.clone(),
            owner: cx.owner,
            token: cx.token.or(before.and_then(|record| record.token)),
            port,
            listen: want.listen,
        };
        write(&path, &record)?;
        let Found { id, observed, .. } = found(&cx.stack, record);
        Ok(Created::Read { id, observed, secrets: BTreeMap::new() })
    }

    impl ResourceHandler for Port {
        type Client = Machine;

        fn create_token(&self) -> CreateToken {
            CreateToken::Name
        }
        fn settle(&self) -> Duration {
            Duration::ZERO
        }
        async fn find(
            &self,
            machine: &Machine,
            cx: &OpCtx,
            key: &ResourceKey,
            _: Option<&PhysicalId>,
        ) -> Result<Vec<Found<PortObserved>>> {
            let record = record(&machine.layout.port_file(&cx.stack))?;
            Ok(record
                .filter(|record| record.key == *key && is_owned(&machine.layout, cx.owner, record.owner))
                .map(|record| found(&cx.stack, record))
                .into_iter()
                .collect())
        }
        async fn list(&self, machine: &Machine, cx: &OpCtx, scope: &Scope) -> Result<Page<PortObserved>> {
            let record = record(&machine.layout.port_file(&scope.stack))?;
            let ours = record.filter(|record| is_owned(&machine.layout, cx.owner, record.owner));
            Ok(Page {
                items: ours.map(|record| found(&scope.stack, record)).into_iter().collect(),
                next: None,
            })
        }
        async fn create(
            &self,
            machine: &Machine,
            cx: &OpCtx,
            key: &ResourceKey,
            want: &PortSpec,
        ) -> Result<Created<PortObserved>> {
            settle(machine, cx, key, want).await
        }
        async fn update(
            &self,
            machine: &Machine,
            cx: &OpCtx,
            key: &ResourceKey,
            _: &PhysicalId,
            _: &PortObserved,
            want: &PortSpec,
        ) -> Result<Created<PortObserved>> {
            settle(machine, cx, key, want).await
        }
        async fn delete(
            &self,
            machine: &Machine,
            cx: &OpCtx,
            key: &ResourceKey,
            _: &PhysicalId,
        ) -> Result<()> {
            failure::may_begin(cx, "giving up the port")?;
            let path = machine.layout.port_file(&cx.stack);
            let Some(record) = own(machine, cx, record(&path)?, key)? else {
                return Ok(());
            };
            files::absent_is_ok(fs::remove_file(&path)).map_err(failure::at("remove", &path))?;
            Claims::of_machine().release(record.port, &path);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_chosen_is_kept() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let have = PortObserved { port: 20001, listen: loopback };
        assert_eq!(Port.diff(&PortSpec { port: None, listen: loopback }, &have), Change::None);
        assert_eq!(
            Port.diff(&PortSpec { port: Some(80), listen: loopback }, &have),
            Change::InPlace(vec!["port".to_owned()])
        );
        assert_eq!(url(&PortObserved { port: 1, listen: "0.0.0.0".parse().unwrap() }), "http://127.0.0.1:1/");
        assert_eq!(url(&PortObserved { port: 1, listen: "::".parse().unwrap() }), "http://[::1]:1/");
    }
}
