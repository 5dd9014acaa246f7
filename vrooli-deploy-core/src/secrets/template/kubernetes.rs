use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{SecretsPlan, TemplateOptions, line, others, to_fill};
use crate::manifest::SecretSource;
use crate::manifest::yaml;
use crate::secrets::SecretStatus;
use crate::secrets::plan::SecretOrigin;

/// An `ExternalSecret` (External Secrets Operator) for what is kept in a store, and a `Secret`
/// without data for what is generated, whose annotation says which keys it will have.
pub(super) fn write(plan: &SecretsPlan, options: &TemplateOptions) -> String {
    let stack = &options.stack;
    let labels = json!({
        "app.kubernetes.io/name": stack.app,
        "app.kubernetes.io/instance": format!("{}-{}", stack.app, stack.environment),
    });
    let metadata = |name: String| json!({ "name": name, "labels": labels });
    let base = format!("{}-{}", stack.app, stack.environment);
    let mut objects = Vec::new();
    let data: Vec<Value> = to_fill(plan)
        .map(|secret| {
            let (key, property) = match &secret.origin {
                SecretOrigin::Source(SecretSource::Vault(vault)) => (vault.path.clone(), vault.key.clone()),
                _ => (stack.to_string(), secret.name.to_string()),
            };
            json!({ "secretKey": secret.name, "remoteRef": { "key": key, "property": property } })
        })
        .collect();
    if !data.is_empty() {
        let name = format!("{base}-secrets");
        objects.push(json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": metadata(name.clone()),
            "spec": {
                "refreshInterval": "1h",
                "secretStoreRef": { "name": format!("{base}-store"), "kind": "SecretStore" },
                "target": { "name": name, "creationPolicy": "Owner" },
                "data": data,
            },
        }));
    }
    let generated: Vec<&str> = plan
        .secrets
        .iter()
        .filter(|secret| secret.status == SecretStatus::Generated)
        .map(|secret| secret.name.as_str())
        .collect();
    if !generated.is_empty() {
        let mut metadata = metadata(format!("{base}-generated"));
        let keys: BTreeMap<&str, String> = [("vrooli-deploy/keys", generated.join(","))].into();
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("annotations".to_owned(), json!(keys));
        }
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
        }));
    }
    let mut text =
        format!("# Secrets of {stack} on the tier {}. References and names, no values.\n", plan.tier);
    for (secret, why) in others(plan).filter(|(secret, _)| secret.status != SecretStatus::Generated) {
        text.push_str(&format!("# {} {}\n", secret.name, line(&why)));
    }
    for object in &objects {
        text.push_str("---\n");
        // A tree of JSON with texts as keys: it can always be written.
        let object = yaml::write(object).unwrap_or_default();
        text.push_str(object.trim_end());
        text.push('\n');
    }
    text
}
