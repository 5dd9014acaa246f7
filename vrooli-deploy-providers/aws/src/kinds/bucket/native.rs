//! Names of buckets are unique in the world: ours ends with what its token begins with, so that it
//! is recognised before it bears tags. S3 tells settings of one bucket at a time.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    BucketVersioningStatus, CreateBucketConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    NoncurrentVersionExpiration, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tagging,
    VersioningConfiguration,
};
use uuid::Uuid;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{
    CreateToken, ErrorKind, Known, OpToken, PhysicalId, Result, Retryability,
};

use super::{Bucket, BucketObserved, BucketSpec};
use crate::native::{
    Calls, Look, Marks, Native, Seen, accept, common_start, name_taken, together, unexpected,
};

/// The rule that ends old versions.
const RULE: &str = "vrooli-deploy-old-versions";
/// Uploads that were never finished are ended after so many days.
const UNFINISHED_DAYS: i32 = 7;
/// So much of a token makes a name unique.
const SUFFIX: usize = 12;
/// The region whose buckets say nothing about where they are.
const FIRST_REGION: &str = "us-east-1";

fn suffix(token: OpToken) -> String {
    let mut text = token.0.simple().to_string();
    text.truncate(SUFFIX);
    text
}

fn is_named(name: &str, start: &str, token: OpToken) -> bool {
    name.strip_prefix(start).and_then(|rest| rest.strip_prefix('-')) == Some(suffix(token).as_str())
}

/// The calls of the region that a bucket is in; `None` without the bucket.
pub(crate) async fn at_bucket<'a>(on: &Calls<'a>, bucket: &str) -> Result<Option<Calls<'a>>> {
    let ask = on.region.s3.get_bucket_location().bucket(bucket).send();
    let Some(answer) = on.find("s3:GetBucketLocation", ask).await? else { return Ok(None) };
    let region = answer.location_constraint().map(|region| region.as_str()).filter(|name| !name.is_empty());
    let region = match region {
        None => FIRST_REGION,
        Some("EU") => "eu-west-1",
        Some(region) => region,
    };
    Ok(Some(on.at(region).await))
}

async fn own_marks(at: &Calls<'_>, bucket: &str) -> Result<Option<Marks>> {
    let ask = at.region.s3.get_bucket_tagging().bucket(bucket).send();
    let answer = at.find("s3:GetBucketTagging", ask).await?;
    Ok(answer.and_then(|answer| Marks::of(answer.tag_set())))
}

async fn observed(at: &Calls<'_>, bucket: &str) -> Result<Option<BucketObserved>> {
    at.once("a bucket", bucket, || settings(at, bucket)).await
}

async fn settings(at: &Calls<'_>, bucket: &str) -> Result<Option<BucketObserved>> {
    let s3 = &at.region.s3;
    // Only one that was asked for says anything.
    let keyed = at.account.wanted(&Bucket, Look::Stack).any(|(_, spec)| spec.get("kms_key").is_some());
    let encryption = async {
        if !keyed {
            return Ok(None);
        }
        let ask = s3.get_bucket_encryption().bucket(bucket).send();
        let answer = at.find("s3:GetEncryptionConfiguration", ask).await?;
        Ok(answer.and_then(|answer| answer.server_side_encryption_configuration).and_then(|all| {
            let rule = all.rules().first()?.apply_server_side_encryption_by_default()?;
            Some(rule.kms_master_key_id()?.to_owned())
        }))
    };
    let versioning = s3.get_bucket_versioning().bucket(bucket).send();
    let lifecycle = s3.get_bucket_lifecycle_configuration().bucket(bucket).send();
    let block = s3.get_public_access_block().bucket(bucket).send();
    let (versioning, lifecycle, block, kms_key) = tokio::try_join!(
        at.find("s3:GetBucketVersioning", versioning),
        at.find("s3:GetLifecycleConfiguration", lifecycle),
        at.find("s3:GetBucketPublicAccessBlock", block),
        encryption,
    )?;
    let Some(versioning) = versioning else { return Ok(None) };
    let block = block.and_then(|answer| answer.public_access_block_configuration);
    let rules = lifecycle.as_ref().map(|one| one.rules()).unwrap_or_default();
    let rule = rules.iter().find(|rule| rule.id() == Some(RULE));
    let days = rule.and_then(|rule| rule.noncurrent_version_expiration()?.noncurrent_days());
    Ok(Some(BucketObserved {
        region: at.region.name.clone(),
        name: bucket.to_owned(),
        versioning: versioning.status() == Some(&BucketVersioningStatus::Enabled),
        expire_days: days.and_then(|days| days.try_into().ok()),
        kms_key,
        closed: block.is_some_and(|block| {
            block.block_public_acls() == Some(true)
                && block.ignore_public_acls() == Some(true)
                && block.block_public_policy() == Some(true)
                && block.restrict_public_buckets() == Some(true)
        }),
        endpoint: at.account.endpoint().map_or_else(
            || format!("https://s3.{}.amazonaws.com", at.region.name),
            |url| url.trim_end_matches('/').to_owned(),
        ),
    }))
}

