//! Images that are built here.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::BodyExt as _;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use super::Engine;
use super::call::{Reply, encoded, streamed, within};
use super::progress::Progress;
use super::stream::Lines;

/// An image to build.
#[derive(Debug)]
pub(crate) struct BuildWish<'a> {
    /// What it is called then, with a tag.
    pub(crate) tag: &'a str,
    /// The Dockerfile's name in the context.
    pub(crate) dockerfile: &'a str,
    /// `linux/amd64`.
    pub(crate) platform: &'a str,
    /// Arguments that need no `ARG`: proxies.
    pub(crate) arguments: BTreeMap<String, String>,
    /// Use nothing of earlier builds.
    pub(crate) anew: bool,
}

impl Engine {
    /// Builds an image of a context, which is a tar archive. By BuildKit where there is one.
    ///
    /// # Errors
    /// `App` when a step fails, with its last lines; else what the engine says.
    pub(crate) async fn build_image(
        &self,
        cx: &OpCtx,
        wish: &BuildWish<'_>,
        context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<()> {
        within(cx, "building the image", self.build(cx, wish, context)).await
    }

    async fn build(
        &self,
        cx: &OpCtx,
        wish: &BuildWish<'_>,
        context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<()> {
        let arguments = serde_json::to_string(&wish.arguments).unwrap_or_default();
        let path = format!(
            "/build?version=2&rm=1&forcerm=1&t={}&dockerfile={}&platform={}&buildargs={}&nocache={}",
            encoded(wish.tag),
            encoded(wish.dockerfile),
            encoded(wish.platform),
            encoded(&arguments),
            u8::from(wish.anew),
        );
        let headers = [("content-type", "application/x-tar")];
        let response = self.open_with("build the image", "POST", &path, &headers, streamed(context)).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            let reply = Reply { status: status.as_u16(), body: body.unwrap_or_default() };
            return Err(reply.refused("build the image"));
        }
        let (mut lines, mut progress) = (Lines::new(response.into_body()), Progress::default());
        while let Some(line) = lines.next().await {
            let line = line.map_err(|why| {
                let words = format!("the engine broke off the build: {why}");
                ProviderError::new(ErrorKind::Unavailable, words)
            })?;
            progress.take(&line, &mut |line| cx.output.line(line));
        }
        match &progress.error {
            None => Ok(()),
            Some(why) => Err(not_built(why, &progress)),
        }
    }
}

fn not_built(why: &str, progress: &Progress) -> ProviderError {
    let (step, lines) = progress.failed();
    let full = why.contains("no space left") || lines.iter().any(|line| line.contains("No space left"));
    let kind = if full { ErrorKind::Quota } else { ErrorKind::App };
    // `process "/bin/sh -c …" did not complete successfully: exit code: 3`: the step is said already.
    let how = why.rsplit_once(": exit code:").map(|(_, code)| format!("exit status {}", code.trim()));
    let how = how.unwrap_or_else(|| why.to_owned());
    let words = match step {
        Some(step) => format!("the image's step `{step}` failed: {how}"),
        None => format!("the image cannot be built: {how}"),
    };
    let error = ProviderError::new(kind, words).with_context("status", how);
    let error = error.with_context("log", lines.join("\n"));
    let error = match step {
        Some(step) => error.with_context("step", step.to_owned()),
        None => error,
    };
    error.with_help(if full {
        "free some space on the engine's disk (`docker system df`, `docker builder prune`)"
    } else {
        "the running release is untouched; mend the step and run the same command again"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_named_once() {
        let mut progress = Progress::default();
        for line in include_str!("testdata/failed-build.jsonl").lines() {
            progress.take(line.as_bytes(), &mut |_| {});
        }
        let error = not_built(progress.error.as_deref().unwrap(), &progress);
        assert_eq!(error.kind(), ErrorKind::App);
        assert_eq!(error.message(), "the image's step `[3/3] RUN echo bad && exit 3` failed: exit status 3");
        let error = not_built("write /x: no space left on device", &Progress::default());
        assert_eq!(error.kind(), ErrorKind::Quota);
    }
}
