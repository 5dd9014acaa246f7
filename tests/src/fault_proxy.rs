//! A proxy that stands between a client and a service over HTTP/1.1 and breaks what passes, as
//! networks and clouds do: a request that never arrives, an answer that is lost after it took
//! effect, an error after success, a storm of refusals, and the time that it all takes.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Passing {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before it arrives.
    NeverArrives,
    /// It takes effect, and the connection breaks before its answer is there.
    LostReply,
    /// It takes effect, and this is answered.
    ErrorAfter(Answer),
    /// It has no effect, and this is answered.
    Refused(Answer),
}

/// An answer that the service did not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its type.
    pub content_type: &'static str,
    /// Its body.
    pub body: String,
}

/// What is put right on the way, because a stand-in for a service differs from it.
#[derive(Debug, Clone, Copy)]
pub struct Correction {
    /// Of a request before it is sent on.
    pub request: fn(&mut Passing),
    /// Of the body of an answer.
    pub answer: fn(&Passing, Bytes) -> Bytes,
}

type Rule = Box<dyn FnMut(&Passing) -> Option<Fault> + Send>;
type Play = Arc<dyn Fn(&Passing, Bytes) -> Bytes + Send + Sync>;

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    correction: Option<Correction>,
    play: Option<Play>,
    latency: Duration,
    passed: u64,
    broken: u64,
}

/// A proxy that runs until it is dropped.
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultProxy {
    /// Starts one before a service. Must be called in a runtime.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(service: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let serve = service_fn(|request| pass(request, service, Arc::clone(&state)));
                    // A connection that was broken on purpose ends in an error.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), serve)
                        .await;
                });
            }
        });
        Ok(Self { address, state, task: task.abort_handle() })
    }

    /// Where clients reach it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request waits so long.
    pub fn set_latency(&self, latency: Duration) {
        locked(&self.state).latency = latency;
    }

    /// Puts right what a stand-in for a service does not do as the service does.
    pub fn set_correction(&self, correction: Correction) {
        locked(&self.state).correction = Some(correction);
    }

    /// Puts a stand-in's words into answers, after what was put right: it says what the service would
    /// see that the service behind here does not.
    pub fn set_play(&self, play: impl Fn(&Passing, Bytes) -> Bytes + Send + Sync + 'static) {
        locked(&self.state).play = Some(Arc::new(play));
    }

    /// Breaks whatever the rule says, until [`mend`](Self::mend). The first rule that says anything
    /// about a request decides.
    pub fn break_when(&self, rule: impl FnMut(&Passing) -> Option<Fault> + Send + 'static) {
        locked(&self.state).rules.push(Box::new(rule));
    }

    /// Breaks the next request that is so, and no further one.
    pub fn break_next(&self, fault: Fault, is: impl Fn(&Passing) -> bool + Send + 'static) {
        let mut left = Some(fault);
        self.break_when(move |request| if is(request) { left.take() } else { None });
    }

    /// Breaks nothing from now on.
    pub fn mend(&self) {
        locked(&self.state).rules.clear();
    }

    /// How many requests came, broken ones included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        locked(&self.state).passed
    }

    /// How many requests were broken.
    #[must_use]
    pub fn broken(&self) -> u64 {
        locked(&self.state).broken
    }
}

/// Rules are asked when a request is whole, in the order in which they were set.
fn judge(state: &Mutex<State>, request: &Passing) -> (Option<Fault>, Duration) {
    let mut state = locked(state);
    state.passed += 1;
    let fault = state.rules.iter_mut().find_map(|rule| rule(request));
    state.broken += u64::from(fault.is_some());
    (fault, state.latency)
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, why)
}

fn answered(answer: &Answer) -> io::Result<Response<Full<Bytes>>> {
    let status = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    Response::builder()
        .status(status)
        .header("content-type", answer.content_type)
        .header("x-amzn-requestid", "broken-on-the-way")
        .body(Full::new(Bytes::from(answer.body.clone())))
        .map_err(io::Error::other)
}

