//! How much machine the app takes, held against what the tier has.

use super::policy::Measure;
use super::sheet::Sheet;
use super::{Cause, Dimension};
use crate::requirements::{Aggregate, Need, ResourceForm, Size, catalogue};

pub(super) fn score(sheet: &mut Sheet<'_>, aggregate: &Aggregate) {
    let used = aggregate.minimum();
    let declared = declared(sheet);
    for (measure, budget) in &sheet.rules.budget {
        let sum = measure.of(&used);
        let said = declared.as_ref().and_then(|(size, _)| measure.of(size));
        let (value, from_metadata) = match (sum, said) {
            (sum, Some(said)) if sum.is_none_or(|sum| said > sum) => (said, true),
            (Some(sum), _) => (sum, false),
            (None, _) => continue,
        };
        let points = budget.points(value);
        let mut parts: Vec<(f64, &str)> = aggregate
            .parts
            .iter()
            .filter_map(|part| {
                let one = measure.of(&part.size.minimum)?;
                Some((one * f64::from(part.count), part.name.as_str()))
            })
            .collect();
        parts.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let knowledge = sheet.knowledge(&format!("budget.{}", field(*measure)));
        let (why, mut cause) = if from_metadata {
            let cause = declared.as_ref().map(|(_, cause)| cause.clone()).unwrap_or_default();
            (
                format!(
                    "its metadata says {}; the tier is measured against {}",
                    measure.show(value),
                    measure.show(budget.budget)
                ),
                cause,
            )
        } else {
            let list: Vec<String> = parts.iter().map(|(value, name)| format!("{name} {value}")).collect();
            let largest = parts.first().map_or("", |(_, name)| *name);
            let cause = match sheet.needed().find(|resource| resource.name.as_str() == largest) {
                Some(resource) => sheet.places.resource(&resource.name),
                None => sheet
                    .requirements
                    .services
                    .keys()
                    .find(|name| name.as_str() == largest)
                    .map(|name| sheet.places.service(name))
                    .unwrap_or_default(),
            };
            (
                format!(
                    "it takes {} ({}); the tier is measured against {}",
                    measure.show(value),
                    list.join(", "),
                    measure.show(budget.budget)
                ),
                cause,
            )
        };
        cause.knowledge = Some(knowledge);
        sheet.take(Dimension::Resources, measure.name(), points, why, cause);
    }
    unknown(sheet, aggregate);
    graphics(sheet);
}

const fn field(measure: Measure) -> &'static str {
    match measure {
        Measure::RamMb => "ram_mb",
        Measure::CpuCores => "cpu_cores",
        Measure::DiskMb => "disk_mb",
    }
}

/// What the app's own metadata says that it takes there. After a swap that is no longer true.
fn declared(sheet: &Sheet<'_>) -> Option<(Size, Cause)> {
    if sheet.needed().any(|resource| resource.swapped_from.is_some()) {
        return None;
    }
    let said = &sheet.manifest.metadata;
    let tier = said.tiers.get(&sheet.tier).and_then(|tier| tier.requirements.as_ref());
    if let Some(requirements) = tier {
        return Some((requirements.size(), sheet.places.tier(sheet.tier)));
    }
    let requirements = said.requirements.as_ref()?;
    let cause = sheet.places.field(&["/deployment/aggregate_requirements", "/metadata/requirements"]);
    Some((requirements.size(), cause))
}

fn unknown(sheet: &mut Sheet<'_>, aggregate: &Aggregate) {
    // Services that were not measured are small beside what they stand on.
    for resource in sheet.needed() {
        if aggregate.unknown.iter().any(|name| name == resource.name.as_str()) {
            let cause = sheet.dependency(&resource.name, sheet.knowledge("unknown_size"));
            let why = format!("what `{}` takes is not known", resource.resource);
            sheet.take(Dimension::Resources, "unknown-size", sheet.rules.unknown_size, why, cause);
        }
    }
}

fn graphics(sheet: &mut Sheet<'_>) {
    for resource in sheet.needed() {
        let Some(known) = catalogue().find(&resource.resource) else { continue };
        let Some(gpu) = known.gpu.as_ref().filter(|_| known.form == ResourceForm::Server) else { continue };
        let cause = sheet.dependency(&resource.name, sheet.knowledge("gpu"));
        let why = match gpu.need {
            Need::Required => format!("`{}` needs a graphics card: {}", resource.name, gpu.why),
            Need::Recommended => format!("`{}` is slow without a graphics card: {}", resource.name, gpu.why),
        };
        sheet.take(Dimension::Resources, "graphics", sheet.rules.gpu, why, cause);
    }
}
