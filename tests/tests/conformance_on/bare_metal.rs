//! A server over SSH as a subject of the suite: a real host, whose trials take turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;
use vrooli_deploy_core::configuration::Configuration;
use vrooli_deploy_core::names::{ResourceKey, ResourceKind, StackId};
use vrooli_deploy_core::plan::Draft;
use vrooli_deploy_core::provider::{BuildRequest, Cancellation, Op, OpCtx, OpenContext, Provider, Scope};
use vrooli_deploy_providers::bare_metal::BareMetalFactory;
use vrooli_deploy_providers::bare_metal::ground::Servers;
use vrooli_deploy_providers::bare_metal::host::HostName;
use vrooli_deploy_providers::bare_metal::hosts::Hosts;
use vrooli_deploy_providers::bare_metal::remote::{Fingerprint, SshOptions};
use vrooli_deploy_tests::conformance::{Break, Place, ProviderFixture, Running, Sample};
use vrooli_deploy_tests::fakecloud::MemorySecrets;

use crate::rig::{self, Rig};

/// Who owns what the suite makes.
const OWNER: Uuid = Uuid::from_u128(1);
/// The user of the suite's stack, as its kind makes it: folders need one, whatever is tried.
const USER: &str = "getent passwd vd-conformance >/dev/null || useradd --system --user-group --no-create-home \
    --home-dir /var/lib/vrooli-deploy/apps/conformance.default --shell /usr/sbin/nologin \
    --comment 'vrooli-deploy conformance.default' vd-conformance";

/// A host for some kinds, and whose turn it is.
pub(crate) struct BareMetalFixture {
    kinds: &'static [&'static str],
    rig: Option<Arc<Rig>>,
    turn: Arc<Mutex<()>>,
}

impl BareMetalFixture {
    /// Two, made at the same time, so that two trials of servers can run at the same time; with no
    /// kinds, and why, where there can be no hosts.
    pub(crate) fn two() -> [Self; 2] {
        std::thread::scope(|scope| {
            let data = scope.spawn(|| Self::of(&["postgres", "backup"]));
            let others = Self::of(&["server", "packages", "user", "directories", "firewall", "redis"]);
            [others, data.join().unwrap()]
        })
    }

    fn of(kinds: &'static [&'static str]) -> Self {
        let rig = match rig::absent() {
            Some(why) => {
                println!("skipped: bare-metal: {why}");
                None
            }
            // A list of trials needs no host.
            None if std::env::args().any(|argument| argument == "--list") => None,
            None => {
                let rig = Rig::up(1, &[]);
                rig.on(1, "apt-get -qq update && mkdir -p /etc/postgresql-common/createcluster.d && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/test.conf && apt-get -qq -y install --no-install-recommends nftables postgresql redis-server >/dev/null 2>&1 && systemctl disable -q --now redis-server");
                Some(Arc::new(rig))
            }
        };
        Self { kinds, rig, turn: Arc::default() }
    }

    fn options(rig: &Rig) -> SshOptions {
        let mut options = SshOptions::default();
        options.config = Some(rig.ssh_config());
        options.connect = Duration::from_secs(3);
        options.alive = Duration::from_secs(1);
        options
    }
}

fn stack() -> StackId {
    serde_json::from_value(json!({ "app": "conformance", "environment": "default" })).unwrap()
}

struct HostPlace {
    rig: Arc<Rig>,
    servers: Arc<Servers>,
    provider: Arc<dyn Provider>,
    _turn: OwnedMutexGuard<()>,
}

