//! KMS takes no token for a key, and a key has no name: it bears its marks from the first moment, and gets its alias
//! after it. One that is to be deleted is there for days, and is none any more.

use std::collections::BTreeSet;

use aws_sdk_kms::types::{KeyMetadata, KeyState, Tag};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, PhysicalId, Result};

use super::{KmsKey, KmsKeyObserved, KmsKeySpec};
use crate::native::{
    Calls, Look, Marks, Native, SdkTag as _, Seen, begun, completed, made_once, name_taken, together,
    unexpected,
};

/// For so many days a deleted key can be brought back.
const DAYS: &str = "vrooli:recovery-days";
/// What AWS takes where nothing else is said.
const DEFAULT_DAYS: u32 = 30;
/// What every alias begins with.
const ALIAS: &str = "alias/";

/// An alias, and the key that it stands for.
#[derive(Debug, Clone)]
struct Alias {
    /// Without `alias/`.
    name: String,
    /// The key's id, which its ARN ends with.
    key: String,
}

impl Alias {
    fn is_of(&self, arn: &str) -> bool {
        plain(arn) == self.key
    }
}

/// The id that an ARN ends with. Every call takes it; an emulator may take no ARN.
pub(crate) fn plain(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Aliases of a region, those of keys that are AWS's own included.
async fn aliases(at: &Calls<'_>) -> Result<Vec<Alias>> {
    let ask = || async {
        let ask = |next| at.region.kms.list_aliases().set_marker(next).send();
        let pages = at.pages("kms:ListAliases", ask, |page| page.next_marker.clone()).await?;
        let all = pages.iter().flat_map(|page| page.aliases()).filter_map(|one| {
            let name = one.alias_name()?.strip_prefix(ALIAS)?.to_owned();
            Some(Alias { name, key: one.target_key_id()?.to_owned() })
        });
        Ok(all.collect())
    };
    at.once("aliases of keys", "", ask).await
}

/// A key by ARN or id, unless it is to be deleted.
async fn described(at: &Calls<'_>, id: &str) -> Result<Option<KeyMetadata>> {
    let ask = || async {
        let ask = at.region.kms.describe_key().key_id(plain(id)).send();
        let answer = at.find("kms:DescribeKey", ask).await?;
        let key = answer.and_then(|answer| answer.key_metadata);
        Ok(key.filter(|key| key.key_state() != Some(&KeyState::PendingDeletion)))
    };
    at.once("a key", id, ask).await
}

/// The ARN of the key of an alias, unless it is to be deleted.
pub(crate) async fn arn_of(at: &Calls<'_>, alias: &str) -> Result<Option<String>> {
    let ask = at.region.kms.describe_key().key_id(format!("{ALIAS}{alias}")).send();
    let key = at.find("kms:DescribeKey", ask).await?.and_then(|answer| answer.key_metadata);
    Ok(key.filter(|key| key.key_state() != Some(&KeyState::PendingDeletion)).and_then(|key| key.arn))
}

async fn is_rotated(at: &Calls<'_>, id: &str) -> Result<bool> {
    let ask = || async {
        let ask = at.region.kms.get_key_rotation_status().key_id(plain(id)).send();
        let answer = at.find("kms:GetKeyRotationStatus", ask).await?;
        Ok(answer.is_some_and(|answer| answer.key_rotation_enabled()))
    };
    at.once("whether a key is rotated", id, ask).await
}

async fn own_marks(at: &Calls<'_>, id: &str) -> Result<Option<Marks>> {
    let ask = |next| at.region.kms.list_resource_tags().key_id(plain(id)).set_marker(next).send();
    let pages = at.pages("kms:ListResourceTags", ask, |page| page.next_marker.clone()).await;
    let pages = match pages {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        pages => pages?,
    };
    let tags: Vec<Tag> = pages.into_iter().flat_map(|page| page.tags.unwrap_or_default()).collect();
    Ok(Marks::of(&tags))
}

/// A key with its marks, if it has any.
async fn seen(at: &Calls<'_>, id: &str, aliases: &[Alias]) -> Result<Option<Seen<KmsKeyObserved>>> {
    let (key, rotated) = tokio::try_join!(described(at, id), is_rotated(at, id))?;
    let Some(key) = key else { return Ok(None) };
    let arn = key.arn().ok_or_else(|| unexpected("kms:DescribeKey", "ARN"))?;
    let marks = match at.tagged().await?.marks(arn) {
        Some(marks) => Some(marks.clone()),
        None => own_marks(at, arn).await?,
    };
    let Some(marks) = marks else { return Ok(None) };
    // Somebody may have given it another one beside ours.
    let wanted = at.account.named(&KmsKey, Look::Stack, "name");
    let mut names: Vec<&str> =
        aliases.iter().filter(|one| one.is_of(arn)).map(|one| one.name.as_str()).collect();
    names.sort_by_key(|name| !wanted.contains(*name));
    let days = marks.notes.get(DAYS).and_then(|days| days.parse().ok());
    Ok(Some(Seen {
        id: PhysicalId(arn.to_owned()),
        observed: KmsKeyObserved {
            region: at.region.name.clone(),
            name: names.first().map_or_else(String::new, |name| (*name).to_owned()),
            description: key.description().unwrap_or_default().to_owned(),
            recovery_days: days.unwrap_or(DEFAULT_DAYS),
            enabled: key.enabled(),
            rotated,
        },
        marks,
    }))
}

/// Keys that nobody gave an alias: what a killed run left, and strangers'.
async fn nameless(at: &Calls<'_>, aliases: &[Alias]) -> Result<Vec<String>> {
    let ask = |next| at.region.kms.list_keys().set_marker(next).send();
    let pages = at.pages("kms:ListKeys", ask, |page| page.next_marker.clone()).await?;
    let arns = pages.iter().flat_map(|page| page.keys()).filter_map(|key| key.key_arn());
    Ok(arns.filter(|arn| !aliases.iter().any(|one| one.is_of(arn))).map(str::to_owned).collect())
}

async fn create(
    at: &Calls<'_>,
    key: &ResourceKey,
    want: &KmsKeySpec,
) -> Result<(PhysicalId, KmsKeyObserved)> {
    let make = at.region.kms.create_key().description(&want.description);
    let make = make.set_tags(Some(Marks::with_note(at.cx, key, Some(days(want)))?)).send();
    let made = at.change("kms:CreateKey", make).await?;
    let arn = made.key_metadata().and_then(|made| made.arn());
    let arn = arn.ok_or_else(|| unexpected("kms:CreateKey", "ARN"))?;
    let have = KmsKeyObserved {
        region: at.region.name.clone(),
        name: String::new(),
        description: want.description.clone(),
        recovery_days: want.recovery_days,
        enabled: true,
        rotated: false,
    };
    Ok((PhysicalId(arn.to_owned()), have))
}

fn days(want: &KmsKeySpec) -> (&'static str, String) {
    (DAYS, want.recovery_days.to_string())
}

/// Gives a key its alias. One that stands for another key is somebody's.
async fn name(at: &Calls<'_>, arn: &str, name: &str) -> Result<()> {
    let make =
        at.region.kms.create_alias().alias_name(format!("{ALIAS}{name}")).target_key_id(plain(arn)).send();
    if at.create("kms:CreateAlias", make).await? {
        return Ok(());
    }
    match aliases(at).await?.iter().find(|one| one.name == name) {
        Some(there) if !there.is_of(arn) => Err(name_taken("alias of a key", name)),
        _ => Ok(()),
    }
}

async fn unname(at: &Calls<'_>, name: &str) -> Result<()> {
    let gone = at.region.kms.delete_alias().alias_name(format!("{ALIAS}{name}")).send();
    at.remove("kms:DeleteAlias", gone).await
}

impl Native for KmsKey {
    const TOKEN: CreateToken = CreateToken::Marks;
    const SETTLE: std::time::Duration = crate::native::ec2::SETTLE;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<KmsKeyObserved>>> {
        seen(at, &id.0, &aliases(at).await?).await
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<KmsKeyObserved>>> {
        let tagged = at.tagged().await?;
        let names = at.account.named(self, look, "name");
        let mut ids: BTreeSet<String> = tagged.arns("kms", "key/").map(str::to_owned).collect();
        if ids.is_empty() && names.is_empty() {
            return Ok(Vec::new());
        }
        let aliases = aliases(at).await?;
        for alias in aliases.iter().filter(|one| names.contains(&one.name)) {
            if !ids.iter().any(|arn| alias.is_of(arn)) {
                ids.insert(alias.key.clone());
            }
        }
        if let Look::Key(_) = look {
            ids.extend(nameless(at, &aliases).await?);
        }
        let all = together(ids.iter().map(|id| seen(at, id, &aliases))).await?;
        Ok(all.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let each =
            ids.iter().map(|id| async { tokio::try_join!(described(at, &id.0), is_rotated(at, &id.0)) });
        let _ = tokio::join!(aliases(at), together(each));
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &KmsKeySpec) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let create = async {
            // Before there is a key that could not get it.
            if aliases(&at).await?.iter().any(|one| one.name == want.name) {
                return Err(name_taken("alias of a key", &want.name));
            }
            create(&at, key, want).await
        };
        let (id, have) = made_once(&at, || begun(self, &at, key), create).await?;
        completed(self.change(&at, &id, &have, want).await)?;
        Ok(id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &KmsKeyObserved,
        want: &KmsKeySpec,
    ) -> Result<()> {
        let kms = &at.region.kms;
        if have.name != want.name {
            at.known(|| name(at, &id.0, &want.name)).await?;
            if !have.name.is_empty() {
                unname(at, &have.name).await?;
            }
        }
        if have.description != want.description {
            let put =
                || kms.update_key_description().key_id(plain(&id.0)).description(&want.description).send();
            at.put("kms:UpdateKeyDescription", put).await?;
        }
        if have.recovery_days != want.recovery_days {
            let (name, value) = days(want);
            let tag = Tag::new(name, value)?;
            let put = || kms.tag_resource().key_id(plain(&id.0)).tags(tag.clone()).send();
            at.put("kms:TagResource", put).await?;
        }
        if !have.enabled {
            let put = || kms.enable_key().key_id(plain(&id.0)).send();
            at.put("kms:EnableKey", put).await?;
        }
        if !have.rotated {
            let put = || kms.enable_key_rotation().key_id(plain(&id.0)).send();
            at.known(|| at.put("kms:EnableKeyRotation", put)).await?;
        }
        Ok(())
    }

    /// Its names go at once, so that another key may have them; the key itself when its time is over.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some(there) = seen(at, &id.0, &[]).await? else { return Ok(()) };
        for alias in aliases(at).await?.iter().filter(|one| one.is_of(&id.0)) {
            unname(at, &alias.name).await?;
        }
        // AWS takes 7 to 30 days.
        let days = i32::try_from(there.observed.recovery_days.clamp(7, 30)).unwrap_or(30);
        let gone =
            at.region.kms.schedule_key_deletion().key_id(plain(&id.0)).pending_window_in_days(days).send();
        at.remove("kms:ScheduleKeyDeletion", gone).await
    }
}
