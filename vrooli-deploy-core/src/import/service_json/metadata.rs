//! The `deployment` block, in its four shapes: what maps is kept, the rest is named.

use super::patterns::PATTERNS;
use super::reader::Reader;
use super::said;
use crate::diagnostics::{Severity, rules};
use crate::manifest::{MetadataConfig, ScalingConfig, StrategyConfig, crosswalk};

const DEPLOYMENT: &str = "/deployment";

/// What the block says that a manifest can hold.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub strategy: StrategyConfig,
    pub scaling: Option<ScalingConfig>,
    pub said: MetadataConfig,
}

pub(super) fn read(reader: &Reader<'_>) -> Metadata {
    let mut metadata = Metadata::default();
    for key in reader.get(DEPLOYMENT).map(|_| reader.keys(DEPLOYMENT)).unwrap_or_default() {
        let at = format!("{DEPLOYMENT}/{}", key.replace('~', "~0").replace('/', "~1"));
        match key {
            "strategy" => strategy(reader, &at, &mut metadata),
            "scaling" => scaling(reader, &at, &mut metadata),
            // When and by what the block was written.
            "metadata_version" | "last_analyzed_at" | "analyzer" => {}
            // Kept for the analysis of fitness.
            "aggregate_requirements"
            | "tiers"
            | "dependencies"
            | "overrides"
            | "supported_tiers"
            | "platforms"
            | "desktop_ready"
            | "minimal_resources"
            | "offline_capable"
            | "complexity" => {
                reader.note(rules::METADATA_NOT_USED, &at, format!("`deployment.{key}` describes fitness; it changes nothing about how the app is deployed"), "nothing to do");
            }
            "cloud" => reader.note(
                rules::METADATA_NOT_USED,
                &at,
                "`deployment.cloud` is a wish that fitness reads; where the app goes is said when it is deployed",
                "choose with `--provider`",
            ),
            other => reader.note(
                rules::METADATA_NOT_USED,
                &at,
                format!("`deployment.{other}` is not used"),
                "nothing to do",
            ),
        }
    }
    metadata.said = said::read(reader);
    metadata
}

fn strategy(reader: &Reader<'_>, at: &str, metadata: &mut Metadata) {
    let Some(word) = reader.full_text(at) else {
        return;
    };
    match crosswalk::strategy(&word) {
        Ok(kind) => metadata.strategy.kind = kind,
        Err(_) if word == "recreate" => reader.note(
            rules::METADATA_NOT_USED,
            at,
            "the strategy `recreate`, which stops the old release first, is not kept; the new one starts beside it",
            "a service that cannot run twice says `overlap: exclusive` in a manifest",
        ),
        Err(unknown) => reader.note_as(Severity::Error, rules::UNKNOWN_STRATEGY, at, unknown.to_string(), unknown.help()),
    }
}

fn scaling(reader: &Reader<'_>, at: &str, metadata: &mut Metadata) {
    let number = |key: &str| {
        reader
            .number(&format!("{at}/{key}"))
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number > 0)
    };
    let (min, max) =
        (number("min").or_else(|| number("minReplicas")), number("max").or_else(|| number("maxReplicas")));
    if let Some(min) = min.or(max.map(|_| 1)) {
        metadata.scaling = Some(ScalingConfig { min, max: max.unwrap_or(min).max(min) });
        reader.note(
            rules::METADATA_NOT_USED,
            at,
            format!("of `deployment.scaling` the counts are kept, for the service `{}`", PATTERNS.routes.api),
            "targets of processor and memory are the provider's",
        );
    }
}
