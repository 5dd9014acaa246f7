//! What the services of a release are given: environment variables, and the values of secrets that they need.

use std::collections::BTreeMap;

use vrooli_deploy_core::names::{PortName, ServiceName};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::{EnvValue, Release};
use vrooli_deploy_core::secrets::SecretRef;

use crate::native::unexpected;

/// What a variable holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given<'a> {
    Plain(String),
    Secret(&'a SecretRef),
}

/// Variables of a service, by name.
///
/// # Errors
/// When one is a folder that is kept, which nothing here has, or cannot be known.
pub(super) fn variables<'a>(
    release: &'a Release,
    service: &ServiceName,
    ports: &BTreeMap<(ServiceName, PortName), u16>,
) -> Result<Vec<(&'a str, Given<'a>)>> {
    let wrong = |what| unexpected("release", what);
    let mut all = Vec::new();
    for (variable, value) in release.bundle.env.get(service).into_iter().flatten() {
        let given = match value {
            EnvValue::Value(text) => Given::Plain(text.clone()),
            EnvValue::Port { service, port } => {
                let number = ports.get(&(service.clone(), port.clone()));
                Given::Plain(number.map(ToString::to_string).ok_or_else(|| wrong("port"))?)
            }
            EnvValue::Secret(reference) => Given::Secret(reference),
            EnvValue::DataDir => {
                let words = format!(
                    "`{variable}` of `{service}` is a folder that is kept, and what runs it keeps none"
                );
                return Err(ProviderError::new(ErrorKind::Unsupported, words)
                    .with_help("keep files in object storage or in the database"));
            }
            EnvValue::Output(_) => return Err(wrong("value")),
        };
        all.push((variable.as_str(), given));
    }
    Ok(all)
}

/// Values that services of a release need.
pub(super) fn secrets<'a>(
    release: &'a Release,
    of: &'a [ServiceName],
) -> impl Iterator<Item = &'a SecretRef> {
    let env = of.iter().filter_map(|name| release.bundle.env.get(name)).flat_map(BTreeMap::values);
    env.filter_map(|value| match value {
        EnvValue::Secret(reference) => Some(reference),
        _ => None,
    })
}
