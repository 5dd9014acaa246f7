//! What the `deployment` block says about where the app can run. The same things are said
//! in four shapes: by tier (`tiers`, `dependencies`, `overrides`), by number
//! (`supported_tiers`, `desktop_ready`), by platform (`platforms.cloud`), and as a wish
//! (`cloud.preferred_providers`).

use serde_json::Value;

use super::reader::Reader;
use crate::diagnostics::{Severity, rules};
use crate::manifest::yaml::child;
use crate::manifest::{
    AdaptationMetadata, DependencyMetadata, MetadataConfig, OverrideMetadata, RequirementsMetadata,
    SupportMetadata, SwappableMetadata, Tier, TierMetadata, TierSecretMetadata, TierStatus, crosswalk,
    redaction,
};
use crate::names::DependencyName;

const DEPLOYMENT: &str = "/deployment";

/// Reads all of it. What cannot be understood is named with its place and left out;
/// impossible figures are errors.
pub(super) fn read(reader: &Reader<'_>) -> MetadataConfig {
    let mut said = MetadataConfig::default();
    if !reader.get(DEPLOYMENT).is_some_and(Value::is_object) {
        return said;
    }
    let said_by = Said { reader };
    said.source = said_by.text("/deployment/analyzer/name");
    said_by.cloud(&mut said);
    said_by.numbers(&mut said);
    said_by.platforms(&mut said);
    said.offline_capable = said_by.flag("/deployment/offline_capable");
    said.requirements = said_by.requirements("/deployment/aggregate_requirements");
    said_by.tiers(&mut said);
    said_by.dependencies(&mut said);
    said_by.overrides(&mut said);
    said
}

struct Said<'r, 'd> {
    reader: &'r Reader<'d>,
}

impl Said<'_, '_> {
    /// A text that a person wrote; what looks like a credential in it is masked.
    fn text(&self, at: &str) -> Option<String> {
        self.reader.get(at)?;
        self.reader.full_text(at).map(|text| redaction::mask(&text))
    }

    fn texts(&self, at: &str) -> Vec<String> {
        self.reader
            .texts(at)
            .iter()
            .map(|text| redaction::mask(text.trim()))
            .filter(|t| !t.is_empty())
            .collect()
    }

    fn flag(&self, at: &str) -> Option<bool> {
        self.reader.get(at)?;
        self.reader.flag(at)
    }

    /// A figure that is not negative.
    fn figure(&self, at: &str) -> Option<f64> {
        let value = match self.reader.get(at)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match value.filter(|value| value.is_finite() && *value >= 0.0) {
            Some(value) => Some(value),
            None => {
                self.refuse(at, "is not a number of at least 0");
                None
            }
        }
    }

    fn whole(&self, at: &str) -> Option<u64> {
        // Below 2^53 the conversion is exact; nothing that is measured in mebibytes is larger.
        self.figure(at).filter(|value| *value < 9e15).map(|value| value.ceil() as u64)
    }

    /// A score: 0 to 1 in service.json, 0 to 100 elsewhere.
    fn score(&self, at: &str) -> Option<u8> {
        let value = self.figure(at)?;
        let hundredth = if value <= 1.0 { value * 100.0 } else { value };
        if hundredth > 100.0 {
            self.refuse(at, "is not a score from 0 to 1, nor from 0 to 100");
            return None;
        }
        Some(hundredth.round() as u8)
    }

    fn refuse(&self, at: &str, why: &str) {
        let written = self.reader.get(at).map(ToString::to_string).unwrap_or_default();
        self.reader.note_as(
            Severity::Error,
            rules::INVALID_VALUE,
            at,
            format!("`{written}` {why}"),
            "correct it, or remove it",
        );
    }

    fn unused(&self, at: &str, what: &str) {
        self.reader.note(rules::METADATA_NOT_USED, at, format!("{what} is not used"), "nothing to do");
    }

    fn tier(&self, at: &str, word: &str) -> Option<Tier> {
        match crosswalk::tier(word) {
            Ok(tier) => Some(tier),
            Err(unknown) => {
                self.reader.note_as(
                    Severity::Warning,
                    rules::UNKNOWN_TIER,
                    at,
                    format!("{unknown}; what is said of it is ignored"),
                    unknown.help(),
                );
                None
            }
        }
    }

