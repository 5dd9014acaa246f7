//! Hosts as resources: made, left alone, mended, given back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use uuid::Uuid;
use vrooli_deploy_core::configuration::Configuration;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind, StackId};
use vrooli_deploy_core::provider::{
    Cancellation, Change, Created, ErrorKind, Found, LowerOptions, OpCtx, OpToken, OpenContext, Outputs,
    PhysicalId, Provider, ProviderError, ProviderFactory as _, Scope,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::secrets::SecretStore;
use vrooli_deploy_core::stack::Stack;
use vrooli_deploy_provider_bare_metal::BareMetalFactory;
use vrooli_deploy_provider_bare_metal::ground::{HostRecord, Progress, Servers};

use crate::no_secrets::NoSecrets;
use crate::rig::Rig;
use crate::{host, options, trial, trusted, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("ground_made_left_alone_and_given_back", made_left_alone_and_given_back),
        trial("ground_drift_of_every_field_is_seen_and_mended", drift_of_every_field_is_seen_and_mended),
        trial("ground_two_stacks_share_a_host", two_stacks_share_a_host),
        trial(
            "ground_docker_is_installed_unless_there_is_another",
            docker_is_installed_unless_there_is_another,
        ),
        trial("ground_ufw_is_used_where_it_is_active", ufw_is_used_where_it_is_active),
        trial("ground_killed_in_the_middle", killed_in_the_middle),
        trial("ground_what_goes_wrong_is_told_apart", what_goes_wrong_is_told_apart),
        trial("ground_one_run_at_a_time", one_run_at_a_time),
    ]
}

pub(crate) const OWNER: Uuid = Uuid::from_u128(11);
const INCARNATION: Uuid = Uuid::from_u128(12);

/// One run: a provider as a command opens it.
pub(crate) struct Session {
    pub(crate) servers: Arc<Servers>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) stack: Stack,
    fence: u64,
    owner: Uuid,
    /// Outputs of what was made or seen, for those that refer to it.
    outputs: Mutex<BTreeMap<ResourceKey, Outputs>>,
}

pub(crate) fn stack_id(app: &str) -> StackId {
    serde_json::from_value(json!({ "app": app, "environment": "default" })).unwrap()
}

pub(crate) fn lowered(app: &str, hosts: &[String]) -> Stack {
    let requirements: Requirements = serde_json::from_value(json!({
        "app": app, "services": {}, "resources": [], "dropped": [], "data_volume": true
    }))
    .unwrap();
    let servers: Vec<Value> =
        hosts.iter().map(|host| json!({ "host": host, "role": "app", "monthly_usd": "1" })).collect();
    let options = LowerOptions {
        infrastructure: serde_json::from_value(json!({ "servers": servers })).unwrap(),
        ..LowerOptions::default()
    };
    BareMetalFactory::new().lower(&stack_id(app), &requirements, &options).into_result().unwrap().0
}

impl Session {
    pub(crate) fn open(rig: &Rig, app: &str, hosts: u32, fence: u64) -> Self {
        let names: Vec<String> = (1..=hosts).map(|number| rig.name(number)).collect();
        Self::of(rig, lowered(app, &names), fence, OWNER)
    }

    pub(crate) fn of(rig: &Rig, stack: Stack, fence: u64, owner: Uuid) -> Self {
        Self::with(rig, stack, fence, owner, Arc::new(NoSecrets))
    }

    pub(crate) fn with(
        rig: &Rig,
        stack: Stack,
        fence: u64,
        owner: Uuid,
        secrets: Arc<dyn SecretStore>,
    ) -> Self {
        let context = OpenContext {
            dir: rig.folder().join("state"),
            owner,
            stack: stack.id.clone(),
            secrets,
            configuration: Configuration::default(),
            resources: stack.resources.iter().map(|(key, one)| (key.clone(), one.spec.clone())).collect(),
            ids: Default::default(),
            kinds: Default::default(),
            leaving: Default::default(),
        };
        let factory = BareMetalFactory::new().with_ssh(options(rig));
        let servers = factory.servers(&context).unwrap();
        let provider = factory.provider(&servers, &context);
        Self { servers, provider, stack, fence, owner, outputs: Mutex::default() }
    }