/// Names of buckets that begin so.
async fn names(at: &Calls<'_>, start: &str) -> Result<Vec<String>> {
    let ask = || async {
        let ask = |next| at.region.s3.list_buckets().prefix(start).set_continuation_token(next).send();
        let pages = at.pages("s3:ListAllMyBuckets", ask, |page| page.continuation_token.clone()).await?;
        let named = pages.iter().flat_map(|page| page.buckets()).filter_map(|bucket| bucket.name());
        // An emulator may not know prefixes.
        Ok(named.filter(|name| name.starts_with(start)).map(str::to_owned).collect())
    };
    at.once("buckets", start, ask).await
}

/// Keys and names of those that are looked for in a region: what their names begin with.
fn wanted<'a>(at: &'a Calls<'_>, look: Look<'a>) -> Vec<(&'a ResourceKey, String)> {
    let wanted = at.account.wanted(&Bucket, look);
    wanted
        .filter(|(_, spec)| spec["region"] == at.region.name.as_str())
        .filter_map(|(key, spec)| Some((key, spec["name"].as_str()?.to_owned())))
        .collect()
}

async fn close(at: &Calls<'_>, bucket: &str) -> Result<()> {
    let block = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    let put = || {
        let put = at.region.s3.put_public_access_block().bucket(bucket);
        put.public_access_block_configuration(block.clone()).send()
    };
    at.put("s3:PutBucketPublicAccessBlock", put).await.map(drop)
}

/// With a key of one's own S3 asks KMS once for many objects: requests to KMS are billed.
async fn encrypt(at: &Calls<'_>, bucket: &str, key: Option<&String>) -> Result<()> {
    let what = || unexpected("s3:PutEncryptionConfiguration", "rule");
    let algorithm = if key.is_some() { ServerSideEncryption::AwsKms } else { ServerSideEncryption::Aes256 };
    let default = ServerSideEncryptionByDefault::builder().sse_algorithm(algorithm);
    let default = default.set_kms_master_key_id(key.cloned());
    let rule = ServerSideEncryptionRule::builder()
        .set_bucket_key_enabled(key.map(|_| true))
        .apply_server_side_encryption_by_default(default.build().map_err(|_| what())?)
        .build();
    let rules = ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(|_| what())?;
    let put = || {
        let put = at.region.s3.put_bucket_encryption().bucket(bucket);
        put.server_side_encryption_configuration(rules.clone()).send()
    };
    at.put("s3:PutEncryptionConfiguration", put).await.map(drop)
}

