//! How a supervisor follows another: it asks it for what only that one knows, and to step
//! down.

use std::path::Path;
use std::time::Duration;

use tokio::io::BufStream;
use tokio::net::UnixStream;

use super::super::key::StoreKey;
use super::super::protocol::{Answer, Greeting, MAX_ANSWER, PROTOCOL, Request, receive, send};
use super::super::socket;
use super::{BUILD, write_note};
use crate::layout::Layout;

/// How long a predecessor may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a successor finds.
pub(super) enum Predecessor {
    /// One that steps down, or is gone; with the key of the secret store, if it held one.
    Gone(Option<StoreKey>),
    /// One that is as new as we are: it has been replaced already, and goes on.
    Newer,
}

/// Gets the key of the secret store from the predecessor, if it holds one, and asks it to step
/// down. One that is gone, or does not know what is asked, hands over nothing.
pub(super) fn take_over(root: &Path) -> Predecessor {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Predecessor::Gone(None);
    };
    runtime.block_on(async {
        let layout = Layout::new(root);
        let found = tokio::time::timeout(PATIENCE, greeted(&layout)).await;
        if let Ok(Ok((_, greeting))) = &found
            && !greeting.replaced
            && greeting.version == BUILD
        {
            return Predecessor::Newer;
        }
        drop(found);
        let key = match tokio::time::timeout(PATIENCE, inherit(&layout)).await {
            Ok(Ok(key)) => key,
            Ok(Err(e)) => {
                write_note("supervisor", &format!("its predecessor hands over nothing: {e}"));
                None
            }
            Err(_) => None,
        };
        let step_down = async {
            let (mut stream, _) = greeted(&layout).await?;
            // One that ends before it answers has done what it was asked for.
            ask(&mut stream, &Request::StepDown).await.map(drop)
        };
        let _ = tokio::time::timeout(PATIENCE, step_down).await;
        Predecessor::Gone(key)
    })
}

async fn inherit(layout: &Layout) -> std::io::Result<Option<StoreKey>> {
    let (mut stream, _) = greeted(layout).await?;
    match ask(&mut stream, &Request::Inherit).await? {
        Answer::Key(0) => Ok(None),
        Answer::Key(length) => StoreKey::receive(&mut stream, length).await.map(Some),
        other => Err(std::io::Error::other(format!("it answered {other:?}"))),
    }
}

async fn greeted(layout: &Layout) -> std::io::Result<(BufStream<UnixStream>, Greeting)> {
    let stream = socket::connect(layout, socket::CHANGING).await?;
    let mut stream = BufStream::new(stream.ok_or(std::io::ErrorKind::NotConnected)?);
    let hello = Request::Hello { protocol: PROTOCOL, version: BUILD.to_owned() };
    match ask(&mut stream, &hello).await? {
        Answer::Hello(greeting) => Ok((stream, greeting)),
        other => Err(std::io::Error::other(format!("it answered {other:?}"))),
    }
}

async fn ask(stream: &mut BufStream<UnixStream>, request: &Request) -> std::io::Result<Answer> {
    send(stream, request).await?;
    receive(stream, MAX_ANSWER).await?.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}
