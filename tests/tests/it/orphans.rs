//! What bears our marks and is in no stack of a workspace: what is told, deleted, adopted and refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use uuid::Uuid;
use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::names::{ProviderName, StackId};
use vrooli_deploy_core::provider::{
    AnyKind, LowerOptions, OpenContext, PhysicalId, Provider, ProviderFactory, Registry, Result,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::Stack;
use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, OperationError, OrphanChoices, OrphanOptions, OrphanOwner, OrphanReport,
    RebuildOptions, RebuiltHow, Report, Run, Target, TargetOptions, Workspace, WorkspaceOptions,
};
use vrooli_deploy_tests::fakecloud::{FakeCloud, FakeCloudOptions, kinds};
use vrooli_deploy_tests::session::{Wish, key};

/// Every app comes to the same resources there.
#[derive(Debug, Clone)]
struct Fake(FakeCloud);

impl ProviderFactory for Fake {
    fn name(&self) -> ProviderName {
        "fake".parse().unwrap()
    }
    fn lower(&self, stack: &StackId, _: &Requirements, _: &LowerOptions) -> Checked<Stack> {
        Checked::ok(Stack { id: stack.clone(), resources: Wish::full().resources })
    }
    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        vec![
            &kinds::Network,
            &kinds::Subnet,
            &kinds::Database,
            &kinds::Instance,
            &kinds::Bucket,
            &kinds::Record,
        ]
    }
    fn open(&self, _: &OpenContext) -> Result<Arc<dyn Provider>> {
        Ok(self.0.provider())
    }
}

/// A workspace beside a cloud that others may use.
pub(crate) struct Desk {
    pub(crate) workspace: Workspace,
    pub(crate) target: Target,
    pub(crate) deploy: DeployOptions,
    _state: tempfile::TempDir,
}

pub(crate) fn cloud() -> FakeCloud {
    let none = Duration::ZERO;
    FakeCloud::new(FakeCloudOptions { latency: none, lag: none, slow: none, ..FakeCloudOptions::default() })
}

pub(crate) fn on_real_time(test: impl Future<Output = ()>) {
    Runtime::new().unwrap().block_on(test);
}

impl Desk {
    pub(crate) async fn at(cloud: &FakeCloud) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut options = WorkspaceOptions::new(state.path().join("state"));
        options.key_dir = Some(state.path().join("key"));
        let registry = Registry::new().with(Fake(cloud.clone()));
        let workspace = Workspace::open(options, registry).await.unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/picker-wheel");
        let target = TargetOptions { name: Some("shop".parse().unwrap()), ..TargetOptions::default() };
        let target = workspace.resolve(example.to_str().unwrap(), &target).await.unwrap();
        let mut deploy = DeployOptions::default();
        deploy.provider = Some("fake".parse().unwrap());
        deploy.infra_only = true;
        deploy.drop = vec!["n8n".parse().unwrap()];
        Self { workspace, target, deploy, _state: state }
    }

    pub(crate) async fn deploy(&self) -> Report {
        let change = self.workspace.deploy(&self.target, &self.deploy, &Run::new()).await.unwrap();
        change.apply().await.unwrap()
    }

    async fn orphans(&self) -> OrphanReport {
        self.workspace.orphans(&everywhere()).await.unwrap()
    }

    async fn delete(&self, choices: &OrphanChoices) -> std::result::Result<Report, OperationError> {
        let stack = &self.target.stack;
        let change = self.workspace.delete_orphans(stack, &everywhere(), choices, &Run::new()).await?;
        assert!(change.needs_confirmation());
        change.apply().await
    }
}

fn everywhere() -> OrphanOptions {
    let mut options = OrphanOptions::default();
    options.provider = Some("fake".parse().unwrap());
    options
}

fn choices(data: Option<&str>, take_over: Option<&str>) -> OrphanChoices {
    let mut choices = OrphanChoices::default();
    choices.data = data.map(str::to_owned);
    choices.take_over = take_over.map(str::to_owned);
    choices
}

