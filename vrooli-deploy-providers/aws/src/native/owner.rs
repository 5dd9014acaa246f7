//! Whose an object is, written anew: each service has a call of its own for tags.

use std::collections::HashMap;

use aws_sdk_s3::types::Tagging;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{ErrorKind, PhysicalId, ProviderError, Result};

use super::arn::Arn;
use super::marks::{OWNER, RESOURCE, STACK};
use super::{Calls, SdkTag, ec2, unexpected};
use crate::kinds::task_definition::native::tagged;

/// What kind of object it is that has no ARN for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Bucket,
    Zone,
    Distribution,
}

/// The tags that say whose an object is. All else that it bears stays.
fn whose(at: &Calls<'_>, key: &ResourceKey) -> [(&'static str, String); 3] {
    [(STACK, at.cx.stack.to_string()), (RESOURCE, key.to_string()), (OWNER, at.cx.owner.to_string())]
}

fn tags<T: SdkTag>(words: &[(&'static str, String)]) -> Result<Vec<T>> {
    words.iter().map(|(name, value)| T::new(name, value.clone())).collect()
}

/// Makes the owner of the context the owner of an object, in the region that its id names. Made twice it
/// is the same.
pub(super) async fn own(on: &Calls<'_>, kind: &str, key: &ResourceKey, id: &PhysicalId) -> Result<()> {
    let plain = match kind {
        // Its zone is, and its service.
        "aws.dns-record" | "aws.service-scaling" => return Ok(()),
        // It takes no tags.
        "aws.dashboard" => return crate::kinds::dashboard::native::mark(on, &id.0, &whose(on, key)).await,
        "aws.task-definition" => {
            let at = on.at_id(&id.0).await;
            return match tagged(&at, id).await? {
                Some(arn) => by_arn(&at, &whose(&at, key), &arn).await,
                None => Ok(()),
            };
        }
        "aws.bucket" => Some(Plain::Bucket),
        "aws.hosted-zone" => Some(Plain::Zone),
        "aws.distribution" => Some(Plain::Distribution),
        _ => None,
    };
    match (plain, Arn::read(&id.0)) {
        (Some(Plain::Bucket), _) => bucket(on, key, &id.0).await,
        (Some(Plain::Zone), _) => zone(on, key, &id.0).await,
        (Some(Plain::Distribution), _) => distribution(on, key, &id.0).await,
        (None, Some(_)) => {
            let at = on.at_id(&id.0).await;
            by_arn(&at, &whose(&at, key), &id.0).await
        }
        (None, None) => of_ec2(&on.at_id(&id.0).await, key, id).await,
    }
}

async fn of_ec2(at: &Calls<'_>, key: &ResourceKey, id: &PhysicalId) -> Result<()> {
    let tags = tags(&whose(at, key))?;
    let put = || at.region.ec2.create_tags().resources(ec2::plain(id)).set_tags(Some(tags.clone())).send();
    at.put("ec2:CreateTags", put).await.map(drop)
}

/// Writes tags of what an ARN names, in its region. All else that it bears stays; made twice it is the same.
pub(super) async fn by_arn(at: &Calls<'_>, words: &[(&'static str, String)], arn: &str) -> Result<()> {
    let service = Arn::read(arn).map_or("", |arn| arn.service);
    let region = &at.region;
    match service {
        "acm" => {
            let tags = tags(words)?;
            let put = || {
                let put = region.acm.add_tags_to_certificate().certificate_arn(arn);
                put.set_tags(Some(tags.clone())).send()
            };
            at.put("acm:AddTagsToCertificate", put).await.map(drop)
        }
        "autoscaling" => {
            let name = arn.rsplit('/').next().unwrap_or_default();
            let tags = crate::kinds::auto_scaling_group::native::tags(name, words.iter().cloned());
            let put = || region.groups.create_or_update_tags().set_tags(Some(tags.clone())).send();
            at.put("autoscaling:CreateOrUpdateTags", put).await.map(drop)
        }
        "budgets" => {
            let tags = tags(words)?;
            let put = || {
                region.budgets.tag_resource().resource_arn(arn).set_resource_tags(Some(tags.clone())).send()
            };
            at.put("budgets:TagResource", put).await.map(drop)
        }
        "cloudwatch" => {
            let tags = tags(words)?;
            let put =
                || region.cloudwatch.tag_resource().resource_arn(arn).set_tags(Some(tags.clone())).send();
            at.put("cloudwatch:TagResource", put).await.map(drop)
        }
        "ecr" => {
            let tags = tags(words)?;
            let put = || region.ecr.tag_resource().resource_arn(arn).set_tags(Some(tags.clone())).send();
            at.put("ecr:TagResource", put).await.map(drop)
        }
        "ecs" => {
            let tags = tags(words)?;
            let put = || region.ecs.tag_resource().resource_arn(arn).set_tags(Some(tags.clone())).send();
            at.put("ecs:TagResource", put).await.map(drop)
        }
        "elasticache" => {
            let tags = tags(words)?;
            let put = || {
                let put = region.elasticache.add_tags_to_resource().resource_name(arn);
                put.set_tags(Some(tags.clone())).send()
            };
            at.put("elasticache:AddTagsToResource", put).await.map(drop)
        }
        "elasticloadbalancing" => {
            let tags = tags(words)?;
            let put = || region.balancing.add_tags().resource_arns(arn).set_tags(Some(tags.clone())).send();
            at.put("elasticloadbalancing:AddTags", put).await.map(drop)
        }
        "iam" => {
            let tags = tags(words)?;
            let name = arn.rsplit('/').next().unwrap_or_default();
            let put = || region.iam.tag_role().role_name(name).set_tags(Some(tags.clone())).send();
            at.put("iam:TagRole", put).await.map(drop)
        }
        "kms" => {
            let tags = tags(words)?;
            let id = crate::kinds::kms_key::native::plain(arn);
            let put = || region.kms.tag_resource().key_id(id).set_tags(Some(tags.clone())).send();
            at.put("kms:TagResource", put).await.map(drop)
        }
        "logs" => {
            let tags: HashMap<String, String> =
                words.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let put = || region.logs.tag_resource().resource_arn(arn).set_tags(Some(tags.clone())).send();
            at.put("logs:TagResource", put).await.map(drop)
        }
        "rds" => {
            let tags = tags(words)?;
            let put =
                || region.rds.add_tags_to_resource().resource_name(arn).set_tags(Some(tags.clone())).send();
            at.put("rds:AddTagsToResource", put).await.map(drop)
        }
        "secretsmanager" => {
            let tags = tags(words)?;
            let put = || region.secrets.tag_resource().secret_id(arn).set_tags(Some(tags.clone())).send();
            at.put("secretsmanager:TagResource", put).await.map(drop)
        }
        _ => Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!("this version cannot take over {arn}: it does not write tags of `{service}`"),
        )),
    }
}

