//! Images: looked at, and pulled when they are not there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::json;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use super::Engine;
use super::call::{Reply, encoded, within};
use super::stream::Lines;

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Variables that its processes get.
    pub(crate) variables: BTreeMap<String, String>,
    /// Folders that it means to be volumes.
    pub(crate) volumes: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    volumes: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

/// One line of a pull's answer.
#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// Checks the name of an image: it becomes a part of a path.
///
/// # Errors
/// A phrase with the rule.
pub(crate) fn check_reference(reference: &str) -> std::result::Result<(), String> {
    let fits = reference.len() <= 255
        && reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && reference
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@'))
        && !reference.contains("..")
        && !reference.contains("//");
    if fits { Ok(()) } else { Err(format!("`{reference}` is no name of an image, like `registry/name:tag`")) }
}

/// Name and tag (or digest) of a reference.
pub(super) fn parts(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        // A colon before the last slash is that of a registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

/// What is said of a pull while it goes on: how many parts are there.
#[derive(Debug, Default)]
struct Progress {
    begun: BTreeSet<String>,
    done: BTreeSet<String>,
}

impl Progress {
    /// Takes a line; something to say when a further part is there.
    fn take(&mut self, line: &Line) -> Option<String> {
        let (id, status) = (line.id.as_ref()?, line.status.as_deref()?);
        match status {
            "Pulling fs layer" | "Waiting" | "Copying blob" => {
                self.begun.insert(id.clone());
                None
            }
            "Pull complete" | "Already exists" | "Download complete" => {
                self.begun.insert(id.clone());
                let new = self.done.insert(id.clone());
                new.then(|| format!("{} of {} parts are here", self.done.len(), self.begun.len()))
            }
            _ => None,
        }
    }
}

impl Engine {
    /// An image that is there.
    pub(crate) async fn image(&self, cx: &OpCtx, reference: &str) -> Result<Option<Image>> {
        let what = format!("looking at the image `{reference}`");
        let reply = self.call(cx, &what, "GET", &format!("/images/{reference}/json"), None).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let seen: Inspected = reply.done(&format!("look at the image `{reference}`"))?.read("an image")?;
        let Some(config) = seen.config else { return Ok(Some(Image::default())) };
        let pair = |text: String| text.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
        Ok(Some(Image {
            variables: config.env.unwrap_or_default().into_iter().filter_map(pair).collect(),
            volumes: config.volumes.unwrap_or_default().into_keys().collect(),
        }))
    }

    /// An image, pulled when it is not there.
    ///
    /// # Errors
    /// `Missing` when it cannot be pulled, with the engine's words and what to type.
    pub(crate) async fn ensure_image(&self, cx: &OpCtx, reference: &str) -> Result<Image> {
        if let Some(image) = self.image(cx, reference).await? {
            return Ok(image);
        }
        cx.output.line(&format!("pulling the image `{reference}`, which is not here yet"));
        within(cx, &format!("pulling the image `{reference}`"), self.pull(cx, reference)).await?;
        cx.output.line(&format!("pulled `{reference}`"));
        self.image(cx, reference)
            .await?
            .ok_or_else(|| self.not_pulled(reference, "it is not there after the pull"))
    }

    /// What is in a repository here: names with tags, and the ids of their images.
    pub(crate) async fn tags(&self, cx: &OpCtx, repository: &str) -> Result<Vec<(String, String)>> {
        let filters = json!({ "reference": [repository] }).to_string();
        let path = format!("/images/json?filters={}", encoded(&filters));
        let listed: Vec<Listed> =
            self.call(cx, "listing images", "GET", &path, None).await?.done("list images")?.read("images")?;
        let tags = listed.into_iter().flat_map(|one| {
            let tags = one.repo_tags.unwrap_or_default();
            tags.into_iter().map(move |tag| (tag, one.id.clone()))
        });
        // One image may have names of others besides.
        Ok(tags.filter(|(tag, _)| parts(tag).0.trim_start_matches("localhost/") == repository).collect())
    }

    /// An image as `docker save` writes it. The error is a phrase.
    pub(crate) async fn saved(
        &self,
        cx: &OpCtx,
        reference: &str,
    ) -> Result<impl Stream<Item = std::result::Result<Bytes, String>> + use<>> {
        let action = format!("save the image `{reference}`");
        let path = format!("/images/{reference}/get");
        let response = within(cx, &action, self.open(&action, "GET", &path, None)).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            return Err(Reply { status: status.as_u16(), body: body.unwrap_or_default() }.refused(&action));
        }
        Ok(response.into_body().into_data_stream().map_err(|error| error.to_string()))
    }

    async fn pull(&self, cx: &OpCtx, reference: &str) -> Result<()> {
        let (name, tag) = parts(reference);
        let path = format!("/images/create?fromImage={}&tag={}", encoded(name), encoded(tag));
        let response = self.open(&format!("pull `{reference}`"), "POST", &path, None).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            let reply = Reply { status: status.as_u16(), body: body.unwrap_or_default() };
            return Err(self.not_pulled(reference, &reply.message()));
        }
        let (mut lines, mut progress) = (Lines::new(response.into_body()), Progress::default());
        let mut failed = None;
        while let Some(line) = lines.next().await {
            let line = line.map_err(|why| self.not_pulled(reference, &why))?;
            let line: Line = serde_json::from_slice(&line).unwrap_or_default();
            if let Some(text) = progress.take(&line) {
                cx.output.line(&format!("`{reference}`: {text}"));
            }
            failed = failed.or(line.error);
        }
        match failed {
            Some(why) => Err(self.not_pulled(reference, &why)),
            None => Ok(()),
        }
    }

    fn not_pulled(&self, reference: &str, why: &str) -> ProviderError {
        let program = self.program();
        let full = why.contains("no space left");
        let kind = if full { ErrorKind::Quota } else { ErrorKind::Missing };
        ProviderError::new(kind, format!("cannot pull the image `{reference}`: {why}")).with_help(format!(
            "see what `{program} pull {reference}` says; without a way to the registry bring it as a file: `{program} save` elsewhere, `{program} load` here"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_two_parts() {
        assert_eq!(parts("docker.io/library/postgres:17"), ("docker.io/library/postgres", "17"));
        assert_eq!(parts("localhost:5000/postgres"), ("localhost:5000/postgres", "latest"));
        assert_eq!(parts("redis@sha256:00"), ("redis", "sha256:00"));
        assert_eq!(parts("redis"), ("redis", "latest"));
    }

    #[test]
    fn a_reference_cannot_leave_its_path() {
        for bad in ["", "a b", "x/../../containers", "x?y=z", "-x", "a//b", "x#y", "x%2f"] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
        check_reference("localhost:5000/team/postgres:16.4-bookworm").unwrap();
        check_reference(&format!("redis@sha256:{}", "0".repeat(64))).unwrap();
    }

    #[test]
    fn a_pull_is_counted_in_parts() {
        let line = |id: &str, status: &str| Line {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            error: None,
        };
        let mut progress = Progress::default();
        assert_eq!(progress.take(&line("17", "Pulling from library/postgres")), None);
        assert_eq!(progress.take(&line("a", "Pulling fs layer")), None);
        assert_eq!(progress.take(&line("b", "Pulling fs layer")), None);
        assert_eq!(progress.take(&line("a", "Downloading")), None);
        assert_eq!(progress.take(&line("a", "Download complete")).unwrap(), "1 of 2 parts are here");
        assert_eq!(progress.take(&line("a", "Pull complete")), None);
        assert_eq!(progress.take(&line("c", "Already exists")).unwrap(), "2 of 3 parts are here");
    }
}
