//! What stands behind every proxy: an app that costs as little as possible.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;

/// Ends the process with the program that started it.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn start() -> std::io::Result<(SocketAddr, Running)> {
    let mut child = Command::new(std::env::current_exe()?).arg("backend").stdout(Stdio::piped()).spawn()?;
    let address = super::peers::first_line(&mut child)?;
    Ok((address.parse().map_err(std::io::Error::other)?, Running(child)))
}

pub(crate) fn serve() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        let small = Bytes::from(vec![b'x'; 100]);
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let (large, small) = (large.clone(), small.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                    let body = if request.uri().path() == "/large" { large.clone() } else { small.clone() };
                    async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                });
                let _ = http1::Builder::new()
                    .header_read_timeout(None)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}
