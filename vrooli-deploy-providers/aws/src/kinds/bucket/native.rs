//! Names of buckets are unique in the world: ours ends with what its token begins with, so that it
//! is recognised before it bears tags. S3 tells settings of one bucket at a time.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    BucketVersioningStatus, CreateBucketConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    NoncurrentVersionExpiration, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag, Tagging,
    VersioningConfiguration,
};
use uuid::Uuid;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, OpCtx, OpToken, PhysicalId, Result};

use super::{Bucket, BucketObserved, BucketSpec};
use crate::native::{
    Account, Look, Marks, Native, Regional, Seen, accept, common_start, name_taken, unexpected,
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

async fn region_of(account: &Account, cx: &OpCtx, bucket: &str) -> Result<Option<String>> {
    let ask = account.global().await.s3.get_bucket_location().bucket(bucket).send();
    let answer = account.read(cx, "s3:GetBucketLocation", ask).await;
    let Some(answer) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    let region = answer.location_constraint().map(|region| region.as_str()).filter(|name| !name.is_empty());
    Ok(Some(match region {
        None => FIRST_REGION.to_owned(),
        Some("EU") => "eu-west-1".to_owned(),
        Some(region) => region.to_owned(),
    }))
}

async fn own_marks(account: &Account, cx: &OpCtx, region: &Regional, bucket: &str) -> Result<Option<Marks>> {
    let ask = region.s3.get_bucket_tagging().bucket(bucket).send();
    let answer = account.read(cx, "s3:GetBucketTagging", ask).await;
    let Some(answer) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    Ok(Marks::read(answer.tag_set().iter().map(|tag| (tag.key(), tag.value()))))
}

async fn observed(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    bucket: &str,
) -> Result<Option<BucketObserved>> {
    let ask = region.s3.get_bucket_versioning().bucket(bucket).send();
    let answer = account.read(cx, "s3:GetBucketVersioning", ask).await;
    let Some(versioning) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    let ask = region.s3.get_bucket_lifecycle_configuration().bucket(bucket).send();
    let answer = account.read(cx, "s3:GetLifecycleConfiguration", ask).await;
    let lifecycle = accept(answer, ErrorKind::NotFound)?;
    let ask = region.s3.get_public_access_block().bucket(bucket).send();
    let answer = account.read(cx, "s3:GetBucketPublicAccessBlock", ask).await;
    let block =
        accept(answer, ErrorKind::NotFound)?.and_then(|answer| answer.public_access_block_configuration);
    let rules = lifecycle.as_ref().map(|one| one.rules()).unwrap_or_default();
    let rule = rules.iter().find(|rule| rule.id() == Some(RULE));
    let days = rule.and_then(|rule| rule.noncurrent_version_expiration()?.noncurrent_days());
    Ok(Some(BucketObserved {
        region: region.name.clone(),
        name: bucket.to_owned(),
        versioning: versioning.status() == Some(&BucketVersioningStatus::Enabled),
        expire_days: days.and_then(|days| days.try_into().ok()),
        closed: block.is_some_and(|block| {
            block.block_public_acls() == Some(true)
                && block.ignore_public_acls() == Some(true)
                && block.block_public_policy() == Some(true)
                && block.restrict_public_buckets() == Some(true)
        }),
        endpoint: account.endpoint().map_or_else(
            || format!("https://s3.{}.amazonaws.com", region.name),
            |url| url.trim_end_matches('/').to_owned(),
        ),
    }))
}

/// Names of buckets that begin so.
async fn names(account: &Account, cx: &OpCtx, region: &Regional, start: &str) -> Result<Vec<String>> {
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = region.s3.list_buckets().prefix(start).set_continuation_token(next.take()).send();
        let page = account.read(cx, "s3:ListAllMyBuckets", ask).await?;
        // An emulator may not know prefixes.
        let named = page.buckets().iter().filter_map(|bucket| bucket.name());
        all.extend(named.filter(|name| name.starts_with(start)).map(str::to_owned));
        next = page.continuation_token().map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
}

async fn close(account: &Account, cx: &OpCtx, region: &Regional, bucket: &str) -> Result<()> {
    let block = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    let put = || {
        let put = region.s3.put_public_access_block().bucket(bucket);
        put.public_access_block_configuration(block.clone()).send()
    };
    account.put(cx, "s3:PutBucketPublicAccessBlock", put).await.map(drop)
}

async fn encrypt(account: &Account, cx: &OpCtx, region: &Regional, bucket: &str) -> Result<()> {
    let what = || unexpected("s3:PutEncryptionConfiguration", "rule");
    let default = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256);
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(default.build().map_err(|_| what())?)
        .build();
    let rules = ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(|_| what())?;
    let put = || {
        let put = region.s3.put_bucket_encryption().bucket(bucket);
        put.server_side_encryption_configuration(rules.clone()).send()
    };
    account.put(cx, "s3:PutEncryptionConfiguration", put).await.map(drop)
}

