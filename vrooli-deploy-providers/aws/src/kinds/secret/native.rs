//! A secret is made without a value: what needs one makes it. AWS keeps its name for a while after it was deleted: one
//! that is wanted again within that time is brought back.

use std::collections::BTreeMap;
use std::fmt::Display;

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use vrooli_deploy_core::names::{OutputName, ResourceKey};
use vrooli_deploy_core::provider::{
    CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result, Retryability,
};
use vrooli_deploy_core::secrets;

use super::{Secret, SecretObserved, SecretSpec};
use crate::native::{
    Calls, Look, Marks, Native, Regional, STACK, SdkTag as _, Seen, name_taken, of_releases, secret_output,
    unexpected,
};

/// For so many days a deleted secret can be brought back: AWS wants to hear it at the deletion.
const DAYS: &str = "vrooli:recovery-days";
/// What AWS itself keeps one for, where nothing is said.
const DEFAULT_DAYS: u32 = 30;

struct Described {
    seen: Seen<SecretObserved>,
    deleted: bool,
}

fn seen(
    region: &Regional,
    (arn, name, description): (Option<&str>, Option<&str>, Option<&str>),
    (tags, kms_key): (&[Tag], Option<&str>),
) -> Option<Seen<SecretObserved>> {
    let marks = Marks::of(tags).or_else(|| of_releases::marks(tags, name?))?;
    let days = marks.notes.get(DAYS).and_then(|days| days.parse().ok());
    Some(Seen {
        id: PhysicalId(arn?.to_owned()),
        observed: SecretObserved {
            region: region.name.clone(),
            name: name?.to_owned(),
            description: description.unwrap_or_default().to_owned(),
            recovery_days: days.unwrap_or(DEFAULT_DAYS),
            kms_key: kms_key.map(str::to_owned),
        },
        marks,
    })
}

/// The secret of that name or ARN, if it has marks.
async fn described(at: &Calls<'_>, id: &str) -> Result<Option<Described>> {
    let ask = at.region.secrets.describe_secret().secret_id(id).send();
    let Some(found) = at.find("secretsmanager:DescribeSecret", ask).await? else { return Ok(None) };
    let named = (found.arn(), found.name(), found.description());
    let seen = seen(&at.region, named, (found.tags(), found.kms_key_id()));
    Ok(seen.map(|seen| Described { seen, deleted: found.deleted_date().is_some() }))
}

/// The same, unless it is deleted.
async fn there(at: &Calls<'_>, id: &str) -> Result<Option<Seen<SecretObserved>>> {
    Ok(described(at, id).await?.filter(|one| !one.deleted).map(|one| one.seen))
}

fn days(want: &SecretSpec<Known>) -> (&'static str, String) {
    (DAYS, want.recovery_days.to_string())
}

/// With another key AWS encrypts its value again.
async fn describe(at: &Calls<'_>, arn: &str, want: &SecretSpec<Known>) -> Result<()> {
    let secrets = &at.region.secrets;
    let put = || {
        let put = secrets.update_secret().secret_id(arn).description(&want.description);
        put.set_kms_key_id(want.kms_key.clone()).send()
    };
    at.put("secretsmanager:UpdateSecret", put).await.map(drop)
}

fn described_otherwise(have: &SecretObserved, want: &SecretSpec<Known>) -> bool {
    have.description != want.description || want.kms_key.is_some() && have.kms_key != want.kms_key
}

async fn tag(at: &Calls<'_>, arn: &str, tags: Vec<Tag>) -> Result<()> {
    let put = || at.region.secrets.tag_resource().secret_id(arn).set_tags(Some(tags.clone())).send();
    at.put("secretsmanager:TagResource", put).await.map(drop)
}

/// The value of the secret of that ARN; `None` where it has none yet, or there is no such secret.
pub(crate) async fn current(at: &Calls<'_>, arn: &str) -> Result<Option<secrets::Secret<String>>> {
    let ask = at.region.secrets.get_secret_value().secret_id(arn).send();
    let Some(found) = at.find("secretsmanager:GetSecretValue", ask).await? else { return Ok(None) };
    match found.secret_string {
        Some(value) => Ok(Some(secrets::Secret::new(value))),
        None => Err(ProviderError::new(ErrorKind::Config, format!("the secret {arn} holds no text"))
            .with_help("put a text into it: its value is taken as the password")),
    }
}

/// The same, made where there is none: letters and digits. Two makes with one token leave one value.
pub(in crate::kinds) async fn value(at: &Calls<'_>, arn: &str) -> Result<secrets::Secret<String>> {
    if let Some(value) = current(at, arn).await? {
        return Ok(value);
    }
    let none = "no password can be made";
    let made = secrets::generate(secrets::GENERATED_LENGTH)
        .map_err(|error| ProviderError::new(ErrorKind::Unexpected, none).with_source(error))?;
    let put = at.region.secrets.put_secret_value().secret_id(arn).secret_string(made.expose());
    let put = put.set_client_request_token(at.cx.token.map(|token| token.0.to_string())).send();
    if at.create("secretsmanager:PutSecretValue", put).await? {
        return Ok(made);
    }
    // Another try of the same make was faster.
    current(at, arn).await?.ok_or_else(|| unexpected("secretsmanager:GetSecretValue", "value"))
}

