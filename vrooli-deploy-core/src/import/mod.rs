//! Dialects that people already have, read into a
//! [`DeploymentManifest`](crate::manifest::DeploymentManifest).

pub mod service_json;
