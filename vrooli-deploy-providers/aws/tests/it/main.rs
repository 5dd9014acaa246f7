//! The native half on an emulator (moto): the conformance suite, every field that changes in place,
//! names that are taken, what is refused, and answers that are lost. `VROOLI_DEPLOY_MOTO` is the
//! folder that `moto_server` is in; without it everything here is skipped, and says so.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the rig of a test says what went wrong by panicking, and what is skipped by printing"
)]

mod applied;
mod budgets;
mod caches;
mod content;
mod databases;
mod desk;
mod faults;
mod fields;
mod fixture;
mod fleet;
mod images;
mod keys;
mod looking;
mod lost;
mod machines;
mod network;
mod orphans;
mod permissions;
mod quotas;
mod refused;
mod rig;
mod samples;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use vrooli_deploy_tests::conformance::{ProviderFixture, trials};
use vrooli_deploy_tests::moto::Emulator;

use fixture::AwsFixture;
use fleet::On;

/// A trial of ours, with the emulator to itself.
fn trial<F, R>(fixture: &Arc<AwsFixture>, name: &str, run: F) -> Trial
where
    F: Fn(Arc<AwsFixture>) -> R + Send + 'static,
    R: Future<Output = Result<(), Failed>> + Send,
{
    let fixture = Arc::clone(fixture);
    Trial::test(name, move || {
        let shared = Arc::clone(&fixture);
        fixture.block_on(Box::pin(run(shared)))
    })
}

/// As much as threads of Rust's and tokio's have by themselves.
const STACK: usize = 2 << 20;

/// A trial on such a thread, in whatever thread it was begun: programs embed a workspace where they like.
fn deep(name: &str, run: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(run);
        let ended = thread.map_err(|error| Failed::from(error.to_string()))?.join();
        ended.unwrap_or_else(|_| Err("it panicked".into()))
    })
}

/// One for a whole workspace, with an account of its own: what others left there would be its orphans.
fn workspace_trial<F, R>(name: &str, run: F) -> Trial
where
    F: Fn(Arc<AwsFixture>) -> R + Send + 'static,
    R: Future<Output = Result<(), Failed>> + Send,
{
    deep(name, move || {
        let fixture = Arc::new(AwsFixture::new(&Arc::new(Emulator::start()?)));
        fixture.block_on(Box::pin(run(Arc::clone(&fixture))))
    })
}

