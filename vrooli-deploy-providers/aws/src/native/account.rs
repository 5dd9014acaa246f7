use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::{Provider as Tls, rustls_provider::CryptoMode};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::region::Region;
use serde_json::Value;
use tokio::sync::OnceCell;
use vrooli_deploy_core::names::{ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    AnyKind, ErrorKind, ImageBuilder, OpenContext, PhysicalId, ProviderError, Result,
};
use vrooli_deploy_core::secrets::{Secret, SecretStore};

use super::Look;
use super::answers::LastLook;
use super::tagged::TagCache;
use crate::kinds::ecs_cluster::EcsCluster;
use crate::kinds::instance::Instance;
use crate::kinds::launch_template::LaunchTemplate;

/// So long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How an account is reached. What is left out is read from where AWS's own tools read it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct AccountOptions {
    /// An endpoint of one's own (an emulator, a proxy) instead of AWS's; default:
    /// `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// Key, secret and session token; default: the credentials chain of AWS's own tools.
    pub keys: Option<(String, Secret<String>, Option<Secret<String>>)>,
    /// Profile in AWS's own configuration files.
    pub profile: Option<String>,
    /// Region of what says none.
    pub region: Option<String>,
    /// A registry of one's own (an emulator's, as `host:port`) where images are kept instead of AWS's;
    /// default: `VROOLI_DEPLOY_AWS_REGISTRY`.
    pub registry: Option<String>,
}

impl std::fmt::Debug for AccountOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountOptions")
            .field("endpoint", &self.endpoint)
            .field("profile", &self.profile)
            .field("region", &self.region)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl AccountOptions {
    /// What was configured, and what the environment says where nothing was.
    ///
    /// # Errors
    /// When the secret store cannot be read.
    pub fn of(context: &OpenContext) -> Result<Self> {
        let value =
            |name| match context.configuration.value(name) {
                Ok(found) => Ok(found.map(|found| found.value)),
                Err(error) => Err(ProviderError::new(ErrorKind::Config, format!("`{name}` cannot be read"))
                    .with_source(error)),
            };
        let plain = |name| -> Result<Option<String>> {
            Ok(value(name)?.map(|value: Secret<String>| value.expose().clone()))
        };
        let keys = match (plain("aws_access_key")?, value("aws_secret_key")?) {
            (Some(key), Some(secret)) => Some((key, secret, value("aws_session_token")?)),
            _ => None,
        };
        let endpoint = std::env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty());
        let registry = std::env::var("VROOLI_DEPLOY_AWS_REGISTRY").ok().filter(|host| !host.is_empty());
        Ok(Self { endpoint, keys, profile: plain("aws_profile")?, region: plain("aws_region")?, registry })
    }
}

/// The clients of one region. All share one HTTP client and one set of credentials.
pub struct Regional {
    /// Its name.
    pub name: String,
    pub(crate) acm: aws_sdk_acm::Client,
    pub(crate) balancing: aws_sdk_elasticloadbalancingv2::Client,
    pub(crate) budgets: aws_sdk_budgets::Client,
    pub(crate) cloudfront: aws_sdk_cloudfront::Client,
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) ecr: aws_sdk_ecr::Client,
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) elasticache: aws_sdk_elasticache::Client,
    pub(crate) groups: aws_sdk_autoscaling::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) kms: aws_sdk_kms::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) quotas: aws_sdk_servicequotas::Client,
    pub(crate) rds: aws_sdk_rds::Client,
    pub(crate) route53: aws_sdk_route53::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) scaling: aws_sdk_applicationautoscaling::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) sts: aws_sdk_sts::Client,
    pub(crate) tagging: aws_sdk_resourcegroupstagging::Client,
}

