use super::{Situation, StepGraph, Strategy, StrategyError};
use crate::manifest::Overlap;
use crate::plan::Step;
use crate::provider::Routing;

/// The whole new release beside the old one, a part of the traffic first, then more, then all.
/// Each part is watched before the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Canary;

impl Strategy for Canary {
    fn name(&self) -> &'static str {
        "canary"
    }

    fn steps(&self, situation: &Situation<'_>) -> Result<Vec<Step>, StrategyError> {
        let next = situation.next.number;
        let unsupported = |needs| Err(StrategyError::Unsupported { strategy: self.name(), needs });
        if situation.current.is_some() && !situation.fleet.keeps_old {
            return unsupported("the old release to keep running beside the new one");
        }
        if situation.current.is_some() && !situation.fleet.weights {
            return unsupported("traffic to be split by weight");
        }
        let mut graph = StepGraph::new(situation).prepare().start(Overlap::Allowed).smoke(false);
        let old = situation.serving().map(|release| release.number);
        if let Some(old) = old {
            for percent in situation.config.canary_steps() {
                let weights = [(old, 100 - u32::from(percent)), (next, u32::from(percent))].into();
                graph = graph
                    .shift(Routing { weights, ..Routing::default() })
                    .watch_as(&format!("watch:{next}/{percent}"));
            }
            graph = graph.hold();
        }
        graph = graph.shift(Routing::all_to(next)).smoke(true);
        if old.is_some() {
            graph = graph.watch();
        }
        Ok(graph.hand_over().commit().retire().done())
    }
}