    fn cloud(&self, said: &mut MetadataConfig) {
        let cloud = "/deployment/cloud";
        if !self.reader.get(cloud).is_some_and(Value::is_object) {
            return;
        }
        for key in self.reader.keys(cloud) {
            let at = child(cloud, key);
            match key {
                "preferred_providers" | "providers" => {
                    for word in self.reader.texts(&at) {
                        match crosswalk::provider(&word) {
                            Ok(provider) => {
                                if !said.preferred_providers.contains(&provider) {
                                    said.preferred_providers.push(provider);
                                }
                            }
                            Err(unknown) => self.reader.note_as(
                                Severity::Warning,
                                rules::UNKNOWN_PROVIDER,
                                &at,
                                format!("{unknown}; the wish is ignored"),
                                unknown.help(),
                            ),
                        }
                    }
                }
                "residency" | "data_residency" => {
                    said.residency = self.texts(&at).iter().map(|word| word.to_ascii_lowercase()).collect();
                }
                "compliance" => {
                    said.compliance = self.texts(&at).iter().map(|word| word.to_ascii_lowercase()).collect();
                }
                other => self.unused(&at, &format!("`deployment.cloud.{other}`")),
            }
        }
    }

    /// The shape that counts tiers.
    fn numbers(&self, said: &mut MetadataConfig) {
        let at = "/deployment/supported_tiers";
        if let Some(Value::Array(items)) = self.reader.get(at) {
            for (index, item) in items.iter().enumerate() {
                let at = child(at, &index.to_string());
                let word = match item {
                    Value::String(word) => word.clone(),
                    other => other.to_string(),
                };
                said.supported_tiers.extend(self.tier(&at, &word));
            }
            said.supported_tiers.sort();
            said.supported_tiers.dedup();
        }
        if let Some(ready) = self.flag("/deployment/desktop_ready") {
            let status = if ready { TierStatus::Ready } else { TierStatus::Limited };
            said.tiers.entry(Tier::Desktop).or_default().status = Some(status);
        }
    }

    /// The shape that speaks of platforms.
    fn platforms(&self, said: &mut MetadataConfig) {
        let at = "/deployment/platforms";
        if !self.reader.get(at).is_some_and(Value::is_object) {
            return;
        }
        for key in self.reader.keys(at) {
            let at = child(at, key);
            let Some(tier) = self.tier(&at, key) else { continue };
            let entry = said.tiers.entry(tier).or_default();
            let supported = match self.reader.get(&at) {
                Some(Value::Bool(supported)) => Some(*supported),
                Some(Value::Object(_)) => self.flag(&format!("{at}/supported")),
                _ => None,
            };
            if let Some(supported) = supported {
                entry.status = Some(if supported { TierStatus::Ready } else { TierStatus::Blocked });
            }
            if self.reader.get(&at).is_some_and(Value::is_object) {
                self.read_tier(&at, entry);
            }
        }
    }

    fn tiers(&self, said: &mut MetadataConfig) {
        let at = "/deployment/tiers";
        if self.reader.get(at).is_none() {
            return;
        }
        for key in self.reader.keys(at) {
            let at = child(at, key);
            if let Some(tier) = self.tier(&at, key) {
                self.read_tier(&at, said.tiers.entry(tier).or_default());
            }
        }
    }

    fn read_tier(&self, at: &str, entry: &mut TierMetadata) {
        let field = |key: &str| format!("{at}/{key}");
        if let Some(word) = self.text(&field("status")) {
            match word.to_ascii_lowercase().as_str() {
                "ready" | "supported" => entry.status = Some(TierStatus::Ready),
                "limited" | "partial" => entry.status = Some(TierStatus::Limited),
                "blocked" | "unsupported" => entry.status = Some(TierStatus::Blocked),
                _ => self.refuse(&field("status"), "is not `ready`, `limited` or `blocked`"),
            }
        }
        entry.fitness = self.score(&field("fitness_score")).or(entry.fitness);
        entry.constraints.extend(self.texts(&field("constraints")));
        entry.notes = self.text(&field("notes")).or(entry.notes.take());
        entry.requirements = self.requirements(&field("requirements")).or(entry.requirements.take());
        for at in self.items(&field("adaptations")) {
            let text = |key: &str| self.text(&format!("{at}/{key}"));
            if let (Some(dependency), Some(swap)) = (
                text("dependency").or_else(|| text("from")).or_else(|| text("original")),
                text("swap").or_else(|| text("to")).or_else(|| text("replacement")),
            ) {
                entry.adaptations.push(AdaptationMetadata {
                    dependency,
                    swap,
                    impact: text("impact"),
                    effort_days: self.figure(&format!("{at}/effort_days")),
                });
            }
        }
        for at in self.items(&field("secrets")) {
            let text = |key: &str| self.text(&format!("{at}/{key}"));
            if let Some(id) = text("secret_id").or_else(|| text("id")) {
                entry.secrets.push(TierSecretMetadata {
                    id,
                    classification: text("classification"),
                    strategy: text("strategy_ref").or_else(|| text("strategy")),
                });
            }
        }
    }

