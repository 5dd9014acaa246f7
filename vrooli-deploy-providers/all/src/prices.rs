//! Prices from the providers' own interfaces, over `https` where the build has it. Without it
//! only an interface on this machine can be asked: a stand-in, or something that speaks TLS for it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Empty;
use vrooli_deploy_core::cost::{PriceApi, PriceBook, PriceReply, RefreshError, refresh_digitalocean};
use vrooli_deploy_core::http_client::{self, Address, ConnectOptions};
use vrooli_deploy_core::names::ProviderName;
use vrooli_deploy_core::secrets::{Redactor, Secret};

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
    let api = HttpApi::new(url, options.token.clone())?;
    refresh_digitalocean(&api, &options.today).await
}

/// An interface that is asked over HTTP.
#[derive(Debug, Clone)]
pub struct HttpApi {
    address: Address,
    token: Option<Secret<String>>,
}

impl HttpApi {
    /// The interface at `url`, `https://HOST[:PORT][/PREFIX]`.
    ///
    /// # Errors
    /// `NoApi` for what is no address, for `https` where this build has no TLS, and for a token
    /// that would travel a network unsealed.
    pub fn new(url: &str, token: Option<Secret<String>>) -> Result<Self, RefreshError> {
        let refuse =
            |message: String, help: &str| Err(RefreshError::NoApi { message, help: help.to_owned() });
        let address = match Address::parse(url) {
            Ok(address) => address,
            Err(why) => {
                let help = "give an address like `https://api.digitalocean.com` with `--api-url`";
                return refuse(format!("the interface's address cannot be used: {why}"), help);
            }
        };
        if address.needs_tls() && !http_client::speaks_tls() {
            return refuse(
                format!("{address} needs TLS, which this build was made without"),
                "build with `--features https`, or give with `--api-url` something on this machine that speaks TLS for it",
            );
        }
        if token.is_some() && address.is_plain_over_the_network() {
            return refuse(
                format!("a token would travel to {address} unsealed"),
                "ask over `https`, or something on this machine",
            );
        }
        Ok(Self { address, token })
    }

    async fn ask(&self, path: &str) -> Result<PriceReply, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.address);
        let mut request = Request::get(format!("{}{path}", self.address.prefix()))
            .header(header::HOST, self.address.authority())
            .header(header::CONNECTION, "close")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("vrooli-deploy/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| "the token has characters that no token has".to_owned())?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| failed(&e))?;
        let connect = ConnectOptions { largest_answer: LARGEST, ..ConnectOptions::default() };
        let answer = http_client::send(&self.address, request, &connect).await.map_err(|e| failed(&e))?;
        let body = String::from_utf8(answer.body.to_vec()).map_err(|_| failed(&"it sent no text"))?;
        // What a refusal says is shown, and some repeat what they were sent.
        let body = match &self.token {
            Some(token) if !answer.status.is_success() => {
                Redactor::new(std::slice::from_ref(token)).redact(&body).to_string()
            }
            _ => body,
        };
        Ok(PriceReply { status: answer.status.as_u16(), body })
    }
}

#[async_trait]
impl PriceApi for HttpApi {
    async fn get(&self, path: &str) -> Result<PriceReply, String> {
        match tokio::time::timeout(TIMEOUT, self.ask(path)).await {
            Ok(reply) => reply,
            Err(_) => Err(format!("{}: no answer within {} seconds", self.address, TIMEOUT.as_secs())),
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
            ("https://api.digitalocean.com", http_client::speaks_tls()),
            ("ftp://127.0.0.1", false),
            ("127.0.0.1", false),
            ("", false),
        ] {
            let api = HttpApi::new(url, secret());
            assert_eq!(api.is_ok(), allowed, "{url}");
            assert!(!format!("{api:?}").contains("planted-token"));
        }
        assert!(HttpApi::new("http://192.0.2.1", None).is_ok());
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
            ("digitalocean", Some("ftp://127.0.0.1"), "VD0430"),
            ("digitalocean", Some("http://127.0.0.1:1"), "VD0431"),
        ] {
            let options = RefreshOptions { api_url: url.map(ToOwned::to_owned), ..RefreshOptions::default() };
            let error = refresh(&ProviderName::new(provider).unwrap(), &options).await.unwrap_err();
            assert_eq!(error.code().to_string(), code, "{error}");
        }
    }
}