async fn pass(
    request: Request<Incoming>,
    service: SocketAddr,
    state: Arc<Mutex<State>>,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut passing = Passing { method: head.method, path, headers: head.headers, body };
    let (fault, latency) = judge(&state, &passing);
    let (correction, play) = {
        let state = locked(&state);
        (state.correction, state.play.clone())
    };
    if let Some(correction) = correction {
        (correction.request)(&mut passing);
    }
    let forward = |request: Passing, service| forward(request, service, correction, play.clone());
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    match fault {
        Some(Fault::NeverArrives) => Err(broken("it never arrives")),
        Some(Fault::Refused(answer)) => answered(&answer),
        Some(Fault::LostReply) => {
            forward(passing, service).await?;
            Err(broken("its answer is lost"))
        }
        Some(Fault::ErrorAfter(answer)) => {
            forward(passing, service).await?;
            answered(&answer)
        }
        None => forward(passing, service).await,
    }
}

/// Sends a request on, over a connection of its own, and waits for the whole answer.
async fn forward(
    request: Passing,
    service: SocketAddr,
    correction: Option<Correction>,
    play: Option<Play>,
) -> io::Result<Response<Full<Bytes>>> {
    let asked = request.clone();
    let stream = TcpStream::connect(service).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let mut onward = Request::builder().method(request.method).uri(request.path);
    if let Some(headers) = onward.headers_mut() {
        *headers = request.headers;
        // The body is whole by now, and the connection is of this request only.
        for header in ["transfer-encoding", "connection", "expect", "content-length"] {
            headers.remove(header);
        }
    }
    let body: Full<Bytes> = Full::new(request.body);
    let onward = onward.body(body.map_err(|never: Infallible| match never {}).boxed());
    let answer = sender.send_request(onward.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    let (mut head, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    driver.abort();
    let body = correction.map_or(body.clone(), |correction| (correction.answer)(&asked, body));
    let body = play.map_or(body.clone(), |play| play(&asked, body));
    for header in ["transfer-encoding", "connection", "content-length"] {
        head.headers.remove(header);
    }
    Ok(Response::from_parts(head, Full::new(body)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A service that counts what reached it.
    async fn service(count: Arc<AtomicU32>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let serve = service_fn(move |_| {
                        count.fetch_add(1, Ordering::SeqCst);
                        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done")))) }
                    });
                    let builder = hyper::server::conn::http1::Builder::new();
                    builder.serve_connection(TokioIo::new(stream), serve).await
                });
            }
        });
        address
    }

    async fn ask(proxy: &FaultProxy, path: &str) -> String {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A broken connection is an answer, too: an empty one.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn what_is_broken_is_broken_once_and_as_told() {
        let count = Arc::<AtomicU32>::default();
        let proxy = FaultProxy::start(service(Arc::clone(&count)).await).await.unwrap();
        assert!(ask(&proxy, "/a").await.ends_with("done"));
        proxy.break_next(Fault::NeverArrives, |request| request.path == "/b");
        assert!(ask(&proxy, "/a").await.ends_with("done"), "only what is asked for is broken");
        assert_eq!((ask(&proxy, "/b").await.as_str(), count.load(Ordering::SeqCst)), ("", 2));
        assert!(ask(&proxy, "/b").await.ends_with("done"), "once");
        proxy.break_next(Fault::LostReply, |_| true);
        assert_eq!((ask(&proxy, "/c").await.as_str(), count.load(Ordering::SeqCst)), ("", 4), "it arrived");
        let answer = Answer { status: 503, content_type: "text/plain", body: "slow down".to_owned() };
        proxy.break_when(move |_| Some(Fault::Refused(answer.clone())));
        assert!(ask(&proxy, "/d").await.contains("503") && ask(&proxy, "/d").await.ends_with("slow down"));
        proxy.mend();
        assert!(ask(&proxy, "/d").await.ends_with("done"));
        assert_eq!((proxy.requests(), proxy.broken(), count.load(Ordering::SeqCst)), (8, 4, 5));
    }
}
