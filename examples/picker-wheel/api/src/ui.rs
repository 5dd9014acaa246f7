//! The page's server: files from memory, `/health`, and `/api/*` passed on to the API.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{self, Body};
use crate::timestamp;

/// One file of the page.
struct Asset {
    bytes: Bytes,
    content_type: &'static str,
    etag: HeaderValue,
}

/// What the server needs to answer.
pub struct Site {
    /// By request path. What is not in here does not exist: no path reaches the disk.
    assets: BTreeMap<String, Asset>,
    api_port: u16,
}

impl Site {
    /// Reads the page's files.
    pub fn load(folder: &Path, api_port: u16) -> io::Result<Self> {
        let mut assets = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let (Some(name), Some(content_type)) = (
                path.file_name().and_then(|name| name.to_str()),
                content_type(&path),
            ) else {
                continue;
            };
            let bytes = Bytes::from(fs::read(&path)?);
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            let etag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()))
                .map_err(io::Error::other)?;
            assets.insert(
                format!("/{name}"),
                Asset {
                    bytes,
                    content_type,
                    etag,
                },
            );
        }
        if !assets.contains_key("/index.html") {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "it holds no index.html",
            ));
        }
        Ok(Self { assets, api_port })
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if path == "/health" {
            return self.health().await;
        }
        if path == "/api" || path.starts_with("/api/") {
            return self.pass_on(request).await;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return http::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "the page is only there to be read",
            );
        }
        let path = if path == "/" { "/index.html" } else { path };
        let Some(asset) = self.assets.get(path) else {
            return http::error(StatusCode::NOT_FOUND, "there is nothing at this path");
        };
        let unchanged = request.headers().get(IF_NONE_MATCH) == Some(&asset.etag);
        let mut response = Response::new(http::body(if unchanged {
            Bytes::new()
        } else {
            asset.bytes.clone()
        }));
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        headers.insert(ETAG, asset.etag.clone());
        // Always asked for again, so that a new release shows at once.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    /// Healthy means that the page's API is.
    async fn health(&self) -> Response<Body> {
        let started = Instant::now();
        let asked = match timeout(Duration::from_secs(2), self.ask_api()).await {
            Ok(asked) => asked,
            Err(_) => Err("no answer within 2 s".to_owned()),
        };
        let latency_ms = started.elapsed().as_millis();
        http::json(
            StatusCode::OK,
            &json!({
                "status": if asked.is_ok() { "healthy" } else { "degraded" },
                "service": "picker-wheel-ui",
                "version": env!("CARGO_PKG_VERSION"),
                "timestamp": timestamp(),
                "readiness": true,
                "api_connectivity": {
                    "connected": asked.is_ok(),
                    "api_url": format!("http://127.0.0.1:{}", self.api_port),
                    "last_check": timestamp(),
                    "latency_ms": u64::try_from(latency_ms).unwrap_or(u64::MAX),
                    "error": asked.err()
                }
            }),
        )
    }

    async fn ask_api(&self) -> Result<(), String> {
        let request = Request::get("/health")
            .header("host", format!("127.0.0.1:{}", self.api_port))
            .body(http::body(""))
            .map_err(|problem| problem.to_string())?;
        let response = send(self.api_port, request).await?;
        let body = Limited::new(response.into_body(), 64 * 1024)
            .collect()
            .await
            .map_err(|problem| problem.to_string())?
            .to_bytes();
        let health: Value = serde_json::from_slice(&body)
            .map_err(|problem| format!("the API's health is not JSON: {problem}"))?;
        match health["status"].as_str() {
            Some("healthy") => Ok(()),
            status => Err(format!(
                "the API says that it is {}",
                status.unwrap_or("nothing")
            )),
        }
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        drop_hop_by_hop(&mut parts.headers);
        match send(self.api_port, Request::from_parts(parts, body)).await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                drop_hop_by_hop(&mut parts.headers);
                Response::from_parts(parts, body.boxed())
            }
            Err(problem) => {
                eprintln!("{} API: {problem}", timestamp());
                http::error(StatusCode::BAD_GATEWAY, "the API does not answer")
            }
        }
    }
}

/// Sends one request to the API, which lives on the same machine, over a fresh connection.
async fn send<B>(port: u16, request: Request<B>) -> Result<Response<Incoming>, String>
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|problem| format!("cannot connect to 127.0.0.1:{port}: {problem}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|problem| problem.to_string())?;
    // The connection carries the body even after the head of the answer is here.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    sender
        .send_request(request)
        .await
        .map_err(|problem| problem.to_string())
}

/// Headers that speak about one connection must not reach the next.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named
        .into_iter()
        .chain([CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE])
    {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// What a file is, by its ending; `None` for what a page has no use for.
fn content_type(path: &Path) -> Option<&'static str> {
    Some(match path.extension()?.to_str()? {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}
