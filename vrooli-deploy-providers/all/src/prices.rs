//! Prices from the providers' own interfaces.
//!
//! This build speaks plain HTTP only, which is for interfaces on this machine: a stand-in, or
//! something that speaks TLS for it.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use vrooli_deploy_core::cost::{PriceApi, PriceBook, PriceReply, RefreshError, refresh_digitalocean};
use vrooli_deploy_core::names::ProviderName;
use vrooli_deploy_core::secrets::Secret;

/// DigitalOcean's interface.
const DIGITALOCEAN: &str = "https://api.digitalocean.com";
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes: two hundred sizes take some hundred thousand.
const LARGEST: usize = 8 * 1024 * 1024;

/// How to refresh prices.
#[derive(Debug, Clone, Default)]
pub struct RefreshOptions {
    /// Another address than the provider's own.
    pub api_url: Option<String>,
    /// The provider's token. Sent only to this machine or over TLS.
    pub token: Option<Secret<String>>,
    /// The date that the prices get.
    pub today: String,
}

/// The prices of a provider as its own interface says them now.
///
/// # Errors
/// `NoApi` when the provider has no such interface or this build cannot reach it, `Unreachable`
/// and `Answer` for what came of asking.
pub async fn refresh(provider: &ProviderName, options: &RefreshOptions) -> Result<PriceBook, RefreshError> {
    if provider.as_str() != "digitalocean" {
        return Err(RefreshError::NoApi {
            message: format!("`{provider}` has no interface for prices that this program could ask"),
            help: "give prices of your own with `--prices FILE`; `digitalocean` can be refreshed".to_owned(),
        });
    }
    let url = options.api_url.as_deref().unwrap_or(DIGITALOCEAN);
    let api = PlainHttp::new(url, options.token.clone())?;
    refresh_digitalocean(&api, &options.today).await
}

/// An interface that is asked over plain HTTP.
#[derive(Debug, Clone)]
pub struct PlainHttp {
    host: String,
    port: u16,
    prefix: String,
    token: Option<Secret<String>>,
}

impl PlainHttp {
    /// The interface at `url`, `http://HOST[:PORT][/PREFIX]`.
    ///
    /// # Errors
    /// `NoApi` for `https`, which needs a build that can, for what is no address, and for a
    /// token that would travel a network unsealed.
    pub fn new(url: &str, token: Option<Secret<String>>) -> Result<Self, RefreshError> {
        let refuse = |message: String, help: &str| RefreshError::NoApi { message, help: help.to_owned() };
        let given = "give an address like `http://127.0.0.1:8080` with `--api-url`";
        let uri: Uri = url.parse().map_err(|e| refuse(format!("`{url}` is no address: {e}"), given))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(refuse(
                    format!("this build cannot speak TLS, which {url} asks for"),
                    "use a build with the feature `native` of the DigitalOcean provider, or `--api-url` with something on this machine that speaks TLS for it",
                ));
            }
            _ => return Err(refuse(format!("`{url}` is no address of an interface"), given)),
        }
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return Err(refuse(format!("`{url}` names no host"), given));
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if token.is_some() && !here {
            return Err(refuse(
                format!("a token would travel to {host} unsealed"),
                "ask something on this machine, or over TLS",
            ));
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), prefix, token })
    }

    async fn ask(&self, path: &str) -> Result<PriceReply, String> {
        let place = format!("{}:{}", self.host, self.port);
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|e| format!("cannot connect to {place}: {e}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| format!("{place}: {e}"))?;
        let driver = tokio::spawn(connection);
        let answer = async {
            let mut request = Request::get(format!("{}{path}", self.prefix))
                .header(header::HOST, &place)
                .header(header::CONNECTION, "close")
                .header(header::ACCEPT, "application/json")
                .header(header::USER_AGENT, concat!("vrooli-deploy/", env!("CARGO_PKG_VERSION")));
            if let Some(token) = &self.token {
                let mut value = header::HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                    .map_err(|_| "the token has characters that no token has".to_owned())?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
            let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
            let response = sender.send_request(request).await.map_err(|e| format!("{place}: {e}"))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LARGEST)
                .collect()
                .await
                .map_err(|e| format!("{place} broke off: {e}"))?
                .to_bytes();
            let body = String::from_utf8(body.to_vec()).map_err(|_| format!("{place} sent no text"))?;
            Ok(PriceReply { status, body })
        }
        .await;
        driver.abort();
        answer
    }
}

#[async_trait]
impl PriceApi for PlainHttp {
    async fn get(&self, path: &str) -> Result<PriceReply, String> {
        match tokio::time::timeout(TIMEOUT, self.ask(path)).await {
            Ok(reply) => reply,
            Err(_) => Err(format!("no answer within {} seconds", TIMEOUT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn secret() -> Option<Secret<String>> {
        Some(Secret::new("planted-token".to_owned()))
    }

    #[test]
    fn a_token_never_travels_unsealed() {
        for (url, allowed) in [
            ("http://127.0.0.1:1", true),
            ("http://localhost:1/prefix/", true),
            ("http://[::1]:1", true),
            ("http://api.digitalocean.com", false),
            ("http://192.0.2.1", false),
            ("http://127.0.0.1.evil.example", false),
            ("https://api.digitalocean.com", false),
            ("ftp://127.0.0.1", false),
            ("127.0.0.1", false),
            ("", false),
        ] {
            let api = PlainHttp::new(url, secret());
            assert_eq!(api.is_ok(), allowed, "{url}");
            assert!(!format!("{api:?}").contains("planted-token"));
        }
        assert!(PlainHttp::new("http://192.0.2.1", None).is_ok());
    }

    #[tokio::test]
    async fn sizes_are_fetched_and_the_token_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                request.push(byte[0]);
            }
            let body = r#"{"sizes":[{"slug":"s-1vcpu-1gb","memory":1024,"vcpus":1,"disk":25,"transfer":1.0,
                "price_monthly":6.5,"price_hourly":0.00967,"regions":["nyc1"],"available":true,"description":"Basic"}],
                "links":{},"meta":{"total":1}}"#;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let options = RefreshOptions {
            api_url: Some(format!("http://127.0.0.1:{port}/api")),
            token: secret(),
            today: "2026-11-21".to_owned(),
        };
        let book = refresh(&ProviderName::new("digitalocean").unwrap(), &options).await.unwrap();
        assert_eq!(book.prices()[0].amount.to_string(), "6.5");
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /api/v2/sizes?page=1&per_page=200 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer planted-token\r\n"), "{request}");
    }

    #[tokio::test]
    async fn who_has_no_interface_is_said() {
        for (provider, url, code) in [
            ("aws", None, "VD0430"),
            ("digitalocean", None, "VD0430"),
            ("digitalocean", Some("http://127.0.0.1:1"), "VD0431"),
        ] {
            let options = RefreshOptions { api_url: url.map(ToOwned::to_owned), ..RefreshOptions::default() };
            let error = refresh(&ProviderName::new(provider).unwrap(), &options).await.unwrap_err();
            assert_eq!(error.code().to_string(), code, "{error}");
        }
    }
}
