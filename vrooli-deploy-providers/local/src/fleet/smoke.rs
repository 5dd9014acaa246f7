use std::time::{Duration, Instant};

use vrooli_deploy_core::manifest::{ServiceConfig, SmokeTest};
use vrooli_deploy_core::names::UnitId;
use vrooli_deploy_core::provider::{OpCtx, Result, SmokeReport, UnitObserved, UnitState};
use vrooli_deploy_core::release::{Release, migration, smoke};

use super::LocalFleet;
use super::http::{Answer, Ask, ask};

/// Of one smoke test.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long one that is not ready yet is asked again, where its startup grace is not shorter.
const NOT_READY: Duration = Duration::from_secs(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// "Service Unavailable": the request was not taken, so it may be made again.
const UNAVAILABLE: u16 = 503;

impl LocalFleet {
    pub(super) async fn run_smoke(
        &self,
        cx: &OpCtx,
        release: &Release,
        through_edge: bool,
    ) -> Result<SmokeReport> {
        let mut report = SmokeReport::default();
        // Who is reached by TLS is asked by it: without, the edge would only say to come by TLS.
        let secure = if through_edge { self.secure_port(&cx.stack)? } else { None };
        for test in &release.bundle.smoke {
            let name = format!("{} {} on `{}`", test.method, test.path, test.service);
            let ports: Vec<Option<u16>> = if through_edge {
                // A path that the edge gives to another service cannot be asked for there.
                if serving(release, &test.path).is_none_or(|name| *name != test.service) {
                    continue;
                }
                vec![secure.map_or_else(|| self.public_port(&cx.stack), |port| Ok(Some(port)))?]
            } else {
                self.asked_ports(cx, release, test).await?
            };
            let patience = if through_edge { Duration::ZERO } else { patience(release, test) };
            // Who shares an address is known by its name.
            let domain = release.bundle.domain.as_deref().filter(|_| through_edge);
            let host = domain.unwrap_or("localhost");
            let mut why = None;
            for port in ports {
                why = match port {
                    None => Some("there is no port to ask".to_owned()),
                    Some(port) => passes(test, host, (port, secure.is_some()), patience).await.err(),
                };
                if why.is_some() {
                    break;
                }
            }
            match why {
                None => report.passed += 1,
                Some(why) => report.failed.push(format!("{name}: {why}")),
            }
        }
        // Health says nothing of tables: 200 is what an app answers that has never seen them.
        if !through_edge {
            let root = self.app_root(&cx.stack, release)?;
            let bundle = &release.bundle;
            let missing =
                migration::missing_tables(&self.machine, cx, &root, &bundle.resources, &bundle.migrations)
                    .await?;
            report
                .failed
                .extend(missing.into_iter().map(|table| format!("the database has no table `{table}`")));
        }
        Ok(report)
    }

    /// Ports of the units that a test is for: all that run, where asking twice does no harm.
    async fn asked_ports(&self, cx: &OpCtx, release: &Release, test: &SmokeTest) -> Result<Vec<Option<u16>>> {
        let first = UnitId { service: test.service.clone(), index: 0 };
        let is_safe = ["GET", "HEAD", "OPTIONS"].contains(&test.method.as_str());
        let name = release.bundle.services.get(&test.service).and_then(|s| s.ports.keys().next());
        let is_asked = |seen: &UnitObserved| {
            seen.release == release.number
                && seen.unit.service == test.service
                && (seen.unit == first || (is_safe && seen.state == UnitState::Running))
        };
        let port = |seen: &UnitObserved| seen.ports.get(name?.as_str()).copied();
        let ports: Vec<_> = self.units(cx).await?.iter().filter(|s| is_asked(s)).map(port).collect();
        Ok(if ports.is_empty() { vec![None] } else { ports })
    }
}

async fn passes(
    test: &SmokeTest,
    host: &str,
    (port, secure): (u16, bool),
    patience: Duration,
) -> std::result::Result<(), String> {
    let asked = Ask {
        port,
        secure,
        method: &test.method,
        path: &test.path,
        host,
        json: test.body.as_ref(),
        timeout: TIMEOUT,
    };
    let answer = ask_until_ready(&asked, test, patience).await?;
    smoke::judge(test, answer.status, &answer.content_type, &answer.body)
}

/// Asks; again while the answer is 503, for so long at most. An app whose health is 200 before
/// it is ready gets its requests late and not too early.
async fn ask_until_ready(
    asked: &Ask<'_>,
    test: &SmokeTest,
    patience: Duration,
) -> std::result::Result<Answer, String> {
    let begun = Instant::now();
    loop {
        let answer = ask(asked).await?;
        let is_wanted = test.expect.status == Some(UNAVAILABLE);
        if answer.status != UNAVAILABLE || is_wanted || begun.elapsed() >= patience {
            return Ok(answer);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn patience(release: &Release, test: &SmokeTest) -> Duration {
    let service = release.bundle.services.get(&test.service);
    let grace = service.and_then(|s| s.health.as_ref()).and_then(|h| h.startup_grace);
    grace.map_or(NOT_READY, |grace| grace.min(NOT_READY))
}

/// The service that the edge gives a path to: the longest prefix on whole segments.
fn serving<'a>(release: &'a Release, path: &str) -> Option<&'a vrooli_deploy_core::names::ServiceName> {
    let path = path.split('?').next().unwrap_or(path);
    let fits = |prefix: &str| {
        let prefix = prefix.trim_end_matches('/');
        path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
    };
    let longest =
        |config: &ServiceConfig| config.routes.iter().filter(|r| fits(&r.path)).map(|r| r.path.len()).max();
    release
        .bundle
        .services
        .iter()
        .filter_map(|(name, config)| Some((longest(config)?, name)))
        .max_by_key(|(length, _)| *length)
        .map(|(_, name)| name)
}
