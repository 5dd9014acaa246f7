//! Profiles as files: written, read back, and the JSON schema of both.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Profile, check};
use crate::diagnostics::{Checked, Code, Diagnostic, Fix, Severity, rules};
use crate::manifest::yaml::{self, Document, SourceFile, child};
use crate::manifest::{crosswalk, shape};
use crate::names::ProfileName;

/// The version of the file format that this library writes.
pub const SCHEMA_VERSION: &str = "v0.1";

/// Where the schema is published: a file's `$schema`, so that editors complete it.
pub const SCHEMA_URL: &str = "https://raw.githubusercontent.com/Vrooli/vrooli-deploy/main/vrooli-deploy-core/schemas/profile.v0.1.json";

/// A profile as a file.
#[derive(Serialize, JsonSchema)]
struct ProfileFile<'a> {
    /// For editors; ignored.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    /// `v0.1`.
    schema_version: &'a str,
    #[serde(flatten)]
    profile: Cow<'a, Profile>,
}

/// The JSON schema (draft 2020-12) of a profile's file. Checked in as
/// `schemas/profile.v0.1.json`; after a change of the types, write it again with
/// `VROOLI_DEPLOY_REFRESH=1 cargo test -p vrooli-deploy-core schema`.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(ProfileFile<'static>);
    schema.insert("title".to_owned(), "vrooli-deploy profile v0.1".into());
    schema
}

impl Profile {
    /// Writes the profile as YAML that [`read`] reads back.
    ///
    /// # Errors
    /// The writer's message. No profile that was read makes it fail.
    pub fn to_yaml(&self) -> Result<String, String> {
        yaml::write(&self.file())
    }

    /// Writes the profile as indented JSON, ended by a line break.
    ///
    /// # Errors
    /// The writer's message. No profile that was read makes it fail.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(&self.file()).map(|text| text + "\n").map_err(|error| error.to_string())
    }

    fn file(&self) -> ProfileFile<'_> {
        ProfileFile { schema: Some(SCHEMA_URL), schema_version: SCHEMA_VERSION, profile: Cow::Borrowed(self) }
    }
}

/// Reads a profile's file, ours or one that Vrooli's deployment-manager exported. What a
/// newer version wrote and keys that nobody knows are errors: a profile that is read in part
/// would deploy something else than was meant. `name` replaces the name in the file.
pub fn read(source: SourceFile, name: Option<&ProfileName>) -> Checked<Profile> {
    let Checked { value, mut diagnostics } = Document::parse(source);
    let Some(mut document) = value else {
        return Checked { value: None, diagnostics };
    };
    if !document.value.is_object() {
        diagnostics.push(
            rules::WRONG_TYPE
                .diagnostic("a profile is a map")
                .at(document.spans.value(""), "here")
                .help("`profile export PROFILE` writes one"),
        );
        return Checked { value: None, diagnostics };
    }
    if let Err(diagnostic) = version(&mut document) {
        // A file of another version would only give misleading errors.
        diagnostics.push(*diagnostic);
        return Checked { value: None, diagnostics };
    }
    if let Some(name) = name
        && let Some(map) = document.value.as_object_mut()
    {
        map.insert("name".to_owned(), Value::String(name.to_string()));
    }
    swaps(&mut document);
    words(&mut document, &mut diagnostics);
    let said: Vec<_> = diagnostics.iter().flat_map(|d| &d.labels).map(|label| label.span.clone()).collect();
    let shape = shape::check(&document, schema().as_value()).into_iter().map(strict);
    diagnostics.extend(shape.filter(|d| !d.labels.first().is_some_and(|label| said.contains(&label.span))));
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Checked { value: None, diagnostics };
    }
    if let Some(map) = document.value.as_object_mut() {
        map.shift_remove("$schema");
        map.shift_remove("schema_version");
    }
    match serde_json::from_value::<Profile>(document.value.take()) {
        Ok(profile) => {
            diagnostics.extend(check::check_at(&profile, &document.spans));
            Checked { value: Some(profile), diagnostics }
        }
        Err(error) => {
            diagnostics.push(
                rules::PROFILE_VALUE.diagnostic(error.to_string()).at(document.spans.value(""), "here"),
            );
            Checked { value: None, diagnostics }
        }
    }
}

