//! What the edge sees of its backends and says of its requests.

use std::time::Duration;

use vrooli_deploy_edge::{AccessLogOptions, Failure, HealthCheck};

use crate::support::{App, Client, Rig, get, release, service, site, table, until};

pub(crate) async fn a_backend_that_is_down_is_passed_over_until_it_answers() {
    let rig = Rig::embedded().await;
    let well = App::start("well").await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    rig.edge.set_site(table(1, &[("r1", 100, &[address, well.address])])).await.unwrap();
    // Nobody notices: the request goes to the other one.
    for _ in 0..4 {
        assert_eq!(get(rig.address, "/").await.unwrap().text(), "well");
    }
    until(|| async { rig.edge.metrics().await.unwrap().down == [address] }).await;
    assert!(rig.edge.metrics().await.unwrap().to_prometheus().contains("edge_backend_down"));
    let back = App::start_at("back", address).await;
    until(|| async { rig.edge.metrics().await.unwrap().down.is_empty() }).await;
    until(|| async { get(rig.address, "/").await.unwrap().text() == "back" }).await;
    drop(back);
}

pub(crate) async fn a_backend_that_says_it_is_unwell_is_passed_over() {
    let rig = Rig::embedded().await;
    let (well, sick) = (App::start("well").await, App::start("sick").await);
    let mut checked = table(1, &[("r1", 100, &[well.address, sick.address])]);
    let mut check = HealthCheck::get("/status/200");
    check.interval = Duration::from_millis(50);
    checked.health.insert(service("ui"), check.clone());
    rig.edge.set_site(checked.clone()).await.unwrap();
    until(|| async { sick.requests() > 0 && well.requests() > 0 }).await;
    assert!(rig.edge.metrics().await.unwrap().down.is_empty());
    // From here on both answer 503; with none left that is well, both are asked.
    check.path = Some("/status/503".to_owned());
    checked.health.insert(service("ui"), check);
    rig.edge.set_site(checked.clone()).await.unwrap();
    until(|| async { rig.edge.metrics().await.unwrap().down.len() == 2 }).await;
    assert_eq!(get(rig.address, "/").await.unwrap().status, 200);
    // Checks are no requests of clients.
    assert_eq!(rig.edge.metrics().await.unwrap().release(&site(), &release("r1")).unwrap().requests, 1);
}

pub(crate) async fn every_request_is_written_down() {
    let rig = Rig::with_options(|options| {
        let path = options.state_file.with_file_name("access.log");
        options.access_log = Some(AccessLogOptions { path, every: 1, max_bytes: 1 << 20 });
    })
    .await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    get(rig.address, "/download/5000?token=canary").await.unwrap();
    get(rig.address, "/status/503").await.unwrap();
    let mut cut = Client::connect(rig.address).await.unwrap();
    cut.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    until(|| async { app.requests() == 3 }).await;
    drop(cut);
    let none = "GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n";
    assert_eq!(crate::support::fetch(rig.address, none).await.unwrap().status, 400);
    let path = rig.folder.path().join("access.log");
    let lines = || {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("canary"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    until(|| async { lines().len() == 4 }).await;
    let find = |path: &str| lines().into_iter().find(|line| line["path"] == path).unwrap();
    let download = find("/download/5000");
    assert_eq!((&download["bytes"], &download["status"]), (&5_000.into(), &200.into()));
    assert_eq!((&download["release"], &download["client"]), (&"r1".into(), &"127.0.0.1".into()));
    assert_eq!(find("/status/503")["status"], 503);
    assert_eq!(find("/held")["failure"], Failure::ClientGone.as_str());
    assert_eq!(find("/")["failure"], "refused");
}

pub(crate) async fn remembers_what_was_counted_second_by_second() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    get(rig.address, "/").await.unwrap();
    until(|| async { rig.edge.samples(0).await.unwrap().len() > 2 }).await;
    get(rig.address, "/").await.unwrap();
    let all = rig.edge.samples(0).await.unwrap();
    assert!(all.windows(2).all(|pair| pair[0].at_unix_ms <= pair[1].at_unix_ms));
    assert_eq!(all.last().unwrap().releases[0].requests, 2);
    let middle = all[1].at_unix_ms;
    assert!(rig.edge.samples(middle).await.unwrap().iter().all(|sample| sample.at_unix_ms > middle));
}
