use std::collections::BTreeMap;

use jiff::Timestamp;

use super::change::{After, Change};
use super::error::never_deployed;
use super::session::Interrupted;
use super::steps::{expired, former};
use super::{OperationError, RollbackOptions, Run, Workspace};
use crate::engine::{ReleaseStatus, StackState, Survey, survey};
use crate::manifest::{StrategyConfig, StrategyKind};
use crate::names::{ReleaseNumber, StackId};
use crate::plan::{self, PlannedRelease, ReleaseSource};
use crate::release::strategy::Situation;

impl Workspace {
    /// Plans the way back: to the given release, or to the good one before the current that served
    /// last.
    /// The whole bundle comes back: artefact, environment, secret versions, health checks,
    /// routes, replica counts. It takes over all at once where both can run, whatever the
    /// strategy of its own deployment was: who goes back is in a hurry.
    ///
    /// # Errors
    /// When there is no such release, SQL ran since then that it may not live with (a gate,
    /// exit 7, unless allowed), or someone else holds the lease.
    pub async fn rollback(
        &self,
        stack: &StackId,
        options: &RollbackOptions,
        run: &Run,
    ) -> Result<Change, OperationError> {
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let session = self.session(stack, &source.provider, run, "rollback", Interrupted::Resolve).await?;
        let cx = session.revive().await?;
        let target = goal(&session.state, options.to)?;
        let across = across(&session.state, target);
        if !across.is_empty() && !options.allow_irreversible {
            return Err(OperationError::Across { to: target, statements: across });
        }
        let fleet = session.fleet()?;
        let Survey { inventory, units, routing, .. } =
            survey(&*session.provider, &cx, &session.state).await?;
        let state = &session.state;
        let release = &state.releases.get(&target).ok_or_else(|| no_such_release(target))?.release;
        let next = PlannedRelease {
            number: target,
            source: ReleaseSource::Staged { release: Box::new(release.clone()) },
        };
        let capabilities = fleet.capabilities();
        let config = in_a_hurry(&release.bundle.strategy, capabilities.keeps_old);
        let strategy = self.0.strategies.get(config.kind.name())?;
        let current = state.current.and_then(|n| state.releases.get(&n)).map(|r| &r.release);
        let keep = current.and_then(|current| current.bundle.strategy.keep);
        let expired = expired(state, target, keep, Timestamp::now());
        let situation = Situation {
            next: &next,
            current,
            routing: &routing,
            units: &units,
            fleet: &capabilities,
            config: &config,
            because: "a rollback",
            expired: &expired,
        };
        let release_steps = strategy.steps(&situation)?;
        let mut notes = strategy.notes(&situation);
        let newer = current.map_or(0, |current| {
            let older = &release.bundle.migrations;
            let files = current.bundle.migrations.iter();
            files.filter(|file| !older.iter().any(|known| known.is_same(file))).count()
        });
        if newer > 0 {
            notes.push(format!(
                "{newer} SQL file(s) applied since {target} stay applied: a rollback takes back no SQL"
            ));
        }
        notes.extend(across.iter().map(|statement| format!("not taken back: {statement}")));
        let plan = plan::assemble(plan::AssembleInput {
            stack: stack.clone(),
            provider: source.provider.clone(),
            incarnation: state.incarnation,
            command: "rollback".to_owned(),
            resource_steps: Vec::new(),
            specs: BTreeMap::new(),
            release_steps,
            release: Some(next),
            current: state.current,
            notes,
            inventory: &inventory,
        })?;
        Ok(Change {
            session,
            plan,
            cost: None,
            diagnostics: Vec::new(),
            after: After { stopped: Some(false), ..After::default() },
        })
    }
}

/// All at once where both releases can run; else as the release's own options say. Nobody
/// decides about the way back, and it is not compared with what it goes back from.
fn in_a_hurry(config: &StrategyConfig, keeps_old: bool) -> StrategyConfig {
    let in_place = config.kind == StrategyKind::Rolling && config.surge.is_some();
    let kind = if keeps_old && !in_place { StrategyKind::BlueGreen } else { StrategyKind::Rolling };
    StrategyConfig { kind, hold: false, watch: None, steps: Vec::new(), ..config.clone() }
}

