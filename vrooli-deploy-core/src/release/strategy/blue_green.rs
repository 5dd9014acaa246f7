use super::{Situation, StepGraph, Strategy, StrategyError};
use crate::manifest::Overlap;
use crate::plan::Step;
use crate::provider::Routing;

/// The whole new release beside the old one, then all traffic at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlueGreen;

impl Strategy for BlueGreen {
    fn name(&self) -> &'static str {
        "blue-green"
    }

    fn steps(&self, situation: &Situation<'_>) -> Result<Vec<Step>, StrategyError> {
        if situation.current.is_some() && !situation.fleet.keeps_old {
            return Err(StrategyError::Unsupported {
                strategy: self.name(),
                needs: "the old release to keep running beside the new one",
            });
        }
        Ok(StepGraph::new(situation)
            .prepare()
            .start(Overlap::Allowed)
            .smoke(false)
            .shift(Routing::all_to(situation.next.number))
            .smoke(true)
            .watch()
            .hold()
            .hand_over()
            .commit()
            .retire()
            .done())
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{planned, position, released, services, waits, web_and_worker};
    use super::*;
    use crate::names::ReleaseNumber;
    use crate::plan::{PlannedRelease, Stage, Undo};
    use crate::provider::FleetCapabilities;
    use crate::release::Release;

    fn steps(next: &PlannedRelease, current: Option<&Release>) -> Vec<Step> {
        let fleet = FleetCapabilities { keeps_old: true, ..FleetCapabilities::default() };
        let situation = Situation {
            next,
            current,
            routing: &current.map(|r| Routing::all_to(r.number)).unwrap_or_default(),
            units: &[],
            fleet: &fleet,
            config: &Default::default(),
            because: "its source changed",
            expired: &[],
        };
        BlueGreen.steps(&situation).unwrap()
    }

    #[test]
    fn traffic_moves_only_to_what_was_probed_and_smoked() {
        let steps = steps(&planned(1, web_and_worker()), None);
        for probed in ["probe:r1/web.0", "probe:r1/web.1", "smoke:r1/units"] {
            assert!(waits(&steps, "shift:r1/r1=100", probed), "{probed}");
        }
        assert!(waits(&steps, "commit:r1", "smoke:r1/edge"));
    }

    #[test]
    fn the_old_release_is_kept_until_commit() {
        let old = released(1, web_and_worker());
        let steps = steps(&planned(2, web_and_worker()), Some(&old));
        for ended in ["drain:r1", "stop:r1/web.0", "stop:r1/web.1"] {
            assert!(waits(&steps, ended, "commit:r2"), "{ended}");
            assert_eq!(steps[position(&steps, ended)].stage, Stage::Contract);
        }
    }

    #[test]
    fn what_must_not_run_twice_stops_before_its_successor_starts() {
        let old = released(1, web_and_worker());
        let steps = steps(&planned(2, web_and_worker()), Some(&old));
        assert!(waits(&steps, "start:r2/worker.0", "yield:r1/worker.0"));
        // As late as can be: everything else of the new release has been proved.
        assert!(waits(&steps, "yield:r1/worker.0", "smoke:r2/edge"));
        let back = &steps[position(&steps, "yield:r1/worker.0")].undo;
        assert!(matches!(back, Undo::Release { release: ReleaseNumber(1), .. }), "{back:?}");
        assert!(waits(&steps, "commit:r2", "probe:r2/worker.0"));
    }

    #[test]
    fn a_fleet_that_cannot_keep_the_old_one_is_refused() {
        let (old, next) = (released(1, web_and_worker()), planned(2, web_and_worker()));
        let situation = Situation {
            next: &next,
            current: Some(&old),
            routing: &Routing::default(),
            units: &[],
            fleet: &FleetCapabilities::default(),
            config: &Default::default(),
            because: "its source changed",
            expired: &[],
        };
        assert!(matches!(BlueGreen.steps(&situation), Err(StrategyError::Unsupported { .. })));
    }

    #[test]
    fn services_start_in_the_order_of_their_needs() {
        let draft = services(serde_json::json!({
            "api": {"run": "./api", "ports": {"http": {}}},
            "web": {"run": "./web", "ports": {"http": {}}, "needs": ["api"]},
        }));
        let steps = steps(&planned(1, draft), None);
        assert!(waits(&steps, "start:r1/web.0", "probe:r1/api.0"));
        assert!(!waits(&steps, "start:r1/api.0", "probe:r1/web.0"));
    }
}
