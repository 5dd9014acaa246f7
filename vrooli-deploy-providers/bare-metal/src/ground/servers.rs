use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use serde_json::Value;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, PhysicalId, ProviderError, Result};

use super::HostSurvey;
use super::departure::{Departure, Ending};
use super::queue::HostQueue;
use vrooli_deploy_core::secrets::{Secret, SecretError, SecretStore, generate};

use crate::host::HostName;
use crate::hosts::lost;
use crate::remote::{RemoteError, RoundTrips, SshConnections, SshOptions};

/// Letters and digits: nothing in it needs escaping in a URL.
const PASSWORD_LENGTH: usize = 32;

/// The servers of a stack: what the handlers of its kinds work with.
#[derive(Debug)]
pub struct Servers {
    connections: SshConnections,
    folder: PathBuf,
    queues: Mutex<BTreeMap<HostName, Arc<HostQueue>>>,
    /// Where resources are, as far as was said when this was opened.
    places: BTreeMap<ResourceKey, HostName>,
    /// Those that run the app, as far as was said when this was opened, in order.
    apps: Vec<HostName>,
    departure: Departure,
    /// Those to ask for what there is.
    known: Mutex<BTreeSet<HostName>>,
    /// Where passwords of servers are kept.
    secrets: Arc<dyn SecretStore>,
}

impl Servers {
    /// The servers that stand in the specs of resources (`host`), with the keys that the workspace
    /// in that state folder vouched for. On those whose own resource is `leaving` the app is to run no
    /// more. Reaches none.
    ///
    /// # Errors
    /// [`RemoteError::File`] when the folder cannot be used.
    pub fn open(
        state: &Path,
        options: SshOptions,
        resources: &[(ResourceKey, Value)],
        leaving: &BTreeSet<ResourceKey>,
        secrets: Arc<dyn SecretStore>,
    ) -> std::result::Result<Self, RemoteError> {
        let connections = SshConnections::open(&state.join("hosts"), options)?;
        let place = |(key, spec): &(ResourceKey, Value)| {
            let host = HostName::new(spec.get("host")?.as_str()?).ok()?;
            Some((key.clone(), host))
        };
        // What is wanted comes first and says where, if a server has got another name.
        let places: BTreeMap<_, _> = resources.iter().rev().filter_map(place).collect();
        let known = resources.iter().filter_map(place).map(|(_, host)| host).collect();
        let lost = lost(&state.join("hosts"))?;
        let (mut apps, mut left) = (BTreeMap::new(), BTreeMap::new());
        for (key, spec) in resources {
            if let (true, Some((_, host))) =
                (key.as_str().starts_with("server/"), place(&(key.clone(), spec.clone())))
            {
                let servers = if leaving.contains(key) { &mut left } else { &mut apps };
                // What is wanted comes first.
                servers
                    .entry(host)
                    .or_insert_with(|| spec.get("runs_app").and_then(Value::as_bool) == Some(true));
            }
        }
        left.retain(|host, _| !apps.contains_key(host));
        let running = |servers: BTreeMap<HostName, bool>| {
            servers.into_iter().filter_map(|(host, runs)| runs.then_some(host))
        };
        let apps = running(apps).filter(|host| !lost.contains(host)).collect();
        let left = running(left).filter(|host| !lost.contains(host)).collect();
        Ok(Self {
            connections,
            folder: state.join("hosts"),
            queues: Mutex::default(),
            places,
            apps,
            departure: Departure::new(left, lost),
            known: Mutex::new(known),
            secrets,
        })
    }

    /// Where what is known of servers is kept.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The servers that run the app, in order.
    pub(crate) fn apps(&self) -> &[HostName] {
        &self.apps
    }

    /// The servers that run the app and are to do so no more, in order.
    pub(crate) const fn leaving(&self) -> &BTreeSet<HostName> {
        self.departure.leaving()
    }

    /// Says who ends the app on those.
    pub(crate) fn ended_by(&self, ending: Box<dyn Ending>) {
        self.departure.by(ending);
    }

