//! Which request goes where.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use vrooli_deploy_edge::{Failure, ListenerId, ReleaseRoute, Rule, SiteId, SiteTable};

use crate::support::{App, Client, Rig, fetch, get, listen, listener_id, release, service, site, table};

fn request(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

pub(crate) async fn goes_by_host_and_longest_path() {
    let rig = Rig::embedded().await;
    let (ui, api, deep, other) = (
        App::start("ui").await,
        App::start("api").await,
        App::start("deep").await,
        App::start("other").await,
    );
    let mut shop = table(1, &[("r1", 100, &[ui.address])]);
    shop.rules.push(Rule::any_host("/api", service("api")));
    shop.rules.push(Rule::any_host("/api/deep", service("deep")));
    let backends = &mut shop.releases.get_mut(&release("r1")).unwrap().backends;
    backends.insert(service("api"), vec![api.address]);
    backends.insert(service("deep"), vec![deep.address]);
    rig.edge.set_site(shop).await.unwrap();
    // A second site on the same socket, told apart by its host.
    let mut blog = SiteTable::new(SiteId::new("blog/default").unwrap(), 1);
    blog.listeners.insert(listener_id());
    blog.rules.push(Rule { host: Some("Blog.test".into()), path: "/".into(), service: service("web") });
    blog.releases.insert(
        release("r9"),
        ReleaseRoute { weight: 1, backends: BTreeMap::from([(service("web"), vec![other.address])]) },
    );
    rig.edge.set_site(blog).await.unwrap();

    let port = rig.address.port();
    for (host, path, expected) in [
        ("a.test", "/", "ui"),
        ("a.test", "/apix", "ui"),
        ("a.test", "/api", "api"),
        ("a.test", "/api/", "api"),
        ("a.test", "/api?x=/api/deep", "api"),
        ("a.test", "/api/deep/er", "deep"),
        ("a.test", "/api/deeper", "api"),
        ("blog.test", "/api", "other"),
        ("BLOG.test", "/", "other"),
        (&format!("blog.test:{port}"), "/", "other"),
        ("sub.blog.test", "/", "ui"),
    ] {
        let reply = fetch(rig.address, request(host, path)).await.unwrap();
        assert_eq!(reply.text(), expected, "{host} {path}");
    }
}

pub(crate) async fn says_why_there_is_no_answer() {
    let rig = Rig::embedded().await;
    let (nobody, socket) = listen();
    drop(socket);

    let reply = get(rig.address, "/").await.unwrap();
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("no_site"), "{}", reply.text());

    let mut only_one_host = table(1, &[("r1", 100, &[nobody])]);
    only_one_host.rules[0].host = Some("b.test".into());
    rig.edge.set_site(only_one_host).await.unwrap();
    let reply = get(rig.address, "/").await.unwrap();
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("no_route"), "{}", reply.text());

    rig.edge.set_site(table(1, &[("r1", 0, &[nobody])])).await.unwrap();
    let reply = get(rig.address, "/").await.unwrap();
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("no_release"), "{}", reply.text());

    rig.serve("r1", nobody).await;
    let reply = get(rig.address, "/").await.unwrap();
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("unreachable"), "{}", reply.text());
    assert!(!reply.text().contains(&nobody.port().to_string()), "shows what lies behind");
    let json = "GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    let reply = fetch(rig.address, json).await.unwrap();
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["error"], "unreachable");

    let metrics = rig.edge.metrics().await.unwrap();
    assert_eq!(metrics.refused, 3);
    let counted = metrics.release(&site(), &release("r1")).unwrap();
    assert_eq!(counted.failures.get(&Failure::Unreachable), Some(&2));

    // Another listener has no part in all this.
    let (second, socket) = listen();
    let id = ListenerId::new("second").unwrap();
    rig.edge.add_listener(id, socket.into()).await.unwrap();
    assert!(get(second, "/").await.unwrap().text().contains("no_site"));
}

pub(crate) async fn tells_the_app_where_a_request_came_from() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let spoofed = "GET /headers HTTP/1.1\r\nHost: shop.test:8080\r\nConnection: close, X-Hop\r\n\
        X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
        X-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\nX-Kept: yes\r\n\r\n";
    let reply = fetch(rig.address, spoofed).await.unwrap();
    let text = reply.text();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /headers",
            "host: shop.test:8080",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: shop.test:8080",
            "x-forwarded-proto: http",
            "x-kept: yes",
        ]
    );
}

