//! Keeps wheels and spins in `../data`, which outlives releases. Started in `api/`.

use std::process::ExitCode;

use picker_wheel::storage::Storage;
use picker_wheel::{api, environment, http};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("picker-wheel-api: {message}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), String> {
    environment::require_lifecycle()?;
    let port = environment::port("API_PORT")?;
    let storage =
        Storage::open("../data").map_err(|problem| format!("cannot use ../data: {problem}"))?;
    http::run(http::serve("picker-wheel-api", port, move |request| {
        api::answer(storage.clone(), request)
    }))
}
