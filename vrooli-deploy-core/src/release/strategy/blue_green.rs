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
    use std::path::PathBuf;

    use super::*;
    use crate::names::{Digest, ReleaseNumber};
    use crate::plan::{Draft, PlannedRelease, ReleaseSource, Stage, Undo};
    use crate::provider::{Artefact, BuildRequest, FleetCapabilities};
    use crate::release::{Bundle, Release};

    fn services(json: serde_json::Value) -> Draft {
        serde_json::from_value(serde_json::json!({
            "app": "shop", "environment": "default", "version": "1", "services": json,
            "env": {}, "smoke": [{"service": "web", "path": "/"}], "strategy": {"type": "blue-green"},
            "resources": [], "migrations": [],
        }))
        .unwrap()
    }

    fn planned(number: u32, draft: Draft) -> PlannedRelease {
        let request = BuildRequest {
            root: PathBuf::from("/src"),
            context: PathBuf::from("/src"),
            exclude: Vec::new(),
            include: Vec::new(),
            steps: Vec::new(),
            pass_env: Vec::new(),
            env: Default::default(),
            image: None,
            runs: Vec::new(),
            base_images: std::collections::BTreeMap::new(),
        };
        let source = ReleaseSource::Build {
            request: Box::new(request),
            source: Digest::of(b"x"),
            draft: Box::new(draft),
        };
        PlannedRelease { number: ReleaseNumber(number), source }
    }

    fn released(number: u32, draft: Draft) -> Release {
        let artefact = Artefact {
            digest: Digest::of(b"a"),
            source: Digest::of(b"s"),
            location: "x".to_owned(),
            root: ".".to_owned(),
        };
        let bundle = Bundle {
            app: draft.app,
            environment: draft.environment,
            version: draft.version,
            artefact,
            services: draft.services,
            env: draft.env,
            smoke: draft.smoke,
            strategy: draft.strategy,
            domain: draft.domain,
            front: draft.front,
            capacity: draft.capacity,
            resources: draft.resources,
            migrations: draft.migrations,
        };
        Release::new(ReleaseNumber(number), bundle).unwrap()
    }

    fn web_and_worker() -> Draft {
        services(serde_json::json!({
            "web": {"run": "./web", "ports": {"http": {}}, "scaling": {"min": 2, "max": 2}},
            "worker": {"run": "./worker"},
        }))
    }

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

    fn position(steps: &[Step], id: &str) -> usize {
        steps.iter().position(|s| s.id.0 == id).unwrap_or_else(|| panic!("no step `{id}`"))
    }

    /// Does `later` wait for `earlier`, directly or through others?
    fn waits(steps: &[Step], later: &str, earlier: &str) -> bool {
        let step = &steps[position(steps, later)];
        step.after.iter().any(|id| id.0 == earlier || waits(steps, &id.0, earlier))
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
