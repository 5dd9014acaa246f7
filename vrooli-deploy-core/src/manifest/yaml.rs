//! Reading YAML and JSON with places. The one module that knows the YAML library.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use crate::diagnostics::{Checked, Diagnostic, Span, rules};

/// The largest file that is read, in bytes.
pub const MAX_FILE_SIZE: u64 = 4 * 1024 * 1024;

/// A text file that the user wrote. It may hold credentials that should not be there, so
/// `Debug` shows none of its text: see [`masked`](Self::masked).
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, as the user named it. Ends in `.json` for JSON; anything else is YAML.
    pub path: PathBuf,
    /// Its text, without a byte order mark.
    pub text: String,
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile").field("path", &self.path).field("bytes", &self.text.len()).finish()
    }
}

impl SourceFile {
    /// A file whose text is already known.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Self { path: path.into(), text }
    }

    /// Reads a file of at most [`MAX_FILE_SIZE`] bytes.
    ///
    /// # Errors
    /// `VD0103` when it cannot be read, is too large or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Box<Diagnostic>> {
        let unreadable = |cause: String| {
            Box::new(rules::UNREADABLE.diagnostic(format!("cannot read `{}`: {cause}", path.display())))
        };
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if !metadata.is_file() {
            return Err(unreadable("it is not a regular file".to_owned()));
        }
        if metadata.len() > MAX_FILE_SIZE {
            return Err(unreadable(format!(
                "it has {} bytes, and a manifest has at most {MAX_FILE_SIZE}",
                metadata.len()
            )));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            unreadable(format!("it is not UTF-8 (byte {place}); save it as UTF-8"))
        })?;
        Ok(Self::new(path, text))
    }

    /// The text as it may be shown beside a diagnostic: of the same length in bytes, with
    /// asterisks over everything that looks like a credential.
    #[must_use]
    pub fn masked(&self) -> String {
        super::redaction::mask(&self.text)
    }

    fn is_json(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
    }

    /// A span from 1-based line and column (in characters), where bytes are not known.
    fn span_at(&self, line: usize, column: usize) -> Span {
        let start: usize = self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = self.text.get(start..).unwrap_or_default();
        let within: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
        Span {
            file: self.path.clone(),
            offset: start + within,
            length: 0,
            line: line.max(1),
            column: column.max(1),
        }
    }

    fn span(&self, location: Location) -> Option<Span> {
        if location == Location::UNKNOWN {
            return None;
        }
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let (line, column) = (number(location.line()), number(location.column()));
        let mut span = match location.span().byte_offset() {
            Some(offset) => Span { file: self.path.clone(), offset: number(offset), length: 0, line, column },
            None => self.span_at(line, column),
        };
        span.length = number(location.span().byte_len().unwrap_or(0));
        span.offset = span.offset.min(self.text.len());
        span.length = span.length.min(self.text.len() - span.offset);
        Some(span)
    }
}

/// Where a value and its key stand in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The key; `None` for items of a list and for the root.
    pub key: Option<Span>,
    /// The value. For maps and lists its start.
    pub value: Option<Span>,
}

/// JSON pointer → place in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanIndex(HashMap<String, Place>);

impl SpanIndex {
    /// The place of exactly this pointer.
    #[must_use]
    pub fn place(&self, pointer: &str) -> Option<&Place> {
        self.0.get(pointer)
    }

    /// The key at the pointer, else its value, else the same of the nearest parent that is in the file.
    #[must_use]
    pub fn key(&self, pointer: &str) -> Option<Span> {
        self.nearest(pointer, |place| place.key.as_ref().or(place.value.as_ref()))
    }

    /// The value at the pointer, else its key, else the same of the nearest parent that is in the file.
    #[must_use]
    pub fn value(&self, pointer: &str) -> Option<Span> {
        self.nearest(pointer, |place| place.value.as_ref().or(place.key.as_ref()))
    }

