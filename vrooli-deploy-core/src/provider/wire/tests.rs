use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use super::{
    Agent, Exec, Exited, HostSettings, Incoming, PROTOCOL, Printed, ProgramSeen, RemoteFleet, serve,
};
use crate::names::{Digest, ReleaseNumber, StackId, UnitId};
use crate::provider::{
    Artefact, BuildRequest, Cancellation, CertificateAuthority, CertificateRequest, CertificateSeen,
    CertificateSource, Counters, DrainReport, ErrorKind, Fleet, FleetCapabilities, LatencyHistogram, LogPage,
    LogQuery, MigrationReport, OpCtx, ProbeReport, ProviderError, Reading, Result, Routing, SmokeReport,
    UnitObserved,
};
use crate::release::Release;
use crate::secrets::{Secret, SecretRef};

/// Answers some calls, and waits at others until it is cancelled.
#[derive(Debug, Default)]
struct Far {
    routing: Mutex<Routing>,
    cancelled: Mutex<u32>,
    kept: Mutex<Vec<(SecretRef, Secret<String>)>>,
    carried: Mutex<Option<Secret<Vec<u8>>>>,
}

#[async_trait]
impl Agent for Arc<Far> {
    fn fleet(&self) -> Arc<dyn Fleet> {
        Arc::clone(self) as Arc<dyn Fleet>
    }
    async fn begin(&self, settings: &HostSettings) -> Result<()> {
        match settings.listen.port() {
            80 => Ok(()),
            _ => Err(ProviderError::new(ErrorKind::Config, "not there")),
        }
    }
    async fn keep_values(
        &self,
        _: &OpCtx,
        _: ReleaseNumber,
        values: Vec<(SecretRef, Secret<String>)>,
    ) -> Result<()> {
        *self.kept.lock().unwrap() = values;
        Ok(())
    }

    async fn serve_by_tls(
        &self,
        _: &OpCtx,
        request: Option<CertificateRequest>,
    ) -> Result<Option<CertificateSeen>> {
        Ok(request.map(|request| CertificateSeen { asked: request.digest(), ..CertificateSeen::default() }))
    }

    async fn look_at_certificate(&self, _: &OpCtx) -> Result<Option<CertificateSeen>> {
        Ok(None)
    }

    async fn order_certificate(&self, _: &OpCtx) -> Result<Option<CertificateSeen>> {
        Err(ProviderError::new(ErrorKind::Unavailable, "it says no").with_code("VD0943"))
    }

    async fn give_certificate(&self, _: &OpCtx) -> Result<Secret<Vec<u8>>> {
        Ok(self.carried.lock().unwrap().clone().unwrap())
    }

    async fn take_certificate(&self, _: &OpCtx, carried: Secret<Vec<u8>>) -> Result<Option<CertificateSeen>> {
        *self.carried.lock().unwrap() = Some(carried);
        Ok(None)
    }

    /// Prints what it reads until that ends; waits for ever where it is told so.
    async fn exec(
        &self,
        cx: &OpCtx,
        words: &[String],
        mut input: Incoming,
        output: &Printed,
    ) -> Result<Exited> {
        let mut read = Vec::new();
        match words {
            [word] if word == "wait" => {
                cx.cancellation.cancelled().await;
                *self.cancelled.lock().unwrap() += 1;
                return Err(ProviderError::new(ErrorKind::Cancelled, "stopped"));
            }
            [word] if word == "leave" => return Ok(Exited { status: 3, words: "enough".to_owned() }),
            _ => {
                let mut block = vec![0; 1000];
                while let Ok(count @ 1..) = input.read(&mut block).await {
                    read.extend_from_slice(&block[..count]);
                    output.print(block[..count].to_vec()).await;
                }
            }
        }
        Ok(Exited { status: 0, words: format!("{} {}", words.join(" "), read.len()) })
    }

    async fn kept_values(
        &self,
        _: &OpCtx,
        release: ReleaseNumber,
    ) -> Result<Vec<(SecretRef, Secret<String>)>> {
        match release {
            ReleaseNumber(2) => Ok(self.kept.lock().unwrap().clone()),
            _ => Err(ProviderError::new(ErrorKind::NotFound, "there is none")),
        }
    }
}