#[test]
fn what_a_state_has_is_no_orphan_and_a_twin_of_it_is() {
    on_real_time(async {
        let cloud = cloud();
        let desk = Desk::at(&cloud).await;
        assert_eq!(desk.deploy().await.outcome.kind, OutcomeKind::Applied);
        assert_eq!(desk.orphans().await.orphans, []);
        // Another hand made a second one, with our marks.
        let twin = {
            let mut world = cloud.world();
            let mut twin = world.objects.values().find(|o| o.kind == kinds::NETWORK).unwrap().clone();
            twin.id = PhysicalId("twin".to_owned());
            twin.made += 1000;
            world.objects.insert(twin.id.clone(), twin.clone());
            twin
        };
        let report = desk.orphans().await;
        let [one] = &report.orphans[..] else { panic!("{report:#?}") };
        assert_eq!((&one.id, one.whose, one.stack_known), (&twin.id, OrphanOwner::This, true));
        assert_eq!((one.monthly, report.unpriced), (None, 1), "no book prices it");
        assert!(!one.may_hold_data);
        desk.delete(&choices(None, None)).await.unwrap();
        assert_eq!(desk.orphans().await.orphans, []);
        let drift = desk.workspace.drift(&desk.target.stack).await.unwrap();
        assert_eq!(drift.differences, [], "what the state has is there still");
        let nothing = desk.delete(&choices(None, None)).await.unwrap_err();
        assert!(matches!(nothing, OperationError::Nothing { .. }), "{nothing}");
    });
}

#[test]
fn what_another_state_owns_is_refused_until_it_is_taken_over_by_name() {
    on_real_time(async {
        let cloud = cloud();
        let other = Desk::at(&cloud).await;
        other.deploy().await;
        let desk = Desk::at(&cloud).await;
        // To make it again beside what is there would make it twice.
        let there = cloud.world().objects.len();
        let refused = desk.workspace.deploy(&desk.target, &desk.deploy, &Run::new()).await.unwrap_err();
        assert_eq!(refused.exit_code(), 7, "{refused}");
        assert!(desk.workspace.plan(&desk.target, &desk.deploy).await.is_err());
        assert_eq!(cloud.world().objects.len(), there);
        let report = desk.orphans().await;
        assert_eq!(report.orphans.len(), Wish::full().resources.len());
        assert!(report.orphans.iter().all(|one| one.whose == OrphanOwner::Another && !one.stack_known));
        let before = cloud.world().objects.len();
        for wrong in [None, Some("sho"), Some("shop/other")] {
            let refused = desk.delete(&choices(Some("shop"), wrong)).await.unwrap_err();
            assert_eq!(refused.exit_code(), 7, "{refused}");
        }
        let wrong = desk.delete(&choices(Some("other"), Some("shop"))).await.unwrap_err();
        assert!(matches!(wrong, OperationError::Gate { .. }), "{wrong}");
        assert_eq!(cloud.world().objects.len(), before);
        // Without a name for its data what may hold any stays, with what that stands on.
        desk.delete(&choices(None, Some("shop"))).await.unwrap();
        let left = desk.orphans().await.orphans;
        assert!(left.iter().any(|one| one.may_hold_data), "{left:#?}");
        assert!(left.iter().all(|one| one.whose == OrphanOwner::This), "{left:#?}");
        assert!(left.len() < report.orphans.len());
        desk.delete(&choices(Some("shop"), None)).await.unwrap();
        assert!(cloud.world().objects.is_empty());
        assert!(desk.workspace.list().await.unwrap().is_empty(), "nothing of it is remembered");
    });
}