    pub(crate) fn cx(&self) -> OpCtx {
        let deadline = Instant::now() + Duration::from_secs(1800);
        OpCtx::new(self.stack.id.clone(), self.owner, self.fence, deadline, Cancellation::new())
            .with_incarnation(INCARNATION)
    }

    pub(crate) fn phases(&self) -> u64 {
        self.servers.round_trips().phases
    }

    fn remember(&self, kind: &ResourceKind, key: &ResourceKey, id: &PhysicalId, observed: &Value) {
        let outputs = self.provider.kind(kind).unwrap().outputs(id, observed).unwrap();
        self.outputs.lock().unwrap().insert(key.clone(), outputs);
    }

    /// What is wanted, references resolved as far as that is known.
    pub(crate) fn wanted(&self, key: &ResourceKey) -> Value {
        let outputs = self.outputs.lock().unwrap();
        fn fill(value: &mut Value, outputs: &BTreeMap<ResourceKey, Outputs>) {
            if let (Some(key), Some(name)) = (value["$ref"].as_str(), value["output"].as_str()) {
                let (key, name) = (ResourceKey::new(key).unwrap(), OutputName::new(name).unwrap());
                if let Some(found) = outputs.get(&key).and_then(|all| all.get(&name)) {
                    *value = serde_json::to_value(found).unwrap();
                }
                return;
            }
            match value {
                Value::Object(fields) => fields.values_mut().for_each(|value| fill(value, outputs)),
                Value::Array(items) => items.iter_mut().for_each(|value| fill(value, outputs)),
                _ => {}
            }
        }
        let mut spec = self.stack.resources[key].spec.clone();
        fill(&mut spec, &outputs);
        spec
    }

    /// Looks, and remembers what others refer to.
    async fn inventory(&self) -> Vec<(ResourceKind, Found<Value>)> {
        let scope = Scope { stack: self.stack.id.clone(), page: None };
        let found = self.provider.inventory(&self.cx(), &scope).await.unwrap();
        for (kind, found) in &found {
            self.remember(kind, &found.key, &found.id, &found.observed);
        }
        found
    }

    /// What is seen of one.
    pub(crate) async fn observed(&self, key: &str) -> Value {
        let found = self.inventory().await.into_iter().find(|(_, found)| found.key.as_str() == key);
        found.unwrap().1.observed
    }

    /// What there is, and what of it differs from what is wanted.
    async fn seen(&self) -> Vec<(ResourceKey, Change)> {
        let found = self.inventory().await;
        found
            .into_iter()
            .map(|(kind, found)| {
                let want = self.wanted(&found.key);
                let change = self.provider.kind(&kind).unwrap().diff(&want, &found.observed).unwrap();
                (found.key, change)
            })
            .collect()
    }

    /// Only what differs.
    pub(crate) async fn differences(&self) -> Vec<String> {
        let seen = self.seen().await;
        assert_eq!(seen.len(), self.stack.resources.len(), "{seen:?}");
        let differs = seen.into_iter().filter_map(|(key, change)| match change {
            Change::None => None,
            Change::InPlace(fields) => Some(format!("{}: {}", kind_of(&key), fields.join(" "))),
            Change::Replace(fields) => Some(format!("{} anew: {}", kind_of(&key), fields.join(" "))),
        });
        differs.collect()
    }

    pub(crate) async fn create(&self, key: &ResourceKey) -> Result<PhysicalId, ProviderError> {
        let resource = &self.stack.resources[key];
        let cx = self.cx().with_token(Some(OpToken::new(INCARNATION, key, 1)));
        match self.provider.create(&cx, &resource.kind, key, &self.wanted(key)).await? {
            Created::Read { id, observed, .. } => {
                self.remember(&resource.kind, key, &id, &observed);
                Ok(id)
            }
            Created::Unread { id, .. } => Ok(id),
        }
    }

    /// Makes everything, in the order that an engine would: what waits for nothing first.
    pub(crate) async fn make(&self) {
        for waits in [false, true] {
            let all = self.stack.resources.iter().filter(|(_, one)| one.after.is_empty() != waits);
            for made in futures_util::future::join_all(all.map(|(key, _)| self.create(key))).await {
                made.unwrap();
            }
        }
    }