    /// Takes out the places of a pointer and of everything under it, under the same pointers.
    pub(crate) fn take(&mut self, pointer: &str) -> Self {
        let under = |candidate: &str| {
            candidate.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let (taken, kept) = self.0.drain().partition(|(candidate, _)| under(candidate));
        self.0 = kept;
        Self(taken)
    }

    /// Copies the places of `from`, and of everything under it, to `at`. Where there are none,
    /// `at` has none from here on, rather than those of its parents.
    pub(crate) fn place_under(&mut self, at: &str, other: &Self, from: &str) {
        self.0.insert(at.to_owned(), Place { key: None, value: None });
        for (pointer, place) in &other.0 {
            if let Some(rest) = pointer.strip_prefix(from)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                self.0.insert(format!("{at}{rest}"), place.clone());
            }
        }
    }

    fn nearest(&self, mut pointer: &str, pick: impl Fn(&Place) -> Option<&Span>) -> Option<Span> {
        loop {
            match self.0.get(pointer) {
                // Made, not read: its parents are in a file that did not say it.
                Some(Place { key: None, value: None }) => return None,
                Some(place) if pick(place).is_some() => return pick(place).cloned(),
                _ => {}
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }
}

/// A parsed file. `Debug` shows no values, for the reason given at [`SourceFile`].
#[derive(Clone, PartialEq)]
pub struct Document {
    /// Its text.
    pub source: SourceFile,
    /// What it says.
    pub value: Value,
    /// Where it says it.
    pub spans: SpanIndex,
    /// Files that were laid over it: places may lie in them.
    pub overlays: Vec<SourceFile>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Document {
    /// Parses YAML or JSON. JSON (by the name of the file) is held to JSON's own rules.
    /// Duplicate keys are errors that name both places; a syntax error ends the parsing.
    pub fn parse(source: SourceFile) -> Checked<Self> {
        let strict = if source.is_json() {
            match serde_json::from_str::<Value>(&source.text) {
                Ok(value) => Some(value),
                Err(error) => {
                    let span = source.span_at(error.line(), error.column());
                    let message = error.to_string();
                    let message = message.split(" at line ").next().unwrap_or(&message);
                    return failed(
                        rules::SYNTAX.diagnostic(format!("not valid JSON: {message}")).at(Some(span), "here"),
                    );
                }
            }
        } else {
            None
        };
        let options = serde_saphyr::options! {
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::FirstWins,
            strict_booleans: true,
        };
        let tree = match serde_saphyr::from_str_with_options::<Spanned<Tree>>(&source.text, options) {
            Ok(tree) => tree,
            // Good JSON that the YAML parser's limits refuse (very deep, very long keys): no places.
            Err(_) if strict.is_some() => {
                let value = strict.unwrap_or_default();
                return Checked::ok(Self {
                    source,
                    value,
                    spans: SpanIndex::default(),
                    overlays: Vec::new(),
                });
            }
            Err(error) => {
                let span = error.location().and_then(|location| source.span(location));
                let message = error.without_snippet().to_string();
                let message = message.split(" at line ").next().unwrap_or(&message);
                return failed(
                    rules::SYNTAX.diagnostic(format!("not valid YAML: {}", message.trim())).at(span, "here"),
                );
            }
        };
        let mut index = HashMap::new();
        let root = Place { key: None, value: source.span(tree.referenced) };
        index.insert(String::new(), root);
        let value = tree.value.into_value(&source, "", &mut index);
        let diagnostics = duplicate_keys(&source);
        Checked {
            value: Some(Self {
                value: strict.unwrap_or(value),
                spans: SpanIndex(index),
                source,
                overlays: Vec::new(),
            }),
            diagnostics,
        }
    }

    /// The text at a place, in whichever file it lies.
    #[must_use]
    pub fn text(&self, span: &Span) -> Option<&str> {
        let mut files = std::iter::once(&self.source).chain(&self.overlays);
        let file = files.find(|file| file.path == span.file)?;
        file.text.get(span.offset..span.offset + span.length)
    }

    /// A document that was made, not read: it has no places.
    #[must_use]
    pub fn without_places(path: impl Into<PathBuf>, value: Value) -> Self {
        Self { source: SourceFile::new(path, ""), value, spans: SpanIndex::default(), overlays: Vec::new() }
    }
}

fn failed<T>(diagnostic: Diagnostic) -> Checked<T> {
    Checked { value: None, diagnostics: vec![diagnostic] }
}

/// Appends a key to a JSON pointer.
#[must_use]
pub fn child(pointer: &str, key: &str) -> String {
    let mut child = String::with_capacity(pointer.len() + key.len() + 1);
    child.push_str(pointer);
    child.push('/');
    child.push_str(&key.replace('~', "~0").replace('/', "~1"));
    child
}

/// Writes YAML.
///
/// # Errors
/// When the value cannot be written, e.g. a map with keys that are no strings.
pub(crate) fn write<T: serde::Serialize>(value: &T) -> Result<String, String> {
    write_with(value, true)
}

/// The same; lists under a key are indented unless they are `compact`.
pub(crate) fn write_with<T: serde::Serialize>(value: &T, compact: bool) -> Result<String, String> {
    let options = serde_saphyr::ser_options! {
        prefer_block_scalars: true,
        empty_as_braces: true,
        yaml_12: false,
        compact_list_indent: compact,
    };
    serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())
}

enum Tree {
    Leaf(Value),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl Tree {
    fn into_value(self, source: &SourceFile, pointer: &str, index: &mut HashMap<String, Place>) -> Value {
        match self {
            Tree::Leaf(value) => value,
            Tree::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (at, item) in items.into_iter().enumerate() {
                    let here = child(pointer, &at.to_string());
                    index.insert(here.clone(), Place { key: None, value: source.span(item.referenced) });
                    list.push(item.value.into_value(source, &here, index));
                }
                Value::Array(list)
            }
            Tree::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (key, item) in entries {
                    let here = child(pointer, &key.value);
                    let place =
                        Place { key: source.span(key.referenced), value: source.span(item.referenced) };
                    index.insert(here.clone(), place);
                    let value = item.value.into_value(source, &here, index);
                    map.insert(key.value, value);
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list, a text, a number, true, false or null")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Tree, E> {
        Err(E::custom(format!("the number {value} is too large")))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Tree, E> {
        Err(E::custom(format!("the number {value} is too large")))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        Number::from_f64(value)
            .map(|number| Tree::Leaf(Value::Number(number)))
            .ok_or_else(|| E::custom("infinity and not-a-number have no meaning here"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::String(value.to_owned())))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::String(value)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Tree, D::Error> {
        Tree::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}

/// Keys that stand twice in one map, with both places. The deserializer names only the
/// first of them and only its second place, so they are looked for in the parser's events.
fn duplicate_keys(source: &SourceFile) -> Vec<Diagnostic> {
    use serde_saphyr::granit_parser::{Event, Parser};

    struct Level {
        /// Keys seen, for a map; `None` for a list.
        keys: Option<BTreeMap<String, Span>>,
        /// Is the next node a key?
        expects_key: bool,
    }

    let mut levels: Vec<Level> = Vec::new();
    let mut found = Vec::new();
    for event in Parser::new_from_str(&source.text) {
        let Ok((event, place)) = event else { break };
        let mut node_ended = true;
        match event {
            Event::Scalar(text, ..) => {
                if let Some(Level { keys: Some(keys), expects_key: true }) = levels.last_mut() {
                    let length = match (place.start.byte_offset(), place.end.byte_offset()) {
                        (Some(start), Some(end)) => end.saturating_sub(start),
                        _ => 0,
                    };
                    let mut span = source.span_at(place.start.line(), place.start.col() + 1);
                    span.length = length;
                    let merge = text == "<<";
                    if let Some(first) = keys.get(text.as_ref()).filter(|_| !merge) {
                        found.push(
                            rules::DUPLICATE_KEY
                                .diagnostic(format!("the key `{text}` stands twice in the same map"))
                                .at(Some(span), "again here")
                                .at(Some(first.clone()), "first here")
                                .help("keep one of the two"),
                        );
                    } else {
                        keys.insert(text.into_owned(), span);
                    }
                }
            }
            Event::Alias(..) => {}
            Event::MappingStart(..) => {
                levels.push(Level { keys: Some(BTreeMap::new()), expects_key: true });
                continue;
            }
            Event::SequenceStart(..) => {
                levels.push(Level { keys: None, expects_key: false });
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                levels.pop();
            }
            _ => node_ended = false,
        }
        if node_ended
            && let Some(level) = levels.last_mut()
            && level.keys.is_some()
        {
            level.expects_key = !level.expects_key;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Checked<Document> {
        Document::parse(SourceFile::new(name, text))
    }

    #[test]
    fn places_are_exact_in_both_syntaxes() {
        let yaml = parse("a.yaml", "services:\n  api:\n    dir: \"ü\" # c\n    port: 8080\n").value.unwrap();
        let port = yaml.spans.place("/services/api/port").unwrap();
        let (key, value) = (port.key.clone().unwrap(), port.value.clone().unwrap());
        assert_eq!((key.line, key.column), (4, 5));
        assert_eq!((value.line, value.column), (4, 11));
        assert_eq!(&yaml.source.text[value.offset..value.offset + value.length], "8080");
        assert_eq!(&yaml.source.text[key.offset..key.offset + key.length], "port");

        let json = parse("a.json", "{\n\t\"a/b\": [ \"é\", {\"p\": 1} ]\n}").value.unwrap();
        let p = json.spans.place("/a~1b/1/p").unwrap().value.clone().unwrap();
        assert_eq!((p.line, p.column), (2, 22));
        assert_eq!(&json.source.text[p.offset..p.offset + p.length], "1");
        assert_eq!(json.value, serde_json::json!({"a/b": ["é", {"p": 1}]}));
    }

    #[test]
    fn duplicates_are_all_named_with_both_places() {
        for (name, text) in [
            ("a.yaml", "a: 1\nb:\n  c: 1\n  c: 2\na: 3\n"),
            ("a.json", "{\"a\": 1,\n\"b\": {\n\"c\": 1,\n\"c\": 2},\n\"a\": 3}"),
        ] {
            let checked = parse(name, text);
            let lines: Vec<_> = checked
                .diagnostics
                .iter()
                .map(|d| (d.code, d.labels[0].span.line, d.labels[1].span.line))
                .collect();
            assert_eq!(lines, [(rules::DUPLICATE_KEY, 4, 3), (rules::DUPLICATE_KEY, 5, 1)], "{name}");
        }
    }

    #[test]
    fn syntax_errors_have_a_place() {
        for (name, text, line) in [
            ("a.yaml", "a:\n  b: [1, 2\nc: 3\n", 3),
            ("a.yaml", "a:\n  b: 1\n c: 2\n", 3),
            ("a.json", "{\n \"a\": 1,\n}", 3),
            ("a.json", "{a: 1}", 1),
            ("a.json", "", 1),
        ] {
            let checked = parse(name, text);
            assert!(checked.value.is_none(), "{text}");
            let diagnostic = &checked.diagnostics[0];
            assert_eq!(diagnostic.code, rules::SYNTAX);
            assert_eq!(diagnostic.labels[0].span.line, line, "{text}: {diagnostic}");
            assert!(!diagnostic.message.contains('\n'), "{}", diagnostic.message);
        }
    }

    #[test]
    fn words_stay_words() {
        let document =
            parse("a.yaml", "a: no\nb: yes\nc: 1E+2\nd: '7'\ne: ~\nf: 2026-01-09\n").value.unwrap();
        assert_eq!(
            document.value,
            serde_json::json!({"a": "no", "b": "yes", "c": 100.0, "d": "7", "e": null, "f": "2026-01-09"})
        );
    }

    #[test]
    fn a_bomb_of_aliases_or_brackets_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let alias = vec![format!("*a{}", n - 1); 9].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{alias}]\n"));
        }
        assert!(parse("a.yaml", &bomb).value.is_none());
        assert!(parse("a.yaml", &"[".repeat(20_000)).value.is_none());
        assert!(parse("a.json", &format!("{}{}", "[".repeat(20_000), "]".repeat(20_000))).value.is_none());
    }
}
