//! Smoke tests through the load balancer, and the address that the app is reached at.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::Full;
use vrooli_deploy_core::http_client::{Address, ConnectOptions, send};
use vrooli_deploy_core::manifest::SmokeTest;
use vrooli_deploy_core::provider::{OpCtx, Result, SmokeReport};
use vrooli_deploy_core::release::{Release, smoke};

use super::AwsFleet;
use super::carrier::Carrier;
use super::site::Site;
use crate::native::Calls;

/// Of one smoke test.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A load balancer takes some seconds until all of it knows new weights: so long it is asked again while
/// it has nobody to pass a request on to.
const NOT_READY: Duration = Duration::from_secs(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// "Service Unavailable": the request was not taken, so it may be made again.
const UNAVAILABLE: u16 = 503;

impl<C: Carrier> AwsFleet<C> {
    /// The address of the app; without a domain that of the load balancer.
    pub(super) async fn url(&self, at: &Calls<'_>, site: &Site<C::On>) -> Result<Option<String>> {
        Ok(self.reached(at, site).await?.map(|reached| {
            let scheme = if reached.secure { "https" } else { "http" };
            format!("{scheme}://{}/", site.domain.as_ref().unwrap_or(&reached.name))
        }))
    }

    pub(super) async fn run_smoke(&self, cx: &OpCtx, release: &Release) -> Result<SmokeReport> {
        let mut report = SmokeReport::default();
        if release.bundle.smoke.is_empty() {
            return Ok(report);
        }
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let Some(reached) = self.reached(&at, &site).await? else { return Ok(report) };
        // By TLS only the name that the certificate is for will do; without, a name need not be delegated.
        let host = site.domain.as_ref().unwrap_or(&reached.name);
        let base =
            if reached.secure { format!("https://{host}") } else { format!("http://{}", reached.name) };
        // A service that nothing is routed to cannot be asked there.
        let routed = |test: &&SmokeTest| site.pairs.iter().any(|pair| pair.service == test.service.as_str());
        for test in release.bundle.smoke.iter().filter(routed) {
            match asked(test, &base, host).await {
                Ok(()) => report.passed += 1,
                Err(why) => {
                    report.failed.push(format!("{} {} on `{}`: {why}", test.method, test.path, test.service));
                }
            }
        }
        Ok(report)
    }
}

async fn asked(test: &SmokeTest, base: &str, host: &str) -> std::result::Result<(), String> {
    let address = Address::parse(base)?;
    let request = Request::builder().method(test.method.as_str()).uri(&test.path).header(HOST, host);
    let (request, body) = match &test.body {
        Some(body) => (request.header(CONTENT_TYPE, "application/json"), Bytes::from(body.to_string())),
        None => (request, Bytes::new()),
    };
    let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
    let (options, begun) = (ConnectOptions::default(), Instant::now());
    let answer = loop {
        let answer = tokio::time::timeout(TIMEOUT, send(&address, request.clone(), &options)).await;
        let answer = answer.map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?;
        let answer = answer.map_err(|error| error.to_string())?;
        let wanted = test.expect.status == Some(UNAVAILABLE);
        if answer.status.as_u16() != UNAVAILABLE || wanted || begun.elapsed() >= NOT_READY {
            break answer;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = String::from_utf8_lossy(&answer.body);
    smoke::judge(test, answer.status.as_u16(), &kind.to_ascii_lowercase(), &body)
}
