//! The part of serving that both programs share: the loop, the log, the goodbye.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::{environment, timestamp};

/// Any body, whole or streamed.
pub type Body = BoxBody<Bytes, hyper::Error>;

/// Nobody sends a wheel larger than this.
const BODY_LIMIT: usize = 64 * 1024;
/// What requests in flight get to finish once we are asked to stop.
const GOODBYE: Duration = Duration::from_secs(8);

/// A body that is there as a whole.
pub fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(text) => {
            let mut response = Response::new(body(text));
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(problem) => error(StatusCode::INTERNAL_SERVER_ERROR, &problem.to_string()),
    }
}

/// An error in JSON: `{"error": "…"}`.
pub fn error(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "error": message }))
}

/// Reads a request's JSON, or makes the answer that says what is wrong with it.
pub async fn read_json<T: DeserializeOwned>(
    request: Request<Incoming>,
) -> Result<T, Box<Response<Body>>> {
    let bytes = match Limited::new(request.into_body(), BODY_LIMIT)
        .collect()
        .await
    {
        Ok(collected) => collected.to_bytes(),
        Err(problem) => {
            return Err(Box::new(error(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("cannot read the body: {problem}"),
            )));
        }
    };
    serde_json::from_slice(&bytes).map_err(|problem| {
        Box::new(error(
            StatusCode::BAD_REQUEST,
            &format!("the body is not what this expects: {problem}"),
        ))
    })
}

/// Serves until SIGTERM or SIGINT, then finishes what is in flight. Each request is one
/// line on stdout. Port 0 lets the system choose; the first line says which it is.
pub async fn serve<S, F>(name: &'static str, port: u16, handler: S) -> io::Result<()>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let address = environment::address().map_err(io::Error::other)?;
    let listener = TcpListener::bind((address, port))
        .await
        .map_err(|problem| {
            io::Error::new(
                problem.kind(),
                format!("cannot listen on {address}:{port}: {problem}"),
            )
        })?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    println!(
        "{} {name} listens on http://{}",
        timestamp(),
        listener.local_addr()?
    );

    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(problem) => {
                    // Out of descriptors, most likely: wait for connections to end.
                    eprintln!("{} cannot accept: {problem}", timestamp());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        let handler = handler.clone();
        let service = service_fn(move |request| {
            let answer = logged(request, handler.clone());
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(75))
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that went away is no news.
            let _ = connection.await;
        });
    }
    // Close the port first, so that nobody connects to a server that is leaving.
    drop(listener);
    println!("{} {name} finishes what is in flight", timestamp());
    tokio::select! {
        () = graceful.shutdown() => println!("{} {name} ends", timestamp()),
        () = tokio::time::sleep(GOODBYE) => println!("{} {name} ends with requests unanswered", timestamp()),
    }
    Ok(())
}

async fn logged<S, F>(request: Request<Incoming>, handler: S) -> Response<Body>
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let started = Instant::now();
    let line = format!("{} {}", request.method(), request.uri().path());
    let response = handler(request).await;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    println!(
        "{} {line} {} {milliseconds:.1}ms",
        timestamp(),
        response.status().as_u16()
    );
    response
}

/// Runs a server on one thread and turns a failure into a sentence and exit code 1.
pub fn run(server: impl Future<Output = io::Result<()>>) -> Result<(), String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(server))
        .map_err(|problem| problem.to_string())
}
