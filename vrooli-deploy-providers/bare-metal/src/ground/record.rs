use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use vrooli_deploy_core::names::{AppName, Digest, EnvironmentName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{OpToken, PhysicalId};

/// The version of the record's form.
pub(crate) const FORMAT: u32 = 1;

/// What a host keeps of a stack: `/var/lib/vrooli-deploy/host-record/<app>.<environment>.json`, for
/// root only, written whole and to the disk. Enough to build a lost state again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostRecord {
    /// The version of this form.
    pub format: u32,
    /// The app.
    pub app: AppName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// The id of the state that made it.
    pub owner: Uuid,
    /// What the stack's tokens are minted from.
    pub incarnation: Uuid,
    /// What of the stack is on this host.
    pub resources: BTreeMap<ResourceKey, RecordedResource>,
}

/// A resource in a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedResource {
    /// Its kind.
    pub kind: ResourceKind,
    /// What we call it.
    pub id: PhysicalId,
    /// The token it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<OpToken>,
    /// How far it came.
    pub progress: Progress,
    /// The digest of its spec.
    pub digest: Digest,
    /// Its spec, references resolved. Holds no secret.
    pub spec: Value,
}

/// How far the making of a resource came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Begun; made again it is completed.
    Creating,
    /// There; a change of it was begun.
    Changing,
    /// Done.
    Ready,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl HostRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(text: &str) -> Result<Self, String> {
        let form: FormatOnly = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if form.format > FORMAT {
            return Err(format!("its format is {}, and this program knows {FORMAT}", form.format));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The first line of a record, before its resources, each of which has a line of its own: so
    /// the host can change one without knowing JSON.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only sent by the native half"))]
    pub(crate) fn head(
        app: &AppName,
        environment: &EnvironmentName,
        owner: Uuid,
        incarnation: Uuid,
    ) -> String {
        format!(
            r#"{{"format":{FORMAT},"app":"{app}","environment":"{environment}","owner":"{owner}","incarnation":"{incarnation}","resources":{{"#
        )
    }
}

impl RecordedResource {
    /// Its line in a record.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only sent by the native half"))]
    pub(crate) fn line(&self, key: &ResourceKey) -> Result<String, serde_json::Error> {
        Ok(format!("\"{key}\":{}", serde_json::to_string(self)?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_read_as_it_is_written_line_by_line() {
        let (app, environment) = (AppName::new("shop").unwrap(), EnvironmentName::new("default").unwrap());
        let key = ResourceKey::new("user/web1").unwrap();
        let resource = RecordedResource {
            kind: ResourceKind::new("bare-metal.user").unwrap(),
            id: PhysicalId("web1:user/vd-shop".to_owned()),
            token: None,
            progress: Progress::Ready,
            digest: Digest::of(b""),
            spec: json!({ "odd": "a \"quote\", a \\ and a \n" }),
        };
        let line = resource.line(&key).unwrap();
        assert!(!line.contains('\n'));
        let head = HostRecord::head(&app, &environment, Uuid::from_u128(1), Uuid::from_u128(2));
        let record = HostRecord::read(&format!("{head}\n{line}\n}}}}\n")).unwrap();
        assert_eq!((record.owner, record.incarnation), (Uuid::from_u128(1), Uuid::from_u128(2)));
        assert_eq!(record.resources[&key], resource);
        assert!(HostRecord::read(&head).is_err());
        let newer = head.replace("\"format\":1", "\"format\":2") + "}}";
        assert!(HostRecord::read(&newer).unwrap_err().contains("its format is 2"));
    }
}