    /// The same when a survey of a moment ago may not answer any more.
    pub(crate) async fn differences_later(&self) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        self.differences().await
    }

    pub(crate) async fn observed_nothing(&self) -> bool {
        self.inventory().await.is_empty()
    }

    pub(crate) async fn update(&self, key: &str) -> Result<(), ProviderError> {
        let (kind, found) =
            self.inventory().await.into_iter().find(|(_, found)| found.key.as_str() == key).unwrap();
        let want = self.wanted(&found.key);
        let (cx, key) = (self.cx(), &found.key);
        self.provider.update(&cx, &kind, key, &found.id, &found.observed, &want).await.map(drop)
    }

    pub(crate) async fn mend(&self) {
        let found = self.inventory().await;
        let cx = self.cx();
        let changes = found.iter().map(async |(kind, found)| {
            let want = self.wanted(&found.key);
            if self.provider.kind(kind).unwrap().diff(&want, &found.observed).unwrap() != Change::None {
                let (key, id) = (&found.key, &found.id);
                self.provider.update(&cx, kind, key, id, &found.observed, &want).await.unwrap();
            }
        });
        futures_util::future::join_all(changes).await;
    }

    pub(crate) async fn give_back(&self, keep: &[&str]) {
        let scope = Scope { stack: self.stack.id.clone(), page: None };
        let found = self.provider.inventory(&self.cx(), &scope).await.unwrap();
        // What waits for others goes before them.
        for waits in [true, false] {
            let some = found.iter().filter(|(_, found)| {
                self.stack.resources[&found.key].after.is_empty() != waits
                    && !keep.contains(&kind_of(&found.key))
            });
            let gone = some.map(|(kind, found)| self.delete(kind, &found.key, &found.id));
            futures_util::future::join_all(gone).await;
        }
    }

    async fn delete(&self, kind: &ResourceKind, key: &ResourceKey, id: &PhysicalId) {
        self.provider.delete(&self.cx(), kind, key, id).await.unwrap();
    }
}

fn kind_of(key: &ResourceKey) -> &str {
    key.as_str().split('/').next().unwrap()
}

fn key(kind: &str, rig: &Rig) -> ResourceKey {
    ResourceKey::new(format!("{kind}/{}", rig.name(1))).unwrap()
}

/// All that could be left of us, and all that was there before.
pub(crate) fn everything(rig: &Rig, number: u32) -> BTreeSet<String> {
    let text = rig.on(
        number,
        "cut -d: -f1 /etc/passwd | sed 's/^/user /'; cut -d: -f1 /etc/group | sed 's/^/group /'; \
         dpkg-query -W -f='${db:Status-Status} ${Package}\\n' | sed -n 's/^installed /package /p'; \
         find /var/lib/vrooli-deploy /etc/systemd/system 2>/dev/null | sed 's/^/file /'; \
         nft list tables 2>/dev/null; true",
    );
    text.lines().map(ToOwned::to_owned).collect()
}

/// Nothing more and nothing less than that.
fn same(rig: &Rig, before: &BTreeSet<String>) {
    let after = everything(rig, 1);
    assert_eq!(after.symmetric_difference(before).collect::<Vec<_>>(), Vec::<&String>::new());
}

fn record(rig: &Rig, app: &str) -> HostRecord {
    HostRecord::read(&rig.on(1, &format!("cat /var/lib/vrooli-deploy/host-record/{app}.default.json")))
        .unwrap()
}