impl std::fmt::Debug for Regional {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Regional").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Regional {
    fn new(base: &SdkConfig, name: &str) -> Self {
        let config = base.to_builder().region(Region::new(name.to_owned())).build();
        // Buckets are hosts of their own at AWS, and folders at an endpoint of one's own.
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(base.endpoint_url().is_some());
        Self {
            name: name.to_owned(),
            acm: aws_sdk_acm::Client::new(&config),
            balancing: aws_sdk_elasticloadbalancingv2::Client::new(&config),
            budgets: aws_sdk_budgets::Client::new(&config),
            cloudfront: aws_sdk_cloudfront::Client::new(&config),
            cloudwatch: aws_sdk_cloudwatch::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
            ecr: aws_sdk_ecr::Client::new(&config),
            ecs: aws_sdk_ecs::Client::new(&config),
            elasticache: aws_sdk_elasticache::Client::new(&config),
            groups: aws_sdk_autoscaling::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            kms: aws_sdk_kms::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            quotas: aws_sdk_servicequotas::Client::new(&config),
            rds: aws_sdk_rds::Client::new(&config),
            route53: aws_sdk_route53::Client::new(&config),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            scaling: aws_sdk_applicationautoscaling::Client::new(&config),
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            tagging: aws_sdk_resourcegroupstagging::Client::new(&config),
        }
    }
}

/// The region that an id names: an ARN, or one of EC2's with the region before it.
fn region_of(id: &str) -> Option<&str> {
    let region = match id.strip_prefix("arn:") {
        Some(rest) => rest.split(':').nth(2),
        None => id.split_once('/').map(|(region, _)| region),
    };
    region.filter(|region| !region.is_empty())
}

/// An account of AWS, as a stack sees it: what makes the calls, in every region.
pub struct Account {
    options: AccountOptions,
    base: OnceCell<SdkConfig>,
    regions: Mutex<BTreeMap<String, Arc<Regional>>>,
    /// What the stack has or is to have.
    resources: Vec<(ResourceKey, Value)>,
    /// What kind each of them is.
    kinds: BTreeMap<ResourceKey, ResourceKind>,
    /// What the state calls what it has.
    ids: BTreeMap<ResourceKey, PhysicalId>,
    /// What of it is to go.
    leaving: BTreeSet<ResourceKey>,
    pub(super) secrets: Arc<dyn SecretStore>,
    calls: Mutex<BTreeMap<&'static str, u64>>,
    /// Its number, where a kind had to ask.
    pub(crate) number: OnceCell<String>,
    /// Rises with every change: what was listed before it is old.
    changes: AtomicU64,
    pub(super) tags: TagCache,
    pub(super) look: LastLook,
    images: Option<Arc<dyn ImageBuilder>>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Account {
    /// An account. No call is made.
    #[must_use]
    pub fn new(options: AccountOptions, context: &OpenContext) -> Self {
        Self {
            options,
            base: OnceCell::new(),
            regions: Mutex::default(),
            resources: context.resources.clone(),
            kinds: context.kinds.clone(),
            ids: context.ids.clone(),
            leaving: context.leaving.clone(),
            secrets: Arc::clone(&context.secrets),
            calls: Mutex::default(),
            number: OnceCell::new(),
            changes: AtomicU64::default(),
            tags: TagCache::default(),
            look: LastLook::default(),
            images: None,
        }
    }

    /// The same, with what builds the app's image where none is given.
    #[must_use]
    pub fn with_images(self, images: Option<Arc<dyn ImageBuilder>>) -> Self {
        Self { images, ..self }
    }

    /// What builds images, if anything does.
    pub(crate) fn images(&self) -> Option<&dyn ImageBuilder> {
        self.images.as_deref()
    }

    /// A repository of ours as it is named to an engine.
    pub(crate) fn repository(&self, uri: &str) -> String {
        match (&self.options.registry, uri.split_once('/')) {
            (Some(registry), Some((_, name))) => format!("{registry}/{name}"),
            _ => uri.to_owned(),
        }
    }

    /// How many calls have left so far, by action (`logs:CreateLogGroup`).
    #[must_use]
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An endpoint of one's own, if there is one.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.options.endpoint.as_deref()
    }

    /// How often something was begun or done that changes what there is.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// What was listed until now is old.
    pub(super) fn changing(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    async fn base(&self) -> &SdkConfig {
        self.base.get_or_init(|| async { self.load().await }).await
    }

    /// One HTTP client with one TLS stack for all services. Retries are the engine's: it alone
    /// knows which call may be made again after an answer that was lost.
    async fn load(&self) -> SdkConfig {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Tls::Rustls(CryptoMode::Ring)).build_https();
        let options = &self.options;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(self.default_region()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build());
        if let Some(endpoint) = &options.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some((key, secret, token)) = &options.keys {
            let token = token.as_ref().map(|token| token.expose().clone());
            let credentials = Credentials::new(key, secret.expose(), token, None, "vrooli-deploy");
            loader = loader.credentials_provider(credentials);
        }
        loader.load().await
    }

