//! Do containers run from the images of their release?

use std::collections::BTreeSet;

use vrooli_deploy_core::provider::{OpCtx, Result, UnitState};
use vrooli_deploy_core::release::Release;

use super::LocalFleet;
use crate::docker;
use crate::process::container_name;

impl LocalFleet {
    /// How they do not, a phrase each. What does not run, or not at all, is among the units.
    pub(crate) async fn other_images(&self, cx: &OpCtx, release: &Release) -> Result<Vec<String>> {
        let images = &release.bundle.artefact.images;
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let layout = &self.machine.layout;
        let engine = layout.engine_of_release(&cx.stack, release.number)?;
        // One that does not answer runs nothing that could be another image's.
        let Ok(engine) = docker::find(cx, engine.as_deref(), None).await? else { return Ok(Vec::new()) };
        let workspace = layout.workspace_id().map_err(crate::failure::at("read", layout.root()))?;
        let mut other = BTreeSet::new();
        for (service, image) in images {
            if engine.image(cx, image.id.as_str()).await?.is_none() {
                other.insert(format!("the image of `{service}` is not in Docker there any more"));
            }
        }
        for seen in self.units(cx).await? {
            if seen.release != release.number || seen.state != UnitState::Running {
                continue;
            }
            let Some(image) = images.get(&seen.unit.service) else { continue };
            let name = container_name(workspace, &cx.stack, release.number, &seen.unit);
            // One that is about to begin, or was begun anew this moment, has none yet.
            if let Some(container) = engine.container(cx, &name).await?
                && container.image != image.id.as_str()
            {
                other.insert(format!(
                    "`{}` runs from the image {}, not {}",
                    seen.unit, container.image, image.id
                ));
            }
        }
        Ok(other.into_iter().collect())
    }
}
