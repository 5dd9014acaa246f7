//! What a user sees: deploy, change, fail, destroy.

use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_tests::crash::on_virtual_time;
use vrooli_deploy_tests::fakecloud::FakeCloud;
use vrooli_deploy_tests::session::{ReleaseWish, Session, Wish, verify};

fn session() -> Session {
    Session::new(FakeCloud::default())
}

#[test]
fn a_first_deployment_makes_everything_and_the_next_changes_nothing() {
    on_virtual_time(async {
        let session = session();
        let wish = Wish::full();
        let outcome = session.run(&wish).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Applied, "{outcome:#?}");
        verify(&session, &wish, &outcome).await;
        assert!(session.plan(&wish).await.unwrap().is_empty(), "plan after apply is empty");
        let outcome = session.run(&wish).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::NoChange);
        verify(&session, &wish, &outcome).await;
    });
}

#[test]
fn an_upgrade_moves_traffic_only_to_what_runs() {
    on_virtual_time(async {
        let session = session();
        session.run(&Wish::full()).await.unwrap();
        let wish = Wish::full().release(ReleaseWish::version("2"));
        let outcome = session.run(&wish).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Applied, "{outcome:#?}");
        verify(&session, &wish, &outcome).await;
    });
}
