use crate::diagnostics::Diagnostic;

/// One JSON object a line, in the order given, each line ended by a line break.
#[must_use]
pub fn json(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        // A diagnostic holds strings and numbers only: writing it cannot fail.
        if let Ok(line) = serde_json::to_string(diagnostic) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::diagnostics::{Diagnostic, rules};

    #[test]
    fn lines_read_back() {
        let one = rules::SYNTAX.diagnostic("a\nb").help("c");
        let two = rules::UNKNOWN_KEY.diagnostic("d");
        let text = super::json(&[one.clone(), two.clone()]);
        let back: Vec<Diagnostic> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, [one, two]);
    }
}
