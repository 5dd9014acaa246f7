//! What an edge tells a certificate authority.

use std::time::Duration;

use vrooli_deploy_edge::{ChallengeAnswer, ChallengeToken, EdgeError, EdgeLink, HttpsOnly, Refusal};

use crate::support::{App, Rig, fetch, get, table};

const HOUR: Duration = Duration::from_secs(3_600);

fn answer(text: &str) -> ChallengeAnswer {
    ChallengeAnswer::new(text).unwrap()
}

pub(crate) async fn answers_come_before_any_route_and_survive_a_kill() {
    let mut rig = Rig::process().await;
    let app = App::start("app").await;
    let mut site = table(1, &[("r1", 100, &[app.address])]);
    site.https = Some(HttpsOnly { port: 443, remember_seconds: None });
    let (first, second) = (answer("first.key"), answer("second.key"));
    let path = first.token().path();

    // Also where there is no site at all yet.
    rig.edge.place_answers(vec![first.clone(), second.clone()], HOUR).await.unwrap();
    let told = get(rig.address, &path).await.unwrap();
    assert_eq!((told.status, told.text()), (200, "first.key".to_owned()));
    rig.edge.set_site(site).await.unwrap();
    assert_eq!(get(rig.address, &path).await.unwrap().text(), "first.key");
    assert_eq!(get(rig.address, "/other").await.unwrap().status, 308, "the rest goes to TLS");
    // What it has no answer for is the app's, and is not sent to TLS, where there may be no
    // certificate yet.
    let unknown = get(rig.address, &answer("third.key").token().path()).await.unwrap();
    assert_eq!((unknown.status, unknown.text()), (200, "app".to_owned()));
    let posted =
        format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(fetch(rig.address, posted).await.unwrap().text(), "app");

    let pid = rustix::process::Pid::from_raw(i32::try_from(rig.edge.status().pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    rig.edge.closed().await;
    rig.edge = EdgeLink::spawn(rig.command(), rig.edge.listeners().unwrap()).await.unwrap();
    assert_eq!(get(rig.address, &path).await.unwrap().text(), "first.key");

    rig.edge
        .remove_answers(vec![first.token().clone(), ChallengeToken::new("never").unwrap()])
        .await
        .unwrap();
    assert_eq!(get(rig.address, &path).await.unwrap().text(), "app");
    assert_eq!(get(rig.address, &second.token().path()).await.unwrap().text(), "second.key");
    // Its time is over at once.
    rig.edge.place_answers(vec![second.clone()], Duration::ZERO).await.unwrap();
    assert_eq!(get(rig.address, &second.token().path()).await.unwrap().text(), "app");
    let many = (0..1_001).map(|number| answer(&format!("t{number}.key"))).collect();
    let refused = rig.edge.place_answers(many, HOUR).await.unwrap_err();
    assert!(matches!(refused, EdgeError::Refused(Refusal::Answers)), "{refused}");
}