    fn default_region(&self) -> String {
        let known = || crate::catalogue::catalogue().regions.default.clone();
        self.options.region.clone().or_else(|| self.fields("region").next().cloned()).unwrap_or_else(known)
    }

    /// The clients of a region.
    pub async fn region(&self, name: &str) -> Arc<Regional> {
        let base = self.base().await;
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(regions.entry(name.to_owned()).or_insert_with(|| Arc::new(Regional::new(base, name))))
    }

    /// The clients of what belongs to no region.
    pub async fn global(&self) -> Arc<Regional> {
        self.region(&crate::catalogue::catalogue().regions.default).await
    }

    /// The clients of the region that an id names.
    pub(super) async fn of_id(&self, id: &str) -> Arc<Regional> {
        match region_of(id) {
            Some(region) => self.region(region).await,
            None => self.global().await,
        }
    }

    /// The clients of every region that the stack has anything in, and of those that are asked for.
    pub(super) async fn regions(&self, asked: &BTreeSet<String>) -> Vec<Arc<Regional>> {
        let mut names: BTreeSet<String> = self.fields("region").chain(asked).cloned().collect();
        if names.is_empty() {
            names.insert(self.default_region());
        }
        let mut regions = Vec::new();
        for name in names {
            regions.push(self.region(&name).await);
        }
        regions
    }

    /// What specs of the stack say in a field.
    fn fields(&self, field: &'static str) -> impl Iterator<Item = &String> {
        self.resources.iter().filter_map(move |(_, spec)| match spec.get(field) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        })
    }

    /// Key and spec of what the stack has or is to have of a kind, as far as it is looked for.
    /// Specs do not say their kind, and those of some look alike.
    pub(crate) fn wanted<'a>(
        &'a self,
        kind: &'a dyn AnyKind,
        look: Look<'a>,
    ) -> impl Iterator<Item = (&'a ResourceKey, &'a Value)> {
        let asked = move |key: &ResourceKey| !matches!(look, Look::Key(one) if one != key);
        let own = kind.kind();
        let is_its = move |key: &ResourceKey| self.kinds.get(key).is_none_or(|kind| *kind == own);
        self.resources
            .iter()
            .filter(move |(key, spec)| asked(key) && is_its(key) && kind.check(spec).is_ok())
            .map(|(key, spec)| (key, spec))
    }

    /// Is there to be one machine, and nothing beside it that releases could go to? Where nothing is to be made,
    /// as when a stack is destroyed, what there is counts.
    pub(super) fn is_one_machine(&self) -> bool {
        let stays =
            |kind: &dyn AnyKind| self.wanted(kind, Look::Stack).any(|(key, _)| !self.leaving.contains(key));
        stays(&Instance) && !stays(&EcsCluster) && !stays(&LaunchTemplate)
    }

    /// What a resource is to be, or else is.
    pub(super) fn spec(&self, key: &ResourceKey) -> Option<&Value> {
        // What is wanted comes before what is there.
        self.resources.iter().find(|(one, _)| one == key).map(|(_, spec)| spec)
    }

    /// What the state calls a resource that it has.
    pub(super) fn id(&self, key: &ResourceKey) -> Option<&PhysicalId> {
        self.ids.get(key)
    }

    /// What specs of a kind say in the field that names its objects.
    pub(crate) fn named(&self, kind: &dyn AnyKind, look: Look<'_>, field: &str) -> BTreeSet<String> {
        let name = |(_, spec): (_, &Value)| spec.get(field)?.as_str().map(str::to_owned);
        self.wanted(kind, look).filter_map(name).collect()
    }

    pub(super) fn count(&self, action: &'static str) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(action).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::region_of;

    #[test]
    fn ids_name_their_region() {
        assert_eq!(region_of("arn:aws:logs:eu-west-1:123456789012:log-group:/shop/x"), Some("eu-west-1"));
        assert_eq!(region_of("arn:aws:iam::123456789012:role/app"), None);
        assert_eq!(region_of("us-west-2/vpc-0a1b"), Some("us-west-2"));
        assert_eq!(region_of("shop-default-files"), None, "a bucket");
    }
}