/// A bare server becomes a host in four round trips; looked at again it takes one, however many kinds
/// there are; and destroyed, what is left is what was there before.
async fn made_left_alone_and_given_back() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    let before = everything(&rig, 1);
    assert!(!before.contains("package nftables"));
    let first = Session::open(&rig, "shop", 1, 1);
    assert_eq!(first.seen().await, []);
    first.make().await;
    let setup = first.phases();
    assert!(setup <= 4, "{setup} round trips");
    assert_eq!(first.differences().await, Vec::<String>::new());
    drop(first);
    // What a user would see there.
    let seen = rig.on(1, "stat -c '%a %U %G %n' /var/lib/vrooli-deploy/workspace/apps/shop/default /var/lib/vrooli-deploy/workspace/apps/shop/default/data; getent passwd vd-shop; nft list table inet vrooli_deploy");
    assert!(seen.contains("750 root vd-shop /var/lib/vrooli-deploy/workspace/apps/shop/default"), "{seen}");
    assert!(
        seen.contains("700 vd-shop vd-shop /var/lib/vrooli-deploy/workspace/apps/shop/default/data"),
        "{seen}"
    );
    assert!(seen.contains("tcp dport 22 accept") && seen.contains("tcp dport { 80, 443 } accept"), "{seen}");
    let recorded = record(&rig, "shop");
    assert_eq!((recorded.owner, recorded.incarnation), (OWNER, INCARNATION));
    assert_eq!(recorded.resources.len(), 6);
    assert!(recorded.resources.values().all(|one| one.progress == Progress::Ready));
    let token = recorded.resources[&key("user", &rig)].token;
    assert_eq!(token, Some(OpToken::new(INCARNATION, &key("user", &rig), 1)));

    let second = Session::open(&rig, "shop", 1, 2);
    assert_eq!(second.differences().await, Vec::<String>::new());
    assert_eq!(second.phases(), 1);
    // The same made again is found: nothing twice.
    second.make().await;
    assert_eq!(record(&rig, "shop").resources.len(), 6);

    // Data stay unless they are asked for, and so does whose they are.
    rig.on(1, "echo precious >/var/lib/vrooli-deploy/workspace/apps/shop/default/data/file");
    second.give_back(&["data", "user"]).await;
    let kept = "/var/lib/vrooli-deploy/workspace/apps/shop/default/data/file";
    assert_eq!(rig.on(1, &format!("cat {kept}; stat -c %U $(dirname {kept})")), "precious\nvd-shop");
    assert_eq!(record(&rig, "shop").resources.len(), 2);
    second.give_back(&[]).await;
    same(&rig, &before);
}

/// Each thing that somebody else changes is seen under the name of its field, and mended.
async fn drift_of_every_field_is_seen_and_mended() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    let session = Session::open(&rig, "shop", 1, 1);
    session.make().await;
    drop(session);
    let folder = "/var/lib/vrooli-deploy/workspace/apps/shop/default";
    for (harm, seen) in [
        ("dpkg --remove --force-depends nftables >/dev/null".to_owned(), "packages: packages"),
        ("userdel vd-shop".to_owned(), "user: present"),
        ("usermod -d /tmp vd-shop".to_owned(), "user: home"),
        ("usermod -s /bin/sh vd-shop".to_owned(), "user: shell"),
        (format!("chmod 777 {folder}/releases"), "directories: mode"),
        (format!("chown nobody {folder}/releases"), "directories: owner"),
        (format!("chgrp nogroup {folder}/data"), "data: owner"),
        (format!("rm -r {folder}/releases"), "directories: directories"),
        ("nft delete table inet vrooli_deploy".to_owned(), "firewall: ports lasts"),
        (
            "h=$(nft -a list chain inet vrooli_deploy input | sed -n 's/.*tcp dport .*443 .* handle //p'); nft delete rule inet vrooli_deploy input handle $h".to_owned(),
            "firewall: ports",
        ),
        ("systemctl disable -q vrooli-deploy-firewall".to_owned(), "firewall: lasts"),
    ] {
        rig.on(1, &harm);
        let session = Session::open(&rig, "shop", 1, 1);
        let differences = session.differences().await;
        assert!(differences.iter().any(|one| one == seen), "{harm}: {differences:?}");
        assert_eq!(session.phases(), 1);
        // Some harm others on their way; what depends on them is mended after them.
        for _ in 0..2 {
            session.mend().await;
        }
        let left = Session::open(&rig, "shop", 1, 1).differences().await;
        assert_eq!(left, Vec::<String>::new(), "after {harm}");
    }
    // A change of what is wanted: a package more, a port less.
    let mut stack = lowered("shop", &[rig.name(1)]);
    let mut set = |kind: &str, field: &str, value: Value| {
        stack.resources.get_mut(&key(kind, &rig)).unwrap().spec[field] = value;
    };
    set("packages", "packages", json!(["ca-certificates", "iproute2", "nftables", "jq"]));
    set("firewall", "ports", json!([443]));
    let session = Session::of(&rig, stack, 1, OWNER);
    assert_eq!(session.differences().await, ["firewall: ports", "packages: packages"]);
    session.mend().await;
    assert_eq!(session.differences().await, Vec::<String>::new());
    assert!(rig.on(1, "nft list table inet vrooli_deploy").contains("tcp dport 443 accept"));
    assert!(rig.on(1, "command -v jq").contains("jq"));
}

