use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Nothing that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A moto of our own on a free port. What is in it is gone with it.
#[derive(Debug)]
pub(crate) struct Emulator {
    pub(crate) address: SocketAddr,
    server: Mutex<Child>,
}

impl Emulator {
    pub(crate) fn start() -> Result<Self, String> {
        let folder = std::env::var("VROOLI_DEPLOY_MOTO").map_err(|_| "VROOLI_DEPLOY_MOTO is not set")?;
        let program = Path::new(&folder).join("moto_server");
        if !program.is_file() {
            return Err(format!("there is no {}", program.display()));
        }
        // Another program may take the port in between: then it is another port's turn.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
            let mut server = Command::new(&program)
                .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
                .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
                .env("MOTO_ACM_VALIDATION_WAIT", "1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let until = Instant::now() + PATIENCE;
            while server.try_wait().unwrap().is_none() {
                if asked(address, "GET", "/moto-api/data.json").is_ok_and(|said| said.contains(" 200 ")) {
                    return Ok(Self { address, server: Mutex::new(server) });
                }
                assert!(Instant::now() < until, "moto does not answer");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        panic!("moto does not start");
    }

    pub(crate) fn stop(&self) {
        let mut server = self.server.lock().unwrap();
        let _ = server.kill();
        let _ = server.wait();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}

fn asked(address: SocketAddr, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}
