use super::graph::Exchange;
use super::{Situation, StepGraph, Strategy, StrategyError, overlap, pauses, units};
use crate::manifest::Overlap;
use crate::plan::Step;

/// So many instances are reckoned with where something scales them: waves of a quarter.
const SCALED: u32 = 4;

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
        if counted(situation).is_none() && situation.config.batch.is_some() {
            notes.push(
                "something scales what serves, so how many there are is not known: traffic goes in quarters and not by `batch`"
                    .to_owned(),
            );
        }
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

/// How many instances the largest service has; none where something scales them.
fn counted(situation: &Situation<'_>) -> Option<u32> {
    let largest = situation
        .services()
        .iter()
        .chain(situation.serving().iter().flat_map(|release| &release.bundle.services))
        .filter(|(_, config)| overlap(config) == Overlap::Allowed)
        .map(|(service, config)| units(service, config).count())
        .max()
        .unwrap_or(1);
    // Where a unit is all instances of a service, how many there are is said elsewhere, or not at all.
    match u32::try_from(largest).unwrap_or(u32::MAX) {
        1 if situation.fleet.whole => situation.instances(),
        units => Some(units),
    }
}

/// The form that fits: what the options say, and what the fleet can.
fn exchange(situation: &Situation<'_>) -> Exchange {
    let config = situation.config;
    let counted = counted(situation);
    let largest = counted.unwrap_or(SCALED);
    // So many at a time of a number that nobody knows may be all of them.
    let batch = config.batch.filter(|_| counted.is_some()).unwrap_or(largest.div_ceil(4)).max(1);
    let room = config.surge.is_none_or(|surge| counted.is_some_and(|counted| surge >= counted));
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

#[cfg(test)]
mod tests {
    use super::super::cases::{planned, released, services};
    use super::*;
    use crate::manifest::StrategyConfig;
    use crate::provider::{FleetCapabilities, Routing};
    use crate::release::Capacity;

    type Said = (Vec<Step>, Vec<String>);

    /// Steps and notes where instances start and end together, with so many of `web` beside one worker.
    fn steps(web: Option<u32>, config: StrategyConfig) -> Result<Said, StrategyError> {
        let app = || {
            services(serde_json::json!({
                "web": {"run": "./web", "ports": {"http": {}}},
                "worker": {"run": "./worker"},
            }))
        };
        let (old, mut draft) = (released(1, app()), app());
        let place = |count| Capacity { count, size: "any".to_owned() };
        draft.capacity = [("web".to_owned(), place(web)), ("worker".to_owned(), place(Some(1)))].into();
        let next = planned(2, draft);
        let fleet =
            FleetCapabilities { keeps_old: true, weights: true, whole: true, ..FleetCapabilities::default() };
        let situation = Situation {
            next: &next,
            current: Some(&old),
            routing: &Routing::all_to(old.number),
            units: &[],
            fleet: &fleet,
            config: &config,
            because: "its source changed",
            expired: &[],
        };
        Ok((Rolling.steps(&situation)?, Rolling.notes(&situation)))
    }

    fn shifts(web: Option<u32>, batch: Option<u32>) -> Vec<String> {
        let config = StrategyConfig { batch, ..StrategyConfig::default() };
        let (steps, _) = steps(web, config).unwrap();
        steps.into_iter().map(|step| step.id.0).filter(|id| id.starts_with("shift:")).collect()
    }

    #[test]
    fn traffic_goes_in_parts_of_as_many_as_there_are() {
        assert_eq!(shifts(Some(8), Some(3)).len(), 3);
        assert_eq!(shifts(Some(8), None).len(), 4);
        assert_eq!(shifts(Some(1), None).len(), 1);
    }

    #[test]
    fn what_is_scaled_goes_in_quarters_however_many_workers_there_are() {
        assert_eq!(shifts(None, None).len(), 4);
    }

    #[test]
    fn so_many_of_a_number_that_nobody_knows_is_no_part_of_it() {
        assert_eq!(shifts(None, Some(8)).len(), 4);
        let config = || StrategyConfig { batch: Some(8), ..StrategyConfig::default() };
        let notes = |web| steps(web, config()).unwrap().1;
        assert!(notes(None).iter().any(|note| note.contains("in quarters and not by `batch`")));
        assert!(!notes(Some(8)).iter().any(|note| note.contains("quarters")));
    }

    #[test]
    fn room_for_a_number_that_nobody_knows_is_not_assumed() {
        let config = StrategyConfig { surge: Some(8), ..StrategyConfig::default() };
        assert!(steps(Some(8), config.clone()).is_ok());
        assert!(matches!(steps(None, config), Err(StrategyError::Unsupported { .. })));
    }
}