/// Neither knows of the other; what both want stays until neither does.
async fn two_stacks_share_a_host() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    let before = everything(&rig, 1);
    let (shop, blog) = (Session::open(&rig, "shop", 1, 1), Session::open(&rig, "blog", 1, 1));
    // Both at the same time: the host takes one after the other.
    futures_util::future::join(shop.make(), blog.make()).await;
    drop(shop);
    let shop = Session::open(&rig, "shop", 1, 2);
    shop.give_back(&[]).await;
    assert_eq!(shop.seen().await, []);
    let again = Session::open(&rig, "blog", 1, 2);
    assert_eq!(again.differences().await, Vec::<String>::new());
    assert!(rig.on(1, "dpkg-query -W -f='${db:Status-Status}' nftables").contains("installed"));
    drop(blog);
    again.give_back(&[]).await;
    same(&rig, &before);
    drop(shop);
    // What was installed before us stays, and so do rules of somebody else's.
    rig.on(1, "apt-get -qq update && apt-get -qq -y install nftables >/dev/null 2>&1; nft add table inet theirs; nft 'add chain inet theirs input { type filter hook input priority 0; policy accept; }'; nft add rule inet theirs input tcp dport 9 drop");
    let before = everything(&rig, 1);
    let shop = Session::open(&rig, "shop", 1, 3);
    shop.make().await;
    assert_eq!(shop.differences().await, Vec::<String>::new());
    assert!(!rig.on(1, "nft list tables").contains("vrooli_deploy"));
    shop.give_back(&[]).await;
    same(&rig, &before);
    assert!(rig.on(1, "nft list table inet theirs").contains("dport 9 drop"));
}

/// A Docker that is there already is used; without one there is one afterwards, with its program.
async fn docker_is_installed_unless_there_is_another() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    rig.on(
        1,
        "mkdir -p /tmp/p/DEBIAN && printf 'Package: docker-ce\\nVersion: 5:29.0\\nArchitecture: all\\nConflicts: docker.io\\n\
         Maintainer: nobody <nobody@example.com>\\nDescription: stands for the one of docker.com\\n' >/tmp/p/DEBIAN/control \
         && dpkg-deb -b /tmp/p /tmp/p.deb >/dev/null && dpkg -i /tmp/p.deb >/dev/null && rm -r /tmp/p /tmp/p.deb",
    );
    let before = everything(&rig, 1);
    let open = |fence| {
        let mut stack = lowered("shop", &[rig.name(1)]);
        let packages = json!(["ca-certificates", "docker.io", "iproute2", "nftables"]);
        stack.resources.get_mut(&key("packages", &rig)).unwrap().spec["packages"] = packages;
        Session::of(&rig, stack, fence, OWNER)
    };
    let session = open(1);
    session.make().await;
    let installed = || {
        rig.on(
            1,
            "dpkg-query -W -f='${Package} ${db:Status-Status}\\n' docker-ce docker.io 2>/dev/null || true",
        )
    };
    assert_eq!(installed(), "docker-ce installed\ndocker.io not-installed");
    assert_eq!(session.differences_later().await, Vec::<String>::new());
    assert_eq!(session.observed(key("packages", &rig).as_str()).await["packages"]["docker.io"], "5:29.0");
    session.give_back(&[]).await;
    same(&rig, &before);
    drop(session);

    let session = open(2);
    session.make().await;
    rig.on(1, "dpkg --remove docker-ce >/dev/null");
    assert_eq!(session.differences_later().await, ["packages: packages"]);
    session.mend().await;
    assert_eq!(session.differences_later().await, Vec::<String>::new());
    assert_eq!(
        rig.on(1, "dpkg-query -W -f='${db:Status-Status}' docker.io; command -v docker"),
        "installed/usr/bin/docker"
    );
    session.give_back(&[]).await;
    assert_eq!(installed(), "docker-ce not-installed\ndocker.io config-files");
}