/// Reads what a state store kept.
///
/// # Errors
/// When it is no profile of this version.
#[cfg(any(test, feature = "engine"))]
pub(crate) fn from_stored(mut value: Value) -> Result<Profile, String> {
    let version = value.as_object_mut().and_then(|map| {
        map.shift_remove("$schema");
        map.shift_remove("schema_version")
    });
    if version.as_ref().and_then(Value::as_str) != Some(SCHEMA_VERSION) {
        return Err(format!(
            "it was written by another version of this program, and this one knows `{SCHEMA_VERSION}`"
        ));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// What a state store keeps.
///
/// # Errors
/// The writer's message. No profile that was read makes it fail.
#[cfg(any(test, feature = "engine"))]
pub(crate) fn to_stored(profile: &Profile) -> Result<Value, String> {
    let file = ProfileFile { schema: None, ..profile.file() };
    serde_json::to_value(file).map_err(|error| error.to_string())
}

/// Unknown keys are errors here, and what is spoken of is a profile.
fn strict(mut diagnostic: Diagnostic) -> Diagnostic {
    if diagnostic.code == rules::UNKNOWN_KEY {
        diagnostic.code = rules::PROFILE_FILE_KEY;
        diagnostic.severity = Severity::Error;
        diagnostic.message = diagnostic.message.replace("; it is ignored", "");
    }
    diagnostic.message = diagnostic.message.replacen("the manifest", "the profile", 1);
    diagnostic
}

/// Holds the file's version against ours; a file of deployment-manager is brought into our form.
fn version(document: &mut Document) -> Result<(), Box<Diagnostic>> {
    let written = match document.value.get("schema_version") {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None if document.value.get("tiers").is_some() => return adopt(document),
        None => {
            return Err(Box::new(
                rules::PROFILE_FILE_VERSION
                    .diagnostic("the profile does not say which version of the format it has")
                    .at(document.spans.value(""), "here")
                    .help(format!("add `schema_version: {SCHEMA_VERSION}`")),
            ));
        }
    };
    if written == SCHEMA_VERSION {
        return Ok(());
    }
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.trim_start_matches('v').split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let newer = numbers(&written).zip(numbers(SCHEMA_VERSION)).is_some_and(|(written, ours)| written > ours);
    Err(Box::new(
        rules::PROFILE_FILE_VERSION
            .diagnostic(if newer {
                format!(
                    "the profile has version `{written}` of the format, this program knows `{SCHEMA_VERSION}`"
                )
            } else {
                "that is no version of the format of profiles".to_owned()
            })
            .at(document.spans.value("/schema_version"), "here")
            .help(if newer {
                "update vrooli-deploy; nothing was read".to_owned()
            } else {
                format!("write `schema_version: {SCHEMA_VERSION}`")
            }),
    ))
}

/// Keys of a deployment-manager profile that count what it counts and say nothing of the app.
const COUNTED: [&str; 5] = ["id", "version", "created_at", "updated_at", "created_by"];

/// Brings a file of Vrooli's deployment-manager into our form.
fn adopt(document: &mut Document) -> Result<(), Box<Diagnostic>> {
    let tiers = document.value.get("tiers").and_then(Value::as_array).cloned().unwrap_or_default();
    let [tier] = tiers.as_slice() else {
        return Err(Box::new(
            rules::PROFILE_VALUE
                .diagnostic("a profile is for one tier")
                .at(document.spans.value("/tiers"), "here")
                .help("write `tiers: [4]`, and a profile of its own for each other tier"),
        ));
    };
    let Some(map) = document.value.as_object_mut() else { return Ok(()) };
    map.shift_remove("tiers");
    for key in COUNTED {
        map.shift_remove(key);
    }
    map.insert("tier".to_owned(), tier.clone());
    map.insert("schema_version".to_owned(), Value::String(SCHEMA_VERSION.to_owned()));
    let mut places = vec![("/tier", "/tiers/0")];
    // There a scenario is a name, and the app's name is the scenario's.
    if let Some(scenario) = map.get("scenario").cloned()
        && !map.contains_key("app")
    {
        map.insert("app".to_owned(), scenario);
        places.push(("/app", "/scenario"));
    }
    for key in ["settings", "secrets", "swaps"] {
        if map.get(key).is_some_and(Value::is_null) {
            map.shift_remove(key);
        }
    }
    let known = document.spans.clone();
    for (at, from) in places {
        document.spans.place_under(at, &known, from);
    }
    Ok(())
}

/// Other spellings of a swap's keys.
const SPELLINGS: [(&str, &str); 6] = [
    ("original", "from"),
    ("original_resource", "from"),
    ("dependency", "from"),
    ("replacement", "to"),
    ("alternative_resource", "to"),
    ("swap", "to"),
];

/// Brings swaps into the one form: a list of maps with `from` and `to`.
fn swaps(document: &mut Document) {
    let Some(found) = document.value.get_mut("swaps") else { return };
    if let Value::Object(short) = found {
        let short = std::mem::take(short);
        let known = document.spans.clone();
        let mut list = Vec::new();
        for (index, (from, to)) in short.into_iter().enumerate() {
            let at = child("/swaps", &index.to_string());
            document.spans.place_under(&at, &known, &child("/swaps", &from));
            list.push(Value::Object(Map::from_iter([
                ("from".to_owned(), Value::String(from)),
                ("to".to_owned(), to),
            ])));
        }
        *found = Value::Array(list);
        return;
    }
    for (index, swap) in found.as_array_mut().into_iter().flatten().enumerate() {
        let Value::Object(map) = swap else { continue };
        for (other, ours) in SPELLINGS {
            if !map.contains_key(ours)
                && let Some(value) = map.shift_remove(other)
            {
                map.insert(ours.to_owned(), value);
                let at = child("/swaps", &index.to_string());
                let known = document.spans.take(&child(&at, other));
                document.spans.place_under(&child(&at, ours), &known, &child(&at, other));
            }
        }
    }
}

type LookUp = fn(&str) -> Result<String, crosswalk::UnknownWord>;

/// Replaces what people call tiers, providers and strategies by their names.
fn words(document: &mut Document, diagnostics: &mut Vec<Diagnostic>) {
    let tier: LookUp = |word| crosswalk::tier(word).map(|tier| tier.to_string());
    let mut all: Vec<(String, Code, LookUp)> = vec![
        ("/tier".to_owned(), rules::UNKNOWN_TIER, tier),
        ("/settings/provider".to_owned(), rules::UNKNOWN_PROVIDER, |word| {
            crosswalk::provider(word).map(String::from)
        }),
        ("/settings/strategy".to_owned(), rules::UNKNOWN_STRATEGY, |word| {
            crosswalk::strategy(word).map(|kind| kind.to_string())
        }),
    ];
    for (index, swap) in
        document.value.get("swaps").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let tiers = swap.get("applicable_tiers").and_then(Value::as_array).map_or(0, Vec::len);
        let at = |item| format!("/swaps/{index}/applicable_tiers/{item}");
        all.extend((0..tiers).map(|item| (at(item), rules::UNKNOWN_TIER, tier)));
    }
    for (pointer, code, look_up) in all {
        let span = document.spans.value(&pointer);
        let Some(value) = document.value.pointer_mut(&pointer) else { continue };
        let word = match value {
            Value::String(word) => word.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        match look_up(&word) {
            Ok(name) => *value = Value::String(name),
            Err(unknown) => {
                let mut diagnostic =
                    code.diagnostic(unknown.to_string()).at(span.clone(), "here").help(unknown.help());
                if let (Some(near), Some(span)) = (unknown.nearest, span.filter(|span| span.length > 0)) {
                    diagnostic.fix = Some(Fix { span, replacement: near.to_owned() });
                }
                diagnostics.push(diagnostic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::super::{Swap, set};
    use super::*;

    fn read_text(name: &str, text: &str) -> Checked<Profile> {
        read(SourceFile::new(name, text), None)
    }

    #[test]
    fn the_checked_in_schema_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/profile.v0.1.json");
        let current = format!("{:#}\n", schema().to_value());
        if std::env::var_os("VROOLI_DEPLOY_REFRESH").is_some() {
            std::fs::write(path, &current).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == current, "{path} is out of date; write it again with VROOLI_DEPLOY_REFRESH=1");
    }

    #[test]
    fn what_is_written_is_read_back_equal() {
        let mut full = profile();
        for line in [
            "provider do",
            "region nyc1",
            "env A b",
            "env B yes",
            "size.compute s-2vcpu-4gb",
            "count 2",
            "region.storage nyc3",
            "load_balancer true",
            "ssl letsencrypt",
            "cdn on",
            "drop n8n",
            "swap ollama=openrouter",
            "secret KEY generate",
            "domain shop.example.com",
            "strategy rolling",
            "server db.example.com database",
            "port 80",
            "listen ::1",
            "environment production",
            "version.database 16",
        ] {
            let mut words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
            let key = words.remove(0);
            set(&mut full, &key, &words, std::path::Path::new("/")).unwrap();
        }
        for profile in [profile(), full] {
            let (yaml, json) = (profile.to_yaml().unwrap(), profile.to_json().unwrap());
            for (name, text) in [("p.yaml", &yaml), ("p.json", &json)] {
                let (read, found) =
                    read_text(name, text).into_result().unwrap_or_else(|e| panic!("{e:?}\n{text}"));
                assert_eq!(read, profile);
                assert!(found.is_empty());
            }
            assert_eq!(from_stored(to_stored(&profile).unwrap()).unwrap(), profile);
        }
    }

    #[test]
    fn every_spelling_of_a_swap_is_read_and_one_is_written() {
        let base = "schema_version: v0.1\nname: p\nscenario: /x\napp: x\ntier: 4\nswaps:";
        for swaps in [
            "\n- {from: postgres, to: sqlite}",
            "\n- {original: postgres, replacement: sqlite}",
            "\n- {original_resource: postgres, alternative_resource: sqlite}",
            "\n- {dependency: postgres, swap: sqlite}",
            " {postgres: sqlite}",
        ] {
            let (profile, _) = read_text("p.yaml", &format!("{base}{swaps}\n")).into_result().unwrap();
            let expected = Swap::new("postgres".parse().unwrap(), "sqlite".parse().unwrap());
            assert_eq!(profile.swaps, [expected], "{swaps}");
            assert!(profile.to_yaml().unwrap().contains("from: postgres\n"));
        }
    }

    #[test]
    fn a_profile_of_deployment_manager_is_read() {
        let text = r#"{"id":"profile-1704067200","name":"wheel","scenario":"picker-wheel","tiers":[4],
            "swaps":[{"from":"ollama","to":"openrouter","reason":"r","limitations":"","applicable_tiers":["saas", "tier-5"],
            "applied_at":"2026-01-01T00:00:00Z"}],"secrets":{},
            "settings":{"env":{"K":"V"},"provider":"do","region":"nyc1"},"version":3}"#;
        let (profile, _) = read_text("p.json", text).into_result().unwrap();
        assert_eq!((profile.app.as_str(), profile.tier.as_str()), ("picker-wheel", "saas"));
        assert_eq!(profile.settings.provider.unwrap().as_str(), "digitalocean");
        assert_eq!(profile.swaps[0].applicable_tiers.len(), 2);
        assert_eq!(profile.swaps[0].applied_at.as_deref(), Some("2026-01-01T00:00:00Z"));
        let several = text.replace("[4]", "[2, 4]");
        let found = read_text("p.json", &several).into_result().unwrap_err();
        assert_eq!(found[0].code, rules::PROFILE_VALUE);
        assert_eq!(found[0].labels[0].span.line, 1);
    }

    #[test]
    fn what_is_from_the_future_or_unknown_is_refused_with_its_place() {
        let good = "schema_version: v0.1\nname: p\nscenario: /x\napp: x\ntier: 4\n";
        for (text, code, line) in [
            (good.replace("v0.1", "v0.2"), rules::PROFILE_FILE_VERSION, 1),
            (good.replace("v0.1", "latest"), rules::PROFILE_FILE_VERSION, 1),
            (good.replace("schema_version: v0.1\n", ""), rules::PROFILE_FILE_VERSION, 1),
            (format!("{good}colour: red\n"), rules::PROFILE_FILE_KEY, 6),
            (format!("{good}settings:\n  regoin: nyc1\n"), rules::PROFILE_FILE_KEY, 7),
            (format!("{good}settings:\n  compute:\n    cuont: 1\n"), rules::PROFILE_FILE_KEY, 8),
            (format!("{good}settings:\n  compute:\n    count: -2\n"), rules::INVALID_VALUE, 8),
            (format!("{good}settings:\n  provider: digitalocan\n"), rules::UNKNOWN_PROVIDER, 7),
            (format!("{good}settings:\n  env:\n    DB_PASSWORD: hunter22\n"), rules::PLAIN_SECRET, 8),
            (format!("{good}swaps:\n- {{from: a}}\n"), rules::MISSING_FIELD, 7),
            (good.replace("name: p", "name: A B"), rules::INVALID_VALUE, 2),
            (good.replace("tier: 4", "tier: 9"), rules::UNKNOWN_TIER, 5),
            ("- a\n".to_owned(), rules::WRONG_TYPE, 1),
            ("a: [\n".to_owned(), rules::SYNTAX, 1),
        ] {
            let found = read_text("p.yaml", &text).into_result().unwrap_err();
            let wrong: Vec<_> = found.iter().filter(|d| d.severity == Severity::Error).collect();
            assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
            assert_eq!(wrong[0].code, code, "{text}: {wrong:?}");
            assert_eq!(wrong[0].labels[0].span.line, line, "{text}: {wrong:?}");
            assert!(!format!("{found:?}").contains("hunter22"));
            assert!(!wrong[0].message.contains("manifest"), "{}", wrong[0]);
        }
    }
}
