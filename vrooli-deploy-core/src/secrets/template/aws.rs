use serde_json::{Value, json};

use super::{SecretsPlan, TemplateOptions, about, others, to_fill};

/// `{"secrets": [{name, arn, key, …}]}`. Account and region are places to fill in, unless the
/// region is known; AWS puts six characters of its own after the name.
pub(super) fn write(plan: &SecretsPlan, options: &TemplateOptions) -> String {
    let region = options.region.as_deref().unwrap_or("${AWS_REGION}");
    let secrets: Vec<Value> = to_fill(plan)
        .map(|secret| {
            let name = format!("{}/{}", options.stack, secret.name);
            let mut entry = json!({
                "name": name,
                "arn": format!("arn:aws:secretsmanager:{region}:${{AWS_ACCOUNT_ID}}:secret:{name}-??????"),
                "key": secret.name,
                "description": about(secret),
                "class": secret.class,
                "required": secret.required,
            });
            if let (Some(entry), Some(format)) = (entry.as_object_mut(), &secret.format) {
                entry.insert("format".to_owned(), format.as_str().into());
            }
            entry
        })
        .collect();
    let rest: Vec<Value> =
        others(plan).map(|(secret, why)| json!({ "key": secret.name, "why": why })).collect();
    super::json(&json!({ "secrets": secrets, "not_in_secrets_manager": rest }))
}
