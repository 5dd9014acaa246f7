//! How much memory a model server needs for its models.

use std::sync::LazyLock;

use serde::Deserialize;

use super::{ResourceRequirement, Size};
use crate::manifest::crosswalk::embedded;

#[derive(Debug, Default, Deserialize)]
struct ModelSizes {
    resources: Vec<String>,
    memory: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    billion: f64,
    ram_mb: u64,
}

static SIZES: LazyLock<ModelSizes> = LazyLock::new(|| embedded(include_str!("data/model_sizes.json")));

/// The memory that a model needs, in mebibytes, by the number of parameters in its name
/// (`phi3.5:3.8b`). `None` for a name without one. Of a model larger than all in the table
/// it is the largest figure there: at least so much.
#[must_use]
pub fn model_memory(model: &str) -> Option<u64> {
    let billion = billions(model)?;
    let row = SIZES.memory.iter().find(|row| billion <= row.billion).or_else(|| SIZES.memory.last());
    row.map(|row| row.ram_mb)
}

/// The number before a `b` that ends a word: `3.8` in `phi3.5:3.8b-mini`.
fn billions(model: &str) -> Option<f64> {
    model
        .to_ascii_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter_map(|word| word.strip_suffix('b')?.parse::<f64>().ok())
        .filter(|billion| billion.is_finite() && *billion > 0.0)
        .fold(None, |largest: Option<f64>, billion| Some(largest.map_or(billion, |l| l.max(billion))))
}

/// Makes room for the largest of the models of a model server: one is loaded at a time.
pub(super) fn enlarge(resource: &mut ResourceRequirement) {
    if !SIZES.resources.contains(&resource.resource) {
        return;
    }
    let Some(ram_mb) = resource.models.iter().filter_map(|model| model_memory(model)).max() else {
        return;
    };
    let room = Size { ram_mb: Some(ram_mb), ..Size::default() };
    let size = resource.size.get_or_insert_default();
    size.minimum = size.minimum.max(room);
    size.recommended = size.recommended.max(room);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_names() {
        serde_json::from_str::<ModelSizes>(include_str!("data/model_sizes.json")).unwrap();
        assert_eq!(model_memory("phi3.5:3.8b"), Some(8192));
        assert_eq!(model_memory("llava:13b"), Some(16384));
        assert_eq!(model_memory("llama3.1:70b-instruct-q4_0"), Some(32768));
        assert_eq!(model_memory("nomic-embed-text"), None);
        assert_eq!(model_memory("b"), None);
    }
}