pub(crate) async fn takes_turns_and_passes_over_a_dead_backend() {
    let rig = Rig::embedded().await;
    let (one, two) = (App::start("one").await, App::start("two").await);
    let (nobody, socket) = listen();
    drop(socket);
    let all: &[SocketAddr] = &[one.address, nobody, two.address];
    rig.edge.set_site(table(1, &[("r1", 100, all)])).await.unwrap();
    for _ in 0..30 {
        assert_eq!(get(rig.address, "/").await.unwrap().status, 200);
    }
    // A POST with a body goes on to the next one just as well: nothing of it had left.
    let post = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    for _ in 0..9 {
        let reply = fetch(rig.address, post).await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "3"));
    }
    assert!(one.requests() >= 8 && two.requests() >= 8);
    assert_eq!(one.requests() + two.requests(), 39);
}

pub(crate) async fn finds_assets_in_the_other_release() {
    let rig = Rig::embedded().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    let mut both = table(1, &[("r1", 0, &[old.address]), ("r2", 100, &[new.address])]);
    rig.edge.set_site(both.clone()).await.unwrap();
    let body = async |path: &str| get(rig.address, path).await.unwrap();
    // Without the bridge the new release's page is what comes.
    assert_eq!(body("/asset-old.js").await.text(), "new");

    both.bridge_assets = true;
    rig.edge.set_site(both.clone()).await.unwrap();
    assert_eq!(body("/asset-old.js").await.text(), "old");
    assert_eq!(body("/asset-new.js").await.text(), "new");
    let neither = body("/asset-none.js").await;
    assert_eq!((neither.status, neither.text().as_str()), (200, "new"));
    assert_eq!(neither.header("content-type"), Some("text/html"));
    assert_eq!(body("/missing.css").await.status, 404);
    // What is no asset is asked once.
    let before = old.requests();
    assert_eq!(body("/missing/page").await.status, 404);
    assert_eq!(old.requests(), before);

    // A release that was drained may be stopped, so it is not asked any more.
    let drained = rig.edge.drain(&site(), &release("r1"), std::time::Duration::from_secs(10)).await.unwrap();
    assert_eq!(drained.cut, 0);
    let before = old.requests();
    assert_eq!(body("/asset-old.js").await.text(), "new");
    assert_eq!(old.requests(), before);
}

pub(crate) async fn keeps_weights_between_two_releases() {
    let rig = Rig::embedded().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.edge.set_site(table(1, &[("r1", 80, &[old.address]), ("r2", 20, &[new.address])])).await.unwrap();
    let mut client = Client::connect(rig.address).await.unwrap();
    for _ in 0..1_000 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    // 200 expected, standard deviation 12.6: ten of those would need 10^23 tries.
    let share = new.requests();
    assert!((75..=325).contains(&share), "{share} of 1,000");
    assert_eq!(old.requests() + share, 1_000);
}

pub(crate) async fn clients_keep_their_release_while_two_serve() {
    let rig = Rig::embedded().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    let mut split = table(1, &[("r1", 90, &[old.address]), ("r2", 10, &[new.address])]);
    split.sticky = Some("release".to_owned());
    rig.edge.set_site(split.clone()).await.unwrap();

    // Without a cookie one is sampled, and told to keep what one got.
    let mut kept: Vec<(String, String)> = Vec::new();
    for _ in 0..400 {
        let reply = get(rig.address, "/").await.unwrap();
        let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        kept.push((cookie, reply.text()));
    }
    let share = kept.iter().filter(|(_, app)| app == "new").count();
    // 40 expected; the chance to be outside is below one in a million.
    assert!((10..=80).contains(&share), "{share} of 400");

    let ask = async |cookie: &str| {
        let request =
            format!("GET / HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
        fetch(rig.address, request).await.unwrap()
    };
    for (cookie, app) in kept.iter().take(50) {
        let reply = ask(cookie).await;
        assert_eq!(reply.text(), *app, "{cookie}");
        assert_eq!(reply.header("set-cookie"), None);
    }
    // More for the new release: whoever had it keeps it.
    split.set_weights(&BTreeMap::from([(release("r1"), 50), (release("r2"), 50)]));
    rig.edge.set_site(split.clone()).await.unwrap();
    for (cookie, _) in kept.iter().filter(|(_, app)| app == "new") {
        assert_eq!(ask(cookie).await.text(), "new");
    }
    // One release alone needs no cookie, and an old one keeps nobody from it.
    split.set_weights(&BTreeMap::from([(release("r2"), 100)]));
    rig.edge.set_site(split).await.unwrap();
    let reply = ask(&kept[0].0).await;
    assert_eq!((reply.text().as_str(), reply.header("set-cookie")), ("new", None));
}
