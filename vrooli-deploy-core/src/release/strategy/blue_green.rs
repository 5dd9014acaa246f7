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
            .hand_over()
            .commit()
            .retire()
            .done())
    }
}
