//! The proxies: each with an access log, keep-alive to the backend, and two cores.

use std::io::BufRead as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) mod edge;

use super::backend::Running;

pub(crate) struct Proxy {
    pub(crate) name: String,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    process: Running,
}

pub(crate) struct Certificate {
    /// The certificate alone.
    pub(crate) certificate_file: PathBuf,
    key_file: PathBuf,
    /// Both in one.
    pem_file: PathBuf,
}

pub(crate) fn certificate(folder: &Path) -> std::io::Result<Certificate> {
    let made =
        rcgen::generate_simple_self_signed(vec!["bench.test".to_owned()]).map_err(std::io::Error::other)?;
    let certificates = folder.join("certificates");
    std::fs::create_dir_all(&certificates)?;
    let one = Certificate {
        certificate_file: folder.join("bench.crt"),
        key_file: folder.join("bench.key"),
        pem_file: certificates.join("default.pem"),
    };
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(&one.certificate_file, &certificate)?;
    std::fs::write(&one.key_file, &key)?;
    std::fs::write(&one.pem_file, format!("{certificate}{key}"))?;
    Ok(one)
}

pub(crate) fn first_line(child: &mut Child) -> std::io::Result<String> {
    let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no stdout"))?;
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn free() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

pub(crate) fn start_all(
    folder: &Path,
    backend: SocketAddr,
    certificate: &Certificate,
) -> std::io::Result<Vec<Proxy>> {
    let mut all = vec![edge::start(folder, backend, true)?, edge::start(folder, backend, false)?];
    for (name, start) in [
        ("haproxy", haproxy as fn(&Path, SocketAddr, &Certificate) -> std::io::Result<Proxy>),
        ("nginx", nginx),
        ("caddy", caddy),
    ] {
        if Command::new("sh").args(["-c", &format!("command -v {name} >/dev/null")]).status()?.success() {
            all.push(start(folder, backend, certificate)?);
        } else {
            println!("skipped: {name} is not installed");
        }
    }
    println!("skipped: kamal-proxy, whose module the Go proxy does not give\n");
    Ok(all)
}

fn version(program: &str, argument: &str, find: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|one| [one.stdout, one.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let after = text.split(find).nth(1).unwrap_or("").trim_start();
    after.split([' ', '\n', '-']).next().unwrap_or("").to_owned()
}

fn launch(
    name: String,
    command: &mut Command,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
) -> std::io::Result<Proxy> {
    let process = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let started = Instant::now();
    while TcpStream::connect(plain).is_err() {
        if started.elapsed() > Duration::from_secs(10) {
            return Err(std::io::Error::other(format!("{name} does not listen")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Proxy { name, plain, tls, process })
}

fn haproxy(folder: &Path, backend: SocketAddr, certificate: &Certificate) -> std::io::Result<Proxy> {
    let (plain, tls) = (free()?, free()?);
    let file = folder.join("haproxy.cfg");
    // It logs to a socket only; whatever reads that is not counted.
    let log = folder.join("haproxy-log.sock");
    let drain = std::os::unix::net::UnixDatagram::bind(&log)?;
    std::thread::spawn(move || {
        let mut line = [0; 2_048];
        while drain.recv(&mut line).is_ok() {}
    });
    std::fs::write(
        &file,
        format!(
            "global\n  no strict-limits\n  maxconn 11000\n  nbthread 2\n  log {} local0\ndefaults\n  mode http\n  log global\n  option httplog\n  \
             option http-keep-alive\n  http-reuse always\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
             timeout http-keep-alive 60s\nfrontend f\n  bind {plain}\n  bind {tls} ssl crt {} alpn h2,http/1.1\n  \
             default_backend b\nbackend b\n  option forwardfor\n  server s {backend}\n",
            log.display(),
            certificate.pem_file.display()
        ),
    )?;
    let name = format!("HAProxy {}", version("haproxy", "-v", "version"));
    launch(name, Command::new("haproxy").arg("-f").arg(&file).arg("-db"), plain, Some(tls))
}

fn nginx(folder: &Path, backend: SocketAddr, certificate: &Certificate) -> std::io::Result<Proxy> {
    let (plain, tls) = (free()?, free()?);
    let file = folder.join("nginx.conf");
    let at = folder.display();
    std::fs::write(
        &file,
        format!(
            "worker_processes 2; worker_rlimit_nofile 65536; daemon off; pid {at}/nginx.pid; error_log {at}/nginx-error.log;\n\
             events {{ worker_connections 30000; }}\nhttp {{ access_log {at}/nginx.log combined buffer=32k flush=250ms; keepalive_requests 1000000000;\n\
             client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
             upstream b {{ server {backend}; keepalive 1024; keepalive_requests 1000000000; }}\n\
             server {{ listen {plain}; listen {tls} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
             location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; \
             proxy_set_header X-Forwarded-For $remote_addr; proxy_max_temp_file_size 0; }} }} }}\n",
            certificate.certificate_file.display(),
            certificate.key_file.display()
        ),
    )?;
    let name = format!("nginx {}", version("nginx", "-v", "nginx/"));
    launch(name, Command::new("nginx").arg("-p").arg(folder).arg("-c").arg(&file), plain, Some(tls))
}

fn caddy(folder: &Path, backend: SocketAddr, certificate: &Certificate) -> std::io::Result<Proxy> {
    let (plain, tls) = (free()?, free()?);
    let file = folder.join("Caddyfile");
    let log = format!("log {{\n output file {}/caddy.log\n }}", folder.display());
    std::fs::write(
        &file,
        format!(
            "{{\n admin off\n auto_https off\n persist_config off\n}}\nhttp://:{} {{\n bind 127.0.0.1\n {log}\n reverse_proxy {backend} {{\n \
             transport http {{\n keepalive_idle_conns_per_host 1024\n }}\n }}\n}}\nhttps://bench.test:{} {{\n bind 127.0.0.1\n tls {} {}\n {log}\n reverse_proxy {backend} {{\n \
             transport http {{\n keepalive_idle_conns_per_host 1024\n }}\n }}\n}}\n",
            plain.port(),
            tls.port(),
            certificate.certificate_file.display(),
            certificate.key_file.display()
        ),
    )?;
    let name = format!("Caddy {}", version("caddy", "version", "v"));
    let mut command = Command::new("caddy");
    command.env("HOME", folder).env("GOMAXPROCS", "2");
    launch(name, command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file), plain, Some(tls))
}

impl Proxy {
    /// The proxy's process and its descendants.
    fn processes(&self) -> Vec<u32> {
        let mut all = vec![self.process.0.id()];
        let mut at = 0;
        while at < all.len() {
            let children = format!("/proc/{0}/task/{0}/children", all[at]);
            let text = std::fs::read_to_string(children).unwrap_or_default();
            all.extend(text.split_whitespace().filter_map(|one| one.parse::<u32>().ok()));
            at += 1;
        }
        all
    }

    /// Processor time of user and kernel so far.
    pub(crate) fn processor_seconds(&self) -> f64 {
        // Fields 14 and 15 of /proc/PID/stat, in hundredths of a second on Linux.
        let of = |process: u32| -> Option<f64> {
            let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
            Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / 100.0)
        };
        self.processes().into_iter().filter_map(of).sum()
    }

    /// Resident memory; what several processes share is counted once.
    pub(crate) fn resident_mb(&self) -> f64 {
        let of = |process: u32| -> Option<f64> {
            let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1_024.0)
        };
        self.processes().into_iter().filter_map(of).sum()
    }
}
