//! Releases for tests of strategies, and what is asked of their steps.

use std::path::PathBuf;

use crate::names::{Digest, ReleaseNumber};
use crate::plan::{Draft, PlannedRelease, ReleaseSource, Step};
use crate::provider::{Artefact, BuildRequest};
use crate::release::{Bundle, Release};

pub(super) fn services(json: serde_json::Value) -> Draft {
    serde_json::from_value(serde_json::json!({
        "app": "shop", "environment": "default", "version": "1", "services": json,
        "env": {}, "smoke": [{"service": "web", "path": "/"}], "strategy": {"type": "blue-green"},
        "resources": [], "migrations": [],
    }))
    .unwrap()
}

pub(super) fn planned(number: u32, draft: Draft) -> PlannedRelease {
    let request = BuildRequest {
        root: PathBuf::from("/src"),
        context: PathBuf::from("/src"),
        exclude: Vec::new(),
        include: Vec::new(),
        steps: Vec::new(),
        pass_env: Vec::new(),
        env: Default::default(),
        image: None,
        runs: Vec::new(),
        base_images: std::collections::BTreeMap::new(),
        containers: None,
    };
    let source =
        ReleaseSource::Build { request: Box::new(request), source: Digest::of(b"x"), draft: Box::new(draft) };
    PlannedRelease { number: ReleaseNumber(number), source }
}

pub(super) fn released(number: u32, draft: Draft) -> Release {
    let artefact = Artefact {
        digest: Digest::of(b"a"),
        source: Digest::of(b"s"),
        location: "x".to_owned(),
        root: ".".to_owned(),
        images: std::collections::BTreeMap::new(),
    };
    let bundle = Bundle {
        app: draft.app,
        environment: draft.environment,
        version: draft.version,
        artefact,
        services: draft.services,
        env: draft.env,
        smoke: draft.smoke,
        strategy: draft.strategy,
        domain: draft.domain,
        front: draft.front,
        capacity: draft.capacity,
        resources: draft.resources,
        migrations: draft.migrations,
    };
    Release::new(ReleaseNumber(number), bundle).unwrap()
}

pub(super) fn web_and_worker() -> Draft {
    services(serde_json::json!({
        "web": {"run": "./web", "ports": {"http": {}}, "scaling": {"min": 2, "max": 2}},
        "worker": {"run": "./worker"},
    }))
}

pub(super) fn position(steps: &[Step], id: &str) -> usize {
    steps.iter().position(|s| s.id.0 == id).unwrap_or_else(|| panic!("no step `{id}`"))
}

/// Does `later` wait for `earlier`, directly or through others?
pub(super) fn waits(steps: &[Step], later: &str, earlier: &str) -> bool {
    let step = &steps[position(steps, later)];
    step.after.iter().any(|id| id.0 == earlier || waits(steps, &id.0, earlier))
}
