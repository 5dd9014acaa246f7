//! A secret is made without a value. AWS keeps its name for a while after it was deleted: one
//! that is wanted again within that time is brought back.

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, OpCtx, PhysicalId, Result};

use super::{Secret, SecretObserved, SecretSpec};
use crate::native::{Account, Look, Marks, Native, Regional, STACK, Seen, accept, name_taken};

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
    tags: &[Tag],
) -> Option<Seen<SecretObserved>> {
    let marks = Marks::read(tags.iter().filter_map(|tag| Some((tag.key()?, tag.value()?))))?;
    let days = marks.notes.get(DAYS).and_then(|days| days.parse().ok());
    Some(Seen {
        id: PhysicalId(arn?.to_owned()),
        observed: SecretObserved {
            region: region.name.clone(),
            name: name?.to_owned(),
            description: description.unwrap_or_default().to_owned(),
            recovery_days: days.unwrap_or(DEFAULT_DAYS),
        },
        marks,
    })
}

/// The secret of that name or ARN, if it has marks.
async fn described(account: &Account, cx: &OpCtx, region: &Regional, id: &str) -> Result<Option<Described>> {
    let ask = region.secrets.describe_secret().secret_id(id).send();
    let answer = account.read(cx, "secretsmanager:DescribeSecret", ask).await;
    let Some(found) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    let seen = seen(region, (found.arn(), found.name(), found.description()), found.tags());
    Ok(seen.map(|seen| Described { seen, deleted: found.deleted_date().is_some() }))
}

async fn listed(account: &Account, cx: &OpCtx, region: &Regional) -> Result<Vec<Seen<SecretObserved>>> {
    let filter = |name, value: &str| Filter::builder().key(name).values(value).build();
    let stack = cx.stack.to_string();
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = region
            .secrets
            .list_secrets()
            .filters(filter(FilterNameStringType::TagKey, STACK))
            .filters(filter(FilterNameStringType::TagValue, &stack))
            .set_next_token(next.take());
        let page = account.read(cx, "secretsmanager:ListSecrets", ask.send()).await?;
        let found = page.secret_list().iter();
        all.extend(
            found
                .filter(|one| one.deleted_date().is_none())
                .filter_map(|one| seen(region, (one.arn(), one.name(), one.description()), one.tags())),
        );
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
}

fn tags(cx: &OpCtx, key: &ResourceKey, want: &SecretSpec) -> Vec<Tag> {
    let days = (DAYS, want.recovery_days.to_string());
    Marks::tags(cx, key)
        .into_iter()
        .chain([days])
        .map(|(name, value)| Tag::builder().key(name).value(value).build())
        .collect()
}

async fn describe(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    arn: &str,
    want: &SecretSpec,
) -> Result<()> {
    let put = || region.secrets.update_secret().secret_id(arn).description(&want.description).send();
    account.put(cx, "secretsmanager:UpdateSecret", put).await.map(drop)
}

async fn tag(account: &Account, cx: &OpCtx, region: &Regional, arn: &str, tags: Vec<Tag>) -> Result<()> {
    let put = || region.secrets.tag_resource().secret_id(arn).set_tags(Some(tags.clone())).send();
    account.put(cx, "secretsmanager:TagResource", put).await.map(drop)
}

impl Native for Secret {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn look(&self, account: &Account, cx: &OpCtx, look: Look<'_>) -> Result<Vec<Seen<SecretObserved>>> {
        if let Look::Id(id) = look {
            let region = account.of_arn(&id.0).await;
            let found = described(account, cx, &region, &id.0).await?;
            return Ok(found.into_iter().filter(|one| !one.deleted).map(|one| one.seen).collect());
        }
        let mut all = Vec::new();
        for region in account.regions().await {
            let mut found = listed(account, cx, &region).await?;
            // A listing lags; the secret itself does not.
            let names =
                if matches!(look, Look::Key(_)) { account.names(self, look) } else { Default::default() };
            for name in names {
                if found.iter().any(|one| one.observed.name == name) {
                    continue;
                }
                let one = described(account, cx, &region, &name).await?;
                found.extend(one.filter(|one| !one.deleted).map(|one| one.seen));
            }
            all.extend(found);
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &SecretSpec,
    ) -> Result<PhysicalId> {
        let region = account.region(&want.region).await;
        let make = region
            .secrets
            .create_secret()
            .name(&want.name)
            .description(&want.description)
            .set_client_request_token(cx.token.map(|token| token.0.to_string()))
            .set_tags(Some(tags(cx, key, want)))
            .send();
        let made = account.change(cx, "secretsmanager:CreateSecret", make).await;
        let refusal = match made {
            Ok(made) => {
                return made
                    .arn
                    .map(PhysicalId)
                    .ok_or_else(|| crate::native::unexpected("secretsmanager:CreateSecret", "ARN"));
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
        let there = described(account, cx, &region, &want.name).await?;
        let Some(there) = there.filter(|one| one.seen.marks.are(cx, key)) else {
            let taken = refusal.kind() == ErrorKind::AlreadyExists || refusal.message().contains("deletion");
            return Err(if taken { name_taken("secret", &want.name) } else { refusal });
        };
        let arn = there.seen.id;
        if there.deleted {
            let put = || region.secrets.restore_secret().secret_id(&arn.0).send();
            account.put(cx, "secretsmanager:RestoreSecret", put).await?;
            tag(account, cx, &region, &arn.0, tags(cx, key, want)).await?;
        }
        if there.seen.observed.description != want.description {
            describe(account, cx, &region, &arn.0, want).await?;
        }
        Ok(arn)
    }

    async fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        id: &PhysicalId,
        have: &SecretObserved,
        want: &SecretSpec,
    ) -> Result<()> {
        let region = account.of_arn(&id.0).await;
        if have.description != want.description {
            describe(account, cx, &region, &id.0, want).await?;
        }
        if have.recovery_days != want.recovery_days {
            let days = Tag::builder().key(DAYS).value(want.recovery_days.to_string()).build();
            tag(account, cx, &region, &id.0, vec![days]).await?;
        }
        Ok(())
    }

    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let region = account.of_arn(&id.0).await;
        let Some(there) = described(account, cx, &region, &id.0).await?.filter(|one| !one.deleted) else {
            return Ok(());
        };
        // AWS takes 7 to 30 days.
        let days = i64::from(there.seen.observed.recovery_days.clamp(7, 30));
        let gone = region.secrets.delete_secret().secret_id(&id.0).recovery_window_in_days(days).send();
        accept(account.change(cx, "secretsmanager:DeleteSecret", gone).await, ErrorKind::NotFound).map(drop)
    }
}