    fn items(&self, at: &str) -> Vec<String> {
        let count = self.reader.get(at).map_or(0, |_| self.reader.count(at));
        (0..count).map(|index| child(at, &index.to_string())).collect()
    }

    fn requirements(&self, at: &str) -> Option<RequirementsMetadata> {
        if !self.reader.get(at)?.is_object() {
            // Named by the reader.
            self.reader.keys(at);
            return None;
        }
        let field = |key: &str| format!("{at}/{key}");
        let requirements = RequirementsMetadata {
            ram_mb: self.whole(&field("ram_mb")),
            cpu_cores: self.figure(&field("cpu_cores")),
            disk_mb: self.whole(&field("disk_mb")),
            gpu: self.flag(&field("gpu")),
            network: self.text(&field("network")),
            source: self.text(&field("source")),
            confidence: self.text(&field("confidence")),
        };
        (requirements != RequirementsMetadata::default()).then_some(requirements)
    }

    fn dependencies(&self, said: &mut MetadataConfig) {
        for (group, scenario) in [("resources", false), ("scenarios", true)] {
            let at = format!("/deployment/dependencies/{group}");
            if self.reader.get(&at).is_none() {
                continue;
            }
            for key in self.reader.keys(&at) {
                let at = child(&at, key);
                let Ok(name) = DependencyName::new(key) else {
                    self.refuse(&at, "stands under a name that cannot be used");
                    continue;
                };
                // A document nests one level more than the schema allows.
                let nested = format!("{at}/deployment");
                let at = if self.reader.get(&nested).is_some_and(Value::is_object) { nested } else { at };
                let mut dependency = DependencyMetadata {
                    scenario,
                    footprint: self.requirements(&format!("{at}/footprint")),
                    ..DependencyMetadata::default()
                };
                let support = format!("{at}/platform_support");
                if self.reader.get(&support).is_some() {
                    for key in self.reader.keys(&support) {
                        let at = child(&support, key);
                        if let Some(tier) = self.tier(&at, key) {
                            dependency.support.insert(tier, self.support(&at));
                        }
                    }
                }
                for at in self.items(&format!("{at}/swappable_with")) {
                    let text = |key: &str| self.text(&format!("{at}/{key}"));
                    if let Some(id) = text("id") {
                        dependency.swappable_with.push(SwappableMetadata {
                            id,
                            relationship: text("relationship"),
                            notes: text("notes"),
                        });
                    }
                }
                said.dependencies.insert(name, dependency);
            }
        }
    }

    fn support(&self, at: &str) -> SupportMetadata {
        SupportMetadata {
            supported: self.flag(&format!("{at}/supported")),
            fitness: self.score(&format!("{at}/fitness_score")),
            reason: self.text(&format!("{at}/reason")).or_else(|| self.text(&format!("{at}/notes"))),
            alternatives: self.texts(&format!("{at}/alternatives")),
        }
    }

    fn overrides(&self, said: &mut MetadataConfig) {
        for at in self.items("/deployment/overrides") {
            let text = |key: &str| self.text(&format!("{at}/{key}"));
            let Some(tier) = text("tier").and_then(|word| self.tier(&format!("{at}/tier"), &word)) else {
                continue;
            };
            if text("field").is_some_and(|field| field != "fitness_score") {
                self.unused(&at, "an override of anything but `fitness_score`");
                continue;
            }
            if let Some(fitness) = self.score(&format!("{at}/value")) {
                said.overrides.push(OverrideMetadata {
                    tier,
                    fitness,
                    reason: text("reason"),
                    expires_at: text("expires_at"),
                });
            }
        }
    }
}
