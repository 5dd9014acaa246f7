//! The apps that tests deploy: this binary again, with another first argument.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;

use vrooli_deploy_provider_local::layout::Layout;
use vrooli_deploy_provider_local::process::{Program, SupervisorClient};

const MARKER: &str = "__test-app";

/// The command of a service that runs one of the apps below.
pub(crate) fn command(arguments: &[&str]) -> Vec<String> {
    let me = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    [me.as_str(), MARKER].iter().chain(arguments).map(|a| (*a).to_owned()).collect()
}

pub(crate) fn run_if_app() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [MARKER, "http", answer] => serve(answer),
        [MARKER, "chatter"] => chatter(),
        [MARKER, "list", root] => list(root),
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

/// Answers every request with a word.
fn serve(answer: &str) {
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut seen = Vec::new();
        let mut part = [0; 1024];
        while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(read) => seen.extend_from_slice(&part[..read]),
            }
        }
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
            answer.len()
        );
    }
}

/// Writes lines without end, some thousand a second.
fn chatter() {
    for number in 0_u64.. {
        println!("line {number} of a log that has a lot to say and says it again and again");
        if number % 100 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// What a command of this program says: which processes run in a workspace.
fn list(root: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let layout = Layout::new(root);
    let units = runtime.block_on(async {
        let client = SupervisorClient::connect_or_spawn(&layout, Program::default()).await.unwrap();
        client.list(&crate::world::cx(1)).await.unwrap()
    });
    for unit in units {
        println!("{} {:?} {:?}", unit.unit, unit.state, unit.pid);
    }
}
