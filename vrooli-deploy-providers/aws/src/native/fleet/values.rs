//! Values of secrets in Secrets Manager: one secret for each path of the store, a version for each of
//! its versions. A version is made once, whoever makes it: its id is made from what it is.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretListEntry, Tag};
use uuid::Uuid;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::secrets::{Secret, SecretRef, SecretStore};

use super::site::name_of;
use super::tags;
use crate::kinds::kms_key::native::arn_of;
use crate::kinds::kms_key::{KmsKey, MAIN};
use crate::native::of_releases::FLEET;
use crate::native::{Calls, together, unexpected};

/// The name of a path: those of a stack's resources stand beside it.
fn name(at: &Calls<'_>, reference: &SecretRef) -> String {
    let stack = at.cx.stack.to_string();
    let rest = reference.path.strip_prefix(&stack).unwrap_or(&reference.path).trim_start_matches('/');
    format!("{stack}/values/{rest}")
}

/// The id of a version. A value that was lost and given anew has another.
fn version(reference: &SecretRef) -> Uuid {
    let said = format!("{}\n{}\n{}\n{}", reference.store, reference.path, reference.version, reference.hash);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, said.as_bytes())
}

/// A label keeps a version from being deleted by AWS.
fn label(reference: &SecretRef) -> String {
    format!("v{}", reference.version)
}

/// Sees to it that values are there, and says how a release names them.
pub(super) async fn put(
    at: &Calls<'_>,
    store: &dyn SecretStore,
    references: &BTreeSet<&SecretRef>,
) -> Result<BTreeMap<SecretRef, String>> {
    let mut all = BTreeMap::new();
    let key = match name_of(at.account, &KmsKey, MAIN) {
        Some(alias) if !references.is_empty() => arn_of(at, &alias).await?,
        _ => None,
    };
    for reference in references {
        let arn = put_one(at, store, reference, key.as_deref()).await?;
        all.insert((*reference).clone(), format!("{arn}:::{}", version(reference)));
    }
    Ok(all)
}

async fn put_one(
    at: &Calls<'_>,
    store: &dyn SecretStore,
    reference: &SecretRef,
    key: Option<&str>,
) -> Result<String> {
    let (name, token) = (name(at, reference), version(reference).to_string());
    let ask = at.region.secrets.describe_secret().secret_id(&name).send();
    if let Some(there) = at.find("secretsmanager:DescribeSecret", ask).await? {
        if !tags::are_ours(at, |name| there.tags().iter().find(|tag| tag.key() == Some(name))?.value()) {
            return Err(crate::native::name_taken("secret", &name));
        }
        if key.is_some() && there.kms_key_id() != key {
            let put =
                || at.region.secrets.update_secret().secret_id(&name).set_kms_key_id(key.map(str::to_owned));
            at.put("secretsmanager:UpdateSecret", || put().send()).await?;
        }
        let versions = there.version_ids_to_stages();
        if versions.is_some_and(|versions| versions.contains_key(&token)) {
            return there.arn.ok_or_else(|| unexpected("secretsmanager:DescribeSecret", "ARN"));
        }
    } else {
        let tag = |(name, value)| Tag::builder().key(name).value(value).build();
        let make = at.region.secrets.create_secret().name(&name).set_kms_key_id(key.map(str::to_owned));
        let make = make.description("what an app is given; made and removed with its releases");
        let make = make.set_tags(Some(tags::of_fleet(at).into_iter().map(tag).collect()));
        at.create("secretsmanager:CreateSecret", make.send()).await?;
    }
    let value = store.get(reference).map_err(|error| {
        let words = format!("`{}` cannot be read", reference.path);
        ProviderError::new(ErrorKind::Config, words).with_source(error)
    })?;
    let put = || {
        let put = at.region.secrets.put_secret_value().secret_id(&name).client_request_token(&token);
        put.secret_string(value.expose()).version_stages(label(reference)).send()
    };
    let made = at.put("secretsmanager:PutSecretValue", put).await?;
    made.arn.ok_or_else(|| unexpected("secretsmanager:PutSecretValue", "ARN"))
}

/// What holds the stack's values, whoever owns it.
async fn all(at: &Calls<'_>) -> Result<Vec<SecretListEntry>> {
    let filter = |name, value: &str| Filter::builder().key(name).values(value).build();
    let stack = at.cx.stack.to_string();
    let ask = |next| {
        let ask = at.region.secrets.list_secrets().filters(filter(FilterNameStringType::TagKey, FLEET));
        ask.filters(filter(FilterNameStringType::TagValue, &stack)).set_next_token(next).send()
    };
    let pages = at.pages("secretsmanager:ListSecrets", ask, |page| page.next_token.clone()).await?;
    Ok(pages.into_iter().flat_map(|page| page.secret_list.unwrap_or_default()).collect())
}

fn tag_of<'a>(secret: &'a SecretListEntry, name: &str) -> Option<&'a str> {
    secret.tags().iter().find(|tag| tag.key() == Some(name)).and_then(Tag::value)
}

/// The values that are there of these, for a state that was lost.
pub(super) async fn had_back(
    at: &Calls<'_>,
    references: BTreeSet<&SecretRef>,
) -> Result<Vec<(SecretRef, Secret<String>)>> {
    let one = async |reference: &SecretRef| {
        let ask = at.region.secrets.get_secret_value().secret_id(name(at, reference));
        let ask = ask.version_id(version(reference).to_string()).send();
        let found = at.find("secretsmanager:GetSecretValue", ask).await?;
        let value = found.and_then(|found| found.secret_string);
        Ok(value.map(|value| (reference.clone(), Secret::new(value))))
    };
    Ok(together(references.into_iter().map(one)).await?.into_iter().flatten().collect())
}

/// Removes the secrets that no retained release names any more.
pub(super) async fn remove(at: &Calls<'_>, kept: &BTreeSet<&SecretRef>) -> Result<()> {
    let kept: BTreeSet<String> = kept.iter().map(|reference| name(at, reference)).collect();
    for secret in all(at).await? {
        let (Some(name), Some(arn)) = (secret.name(), secret.arn()) else { continue };
        if kept.contains(name) || !tags::are_ours(at, |name| tag_of(&secret, name)) {
            continue;
        }
        let gone = at.region.secrets.delete_secret().secret_id(arn).force_delete_without_recovery(true);
        at.remove("secretsmanager:DeleteSecret", gone.send()).await?;
    }
    Ok(())
}
