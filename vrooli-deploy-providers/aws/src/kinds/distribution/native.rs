//! A distribution has no name: ours is recognised by its caller reference, which is made from its
//! token, and by its tags. Its comment says what it is, so that only ours are asked for their tags where
//! listings lag. It takes AWS minutes to bring a change to all places: that is waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_cloudfront::error::BuildError;
use aws_sdk_cloudfront::types::{
    Aliases, AllowedMethods, CachedMethods, CustomOriginConfig, DefaultCacheBehavior, DistributionConfig,
    DistributionConfigWithTags, DistributionSummary, HttpVersion, Method, MinimumProtocolVersion, Origin,
    OriginProtocolPolicy, OriginSslProtocols, Origins, PriceClass, SslProtocol, SslSupportMethod, Tags,
    ViewerCertificate, ViewerProtocolPolicy,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, Known, PhysicalId, ProviderError, Result, Retryability};

use super::{Distribution, DistributionObserved, DistributionSpec};
use crate::catalogue::catalogue;
use crate::native::{Calls, Look, Marks, Native, Seen, completed, unexpected};

/// What our caller references begin with.
const REFERENCE: &str = "vrooli-deploy:";
/// The one place that content comes from.
const ORIGIN: &str = "app";
/// What AWS recommends for readers.
const TLS: &str = "TLSv1.2_2021";
/// As long as a comment may be.
const COMMENT: usize = 128;
const DEPLOYED: &str = "Deployed";
/// How often it is looked how far AWS is.
const POLL: Duration = Duration::from_secs(3);
/// So long it is waited for a new one to be everywhere. It gets there without us, too.
const PATIENCE: Duration = Duration::from_secs(900);
/// What is left of a call's time for the rest.
const RESERVE: Duration = Duration::from_secs(15);
/// Somebody changed it between our look and our change.
const STALE: &[&str] = &["PreconditionFailed", "InvalidIfMatchVersion"];

fn comment(on: &Calls<'_>, key: &ResourceKey) -> String {
    let mut comment = format!("{} {key}", on.cx.stack);
    // Names of stacks and keys are ASCII.
    comment.truncate(COMMENT);
    comment
}

fn incomplete(_: BuildError) -> ProviderError {
    unexpected("cloudfront:CreateDistribution", "field that it needs")
}

fn count<T>(items: &[T]) -> i32 {
    i32::try_from(items.len()).unwrap_or(i32::MAX)
}

fn aliases(want: &DistributionSpec<Known>) -> Result<Aliases> {
    let aliases = Aliases::builder().quantity(count(&want.aliases));
    let items = (!want.aliases.is_empty()).then(|| want.aliases.clone());
    aliases.set_items(items).build().map_err(incomplete)
}

/// With a certificate the app is reached at its own name, with TLS, and so it is from here: its balancer
/// sends everything else there. Without one it has no TLS.
fn protocol(want: &DistributionSpec<Known>) -> OriginProtocolPolicy {
    match want.certificate {
        Some(_) => OriginProtocolPolicy::HttpsOnly,
        None => OriginProtocolPolicy::HttpOnly,
    }
}

fn origins(want: &DistributionSpec<Known>) -> Result<Origins> {
    let tls = OriginSslProtocols::builder().quantity(1).items(SslProtocol::TlSv12);
    let reached = CustomOriginConfig::builder()
        .http_port(80)
        .https_port(443)
        .origin_protocol_policy(protocol(want))
        .origin_ssl_protocols(tls.build().map_err(incomplete)?)
        .build()
        .map_err(incomplete)?;
    let origin = Origin::builder().id(ORIGIN).domain_name(&want.origin).custom_origin_config(reached);
    let origin = origin.build().map_err(incomplete)?;
    Origins::builder().quantity(1).items(origin).build().map_err(incomplete)
}

fn certificate(want: &DistributionSpec<Known>) -> ViewerCertificate {
    match &want.certificate {
        None => ViewerCertificate::builder().cloud_front_default_certificate(true).build(),
        Some(arn) => ViewerCertificate::builder()
            .acm_certificate_arn(arn)
            .ssl_support_method(SslSupportMethod::SniOnly)
            .minimum_protocol_version(MinimumProtocolVersion::from(TLS))
            .build(),
    }
}

