//! What a release says of the edge in front of it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Bundle;
use crate::diagnostics::rules::OWN_CERTIFICATE;
use crate::diagnostics::{Diagnostic, Severity};
use crate::manifest::DeploymentManifest;
use crate::names::VariableName;
use crate::secrets::SecretRef;

/// What a release says of the edge in front of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Front {
    /// Where certificates come from, as the manifest says it; none: from an authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl: Option<String>,
    /// A certificate of the user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnCertificate>,
    /// For how long browsers are told to come by TLS only, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts_seconds: Option<u32>,
    /// Bytes of the largest body of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Are answers compressed?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
}

/// A certificate of the user's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnCertificate {
    /// The secret that holds it, with its chain.
    pub certificate: VariableName,
    /// The secret that holds its private key.
    pub key: VariableName,
    /// References to both.
    pub values: BTreeMap<VariableName, SecretRef>,
}

impl Front {
    pub(super) fn of(
        manifest: &DeploymentManifest,
        secrets: &BTreeMap<VariableName, SecretRef>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let networking = &manifest.networking;
        let mut own = None;
        let named = |name: &Option<VariableName>| {
            name.clone().and_then(|name| secrets.get(&name).map(|value| (name, value.clone())))
        };
        match (named(&networking.tls.certificate), named(&networking.tls.key)) {
            (Some((certificate, chain)), Some((key, signs))) => {
                let values = BTreeMap::from([(certificate.clone(), chain), (key.clone(), signs)]);
                own = Some(OwnCertificate { certificate, key, values });
            }
            (None, None) if networking.tls.certificate.is_none() && networking.tls.key.is_none() => {}
            _ => diagnostics.push(
                Diagnostic::new(
                    OWN_CERTIFICATE,
                    Severity::Error,
                    "`networking.tls` has to name two secrets, `certificate` and `key`, that `secrets` says where to find",
                )
                .help("secrets: { SHOP_CERTIFICATE: { from: { file: { path: fullchain.pem } } }, SHOP_KEY: … }"),
            ),
        }
        Self {
            ssl: networking.ssl.clone(),
            own,
            hsts_seconds: networking.tls.hsts.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
            max_body_bytes: networking.max_body_bytes,
            compress: networking.compress,
        }
    }
}

impl Bundle {
    /// The host names that it is reached at and can have a certificate for: its own, and those that
    /// its routes name. Wildcards cannot be proved over HTTP.
    #[must_use]
    pub fn host_names(&self) -> BTreeSet<String> {
        let hosts = self.services.values().flat_map(|service| &service.routes);
        let hosts = hosts.filter_map(|route| route.host.as_ref()).chain(&self.domain);
        hosts.filter(|host| !host.starts_with('*')).map(|host| host.to_ascii_lowercase()).collect()
    }

    /// Is every request that it is there for made to one of [`host_names`](Self::host_names)?
    #[must_use]
    pub fn has_only_host_names(&self) -> bool {
        let mut hosts = self.services.values().flat_map(|service| &service.routes).map(|route| &route.host);
        hosts.all(|host| host.as_ref().or(self.domain.as_ref()).is_some_and(|host| !host.starts_with('*')))
    }
}
