//! Finding credentials in commands and in whole files, to take them out or to hide them.

use std::ops::Range;

use super::credentials::{has_key_format, is_literal, is_secret_name, suspect, url_password};

pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// An assignment in a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The variable.
    pub name: String,
    /// The value as it is written, quotes and all.
    pub value: Range<usize>,
}

/// `NAME=value` at the start of a word. Names in capitals only: others are flags, queries
/// and other languages' code.
pub(crate) fn assignments(line: &str) -> Vec<Assignment> {
    let mut found = Vec::new();
    for (equals, _) in line.match_indices('=') {
        let start = line[..equals]
            .rfind(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
            .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
        let name = &line[start..equals];
        let before = line[..start].chars().next_back();
        let fresh =
            before.is_none_or(|c| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | '\'' | '"' | '{'));
        if !fresh || !is_variable(name) || line[equals + 1..].starts_with('=') {
            continue;
        }
        found.push(Assignment { name: name.to_owned(), value: value_range(line, equals + 1) });
    }
    found
}

/// Where the shell word that starts at `from` ends.
fn value_range(line: &str, from: usize) -> Range<usize> {
    let (outer_single, outer_double) = quotes_at(line, from);
    let (mut inner, mut depth, mut before) = (None, 0_u32, ' ');
    for (offset, c) in line[from..].char_indices() {
        let escaped = before == '\\';
        before = if escaped { ' ' } else { c };
        if escaped || c == '\\' {
            continue;
        }
        if let Some(quote) = inner {
            if c == quote {
                inner = None;
            }
            continue;
        }
        let opens = matches!(c, '(' | '{') && line[..from + offset].ends_with('$');
        let ends = match c {
            '\'' => outer_single,
            '"' => outer_double,
            ')' | '}' if depth > 0 => {
                depth -= 1;
                false
            }
            ';' | '&' | '|' | ')' | '`' => depth == 0,
            c => c.is_whitespace() && depth == 0,
        };
        if ends {
            return from..from + offset;
        }
        if opens {
            depth += 1;
        } else if matches!(c, '\'' | '"') {
            inner = Some(c);
        }
    }
    from..line.len()
}

/// Is the position inside single, inside double quotes?
fn quotes_at(line: &str, position: usize) -> (bool, bool) {
    let (mut single, mut double, mut escaped) = (false, false, false);
    for c in line[..position].chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if !single => escaped = true,
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            _ => {}
        }
    }
    (single, double)
}

/// A line without the credentials that were written out in it, and the variables that
/// stand for them now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redacted {
    /// The line. Each credential is replaced by a reference to a variable.
    pub line: String,
    /// The variables, in the order of discovery, each once.
    pub variables: Vec<String>,
}

/// A text of the same length in which every credential is covered by asterisks, so that
/// lines of a user's file can be shown.
pub(crate) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        let mut line = line.to_owned();
        // A private key of several lines: all of them.
        if in_key || (line.contains("-----BEGIN ") && line.contains("PRIVATE KEY")) {
            in_key = !line.contains("-----END ");
            let length = line.trim_end_matches(['\n', '\r']).len();
            cover(&mut line, 0..length);
        }
        for _ in 0..MAX_CREDENTIALS {
            let found = find_credential(&line).map(|(range, _)| range).or_else(|| in_entry(&line));
            let Some(range) = found else { break };
            cover(&mut line, range);
        }
        masked.push_str(&line);
    }
    masked
}

/// Asterisks over a range, as many as it has bytes. `$` first: a reference is no credential.
fn cover(line: &mut String, range: Range<usize>) {
    let length = range.len();
    let mut cover = "*".repeat(length);
    if length > 0 {
        cover.replace_range(..1, "$");
    }
    line.replace_range(range, &cover);
}

/// `DB_PASSWORD: value` and `"DB_PASSWORD": "value"`, an entry of YAML or JSON.
fn in_entry(line: &str) -> Option<Range<usize>> {
    let colon = line.find(':')?;
    let name = line[..colon]
        .trim()
        .trim_start_matches("- ")
        .trim_start_matches('{')
        .trim()
        .trim_matches(['"', '\'']);
    let rest = &line[colon + 1..];
    let value = rest.trim().trim_end_matches(',').trim_matches(['"', '\'']);
    if value.is_empty() || value.starts_with(['{', '[', '|', '>', '&', '*']) || !is_variable(name) {
        return None;
    }
    suspect(name, value)?;
    let start = colon + 1 + rest.find(value)?;
    Some(start..start + value.len())
}

/// No command holds more.
const MAX_CREDENTIALS: usize = 64;

/// Replaces credentials by references to variables.
pub(crate) fn redact(line: &str) -> Redacted {
    let mut redacted = Redacted { line: line.to_owned(), variables: Vec::new() };
    // Each round puts a reference where a literal was; the bound is for what no rule foresaw.
    for _ in 0..MAX_CREDENTIALS {
        let Some((range, variable)) = find_credential(&redacted.line) else {
            return redacted;
        };
        let mut reference = format!("${{{variable}}}");
        if quotes_at(&redacted.line, range.start).0 && !inside_inner_script(&redacted.line, range.start) {
            reference = format!("'\"{reference}\"'");
        }
        redacted.line.replace_range(range, &reference);
        if !redacted.variables.contains(&variable) {
            redacted.variables.push(variable);
        }
    }
    // Better a command that does nothing than one that shows a secret.
    redacted.line = "false".to_owned();
    redacted
}