#[async_trait]
impl ProviderFixture for BareMetalFixture {
    async fn open(&self) -> Box<dyn Place> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let rig = Arc::clone(self.rig.as_ref().unwrap());
        rig.on(1, USER);
        let state = rig.folder().join("state");
        if !state.join("hosts/known_hosts").exists() {
            let hosts = Hosts::open(&state, Self::options(&rig)).unwrap();
            let host = HostName::new(rig.name(1)).unwrap();
            let fingerprint = Fingerprint::new(&rig.fingerprint(1, "ed25519")).unwrap();
            hosts.trust_fingerprint(&host, &fingerprint).await.unwrap();
        }
        let context = OpenContext {
            dir: state,
            owner: OWNER,
            stack: stack(),
            secrets: Arc::new(MemorySecrets::default()),
            configuration: Configuration::default(),
            resources: self.samples().into_iter().map(|sample| (sample.key, sample.spec)).collect(),
            ids: Default::default(),
            kinds: Default::default(),
            leaving: Default::default(),
        };
        let factory = BareMetalFactory::new().with_ssh(Self::options(&rig));
        let servers = factory.servers(&context).unwrap();
        let provider = factory.provider(&servers, &context);
        Box::new(HostPlace { rig, servers, provider, _turn: turn })
    }

    fn samples(&self) -> Vec<Sample> {
        let Some(rig) = &self.rig else { return Vec::new() };
        let host = rig.name(1);
        let sample = |kind: &str, spec: Value| {
            let with_host = |mut spec: Value| {
                spec["host"] = host.clone().into();
                spec
            };
            let spec = with_host(spec);
            let (changed, another) = match kind {
                "server" => (
                    Some(json!({ "role": "app", "runs_app": true, "resources": ["redis"] })),
                    Some(json!({ "role": "cache", "runs_app": false })),
                ),
                "packages" => (Some(json!({ "packages": ["jq", "nftables"] })), None),
                "directories" => (
                    Some(json!({ "directories": { ".": { "mode": "755" }, "more": { "mode": "700" } } })),
                    Some(json!({ "directories": { "other": { "mode": "700", "writable": true } } })),
                ),
                "firewall" => (Some(json!({ "ports": [443, 8443] })), None),
                "postgres" => (
                    Some(json!({
                        "name": "main", "database": "more", "extensions": ["pgcrypto"],
                        "address": "127.0.0.1", "clients": ["192.0.2.7"], "alone": true
                    })),
                    Some(json!({ "name": "other", "database": "a" })),
                ),
                "redis" => (
                    Some(json!({ "name": "main", "persistence": "none", "clients": ["192.0.2.7"] })),
                    Some(json!({ "name": "other" })),
                ),
                "backup" => (
                    Some(json!({
                        "name": "main", "of": "postgres", "database": "b", "keep": 3, "schedule": "hourly"
                    })),
                    Some(json!({ "name": "other", "of": "redis", "keep": 1, "schedule": "daily" })),
                ),
                _ => (None, None),
            };
            Sample {
                kind: ResourceKind::new(format!("bare-metal.{kind}")).unwrap(),
                key: ResourceKey::new(format!("{kind}/{host}")).unwrap(),
                spec,
                changed: changed.map(with_host),
                another: another.map(with_host),
                strict: true,
            }
        };
        let all = [
            ("server", json!({ "role": "app", "runs_app": true })),
            ("packages", json!({ "packages": ["jq"] })),
            ("user", json!({})),
            ("directories", json!({ "directories": { ".": { "mode": "750" } } })),
            ("firewall", json!({ "ports": [80, 443] })),
            ("postgres", json!({ "name": "main", "database": "a" })),
            ("redis", json!({ "name": "main" })),
            (
                "backup",
                json!({ "name": "main", "of": "postgres", "database": "a", "keep": 2, "schedule": "daily" }),
            ),
        ];
        let of_ours = all.into_iter().filter(|(kind, _)| self.kinds.contains(kind));
        of_ours.map(|(kind, spec)| sample(kind, spec)).collect()
    }

    fn release(&self) -> Option<(BuildRequest, Draft)> {
        None
    }

    fn block_on(&self, trial: Running<'_>) -> Result<(), Failed> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Failed::from(error.to_string()))?
            .block_on(trial)
    }
}

#[async_trait]
impl Place for HostPlace {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider)
    }

    fn calls(&self) -> Option<u64> {
        Some(self.servers.round_trips().phases)
    }

    fn break_next(&self, op: Op, how: Break) -> bool {
        // A host that hangs; it goes on when the trial is over.
        let can = (op, how) == (Op::Find, Break::Unreachable);
        if can {
            self.rig.docker(&["pause"], 1);
        }
        can
    }

    async fn close(&self) -> Result<(), String> {
        if self.rig.docker(&["inspect", "-f", "{{.State.Paused}}"], 1) == "true" {
            self.rig.docker(&["unpause"], 1);
        }
        let deadline = Instant::now() + Duration::from_secs(600);
        let cx = OpCtx::new(stack(), OWNER, u64::from(u32::MAX), deadline, Cancellation::new());
        let scope = Scope { stack: stack(), page: None };
        let told = |error: vrooli_deploy_core::provider::ProviderError| format!("cannot clean up: {error}");
        for (kind, found) in self.provider.inventory(&cx, &scope).await.map_err(told)? {
            self.provider.delete(&cx, &kind, &found.key, &found.id).await.map_err(told)?;
        }
        let left = self.rig.on(1, "find /var/lib/vrooli-deploy /var/backups/vrooli-deploy /etc/systemd/system/vrooli-deploy* /etc/systemd/system/postgresql@* /etc/postgresql/*/* 2>/dev/null; nft list tables | grep vrooli; dpkg-query -W -f '${db:Status-Status}\\n' jq 2>/dev/null | grep -x installed; true");
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left}")) }
    }
}
