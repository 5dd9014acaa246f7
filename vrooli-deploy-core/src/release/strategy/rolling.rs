use super::graph::Exchange;
use super::{Situation, StepGraph, Strategy, StrategyError, overlap, pauses, units};
use crate::manifest::Overlap;
use crate::plan::Step;

/// Instance by instance, in waves. *Warm*, where there is room for both releases: old ones rest
/// and stay until the commit, so that the way back is one shift. Where instances of a release start and end
/// together, all new ones start first, and traffic alone goes in waves. *In place*: old ones end wave
/// by wave, the way back starts them again, and the floor of capacity is what holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rolling;

impl Strategy for Rolling {
    fn name(&self) -> &'static str {
        "rolling"
    }

    fn steps(&self, situation: &Situation<'_>) -> Result<Vec<Step>, StrategyError> {
        if situation.serving().is_some() && !situation.fleet.weights {
            return Err(StrategyError::Unsupported {
                strategy: self.name(),
                needs: "traffic to be split by weight",
            });
        }
        let exchange = exchange(situation);
        if situation.serving().is_some()
            && situation.fleet.whole
            && matches!(exchange, Exchange::InPlace { .. })
        {
            return Err(StrategyError::Unsupported {
                strategy: self.name(),
                needs: "instances that start and end one by one where there is no room for both releases (leave out `surge`)",
            });
        }
        Ok(StepGraph::new(situation)
            .prepare()
            .exchange(exchange)
            .smoke(true)
            .watch()
            .hold()
            .hand_over()
            .commit()
            .retire()
            .done())
    }

    fn notes(&self, situation: &Situation<'_>) -> Vec<String> {
        let mut notes = pauses(situation);
        let Some(old) = situation.serving() else { return notes };
        if let Exchange::InPlace { batch, missing, .. } = exchange(situation) {
            notes.push(format!(
                "in place: old instances end before the release is proved as a whole, so going back starts them again, up to {batch} of a service at a time, and takes as long as they take to start"
            ));
            let bare: Vec<String> = situation
                .services()
                .iter()
                .filter(|(_, config)| overlap(config) == Overlap::Allowed)
                .filter(|(service, config)| {
                    let count = units(service, config).count();
                    let before =
                        old.bundle.services.get(*service).map_or(0, |config| units(service, config).count());
                    before > 0 && count.min(before) <= missing as usize
                })
                .map(|(service, _)| format!("`{service}`"))
                .collect();
            if !bare.is_empty() {
                notes.push(format!(
                    "{} has no instance left while its successor starts: requests fail until it is well (`--surge 1` avoids that)",
                    bare.join(", ")
                ));
            }
        }
        notes
    }
}

/// The form that fits: what the options say, and what the fleet can.
fn exchange(situation: &Situation<'_>) -> Exchange {
    let config = situation.config;
    let whole = situation.fleet.whole.then(|| situation.instances()).flatten();
    let largest = situation
        .services()
        .iter()
        .chain(situation.serving().iter().flat_map(|release| &release.bundle.services))
        .filter(|(_, config)| overlap(config) == Overlap::Allowed)
        .map(|(service, config)| units(service, config).count())
        .max()
        .unwrap_or(1);
    let largest = whole.unwrap_or(u32::try_from(largest).unwrap_or(u32::MAX));
    let batch = config.batch.unwrap_or(largest.div_ceil(4)).max(1);
    let room = config.surge.is_none_or(|surge| surge >= largest);
    if room && situation.fleet.keeps_old {
        return if situation.fleet.whole {
            Exchange::Whole { batch, of: largest }
        } else {
            Exchange::Warm { batch }
        };
    }
    let surge = config.surge.unwrap_or(0);
    // With no instance more, one less is what an exchange needs.
    let missing = config.max_unavailable.unwrap_or(u32::from(surge == 0));
    Exchange::InPlace { batch: batch.min(surge.saturating_add(missing)).max(1), surge, missing }
}
