//! Closed-loop clients: each sends a request, reads the whole answer, and sends the next. One
//! thread, a process of its own, so that its processor time is not the proxy's.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) connections: usize,
    pub(crate) one_shot: bool,
    pub(crate) body_bytes: usize,
    pub(crate) trusted: Option<PathBuf>,
    pub(crate) for_ms: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// A process that is connected, and waits for the word to begin.
pub(crate) struct Ready {
    child: Child,
    lines: BufReader<ChildStdout>,
}

pub(crate) fn in_a_child(load: &Load) -> std::io::Result<Ready> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().expect("its stdout"));
    let mut ready = Ready { child, lines };
    ready.say(&serde_json::to_string(load)?)?;
    ready.hear()?;
    Ok(ready)
}

impl Ready {
    /// Sends the load and waits for what came of it.
    pub(crate) fn go(mut self) -> std::io::Result<Done> {
        self.say("go")?;
        let done = serde_json::from_str(&self.hear()?)?;
        self.child.wait()?;
        Ok(done)
    }

    fn say(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.child.stdin.as_mut().expect("its stdin"), "{line}")
    }

    fn hear(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line)
    }
}

pub(crate) fn run_as_child() -> ExitCode {
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).expect("what to do");
    let load: Load = serde_json::from_str(&text).expect("what to do");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = runtime.block_on(run(Arc::new(load)));
    println!("{}", serde_json::to_string(&done).expect("figures"));
    ExitCode::SUCCESS
}

async fn run(load: Arc<Load>) -> Done {
    let (start, started) = watch::channel(None);
    let mut clients = Vec::new();
    let (connected, mut all_connected) = mpsc::channel::<()>(1);
    for _ in 0..load.connections {
        clients.push(tokio::spawn(client(load.clone(), connected.clone(), started.clone())));
    }
    // Each client drops its own when it is connected: then nothing more can come.
    drop(connected);
    let _ = all_connected.recv().await;
    println!("ready");
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).expect("the word to begin");
    let begun = Instant::now();
    start.send_replace(Some(begun + Duration::from_millis(load.for_ms)));
    let mut all: Vec<u32> = Vec::new();
    let mut failed = 0;
    for one in clients {
        let (latencies, failures) = one.await.expect("a client");
        all.extend(latencies);
        failed += failures;
    }
    let seconds = begun.elapsed().as_secs_f64();
    all.sort_unstable();
    let at = |share: f64| all.get((all.len() as f64 * share) as usize).copied().unwrap_or(0).into();
    Done { requests: all.len() as u64, failed, seconds, p50_us: at(0.5), p99_us: at(0.99) }
}

/// One client: connected and with one answer taken before the start, so that handshakes are
/// not what is measured, unless each request has a connection of its own.
async fn client(
    load: Arc<Load>,
    connected: mpsc::Sender<()>,
    mut start: watch::Receiver<Option<Instant>>,
) -> (Vec<u32>, u64) {
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let close = if load.one_shot { "Connection: close\r\n" } else { "" };
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\n{close}\r\n");
    let (first, request) = (request("/small"), request(&load.path));
    let tls = load.trusted.as_deref().map(connector);
    let mut buffer = vec![0; 64 << 10];
    let mut open = None;
    while !load.one_shot && open.is_none() {
        let Ok(mut stream) = connect(&load, tls.as_ref()).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if exchange(&mut *stream, first.as_bytes(), &mut buffer, 100).await.is_ok() {
            open = Some(stream);
        }
    }
    drop(connected);
    let Ok(end) = start.wait_for(Option::is_some).await.map(|end| end.unwrap_or_else(Instant::now)) else {
        return (latencies, failed);
    };
    while Instant::now() < end {
        let asked = Instant::now();
        let exchanged = async {
            let mut stream = match open.take() {
                Some(stream) => stream,
                None => connect(&load, tls.as_ref()).await?,
            };
            exchange(&mut *stream, request.as_bytes(), &mut buffer, load.body_bytes).await?;
            std::io::Result::Ok(stream)
        };
        match tokio::time::timeout(PATIENCE, exchanged).await {
            Ok(Ok(stream)) => {
                latencies.push(asked.elapsed().as_micros() as u32);
                open = (!load.one_shot).then_some(stream);
            }
            Ok(Err(_)) | Err(_) => {
                failed += 1;
                // Whoever refuses is not asked at full speed.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    (latencies, failed)
}

async fn connect(
    load: &Load,
    tls: Option<&impl Fn(TcpStream) -> Connecting>,
) -> std::io::Result<Box<dyn Both>> {
    let stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(Box::new(stream)),
        Some(connect) => connect(stream).await,
    }
}

pub(crate) trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

async fn exchange(
    stream: &mut dyn Both,
    request: &[u8],
    buffer: &mut [u8],
    body: usize,
) -> std::io::Result<()> {
    stream.write_all(request).await?;
    let mut filled = 0;
    // The header, and what comes with it.
    let head = loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 200") {
        return Err(std::io::Error::other("not 200"));
    }
    let mut left = body.saturating_sub(filled - head);
    while left > 0 {
        let read = stream.read(buffer).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        left = left.saturating_sub(read);
    }
    Ok(())
}

type Connecting = std::pin::Pin<Box<dyn Future<Output = std::io::Result<Box<dyn Both>>> + Send>>;

#[cfg(feature = "tls")]
fn connector(trusted: &std::path::Path) -> impl Fn(TcpStream) -> Connecting + Send + Sync + use<> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(trusted).expect("the certificate");
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(&pem).expect("the certificate");
    roots.add(certificate).expect("the certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    move |stream| {
        let connector = connector.clone();
        Box::pin(async move {
            let name = rustls::pki_types::ServerName::try_from("bench.test").expect("a name");
            Ok(Box::new(connector.connect(name, stream).await?) as Box<dyn Both>)
        })
    }
}

#[cfg(not(feature = "tls"))]
fn connector(_: &std::path::Path) -> impl Fn(TcpStream) -> Connecting + Send + Sync + use<> {
    |_| Box::pin(async { Err(std::io::Error::other("built without the feature tls")) })
}

/// Opens connections, sends one request on each, and keeps them.
pub(crate) fn hold_idle(address: SocketAddr, count: usize) -> std::io::Result<Vec<StdStream>> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = StdStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ask_again(&stream)?;
        held.push(stream);
    }
    Ok(held)
}

/// One small request on a connection that is held.
pub(crate) fn ask_again(mut stream: &StdStream) -> std::io::Result<()> {
    let mut answer = [0; 4_096];
    stream.write_all(b"GET /small HTTP/1.1\r\nHost: bench.test\r\n\r\n")?;
    let mut filled = 0;
    // A header and a hundred bytes.
    while !answer[..filled].ends_with(&[b'x'; 100]) {
        let read = stream.read(&mut answer[filled..])?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
    }
    Ok(())
}
