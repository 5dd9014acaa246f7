//! Secrets of a lost state: what the places keep beside releases is had back, as the very versions
//! that releases refer to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::OperationError;
use super::super::session::Session;
use super::{Rebuilding, RebuiltHow};
use crate::names::{OutputName, ResourceKey, ResourceKind};
use crate::provider::{Created, Found, Ledger, OutputValue, Outputs};
use crate::release::{EnvValue, Release};
use crate::secrets::{Secret, SecretRef};

/// In the place of a token in the path of a secret that has none any more.
const REBUILT: &str = "rebuilt";

impl Rebuilding {
    /// Has back the values that staged releases refer to.
    pub(super) async fn values(
        &mut self,
        session: &Session,
        ledger: &dyn Ledger,
        staged: &[Release],
    ) -> Result<(), OperationError> {
        let store = &session.workspace.0.secrets;
        for release in staged {
            let missing: Vec<SecretRef> =
                references(release).filter(|reference| store.get(reference).is_err()).cloned().collect();
            if missing.is_empty() {
                continue;
            }
            let kept: BTreeMap<SecretRef, Secret<String>> =
                ledger.values(&session.context(), release.number).await?.into_iter().collect();
            for reference in missing {
                if store.get(&reference).is_ok() {
                    continue;
                }
                let what = format!("{} v{}", reference.path, reference.version);
                match kept.get(&reference) {
                    Some(value) => {
                        store.put_back(&reference, value)?;
                        self.say(RebuiltHow::HadBack, &what, format!("from beside {}", release.number));
                    }
                    None => self.say(
                        RebuiltHow::Lost,
                        &what,
                        format!("{} uses it: it runs on, and cannot be started anew", release.number),
                    ),
                }
            }
        }
        Ok(())
    }

    /// Secret outputs of a resource: those that releases refer to, else those that the store has, else
    /// new ones. A password that no release refers to is used by nothing of ours.
    pub(super) async fn secrets(
        &mut self,
        session: &Session,
        ledger: &dyn Ledger,
        (key, kind): (&ResourceKey, &ResourceKind),
        found: &Found<serde_json::Value>,
        applied: Option<&serde_json::Value>,
        staged: &[Release],
    ) -> Result<Outputs, OperationError> {
        let store = &session.workspace.0.secrets;
        let prefix = format!("{}/{key}/", self.stack);
        let mut known: BTreeMap<OutputName, SecretRef> = BTreeMap::new();
        let stored = store.list(&prefix)?;
        // The newest release first, then whatever is there, the newest version first.
        let in_releases = staged.iter().rev().flat_map(references);
        for reference in in_releases.chain(stored.iter().rev()) {
            if let Some(name) = output(&prefix, &reference.path)
                && !known.contains_key(&name)
                && store.get(reference).is_ok()
            {
                known.insert(name, reference.clone());
            }
        }
        let mut had_back = BTreeMap::new();
        for (name, reference) in &known {
            had_back.insert(name.clone(), store.get(reference)?);
        }
        let told = ledger.remember(&session.context(), (key, kind), &found.observed, &had_back).await?;
        let Some(mut all) = told else { return Ok(plain(known)) };
        if all.is_empty() {
            let Some(spec) = applied else {
                let words =
                    "its password is lost: put it into the store, or delete it if its data is not needed";
                self.say(RebuiltHow::Lost, key.as_str(), words);
                return Ok(Outputs::new());
            };
            let cx = session.context();
            let changed = session.provider.update(&cx, kind, key, &found.id, &found.observed, spec).await?;
            let (Created::Read { secrets, .. } | Created::Unread { secrets, .. }) = changed;
            all = secrets;
            self.say(
                RebuiltHow::MadeAnew,
                key.as_str(),
                "no release keeps its password, so it has a new one; its data are as they were",
            );
        }
        for (name, value) in all {
            if let Entry::Vacant(new) = known.entry(name) {
                let path = format!("{prefix}{REBUILT}/{}", new.key());
                new.insert(store.put(&path, &value)?);
            }
        }
        Ok(plain(known))
    }
}

fn plain(known: BTreeMap<OutputName, SecretRef>) -> Outputs {
    known.into_iter().map(|(name, reference)| (name, OutputValue::Secret(reference))).collect()
}

/// The output that a secret of a resource is: `<prefix><token>/<output>`.
fn output(prefix: &str, path: &str) -> Option<OutputName> {
    let (_, name) = path.strip_prefix(prefix)?.split_once('/')?;
    OutputName::new(name).ok()
}

/// Secrets that a release refers to.
fn references(release: &Release) -> impl Iterator<Item = &SecretRef> {
    release.bundle.env.values().flat_map(|env| env.values()).filter_map(|value| match value {
        EnvValue::Secret(reference) => Some(reference),
        _ => None,
    })
}
