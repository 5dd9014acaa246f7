//! What a unit is launched with, read from the record of its release.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use uuid::Uuid;
use vrooli_deploy_core::manifest::{Command, Runtime, ServiceConfig};
use vrooli_deploy_core::names::{ReleaseNumber, StackId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::secrets::SecretRef;

use super::super::SecretResolver;
use super::super::files::read_json;
use super::super::key::StoreKey;
use super::super::launch::{Launch, RunAs, Target};
use super::super::ports::{self, UnitPorts};
use super::super::table::Mark;
use super::super::values::Values;
use super::super::variables::{self, Origin};
use super::unit::UnitKey;
use super::{Supervisor, contained};
use crate::failure::{self, at};

/// How often other ports are chosen when somebody takes them before we do.
const PORT_TRIES: u32 = 3;

/// Puts together what the unit is launched with. Reads files and secrets: blocks.
pub(super) fn prepare(supervisor: &Supervisor, key: &UnitKey, mark: &Mark) -> Result<Launch> {
    let release = release(supervisor, &key.stack, key.release)?;
    let service = service(&release, key)?;

    let ports = free_ports(supervisor, key, &release)?;

    // From here on paths are for other processes.
    let named = supervisor.named()?;
    let data = named.data(&key.stack);
    let root = named.release_root(&key.stack, key.release);
    let account = account(&root)?;
    let container = match service.runtime {
        Runtime::Native => None,
        Runtime::Docker => {
            let account = account.as_ref().map(|(account, _)| *account);
            Some(contained::container(supervisor, &named, key, &release, account)?)
        }
    };
    let dir = match &container {
        None => dir(&root, &release, service)?,
        Some(_) => contained::dir(&release, key, service)?,
    };
    // A release that came with its values needs no store.
    let values = Values::read(supervisor.layout(), &key.stack, key.release)?;
    // Opened by the first secret: a store that cannot be opened stops nobody who needs nothing from it.
    let store = OnceLock::new();
    let resolve = |reference: &SecretRef| {
        if let Some(values) = &values {
            return values.get(reference);
        }
        if let Some(open) = store.get() {
            let open: &Arc<SecretResolver> = open;
            return open(reference);
        }
        let key = supervisor.key().clone();
        let open = (supervisor.open_secrets)(&named, key.as_ref().map(StoreKey::secret))?;
        store.get_or_init(|| open)(reference)
    };
    // A container's own come with its image.
    let base = if container.is_some() { BTreeMap::new() } else { base(supervisor, key)? };
    let mut environment = Origin {
        base: &base,
        release: &release,
        ports: &ports,
        unit: &key.unit,
        data: &data,
        mark,
        resolve: &resolve,
    }
    .environment()
    .map_err(|error| if supervisor.key().is_none() { without_key(error) } else { error })?;

    if let (Some((_, name)), None) = (&account, &container) {
        let home = named.stack(&key.stack);
        for (variable, value) in
            [("HOME", home.to_string_lossy().as_ref()), ("USER", name), ("LOGNAME", name)]
        {
            // What the release says itself stays.
            let own = release.bundle.env.get(&key.unit.service);
            if !own.is_some_and(|own| own.keys().any(|known| known.as_str() == variable)) {
                environment.set(variable, value);
            }
        }
    }

    Ok(Launch {
        target: Target {
            instance: Uuid::new_v4(),
            unit: named.unit(&key.stack, key.release, &key.unit).root().to_owned(),
            argv: argv(&service.run),
            dir,
            // Who talks with the engine is ourselves.
            account: account.map(|(account, _)| account).filter(|_| container.is_none()),
            log: named.unit_log(&key.stack, key.release, &key.unit),
            grace_ms: millis(service.stop_grace.unwrap_or(supervisor.config.stop_grace)),
            rotation: supervisor.config.log,
            container,
            parent: 0,
        },
        environment,
    })
}

/// The store cannot be opened, and the key may be one that only people have: says how it gets
/// here. (The key is asked for by no process that outlives the command.)
fn without_key(error: ProviderError) -> ProviderError {
    if error.kind() != ErrorKind::Auth {
        return error;
    }
    let message = format!("stuck: {}", error.message());
    ProviderError::new(ErrorKind::Auth, message).with_help(
        "if the key was given as VROOLI_DEPLOY_KEY: the supervisor that knew it is gone; run `vrooli-deploy resume NAME` \
         with the variable set, and it is told again",
    )
}

/// The ports of the release, those of the unit free. While nothing of the release runs one
/// that somebody took this moment is given up for another.
fn free_ports(supervisor: &Supervisor, key: &UnitKey, release: &Release) -> Result<UnitPorts> {
    let mut tries = 0;
    loop {
        tries += 1;
        let idle = supervisor.is_idle(key);
        let ports = {
            let _one = supervisor.allocating();
            ports::allocate(supervisor.layout(), supervisor.workspace, &key.stack, release, &key.unit, idle)?
        };
        let own = ports.of(&key.unit).cloned().unwrap_or_default();
        match ports::check_free(&key.unit, &own) {
            Ok(()) => return Ok(ports),
            Err(e) if tries >= PORT_TRIES || !idle => return Err(e),
            Err(_) => {}
        }
    }
}

/// The record of a staged release.
pub(super) fn release(supervisor: &Supervisor, stack: &StackId, number: ReleaseNumber) -> Result<Release> {
    let path = supervisor.layout().release_record(stack, number);
    let release: Option<Release> = read_json(&path).map_err(at("read", &path))?;
    let release = release.ok_or_else(|| {
        ProviderError::new(
            ErrorKind::NotFound,
            format!("release {number} of {stack} is not staged on this machine"),
        )
    })?;
    if release.number == number
        && release.bundle.app == stack.app
        && release.bundle.environment == stack.environment
    {
        Ok(release)
    } else {
        Err(ProviderError::new(
            ErrorKind::Unexpected,
            format!(
                "the record of release {number} of {stack} is of another release: {}",
                failure::real(&path).display()
            ),
        ))
    }
}

/// How long the unit may take to end by itself.
pub(super) fn grace(supervisor: &Supervisor, key: &UnitKey) -> Duration {
    release(supervisor, &key.stack, key.release)
        .ok()
        .and_then(|release| release.bundle.services.get(&key.unit.service)?.stop_grace)
        .unwrap_or(supervisor.config.stop_grace)
}

fn service<'a>(release: &'a Release, key: &UnitKey) -> Result<&'a ServiceConfig> {
    let service = release.bundle.services.get(&key.unit.service).ok_or_else(|| {
        ProviderError::new(
            ErrorKind::NotFound,
            format!("release {} of {} has no service `{}`", key.release, key.stack, key.unit.service),
        )
    })?;
    let most = service.scaling.max.max(service.scaling.min).max(1);
    if key.unit.index < most {
        Ok(service)
    } else {
        Err(ProviderError::new(
            ErrorKind::Config,
            format!("`{}` has at most {most} instances, so there is no `{}`", key.unit.service, key.unit),
        ))
    }
}