/// Ports are opened in the user's own firewall, and closed again if we opened them.
async fn ufw_is_used_where_it_is_active() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    rig.on(1, "apt-get -qq update && apt-get -qq -y install ufw nftables >/dev/null 2>&1; ufw allow 22/tcp >/dev/null; ufw allow 443/tcp >/dev/null; ufw --force enable >/dev/null");
    let status = || rig.on(1, "ufw status | grep ALLOW");
    let before = status();
    assert!(before.contains("443/tcp") && !before.contains("80/tcp"), "{before}");
    let first = Session::open(&rig, "shop", 1, 1);
    first.make().await;
    assert_eq!(first.differences().await, Vec::<String>::new());
    drop(first);
    assert!(status().contains("80/tcp"), "{}", status());
    assert!(!rig.on(1, "nft list tables").contains("vrooli_deploy"));
    rig.on(1, "ufw delete allow 80/tcp");
    let second = Session::open(&rig, "shop", 1, 2);
    assert_eq!(second.differences().await, ["firewall: ports"]);
    second.mend().await;
    assert_eq!(second.differences().await, Vec::<String>::new());
    second.give_back(&[]).await;
    assert_eq!(status(), before);
}

/// The host dies, or we do, while it is changed: run again all is there, once, and recorded.
async fn killed_in_the_middle() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    // Our process is gone: a change goes on without us, and the next run waits for it. `apt-get`
    // waits for us to be gone.
    rig.on(1, "printf '#!/bin/sh\\nuntil [ -e /tmp/go ]; do sleep 0.1; done\\nexec /usr/bin/apt-get \"$@\"\\n' >/usr/local/sbin/apt-get; chmod 755 /usr/local/sbin/apt-get");
    let session = Session::open(&rig, "shop", 1, 1);
    let packages = key("packages", &rig);
    let begun = until("packages are being installed", || {
        !rig.on(1, "ls -d /var/lib/vrooli-deploy/packages/nftables/ours 2>/dev/null || true").is_empty()
    });
    tokio::select! {
        made = session.create(&packages) => panic!("it cannot be done yet: {made:?}"),
        () = begun => {}
    }
    drop(session);
    assert_eq!(record(&rig, "shop").resources[&packages].progress, Progress::Creating);
    rig.on(1, "touch /tmp/go");
    let next = Session::open(&rig, "shop", 1, 2);
    next.make().await;
    assert_eq!(next.differences().await, Vec::<String>::new());
    drop(next);

    // The host loses power in the middle of everything.
    let session = Session::open(&rig, "blog", 1, 1);
    let making = async {
        let all = session.stack.resources.keys().map(|key| session.create(key));
        futures_util::future::join_all(all).await
    };
    let (made, ()) = tokio::join!(making, async {
        until("the record is there", || {
            !rig.on(1, "ls /var/lib/vrooli-deploy/host-record/blog.default.json 2>/dev/null || true")
                .is_empty()
        })
        .await;
        rig.docker(&["kill"], 1);
    });
    let ambiguous = |made: &Result<PhysicalId, ProviderError>| match made {
        Ok(_) => true,
        Err(error) => matches!(
            error.kind(),
            ErrorKind::Ambiguous | ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Unexpected
        ),
    };
    assert!(made.iter().all(ambiguous), "{made:?}");
    rig.docker(&["start"], 1);
    let name = host(&rig, 1);
    until("ssh listens", || {
        let words = ["exec", name.as_str(), "systemctl", "is-active", "ssh"];
        std::process::Command::new("docker").args(words).output().is_ok_and(|state| state.status.success())
    })
    .await;
    // Whole, whatever it says.
    record(&rig, "blog");
    let again = Session::open(&rig, "blog", 1, 2);
    again.make().await;
    assert_eq!(again.differences().await, Vec::<String>::new());
    assert_eq!(rig.on(1, "getent passwd | grep -c '^vd-blog:'"), "1");
    assert_eq!(rig.on(1, "ls /var/lib/vrooli-deploy/host-record | grep -c new || true"), "0");
}

