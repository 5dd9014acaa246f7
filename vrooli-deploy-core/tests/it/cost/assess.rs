//! A manifest on one provider and on several, and the budget. The providers here are small:
//! they take what the manifest asks for and bill it by the real books.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrooli_deploy_core::cost::{
    AssessOptions, Assessment, BillItem, Level, Line, Metric, Prices, UsageProfile, Verdict, assess, book,
};
use vrooli_deploy_core::diagnostics::{Checked, rules};
use vrooli_deploy_core::manifest::{LoadedManifest, load_text};
use vrooli_deploy_core::names::{
    AppName, EnvironmentName, OutputName, ProviderName, ResourceKey, ResourceKind, StackId,
};
use vrooli_deploy_core::provider::{
    AnyKind, Change, ErrorKind, Form, LowerOptions, Op, OpenContext, Ownership, Permission, PhysicalId,
    Provider, ProviderError, ProviderFactory, Registry, ResourceKindDef, Result, Wanted,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::{Resource, Stack};

use super::{d, digital, including, item, running, used, with};

/// A resource that says itself what it is billed for.
#[derive(Debug)]
struct Billed;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BilledSpec {
    items: Vec<BillItem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

impl ResourceKindDef for Billed {
    type Spec<F: Form> = BilledSpec;
    type Observed = Nothing;
    fn kind(&self) -> ResourceKind {
        ResourceKind::new("test.billed").unwrap()
    }
    fn output_names(&self) -> &'static [&'static str] {
        &[]
    }
    fn diff(&self, _: &BilledSpec, _: &Nothing) -> Change {
        Change::None
    }
    fn bill(&self, want: &BilledSpec) -> Vec<BillItem> {
        want.items.clone()
    }
    fn permissions(&self, _: Op, _: &<Self as ResourceKindDef>::Spec<Wanted>) -> Vec<Permission> {
        Vec::new()
    }
    fn ownership(&self, _: &ResourceKey, _: &BilledSpec) -> Ownership {
        Ownership::Tags
    }
    fn outputs(
        &self,
        _: &PhysicalId,
        _: &Nothing,
    ) -> std::collections::BTreeMap<OutputName, serde_json::Value> {
        std::collections::BTreeMap::new()
    }
}

/// A cloud that takes the manifest at its word.
#[derive(Debug)]
struct Cloud(&'static str);

impl ProviderFactory for Cloud {
    fn name(&self) -> ProviderName {
        ProviderName::new(self.0).unwrap()
    }

    fn lower(&self, stack: &StackId, _: &Requirements, options: &LowerOptions) -> Checked<Stack> {
        let infrastructure = &options.infrastructure;
        let region = infrastructure.region.as_deref().unwrap_or("us-east-1");
        let mut items = Vec::new();
        if let Some(compute) = &infrastructure.compute {
            let count = running(compute.count.unwrap_or(1));
            if self.0 == "aws" {
                let size = compute.size.as_deref().unwrap_or("t3.medium");
                items.push(item(Line::Compute, "aws", "ec2", size, region, count));
            } else {
                let size = compute.size.as_deref().unwrap_or("s-1vcpu-1gb");
                let droplets = digital(Line::Compute, "droplet", size, count);
                items.push(including(droplets, "droplet-transfer", 4000));
                let egress = used(Metric::EgressGb, Some("droplet-transfer"));
                items.push(digital(Line::Bandwidth, "bandwidth", "droplet-egress-overage", egress));
            }
        }
        if let (Some(database), "digitalocean") = (&infrastructure.database, self.0) {
            let size = database.size.as_deref().unwrap_or("db-s-1vcpu-1gb");
            let database = digital(Line::Database, "managed-db", size, running(1));
            items.push(with(database, "engine", "pg"));
        }
        if options.networking.load_balancer && self.0 == "digitalocean" {
            items.push(digital(Line::LoadBalancer, "load-balancer", "regional-http", running(1)));
        }
        let resource = Resource {
            kind: Billed.kind_name(),
            spec: serde_json::to_value(BilledSpec { items }).unwrap(),
            after: std::collections::BTreeSet::new(),
            holds_data: false,
        };
        let resources = [(ResourceKey::new("all/things").unwrap(), resource)].into();
        Checked::ok(Stack { id: stack.clone(), resources })
    }

    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        vec![&Billed]
    }

    fn open(&self, _: &OpenContext) -> Result<Arc<dyn Provider>> {
        Err(ProviderError::new(ErrorKind::Unsupported, "it is pure"))
    }
}

impl Billed {
    fn kind_name(&self) -> ResourceKind {
        ResourceKindDef::kind(self)
    }
}

fn registry() -> Registry {
    Registry::new().with(Cloud("aws")).with(Cloud("digitalocean"))
}

const MANIFEST: &str = "\
schema_version: v0.1
target: saas
provider: digitalocean
app: {name: wheel}
infrastructure:
  compute: {type: droplet, size: s-2vcpu-4gb, count: 2}
  database: {type: managed-postgres, size: db-s-1vcpu-2gb}
  servers:
    - {host: one.example.com, role: app, monthly_usd: \"40\"}
    - {host: two.example.com, role: database}
networking: {load_balancer: true}
";

fn load(text: &str) -> LoadedManifest {
    load_text("deployment.yaml".as_ref(), text.to_owned()).value.unwrap()
}

fn stack() -> StackId {
    StackId { app: AppName::new("wheel").unwrap(), environment: EnvironmentName::new("default").unwrap() }
}

fn assessed(text: &str, change: impl FnOnce(&mut AssessOptions<'_>)) -> Checked<Assessment> {
    let prices = Prices::embedded();
    let mut options = AssessOptions::new(UsageProfile::named("web-app").unwrap(), &prices);
    change(&mut options);
    assess(&registry(), &stack(), &load(text), &options)
}

fn provider(name: &str) -> ProviderName {
    ProviderName::new(name).unwrap()
}

#[test]
fn a_budget_that_is_kept_passes() {
    // 48 + 30.45 + 12
    let ok = assessed(MANIFEST, |options| options.max_monthly = Some(d("90.45"))).value.unwrap();
    assert_eq!(ok.estimate.total(Level::Expected).to_string(), "90.45");
    assert!(ok.judgement.unwrap().passes());
}

#[test]
fn a_budget_that_is_not_kept_names_the_smallest_change_that_fits() {
    let over = assessed(MANIFEST, |options| options.max_monthly = Some(d("80"))).value.unwrap();
    let judgement = over.judgement.unwrap();
    assert_eq!(judgement.verdict, Verdict::Over);
    let fits = judgement.fits.unwrap();
    // One change, and the one that gives up least.
    assert_eq!(fits.changes.len(), 1, "{fits:?}");
    assert!(fits.total.amount <= d("80") && fits.total.amount >= d("70"), "{fits:?}");
    let tight = assessed(MANIFEST, |options| options.max_monthly = Some(d("35"))).value.unwrap();
    let fits = tight.judgement.unwrap().fits.unwrap();
    assert!(fits.changes.len() > 1 && fits.total.amount <= d("35"), "{fits:?}");
    let never = assessed(MANIFEST, |options| options.max_monthly = Some(d("1"))).value.unwrap();
    let judgement = never.judgement.unwrap();
    assert_eq!(judgement.fits, None);
    assert!(judgement.nearest.unwrap().total.amount < d("35"));
}

#[test]
fn without_a_balancer_there_is_one_machine() {
    let over = assessed(MANIFEST, |options| options.max_monthly = Some(d("52"))).value.unwrap();
    let fits = over.judgement.unwrap().fits.unwrap();
    let no_balancer = fits.changes.iter().any(|change| change == "load_balancer: false");
    let one = fits.changes.iter().any(|change| change.starts_with("compute.count: 1"));
    assert!(!no_balancer || one, "{fits:?}");
}

#[test]
fn several_providers_stand_side_by_side() {
    let compare = vec![provider("aws"), provider("digitalocean"), provider("bare-metal"), provider("local")];
    let compared = assessed(MANIFEST, |options| options.compare = compare).value.unwrap();
    let columns: Vec<_> = compared
        .columns
        .iter()
        .map(|column| {
            let total =
                column.estimate.as_ref().map(|e| (e.total(Level::Expected).to_string(), e.complete()));
            (column.provider.as_str(), total)
        })
        .collect();
    assert_eq!(
        columns,
        [
            ("digitalocean", Some(("90.45".to_owned(), true))),
            // 2 × t3.medium, which is as large
            ("aws", Some(("60.74".to_owned(), true))),
            ("bare-metal", Some(("40.00".to_owned(), false))),
            ("local", None),
        ]
    );
    assert_eq!(compared.columns[3].diagnostics[0].code, rules::PROVIDER_MISSING);
}

#[test]
fn bare_metal_without_known_costs_is_said_and_not_zero() {
    let metal = |options: &mut AssessOptions<'_>| options.provider = Some(provider("bare-metal"));
    let known = assessed(MANIFEST, |options| {
        metal(options);
        options.max_monthly = Some(d("100"));
    })
    .value
    .unwrap();
    assert_eq!(known.estimate.unknown[0].what, "server two.example.com");
    let judgement = known.judgement.unwrap();
    assert_eq!((judgement.verdict, judgement.passes()), (Verdict::Unknown, false));
    let none = assessed(&MANIFEST.replace("servers", "x-servers"), metal);
    assert!(none.value.is_none());
    assert_eq!(none.diagnostics[0].code, rules::NOT_ESTIMATED);
    let bad = assessed(&MANIFEST.replace("\"40\"", "\"40 EUR\""), metal);
    let found = &bad.diagnostics[0];
    assert_eq!((found.code, found.labels[0].span.line), (rules::SERVER_COST, 9));
    assert_eq!(
        assessed(&MANIFEST.replace("\"40\"", "\"-4\""), metal).diagnostics[0].code,
        rules::SERVER_COST
    );
}

#[test]
fn what_has_no_price_is_shown_where_it_was_asked_for() {
    let size = assessed(&MANIFEST.replace("s-2vcpu-4gb", "s-2vcpu-5gb"), |_| {});
    let found = &size.diagnostics[0];
    assert_eq!((found.code, found.labels[0].span.line), (rules::UNKNOWN_PRICE, 6));
    let region = MANIFEST.replace("provider: digitalocean", "provider: aws").replace("droplet", "ec2");
    let region = region
        .replace("s-2vcpu-4gb", "t3.medium")
        .replace("infrastructure:\n", "infrastructure:\n  region: us-eest-1\n");
    let region = assessed(&region, |_| {});
    let found = &region.diagnostics[0];
    assert_eq!((found.code, found.labels[0].span.line), (rules::UNKNOWN_PRICE_REGION, 6));
}

#[test]
fn another_book_is_held_against_it_where_it_has_something_to_say() {
    let document = book::embedded("saas-workflow-document").unwrap();
    let against = |text: &str| {
        let assessed = assessed(text, |options| options.against = Some(Arc::clone(document)));
        assessed.value.unwrap().against
    };
    let (name, differences) = against(MANIFEST).unwrap();
    assert_eq!(name, "saas-workflow-document");
    let lines: Vec<_> = differences.iter().map(|found| found.line.word()).collect();
    assert_eq!(lines, ["bandwidth", "load_balancer"]);
    let elsewhere =
        MANIFEST.replace("provider: digitalocean", "provider: aws").replace("s-2vcpu-4gb", "t3.medium");
    assert_eq!(against(&elsewhere), None);
}