/// What stands for itself in the part of an URL that names the user (RFC 3986, section 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A password as an URL takes it: those that are made here are letters and digits, others need not be.
pub(in crate::kinds) fn in_url(password: &secrets::Secret<String>) -> impl Display + '_ {
    utf8_percent_encode(password.expose(), PLAIN)
}

/// Password and address of what a secret holds the password of, as secret outputs. Another than it was made with
/// would be of no use: a secret that lost its value is an error.
pub(in crate::kinds) async fn connection(
    at: &Calls<'_>,
    arn: &str,
    (name, what): (&str, &str),
    url: impl Fn(&secrets::Secret<String>) -> secrets::Secret<String> + Send,
) -> Result<BTreeMap<OutputName, secrets::Secret<String>>> {
    let Some(password) = current(at, arn).await? else {
        let words = format!("the secret of `{name}` has lost its value, which is its password");
        let help = format!("put a password into the secret, and set the same one on the {what}");
        return Err(ProviderError::new(ErrorKind::Config, words).with_help(help));
    };
    let url = url(&password);
    Ok(BTreeMap::from([secret_output("password", password)?, secret_output("url", url)?]))
}

impl Native for Secret {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<SecretObserved>>> {
        there(at, &id.0).await
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<SecretObserved>>> {
        let filter = |name, value: &str| Filter::builder().key(name).values(value).build();
        let stack = at.cx.stack.to_string();
        let ask = |next| {
            let ask = at.region.secrets.list_secrets().filters(filter(FilterNameStringType::TagKey, STACK));
            ask.filters(filter(FilterNameStringType::TagValue, &stack)).set_next_token(next).send()
        };
        let pages = at.pages("secretsmanager:ListSecrets", ask, |page| page.next_token.clone()).await?;
        let found = pages.iter().flat_map(|page| page.secret_list());
        let mut all: Vec<_> = found
            .filter(|one| one.deleted_date().is_none())
            .filter_map(|one| {
                let named = (one.arn(), one.name(), one.description());
                seen(&at.region, named, (one.tags(), one.kms_key_id()))
            })
            .collect();
        for name in at.name_asked(self, look) {
            if !all.iter().any(|one| one.observed.name == name) {
                all.extend(there(at, &name).await?);
            }
        }
        Ok(all)
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &SecretSpec<Known>) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let tags: Vec<Tag> = Marks::with_note(at.cx, key, Some(days(want)))?;
        let make = at
            .region
            .secrets
            .create_secret()
            .name(&want.name)
            .description(&want.description)
            .set_kms_key_id(want.kms_key.clone())
            .set_client_request_token(at.cx.token.map(|token| token.0.to_string()))
            .set_tags(Some(tags.clone()))
            .send();
        let refusal = match at.change("secretsmanager:CreateSecret", make).await {
            Ok(made) => {
                let arn = made.arn.map(PhysicalId);
                return arn.ok_or_else(|| unexpected("secretsmanager:CreateSecret", "ARN"));
            }
            // The second is what AWS says of a name that waits for its deletion.
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists
                    || error.code() == Some("InvalidRequestException") =>
            {
                error
            }
            Err(error) => return Err(error),
        };
        let there = described(&at, &want.name).await?;
        let Some(there) = there.filter(|one| one.seen.marks.are(at.cx, key)) else {
            let taken = refusal.kind() == ErrorKind::AlreadyExists || refusal.message().contains("deletion");
            return Err(if taken { name_taken("secret", &want.name) } else { refusal });
        };
        let arn = there.seen.id;
        if there.deleted {
            let put = || at.region.secrets.restore_secret().secret_id(&arn.0).send();
            at.put("secretsmanager:RestoreSecret", put).await?;
            if let Err(refusal) = tag(&at, &arn.0, tags).await {
                if refusal.retry() == Retryability::Never {
                    // It bears the marks of an earlier create, so nobody else would take it back.
                    self.remove(&at, &arn).await?;
                }
                return Err(refusal);
            }
        }
        if described_otherwise(&there.seen.observed, want) {
            describe(&at, &arn.0, want).await?;
        }
        Ok(arn)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &SecretObserved,
        want: &SecretSpec<Known>,
    ) -> Result<()> {
        if described_otherwise(have, want) {
            describe(at, &id.0, want).await?;
        }
        if have.recovery_days != want.recovery_days {
            let (name, value) = days(want);
            tag(at, &id.0, vec![Tag::new(name, value)?]).await?;
        }
        Ok(())
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some(there) = there(at, &id.0).await? else { return Ok(()) };
        let gone = at.region.secrets.delete_secret().secret_id(&id.0);
        let gone = if of_releases::is_of_releases(&there.marks) {
            // As with its releases: the next one of the app may want the name.
            gone.force_delete_without_recovery(true)
        } else {
            // AWS takes 7 to 30 days.
            gone.recovery_window_in_days(i64::from(there.observed.recovery_days.clamp(7, 30)))
        };
        at.remove("secretsmanager:DeleteSecret", gone.send()).await
    }
}