async fn version(account: &Account, cx: &OpCtx, region: &Regional, bucket: &str, on: bool) -> Result<()> {
    let status = if on { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
    let configuration = VersioningConfiguration::builder().status(status).build();
    let put = || {
        let put = region.s3.put_bucket_versioning().bucket(bucket);
        put.versioning_configuration(configuration.clone()).send()
    };
    account.put(cx, "s3:PutBucketVersioning", put).await.map(drop)
}

async fn expire(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    bucket: &str,
    days: Option<u32>,
) -> Result<()> {
    let Some(days) = days else {
        let put = || region.s3.delete_bucket_lifecycle().bucket(bucket).send();
        return account.put(cx, "s3:PutLifecycleConfiguration", put).await.map(drop);
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
        let put = region.s3.put_bucket_lifecycle_configuration().bucket(bucket);
        put.lifecycle_configuration(rules.clone()).send()
    };
    account.put(cx, "s3:PutLifecycleConfiguration", put).await.map(drop)
}

async fn tag(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    bucket: &str,
    key: &ResourceKey,
) -> Result<()> {
    let what = || unexpected("s3:PutBucketTagging", "tag");
    let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(value).build();
    let tags: std::result::Result<Vec<Tag>, _> = Marks::tags(cx, key).into_iter().map(tag).collect();
    let tags = Tagging::builder().set_tag_set(Some(tags.map_err(|_| what())?)).build().map_err(|_| what())?;
    let put = || region.s3.put_bucket_tagging().bucket(bucket).tagging(tags.clone()).send();
    account.put(cx, "s3:PutBucketTagging", put).await.map(drop)
}

impl Bucket {
    /// Buckets of a region that bear our marks, or a name that only one of our tokens makes.
    async fn marked(
        &self,
        account: &Account,
        cx: &OpCtx,
        region: &Regional,
        look: Look<'_>,
    ) -> Result<Vec<(String, Marks)>> {
        let tagged = account.tagged(cx, region).await?;
        let mut marked: Vec<(String, Marks)> = tagged
            .named("s3", "")
            .filter_map(|name| {
                Some((name.to_owned(), tagged.marks(&format!("arn:aws:s3:::{name}"))?.clone()))
            })
            .collect();
        let wanted: Vec<(&ResourceKey, String)> = account
            .wanted(self, look)
            .filter(|(_, spec)| spec["region"] == region.name.as_str())
            .filter_map(|(key, spec)| Some((key, spec["name"].as_str()?.to_owned())))
            .collect();
        let Some(start) = common_start(wanted.iter().map(|(_, name)| name.clone())) else {
            return Ok(marked);
        };
        for name in names(account, cx, region, &start).await? {
            let begins = |start: &str| name.strip_prefix(start).is_some_and(|rest| rest.len() == SUFFIX + 1);
            let Some((key, start)) = wanted.iter().find(|(_, start)| begins(start)) else { continue };
            if marked.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let marks = match own_marks(account, cx, region, &name).await? {
                Some(marks) => Some(marks),
                // A half-made one is passed over where a create looks for its own: made again it is
                // completed.
                None if matches!(look, Look::Key(_)) => None,
                None => Marks::by_name(cx, key, |token| is_named(&name, start, token)),
            };
            marked.extend(marks.map(|marks| (name, marks)));
        }
        Ok(marked)
    }
}

impl Native for Bucket {
    const TOKEN: CreateToken = CreateToken::Native;

    async fn look(&self, account: &Account, cx: &OpCtx, look: Look<'_>) -> Result<Vec<Seen<BucketObserved>>> {
        let mut all = Vec::new();
        if let Look::Id(id) = look {
            let Some(region) = region_of(account, cx, &id.0).await? else { return Ok(all) };
            let region = account.region(&region).await;
            let Some(marks) = own_marks(account, cx, &region, &id.0).await? else { return Ok(all) };
            let observed = observed(account, cx, &region, &id.0).await?;
            all.extend(observed.map(|observed| Seen { id: id.clone(), marks, observed }));
            return Ok(all);
        }
        for region in account.regions().await {
            for (name, marks) in self.marked(account, cx, &region, look).await? {
                if matches!(look, Look::Key(key) if marks.key != *key) {
                    continue;
                }
                let observed = observed(account, cx, &region, &name).await?;
                all.extend(observed.map(|observed| Seen { id: PhysicalId(name), marks, observed }));
            }
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &BucketSpec,
    ) -> Result<PhysicalId> {
        let region = account.region(&want.region).await;
        let token = cx.token.unwrap_or_else(|| OpToken(Uuid::new_v5(&cx.owner, key.as_str().as_bytes())));
        let name = format!("{}-{}", want.name, suffix(token));
        let place = (want.region != FIRST_REGION).then(|| {
            let region = BucketLocationConstraint::from(want.region.as_str());
            CreateBucketConfiguration::builder().location_constraint(region).build()
        });
        let make = region.s3.create_bucket().bucket(&name).set_create_bucket_configuration(place).send();
        match account.change(cx, "s3:CreateBucket", make).await {
            Err(error) if error.code() == Some("BucketAlreadyExists") => {
                return Err(name_taken("bucket", &name));
            }
            answer => accept(answer, ErrorKind::AlreadyExists)?,
        };
        tag(account, cx, &region, &name, key).await?;
        close(account, cx, &region, &name).await?;
        encrypt(account, cx, &region, &name).await?;
        if want.versioning {
            version(account, cx, &region, &name, true).await?;
        }
        if want.expire_days.is_some() {
            expire(account, cx, &region, &name, want.expire_days).await?;
        }
        Ok(PhysicalId(name))
    }

    async fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        id: &PhysicalId,
        have: &BucketObserved,
        want: &BucketSpec,
    ) -> Result<()> {
        let region = account.region(&have.region).await;
        if !have.closed {
            close(account, cx, &region, &id.0).await?;
            encrypt(account, cx, &region, &id.0).await?;
        }
        if have.versioning != want.versioning {
            version(account, cx, &region, &id.0, want.versioning).await?;
        }
        if have.expire_days != want.expire_days {
            expire(account, cx, &region, &id.0, want.expire_days).await?;
        }
        Ok(())
    }

    /// One that holds anything is refused by S3: nothing of the app's is deleted on the way.
    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let Some(region) = region_of(account, cx, &id.0).await? else { return Ok(()) };
        let gone = account.region(&region).await.s3.delete_bucket().bucket(&id.0).send();
        accept(account.change(cx, "s3:DeleteBucket", gone).await, ErrorKind::NotFound).map(drop)
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
