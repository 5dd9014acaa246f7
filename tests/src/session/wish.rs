use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};
use vrooli_deploy_core::engine::{Decision, StackState};
use vrooli_deploy_core::manifest::{
    BuildStep, Command, PortConfig, ServiceConfig, SmokeTest, StrategyConfig,
};
use vrooli_deploy_core::names::{
    AppName, Digest, EnvironmentName, OutputName, PortName, ResourceKey, ResourceKind, ServiceName, StackId,
    VariableName,
};
use vrooli_deploy_core::plan::{Draft, ReleaseSource};
use vrooli_deploy_core::provider::{BuildRequest, OutputValue};
use vrooli_deploy_core::release::{Bundle, EnvValue, Migration};
use vrooli_deploy_core::stack::{Reference, Resource, Stack};

/// What a run is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Resources by key.
    pub resources: BTreeMap<ResourceKey, Resource>,
    /// The release; `None` for a stack of resources alone.
    pub release: Option<ReleaseWish>,
    /// Nothing is to be left.
    pub gone: bool,
    /// What waits is decided so, instead of anything else. Where nothing waits any more nothing
    /// is to do.
    pub decide: Option<Decision>,
}

/// What a release is to be.
#[derive(Debug, Clone, Default)]
pub struct ReleaseWish {
    /// Its version; see [`FakeFleet`](crate::fakecloud::FakeFleet) for what it can say.
    pub version: String,
    /// Services with a port, and how many of each run.
    pub services: BTreeMap<&'static str, u32>,
    /// Services that must not run twice.
    pub workers: BTreeSet<&'static str>,
    /// SQL files.
    pub migrations: Vec<&'static str>,
    /// Variables of every service from outputs: name, key, output.
    pub env: Vec<(&'static str, &'static str, &'static str)>,
    /// Does it have smoke tests?
    pub smoke: bool,
    /// Does its build fail?
    pub build_fails: bool,
    /// Do its instances start and stop together?
    pub whole: bool,
    /// Watched for so many seconds.
    pub watch: Option<u64>,
    /// How it takes over; `watch` wins over what it says.
    pub strategy: StrategyConfig,
}

/// The stack of all tests.
#[must_use]
#[expect(clippy::unwrap_used, reason = "literals")]
pub fn stack_id() -> StackId {
    StackId { app: AppName::new("shop").unwrap(), environment: EnvironmentName::new("default").unwrap() }
}

/// A resource key from a literal.
///
/// # Panics
/// When it is none.
#[must_use]
#[expect(clippy::unwrap_used, reason = "literals of tests")]
pub fn key(text: &str) -> ResourceKey {
    ResourceKey::new(text).unwrap()
}

/// A resource of a kind of the fake cloud. `{"$ref": …}` in the spec refers to another.
///
/// # Panics
/// When the kind's name is none.
#[must_use]
#[expect(clippy::unwrap_used, reason = "literals of tests")]
pub fn resource(kind: &str, spec: Value) -> Resource {
    Resource {
        kind: ResourceKind::new(kind).unwrap(),
        spec,
        after: BTreeSet::new(),
        holds_data: kind == crate::fakecloud::kinds::DATABASE,
    }
}

impl Wish {
    /// Network, subnet, database, machine, bucket and record, each referring to the one before.
    #[must_use]
    pub fn full() -> Self {
        let resources = [
            ("network/main", "fake.network", json!({"cidr": "10.0.0.0/16", "label": "main"})),
            (
                "subnet/main",
                "fake.subnet",
                json!({"network": {"$ref": "network/main", "output": "id"}, "cidr": "10.0.1.0/24", "public": false}),
            ),
            (
                "database/main",
                "fake.database",
                json!({"subnet": {"$ref": "subnet/main", "output": "id"}, "size": "small", "version": "16"}),
            ),
            (
                "instance/main",
                "fake.instance",
                json!({
                    "subnet": {"$ref": "subnet/main", "output": "id"},
                    "size": "small",
                    "password": {"$ref": "database/main", "output": "password"},
                }),
            ),
            (
                "bucket/files",
                "fake.bucket",
                json!({"name": "shop-files", "region": "eu", "versioned": false}),
            ),
            (
                "record/main",
                "fake.record",
                json!({"name": "shop.example", "target": {"$ref": "instance/main", "output": "address"}}),
            ),
        ];
        Self {
            resources: resources.into_iter().map(|(k, kind, spec)| (key(k), resource(kind, spec))).collect(),
            release: Some(ReleaseWish::version("1")),
            gone: false,
            decide: None,
        }
    }

    /// A database with its network, and a release that needs it.
    #[must_use]
    pub fn small() -> Self {
        let mut wish = Self::full();
        for gone in ["instance/main", "bucket/files", "record/main"] {
            wish.resources.remove(&key(gone));
        }
        wish
    }

    /// The same with other values in a spec.
    ///
    /// # Panics
    /// When there is no such resource.
    #[must_use]
    pub fn with(mut self, resource: &str, field: &str, value: Value) -> Self {
        let spec = self.resources.get_mut(&key(resource)).map(|r| &mut r.spec);
        assert!(spec.is_some(), "no {resource}");
        if let Some(spec) = spec {
            spec[field] = value;
        }
        self
    }

    /// The same without a resource.
    #[must_use]
    pub fn without(mut self, resource: &str) -> Self {
        self.resources.remove(&key(resource));
        self
    }

    /// The same with another release.
    #[must_use]
    pub fn release(mut self, release: ReleaseWish) -> Self {
        self.release = Some(release);
        self
    }

    /// The same resources without a release.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.release = None;
        self
    }

