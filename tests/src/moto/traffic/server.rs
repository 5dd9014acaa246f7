//! A server on loopback, for one request a connection.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Serves one request a connection until it is stopped.
pub(in crate::moto) fn serve(
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let Ok(mut stream) = stream else { continue };
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                if let Ok(request) = head(&mut stream) {
                    // Who asks may be gone.
                    let _ = stream.write_all(&answer(&request));
                }
            });
        }
    });
}

fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    while !all.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut some)? {
            0 => break,
            count => all.extend_from_slice(&some[..count]),
        }
    }
    Ok(all)
}

pub(in crate::moto) fn answer(status: u16, container: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: text/plain\r\nx-container: {container}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
