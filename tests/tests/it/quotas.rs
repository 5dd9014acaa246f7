//! What is too much for the account is refused before anything is made.

use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::provider::ErrorKind;
use vrooli_deploy_core::workspace::Run;
use vrooli_deploy_tests::fakecloud::{FakeCloud, Fault, kinds};

use crate::orphans::{Desk, cloud, on_real_time};

fn changes(cloud: &FakeCloud) -> usize {
    cloud.calls().iter().filter(|call| call.changes).count()
}

fn asked(cloud: &FakeCloud) -> usize {
    cloud.calls().iter().filter(|call| call.about == "quota").count()
}

#[test]
fn too_much_is_refused_before_anything_is_made() {
    on_real_time(async {
        let cloud = cloud();
        let desk = Desk::at(&cloud).await;
        cloud.world().quotas.extend([(kinds::NETWORK, 0), (kinds::BUCKET, 0), (kinds::DATABASE, 9)]);
        let refused = desk.workspace.deploy(&desk.target, &desk.deploy, &Run::new()).await.err().unwrap();
        assert_eq!((refused.code().to_string().as_str(), refused.exit_code()), ("VD0510", 1));
        let said = refused.to_string();
        assert!(said.contains("\"fake.bucket\" is 0: 0 in use, 1 more wanted"), "{said}");
        assert!(said.contains("\"fake.network\" is 0") && !said.contains("fake.database"), "{said}");
        assert!(refused.help().unwrap().contains("ask whoever runs the fake cloud"), "{:?}", refused.help());
        let refused = desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap_err();
        assert_eq!(refused.code().to_string(), "VD0510");
        assert_eq!((changes(&cloud), cloud.world().objects.len()), (0, 0));
    });
}

#[test]
fn what_just_fits_is_made_and_nothing_is_asked_when_nothing_is() {
    on_real_time(async {
        let cloud = cloud();
        let desk = Desk::at(&cloud).await;
        cloud.world().quotas.extend([(kinds::NETWORK, 1), (kinds::BUCKET, 1)]);
        assert_eq!(desk.deploy().await.outcome.kind, OutcomeKind::Applied);
        assert_eq!(asked(&cloud), 2);
        assert_eq!(desk.deploy().await.outcome.kind, OutcomeKind::NoChange);
        assert_eq!(asked(&cloud), 2);
    });
}

#[test]
fn what_cannot_be_asked_is_a_note() {
    on_real_time(async {
        let cloud = cloud();
        let desk = Desk::at(&cloud).await;
        cloud.world().quotas.insert(kinds::NETWORK, 1);
        cloud.fail_always(
            "list",
            "quota",
            Fault::Refuse(ErrorKind::Permission, "you may not ask".to_owned()),
        );
        let plan = desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap().plan;
        let note = plan.notes.iter().find(|note| note.contains("quotas")).unwrap();
        assert!(note.contains("you may not ask") && note.contains("\"fake.network\""), "{note}");
        assert_eq!(desk.deploy().await.outcome.kind, OutcomeKind::Applied);
    });
}