    pub(super) const fn departure(&self) -> &Departure {
        &self.departure
    }

    /// What was asked of all servers together.
    #[must_use]
    pub fn round_trips(&self) -> RoundTrips {
        self.connections.round_trips()
    }

    pub(crate) fn queue(&self, host: &HostName) -> Arc<HostQueue> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(host.clone());
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(HostQueue::new(self.connections.host(host)));
        Arc::clone(queues.entry(host.clone()).or_insert_with(new))
    }

    /// Gets the password of a resource, in a thread that may wait: the one that is kept, else a new one,
    /// which is kept from then on.
    pub(super) fn password(
        &self,
        stack: &StackId,
        key: &ResourceKey,
    ) -> impl FnOnce() -> Result<Secret<String>> + Send + 'static {
        let (secrets, path) = (Arc::clone(&self.secrets), password_path(stack, key));
        move || {
            if let Some(kept) = secrets.latest(&path).map_err(failed)? {
                return secrets.get(&kept).map_err(failed);
            }
            let password = generate(PASSWORD_LENGTH).map_err(failed)?;
            secrets.put(&path, &password).map_err(failed)?;
            Ok(password)
        }
    }

    /// Keeps a password that was had back, if one was; the answer is the one that is kept, if there is
    /// one.
    pub(super) fn keep_password(
        &self,
        stack: &StackId,
        key: &ResourceKey,
        had_back: Option<Secret<String>>,
    ) -> Result<Option<Secret<String>>> {
        let path = password_path(stack, key);
        if let Some(password) = had_back {
            self.secrets.put(&path, &password).map_err(failed)?;
            return Ok(Some(password));
        }
        match self.secrets.latest(&path).map_err(failed)? {
            Some(kept) => self.secrets.get(&kept).map(Some).map_err(failed),
            None => Ok(None),
        }
    }

    /// Where a resource is: its id says so, else what was said of its key, else the key itself.
    pub(super) fn host_of(&self, key: &ResourceKey, id: Option<&PhysicalId>) -> Result<HostName> {
        let by_id = id.and_then(|id| id.0.rsplit_once(':')).and_then(|(host, _)| HostName::new(host).ok());
        by_id.or_else(|| self.places.get(key).cloned()).or_else(|| host_in_key(key)).ok_or_else(|| {
            ProviderError::new(ErrorKind::Config, format!("nothing says on which server `{key}` is"))
        })
    }

    /// All of them, seen at the same time.
    pub(super) async fn survey_all(
        &self,
        cx: &OpCtx,
        stack: &StackId,
    ) -> Result<Vec<(HostName, Arc<HostSurvey>)>> {
        let mut hosts: Vec<HostName> =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        hosts.retain(|host| !self.departure.is_lost(host));
        try_join_all(hosts.into_iter().map(async |host| {
            let survey = self.queue(&host).survey(cx, stack).await?;
            Ok((host, survey))
        }))
        .await
    }
}

/// Where the password of a resource is kept.
fn password_path(stack: &StackId, key: &ResourceKey) -> String {
    format!("{stack}/{key}/password")
}

fn failed(error: SecretError) -> ProviderError {
    let kind = match error {
        SecretError::Key { .. } => ErrorKind::Auth,
        _ => ErrorKind::Unexpected,
    };
    ProviderError::new(kind, error.to_string()).with_source(error)
}

/// The last part of a key, which is made from the name of its server: an address of IPv6 has `-`
/// there in the place of `:`.
fn host_in_key(key: &ResourceKey) -> Option<HostName> {
    let (_, part) = key.as_str().rsplit_once('/')?;
    let address = part.replace('-', ":");
    let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
    HostName::new(if is_address { address } else { part.to_owned() }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_server() {
        let host = |key: &str| host_in_key(&ResourceKey::new(key).unwrap()).unwrap().to_string();
        assert_eq!(host("user/web-1.example.com"), "web-1.example.com");
        assert_eq!(host("user/2001-db8--7"), "2001:db8::7");
        assert_eq!(host_in_key(&ResourceKey::new("user").unwrap()), None);
    }
}
