//! A provider of your own, in one file: one kind with both halves, planned and applied by
//! the same engine as every other provider.
//!
//! ```text
//! cargo run -p vrooli-deploy-examples --example provider_in_one_file
//! ```
//! The provider `disk` keeps text files in a folder. The program makes two, one of which
//! holds the path of the other; changes one; removes one; and shows that a plan for what is
//! already there is empty. All in a temporary folder.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::engine::{
    ApplyOptions, Engine, EngineOptions, Event, EventSink, OutcomeKind, observe,
};
use vrooli_deploy_core::names::{
    AppName, EnvironmentName, OutputName, ProviderName, ResourceKey, ResourceKind, StackId,
};
use vrooli_deploy_core::plan::{self, AssembleInput, ResourceInput, ResourceOptions};
use vrooli_deploy_core::provider::{
    Cancellation, Change, CreateToken, Created, Diff, ErrorKind, Form, Found, Known, Op, OpCtx, Ownership,
    Page, Permission, PhysicalId, Provider, ProviderError, ProviderSet, ResourceHandler, ResourceKindDef,
    Result, Scope, Wanted,
};
use vrooli_deploy_core::secrets::{FileStore, KeySource};
use vrooli_deploy_core::stack::{Resource, Stack};
use vrooli_deploy_core::state::{Holder, SqliteStore, StateStore};

// ---- The pure half: what is wanted, what is seen, how they differ. No call is made. ----

/// The kind `disk.file`.
#[derive(Debug)]
struct File;

/// What is wanted. `text` may refer to an output of another resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
struct FileSpec<F: Form> {
    text: F::In<String>,
}

/// What is seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct FileObserved {
    text: String,
}

impl ResourceKindDef for File {
    type Spec<F: Form> = FileSpec<F>;
    type Observed = FileObserved;

    fn kind(&self) -> ResourceKind {
        name(ResourceKind::new("disk.file"))
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["path"]
    }
    fn diff(&self, want: &FileSpec<Wanted>, have: &FileObserved) -> Change {
        Diff::new().update("text", want.text.differs(&have.text)).done()
    }
    fn bill(&self, _: &FileSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &FileSpec<Wanted>) -> Vec<Permission> {
        let action = if matches!(op, Op::Find | Op::List) { "read" } else { "write" };
        vec![Permission { action: action.to_owned(), resource: "the folder".to_owned() }]
    }
    fn ownership(&self, key: &ResourceKey, _: &FileSpec<Wanted>) -> Ownership {
        // The whole name has the stack in it, too: see `Disk::name`.
        Ownership::DerivedName(key.as_str().replace('/', "+"))
    }
    fn outputs(&self, id: &PhysicalId, _: &FileObserved) -> BTreeMap<OutputName, Value> {
        BTreeMap::from([(name(OutputName::new("path")), json!(id.0))])
    }
}

// ---- The native half: the calls. ----

/// What makes the calls. Of a cloud this would be its client.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// The name says whose it is: app, environment and key. None of them can hold a `+`.
    fn name(stack: &StackId, key: &ResourceKey) -> String {
        format!("{}+{}+{}", stack.app, stack.environment, key.as_str().replace('/', "+"))
    }

    fn key(stack: &StackId, name: &str) -> Option<ResourceKey> {
        let key = name.strip_prefix(&format!("{}+{}+", stack.app, stack.environment))?;
        ResourceKey::new(key.replace('+', "/")).ok()
    }

    fn read(key: &ResourceKey, path: &Path) -> Result<Option<Found<FileObserved>>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(Found {
                key: key.clone(),
                id: PhysicalId(path.display().to_string()),
                observed: FileObserved { text },
                token: None,
            })),
            Err(e) if e.kind() == Io::NotFound => Ok(None),
            // Not sure is an error, never "not there".
            Err(e) => Err(failed(path, e)),
        }
    }

    fn write(path: &Path, text: &str) -> Result<Created<FileObserved>> {
        std::fs::write(path, text).map_err(|e| failed(path, e))?;
        Ok(Created::Read {
            id: PhysicalId(path.display().to_string()),
            observed: FileObserved { text: text.to_owned() },
            secrets: BTreeMap::new(),
        })
    }
}

fn failed(path: &Path, error: std::io::Error) -> ProviderError {
    let kind = match error.kind() {
        Io::PermissionDenied => ErrorKind::Permission,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Quota,
        _ => ErrorKind::Unexpected,
    };
    ProviderError::new(kind, format!("cannot use {}", path.display())).with_source(error)
}

impl ResourceHandler for File {
    type Client = Disk;

