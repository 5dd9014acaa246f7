//! Volumes by name: made, listed by labels, removed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use vrooli_deploy_core::provider::{OpCtx, Result};

use super::Engine;
use super::call::encoded;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Volume {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_nothing")]
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(default, deserialize_with = "or_nothing")]
    volumes: Vec<Volume>,
}

/// `null` is how engines write that there is none.
fn or_nothing<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl Engine {
    /// A volume, if there is one of that name.
    pub(crate) async fn volume(&self, cx: &OpCtx, name: &str) -> Result<Option<Volume>> {
        let reply =
            self.call(cx, &format!("looking at `{name}`"), "GET", &format!("/volumes/{name}"), None).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        reply.done(&format!("look at the volume `{name}`"))?.read("a volume").map(Some)
    }

    /// All volumes that bear these labels.
    pub(crate) async fn volumes(&self, cx: &OpCtx, labels: &[String]) -> Result<Vec<Volume>> {
        let filters = json!({ "label": labels }).to_string();
        let path = format!("/volumes?filters={}", encoded(&filters));
        let listed: Listed = self
            .call(cx, "listing volumes", "GET", &path, None)
            .await?
            .done("list volumes")?
            .read("volumes")?;
        Ok(listed.volumes)
    }

    /// Makes a volume; one of that name is left as it is.
    pub(crate) async fn create_volume(
        &self,
        cx: &OpCtx,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        let wanted = json!({ "Name": name, "Labels": labels });
        self.call(cx, &format!("making the volume `{name}`"), "POST", "/volumes/create", Some(&wanted))
            .await?
            .done(&format!("make the volume `{name}`"))
            .map(drop)
    }

    /// Removes a volume and what is in it. Not there is `Ok`; `Conflict` when a container uses it.
    pub(crate) async fn remove_volume(&self, cx: &OpCtx, name: &str) -> Result<()> {
        let what = format!("removing the volume `{name}`");
        let reply = self.call(cx, &what, "DELETE", &format!("/volumes/{name}"), None).await?;
        if reply.status == 404 {
            Ok(())
        } else {
            reply.done(&format!("remove the volume `{name}`")).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_may_be_written_as_null() {
        let listed: Listed = serde_json::from_str(r#"{"Volumes":null,"Warnings":null}"#).unwrap();
        assert!(listed.volumes.is_empty());
        let volume: Volume = serde_json::from_str(r#"{"Name":"a","Labels":null}"#).unwrap();
        assert_eq!(volume, Volume { name: "a".to_owned(), labels: BTreeMap::new() });
    }
}
