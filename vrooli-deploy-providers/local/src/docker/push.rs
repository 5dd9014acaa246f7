//! Images that are sent to a registry, and looked for in one.

use base64::Engine as _;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use vrooli_deploy_core::names::Digest;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::Engine;
use super::call::{Reply, encoded, streamed, within};
use super::stream::Lines;

/// Who we are at a registry. Sent in a header to the engine's own socket: it is in no argument and no file.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret<String>,
    /// The registry: the part of a repository's name before the first slash.
    pub(crate) server: String,
}

impl Login {
    fn header(&self) -> String {
        let text = json!({
            "username": self.user,
            "password": self.password.expose(),
            "serveraddress": self.server,
        });
        base64::engine::general_purpose::URL_SAFE.encode(text.to_string())
    }
}

/// One line of a push's answer.
#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    aux: Option<Value>,
}

/// What a registry says of a tag.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Distribution {
    descriptor: Descriptor,
    #[serde(default)]
    platforms: Option<Vec<Platform>>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: Digest,
}

/// What an image was built for, and as whom it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Made {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) config: MadeConfig,
}

impl Made {
    /// In the words of images: `linux/amd64`.
    pub(crate) fn platform(&self) -> String {
        format!("{}/{}", self.os, self.architecture)
    }
}

/// How its containers begin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MadeConfig {
    #[serde(default)]
    pub(crate) user: String,
    #[serde(default)]
    pub(crate) working_dir: String,
}

impl Engine {
    /// The digest of a tag in its registry; `None` when there is no such tag.
    ///
    /// # Errors
    /// What the registry says when it does not let us look, or is not there.
    pub(crate) async fn in_registry(
        &self,
        cx: &OpCtx,
        reference: &str,
        login: Option<&Login>,
    ) -> Result<Option<Digest>> {
        Ok(self.distribution(cx, reference, login).await?.map(|seen| seen.descriptor.digest))
    }

    /// What an image in a registry is for: `linux/amd64`. Asked as nobody.
    pub(crate) async fn platforms(&self, cx: &OpCtx, reference: &str) -> Result<Vec<String>> {
        let seen = self.distribution(cx, reference, None).await?.and_then(|seen| seen.platforms);
        let named = |one: Platform| {
            (!one.os.is_empty() && !one.architecture.is_empty())
                .then(|| format!("{}/{}", one.os, one.architecture))
        };
        Ok(seen.into_iter().flatten().filter_map(named).collect())
    }

    async fn distribution(
        &self,
        cx: &OpCtx,
        reference: &str,
        login: Option<&Login>,
    ) -> Result<Option<Distribution>> {
        let what = format!("looking for `{reference}` in its registry");
        let header = login.map(Login::header);
        let headers: Vec<(&str, &str)> =
            header.iter().map(|text| ("x-registry-auth", text.as_str())).collect();
        let path = format!("/distribution/{reference}/json");
        within(cx, &what, async {
            let empty = streamed(futures_util::stream::empty());
            let response = self.open_with(&what, "GET", &path, &headers, empty).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            let reply = Reply { status, body: body.unwrap_or_default() };
            if status < 400 {
                return reply.read("an image in a registry").map(Some);
            }
            let said = reply.message();
            if status == 404
                || ["manifest unknown", "not found", "MANIFEST_UNKNOWN"].iter().any(|w| said.contains(w))
            {
                return Ok(None);
            }
            Err(refused(&format!("look for `{reference}` in its registry"), &said))
        })
        .await
    }

    /// Sends an image to its registry; its digest there.
    ///
    /// # Errors
    /// `Permission` with the registry's words when it does not take it; else what the engine says.
    pub(crate) async fn push_image(&self, cx: &OpCtx, reference: &str, login: &Login) -> Result<Digest> {
        within(cx, &format!("pushing `{reference}`"), self.push(cx, reference, login)).await
    }

    async fn push(&self, cx: &OpCtx, reference: &str, login: &Login) -> Result<Digest> {
        let action = format!("push `{reference}`");
        let (name, tag) = super::image::parts(reference);
        let path = format!("/images/{name}/push?tag={}", encoded(tag));
        let header = login.header();
        let empty = streamed(futures_util::stream::empty());
        let response = self.open_with(&action, "POST", &path, &[("x-registry-auth", &header)], empty).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            let reply = Reply { status: status.as_u16(), body: body.unwrap_or_default() };
            return Err(reply.refused(&action));
        }
        let mut lines = Lines::new(response.into_body());
        let (mut failed, mut digest, mut parts) = (None, None, 0_u32);
        while let Some(line) = lines.next().await {
            let line = line.map_err(|why| {
                ProviderError::new(ErrorKind::Unavailable, format!("the engine broke off the push: {why}"))
            })?;
            let line: Line = serde_json::from_slice(&line).unwrap_or_default();
            if let (Some(id), Some("Pushed")) = (&line.id, line.status.as_deref()) {
                parts += 1;
                cx.output.line(&format!("`{reference}`: part {parts} (`{id}`) is there"));
            }
            let said = line.aux.as_ref().and_then(|aux| aux.get("Digest")?.as_str());
            digest = digest.or_else(|| said.and_then(|text| Digest::new(text).ok()));
            failed = failed.or(line.error);
        }
        if let Some(why) = failed {
            return Err(refused(&action, &why));
        }
        match digest {
            Some(digest) => Ok(digest),
            None => self.in_registry(cx, reference, Some(login)).await?.ok_or_else(|| {
                ProviderError::new(
                    ErrorKind::Unexpected,
                    format!("`{reference}` was pushed and is not there"),
                )
            }),
        }
    }

    /// What was built.
    pub(crate) async fn made(&self, cx: &OpCtx, reference: &str) -> Result<Made> {
        let what = format!("looking at the image `{reference}`");
        let reply = self.call(cx, &what, "GET", &format!("/images/{reference}/json"), None).await?;
        reply.done(&format!("look at the image `{reference}`"))?.read("an image")
    }

    /// Takes a name of an image away here; what it is made of stays as long as the engine keeps it for
    /// further builds. A name that is not there is fine.
    pub(crate) async fn untag(&self, cx: &OpCtx, reference: &str) -> Result<()> {
        let what = format!("taking the name `{reference}` away");
        let reply = self.call(cx, &what, "DELETE", &format!("/images/{reference}"), None).await?;
        if reply.status == 404 { Ok(()) } else { reply.done(&what).map(drop) }
    }
}

fn refused(action: &str, why: &str) -> ProviderError {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    let kind = if says(&["denied", "unauthorized", "no basic auth", "authorization", "forbidden"]) {
        ErrorKind::Permission
    } else if says(&["connection refused", "no such host", "timeout", "i/o", "EOF"]) {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Unexpected
    };
    ProviderError::new(kind, format!("cannot {action}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_header_and_nothing_else() {
        let login = Login {
            user: "AWS".to_owned(),
            password: Secret::new("planted-secret".to_owned()),
            server: "localhost:5000".to_owned(),
        };
        assert!(!format!("{login:?}").contains("planted-secret"));
        let text = base64::engine::general_purpose::URL_SAFE.decode(login.header()).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["password"], "planted-secret");
    }

    #[test]
    fn the_registry_is_quoted() {
        let error = refused("push `x`", "denied: requested access to the resource is denied");
        assert_eq!(error.kind(), ErrorKind::Permission);
        assert!(error.message().ends_with("is denied"), "{error}");
        assert_eq!(refused("push `x`", "dial tcp: connection refused").kind(), ErrorKind::Unavailable);
    }
}
