//! Whose request it is, and by which way it came.

use vrooli_deploy_edge::{AccessLogOptions, HttpsOnly, OriginHeader, TrustedProxies};

use crate::support::{App, Client, Rig, fetch, get, table, until};

const CLAIMS: &str = "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 127.0.0.2\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: shop.test\r\nForwarded: for=7.7.7.7;proto=https;host=evil.test\r\nX-Real-IP: 6.6.6.6\r\n";

fn claiming(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{CLAIMS}Connection: close\r\n\r\n")
}

fn trusting(network: &str, says: OriginHeader) -> Option<TrustedProxies> {
    Some(TrustedProxies { networks: vec![network.parse().unwrap()], says })
}

pub(crate) async fn only_a_trusted_proxy_says_whose_request_it_is() {
    let rig = Rig::with_options(|options| {
        let path = options.state_file.with_file_name("access.log");
        options.access_log = Some(AccessLogOptions { path, every: 1, max_bytes: 1 << 20 });
    })
    .await;
    let app = App::start("app").await;
    let mut site = table(1, &[("r1", 100, &[app.address])]);
    let nobody = ["127.0.0.1", "http", "a.test"];
    for (trusted, [client, protocol, host]) in [
        (None, nobody),
        // Others are trusted, but it is not one of them who says it.
        (trusting("192.0.2.0/24", OriginHeader::XForwarded), nobody),
        (trusting("127.0.0.0/8", OriginHeader::XForwarded), ["203.0.113.9", "https", "shop.test"]),
        (trusting("127.0.0.0/8", OriginHeader::Forwarded), ["7.7.7.7", "https", "evil.test"]),
    ] {
        site.trusted_proxies = trusted;
        rig.edge.set_site(site.clone()).await.unwrap();
        let text = fetch(rig.address, claiming("/headers")).await.unwrap().text();
        let mut said: Vec<_> =
            text.lines().filter(|line| line.contains("forward") || line.contains("real")).collect();
        said.sort_unstable();
        let expected = [
            format!("x-forwarded-for: {client}"),
            format!("x-forwarded-host: {host}"),
            format!("x-forwarded-proto: {protocol}"),
        ];
        assert_eq!(said, expected, "{:?}", site.trusted_proxies);
    }
    // The log names the same client as the app is told.
    let log = rig.folder.path().join("access.log");
    let clients = || {
        let text = std::fs::read_to_string(&log).unwrap();
        let client = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["client"].clone();
        // Each worker writes its own lines together.
        let mut clients: Vec<_> = text.lines().map(client).collect();
        clients.sort_by_key(ToString::to_string);
        clients
    };
    until(async || clients().len() == 4).await;
    assert_eq!(clients(), ["127.0.0.1", "127.0.0.1", "203.0.113.9", "7.7.7.7"], "{log:?}");
}

pub(crate) async fn a_site_is_sent_to_tls_with_its_host_and_path() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    let mut site = table(1, &[("r1", 100, &[app.address])]);
    site.https = Some(HttpsOnly { port: 443, remember_seconds: Some(600) });
    rig.edge.set_site(site.clone()).await.unwrap();
    let reply = get(rig.address, "/a//b?c=d&e=http://x").await.unwrap();
    assert_eq!((reply.status, reply.header("location")), (308, Some("https://a.test/a//b?c=d&e=http://x")));
    assert_eq!(reply.header("strict-transport-security"), None, "nobody may say that without TLS");

    // The port that clients see, with a body that is not waited for, on a connection that lasts.
    site.https = Some(HttpsOnly { port: 8443, remember_seconds: None });
    rig.edge.set_site(site.clone()).await.unwrap();
    let mut client = Client::connect(rig.address).await.unwrap();
    let post = "POST /form HTTP/1.1\r\nHost: A.test:8080\r\nContent-Length: 3\r\n\r\nabc";
    for _ in 0..2 {
        client.send(post).await.unwrap();
        let reply = client.reply(true).await.unwrap();
        assert_eq!((reply.status, reply.header("location")), (308, Some("https://a.test:8443/form")));
    }
    // What cannot be said is refused, and nobody says that it came by TLS but who is trusted.
    let nameless = fetch(rig.address, "GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(nameless.status, 400);
    assert_eq!(fetch(rig.address, claiming("/")).await.unwrap().status, 308);
    assert_eq!(app.requests(), 0);

    site.trusted_proxies = trusting("127.0.0.1", OriginHeader::XForwarded);
    site.https = Some(HttpsOnly { port: 443, remember_seconds: Some(600) });
    rig.edge.set_site(site).await.unwrap();
    let reply = fetch(rig.address, claiming("/")).await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "app"));
    assert_eq!(reply.header("strict-transport-security"), Some("max-age=600"));
    assert_eq!(get(rig.address, "/").await.unwrap().status, 308);
    let metrics = rig.edge.metrics().await.unwrap();
    assert_eq!(metrics.refused, 1, "to be sent elsewhere is not to be refused");
}
