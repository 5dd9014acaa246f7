//! What another hand changed of what serves a release on servers.

use vrooli_deploy_core::provider::wire::values_digest;
use vrooli_deploy_core::provider::{FleetDifference, FleetPart, OpCtx, Result};
use vrooli_deploy_core::release::Release;

use super::BareMetalFleet;
use super::app_host::AppHost;
use super::together::{all, each};
use crate::own::Supervisor;

impl BareMetalFleet {
    /// By what was seen of each server last.
    pub(super) async fn altered(&self, cx: &OpCtx, release: &Release) -> Result<Vec<FleetDifference>> {
        // Of a value that the store here has lost nobody can say whether it is right.
        let values = self.values(release).ok().map(|values| values_digest(&values).to_string());
        let altered = each(&self.hosts, async |host: &AppHost| {
            // What is not there is missing among the units.
            let Some(seen) = host.seen(cx).await? else { return Ok(Vec::new()) };
            let name = host.name().to_string();
            let one = |part, reason: String| FleetDifference { host: name.clone(), part, reason };
            let mut altered = Vec::new();
            if !seen.supervised {
                altered.push(one(FleetPart::Supervisor, format!("{} does not run", Supervisor::unit())));
            }
            if host.unit_was_changed(cx).await? {
                let reason = format!("the file of {} was changed", Supervisor::unit());
                altered.push(one(FleetPart::Supervisor, reason));
            }
            altered.extend(FleetDifference::of_record(&name, &seen.staged, release));
            for reason in seen.images.get(&release.number).into_iter().flatten() {
                altered.push(one(FleetPart::Image, reason.clone()));
            }
            let there = seen.values.get(&release.number);
            if let (Some(there), Some(values)) = (there, &values)
                && there != values
            {
                let how = match there.as_str() {
                    "none" => "are gone",
                    "damaged" => "cannot be read",
                    _ => "are not those that were brought",
                };
                let reason =
                    format!("the values of secrets there that {} is started with {how}", release.number);
                altered.push(one(FleetPart::Values, reason));
            }
            Ok(altered)
        });
        Ok(all(altered.await, |host| host.name())?.into_iter().flat_map(|(_, altered)| altered).collect())
    }
}
