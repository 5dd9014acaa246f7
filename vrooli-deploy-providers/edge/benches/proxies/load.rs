//! Closed-loop clients: each sends a request, reads the whole answer, and sends the next. One
//! thread, a process of its own, so that its processor time is not the proxy's.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

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

pub(crate) fn in_a_child(load: &Load) -> std::io::Result<Done> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().expect("its stdin").write_all(&serde_json::to_vec(load)?)?;
    let output = child.wait_with_output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub(crate) fn run_as_child() -> ExitCode {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).expect("what to do");
    let load: Load = serde_json::from_slice(&text).expect("what to do");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = runtime.block_on(run(Arc::new(load)));
    println!("{}", serde_json::to_string(&done).expect("figures"));
    ExitCode::SUCCESS
}

async fn run(load: Arc<Load>) -> Done {
    let started = Instant::now();
    let end = started + Duration::from_millis(load.for_ms);
    let clients: Vec<_> = (0..load.connections).map(|_| tokio::spawn(client(load.clone(), end))).collect();
    let mut all: Vec<u32> = Vec::new();
    let mut failed = 0;
    for one in clients {
        let (latencies, failures) = one.await.expect("a client");
        all.extend(latencies);
        failed += failures;
    }
    let seconds = started.elapsed().as_secs_f64();
    all.sort_unstable();
    let at = |share: f64| all.get((all.len() as f64 * share) as usize).copied().unwrap_or(0).into();
    Done { requests: all.len() as u64, failed, seconds, p50_us: at(0.5), p99_us: at(0.99) }
}

async fn client(load: Arc<Load>, end: Instant) -> (Vec<u32>, u64) {
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let close = if load.one_shot { "Connection: close\r\n" } else { "" };
    let request = format!("GET {} HTTP/1.1\r\nHost: bench.test\r\n{close}\r\n", load.path);
    let tls = load.trusted.as_deref().map(connector);
    let mut buffer = vec![0; 64 << 10];
    'connect: while Instant::now() < end {
        let Ok(stream) = TcpStream::connect(load.address).await else {
            failed += 1;
            // Whoever refuses is not asked at full speed.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let mut stream: Box<dyn Both> = match &tls {
            None => Box::new(stream),
            Some(connect) => match connect(stream).await {
                Ok(stream) => stream,
                Err(_) => {
                    failed += 1;
                    continue;
                }
            },
        };
        while Instant::now() < end {
            let asked = Instant::now();
            let exchanged = exchange(&mut *stream, request.as_bytes(), &mut buffer, load.body_bytes);
            match tokio::time::timeout(PATIENCE, exchanged).await {
                Ok(Ok(())) => latencies.push(asked.elapsed().as_micros() as u32),
                Ok(Err(_)) | Err(_) => {
                    failed += 1;
                    continue 'connect;
                }
            }
            if load.one_shot {
                continue 'connect;
            }
        }
    }
    (latencies, failed)
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
