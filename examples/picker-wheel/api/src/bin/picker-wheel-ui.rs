//! Serves the page from `dist` and passes `/api/*` on to the API. Started in `ui/`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use picker_wheel::ui::Site;
use picker_wheel::{environment, http};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("picker-wheel-ui: {message}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), String> {
    environment::require_lifecycle()?;
    let port = environment::port("UI_PORT")?;
    let api_port = environment::port("API_PORT")?;
    let site = Site::load(Path::new("dist"), api_port).map_err(|problem| {
        format!("cannot serve the folder `dist`, which the step `build-ui` makes: {problem}")
    })?;
    let site = Arc::new(site);
    http::run(http::serve("picker-wheel-ui", port, move |request| {
        let site = Arc::clone(&site);
        async move { site.answer(request).await }
    }))
}