/// One that has an emulator of its own.
fn deep_trial<F, R>(name: &str, run: F) -> Trial
where
    F: FnOnce() -> R + Send + 'static,
    R: Future<Output = Result<(), Failed>>,
{
    deep(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| Failed::from(error.to_string()))?.block_on(run())
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let emulator = match Emulator::start() {
        Ok(emulator) => Arc::new(emulator),
        Err(why) => {
            println!("skipped: calls to AWS: {why}");
            return libtest_mimic::run(&arguments, Vec::new()).exit_code();
        }
    };
    rig::look_at_network(emulator.address());
    let fixture = Arc::new(AwsFixture::new(&emulator));
    let suite: Arc<dyn ProviderFixture> = Arc::clone(&fixture) as Arc<dyn ProviderFixture>;
    let mut all = trials(&suite);
    all.push(trial(&fixture, "every-field-that-changes-in-place-does", fields::all_change));
    all.push(trial(&fixture, "an-unchanged-stack-is-one-call-a-kind", looking::one_call_a_kind));
    all.push(trial(&fixture, "ids-of-the-state-are-hints", looking::hints));
    all.push(trial(&fixture, "marks-are-found-before-they-are-set", looking::unmarked));
    all.push(trial(&fixture, "a-certificate-is-proved-by-whoever-goes-on", looking::unproved));
    all.push(trial(&fixture, "a-deleted-secret-is-brought-back", looking::brought_back));
    all.push(trial(&fixture, "a-deleted-database-leaves-a-snapshot", databases::last_snapshot));
    all.push(trial(&fixture, "a-database-has-one-password", databases::password));
    all.push(trial(&fixture, "a-password-that-rds-keeps", databases::kept_by_rds));
    all.push(trial(&fixture, "a-database-is-waited-for", databases::half_made));
    all.push(trial(&fixture, "settings-hold-from-the-next-start", databases::from_the_next_start));
    all.push(trial(&fixture, "a-database-starts-again-for-other-settings", databases::started_again));
    all.push(trial(&fixture, "a-cache-is-waited-for", caches::half_made));
    all.push(trial(&fixture, "a-cache-that-grew-by-half-grows-on", caches::half_grown));
    all.push(trial(&fixture, "a-cache-has-one-password", caches::password));
    all.push(trial(&fixture, "a-distribution-is-waited-for", content::waited_for));
    all.push(trial(&fixture, "a-distribution-is-off-before-it-is-deleted", content::off_before_deleted));
    all.push(trial(&fixture, "taken-names-are-refused", refused::taken_names));
    all.push(trial(&fixture, "taken-ports-and-priorities-are-refused", refused::taken_places));
    all.push(trial(&fixture, "another-state-is-not-us", refused::another_state));
    all.push(trial(&fixture, "what-is-wrong-is-named", refused::named_as_what_they_are));
    all.push(trial(&fixture, "kinds-without-calls-are-named-together", refused::kinds));
    all.push(trial(&fixture, "what-was-just-made-may-not-be-known", network::not_known_yet));
    all.push(trial(&fixture, "what-is-still-used-is-waited-for", network::still_used));
    all.push(trial(&fixture, "nat-gateways-take-their-time", network::nat_in_time));
    all.push(trial(&fixture, "a-nat-gateway-that-failed-is-none", network::nat_failed));
    all.push(trial(&fixture, "a-subnet-follows-another-table", network::another_table));
    all.push(trial(&fixture, "a-taken-range-is-refused", network::taken_range));
    all.push(trial(&fixture, "a-detached-gateway-is-attached-in-place", network::detached));
    all.push(trial(&fixture, "what-machines-need-may-not-be-known", machines::not_known_yet));
    all.push(trial(&fixture, "machines-disks-and-groups-take-their-time", machines::in_time));
    all.push(trial(&fixture, "a-machine-that-ended-is-none", machines::ended));
    all.push(trial(&fixture, "a-machine-left-switched-off-is-switched-on", machines::left_switched_off));
    all.push(trial(&fixture, "a-version-that-was-left-is-used", machines::version_left));
    all.push(trial(&fixture, "a-disk-in-use-is-not-taken", machines::not_let_go));
    all.push(trial(&fixture, "a-key-left-half-made-is-completed", keys::half_made));
    all.push(trial(&fixture, "a-strangers-alias-is-not-taken", keys::taken_alias));
    all.push(trial(&fixture, "a-budget-changed-by-hand-is-put-back", budgets::by_hand));
    all.push(trial(&fixture, "a-budget-tells-ten-others-instead", budgets::all_others));
    all.push(trial(&fixture, "what-runs-an-app-is-counted", budgets::what_is_counted));
    all.push(trial(&fixture, "a-reply-lost-on-every-create-makes-no-duplicate", faults::lost_once));
    all.push(trial(&fixture, "broken-at-every-change", faults::broken_at_every_change));
    all.push(trial(&fixture, "storms-and-errors-after-success", faults::storms));
    all.push(trial(&fixture, "there-and-back-with-lost-answers", applied::there_and_back));
    all.push(trial(&fixture, "runs-that-end-anywhere", applied::ended_anywhere));
    all.push(trial(&fixture, "refused-anywhere-nothing-is-left", applied::refused_anywhere));
    all.push(trial(&fixture, "what-permissions-prints-is-enough", permissions::enough));
    all.push(trial(
        &fixture,
        "what-permissions-prints-is-enough-where-rds-keeps-a-password",
        permissions::enough_where_rds_keeps,
    ));
    all.push(trial(&fixture, "each-quota-is-asked-once", quotas::once_a_kind));
    all.push(workspace_trial("too-much-for-the-account-is-refused", quotas::too_much));
    all.push(workspace_trial("machines-that-an-account-may-not-have-are-refused", quotas::machines));
    all.push(workspace_trial("quotas-that-may-not-be-asked-are-a-note", quotas::no_right));
    all.push(workspace_trial("a-lost-state-is-built-again", lost::whole));
    all.push(workspace_trial("half-a-stack-is-built-again", lost::half));
    all.push(workspace_trial("orphans-of-a-lost-state", orphans::of_a_lost_state));
    all.push(workspace_trial("what-stands-on-machines-there-and-back", machines::infra_only));
    for values in ["machines", "machine", "own-key"] {
        let name = format!("what-an-app-stands-on-ended-anywhere/{values}");
        let run = move |fixture| applied::killed_anywhere(fixture, format!("{values}.yaml"));
        all.push(workspace_trial(&name, run));
    }
    all.push(workspace_trial("no-release-on-one-machine", machines::no_releases));
    all.push(workspace_trial("an-app-with-redis-has-its-cache", caches::of_an_app));
    all.push(workspace_trial("an-app-with-a-key-of-its-own", keys::of_an_app));
    all.push(workspace_trial("an-app-with-a-budget", budgets::of_an_app));
    all.push(deep_trial("releases-on-fargate-there-and-back", || fleet::there_and_back(On::Fargate)));
    all.push(deep_trial("releases-on-fargate-ended-anywhere", || fleet::ended_anywhere(On::Fargate)));
    all.push(deep_trial("releases-on-fargate-are-built-here", images::built_and_pushed));
    all.push(deep_trial("releases-on-fargate-under-load", fleet::variants::under_load));
    all.push(deep_trial("releases-on-fargate-with-the-rights-printed", || {
        fleet::variants::with_rights(On::Fargate)
    }));
    all.push(deep_trial("releases-on-fargate-with-redis", fleet::variants::with_redis));
    all.push(deep_trial("releases-on-fargate-of-the-example", || fleet::variants::example(On::Fargate)));
    all.push(deep_trial("releases-on-fargate-of-another-size", || {
        fleet::variants::of_another_size(On::Fargate)
    }));
    all.push(deep_trial("releases-on-fargate-with-a-lost-state", || {
        fleet::variants::with_a_lost_state(On::Fargate)
    }));
    all.push(deep_trial("releases-on-fargate-as-orphans", || fleet::variants::as_orphans(On::Fargate)));
    all.push(deep_trial("releases-on-machines-there-and-back", || fleet::there_and_back(On::Machines)));
    all.push(deep_trial("releases-on-machines-ended-anywhere", || fleet::ended_anywhere(On::Machines)));
    all.push(deep_trial("releases-on-machines-of-another-size", || {
        fleet::variants::of_another_size(On::Machines)
    }));
    all.push(deep_trial("releases-on-machines-with-a-lost-state", || {
        fleet::variants::with_a_lost_state(On::Machines)
    }));
    all.push(deep_trial("releases-on-machines-as-orphans", || fleet::variants::as_orphans(On::Machines)));
    all.push(deep_trial("releases-on-machines-that-fail", fleet::variants::machines_that_fail));
    all.push(deep_trial("releases-on-machines-with-the-rights-printed", || {
        fleet::variants::with_rights(On::Machines)
    }));
    all.push(deep_trial("releases-on-machines-of-the-example", || fleet::variants::example(On::Machines)));
    let conclusion = libtest_mimic::run(&arguments, all);
    emulator.stop();
    conclusion.exit_code()
}