/// Is this inside the single-quoted script of `sh -c '…'`, whose shell resolves variables itself?
fn inside_inner_script(line: &str, position: usize) -> bool {
    let before = &line[..position];
    before.rfind(" '").is_some_and(|quote| before[..quote].trim_end().ends_with("-c"))
}

fn find_credential(line: &str) -> Option<(Range<usize>, String)> {
    in_assignment(line)
        .or_else(|| in_default(line))
        .or_else(|| in_flag(line))
        .or_else(|| in_query(line))
        .or_else(|| in_json(line))
        .or_else(|| url_password(line).map(|range| (range, "URL_PASSWORD".to_owned())))
        .or_else(|| in_word(line))
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

fn in_assignment(line: &str) -> Option<(Range<usize>, String)> {
    assignments(line).into_iter().find_map(|Assignment { name, value }| {
        let text = unquoted(&line[value.clone()]);
        let computed = text.contains("$(") || text.contains('`');
        (!computed && suspect(&name, text).is_some()).then_some((value, name))
    })
}

/// `${NAME:-literal}`
fn in_default(line: &str) -> Option<(Range<usize>, String)> {
    line.match_indices("${").find_map(|(at, _)| {
        let rest = &line[at + 2..];
        let end = rest.find('}')?;
        let inside = &rest[..end];
        let operator = inside.find([':', '-', '='])?;
        let (name, literal) = inside.split_at(operator);
        let literal = literal.trim_start_matches([':', '-', '=', '?', '+']);
        let literal = unquoted(literal);
        let optional = inside[operator..].contains(['-', '=']);
        (optional && is_variable(name) && suspect(name, literal).is_some())
            .then(|| (at..at + 2 + end + 1, name.to_owned()))
    })
}

/// `--api-key value`, `--password=value`, `-u user:password`
fn in_flag(line: &str) -> Option<(Range<usize>, String)> {
    let mut from = 0;
    while let Some(found) = line[from..].find("--") {
        let start = from + found + 2;
        from = start;
        let name: String = line[start..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            .collect();
        let after = start + name.len();
        if name.is_empty() || !is_secret_name(&name) || !line[after..].starts_with(['=', ' ']) {
            continue;
        }
        let value = value_range(line, after + 1);
        let text = unquoted(&line[value.clone()]);
        if is_literal(text) && !text.starts_with('-') && text.len() > 1 {
            return Some((value, name.to_ascii_uppercase().replace('-', "_")));
        }
    }
    for flag in [" -u ", " --user "] {
        let Some(at) = line.find(flag) else { continue };
        let value = value_range(line, at + flag.len());
        let text = unquoted(&line[value.clone()]);
        if let Some((user, password)) = text.split_once(':')
            && is_literal(password)
            && is_literal(user)
        {
            return Some((value, "USER_AND_PASSWORD".to_owned()));
        }
    }
    None
}

/// `?token=value`, `&api_key=value`
fn in_query(line: &str) -> Option<(Range<usize>, String)> {
    line.match_indices(['?', '&']).find_map(|(at, _)| {
        let rest = &line[at + 1..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if !rest[name.len()..].starts_with('=') || !is_secret_name(&name) {
            return None;
        }
        let start = at + 1 + name.len() + 1;
        let length = line[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '&' | '"' | '\'' | '#'))
            .unwrap_or(line.len() - start);
        is_literal(&line[start..start + length]).then(|| (start..start + length, name.to_ascii_uppercase()))
    })
}

/// `"password": "value"`, also with escaped quotes
fn in_json(line: &str) -> Option<(Range<usize>, String)> {
    line.match_indices(':').find_map(|(colon, _)| {
        let name = line[..colon].trim_end().strip_suffix('"')?.trim_end_matches('\\');
        let start = name.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
        let name = name.get(start..)?;
        let rest = line[colon + 1..].trim_start().trim_start_matches('\\').strip_prefix('"')?;
        let from = line.len() - rest.len();
        let length = rest.find(['"', '\\'])?;
        // A value that begins with a quote is a reference that was put there.
        let literal = is_literal(&rest[..length]) && !rest.starts_with('\'');
        (is_secret_name(name) && literal).then(|| (from..from + length, name.to_ascii_uppercase()))
    })
}

/// `Bearer value`, and words that have the format of a key.
fn in_word(line: &str) -> Option<(Range<usize>, String)> {
    let mut start = 0;
    let mut after_bearer = false;
    for word in
        line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '=' | ':' | ',' | ';' | '(' | ')'))
    {
        let range = start..start + word.len();
        start = range.end + line[range.end..].chars().next().map_or(0, char::len_utf8);
        if word.is_empty() {
            continue;
        }
        if has_key_format(word) {
            return Some((range, "IMPORTED_KEY".to_owned()));
        }
        if after_bearer && is_literal(word) && word.len() >= 8 && !word.starts_with(['{', '<', '%', '\\']) {
            return Some((range, "BEARER_TOKEN".to_owned()));
        }
        after_bearer = word.eq_ignore_ascii_case("bearer");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_references() {
        for (line, expected, variables) in [
            ("JWT_SECRET=dev-canary ./api", "JWT_SECRET=${JWT_SECRET} ./api", &["JWT_SECRET"] as &[_]),
            (
                "export DATABASE_URL='postgres://u:canary@h/db'; ./x",
                "export DATABASE_URL=${DATABASE_URL}; ./x",
                &["DATABASE_URL"],
            ),
            (
                "./x --dsn postgres://u:canary@h/db",
                "./x --dsn postgres://u:${URL_PASSWORD}@h/db",
                &["URL_PASSWORD"],
            ),
            (
                "./x --dsn 'postgres://u:canary@h/db'",
                "./x --dsn 'postgres://u:'\"${URL_PASSWORD}\"'@h/db'",
                &["URL_PASSWORD"],
            ),
            ("mc ${MINIO_ROOT_PASSWORD:-canary} x", "mc ${MINIO_ROOT_PASSWORD} x", &["MINIO_ROOT_PASSWORD"]),
            ("./x --api-key canary1 --port 1", "./x --api-key ${API_KEY} --port 1", &["API_KEY"]),
            ("./x --password=\"can ary\" y", "./x --password=${PASSWORD} y", &["PASSWORD"]),
            ("curl -u ann:canary http://h", "curl -u ${USER_AND_PASSWORD} http://h", &["USER_AND_PASSWORD"]),
            ("curl \"http://h/?token=canary&a=1\"", "curl \"http://h/?token=${TOKEN}&a=1\"", &["TOKEN"]),
            (
                "curl -H 'Authorization: Bearer canary-1234'",
                "curl -H 'Authorization: Bearer '\"${BEARER_TOKEN}\"''",
                &["BEARER_TOKEN"],
            ),
            (
                "curl -d '{\"password\": \"canary\"}' h",
                "curl -d '{\"password\": \"'\"${PASSWORD}\"'\"}' h",
                &["PASSWORD"],
            ),
            ("sh -c \"API_KEY=canary1 ./x\"", "sh -c \"API_KEY=${API_KEY} ./x\"", &["API_KEY"]),
            ("./x sk-or-v1-canary0123456789", "./x ${IMPORTED_KEY}", &["IMPORTED_KEY"]),
            ("sh -c 'DB_PASSWORD=canary ./x'", "sh -c 'DB_PASSWORD=${DB_PASSWORD} ./x'", &["DB_PASSWORD"]),
            (
                "A_TOKEN=canary1 B_TOKEN=canary2 ./x",
                "A_TOKEN=${A_TOKEN} B_TOKEN=${B_TOKEN} ./x",
                &["A_TOKEN", "B_TOKEN"],
            ),
        ] {
            let redacted = redact(line);
            assert_eq!(redacted.line, expected);
            assert_eq!(redacted.variables, variables);
            assert!(!redacted.line.contains("canary"));
        }
    }

    #[test]
    fn what_is_no_credential_stays() {
        for line in [
            "cd api && POSTGRES_DB=deployment_manager ./api",
            "PGPASSWORD=${POSTGRES_PASSWORD} psql -h localhost",
            "API_PORT=${API_PORT:-15100} ./x",
            "cd ui && npx http-server dist -p ${UI_PORT} --cors",
            "./x --token-limit 100 --password-file /run/x",
            "if [ -z \"${URL:-}\" ]; then export URL=\"http://127.0.0.1:${P}\"; fi; ./x",
            "git clone git@github.com:a/b.git",
        ] {
            assert_eq!(redact(line).line, line);
        }
    }

    #[test]
    fn assignments_have_exact_values() {
        let line = "export A=$(./x y) && B='c d' C=\"$D e\";F=g ./h --i=j";
        let found: Vec<_> =
            assignments(line).into_iter().map(|a| (a.name, line[a.value].to_owned())).collect();
        let expected = [("A", "$(./x y)"), ("B", "'c d'"), ("C", "\"$D e\""), ("F", "g")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_masked_file_has_the_same_length_and_no_credential() {
        let text = "env:\n  DB_PASSWORD: canary1 # c\n  \"API_KEY\": \"canary2\",\n  URL: postgres://u:canary3@h/d\n\
                    run: JWT_SECRET=canary4 ./x --token canary5\n\
                    key: |\n  -----BEGIN RSA PRIVATE KEY-----\n  canary6\n  -----END RSA PRIVATE KEY-----\nport: 80 ü\n";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        assert!(!masked.contains("canary"), "{masked}");
        assert!(masked.contains("port: 80 ü") && masked.contains("postgres://u:"));
    }
}