/// The variables that came with the deploying program, and now with us where they may not
/// be written down.
fn base(supervisor: &Supervisor, key: &UnitKey) -> Result<BTreeMap<String, String>> {
    let path = supervisor.layout().base_environment(&key.stack, key.release);
    let mut base = variables::of_this_process();
    let kept: Option<BTreeMap<String, String>> = read_json(&path).map_err(at("read", &path))?;
    if let Some(kept) = kept {
        base.retain(|_, value| !variables::may_be_kept(value));
        base.extend(kept);
    }
    Ok(base)
}

fn argv(command: &Command) -> Vec<String> {
    match command {
        Command::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        Command::Exec(argv) => argv.clone(),
    }
}

/// Whose the release is, where we are root and it is somebody else's: as that one its app runs.
fn account(root: &Path) -> Result<Option<(RunAs, String)>> {
    if !crate::account::is_root() {
        return Ok(None);
    }
    let seen = std::fs::metadata(root).map_err(at("look at", root))?;
    if seen.uid() == 0 {
        return Ok(None);
    }
    let known = crate::account::look_up(&seen.uid().to_string()).ok_or_else(|| {
        ProviderError::new(
            ErrorKind::Missing,
            format!("{} belongs to the account {}, which is not there", root.display(), seen.uid()),
        )
    })?;
    Ok(Some((RunAs { uid: known.uid, gid: known.gid }, known.name)))
}

/// The service's working directory, which lies in the release.
fn dir(root: &Path, release: &Release, service: &ServiceConfig) -> Result<PathBuf> {
    let real = |path: &Path| path.canonicalize().map_err(at("use", path));
    let wanted = root.join(&release.bundle.artefact.root).join(service.dir.as_deref().unwrap_or("."));
    let (root, found) = (real(root)?, real(&wanted)?);
    if found.starts_with(&root) {
        Ok(found)
    } else {
        Err(ProviderError::new(
            ErrorKind::Config,
            format!("the working directory {} leads out of the release", wanted.display()),
        ))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
