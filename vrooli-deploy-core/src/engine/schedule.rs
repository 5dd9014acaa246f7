use std::collections::{BTreeSet, HashMap};

use crate::plan::{Plan, Stage, StepId};

/// What may run next: a view of a plan's graph. Forwards a step waits for the steps it
/// names and for all of earlier stages; backwards for the steps that name it and all of
/// later stages.
pub(super) struct Schedule {
    /// How many steps each still waits for.
    waits: Vec<usize>,
    /// Steps that wait for each.
    followers: Vec<Vec<usize>>,
    stage: Vec<u8>,
    /// Steps of each stage that are not done.
    left: [usize; 3],
    done: Vec<bool>,
    /// Steps that wait for no other step, and were not handed out.
    ready: BTreeSet<(u8, usize)>,
    back: bool,
}

impl Schedule {
    /// From the first step on. `index` says where each step is.
    pub(super) fn forwards(plan: &Plan, index: &HashMap<StepId, usize>) -> Self {
        Self::new(plan, index, false)
    }

    /// From the last step back.
    pub(super) fn backwards(plan: &Plan, index: &HashMap<StepId, usize>) -> Self {
        Self::new(plan, index, true)
    }

    fn new(plan: &Plan, index: &HashMap<StepId, usize>, back: bool) -> Self {
        let count = plan.steps.len();
        let (mut waits, mut followers) = (vec![0; count], vec![Vec::new(); count]);
        let mut stage = Vec::with_capacity(count);
        let mut left = [0; 3];
        for (at, step) in plan.steps.iter().enumerate() {
            let place = match step.stage {
                Stage::Expand => 0,
                Stage::Release => 1,
                Stage::Contract => 2,
            };
            let place: u8 = if back { 2 - place } else { place };
            stage.push(place);
            left[usize::from(place)] += 1;
            for earlier in step.after.iter().filter_map(|id| index.get(id).copied()) {
                let (from, to) = if back { (at, earlier) } else { (earlier, at) };
                followers[from].push(to);
                waits[to] += 1;
            }
        }
        let mut schedule =
            Self { waits, followers, stage, left, done: vec![false; count], ready: BTreeSet::new(), back };
        for at in (0..count).filter(|at| schedule.waits[*at] == 0).collect::<Vec<_>>() {
            schedule.make_ready(at);
        }
        schedule
    }

    fn make_ready(&mut self, at: usize) {
        self.ready.insert((self.stage[at], self.rank(at)));
    }

    /// Place in the order of the plan, or in the reverse of it. Its own inverse.
    fn rank(&self, at: usize) -> usize {
        if self.back { self.done.len() - 1 - at } else { at }
    }

    /// The next step that may run, if any.
    pub(super) fn next(&mut self) -> Option<usize> {
        let stage = self.left.iter().position(|left| *left > 0)?;
        let (place, rank) = *self.ready.first()?;
        if usize::from(place) > stage {
            return None;
        }
        self.ready.pop_first();
        Some(self.rank(rank))
    }

    /// A step is handed out by other means.
    pub(super) fn take(&mut self, at: usize) {
        let entry = (self.stage[at], self.rank(at));
        self.ready.remove(&entry);
    }

    /// A step was done by an earlier run, or is done by other means: it is not handed out.
    pub(super) fn skip(&mut self, at: usize) {
        self.take(at);
        self.done(at);
    }

    /// A step is done: those that waited for it may run.
    pub(super) fn done(&mut self, at: usize) {
        if std::mem::replace(&mut self.done[at], true) {
            return;
        }
        self.left[usize::from(self.stage[at])] -= 1;
        for follower in std::mem::take(&mut self.followers[at]) {
            self.waits[follower] -= 1;
            if self.waits[follower] == 0 {
                self.make_ready(follower);
            }
        }
    }
}