async fn version(at: &Calls<'_>, bucket: &str, on: bool) -> Result<()> {
    let status = if on { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
    let configuration = VersioningConfiguration::builder().status(status).build();
    let put = || {
        let put = at.region.s3.put_bucket_versioning().bucket(bucket);
        put.versioning_configuration(configuration.clone()).send()
    };
    at.put("s3:PutBucketVersioning", put).await.map(drop)
}

async fn expire(at: &Calls<'_>, bucket: &str, days: Option<u32>) -> Result<()> {
    let Some(days) = days else {
        let put = || at.region.s3.delete_bucket_lifecycle().bucket(bucket).send();
        return at.put("s3:PutLifecycleConfiguration", put).await.map(drop);
    };
    let what = || unexpected("s3:PutLifecycleConfiguration", "rule");
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    let rule = LifecycleRule::builder()
        .id(RULE)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .noncurrent_version_expiration(NoncurrentVersionExpiration::builder().noncurrent_days(days).build())
        .abort_incomplete_multipart_upload(
            AbortIncompleteMultipartUpload::builder().days_after_initiation(UNFINISHED_DAYS).build(),
        )
        .build()
        .map_err(|_| what())?;
    let rules = BucketLifecycleConfiguration::builder().rules(rule).build().map_err(|_| what())?;
    let put = || {
        let put = at.region.s3.put_bucket_lifecycle_configuration().bucket(bucket);
        put.lifecycle_configuration(rules.clone()).send()
    };
    at.put("s3:PutLifecycleConfiguration", put).await.map(drop)
}

async fn tag(at: &Calls<'_>, bucket: &str, key: &ResourceKey) -> Result<()> {
    let tags = Tagging::builder().set_tag_set(Some(Marks::as_tags(at.cx, key)?)).build();
    let tags = tags.map_err(|_| unexpected("s3:PutBucketTagging", "tag"))?;
    let put = || at.region.s3.put_bucket_tagging().bucket(bucket).tagging(tags.clone()).send();
    at.put("s3:PutBucketTagging", put).await.map(drop)
}

/// Buckets of a region that bear our marks, or a name that only one of our tokens makes.
async fn marked(at: &Calls<'_>, look: Look<'_>) -> Result<Vec<(String, Marks)>> {
    let tagged = at.tagged().await?;
    let mut marked: Vec<(String, Marks)> = tagged
        .named("s3", "")
        .filter_map(|name| Some((name.to_owned(), tagged.marks(&format!("arn:aws:s3:::{name}"))?.clone())))
        .collect();
    let wanted = wanted(at, look);
    let Some(start) = common_start(wanted.iter().map(|(_, name)| name.clone())) else {
        return Ok(marked);
    };
    for name in names(at, &start).await? {
        let begins = |start: &str| name.strip_prefix(start).is_some_and(|rest| rest.len() == SUFFIX + 1);
        let Some((key, start)) = wanted.iter().find(|(_, start)| begins(start)) else { continue };
        if marked.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let marks = match own_marks(at, &name).await? {
            Some(marks) => Some(marks),
            // A half-made one is passed over where a create looks for its own: made again it is
            // completed.
            None if matches!(look, Look::Key(_)) => None,
            None => Marks::by_name(at.cx, key, |token| is_named(&name, start, token)),
        };
        marked.extend(marks.map(|marks| (name, marks)));
    }
    Ok(marked)
}

impl Native for Bucket {
    const TOKEN: CreateToken = CreateToken::Native;

    async fn see(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<BucketObserved>>> {
        let Some(at) = at_bucket(on, &id.0).await? else { return Ok(None) };
        let Some(marks) = own_marks(&at, &id.0).await? else { return Ok(None) };
        let observed = observed(&at, &id.0).await?;
        Ok(observed.map(|observed| Seen { id: id.clone(), marks, observed }))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<BucketObserved>>> {
        let marked = marked(at, look).await?.into_iter().filter(|(_, marks)| look.wants(at.cx, marks));
        let ask = |(name, marks): (String, Marks)| async move {
            let observed = observed(at, &name).await?;
            Ok(observed.map(|observed| Seen { id: PhysicalId(name), marks, observed }))
        };
        Ok(together(marked.map(ask)).await?.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let start =
            common_start(wanted(at, Look::Stack).into_iter().map(|(_, name)| name)).unwrap_or_default();
        let _ = tokio::join!(names(at, &start), together(ids.iter().map(|id| observed(at, &id.0))));
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &BucketSpec<Known>) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let own = || OpToken(Uuid::new_v5(&at.cx.owner, key.as_str().as_bytes()));
        let name = format!("{}-{}", want.name, suffix(at.cx.token.unwrap_or_else(own)));
        let place = (want.region != FIRST_REGION).then(|| {
            let region = BucketLocationConstraint::from(want.region.as_str());
            CreateBucketConfiguration::builder().location_constraint(region).build()
        });
        let make = at.region.s3.create_bucket().bucket(&name).set_create_bucket_configuration(place).send();
        match at.change("s3:CreateBucket", make).await {
            Err(error) if error.code() == Some("BucketAlreadyExists") => {
                return Err(name_taken("bucket", &name));
            }
            answer => accept(answer, ErrorKind::AlreadyExists)?,
        };
        match tag(&at, &name, key).await {
            // Nobody would find one without tags again. One that holds anything is refused by S3.
            Err(error) if error.retry() == Retryability::Never => {
                let left = self.remove(on, &PhysicalId(name.clone())).await.err().map(|_| name);
                return Err(left.into_iter().fold(error, |error, name| error.with_context("left", name)));
            }
            tagged => tagged?,
        }
        close(&at, &name).await?;
        encrypt(&at, &name, want.kms_key.as_ref()).await?;
        if want.versioning {
            version(&at, &name, true).await?;
        }
        if want.expire_days.is_some() {
            expire(&at, &name, want.expire_days).await?;
        }
        Ok(PhysicalId(name))
    }

    async fn change(
        &self,
        on: &Calls<'_>,
        id: &PhysicalId,
        have: &BucketObserved,
        want: &BucketSpec<Known>,
    ) -> Result<()> {
        let at = on.at(&have.region).await;
        if !have.closed {
            close(&at, &id.0).await?;
        }
        if !have.closed || want.kms_key.as_ref().is_some_and(|key| have.kms_key.as_ref() != Some(key)) {
            encrypt(&at, &id.0, want.kms_key.as_ref().or(have.kms_key.as_ref())).await?;
        }
        if have.versioning != want.versioning {
            version(&at, &id.0, want.versioning).await?;
        }
        if have.expire_days != want.expire_days {
            expire(&at, &id.0, want.expire_days).await?;
        }
        Ok(())
    }

    /// One that holds anything is refused by S3: nothing of the app's is deleted on the way.
    async fn remove(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some(at) = at_bucket(on, &id.0).await? else { return Ok(()) };
        at.remove("s3:DeleteBucket", at.region.s3.delete_bucket().bucket(&id.0).send()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_recognised_by_its_token() {
        let token = OpToken(Uuid::from_u128(0xabcd_ef01_2345_6789));
        let name = format!("shop-files-{}", suffix(token));
        assert!(is_named(&name, "shop-files", token));
        assert!(!is_named(&name, "shop", token));
        assert!(!is_named(&name, "shop-files", OpToken(Uuid::from_u128(7 << 96))));
    }
}
