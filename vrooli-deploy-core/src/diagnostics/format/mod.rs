//! Diagnostics as text for machines. Pure: what a terminal shows is the frontend's.

mod github;
mod json;
mod sarif;

pub use github::github;
pub use json::json;
pub use sarif::sarif;

use super::{Diagnostic, Span};

/// The path of a span with `/` on every system, as all three formats want it.
fn uri(span: &Span) -> String {
    span.file.components().fold(String::new(), |mut path, part| {
        match part {
            std::path::Component::RootDir => path.push('/'),
            other => {
                if !path.is_empty() && !path.ends_with('/') {
                    path.push('/');
                }
                path.push_str(&other.as_os_str().to_string_lossy());
            }
        }
        path
    })
}

/// The message, and the help after it.
fn whole_text(diagnostic: &Diagnostic) -> String {
    match &diagnostic.help {
        Some(help) => format!("{}\nhelp: {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    }
}