#[async_trait]
impl Fleet for Far {
    fn capabilities(&self) -> FleetCapabilities {
        FleetCapabilities { weights: true, ..FleetCapabilities::default() }
    }
    async fn source_digest(&self, _: &OpCtx, _: &BuildRequest) -> Result<Digest> {
        unreachable!()
    }
    async fn build(&self, _: &OpCtx, _: &BuildRequest) -> Result<Artefact> {
        unreachable!()
    }
    async fn stage(&self, _: &OpCtx, _: &Release) -> Result<()> {
        unreachable!()
    }
    async fn migrate(&self, _: &OpCtx, _: &Release) -> Result<MigrationReport> {
        unreachable!()
    }
    async fn start(&self, _: &OpCtx, _: &Release, _: &UnitId) -> Result<UnitObserved> {
        unreachable!()
    }
    async fn probe(&self, _: &OpCtx, _: &Release, _: &UnitId) -> Result<ProbeReport> {
        unreachable!()
    }
    async fn smoke(&self, _: &OpCtx, _: &Release, _: bool) -> Result<SmokeReport> {
        unreachable!()
    }
    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        cx.output.line(&format!("{} {}", cx.stack, cx.fence));
        Ok(std::mem::replace(&mut *self.routing.lock().unwrap(), routing.clone()))
    }
    async fn routing(&self, _: &OpCtx) -> Result<Routing> {
        Ok(self.routing.lock().unwrap().clone())
    }
    async fn drain(
        &self,
        cx: &OpCtx,
        _: ReleaseNumber,
        _: &BTreeSet<UnitId>,
        _: Duration,
    ) -> Result<DrainReport> {
        cx.cancellation.cancelled().await;
        *self.cancelled.lock().unwrap() += 1;
        Err(ProviderError::new(ErrorKind::Cancelled, "stopped"))
    }
    async fn samples(&self, _: &OpCtx, _: Option<Timestamp>) -> Result<Vec<Reading>> {
        Ok(vec![reading()])
    }
    async fn keep_watch(&self, _: &OpCtx) -> Result<()> {
        Ok(())
    }
    async fn stop(&self, _: &OpCtx, _: ReleaseNumber, _: &UnitId) -> Result<()> {
        Err(ProviderError::new(ErrorKind::Fenced, "newer")
            .with_code("VD0904")
            .with_help("again")
            .with_context("said", "words")
            .with_context("who knows", "more"))
    }
    async fn remove(&self, _: &OpCtx, _: ReleaseNumber) -> Result<()> {
        Ok(())
    }
    async fn revive(&self, _: &OpCtx) -> Result<()> {
        Ok(())
    }
    async fn list(&self, _: &OpCtx) -> Result<Vec<UnitObserved>> {
        Ok(Vec::new())
    }
    async fn staged(&self, _: &OpCtx) -> Result<Vec<Release>> {
        Ok(Vec::new())
    }
    async fn forget(&self, _: &OpCtx, _: bool) -> Result<()> {
        Ok(())
    }
    async fn urls(&self, _: &OpCtx) -> Result<Vec<String>> {
        Ok(vec!["http://a/".to_owned()])
    }
    async fn logs(&self, _: &OpCtx, _: &LogQuery) -> Result<LogPage> {
        Ok(LogPage::default())
    }
}

/// With numbers as keys.
fn reading() -> Reading {
    let latency = LatencyHistogram { sum_us: 5, steps: [(1663, 2)].into() };
    let counters = Counters { requests: 2, latency, ..Counters::default() };
    Reading { at: Timestamp::UNIX_EPOCH, releases: [(ReleaseNumber(2), counters)].into() }
}

fn context() -> OpCtx {
    let stack = StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() };
    OpCtx::new(stack, Uuid::nil(), 7, Instant::now() + Duration::from_secs(60), Cancellation::new())
}

struct Talk {
    far: Arc<Far>,
    fleet: Result<RemoteFleet>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn talk(port: u16) -> Talk {
    let far = Arc::new(Far::default());
    let (here, there) = tokio::io::duplex(64);
    let (reader, writer) = tokio::io::split(there);
    let serving = tokio::spawn(serve(Arc::new(Arc::clone(&far)), reader, writer));
    let (reader, writer) = tokio::io::split(here);
    let settings = HostSettings { listen: ([0, 0, 0, 0], port).into(), secure: None };
    let fleet = RemoteFleet::greet("web1", reader, writer, &settings).await;
    Talk { far, fleet, serving }
}

#[tokio::test]
async fn calls_and_their_answers_cross_whole_and_side_by_side() {
    let Talk { fleet, .. } = talk(80).await;
    let fleet = fleet.unwrap();
    assert!(fleet.capabilities().weights);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    let sink = crate::provider::OutputSink::new(move |line| heard.lock().unwrap().push(line.to_owned()));
    let cx = context().with_output(sink);
    let routing = Routing::all_to(ReleaseNumber(3));
    let nobody = BTreeSet::new();
    let waits = fleet.drain(&cx, ReleaseNumber(1), &nobody, Duration::ZERO);
    tokio::select! {
        _ = waits => panic!("it ends only when it is cancelled"),
        before = fleet.route(&cx, &routing) => assert_eq!(before.unwrap(), Routing::default()),
    }
    assert_eq!(fleet.routing(&cx).await.unwrap(), routing);
    assert_eq!(*lines.lock().unwrap(), ["shop/default 7"]);
    let error = fleet.stop(&cx, ReleaseNumber(1), &"api.0".parse().unwrap()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code(), error.help()),
        (ErrorKind::Fenced, Some("VD0904"), Some("again"))
    );
    assert_eq!(error.context(), [("said", "words".to_owned()), ("detail", "more".to_owned())]);
    assert_eq!(fleet.urls(&cx).await.unwrap(), ["http://a/"]);
    assert_eq!(fleet.samples(&cx, None).await.unwrap(), [reading()]);
}