#[test]
fn a_stack_of_ours_takes_in_what_its_manifest_wants() {
    on_real_time(async {
        let cloud = cloud();
        let desk = Desk::at(&cloud).await;
        desk.deploy().await;
        let other = Uuid::from_u128(7);
        // Its state forgets one, and another state has that.
        let (id, found) = {
            let mut world = cloud.world();
            let wanted = key("record/main");
            let object = world.objects.values_mut().find(|o| o.marks.key == wanted).unwrap();
            object.id = PhysicalId("moved".to_owned());
            object.marks.owner = other;
            let object = object.clone();
            world.objects.retain(|_, o| o.marks.key != wanted);
            world.objects.insert(object.id.clone(), object.clone());
            (object.id.clone(), object)
        };
        let report = desk.orphans().await;
        assert_eq!(report.orphans.iter().map(|one| &one.id).collect::<Vec<_>>(), [&id]);
        let adopt = async |take_over: Option<&str>| {
            let (workspace, run) = (&desk.workspace, Run::new());
            let choices = choices(None, take_over);
            let change =
                workspace.adopt_orphans(&desk.target, &desk.deploy, &everywhere(), &choices, &run).await?;
            assert_eq!(change.plan().steps.len(), 1);
            change.apply().await
        };
        assert_eq!(adopt(None).await.unwrap_err().exit_code(), 7);
        assert_eq!(adopt(Some("shop")).await.unwrap().outcome.kind, OutcomeKind::Applied);
        assert_eq!(desk.orphans().await.orphans, []);
        assert_eq!(cloud.world().objects[&id].fields, found.fields);
        assert_eq!(desk.deploy().await.outcome.kind, OutcomeKind::NoChange);
        // Who does not have the stack builds its state again instead.
        let stranger = Desk::at(&cloud).await;
        let none = choices(None, None);
        let (options, run) = (everywhere(), Run::new());
        let refused =
            stranger.workspace.adopt_orphans(&stranger.target, &stranger.deploy, &options, &none, &run);
        assert!(matches!(refused.await.unwrap_err(), OperationError::Nothing { .. }));
    });
}

#[test]
fn a_lost_state_is_built_again_and_what_cannot_be_had_back_is_said() {
    on_real_time(async {
        let cloud = cloud();
        Desk::at(&cloud).await.deploy().await;
        let desk = Desk::at(&cloud).await;
        let mut options = RebuildOptions::default();
        options.provider = Some("fake".parse().unwrap());
        options.drop = desk.deploy.drop.clone();
        let refused = desk.workspace.rebuild(&desk.target, &options, &Run::new()).await.unwrap_err();
        assert_eq!(refused.exit_code(), 7, "{refused}");
        options.take_over = Some("shop".to_owned());
        let before = cloud.world().objects.len();
        let rebuilt = desk.workspace.rebuild(&desk.target, &options, &Run::new()).await.unwrap();
        // A password that the cloud told once is lost; whoever uses it is the one thing to be done.
        let lost = rebuilt.things.iter().filter(|thing| thing.how == RebuiltHow::Lost);
        assert_eq!(lost.map(|thing| thing.what.as_str()).collect::<Vec<_>>(), ["database/main"]);
        let plan = desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap().plan;
        let steps: Vec<_> = plan.steps.iter().map(|step| step.id.0.as_str()).collect();
        assert_eq!(steps, ["update:instance/main"]);
        assert_eq!(cloud.world().objects.len(), before);
    });
}

#[test]
fn what_was_deleted_by_hand_with_its_data_keeps_no_app_from_being_destroyed() {
    on_real_time(async {
        let cloud = cloud();
        let desk = Desk::at(&cloud).await;
        desk.deploy().await;
        cloud.world().objects.clear();
        let (stack, run) = (&desk.target.stack, Run::new());
        let change = desk.workspace.destroy(stack, &DestroyOptions::default(), &run).await.unwrap();
        assert_eq!(change.apply().await.unwrap().outcome.kind, OutcomeKind::Applied);
        assert!(desk.workspace.list().await.unwrap().is_empty());
    });
}

#[test]
fn without_stacks_or_a_provider_nobody_knows_where_to_look() {
    on_real_time(async {
        let desk = Desk::at(&cloud()).await;
        let nowhere = desk.workspace.orphans(&OrphanOptions::default()).await.unwrap_err();
        assert!(matches!(nowhere, OperationError::Nothing { .. }), "{nowhere}");
        assert_eq!(desk.orphans().await.orphans, []);
    });
}
