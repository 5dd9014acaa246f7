//! What differs from run to run, made equal.

/// Replaces times, ports, digests, identifiers and the given folders by their names.
pub(crate) fn normal(text: &str, folders: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (folder, name) in folders {
        text = text.replace(folder, name);
    }
    text = text.lines().map(narrow).collect();
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut before = ' ';
    while let Some(character) = rest.chars().next() {
        let begins = !before.is_ascii_alphanumeric();
        if begins
            && let Some((length, name)) = KINDS.iter().find_map(|(name, kind)| Some((kind(rest)?, name)))
        {
            out.push_str(name);
            before = ']';
            rest = &rest[length..];
        } else {
            out.push(character);
            before = character;
            rest = &rest[character.len_utf8()..];
        }
    }
    out
}

/// Columns are as wide as what stands in them: two spaces between them here.
fn narrow(line: &str) -> String {
    // Lines of a file with marks under them stay as they are.
    if line.contains(['│', '·']) {
        return format!("{line}\n");
    }
    let indent = line.len() - line.trim_start_matches(' ').len();
    let mut narrow = line[..indent].to_owned();
    let mut spaces = 0;
    for character in line[indent..].chars() {
        spaces = if character == ' ' { spaces + 1 } else { 0 };
        if spaces <= 2 {
            narrow.push(character);
        }
    }
    narrow.push('\n');
    narrow
}

/// The length of what a text begins with, if it is of a kind.
type Kind = fn(&str) -> Option<usize>;

const KINDS: [(&str, Kind); 7] = [
    ("sha256:[DIGEST]", |text| shape(text, "sha256:").filter(|rest| hex(rest) == 64).map(|_| 71)),
    ("127.0.0.1:[PORT]", |text| {
        let digits = digits(shape(text, "127.0.0.1:")?);
        (digits >= 4).then_some(10 + digits)
    }),
    ("[AT]", instant),
    ("[UUID]", uuid),
    ("[ID]", |text| {
        let length = hex(text);
        let letters = text[..length].bytes().any(|b| b.is_ascii_alphabetic());
        (length == 12 && letters).then_some(12)
    }),
    ("[TIME]", time),
    ("[N]", |text| {
        let digits = digits(text);
        let whole = !text[digits..].starts_with(|c: char| c.is_ascii_alphanumeric());
        (digits >= 3 && whole && !is_money(&text[digits..])).then_some(digits)
    }),
];

fn shape<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// What follows the whole part of an amount: a dot and two digits. Amounts are the same in every run.
fn is_money(rest: &str) -> bool {
    rest.strip_prefix('.').is_some_and(|cents| {
        let length = digits(cents);
        length == 2 && !cents[length..].starts_with(|c: char| c == '.' || c.is_ascii_alphanumeric())
    })
}

fn hex(text: &str) -> usize {
    text.bytes().take_while(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)).count()
}

/// `2026-01-02T03:04:05Z`, with or without a fraction.
fn instant(text: &str) -> Option<usize> {
    let end = text.find('Z')?;
    let candidate = &text[..end];
    let bytes = candidate.as_bytes();
    let sound = bytes.len() >= 19
        && bytes[4] == b'-'
        && bytes[10] == b'T'
        && bytes.iter().all(|b| b.is_ascii_digit() || b"-:T.".contains(b));
    sound.then_some(end + 1)
}

fn uuid(text: &str) -> Option<usize> {
    let mut length = 0;
    for (index, group) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            text[length..].starts_with('-').then_some(())?;
            length += 1;
        }
        (hex(&text[length..]) == group).then_some(())?;
        length += group;
    }
    Some(length)
}

/// `45 ms`, `1.2 s`, `2 min 3 s`, `just now`, `5 min ago`.
fn time(text: &str) -> Option<usize> {
    if text.starts_with("just now") {
        return Some(8);
    }
    let mut length = digits(text);
    (length > 0).then_some(())?;
    if text[length..].starts_with('.') {
        length += 1 + digits(&text[length + 1..]);
    }
    ["min ago", "ms", "s", "h ago", "d ago"]
        .iter()
        .map(|unit| format!(" {unit}"))
        .find(|unit| {
            text[length..]
                .strip_prefix(unit.as_str())
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
        })
        .map(|unit| length + unit.len())
}

#[test]
fn what_differs_is_named_and_nothing_else() {
    let text = format!(
        "r12 at /tmp/x/state on http://127.0.0.1:15123/ (45 ms) plan a1b2c3d4e5f6 sha256:{} 2026-01-02T03:04:05.678Z \
         0190f5d2-0000-7000-8000-000000000000 build 3 steps 1.2 s, 20 sandwiches\napi.0     12345  api=15123 total 105.00 USD at 127.0.0.1",
        "0".repeat(64)
    );
    assert_eq!(
        normal(&text, &[("/tmp/x/state", "[STATE]")]),
        "r12 at [STATE] on http://127.0.0.1:[PORT]/ ([TIME]) plan [ID] sha256:[DIGEST] [AT] [UUID] build 3 steps [TIME], \
         20 sandwiches\napi.0  [N]  api=[N] total 105.00 USD at [N].0.0.1\n"
    );
}