/// What of a request the app sees, and what is kept how long: all, and what the app itself says.
fn behaviour() -> Result<DefaultCacheBehavior> {
    let cached = vec![Method::Get, Method::Head];
    let all = vec![
        Method::Get,
        Method::Head,
        Method::Options,
        Method::Put,
        Method::Post,
        Method::Patch,
        Method::Delete,
    ];
    let kept = CachedMethods::builder().quantity(count(&cached)).set_items(Some(cached));
    let methods = AllowedMethods::builder().quantity(count(&all)).set_items(Some(all));
    let methods = methods.cached_methods(kept.build().map_err(incomplete)?).build().map_err(incomplete)?;
    let cdn = &catalogue().defaults.cdn;
    DefaultCacheBehavior::builder()
        .target_origin_id(ORIGIN)
        .viewer_protocol_policy(ViewerProtocolPolicy::RedirectToHttps)
        .allowed_methods(methods)
        .compress(true)
        .cache_policy_id(&cdn.cache_policy)
        .origin_request_policy_id(&cdn.origin_request_policy)
        .build()
        .map_err(incomplete)
}

/// Sets what a spec says; the rest stays as it is.
fn fill(config: &mut DistributionConfig, want: &DistributionSpec<Known>) -> Result<()> {
    if others(config.aliases(), &want.aliases) {
        config.aliases = Some(aliases(want)?);
    }
    if arn(config.viewer_certificate()) != want.certificate.as_deref() {
        config.viewer_certificate = Some(certificate(want));
    }
    config.price_class = Some(PriceClass::from(want.price_class.as_str()));
    let ours = config.origins.as_mut().and_then(|all| all.items.iter_mut().find(|one| one.id == ORIGIN));
    match ours {
        Some(Origin { domain_name, custom_origin_config: Some(reached), .. }) => {
            domain_name.clone_from(&want.origin);
            reached.origin_protocol_policy = protocol(want);
        }
        _ => config.origins = Some(origins(want)?),
    }
    Ok(())
}

fn others(have: Option<&Aliases>, want: &[String]) -> bool {
    let have = have.map(Aliases::items).unwrap_or_default();
    BTreeSet::from_iter(have) != BTreeSet::from_iter(want)
}

/// The certificate of ACM, if it is one.
fn arn(certificate: Option<&ViewerCertificate>) -> Option<&str> {
    certificate.and_then(|one| one.acm_certificate_arn()).filter(|arn| !arn.is_empty())
}

fn wanted(on: &Calls<'_>, key: &ResourceKey, want: &DistributionSpec<Known>) -> Result<DistributionConfig> {
    let token = on.cx.token.ok_or_else(|| unexpected("cloudfront:CreateDistribution", "token"))?;
    let config = DistributionConfig::builder()
        .caller_reference(format!("{REFERENCE}{}", token.0))
        .comment(comment(on, key))
        .enabled(true)
        .http_version(HttpVersion::Http2and3)
        .is_ipv6_enabled(true)
        .origins(origins(want)?)
        .default_cache_behavior(behaviour()?);
    let mut config = config.build().map_err(incomplete)?;
    fill(&mut config, want)?;
    Ok(config)
}

async fn own_marks(on: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = on.region.cloudfront.list_tags_for_resource().resource(arn).send();
    let answer = on.find("cloudfront:ListTagsForResource", ask).await?;
    Ok(answer.and_then(|answer| Marks::of(answer.tags()?.items())))
}

fn observed(
    (aliases, certificate, origins): (Option<&Aliases>, Option<&ViewerCertificate>, Option<&Origins>),
    price_class: &PriceClass,
    domain_name: &str,
) -> DistributionObserved {
    let items = origins.map(Origins::items).unwrap_or_default();
    let origin = items.iter().find(|one| one.id() == ORIGIN).or(items.first());
    DistributionObserved {
        aliases: aliases.map(|aliases| aliases.items().to_vec()).unwrap_or_default(),
        certificate: arn(certificate).map(str::to_owned),
        origin: origin.map(|origin| origin.domain_name().to_owned()).unwrap_or_default(),
        price_class: price_class.as_str().to_owned(),
        domain_name: domain_name.to_owned(),
    }
}

fn seen(one: &DistributionSummary, marks: Marks) -> Seen<DistributionObserved> {
    let parts = (one.aliases(), one.viewer_certificate(), one.origins());
    let observed = observed(parts, one.price_class(), one.domain_name());
    Seen { id: PhysicalId(one.id().to_owned()), marks, observed }
}

