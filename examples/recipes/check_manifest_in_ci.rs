//! Check a scenario or a manifest in CI, with annotations on the lines that it is about.
//!
//! ```text
//! cargo run -p vrooli-deploy-examples --example check_manifest_in_ci [PATH…]
//! ```
//! Without a path it checks the example. Ends with 1 if anything is an error. In GitHub
//! Actions the lines that it prints become annotations; `format::sarif` and `format::json`
//! serve other hosts the same way.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use vrooli_deploy_core::diagnostics::{Severity, format};
use vrooli_deploy_core::manifest;
use vrooli_deploy_core::requirements::{self, DeriveOptions};

fn main() -> ExitCode {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        paths.push(concat!(env!("CARGO_MANIFEST_DIR"), "/picker-wheel").into());
    }
    let mut found = Vec::new();
    for path in paths {
        // Both halves look at different things: what is written, and what it would need.
        let checked = manifest::load(&path);
        found.extend(checked.diagnostics);
        if let Some(loaded) = checked.value {
            found.extend(
                requirements::derive_at(&loaded.manifest, &DeriveOptions::default(), &loaded.spans)
                    .diagnostics,
            );
        }
    }
    print!("{}", format::github(&found));
    ExitCode::from(u8::from(found.iter().any(|d| d.severity == Severity::Error)))
}
