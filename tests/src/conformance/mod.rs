//! The conformance suite: one trial a clause of `docs/specs/provider.md` and a kind (or the
//! fleet), for any [`Provider`]. A provider's author writes a [`ProviderFixture`] and a test
//! binary with `harness = false`:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # fn fixture() -> Arc<dyn vrooli_deploy_tests::conformance::ProviderFixture> { unimplemented!() }
//! let arguments = libtest_mimic::Arguments::from_args();
//! let trials = vrooli_deploy_tests::conformance::trials(&fixture());
//! libtest_mimic::run(&arguments, trials).exit();
//! ```

mod fakecloud;
mod fleet;
mod ground;
mod kinds;
mod local;
mod quotas;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use vrooli_deploy_core::names::{ResourceKey, ResourceKind};
use vrooli_deploy_core::plan::Draft;
use vrooli_deploy_core::provider::{BuildRequest, Op, Provider};

pub use fakecloud::FakeCloudFixture;
use ground::Ground;
pub use local::LocalFixture;

/// Clauses of the contract, and what each says in short. The document has the same.
pub const CLAUSES: &[(&str, &str)] = &[
    ("P1", "create is find-or-create by ownership and token"),
    ("P2", "find never guesses"),
    ("P3", "deleting what is absent is fine"),
    ("P4", "every call obeys its deadline and its cancellation"),
    ("P5", "what create says it made can be read"),
    ("P6", "errors say what kind they are and whether to try again"),
    ("P7", "nothing observed holds a secret"),
    ("P8", "what is not supported is refused before any call"),
    ("P9", "no perpetual diff"),
    ("P10", "every object has an owner"),
    ("P11", "an inventory costs calls for kinds and pages, never for resources"),
    ("P12", "a census tells what bears marks, whoever's it is"),
    ("P13", "quotas tell what there may be and is, and ask nothing for nothing"),
    ("F1", "made twice, a fleet call has the effect of once"),
    ("F2", "an older lease holder is refused"),
    ("F3", "what is not there is stopped and removed already"),
    ("F4", "a route says what was routed before"),
    ("F5", "each file is applied once"),
    ("F6", "the same source gives the same artefact"),
    ("F7", "what rests runs and gets nothing"),
    ("F8", "traffic that is not renewed goes back by itself"),
    ("F9", "what is measured only rises"),
    ("F10", "what is as it was brought does not differ"),
];

/// A future of a trial.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failed>> + Send + 'a>>;

/// What a provider's author gives the suite.
#[async_trait]
pub trait ProviderFixture: Send + Sync {
    /// An empty place, for one trial.
    async fn open(&self) -> Box<dyn Place>;
    /// One resource of each kind that is to be tried.
    fn samples(&self) -> Vec<Sample>;
    /// A release that can be built, staged and started; `None` when there is no fleet.
    fn release(&self) -> Option<(BuildRequest, Draft)>;
    /// Runs a trial, on whatever clock and runtime the provider needs.
    fn block_on(&self, trial: Running<'_>) -> Result<(), Failed>;
}

/// One empty place to make things in.
#[async_trait]
pub trait Place: Send + Sync {
    /// The provider.
    fn provider(&self) -> Arc<dyn Provider>;
    /// Calls that have left so far; `None` when they cannot be counted.
    fn calls(&self) -> Option<u64>;
    /// Breaks the next call of this sort. False when that cannot be done here: the trial is skipped.
    fn break_next(&self, op: Op, how: Break) -> bool;
    /// Does what lists marks here not tell those of this kind: it bears none, or an emulator lacks it?
    fn untold(&self, _: &ResourceKind) -> bool {
        false
    }
    /// Is what is in use of this kind's limit measured, so that what is made shows in it only later?
    fn counts_later(&self, _: &ResourceKind) -> bool {
        false
    }
    /// Takes everything away and says what was left that should not be.
    async fn close(&self) -> Result<(), String>;
}

/// How a call is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// It takes effect, and its answer is lost.
    LostReply,
    /// It is refused because there were too many.
    Throttled,
    /// It cannot be reached.
    Unreachable,
}

/// A resource of a kind to be tried.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its key.
    pub key: ResourceKey,
    /// `Spec<Wanted>`. References to other samples say what must be there first.
    pub spec: Value,
    /// The same with fields changed that can be changed in place.
    pub changed: Option<Value>,
    /// Another one of the kind that can stand beside it.
    pub another: Option<Value>,
    /// A field that the kind does not have is refused: false for kinds that take any.
    pub strict: bool,
}

/// A trial was skipped, and why.
pub(crate) fn skip(why: &str) -> Result<(), Failed> {
    // The harness shows it with `--nocapture`.
    #[expect(clippy::print_stdout, reason = "a test that does not run must say so")]
    {
        println!("skipped: {why}");
    }
    Ok(())
}

pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(why().into()) }
}

type Check<T> = for<'a> fn(&'a Ground, &'a T) -> Running<'a>;

/// All trials of a provider.
#[must_use]
pub fn trials(fixture: &Arc<dyn ProviderFixture>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for sample in fixture.samples() {
        for (clause, what, check) in kinds::CHECKS {
            let name = format!("{clause}/{what}/{}", sample.kind);
            trials.push(trial(fixture, name, sample.clone(), *check));
        }
    }
    if let Some(release) = fixture.release() {
        for (clause, what, check) in fleet::CHECKS {
            trials.push(trial(fixture, format!("{clause}/{what}/fleet"), release.clone(), *check));
        }
    }
    trials
}

fn trial<T: Send + Sync + 'static>(
    fixture: &Arc<dyn ProviderFixture>,
    name: String,
    subject: T,
    check: Check<T>,
) -> Trial {
    let fixture = Arc::clone(fixture);
    Trial::test(name, move || {
        let running: Running<'_> = Box::pin(async {
            let ground = Ground::new(fixture.open().await, fixture.samples());
            let result = check(&ground, &subject).await;
            let closed = ground.place.close().await.map_err(Failed::from);
            result.and(closed)
        });
        fixture.block_on(running)
    })
}
