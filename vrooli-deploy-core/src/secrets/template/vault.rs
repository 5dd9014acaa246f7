use serde_json::{Value, json};

use super::{SecretsPlan, TemplateOptions, about, others, to_fill};
use crate::manifest::{SecretSource, VaultSource};
use crate::secrets::plan::SecretOrigin;
use crate::secrets::{DEFAULT_MOUNT, SecretStatus};

/// `{"secrets": [{path, key, description, …}]}`: `path` as the API has it, with `data/`. Where
/// the manifest says another place than ours, that place. `from` is what to write into it.
pub(super) fn write(plan: &SecretsPlan, options: &TemplateOptions) -> String {
    let secrets: Vec<Value> = to_fill(plan)
        .map(|secret| {
            let known = match &secret.origin {
                SecretOrigin::Source(SecretSource::Vault(vault)) => Some(vault.clone()),
                _ => None,
            };
            let source = known.unwrap_or_else(|| VaultSource {
                address: None,
                namespace: None,
                mount: None,
                path: options.stack.to_string(),
                key: secret.name.to_string(),
                version: None,
                token: None,
                ca_file: None,
            });
            let mount = source.mount.as_deref().unwrap_or(DEFAULT_MOUNT);
            let mut entry = json!({
                "path": format!("{}/data/{}", mount.trim_matches('/'), source.path.trim_matches('/')),
                "key": source.key,
                "description": about(secret),
                "variable": secret.name,
                "class": secret.class,
                "required": secret.required,
            });
            if let Some(entry) = entry.as_object_mut() {
                if let Some(namespace) = &source.namespace {
                    entry.insert("namespace".to_owned(), namespace.as_str().into());
                }
                if let Some(format) = &secret.format {
                    entry.insert("format".to_owned(), format.as_str().into());
                }
                if let SecretStatus::Unresolved { why } = &secret.status {
                    entry.insert("unresolved".to_owned(), why.as_str().into());
                }
                let from = json!({ "vault": source });
                entry.insert("from".to_owned(), from);
            }
            entry
        })
        .collect();
    let rest: Vec<Value> =
        others(plan).map(|(secret, why)| json!({ "variable": secret.name, "why": why })).collect();
    super::json(&json!({ "secrets": secrets, "not_in_vault": rest }))
}
