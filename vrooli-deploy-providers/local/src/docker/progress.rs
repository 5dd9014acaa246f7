//! What an engine says while it builds. BuildKit sends its own records (`moby.buildkit.trace`:
//! `StatusResponse` of its control API, protocol buffers in base64), other builders plain text.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::Value;

/// Lines that are kept of each step, for an error.
const TAIL: usize = 40;

/// One line of a build's answer.
#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    aux: Option<Value>,
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    begun: bool,
    told: bool,
    /// The end of a line that has not come yet.
    open: Vec<u8>,
    tail: VecDeque<String>,
}

/// How far a build is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    steps: BTreeMap<String, Step>,
    /// What plain text was about last.
    last: String,
    /// The step that failed, if it was told.
    failed_step: Option<String>,
    /// Why it failed.
    pub(super) error: Option<String>,
}

impl Progress {
    /// Takes a line of the answer; what there is to say is given to `say`.
    pub(super) fn take(&mut self, line: &[u8], say: &mut dyn FnMut(&str)) {
        let line: Line = serde_json::from_slice(line).unwrap_or_default();
        if let Some(text) = &line.stream {
            self.plain(text, say);
        }
        if line.id.as_deref() == Some("moby.buildkit.trace")
            && let Some(text) = line.aux.as_ref().and_then(Value::as_str)
            && let Some(bytes) = base64_decoded(text)
        {
            self.status(&bytes, say);
        }
        if line.error.is_some() {
            self.error = line.error;
        }
    }

    /// The step that failed and its last lines.
    pub(super) fn failed(&self) -> (Option<&str>, Vec<String>) {
        let id = self.failed_step.as_deref().unwrap_or(&self.last);
        match self.steps.get(id) {
            Some(step) => (Some(step.name.as_str()), step.tail.iter().cloned().collect()),
            None => (None, Vec::new()),
        }
    }

    fn plain(&mut self, text: &str, say: &mut dyn FnMut(&str)) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            say(line);
            if line.starts_with("Step ") || line.starts_with("STEP ") {
                let name = line.split_once(':').map_or(line, |(_, name)| name).trim();
                line.clone_into(&mut self.last);
                self.steps.insert(line.to_owned(), Step { name: name.to_owned(), ..Step::default() });
            } else if let Some(step) = self.steps.get_mut(&self.last) {
                keep(&mut step.tail, line);
            }
        }
    }

    /// `StatusResponse`: 1 vertexes, 3 logs.
    fn status(&mut self, bytes: &[u8], say: &mut dyn FnMut(&str)) {
        for (field, value) in Fields(bytes) {
            match field {
                1 => self.vertex(value, say),
                3 => self.log(value, say),
                _ => {}
            }
        }
    }

    /// `Vertex`: 1 digest, 3 name, 4 cached, 5 started, 7 error.
    fn vertex(&mut self, bytes: &[u8], say: &mut dyn FnMut(&str)) {
        let (mut id, mut name, mut cached, mut begun, mut failed) = (None, None, false, false, false);
        for (field, value) in Fields(bytes) {
            match field {
                1 => id = text(value),
                3 => name = text(value),
                4 => cached = value.first().is_some_and(|byte| *byte != 0),
                5 => begun = true,
                7 => failed = !value.is_empty(),
                _ => {}
            }
        }
        let Some(id) = id else { return };
        let step = self.steps.entry(id.clone()).or_default();
        if let Some(name) = name {
            step.name = name;
        }
        step.begun |= begun;
        // What the builder does for itself is nobody's step.
        if step.begun && !step.told && !step.name.starts_with("[internal]") {
            step.told = true;
            say(&format!("== {}{}", step.name, if cached { " (done before)" } else { "" }));
        }
        if failed {
            self.failed_step = Some(id);
        }
    }

    /// `VertexLog`: 1 vertex, 4 bytes.
    fn log(&mut self, bytes: &[u8], say: &mut dyn FnMut(&str)) {
        let (mut id, mut said) = (None, &[][..]);
        for (field, value) in Fields(bytes) {
            match field {
                1 => id = text(value),
                4 => said = value,
                _ => {}
            }
        }
        let Some(id) = id else { return };
        let step = self.steps.entry(id).or_default();
        step.open.extend_from_slice(said);
        while let Some(end) = step.open.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = step.open.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            // What a bar writes over is not shown.
            let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
            say(line);
            keep(&mut step.tail, line);
        }
    }
}

fn keep(tail: &mut VecDeque<String>, line: &str) {
    if tail.len() == TAIL {
        tail.pop_front();
    }
    tail.push_back(line.to_owned());
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn base64_decoded(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// The fields of a message of protocol buffers; a number as the bytes that it is written in.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, length) = number(self.0)?;
        let rest = self.0.get(length..)?;
        let (skip, size) = match key & 7 {
            0 => (0, number(rest)?.1),
            1 => (0, 8),
            5 => (0, 4),
            2 => {
                let (size, length) = number(rest)?;
                (length, usize::try_from(size).ok()?)
            }
            _ => return None,
        };
        let end = skip.checked_add(size)?;
        let value = rest.get(skip..end)?;
        self.0 = rest.get(end..)?;
        Some((key >> 3, value))
    }
}

/// A number and how many bytes it takes.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(at * 7).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Docker 20.10 answered to a Dockerfile whose last step was `RUN echo bad && exit 3`.
    const ANSWER: &str = include_str!("testdata/failed-build.jsonl");

    #[test]
    fn a_failed_step_is_named_with_its_lines() {
        let mut progress = Progress::default();
        let mut said = Vec::new();
        for line in ANSWER.lines() {
            progress.take(line.as_bytes(), &mut |line| said.push(line.to_owned()));
        }
        assert!(said.contains(&"hello-log".to_owned()), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("== [2/3] RUN echo hi")), "{said:?}");
        let (step, lines) = progress.failed();
        assert_eq!((step, lines), (Some("[3/3] RUN echo bad && exit 3"), vec!["bad".to_owned()]));
        assert!(progress.error.unwrap().ends_with("exit code: 3"));
    }

    #[test]
    fn plain_text_is_understood_too() {
        let mut progress = Progress::default();
        let lines = [
            r#"{"stream":"STEP 1/2: FROM x\n"}"#,
            r#"{"stream":"STEP 2/2: RUN make\n"}"#,
            r#"{"stream":"no rule\n"}"#,
            r#"{"error":"exit status 2"}"#,
            "no json",
        ];
        for line in lines {
            progress.take(line.as_bytes(), &mut |_| {});
        }
        assert_eq!(progress.failed(), (Some("RUN make"), vec!["no rule".to_owned()]));
        assert_eq!(progress.error.as_deref(), Some("exit status 2"));
    }

    #[test]
    fn what_is_no_message_ends_it() {
        for bytes in [&[0x0a, 0xff][..], &[0xff; 12], &[0x0a, 0x05, 1], &[0x0b]] {
            assert_eq!(Fields(bytes).count(), 0, "{bytes:?}");
        }
    }
}