/// S3 replaces all tags at once.
async fn bucket(on: &Calls<'_>, key: &ResourceKey, name: &str) -> Result<()> {
    let Some(at) = crate::kinds::bucket::native::at_bucket(on, name).await? else { return Ok(()) };
    let ask = at.region.s3.get_bucket_tagging().bucket(name).send();
    let mut all = at.find("s3:GetBucketTagging", ask).await?.map(|answer| answer.tag_set).unwrap_or_default();
    let ours = tags::<aws_sdk_s3::types::Tag>(&whose(&at, key))?;
    all.retain(|tag| ours.iter().all(|one| one.key() != tag.key()));
    all.extend(ours);
    let all = Tagging::builder().set_tag_set(Some(all)).build();
    let all = all.map_err(|_| unexpected("s3:PutBucketTagging", "tag"))?;
    let put = || at.region.s3.put_bucket_tagging().bucket(name).tagging(all.clone()).send();
    at.put("s3:PutBucketTagging", put).await.map(drop)
}

async fn zone(on: &Calls<'_>, key: &ResourceKey, id: &str) -> Result<()> {
    let on = on.global().await;
    let tags: Vec<aws_sdk_route53::types::Tag> = tags(&whose(&on, key))?;
    let put = || {
        let put = on.region.route53.change_tags_for_resource();
        let put = put.resource_type(aws_sdk_route53::types::TagResourceType::Hostedzone).resource_id(id);
        put.set_add_tags(Some(tags.clone())).send()
    };
    on.put("route53:ChangeTagsForResource", put).await.map(drop)
}

async fn distribution(on: &Calls<'_>, key: &ResourceKey, id: &str) -> Result<()> {
    let on = on.global().await;
    let ask = on.region.cloudfront.get_distribution().id(id).send();
    let answer = on.find("cloudfront:GetDistribution", ask).await?;
    let Some(one) = answer.and_then(|answer| answer.distribution) else { return Ok(()) };
    let tags = aws_sdk_cloudfront::types::Tags::builder().set_items(Some(tags(&whose(&on, key))?)).build();
    let put = || on.region.cloudfront.tag_resource().resource(one.arn()).tags(tags.clone()).send();
    on.put("cloudfront:TagResource", put).await.map(drop)
}
