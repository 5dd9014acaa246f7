//! One secret in any spelling: every vocabulary names the same things differently, so one
//! reader takes all names.

use serde_json::Value;

use super::{Declaration, MadeBy, SecretPrompt, Vocabulary};
use crate::diagnostics::{Diagnostic, Span, rules};
use crate::manifest::yaml::{Document, child};
use crate::manifest::{SecretSource, Tier, VaultSource, crosswalk};
use crate::names::{AppName, VariableName};
use crate::secrets::class::{look_up, words};
use crate::secrets::generator::{GENERATED_LENGTH, GENERATED_LENGTHS};
use crate::secrets::{GeneratorSpec, SecretStrategy};

/// A secret's description, and where it stands.
pub(super) struct Item<'a> {
    pub(super) document: &'a Document,
    pub(super) value: &'a Value,
    pub(super) at: &'a str,
    pub(super) vocabulary: Vocabulary,
    /// The app, whose name may stand before the secret's.
    pub(super) app: Option<&'a AppName>,
}

impl Item<'_> {
    fn text(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| text(self.value.pointer(key)?))
    }

    fn span(&self, key: &str) -> Option<Span> {
        self.document.spans.value(&format!("{}{key}", self.at))
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.value.pointer(key)?.as_bool()
    }
}

/// A text that says something.
fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

/// `openrouter/api-key` → `OPENROUTER_API_KEY`; the app's own name before it is left out.
pub(super) fn variable(id: &str, app: Option<&AppName>) -> Option<VariableName> {
    let id = id.rsplit_once('#').map_or(id, |(_, id)| id);
    let id = app
        .and_then(|app| id.strip_prefix(app.as_str()))
        .and_then(|rest| rest.strip_prefix(['/', ':', '.']))
        .unwrap_or(id);
    let mut name = String::with_capacity(id.len());
    for character in id.chars() {
        match character {
            c if c.is_ascii_alphanumeric() || c == '_' => name.push(c.to_ascii_uppercase()),
            '-' | '/' | '.' | ':' | ' ' => name.push('_'),
            // A name with anything else in it is none.
            _ => return None,
        }
    }
    VariableName::new(name).ok()
}

/// Keys under which a vocabulary may keep what this library must not take over.
const VALUES: [&str; 4] = ["/value", "/secret_value", "/plaintext", "/current_value"];

/// Reads one secret. `None` with a diagnostic when it has no name that can be used.
pub(super) fn read_item(item: &Item<'_>, found: &mut Vec<Diagnostic>) -> Option<Declaration> {
    if !item.value.is_object() {
        found.push(odd(item, "", "a secret is described by a map with a name"));
        return None;
    }
    let target = item.text(&["/target/type", "/bundle_hints/target_type"]);
    let is_file = target.as_deref() == Some("file");
    let named = item.text(&["/default_env", "/env_var", "/env", "/environment_variable"]);
    let named =
        named.or_else(|| item.text(&["/target/name", "/bundle_hints/target_name"]).filter(|_| !is_file));
    let id = item.text(&["/secret_id", "/secret_key", "/id", "/name", "/key", "/variable"]);
    let Some(name) = named.as_deref().or(id.as_deref()).and_then(|id| variable(id, item.app)) else {
        found.push(odd(item, "", "a secret is described without a name that could be a variable's"));
        return None;
    };
    if is_file {
        found.push(odd(
            item,
            "/target",
            format!("`{name}` is to be a file; services find it in a variable of that name"),
        ));
    }
    for key in VALUES {
        if item.value.pointer(key).is_some_and(|value| text(value).is_some()) {
            found.push(
                rules::SECRET_VALUE_IN_FILE
                    .diagnostic(format!("`{name}` is described together with its value, which is not read"))
                    .at(item.document.spans.key(&format!("{}{key}", item.at)), "here")
                    .help(format!(
                        "remove it from the file and store it with `vrooli-deploy secrets set APP {name}`"
                    )),
            );
        }
    }
    let mut declaration = Declaration::new(name, item.vocabulary, item.document.spans.value(item.at));
    declaration.resource = item.text(&["/resource_name", "/resource", "/dependency_name"]).or_else(|| {
        // `openrouter/api-key` names its owner, unless that is the app.
        let (owner, _) = id.as_deref()?.split_once('/')?;
        let other = item.app.is_none_or(|app| app.as_str() != owner);
        (other && !owner.is_empty()).then(|| owner.to_owned())
    });
    declaration.description = item.text(&["/description", "/notes", "/purpose"]);
    declaration.required =
        item.flag("/required").or_else(|| item.text(&["/priority"]).map(|priority| priority == "required"));
    declaration.asks = item.flag("/requires_user_input").unwrap_or(false);
    declaration.made_by = item.text(&["/made_by"]).and_then(|word| match word.as_str() {
        "resource" => Some(MadeBy::Resource),
        "operator" => Some(MadeBy::Operator),
        "vendor" => Some(MadeBy::Vendor),
        _ => None,
    });
    classes(item, &mut declaration, found);
    strategies(item, &mut declaration, found);
    formats(item, &mut declaration);
    declaration.prompt = prompt(item);
    declaration.generator = generator(item, &declaration.name, found);
    source(item, &mut declaration, found);
    Some(declaration)
}

