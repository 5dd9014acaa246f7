//! Whether licences allow it.

use super::sheet::Sheet;
use super::{Cause, Dimension};
use crate::diagnostics::rules;
use crate::requirements::{Hosting, catalogue};

pub(super) fn score(sheet: &mut Sheet<'_>) {
    if sheet.manifest.app.license.as_deref().is_none_or(|licence| licence.trim().is_empty()) {
        let cause = Cause {
            knowledge: Some(sheet.knowledge("no_licence")),
            ..sheet.places.field(&["/service", "/app"])
        };
        let why = "the app names no licence";
        sheet.take(Dimension::Licensing, "no-licence", sheet.rules.no_licence, why, cause);
    }
    for resource in sheet.needed() {
        let Some(known) = catalogue().find(&resource.resource) else { continue };
        let Some(licence) = &known.licence else {
            let cause = sheet.dependency(&resource.name, format!("catalogue: {}.licence", known.name));
            let why = format!("the licence of `{}` is not known", known.name);
            sheet.take(Dimension::Licensing, "unknown-licence", sheet.rules.licence_conditions, why, cause);
            continue;
        };
        let reason = licence.why.as_deref().unwrap_or("see its licence");
        let cause = sheet.dependency(&resource.name, format!("catalogue: {}.licence", known.name));
        // Who has it run by the provider does not run it under its licence.
        let managed = sheet.rules.hosted && known.managed_at(sheet.provider.as_ref()).is_some();
        match licence.hosting {
            Hosting::Allowed => {}
            Hosting::Conditions if managed => {}
            Hosting::Conditions => {
                let why = format!("`{}` is under {}: {reason}", known.name, licence.spdx);
                sheet.take(
                    Dimension::Licensing,
                    "licence-conditions",
                    sheet.rules.licence_conditions,
                    why,
                    cause,
                );
            }
            Hosting::Commercial | Hosting::Forbidden => {
                let held = sheet.confirmed(resource.name.as_str()) || sheet.confirmed(&known.name);
                if !sheet.rules.hosted || held || managed {
                    continue;
                }
                let (mut suggestions, swaps) = sheet.alternatives(&resource.name, &known.name);
                if licence.hosting == Hosting::Commercial {
                    suggestions
                        .push(format!("if you hold such a licence, say so: `--confirm {}`", known.name));
                }
                sheet.block(
                    resource.required,
                    rules::LICENCE_FORBIDS,
                    format!("`{}` is under {}: {reason}", resource.name, licence.spdx),
                    cause,
                    suggestions,
                    swaps,
                );
            }
        }
    }
}