#[tokio::test]
async fn values_follow_their_line_and_what_comes_after_is_understood() {
    let Talk { far, fleet, .. } = talk(80).await;
    let (fleet, cx) = (fleet.unwrap(), context());
    let reference = |path: &str| SecretRef {
        store: "file".to_owned(),
        path: path.to_owned(),
        version: 1,
        hash: "h".to_owned(),
    };
    let values = [("a", "line\n{\"cancel\":{\"id\":1}}"), ("b", ""), ("c", &"ü".repeat(5_000))]
        .map(|(path, value)| (reference(path), Secret::new(value.to_owned())));
    fleet.keep_values(&cx, ReleaseNumber(2), &values).await.unwrap();
    let kept: BTreeMap<String, String> = far
        .kept
        .lock()
        .unwrap()
        .iter()
        .map(|(reference, value)| (reference.path.clone(), value.expose().clone()))
        .collect();
    assert_eq!(kept.len(), 3);
    assert!(values.iter().all(|(reference, value)| kept[&reference.path] == *value.expose()));
    let back = fleet.kept_values(&cx, ReleaseNumber(2)).await.unwrap();
    assert_eq!(back.len(), values.len());
    assert!(back.iter().zip(&values).all(|(a, b)| a.0 == b.0 && a.1.expose() == b.1.expose()));
    let none = fleet.kept_values(&cx, ReleaseNumber(3)).await.unwrap_err();
    assert_eq!((none.kind(), none.message()), (ErrorKind::NotFound, "there is none"));
    assert_eq!(fleet.urls(&cx).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_servers_share_of_a_certificate_follows_its_line_both_ways() {
    let Talk { far, fleet, .. } = talk(80).await;
    let (fleet, cx) = (fleet.unwrap(), context());
    let carried: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    fleet.take_certificate(&cx, &Secret::new(carried.clone())).await.unwrap();
    assert_eq!(*far.carried.lock().unwrap().as_ref().unwrap().expose(), carried);
    let (given, urls) = tokio::join!(fleet.give_certificate(&cx), fleet.urls(&cx));
    assert_eq!((given.unwrap().expose(), urls.unwrap().len()), (&carried, 1));
    let request = CertificateRequest {
        names: BTreeSet::from(["a.test".to_owned()]),
        redirect: true,
        hsts_seconds: None,
        source: CertificateSource::Authority(None),
        turn: 0,
        turns: 2,
    };
    let seen = fleet.serve_by_tls(&cx, Some(request.clone())).await.unwrap().unwrap();
    assert_eq!(seen.asked, request.digest());
    assert_eq!(fleet.serve_by_tls(&cx, None).await.unwrap(), None);
    // The same, but for who signs where that is said anew.
    let named = CertificateAuthority { directory: "letsencrypt".to_owned(), contact: None, roots: None };
    let again = CertificateRequest { source: CertificateSource::Authority(Some(named)), ..request.clone() };
    assert_eq!(again.digest(), request.digest());
    assert_ne!(CertificateRequest { redirect: false, ..request.clone() }.digest(), request.digest());
    assert_eq!(fleet.order_certificate(&cx).await.unwrap_err().code(), Some("VD0943"));
}

#[tokio::test]
async fn a_program_there_reads_and_prints_beside_other_calls() {
    let Talk { fleet, .. } = talk(80).await;
    let (fleet, cx) = (fleet.unwrap(), context());
    let sent: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let Exec { mut input, mut output, exit } = fleet.exec(&cx, &["store", "send"]).await.unwrap();
    let write = async {
        input.write_all(&sent[..600_000]).await.unwrap();
        // What is asked meanwhile is answered meanwhile.
        assert_eq!(fleet.urls(&cx).await.unwrap().len(), 1);
        input.write_all(&sent[600_000..]).await.unwrap();
        drop(input);
    };
    let read = async {
        let mut printed = Vec::new();
        output.read_to_end(&mut printed).await.unwrap();
        printed
    };
    let ((), printed, exited) = tokio::join!(write, read, exit.wait());
    assert!(printed == sent);
    assert_eq!(exited.unwrap(), Exited { status: 0, words: "store send 1000000".to_owned() });
}

#[tokio::test]
async fn a_program_there_that_leaves_or_is_left_is_over() {
    let Talk { far, fleet, serving } = talk(80).await;
    let (fleet, cx) = (fleet.unwrap(), context());
    // It reads nothing of what is sent.
    let Exec { mut input, mut output, exit } = fleet.exec(&cx, &["leave"]).await.unwrap();
    let write = async {
        let _ = input.write_all(&vec![0; 1_000_000]).await;
    };
    let ((), exited) = tokio::join!(write, exit.wait());
    assert_eq!(exited.unwrap(), Exited { status: 3, words: "enough".to_owned() });
    assert_eq!(output.read(&mut [0]).await.unwrap(), 0);
    // Nobody waits for it any more.
    drop(fleet.exec(&cx, &["wait"]).await.unwrap());
    while *far.cancelled.lock().unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fleet.urls(&cx).await.unwrap().len(), 1);
    // The conversation breaks off: it may have done all of it.
    let Exec { exit, mut output, .. } = fleet.exec(&cx, &["wait"]).await.unwrap();
    serving.abort();
    assert_eq!(exit.wait().await.unwrap_err().kind(), ErrorKind::Ambiguous);
    assert_eq!(output.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(fleet.exec(&cx, &["wait"]).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_call_that_is_cancelled_ends_there_too() {
    let Talk { far, fleet, .. } = talk(80).await;
    let (fleet, cx) = (fleet.unwrap(), context());
    let cancellation = cx.cancellation.clone();
    let nobody = BTreeSet::new();
    let (drained, ()) = tokio::join!(fleet.drain(&cx, ReleaseNumber(1), &nobody, Duration::ZERO), async {
        tokio::task::yield_now().await;
        cancellation.cancel();
    });
    assert_eq!(drained.unwrap_err().kind(), ErrorKind::Cancelled);
    while *far.cancelled.lock().unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fleet.urls(&context()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_end_is_ambiguous_for_what_was_asked_and_certain_for_what_comes_later() {
    let Talk { fleet, serving, .. } = talk(80).await;
    let (fleet, cx) = (fleet.unwrap(), context());
    let nobody = BTreeSet::new();
    let (drained, ()) = tokio::join!(fleet.drain(&cx, ReleaseNumber(1), &nobody, Duration::ZERO), async {
        while fleet.asked() == 0 {
            tokio::task::yield_now().await;
        }
        serving.abort();
    });
    assert_eq!(drained.unwrap_err().kind(), ErrorKind::Ambiguous);
    assert!(!fleet.is_alive());
    assert_eq!(fleet.urls(&cx).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn who_leaves_cancels_what_it_asked_for() {
    let Talk { far, fleet, serving } = talk(80).await;
    let (fleet, cx) = (fleet.unwrap(), context());
    let nobody = BTreeSet::new();
    tokio::select! {
        _ = fleet.drain(&cx, ReleaseNumber(1), &nobody, Duration::ZERO) => unreachable!(),
        // Answered after it, so that one had arrived.
        urls = fleet.urls(&cx) => assert!(urls.is_ok()),
    }
    drop(fleet);
    serving.await.unwrap().unwrap();
    assert_eq!(*far.cancelled.lock().unwrap(), 1);
}

/// A conversation line by line: what a server answers to these, without their ends.
async fn said(lines: &[&str]) -> (Arc<Far>, String) {
    let far = Arc::new(Far::default());
    let (here, mut there) = tokio::io::duplex(64 * 1024);
    let text = lines.iter().flat_map(|line| [line, "\n"]).collect::<String>();
    serve(Arc::new(Arc::clone(&far)), text.as_bytes(), here).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut there, &mut answer).await.unwrap();
    (far, answer)
}

#[tokio::test]
async fn when_traffic_goes_back_is_said_by_no_clock() {
    // Its own clock is an hour late, or early: what counts is how long from now.
    let hello = "{\"hello\":{\"protocol\":1,\"settings\":{\"listen\":\"0.0.0.0:80\"}}}";
    let nil = Uuid::nil();
    for at in ["2000-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        let call = format!(
            "{{\"call\":{{\"id\":1,\"context\":{{\"stack\":{{\"app\":\"shop\",\"environment\":\"default\"}},\"fence\":1,\"owner\":\"{nil}\",\"incarnation\":\"{nil}\",\"left_ms\":9000}},\"call\":{{\"route\":{{\"routing\":{{\"weights\":{{\"2\":100}},\"revert_at\":\"{at}\"}},\"revert_after_ms\":30000}}}}}}}}"
        );
        let before = Timestamp::now();
        let (far, answer) = said(&[hello, &call]).await;
        let left = far.routing.lock().unwrap().revert_at.expect(&answer).duration_since(before);
        assert!((30..60).contains(&left.as_secs()), "{left:?}");
    }
}

#[tokio::test]
async fn how_long_until_traffic_goes_back_crosses() {
    let Talk { far, fleet, .. } = talk(80).await;
    let mut routing = Routing::all_to(ReleaseNumber(3));
    let at = Timestamp::now().checked_add(Duration::from_secs(30)).unwrap();
    routing.revert_at = Some(at);
    fleet.unwrap().route(&context(), &routing).await.unwrap();
    let there = far.routing.lock().unwrap().revert_at.unwrap();
    assert_ne!(there, at, "it is the other's own clock");
    assert!(there.duration_since(at).abs() < Duration::from_secs(10).try_into().unwrap(), "{there}");
}

#[tokio::test]
async fn who_speaks_another_version_is_told_which_program_to_run() {
    for (protocol, next) in [(0, "or newer"), (9, "deploy an app")] {
        let hello =
            format!("{{\"hello\":{{\"protocol\":{protocol},\"settings\":{{\"listen\":\"0.0.0.0:80\"}}}}}}");
        let (_, answer) = said(&[&hello]).await;
        assert!(answer.contains("refused") && answer.contains(next), "{answer}");
    }
}

#[test]
fn versions_are_compared_as_they_are_meant() {
    let program = |version: &str| ProgramSeen { version: version.to_owned(), protocol: PROTOCOL };
    let order =
        ["0.1.0-alpha.2", "0.1.0-alpha.10", "0.1.0-beta", "0.1.0", "0.1.1", "0.2.0", "0.10.0", "1.0.0"];
    for (at, version) in order.iter().enumerate() {
        for (other_at, other) in order.iter().enumerate() {
            assert_eq!(program(version).is_newer_than(&program(other)), at > other_at, "{version} {other}");
        }
    }
    assert!(!program("0.1.0+build").is_newer_than(&program("0.1.0")));
    assert!(!program("what").is_newer_than(&program("0.1.0")));
}

#[tokio::test]
async fn a_server_that_cannot_work_says_why() {
    let error = talk(81).await.fleet.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "not there"));
}

#[tokio::test]
async fn what_is_no_conversation_is_refused() {
    for text in ["", "x\n", "{\"cancel\":{\"id\":1}}\n", "{\"hello\""] {
        let far = Arc::new(Far::default());
        let answer = serve(Arc::new(far), text.as_bytes(), tokio::io::sink()).await;
        assert_eq!(answer.is_ok(), text.is_empty(), "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_for_too_long_is_gone_and_who_waits_is_not_silent() {
    let Talk { far, fleet, serving } = talk(80).await;
    let (fleet, mut cx) = (fleet.unwrap(), context());
    cx.deadline = Instant::now() + Duration::from_secs(3600);
    let nobody = BTreeSet::new();
    tokio::select! {
        _ = fleet.drain(&cx, ReleaseNumber(1), &nobody, Duration::ZERO) => unreachable!(),
        () = tokio::time::sleep(Duration::from_secs(300)) => {}
    }
    assert!(fleet.is_alive());
    assert_eq!(*far.cancelled.lock().unwrap(), 0);
    drop(fleet);
    serving.await.unwrap().unwrap();

    let (here, there) = tokio::io::duplex(1024);
    let (reader, writer) = tokio::io::split(there);
    let serving = tokio::spawn(serve(Arc::new(Arc::new(Far::default())), reader, writer));
    let (_kept, mut writer) = tokio::io::split(here);
    let hello = "{\"hello\":{\"protocol\":1,\"settings\":{\"listen\":\"0.0.0.0:80\"}}}\n";
    tokio::io::AsyncWriteExt::write_all(&mut writer, hello.as_bytes()).await.unwrap();
    let ended = serving.await.unwrap().unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::TimedOut);
}
