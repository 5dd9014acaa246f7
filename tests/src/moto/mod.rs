//! AWS as an emulator (moto) plays it: started, asked past every SDK, and put right where it differs.

pub mod caches;
pub mod census;
pub mod corrections;
pub mod machines;
pub mod tasks;
mod traffic;
pub mod wire;

use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names the folder that `moto_server` is in.
pub const FOLDER: &str = "VROOLI_DEPLOY_MOTO";
/// What is played in its own process, where it knows less than AWS.
const PLAYED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/moto");

/// Nothing that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Another program may take a free port before the emulator does: so many ports are tried.
const PORTS: u32 = 5;

/// A moto of our own on a free port. What is in it is gone with it.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    server: Mutex<Child>,
}

impl Emulator {
    /// Starts one and waits until it answers. Certificates are issued a second after they were asked for.
    ///
    /// # Errors
    /// Says why there is none: `VROOLI_DEPLOY_MOTO` is not set or holds no `moto_server`, or it does not
    /// start.
    pub fn start() -> Result<Self, String> {
        let folder = std::env::var(FOLDER).map_err(|_| format!("{FOLDER} is not set"))?;
        let program = Path::new(&folder).join("moto_server");
        if !program.is_file() {
            return Err(format!("there is no {}", program.display()));
        }
        // Without it an emulator would answer all the same, and know less than is asked of it.
        if !Path::new(PLAYED).is_dir() {
            return Err(format!("there is no {PLAYED}: this program was built from another checkout"));
        }
        for _ in 0..PORTS {
            if let Some(started) = Self::start_once(&program).map_err(|error| error.to_string())? {
                return Ok(started);
            }
        }
        Err("moto does not start".to_owned())
    }

    fn start_once(program: &Path) -> io::Result<Option<Self>> {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr())?;
        let server = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            .env("PYTHONPATH", PLAYED)
            .env("MOTO_ACM_VALIDATION_WAIT", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // It ends when this is dropped, whatever goes wrong.
        let started = Self { address, server: Mutex::new(server) };
        let until = Instant::now() + PATIENCE;
        while started.locked().try_wait()?.is_none() {
            let said = asked(address, "GET", "/moto-api/data.json", "", "");
            if said.is_ok_and(|said| said.contains(" 200 ")) {
                return Ok(Some(started));
            }
            if Instant::now() >= until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "moto does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(None)
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, and all that is in it.
    pub fn stop(&self) {
        let mut server = self.locked();
        // One that has ended is as good.
        let _ = server.kill();
        let _ = server.wait();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A call of EC2 by another hand than ours: a form, `Action=…`, without its version.
///
/// # Errors
/// When the emulator cannot be asked.
pub fn ec2(address: SocketAddr, form: &str) -> io::Result<String> {
    query(address, "ec2", &format!("{form}&Version=2016-11-15"))
}

/// A call of a service that takes forms.
///
/// # Errors
/// When the emulator cannot be asked.
pub fn query(address: SocketAddr, service: &str, form: &str) -> io::Result<String> {
    signed(address, ("POST", "/"), service, "content-type: application/x-www-form-urlencoded\r\n", form)
}

/// A call of a service that takes JSON. The target is as `SecretsManager.ListSecrets`.
///
/// # Errors
/// When the emulator cannot be asked.
pub fn json(address: SocketAddr, service: &str, target: &str, body: &str) -> io::Result<String> {
    let headers = format!("content-type: application/x-amz-json-1.1\r\nx-amz-target: {target}\r\n");
    signed(address, ("POST", "/"), service, &headers, body)
}

/// What a service answers that takes JSON, without its head; null where it says nothing.
///
/// # Errors
/// When the emulator cannot be asked, or answers something else.
pub fn told(address: SocketAddr, service: &str, target: &str, form: &Value) -> io::Result<Value> {
    let said = json(address, service, target, &form.to_string())?;
    match said.split_once("\r\n\r\n") {
        Some((_, "")) | None => Ok(Value::Null),
        Some((_, body)) => Ok(serde_json::from_str(body)?),
    }
}

/// What a path of a service gives: `GET /2013-04-01/hostedzone`.
///
/// # Errors
/// When the emulator cannot be asked.
pub fn get(address: SocketAddr, service: &str, path: &str) -> io::Result<String> {
    signed(address, ("GET", path), service, "", "")
}

/// The emulator reads of a signature which service is meant.
fn signed(
    address: SocketAddr,
    (method, path): (&str, &str),
    service: &str,
    headers: &str,
    body: &str,
) -> io::Result<String> {
    let headers = format!(
        "{headers}authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/{service}/\
         aws4_request, SignedHeaders=host, Signature=0\r\n"
    );
    asked(address, method, path, &headers, body)
}

/// What stands in all elements of a name.
#[must_use]
pub fn elements(said: &str, name: &str) -> Vec<String> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    said.split(&start).skip(1).filter_map(|rest| Some(rest.split_once(&end)?.0.to_owned())).collect()
}

/// One request, as it is on the wire; the whole answer, its head included.
///
/// # Errors
/// When the connection fails or nothing comes for two minutes.
pub fn asked(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n{headers}\
         connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
