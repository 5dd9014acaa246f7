//! Which backends answer. The workers say when one did not (passive), and tables may ask for
//! regular checks (active); either way it is a check of ours that decides. A backend that is
//! down gets requests only when all others are down too: better a try than none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::control::Control;
use crate::table::{HealthCheck, SiteTable};

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(100);
/// How often a backend that is down and has no check of its own is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How long such a try may take.
const CONNECT: Duration = Duration::from_secs(1);

/// What is known of one backend.
#[derive(Debug)]
struct Known {
    check: Option<HealthCheck>,
    next: Instant,
    checking: bool,
    /// Checks that failed in a row.
    failed: u32,
    down: bool,
}

/// Looks after the backends of all tables. Never ends.
pub(crate) async fn watch(control: Rc<Control>, mut reports: mpsc::UnboundedReceiver<SocketAddr>) {
    let mut backends: BTreeMap<SocketAddr, Known> = BTreeMap::new();
    let (done, mut results) = mpsc::unbounded_channel::<(SocketAddr, Result<(), String>)>();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut generation = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(address) = reports.recv() => {
                // Said by many requests at once; one check tells.
                if let Some(known) = backends.get_mut(&address).filter(|known| !known.down) {
                    known.next = Instant::now();
                    known.check.get_or_insert_with(HealthCheck::connecting);
                }
            }
            Some((address, result)) = results.recv() => {
                if let Some(known) = backends.get_mut(&address) {
                    settle(address, known, result);
                }
            }
        }
        let current = control.generation();
        if generation != Some(current) {
            adopt(&mut backends, &control.tables());
            generation = Some(current);
        }
        let now = Instant::now();
        for (address, known) in &mut backends {
            let Some(check) = known.check.clone() else { continue };
            if known.checking || known.next > now {
                continue;
            }
            known.checking = true;
            let (address, done) = (*address, done.clone());
            tokio::task::spawn_local(async move {
                let _ = done.send((address, ask(address, &check).await));
            });
        }
        let down: BTreeSet<SocketAddr> =
            backends.iter().filter(|(_, known)| known.down).map(|(address, _)| *address).collect();
        if control.set_down(down) {
            generation = Some(control.generation());
        }
    }
}

/// Keeps what is known of backends that still are in a table.
fn adopt(backends: &mut BTreeMap<SocketAddr, Known>, tables: &[SiteTable]) {
    let mut wanted: BTreeMap<SocketAddr, Option<HealthCheck>> = BTreeMap::new();
    for table in tables {
        for (service, addresses) in table.releases.values().flat_map(|release| &release.backends) {
            for address in addresses {
                let check = table.health.get(service).cloned();
                let slot = wanted.entry(*address).or_default();
                *slot = slot.take().or(check);
            }
        }
    }
    backends.retain(|address, _| wanted.contains_key(address));
    for (address, check) in wanted {
        match backends.get_mut(&address) {
            Some(known) if check.is_some() => known.check = check,
            // A check that a report began goes on until it is up again.
            Some(known) if known.down || known.checking => {}
            Some(known) => known.check = None,
            None => {
                let known = Known { check, next: Instant::now(), checking: false, failed: 0, down: false };
                backends.insert(address, known);
            }
        }
    }
}

fn settle(address: SocketAddr, known: &mut Known, result: Result<(), String>) {
    known.checking = false;
    let Some(check) = &known.check else { return };
    known.next = Instant::now() + check.interval;
    match result {
        Ok(()) => {
            if std::mem::take(&mut known.down) {
                tracing::info!(backend = %address, "a backend answers again");
            }
            known.failed = 0;
            if check.by_report {
                known.check = None;
            }
        }
        Err(why) => {
            known.failed += 1;
            if known.failed >= check.unhealthy_after.max(1) && !std::mem::replace(&mut known.down, true) {
                tracing::warn!(backend = %address, %why, "a backend is down");
            }
        }
    }
}

impl HealthCheck {
    /// What is asked of a backend that a request could not reach.
    fn connecting() -> Self {
        Self { path: None, interval: RETRY, timeout: CONNECT, unhealthy_after: 1, by_report: true }
    }
}

async fn ask(address: SocketAddr, check: &HealthCheck) -> Result<(), String> {
    let answer = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let Some(path) = &check.path else { return Ok(()) };
        let (mut sender, connection) = http1::handshake::<_, Empty<bytes::Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let request = http::Request::get(path)
            .header(http::header::HOST, address.to_string())
            .header(http::header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let asked = async { sender.send_request(request).await.map_err(|error| error.to_string()) };
        let mut asked = std::pin::pin!(asked);
        let response = tokio::select! {
            biased;
            response = &mut asked => response?,
            _ = connection => asked.await?,
        };
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(format!("it answers {status}"))
        }
    };
    let late = || Err(format!("it does not answer within {} ms", check.timeout.as_millis()));
    tokio::time::timeout(check.timeout, answer).await.unwrap_or_else(|_| late())
}
