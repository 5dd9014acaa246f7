//! Bodies on their way through: nothing is gathered, each piece goes on as it comes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::flight::{Busy, Flight, InFlight, Stop};
use crate::gzip::Gzip;
use crate::metrics::Failure;
use crate::upstream::Link;
use crate::worker::Worker;

/// A request's body on its way to the backend.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Option<(Incoming, Rc<InFlight>)>,
    /// Bytes that may still come.
    left: u64,
}

impl Upload {
    /// A body with nothing in it.
    pub(crate) fn empty() -> Self {
        Self { body: None, left: 0 }
    }

    pub(crate) fn new(body: Incoming, flight: &Rc<InFlight>, most: Option<u64>) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        flight.connection.upload_open.set(true);
        Self { body: Some((body, flight.clone())), left: most.unwrap_or(u64::MAX) }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, left } = self.get_mut();
        let Some((body, flight)) = body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        flight.awaits_client(polled.is_pending());
        if let Poll::Ready(frame) = &polled {
            flight.moved();
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            let Some(still) = left.checked_sub(data.map_or(0, |data| data.len() as u64)) else {
                // What came before has left, but never its end: no app takes it for whole.
                flight.stop.send(Stop::TooLarge);
                return Poll::Pending;
            };
            *left = still;
            if frame.is_none() || body.is_end_stream() {
                flight.connection.upload_open.set(false);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            None => SizeHint::with_exact(0),
            Some((body, _)) => body.size_hint(),
        }
    }
}

/// The connection that an answer comes on.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) link: Link,
    pub(crate) backend: SocketAddr,
    pub(crate) worker: Rc<Worker>,
}

impl Lease {
    /// The answer was read to its end.
    pub(crate) fn give_back(self) {
        let now = self.worker.now();
        self.worker.pool.put(self.backend, self.link, now);
    }
}

/// What a client is answered.
#[derive(Debug)]
pub(crate) struct EdgeBody {
    kind: Kind,
    _busy: Option<Busy>,
}

#[derive(Debug)]
enum Kind {
    Text(Option<Bytes>),
    Download(Box<Download>),
    Gzip(Box<Gzipped>),
}

/// An answer's body on its way to the client.
#[derive(Debug)]
struct Download {
    body: Incoming,
    flight: Flight,
    lease: Option<Lease>,
    /// Events may end at any point without being wrong; other bodies would be cut short.
    may_end: bool,
}

impl EdgeBody {
    pub(crate) fn text(text: String, busy: Busy) -> Self {
        Self { kind: Kind::Text((!text.is_empty()).then(|| Bytes::from(text))), _busy: Some(busy) }
    }

    pub(crate) fn download(body: Incoming, flight: Flight, lease: Lease, may_end: bool, busy: Busy) -> Self {
        let mut download = Download { body, flight, lease: Some(lease), may_end };
        if download.body.is_end_stream() {
            download.end();
        }
        Self { kind: Kind::Download(Box::new(download)), _busy: Some(busy) }
    }

    /// The same, compressed on its way.
    pub(crate) fn compressed(self) -> Self {
        let kind = match self.kind {
            Kind::Download(download) => {
                Kind::Gzip(Box::new(Gzipped { download: *download, gzip: Gzip::new(), after: After::Open }))
            }
            other => other,
        };
        Self { kind, ..self }
    }
}

/// A body that is compressed on its way.
#[derive(Debug)]
struct Gzipped {
    download: Download,
    gzip: Gzip,
    /// What comes after the compressed end.
    after: After,
}

#[derive(Debug)]
enum After {
    /// It has not come yet.
    Open,
    Trailers(Frame<Bytes>),
    Nothing,
}

impl Gzipped {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match std::mem::replace(&mut self.after, After::Open) {
                After::Open => {}
                After::Trailers(trailers) => {
                    self.after = After::Nothing;
                    return Poll::Ready(Some(Ok(trailers)));
                }
                After::Nothing => {
                    self.after = After::Nothing;
                    return Poll::Ready(None);
                }
            }
            let ready = match self.download.poll(cx) {
                Poll::Pending => match self.gzip.flush() {
                    Ok(None) => return Poll::Pending,
                    ready => ready,
                },
                Poll::Ready(Some(Err(error))) => {
                    self.after = After::Nothing;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.after = After::Nothing;
                    self.gzip.finish()
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.gzip.take(&data),
                    Err(trailers) => {
                        self.after = After::Trailers(trailers);
                        self.gzip.finish()
                    }
                },
            };
            match ready {
                Ok(Some(data)) => {
                    self.download.flight.state().sent(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(None) => {}
                Err(error) => {
                    self.after = After::Nothing;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Download {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let state = self.flight.state();
        state.client_behind(false);
        if let Poll::Ready(stop) = state.stop.poll(cx) {
            self.lease = None;
            self.flight.failed(stop.failure());
            return Poll::Ready(if self.may_end {
                None
            } else {
                Some(Err(io::Error::other("the release was retired")))
            });
        }
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending()
            && let Some(lease) = &mut self.lease
        {
            lease.link.move_on(cx);
            polled = Pin::new(&mut self.body).poll_frame(cx);
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                let state = self.flight.state();
                state.moved();
                state.client_behind(true);
                if self.body.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.lease = None;
                self.flight.failed(Failure::Truncated);
                tracing::debug!(%error, "a backend ended its answer early");
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
        }
    }

    /// The backend has sent everything.
    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
            self.flight.whole();
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.get_mut().kind {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Download(download) => {
                let polled = download.poll(cx);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    download.flight.state().sent(frame.data_ref().map_or(0, Bytes::len));
                }
                polled
            }
            Kind::Gzip(gzipped) => gzipped.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Text(text) => text.is_none(),
            Kind::Download(download) => download.body.is_end_stream(),
            Kind::Gzip(gzipped) => matches!(gzipped.after, After::Nothing),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Text(None) => SizeHint::with_exact(0),
            Kind::Text(Some(text)) => SizeHint::with_exact(text.len() as u64),
            Kind::Download(download) => download.body.size_hint(),
            Kind::Gzip(_) => SizeHint::default(),
        }
    }
}
