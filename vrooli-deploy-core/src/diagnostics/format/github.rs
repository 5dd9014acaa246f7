use std::fmt::Write as _;

use super::{uri, whole_text};
use crate::diagnostics::{Diagnostic, Severity};

/// Workflow commands that GitHub Actions turns into annotations of the changed files.
#[must_use]
pub fn github(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let command = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let mut properties = Vec::new();
        if let Some(label) = diagnostic.labels.first() {
            properties.push(format!("file={}", property(&uri(&label.span))));
            properties.push(format!("line={}", label.span.line));
            properties.push(format!("col={}", label.span.column));
        }
        properties.push(format!("title={}", diagnostic.code));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "::{command} {}::{}", properties.join(","), escaped(&whole_text(diagnostic)));
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use crate::diagnostics::{Span, rules};

    #[test]
    fn a_message_cannot_break_out_of_its_line() {
        let span = Span { file: "a,b/c.json".into(), offset: 3, length: 1, line: 2, column: 4 };
        let text = super::github(&[rules::UNKNOWN_KEY
            .diagnostic("100% wrong\n::error::x")
            .at(Some(span), "")
            .help("see it")]);
        assert_eq!(
            text,
            "::warning file=a%2Cb/c.json,line=2,col=4,title=VD0201::100%25 wrong%0A::error::x%0Ahelp: see it\n"
        );
    }
}
