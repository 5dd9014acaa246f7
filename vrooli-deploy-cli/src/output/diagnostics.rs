//! Diagnostics as people read them: what, where in their file, what to do.

use std::fmt;
use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use vrooli_deploy_core::diagnostics::{Diagnostic, Label, Severity};
use vrooli_deploy_core::manifest::yaml::SourceFile;

use super::style::{Paint, harmless};

/// Draws each diagnostic with the lines it is about.
pub(crate) fn diagnostics(paint: Paint, width: usize, diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|d| one(paint, width, d)).collect::<Vec<_>>().join("\n")
}

fn one(paint: Paint, width: usize, diagnostic: &Diagnostic) -> String {
    let (word, painted) = match diagnostic.severity {
        Severity::Error => ("error", Paint::red as fn(Paint, &str) -> String),
        Severity::Warning => ("warning", Paint::yellow as _),
        Severity::Info => ("note", Paint::cyan as _),
    };
    let mut text = format!(
        "{}: {}\n",
        painted(paint, &format!("{word}[{}]", diagnostic.code)),
        paint.bold(&harmless(&diagnostic.message))
    );
    let mut rest = diagnostic.labels.as_slice();
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|label| label.span.file == first.span.file).count();
        let (here, elsewhere) = rest.split_at(same);
        text.push_str(&snippet(paint, width, &first.span.file, here));
        rest = elsewhere;
    }
    if let Some(help) = &diagnostic.help {
        text.push_str(&format!("  {} {}\n", paint.cyan("help:"), harmless(help)));
    }
    text
}

fn snippet(paint: Paint, width: usize, file: &Path, labels: &[Label]) -> String {
    drawn(paint, width, file, labels).unwrap_or_else(|| {
        // The file cannot be read (any more): the places alone.
        labels.iter().map(|label| format!("  {} {}  {}\n", paint.dim("at"), label.span, label.text)).collect()
    })
}

fn drawn(paint: Paint, width: usize, file: &Path, labels: &[Label]) -> Option<String> {
    // What looks like a credential is never shown, also where it is what is wrong.
    let text = SourceFile::read(file).ok()?.masked();
    let fits = |label: &&Label| {
        label.span.offset.checked_add(label.span.length).is_some_and(|end| end <= text.len())
    };
    if labels.iter().filter(fits).count() != labels.len() {
        return None;
    }
    let places = Places {
        labels: labels
            .iter()
            .map(|l| {
                let text = (!l.text.is_empty()).then(|| l.text.clone());
                LabeledSpan::new(text, l.span.offset, l.span.length)
            })
            .collect(),
        source: NamedSource::new(file.display().to_string(), harmless_lines(&text)?),
    };
    let theme = if paint.0 { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut drawn = String::new();
    GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_links(false)
        .render_report(&mut drawn, &places)
        .ok()?;
    // Its first line is a message, which is ours to write.
    drawn.split_once('\n').map(|(_, snippet)| snippet.to_owned())
}

/// The source if a terminal can show it as it is: otherwise places would move.
fn harmless_lines(text: &str) -> Option<String> {
    let shown = text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    shown.then(|| text.to_owned())
}

#[derive(Debug)]
struct Places {
    labels: Vec<LabeledSpan>,
    source: NamedSource<String>,
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("-")
    }
}

impl std::error::Error for Places {}

impl miette::Diagnostic for Places {
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_core::diagnostics::{Code, Span};

    use super::*;

    #[test]
    fn the_line_is_shown_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.yaml");
        std::fs::write(&file, "app:\n  nmae: x\n").unwrap();
        let span = Span { file: file.clone(), offset: 7, length: 4, line: 2, column: 3 };
        let diagnostic = Diagnostic::new(Code(201), Severity::Warning, "unknown key `nmae`")
            .at(Some(span), "did you mean `name`?")
            .help("rename it");
        let text = diagnostics(Paint(false), 80, &[diagnostic]);
        assert!(text.starts_with("warning[VD0201]: unknown key `nmae`\n"), "{text}");
        assert!(
            text.contains("app.yaml:2:3]")
                && text.contains("nmae: x")
                && text.contains("did you mean `name`?"),
            "{text}"
        );
        assert!(text.ends_with("  help: rename it\n"), "{text}");
    }

    #[test]
    fn a_credential_is_not_shown_although_its_line_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.yaml");
        std::fs::write(&file, "env:\n  DB_PASSWORD: hunter22\n").unwrap();
        let span = Span { file, offset: 20, length: 8, line: 2, column: 16 };
        let diagnostic = Diagnostic::new(Code(214), Severity::Error, "m").at(Some(span), "here");
        let text = diagnostics(Paint(false), 80, &[diagnostic]);
        assert!(text.contains("DB_PASSWORD: $*******") && !text.contains("hunter22"), "{text}");
    }

    #[test]
    fn a_file_that_is_gone_still_has_a_place() {
        let span = Span { file: "gone.json".into(), offset: 9, length: 1, line: 3, column: 4 };
        let text = diagnostics(
            Paint(false),
            80,
            &[Diagnostic::new(Code(101), Severity::Error, "m").at(Some(span), "here")],
        );
        assert_eq!(text, "error[VD0101]: m\n  at gone.json:3:4  here\n");
    }
}