    fn create_token(&self) -> CreateToken {
        CreateToken::Name
    }
    fn settle(&self) -> Duration {
        Duration::ZERO
    }
    async fn find(
        &self,
        disk: &Disk,
        cx: &OpCtx,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> Result<Vec<Found<FileObserved>>> {
        let path = id.map_or_else(|| disk.folder.join(Disk::name(&cx.stack, key)), |id| PathBuf::from(&id.0));
        Ok(Disk::read(key, &path)?.into_iter().collect())
    }
    async fn list(&self, disk: &Disk, _: &OpCtx, scope: &Scope) -> Result<Page<FileObserved>> {
        let mut items = Vec::new();
        for entry in std::fs::read_dir(&disk.folder).map_err(|e| failed(&disk.folder, e))? {
            let entry = entry.map_err(|e| failed(&disk.folder, e))?;
            if let Some(key) = entry.file_name().to_str().and_then(|name| Disk::key(&scope.stack, name)) {
                items.extend(Disk::read(&key, &entry.path())?);
            }
        }
        Ok(Page { items, next: None })
    }
    async fn create(
        &self,
        disk: &Disk,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &FileSpec<Known>,
    ) -> Result<Created<FileObserved>> {
        Disk::write(&disk.folder.join(Disk::name(&cx.stack, key)), &want.text)
    }
    async fn update(
        &self,
        _: &Disk,
        _: &OpCtx,
        _: &ResourceKey,
        id: &PhysicalId,
        _: &FileObserved,
        want: &FileSpec<Known>,
    ) -> Result<Created<FileObserved>> {
        Disk::write(Path::new(&id.0), &want.text)
    }
    async fn delete(&self, _: &Disk, _: &OpCtx, _: &ResourceKey, id: &PhysicalId) -> Result<()> {
        match std::fs::remove_file(&id.0) {
            Err(e) if e.kind() != Io::NotFound => Err(failed(Path::new(&id.0), e)),
            _ => Ok(()),
        }
    }
}

// ---- Using it. ----

type Failure = Box<dyn std::error::Error>;

fn main() -> std::result::Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let files = folder.path().join("files");
    std::fs::create_dir(&files)?;
    let disk = Arc::new(Disk { folder: files.clone() });
    let provider = Arc::new(ProviderSet::new(name(ProviderName::new("disk"))).with(File, &disk));

    tokio::runtime::Runtime::new()?.block_on(async {
        let store = SqliteStore::open(&folder.path().join("state"))?;
        let key = KeySource::Folder(Some(folder.path().join("key")));
        let secrets = Arc::new(FileStore::open(&folder.path().join("state"), store.id(), key)?);
        let mut options = EngineOptions::default();
        options.owner = store.id();
        let engine = Engine::new(provider.clone(), secrets, options);

        let greeting = |text: &str| ("note/greeting", json!({ "text": text }));
        let pointer = ("note/pointer", json!({ "text": { "$ref": "note/greeting", "output": "path" } }));
        let all = [greeting("hello"), pointer.clone()];
        for (what, wanted, steps) in [
            ("make both", &all[..], 2),
            ("nothing changed", &all[..], 0),
            ("change one", &[greeting("good day"), pointer], 1),
            ("remove one", &[greeting("good day")], 1),
            ("remove all", &[], 1),
        ] {
            println!("{what}:");
            let done = converge(&store, &engine, &*provider, wanted).await?;
            if done != steps {
                return Err(format!("{what}: {steps} steps were expected, {done} were made").into());
            }
        }
        match std::fs::read_dir(&files)?.count() {
            0 => Ok(()),
            left => Err(format!("{left} files were left").into()),
        }
    })
}

/// Looks, plans, applies. Returns how many steps that took.
async fn converge(
    store: &SqliteStore,
    engine: &Engine,
    provider: &dyn Provider,
    wanted: &[(&str, Value)],
) -> std::result::Result<usize, Failure> {
    let id = StackId { app: AppName::new("notes")?, environment: EnvironmentName::new("default")? };
    let mut resources = BTreeMap::new();
    for (key, spec) in wanted {
        let resource: Resource = serde_json::from_value(json!({ "kind": "disk.file", "spec": spec }))?;
        resources.insert(ResourceKey::new(*key)?, resource);
    }
    let stack = Stack { id: id.clone(), resources };

    let holder = Holder { id: Uuid::new_v4(), name: "recipe".into(), host: "here".into(), run_url: None };
    let lease = store.acquire(&id, &holder).await?;
    let mut state = store.load(&id).await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let cx = OpCtx::new(id.clone(), store.id(), lease.info().fence, deadline, Cancellation::new());
    let inventory = observe(provider, &cx, &id, &state).await?;
    let incarnation = if state.incarnation.is_nil() { Uuid::new_v4() } else { state.incarnation };

    let planned = plan::resources(&ResourceInput {
        stack: &stack,
        state: &state,
        inventory: &inventory,
        incarnation,
        provider,
        options: &ResourceOptions::default(),
    })?;
    let plan = plan::assemble(AssembleInput {
        stack: id,
        provider: provider.name().clone(),
        incarnation,
        command: "deploy".to_owned(),
        resource_steps: planned.steps,
        specs: planned.specs,
        release_steps: Vec::new(),
        release: None,
        current: None,
        notes: planned.notes,
        inventory: &inventory,
    })?;
    let steps = plan.steps.len();

    // Each step is written down before its call: killed here, the next run resolves it.
    let events = EventSink::new(|event| {
        if let Event::StepSucceeded { step, .. } = event {
            println!("  ✓ {step}");
        }
    });
    let outcome = engine.apply(&*lease, &mut state, plan, ApplyOptions::default(), &events).await?;
    lease.release().await?;
    match outcome.kind {
        OutcomeKind::Applied | OutcomeKind::NoChange => Ok(steps),
        _ => Err(format!("{outcome:?}").into()),
    }
}

/// Names that are written in this file are sound.
fn name<T, E: std::fmt::Display>(checked: std::result::Result<T, E>) -> T {
    checked.unwrap_or_else(|e| unreachable!("{e}"))
}
