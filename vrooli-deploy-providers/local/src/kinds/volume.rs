//! `local.volume`: the app's own folder for data (`../data` of a scenario), kept over releases.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{Change, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef};

/// The kind `local.volume`.
#[derive(Debug, Clone, Copy)]
pub struct Volume;

/// What is wanted of a volume: that it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {}

/// What is seen of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeObserved {
    /// The folder.
    pub path: PathBuf,
}

impl ResourceKindDef for Volume {
    type Spec<F: Form> = VolumeSpec;
    type Observed = VolumeObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("local.volume")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["path"]
    }
    fn takes_up_data(&self) -> bool {
        true
    }
    fn diff(&self, _: &VolumeSpec, _: &VolumeObserved) -> Change {
        Change::None
    }
    fn bill(&self, _: &VolumeSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, _: Op, _: &VolumeSpec) -> Vec<Permission> {
        Vec::new()
    }
    fn ownership(&self, key: &ResourceKey, _: &VolumeSpec) -> Ownership {
        Ownership::DerivedName(key.to_string())
    }
    fn outputs(&self, _: &PhysicalId, have: &VolumeObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("path", have.path.to_string_lossy().into_owned().into())])
    }
}

#[cfg(feature = "native")]
mod native {
    use std::time::Duration;

    use vrooli_deploy_core::names::StackId;
    use vrooli_deploy_core::provider::{
        CreateToken, Created, ErrorKind, Found, OpCtx, Page, ProviderError, ResourceHandler, Result, Scope,
    };

    use super::{BTreeMap, PhysicalId, ResourceKey, Volume, VolumeObserved, VolumeSpec};
    use crate::kinds::{Machine, physical_id};
    use crate::{failure, files};

    const KEY: &str = "volume/data";

    fn found(machine: &Machine, stack: &StackId, key: &ResourceKey) -> Option<Found<VolumeObserved>> {
        let path = machine.layout.data(stack);
        (key.as_str() == KEY && path.is_dir()).then(|| Found {
            key: key.clone(),
            id: physical_id(stack, key),
            observed: VolumeObserved { path },
            token: None,
        })
    }

    impl ResourceHandler for Volume {
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
        ) -> Result<Vec<Found<VolumeObserved>>> {
            Ok(found(machine, &cx.stack, key).into_iter().collect())
        }
        async fn list(&self, machine: &Machine, _: &OpCtx, scope: &Scope) -> Result<Page<VolumeObserved>> {
            let key = ResourceKey::new(KEY).map_err(|error| failure::name(&error))?;
            Ok(Page { items: found(machine, &scope.stack, &key).into_iter().collect(), next: None })
        }
        async fn create(
            &self,
            machine: &Machine,
            cx: &OpCtx,
            key: &ResourceKey,
            _: &VolumeSpec,
        ) -> Result<Created<VolumeObserved>> {
            if key.as_str() != KEY {
                return Err(ProviderError::new(
                    ErrorKind::Unsupported,
                    format!("an app has one volume on this machine, `{KEY}`, not `{key}`"),
                ));
            }
            failure::may_begin(cx, "making the volume")?;
            let path = machine.layout.data(&cx.stack);
            files::make_private(&path).map_err(failure::at("make", &path))?;
            match found(machine, &cx.stack, key) {
                Some(Found { id, observed, .. }) => {
                    Ok(Created::Read { id, observed, secrets: BTreeMap::new() })
                }
                None => Err(ProviderError::new(
                    ErrorKind::Unexpected,
                    format!("`{}` is no folder", path.display()),
                )),
            }
        }
        async fn update(
            &self,
            machine: &Machine,
            cx: &OpCtx,
            key: &ResourceKey,
            _: &PhysicalId,
            _: &VolumeObserved,
            want: &VolumeSpec,
        ) -> Result<Created<VolumeObserved>> {
            self.create(machine, cx, key, want).await
        }
        async fn delete(
            &self,
            machine: &Machine,
            cx: &OpCtx,
            key: &ResourceKey,
            _: &PhysicalId,
        ) -> Result<()> {
            if key.as_str() != KEY {
                return Ok(());
            }
            failure::may_begin(cx, "removing the volume")?;
            let path = machine.layout.data(&cx.stack);
            files::remove_tree(&path).map_err(failure::at("remove", &path))
        }
    }
}
