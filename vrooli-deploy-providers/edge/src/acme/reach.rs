//! Whether a name leads to our edges: found out before an authority is asked, because each of
//! its own looks that fails counts against its limits.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use vrooli_deploy_core::http_client::{self, Address, ConnectOptions};

use super::error::AcmeError;
use super::name::DnsName;
use crate::challenges::ChallengeAnswer;

/// How long one address may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer is short; what is longer is somebody else's page.
const LARGEST: usize = 64 << 10;

/// Who says which addresses a name has.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a name.
    fn resolve(&self, name: &DnsName) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + '_>>;
}

/// The system's own way to find a name. It may know other addresses than the world does, if they
/// are in its `hosts` file.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDns;

impl Resolve for SystemDns {
    fn resolve(&self, name: &DnsName) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + '_>> {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses)
        })
    }
}

/// Asks every address that DNS gives for a name for an answer that only our edges know. It must
/// be placed there.
///
/// # Errors
/// [`AcmeError::NoAddress`], or [`AcmeError::Elsewhere`] with the first address that is not ours.
pub async fn points_here(
    name: &DnsName,
    answer: &ChallengeAnswer,
    port: u16,
    dns: &dyn Resolve,
) -> Result<(), AcmeError> {
    look(name, answer, port, dns).await?.into_iter().try_for_each(|looked| looked.map(drop))
}

/// The same, content with one address that is ours: a host that is down for a while does not keep
/// a certificate of all from being renewed.
pub(super) async fn points_here_at_all(
    name: &DnsName,
    answer: &ChallengeAnswer,
    port: u16,
    dns: &dyn Resolve,
) -> Result<(), AcmeError> {
    let mut looked = look(name, answer, port, dns).await?;
    if !looked.iter().any(Result::is_ok) {
        return looked.remove(0).map(drop);
    }
    for error in looked.iter().filter_map(|one| one.as_ref().err()) {
        tracing::warn!(error = error.told(), "one of the addresses of a name is not ours now");
    }
    Ok(())
}

/// One result an address, and one address at least.
async fn look(
    name: &DnsName,
    answer: &ChallengeAnswer,
    port: u16,
    dns: &dyn Resolve,
) -> Result<Vec<Result<IpAddr, AcmeError>>, AcmeError> {
    let none = |reason: String| AcmeError::NoAddress { name: name.clone(), reason };
    let addresses = tokio::time::timeout(PATIENCE, dns.resolve(name))
        .await
        .map_err(|_| none("no answer in time".to_owned()))?
        .map_err(|error| none(error.to_string()))?;
    if addresses.is_empty() {
        return Err(none("it has none".to_owned()));
    }
    let mut looked = Vec::new();
    for address in addresses {
        let asked = tokio::time::timeout(PATIENCE, ask(name, address, port, answer));
        let instead = match asked.await {
            Ok(Ok(())) => {
                looked.push(Ok(address));
                continue;
            }
            Ok(Err(instead)) => instead,
            Err(_) => format!("gave no answer within {} s", PATIENCE.as_secs()),
        };
        looked.push(Err(AcmeError::Elsewhere { name: name.clone(), address, port, instead }));
    }
    Ok(looked)
}

async fn ask(name: &DnsName, address: IpAddr, port: u16, answer: &ChallengeAnswer) -> Result<(), String> {
    let at = Address::parse(&format!("http://{}", SocketAddr::new(address, port)))?;
    let request = Request::get(answer.token().path())
        .header(header::HOST, name.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let options = ConnectOptions { largest_answer: LARGEST, ..ConnectOptions::default() };
    let found = http_client::send(&at, request, &options)
        .await
        .map_err(|error| format!("could not be asked ({error})"))?;
    if found.status != http::StatusCode::OK {
        return Err(format!("answered {}", found.status.as_u16()));
    }
    if found.body.trim_ascii() != answer.to_string().as_bytes() {
        return Err("gave another answer than our edge does".to_owned());
    }
    Ok(())
}