    /// The same, by deciding about what waits.
    #[must_use]
    pub fn decided(mut self, decision: Decision) -> Self {
        self.decide = Some(decision);
        self
    }

    /// Nothing at all.
    #[must_use]
    pub fn gone() -> Self {
        Self { gone: true, ..Self::default() }
    }

    /// The stack.
    #[must_use]
    pub fn stack(&self) -> Stack {
        Stack { id: stack_id(), resources: self.resources.clone() }
    }
}

impl ReleaseWish {
    /// An API of two units, a worker, one SQL file more with each version, and the database's
    /// password in the environment.
    #[must_use]
    pub fn version(version: &str) -> Self {
        let migrations =
            if version.starts_with('1') { vec!["schema.sql"] } else { vec!["schema.sql", "002.sql"] };
        Self {
            version: version.to_owned(),
            services: BTreeMap::from([("api", 2)]),
            workers: BTreeSet::from(["worker"]),
            migrations,
            env: vec![
                ("DATABASE_URL", "database/main", "url"),
                ("DATABASE_PASSWORD", "database/main", "password"),
            ],
            smoke: true,
            build_fails: false,
            whole: false,
            watch: None,
            strategy: StrategyConfig::default(),
        }
    }

    /// The same with another strategy, as manifests say it.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "literals of tests")]
    pub fn by(mut self, strategy: Value) -> Self {
        self.strategy = serde_json::from_value(strategy).unwrap();
        self
    }

    /// The bundle before its artefact is built.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "literals of tests")]
    pub fn draft(&self) -> Draft {
        let config = |count: u32, port: bool| {
            let mut config: ServiceConfig = serde_json::from_value(json!({"run": "serve"})).unwrap();
            config.scaling.min = count;
            config.scaling.max = count;
            if port {
                config.ports.insert(PortName::new("http").unwrap(), PortConfig::default());
            }
            config
        };
        let mut services: BTreeMap<ServiceName, ServiceConfig> = self
            .services
            .iter()
            .map(|(name, count)| (ServiceName::new(*name).unwrap(), config(*count, true)))
            .collect();
        services.extend(self.workers.iter().map(|name| (ServiceName::new(*name).unwrap(), config(1, false))));
        let env: BTreeMap<VariableName, EnvValue> = self
            .env
            .iter()
            .map(|(name, of, output)| {
                let reference = Reference { key: key(of), output: OutputName::new(*output).unwrap() };
                (VariableName::new(*name).unwrap(), EnvValue::Output(reference))
            })
            .collect();
        let smoke: Vec<SmokeTest> = if self.smoke {
            vec![serde_json::from_value(json!({"service": "api", "path": "/"})).unwrap()]
        } else {
            Vec::new()
        };
        Draft {
            app: stack_id().app,
            environment: stack_id().environment,
            version: self.version.clone(),
            env: services.keys().map(|name| (name.clone(), env.clone())).collect(),
            services,
            smoke,
            strategy: StrategyConfig {
                watch: self.watch.map(std::time::Duration::from_secs).or(self.strategy.watch),
                ..self.strategy.clone()
            },
            domain: None,
            front: vrooli_deploy_core::release::Front::default(),
            capacity: std::collections::BTreeMap::new(),
            resources: Vec::new(),
            migrations: self
                .migrations
                .iter()
                .map(|file| Migration {
                    resource: "postgres".to_owned(),
                    file: (*file).to_owned(),
                    digest: Digest::of(file.as_bytes()),
                    irreversible: Vec::new(),
                })
                .collect(),
        }
    }

    /// How it is built.
    #[must_use]
    pub fn source(&self) -> ReleaseSource {
        let request = BuildRequest {
            root: PathBuf::from("/src"),
            context: PathBuf::from("/src"),
            exclude: vec![self.version.clone()],
            env: std::collections::BTreeMap::new(),
            include: Vec::new(),
            steps: if self.build_fails {
                vec![BuildStep {
                    name: "fail".to_owned(),
                    run: Command::Shell("false".to_owned()),
                    if_exists: Vec::new(),
                    unless_exists: Vec::new(),
                }]
            } else {
                Vec::new()
            },
            pass_env: Vec::new(),
            image: None,
            runs: Vec::new(),
            base_images: BTreeMap::new(),
            containers: None,
        };
        ReleaseSource::Build {
            source: Digest::of(self.version.as_bytes()),
            request: Box::new(request),
            draft: Box::new(self.draft()),
        }
    }

    /// Is this bundle what is wanted, with outputs as the state has them?
    #[must_use]
    pub fn is(&self, bundle: &Bundle, state: &StackState, fresh: &BTreeSet<ResourceKey>) -> bool {
        let draft = self.draft();
        let resolved = |value: &EnvValue| match value {
            EnvValue::Output(reference) if !fresh.contains(&reference.key) => {
                match state.resources.get(&reference.key)?.outputs.get(&reference.output)? {
                    OutputValue::Secret(secret) => Some(EnvValue::Secret(secret.clone())),
                    OutputValue::Plain(Value::String(text)) => Some(EnvValue::Value(text.clone())),
                    OutputValue::Plain(other) => Some(EnvValue::Value(other.to_string())),
                }
            }
            EnvValue::Output(_) => None,
            other => Some(other.clone()),
        };
        let env = draft.env.iter().all(|(service, env)| {
            env.iter().all(|(name, value)| {
                resolved(value).as_ref() == bundle.env.get(service).and_then(|env| env.get(name))
            })
        });
        env && draft.version == bundle.version
            && draft.services == bundle.services
            && draft.migrations == bundle.migrations
    }
}