async fn what_goes_wrong_is_told_apart() {
    let rig = Rig::up(1, &["--tmpfs", "/var/lib/vrooli-deploy:size=1m,mode=755"]);
    drop(trusted(&rig, 1).await);
    // A user of that name that is not ours.
    rig.on(1, "useradd vd-shop");
    let session = Session::open(&rig, "shop", 1, 1);
    let error = session.create(&key("user", &rig)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::AlreadyExists, Some("VD0925")), "{error:?}");
    assert_eq!(rig.on(1, "getent passwd vd-shop | cut -d: -f7"), "/bin/sh");
    assert_eq!(session.seen().await, [], "nothing of it is recorded");
    rig.on(1, "userdel vd-shop");

    // No archive answers: what apt says is told, and what asked at the same time is done.
    rig.on(1, "mv /etc/apt/sources.list /root/");
    let (packages, user) = (key("packages", &rig), key("user", &rig));
    let (packages, user) = futures_util::future::join(session.create(&packages), session.create(&user)).await;
    let error = packages.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unexpected, Some("VD0924")), "{error:?}");
    assert!(error.context()[0].1.contains("nftables"), "{error:?}");
    user.unwrap();
    rig.on(1, "mv /root/sources.list /etc/apt/");

    // The disk is full.
    rig.on(1, "head -c 2000000 /dev/zero >/var/lib/vrooli-deploy/full 2>/dev/null || true");
    let before = record(&rig, "shop");
    let error = session.create(&key("directories", &rig)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Quota, Some("VD0918")), "{error:?}");
    assert_eq!(record(&rig, "shop"), before);
    rig.on(1, "rm /var/lib/vrooli-deploy/full");
    session.create(&key("directories", &rig)).await.unwrap();

    // A record that nobody can read stops everything.
    rig.on(1, "cp /var/lib/vrooli-deploy/host-record/shop.default.json /tmp/; echo '{' >/var/lib/vrooli-deploy/host-record/shop.default.json");
    let scope = Scope { stack: stack_id("shop"), page: None };
    let damaged = Session::open(&rig, "shop", 1, 1);
    let error = damaged.provider.inventory(&damaged.cx(), &scope).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, Some("VD0923")), "{error:?}");
    rig.on(1, "cp /tmp/shop.default.json /var/lib/vrooli-deploy/host-record/");

    // Another state's.
    let stranger = Session::of(&rig, lowered("shop", &[rig.name(1)]), 1, Uuid::from_u128(99));
    let error = stranger.provider.inventory(&stranger.cx(), &scope).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, Some("VD0919")), "{error:?}");
    let error = stranger.create(&key("server", &rig)).await.unwrap_err();
    assert_eq!(error.code(), Some("VD0919"), "{error:?}");

    // No root: nothing is even looked at.
    rig.on(1, "rm /etc/sudoers.d/deploy");
    let powerless = Session::open(&rig, "shop", 1, 1);
    let error = powerless.provider.inventory(&powerless.cx(), &scope).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, Some("VD0907")), "{error:?}");
}

/// A run that was overtaken is refused; one that is gone lets go.
async fn one_run_at_a_time() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    let old = Session::open(&rig, "shop", 1, 4);
    old.create(&key("user", &rig)).await.unwrap();
    let new = Session::open(&rig, "shop", 1, 5);
    // The old one still holds it: the new one waits until it is gone.
    let directories = key("directories", &rig);
    let (made, ()) = tokio::join!(new.create(&directories), async {
        until("somebody waits", || rig.on(1, "pgrep -f 'flock -w [3]5' || true").lines().count() > 0).await;
        drop(old);
    });
    made.unwrap();
    drop(new);
    let late = Session::open(&rig, "shop", 1, 4);
    let error = late.create(&key("server", &rig)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Fenced, Some("VD0922")), "{error:?}");
    assert!(!record(&rig, "shop").resources.contains_key(&key("server", &rig)));
    drop(late);
    // Nobody hears of it any more, though its connection stands: the host lets go by itself.
    let silent = Session::open(&rig, "shop", 1, 6);
    silent.create(&key("server", &rig)).await.unwrap();
    let free = "flock -n /run/vrooli-deploy/shop.default.lease echo free || true";
    assert_eq!(rig.on(1, free), "");
    let name = rig.name(1);
    let ours: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.starts_with(b"ssh") && String::from_utf8_lossy(&line).contains(&name)
        })
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert!(!ours.is_empty());
    let signal = |signal: &str| {
        assert!(std::process::Command::new("kill").arg(signal).args(&ours).status().unwrap().success());
    };
    signal("-STOP");
    until("it lets go", || rig.on(1, free) == "free").await;
    signal("-CONT");
}