pub(super) fn odd(item: &Item<'_>, key: &str, message: impl Into<String>) -> Diagnostic {
    rules::SECRET_METADATA.diagnostic(message).at(item.span(key), "here")
}

fn unknown(
    item: &Item<'_>,
    key: &str,
    what: &str,
    word: &str,
    (near, all): (Option<&'static str>, String),
) -> Diagnostic {
    rules::SECRET_WORD
        .diagnostic(format!("`{word}` is no {what} of a secret"))
        .at(item.span(key), "here")
        .help(match near {
            Some(near) => format!("did you mean `{near}`? Known are {all}"),
            None => format!("known are {all}"),
        })
}

fn classes(item: &Item<'_>, declaration: &mut Declaration, found: &mut Vec<Diagnostic>) {
    for key in ["/class", "/bundle_hints/class"] {
        if declaration.class.is_none()
            && let Some(word) = item.text(&[key])
        {
            match look_up(&words().classes, &word) {
                Ok(class) => declaration.class = Some(class),
                Err(known) => found.push(unknown(item, key, "class", &word, known)),
            }
        }
    }
    if let Some(word) = item.text(&["/classification"]) {
        match look_up(&words().classifications, &word) {
            Ok(class) => declaration.classification = Some(class),
            Err(known) => found.push(unknown(item, "/classification", "classification", &word, known)),
        }
    }
    for key in ["/secret_type", "/type"] {
        if let Some(word) = item.text(&[key]) {
            match look_up(&words().types, &word) {
                Ok(class) => declaration.by_type = Some(class),
                // `type` says other things elsewhere.
                Err(known) if key == "/secret_type" => found.push(unknown(item, key, "type", &word, known)),
                Err(_) => {}
            }
            break;
        }
    }
}

fn strategies(item: &Item<'_>, declaration: &mut Declaration, found: &mut Vec<Diagnostic>) {
    let mut said = |tier: Option<Tier>, word: &str, key: &str, found: &mut Vec<Diagnostic>| match look_up(
        &words().strategies,
        word,
    ) {
        Ok(strategy) => declaration.strategies.push((tier, strategy)),
        Err(known) => found.push(unknown(item, key, "strategy", word, known)),
    };
    for (list, inner) in [
        ("tier_strategies", &["", "/strategy", "/handling_strategy"][..]),
        ("tiers", &["/action", "/strategy", "/handling_strategy", ""][..]),
    ] {
        for (word, value) in item.value.get(list).and_then(Value::as_object).into_iter().flatten() {
            let key = child(&format!("/{list}"), word);
            let tier = match crosswalk::tier(word) {
                Ok(tier) => tier,
                Err(unknown) => {
                    found.push(
                        rules::SECRET_WORD
                            .diagnostic(unknown.to_string())
                            .at(item.document.spans.key(&format!("{}{key}", item.at)), "here")
                            .help(unknown.help()),
                    );
                    continue;
                }
            };
            let strategy = inner.iter().find_map(|inner| text(value.pointer(inner)?));
            if let Some(strategy) = strategy {
                said(Some(tier), &strategy, &key, found);
            }
        }
    }
    for key in ["/handling_strategy", "/strategy", "/action"] {
        if let Some(word) = item.text(&[key]) {
            said(None, &word, key, found);
        }
    }
    if declaration.strategies.iter().all(|(_, strategy)| *strategy == SecretStrategy::Unspecified)
        && let Some(word) = item.text(&["/fallback_strategy"])
        && let Ok(strategy) = look_up(&words().strategies, &word)
    {
        declaration.strategies = vec![(None, strategy)];
    }
}

fn formats(item: &Item<'_>, declaration: &mut Declaration) {
    declaration.format = item
        .text(&["/validation_pattern", "/pattern", "/validation/pattern", "/format"])
        .filter(|format| !words().is_format_word(format));
}

fn prompt(item: &Item<'_>) -> Option<SecretPrompt> {
    if let Some(label) = item.text(&["/prompt"]) {
        return Some(SecretPrompt { label: Some(label), description: None });
    }
    let prompt = SecretPrompt {
        label: item.text(&["/prompt/label", "/prompt/title"]),
        description: item.text(&[
            "/prompt/description",
            "/prompt/hint",
            "/documentation",
            "/documentation_url",
        ]),
    };
    (prompt != SecretPrompt::default()).then_some(prompt)
}

fn generator(item: &Item<'_>, name: &VariableName, found: &mut Vec<Diagnostic>) -> Option<GeneratorSpec> {
    let at = ["/generator", "/generator_template"].into_iter().find(|at| {
        item.value.pointer(at).and_then(Value::as_object).is_some_and(|generator| !generator.is_empty())
    })?;
    let inside = |key: &str| item.value.pointer(&format!("{at}/{key}"));
    let mut refuse = |key: &str, message: String| {
        let mut diagnostic = rules::SECRET_GENERATOR.diagnostic(message);
        diagnostic = diagnostic.at(item.span(&format!("{at}/{key}")), "here");
        found.push(diagnostic.help("made are `random` (with `length` and `charset`) and `uuid`"));
    };
    match inside("type").and_then(text).as_deref() {
        None | Some("random") => {}
        Some("uuid") => return Some(GeneratorSpec::Uuid),
        Some(other) => {
            refuse("type", format!("`{name}` cannot be made by `{other}`; random characters are used"));
        }
    }
    let length = match inside("length").map(|length| length.as_u64().and_then(|n| usize::try_from(n).ok())) {
        None => GENERATED_LENGTH,
        Some(Some(length)) if GENERATED_LENGTHS.contains(&length) => length,
        Some(_) => {
            let (least, most) = (GENERATED_LENGTHS.start(), GENERATED_LENGTHS.end());
            refuse(
                "length",
                format!(
                    "`{name}` can have between {least} and {most} characters; {GENERATED_LENGTH} are used"
                ),
            );
            GENERATED_LENGTH
        }
    };
    let charset = match inside("charset").and_then(text) {
        None => crate::secrets::Charset::default(),
        Some(word) => look_up(&words().charsets, &word).unwrap_or_else(|(_, known)| {
            refuse(
                "charset",
                format!(
                    "`{word}` is no set of characters that is known ({known}); letters and digits are used"
                ),
            );
            crate::secrets::Charset::default()
        }),
    };
    Some(GeneratorSpec::Random { length, charset })
}

/// Where it is kept: the bundle's `vault`, a secret reference of `service.json`, or a path of
/// a resource's `secrets.yaml`.
fn source(item: &Item<'_>, declaration: &mut Declaration, found: &mut Vec<Diagnostic>) {
    if let (Some(path), Some(key)) = (item.text(&["/vault/path"]), item.text(&["/vault/key"])) {
        declaration.source = vault(&path, key, item.text(&["/vault/namespace"]));
        return;
    }
    let name = || declaration.name.clone();
    match item.text(&["/source"]).as_deref() {
        Some("environment" | "env") => {
            let name = item.text(&["/key"]).and_then(|key| VariableName::new(key).ok()).unwrap_or_else(name);
            declaration.source = Some(SecretSource::Environment { name });
        }
        Some("file") => {
            if let Some(path) = item.text(&["/path", "/file", "/key"]) {
                declaration.source = Some(SecretSource::File { path: path.into() });
            }
        }
        Some("vault") => {
            let path = item.text(&["/path", "/name"]);
            if let (Some(path), Some(key)) = (path, item.text(&["/key"])) {
                declaration.source = vault(&path, key, item.text(&["/namespace"]));
            }
        }
        Some(store @ ("kubernetes" | "aws-secrets" | "azure-keyvault" | "gcp-secrets")) => {
            declaration.foreign_store = Some(store.to_owned());
        }
        Some(other) if item.value.get("secret_key").is_none() => found.push(odd(
            item,
            "/source",
            format!("`{other}` is no place from which a secret can be fetched"),
        )),
        _ => {}
    }
}

/// `secret/data/apps/x` names its mount first, as the API does.
fn vault(path: &str, key: String, namespace: Option<String>) -> Option<SecretSource> {
    let path = path.trim_matches('/');
    let (mount, path) = match path.split_once("/data/") {
        Some((mount, path)) => (Some(mount.to_owned()), path),
        None => (None, path.strip_prefix("secret/").unwrap_or(path)),
    };
    (!path.is_empty()).then(|| {
        SecretSource::Vault(VaultSource {
            address: None,
            namespace,
            mount,
            path: path.to_owned(),
            key,
            version: None,
            token: None,
            ca_file: None,
        })
    })
}
