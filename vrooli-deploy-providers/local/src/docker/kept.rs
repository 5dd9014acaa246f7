//! A container that a process of ours keeps: what it says comes to that process, and it is gone when it ends.

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{ReadHalf, split};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::Engine;
use super::call::within;
use super::container::{Waited, give};
use super::stream;

/// A container that runs and is listened to.
pub(crate) struct Kept {
    said: ReadHalf<TokioIo<Upgraded>>,
    waiting: Response<Incoming>,
}

impl Engine {
    /// Starts a container that was made with an open standard input and to be removed at its end, and gives it
    /// its input.
    pub(crate) async fn keep_container(
        &self,
        cx: &OpCtx,
        name: &str,
        input: &Secret<String>,
    ) -> Result<Kept> {
        let what = format!("starting the container `{name}`");
        within(cx, &what, async {
            let path = format!("/containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1");
            let stream = self.hijack(&format!("attach to `{name}`"), &path, None).await?;
            // Asked before it starts: it may be gone the next moment. The answer begins at once.
            let path = format!("/containers/{name}/wait?condition=removed");
            let waiting = self.open(&format!("waiting for `{name}`"), "POST", &path, None).await?;
            self.start_container(cx, name).await?.done(&format!("start the container `{name}`"))?;
            let (said, mut writer) = split(stream);
            give(&mut writer, input).await.map_err(|error| {
                let words = format!("the container `{name}` did not take what it was given: {error}");
                ProviderError::new(ErrorKind::Ambiguous, words)
            })?;
            Ok(Kept { said, waiting })
        })
        .await
    }
}

impl Kept {
    /// Hands over what it says, as it comes, with the number of the stream: 1, or 2 for errors. `false` from
    /// who takes it: no more for now. True at the end of all that it says.
    pub(crate) async fn listen(&mut self, take: &mut (dyn FnMut(u8, &[u8]) -> bool + Send)) -> bool {
        stream::pour(&mut self.said, take).await
    }

    /// Waits until it is gone. `None`: the engine does not say how it ended.
    pub(crate) async fn ended(self) -> Option<i64> {
        let body = self.waiting.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice::<Waited>(&body).ok().map(|waited| waited.status_code)
    }
}