/// All of the account, whoever's.
async fn all(on: &Calls<'_>) -> Result<Vec<DistributionSummary>> {
    let ask = || async {
        let ask = |next| on.region.cloudfront.list_distributions().set_marker(next).send();
        let pages = on.pages("cloudfront:ListDistributions", ask, |page| {
            let list = page.distribution_list()?;
            list.next_marker().filter(|_| list.is_truncated()).map(str::to_owned)
        });
        let lists = pages.await?.into_iter().filter_map(|page| page.distribution_list);
        Ok(lists.flat_map(|list| list.items.unwrap_or_default()).collect())
    };
    on.once("distributions", "", ask).await
}

async fn marked(on: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<DistributionObserved>>> {
    let comments = on.account.wanted(&Distribution, look).map(|(key, _)| comment(on, key)).collect();
    let asked = on.asked_for(comments).await?;
    if asked.start("cloudfront", "distribution/").is_none() {
        return Ok(Vec::new());
    }
    let named = |one: &DistributionSummary| Some((one.arn().to_owned(), one.comment().to_owned()));
    let own = |arn: String| async move { own_marks(on, &arn).await };
    let marked = asked.marked(all(on).await?, named, own).await?;
    Ok(marked.into_iter().map(|(one, marks)| seen(&one, marks)).collect())
}

/// Changes the configuration of one; says whether it is there. Made again it finds nothing to change.
async fn edit(
    on: &Calls<'_>,
    id: &str,
    change: impl Fn(&mut DistributionConfig) -> Result<()> + Send + Sync,
) -> Result<bool> {
    let (clients, change) = (&on.region.cloudfront, &change);
    let once = || async move {
        let ask = clients.get_distribution_config().id(id).send();
        let Some(there) = on.find("cloudfront:GetDistributionConfig", ask).await? else { return Ok(false) };
        let Some(mut config) = there.distribution_config else {
            return Err(unexpected("cloudfront:GetDistributionConfig", "configuration"));
        };
        let before = config.clone();
        change(&mut config)?;
        if config == before {
            return Ok(true);
        }
        let put = clients.update_distribution().id(id).set_if_match(there.e_tag).distribution_config(config);
        match on.change("cloudfront:UpdateDistribution", put.send()).await {
            Err(error) if error.code().is_some_and(|code| STALE.contains(&code)) => {
                Err(error.with_retry(Retryability::LookUpFirst))
            }
            answer => answer.map(|_| true),
        }
    };
    on.whole(once).await
}

/// Waits until it is the same everywhere, and gives what a deletion has to name; `None` where it is gone.
/// At `give_up` it gives what there is.
async fn everywhere(on: &Calls<'_>, id: &str, give_up: Option<Instant>) -> Result<Option<String>> {
    loop {
        let ask = on.region.cloudfront.get_distribution().id(id).send();
        let Some(answer) = on.find("cloudfront:GetDistribution", ask).await? else { return Ok(None) };
        let status = answer.distribution().map(|one| one.status());
        if status == Some(DEPLOYED) || give_up.is_some_and(|time| Instant::now() >= time) {
            return Ok(Some(answer.e_tag.unwrap_or_default()));
        }
        on.wait(POLL).await?;
    }
}

/// The same for as long as it makes sense.
async fn settled(on: &Calls<'_>, id: &str) -> Result<()> {
    let latest = on.cx.deadline.checked_sub(RESERVE).unwrap_or(on.cx.deadline);
    completed(everywhere(on, id, Some((Instant::now() + PATIENCE).min(latest))).await).map(drop)
}

fn differs(have: &DistributionObserved, want: &DistributionSpec<Known>) -> bool {
    BTreeSet::from_iter(&have.aliases) != BTreeSet::from_iter(&want.aliases)
        || have.certificate != want.certificate
        || have.origin != want.origin
        || have.price_class != want.price_class
}

async fn settle(
    on: &Calls<'_>,
    id: &PhysicalId,
    have: &DistributionObserved,
    want: &DistributionSpec<Known>,
) -> Result<()> {
    if differs(have, want) && !edit(on, &id.0, |config| fill(config, want)).await? {
        return Err(unexpected("cloudfront:GetDistributionConfig", "distribution"));
    }
    settled(on, &id.0).await
}

impl Native for Distribution {
    const TOKEN: CreateToken = CreateToken::Native;
    const GLOBAL: bool = true;

    async fn see(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<DistributionObserved>>> {
        let ask = on.region.cloudfront.get_distribution().id(&id.0).send();
        let answer = on.find("cloudfront:GetDistribution", ask).await?;
        let Some(one) = answer.and_then(|answer| answer.distribution) else { return Ok(None) };
        let Some(marks) = own_marks(on, one.arn()).await? else { return Ok(None) };
        let Some(config) = one.distribution_config() else { return Ok(None) };
        let parts = (config.aliases(), config.viewer_certificate(), config.origins());
        let price_class = config.price_class().unwrap_or(&PriceClass::PriceClassAll);
        let observed = observed(parts, price_class, one.domain_name());
        Ok(Some(Seen { id: id.clone(), marks, observed }))
    }

    async fn list(&self, on: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<DistributionObserved>>> {
        marked(on, look).await
    }

    async fn ahead(&self, on: &Calls<'_>, _: &[PhysicalId]) {
        let _ = all(on).await;
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &DistributionSpec<Known>,
    ) -> Result<PhysicalId> {
        let tags = Tags::builder().set_items(Some(Marks::as_tags(on.cx, key)?)).build();
        let whole = DistributionConfigWithTags::builder().distribution_config(wanted(on, key, want)?);
        let make = on.region.cloudfront.create_distribution_with_tags();
        let make = make.distribution_config_with_tags(whole.tags(tags).build()).send();
        let error = match on.change("cloudfront:CreateDistribution", make).await {
            Ok(made) => {
                let made = made
                    .distribution
                    .ok_or_else(|| unexpected("cloudfront:CreateDistribution", "distribution"))?;
                let id = PhysicalId(made.id);
                settled(on, &id.0).await?;
                return Ok(id);
            }
            Err(error) => error,
        };
        // Made with this token before, and changed since.
        if error.code() != Some("DistributionAlreadyExists") {
            return Err(error);
        }
        let all = marked(on, Look::Key(key)).await?;
        let ours = all.into_iter().find(|one| one.marks.are(on.cx, key) && one.marks.token == on.cx.token);
        let ours = ours.ok_or_else(|| error.with_retry(Retryability::LookUpFirst))?;
        settle(on, &ours.id, &ours.observed, want).await?;
        Ok(ours.id)
    }

    async fn change(
        &self,
        on: &Calls<'_>,
        id: &PhysicalId,
        have: &DistributionObserved,
        want: &DistributionSpec<Known>,
    ) -> Result<()> {
        settle(on, id, have, want).await
    }

    /// AWS deletes what serves nobody any more, and nowhere.
    async fn remove(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let off = |config: &mut DistributionConfig| {
            config.enabled = false;
            Ok(())
        };
        if !edit(on, &id.0, off).await? {
            return Ok(());
        }
        let Some(version) = everywhere(on, &id.0, None).await? else { return Ok(()) };
        let gone = on.region.cloudfront.delete_distribution().id(&id.0).if_match(version).send();
        on.remove("cloudfront:DeleteDistribution", gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(certificate: Option<&str>) -> DistributionSpec<Known> {
        DistributionSpec {
            aliases: vec!["b.example.com".to_owned(), "a.example.com".to_owned()],
            certificate: certificate.map(str::to_owned),
            origin: "lb.example.com".to_owned(),
            price_class: "PriceClass_100".to_owned(),
        }
    }

    fn config(want: &DistributionSpec<Known>) -> DistributionConfig {
        let config = DistributionConfig::builder().caller_reference("r").comment("c").enabled(true);
        let config = config.origins(origins(want).unwrap());
        let mut config = config.default_cache_behavior(behaviour().unwrap()).build().unwrap();
        fill(&mut config, want).unwrap();
        config
    }

    #[test]
    fn what_somebody_else_set_stays() {
        let mut theirs = config(&spec(None));
        theirs.web_acl_id = Some("acl".to_owned());
        theirs.origins.as_mut().unwrap().items[0].connection_attempts = Some(2);
        theirs.aliases.as_mut().unwrap().items.as_mut().unwrap().reverse();
        let before = theirs.clone();
        fill(&mut theirs, &spec(None)).unwrap();
        assert_eq!(theirs, before, "nothing differs");
        fill(&mut theirs, &spec(Some("arn"))).unwrap();
        let origin = &theirs.origins().unwrap().items()[0];
        assert_eq!(theirs.web_acl_id(), Some("acl"));
        assert_eq!(origin.connection_attempts(), Some(2));
        let protocol = origin.custom_origin_config().unwrap().origin_protocol_policy();
        assert_eq!(protocol, &OriginProtocolPolicy::HttpsOnly, "its balancer sends HTTP back to HTTPS");
    }
}
