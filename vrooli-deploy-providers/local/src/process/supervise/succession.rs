//! How a supervisor follows another: it asks it for what only that one knows, and to step
//! down.

use std::path::Path;
use std::time::Duration;

use tokio::io::BufStream;
use tokio::net::UnixStream;

use super::super::key::StoreKey;
use super::super::protocol::{Answer, MAX_ANSWER, PROTOCOL, Request, receive, send};
use super::super::socket;
use super::{BUILD, write_note};
use crate::layout::Layout;

/// How long a predecessor may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gets the key of the secret store from the predecessor, if it holds one, and asks it to step
/// down. One that is gone, or does not know what is asked, hands over nothing.
pub(super) fn take_over(root: &Path) -> Option<StoreKey> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let layout = Layout::new(root);
        let key = match tokio::time::timeout(PATIENCE, inherit(&layout)).await {
            Ok(Ok(key)) => key,
            Ok(Err(e)) => {
                write_note("supervisor", &format!("its predecessor hands over nothing: {e}"));
                None
            }
            Err(_) => None,
        };
        let step_down = async {
            let mut stream = greeted(&layout).await?;
            // One that ends before it answers has done what it was asked for.
            ask(&mut stream, &Request::StepDown).await.map(drop)
        };
        let _ = tokio::time::timeout(PATIENCE, step_down).await;
        key
    })
}

async fn inherit(layout: &Layout) -> std::io::Result<Option<StoreKey>> {
    let mut stream = greeted(layout).await?;
    match ask(&mut stream, &Request::Inherit).await? {
        Answer::Key(0) => Ok(None),
        Answer::Key(length) => StoreKey::receive(&mut stream, length).await.map(Some),
        other => Err(std::io::Error::other(format!("it answered {other:?}"))),
    }
}

async fn greeted(layout: &Layout) -> std::io::Result<BufStream<UnixStream>> {
    let stream = socket::connect(layout, socket::CHANGING).await?;
    let mut stream = BufStream::new(stream.ok_or(std::io::ErrorKind::NotConnected)?);
    let hello = Request::Hello { protocol: PROTOCOL, version: BUILD.to_owned() };
    ask(&mut stream, &hello).await?;
    Ok(stream)
}

async fn ask(stream: &mut BufStream<UnixStream>, request: &Request) -> std::io::Result<Answer> {
    send(stream, request).await?;
    receive(stream, MAX_ANSWER).await?.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}