/// SQL of committed releases after one, that it may not live with.
fn across(state: &StackState, target: ReleaseNumber) -> Vec<String> {
    let Some(older) = state.releases.get(&target).map(|record| &record.release.bundle) else {
        return Vec::new();
    };
    let mut statements = Vec::new();
    let later = state.releases.range(target..).skip(1).filter(|(_, record)| record.committed.is_some());
    for (number, record) in later {
        for file in record.release.bundle.irreversible_beyond(older) {
            for statement in &file.irreversible {
                let text = format!("{}:{}: `{}`", file.file, statement.line, statement.what);
                // Every release after it has it too.
                if !statements.iter().any(|(known, _)| *known == text) {
                    statements.push((text, *number));
                }
            }
        }
    }
    statements.into_iter().map(|(text, number)| format!("{text} ({number})")).collect()
}

fn no_such_release(number: ReleaseNumber) -> OperationError {
    OperationError::Nothing {
        message: format!("there is no release {number}"),
        help: "`vrooli-deploy releases APP` shows those that can be gone back to".to_owned(),
    }
}

/// The release to go back to. Without a wish: of the good ones before the current, the one that
/// served last.
fn goal(state: &StackState, to: Option<ReleaseNumber>) -> Result<ReleaseNumber, OperationError> {
    let current = state.current;
    if let Some(to) = to {
        let record = state.releases.get(&to).ok_or_else(|| no_such_release(to))?;
        if Some(to) == current {
            return Err(OperationError::Nothing {
                message: format!("{to} is the current release"),
                help: "`vrooli-deploy releases APP` shows those that can be gone back to".to_owned(),
            });
        }
        return match record.status {
            ReleaseStatus::Good => Ok(to),
            ReleaseStatus::Removed => Err(OperationError::Nothing {
                message: format!("{to} is no longer kept"),
                help: "deploy its source again".to_owned(),
            }),
            ReleaseStatus::Failed | ReleaseStatus::Candidate => Err(OperationError::Nothing {
                message: format!("{to} never became current: its deployment failed"),
                help: "`vrooli-deploy releases APP` shows those that were good".to_owned(),
            }),
        };
    }
    former(state, current)
        .ok_or_else(|| OperationError::Nothing {
            message: "there is no earlier good release to go back to".to_owned(),
            help: "`vrooli-deploy releases APP` shows the history; `--to rN` goes to a release that is not the newest before this one".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ReleaseRecord;
    use crate::names::Digest;
    use crate::release::{Bundle, Migration, Release, migration::irreversible};

    /// Releases that each have one file more than the one before.
    fn history(files: &[&str]) -> StackState {
        let mut state = StackState::default();
        let mut migrations: Vec<Migration> = Vec::new();
        for (number, sql) in (1..).zip(files) {
            migrations.push(Migration {
                resource: "postgres".to_owned(),
                file: format!("sql/{number}.sql"),
                digest: Digest::of(sql.as_bytes()),
                irreversible: irreversible(sql),
            });
            let mut bundle: Bundle = serde_json::from_value(serde_json::json!({
                "app": "shop", "environment": "default", "version": "1",
                "artefact": {"digest": Digest::of(b"a"), "source": Digest::of(b"s"), "location": "x", "root": "."},
                "services": {}, "env": {}, "smoke": [], "strategy": {"type": "canary", "hold": true, "watch": "5m"},
                "resources": [], "migrations": [],
            }))
            .unwrap();
            bundle.migrations.clone_from(&migrations);
            let release = Release::new(ReleaseNumber(number), bundle).unwrap();
            let at = Some(Timestamp::UNIX_EPOCH);
            let record = ReleaseRecord {
                release,
                created: Timestamp::UNIX_EPOCH,
                committed: at,
                failure: None,
                status: ReleaseStatus::Good,
            };
            state.releases.insert(ReleaseNumber(number), record);
            state.current = Some(ReleaseNumber(number));
        }
        state
    }

    #[test]
    fn sql_that_cannot_be_taken_back_is_named_once_with_the_release_that_ran_it() {
        let state = history(&["CREATE TABLE a (b int)", "ALTER TABLE a DROP b", "SELECT 1"]);
        assert_eq!(across(&state, ReleaseNumber(1)), ["sql/2.sql:1: `ALTER TABLE … DROP` (r2)"]);
        assert_eq!(across(&state, ReleaseNumber(2)), Vec::<String>::new());
    }

    #[test]
    fn who_goes_back_is_in_a_hurry() {
        let state = history(&["SELECT 1"]);
        let config = &state.releases[&ReleaseNumber(1)].release.bundle.strategy;
        let hurried = in_a_hurry(config, true);
        assert_eq!(
            (hurried.kind, hurried.hold, hurried.watch_window()),
            (StrategyKind::BlueGreen, false, None)
        );
        assert_eq!(in_a_hurry(config, false).kind, StrategyKind::Rolling);
    }
}
