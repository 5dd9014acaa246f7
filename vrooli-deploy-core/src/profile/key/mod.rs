//! The keys of `profile set` and `profile unset`: what each takes, and what it changes.

mod change;

use std::path::Path;

use self::change::{change, take};
use super::{Profile, check};
use crate::diagnostics::{Diagnostic, Severity, rules};
use crate::manifest::credentials::{has_key_format, url_password};
use crate::manifest::shape::nearest;

/// A key of a profile that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettableKey {
    /// As it is typed.
    pub name: &'static str,
    /// What follows it.
    pub takes: &'static str,
    /// What it is for.
    pub about: &'static str,
}

const fn key(name: &'static str, takes: &'static str, about: &'static str) -> SettableKey {
    SettableKey { name, takes, about }
}

/// All keys that can be set, in the order in which they are best shown.
pub const KEYS: &[SettableKey] = &[
    key("tier", "TIER", "where it is to run: local, desktop, mobile, saas, enterprise, or 1 to 5"),
    key("provider", "PROVIDER", "who runs it: local, digitalocean, aws, bare-metal, …"),
    key("region", "REGION", "the provider's name of the region"),
    key("environment", "NAME", "the environment of the stack: staging, production, …"),
    key("domain", "HOST", "the host name that the app is reached at"),
    key("strategy", "STRATEGY", "how one release follows another"),
    key("env", "VARIABLE VALUE", "an environment variable of every service; never a secret"),
    key("secret", "VARIABLE generate|environment:NAME|file:PATH|store:PATH", "a secret, by reference"),
    key("drop", "DEPENDENCY…", "dependencies to leave out"),
    key("swap", "FROM=TO…", "dependencies to use something else for"),
    key("values", "FILE…", "values files to lay over the manifest, the weakest first"),
    key("type.compute", "KIND", "machines or containers: droplet, fargate, ec2, …"),
    key("type.database", "KIND", "what the main database is: managed-postgres, …"),
    key("type.cache", "KIND", "what the main cache is: managed-redis, …"),
    key("type.storage", "KIND", "what object storage is: spaces, s3, …"),
    key("size.compute", "SIZE", "the provider's name of a size"),
    key("size.database", "SIZE", "the provider's name of a size"),
    key("size.cache", "SIZE", "the provider's name of a size"),
    key("size.storage", "SIZE", "the provider's name of a size"),
    key("count.compute", "N", "how many machines or containers"),
    key("region.database", "REGION", "a region other than the app's"),
    key("region.cache", "REGION", "a region other than the app's"),
    key("region.storage", "REGION", "a region other than the app's"),
    key("version.database", "VERSION", "engine version"),
    key("version.cache", "VERSION", "engine version"),
    key("server", "HOST ROLE", "a server that is there already (bare metal)"),
    key("load_balancer", "true|false", "a load balancer in front"),
    key("ssl", "letsencrypt|managed|none", "where certificates come from"),
    key("cdn", "true|false", "a content delivery network in front"),
    key("port", "PORT", "fixed public port"),
    key("listen", "ADDRESS", "address to listen on"),
    key("include_optional", "true|false", "provide optional dependencies too"),
    key("app", "NAME", "the app's name in the workspace"),
    key("scenario", "PATH", "the app's folder or manifest file"),
    key("name", "NAME", "the profile's own name"),
];

/// What people also call a key.
const ALIASES: &[(&str, &str)] = &[
    ("count", "count.compute"),
    ("size", "size.compute"),
    ("load-balancer", "load_balancer"),
    ("environment_name", "environment"),
];

/// Sets a key and says in words what was done. `folder` is where relative paths start. On an
/// error the profile is as it was.
///
/// # Errors
/// A diagnostic: no such key (with the nearest), or a value that the key does not take. No
/// message repeats a value that may be a secret.
pub fn set(
    profile: &mut Profile,
    key: &str,
    values: &[String],
    folder: &Path,
) -> Result<String, Box<Diagnostic>> {
    let key = find(key)?;
    let mut changed = profile.clone();
    let done = change(&mut changed, key, values, folder)?;
    sound(profile, &changed)?;
    *profile = changed;
    Ok(done)
}

/// Takes back what a key set: the manifest or the provider decides again. For keys with names
/// (`env`, `secret`, `drop`, `swap`, `values`, `server`) `names` says which; none means all.
///
/// # Errors
/// A diagnostic: no such key, nothing of that name is set, or the key cannot do without a value.
pub fn unset(
    profile: &mut Profile,
    key: &str,
    names: &[String],
    folder: &Path,
) -> Result<String, Box<Diagnostic>> {
    let key = find(key)?;
    let mut changed = profile.clone();
    take(&mut changed, key, names, folder)?;
    if changed == *profile {
        let which = if names.is_empty() { String::new() } else { format!(" {}", names.join(" ")) };
        return Err(refused(
            format!("`{}{which}` is not set", key.name),
            "`profile show PROFILE` shows what is set",
        ));
    }
    sound(profile, &changed)?;
    *profile = changed;
    Ok(if names.is_empty() {
        format!("unset {}", key.name)
    } else {
        format!("unset {} {}", key.name, names.join(" "))
    })
}

fn find(name: &str) -> Result<SettableKey, Box<Diagnostic>> {
    let wanted = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, key)| key);
    if let Some(key) = KEYS.iter().find(|key| key.name == wanted) {
        return Ok(*key);
    }
    let known = KEYS.iter().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(", ");
    let near = nearest(name, KEYS.iter().map(|key| key.name));
    let shown = if secretive(name) { "that" } else { name };
    Err(Box::new(rules::PROFILE_SETTING.diagnostic(format!("a profile has no setting `{shown}`")).help(
        match near {
            Some(near) => format!("did you mean `{near}`? Known are {known}"),
            None => format!("known are {known}"),
        },
    )))
}

/// The first thing that the change made wrong.
fn sound(before: &Profile, after: &Profile) -> Result<(), Box<Diagnostic>> {
    let known = check(before);
    let wrong = check(after).into_iter().find(|d| d.severity == Severity::Error && !known.contains(d));
    wrong.map_or(Ok(()), |diagnostic| Err(Box::new(diagnostic)))
}

fn refused(message: impl Into<String>, help: impl Into<String>) -> Box<Diagnostic> {
    Box::new(rules::PROFILE_VALUE.diagnostic(message).help(help))
}

fn secretive(text: &str) -> bool {
    has_key_format(text) || url_password(text).is_some()
}

/// A value as a message may show it.
fn shown(value: &str) -> String {
    if secretive(value) { "the value".to_owned() } else { format!("`{value}`") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::*;
    use crate::manifest::Tier;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').filter(|w| !w.is_empty()).map(ToOwned::to_owned).collect()
    }

    fn try_set(profile: &mut Profile, line: &str) -> Result<String, Box<Diagnostic>> {
        let mut line = words(line);
        let key = line.remove(0);
        set(profile, &key, &line, Path::new("/"))
    }

    #[test]
    fn every_key_can_be_set_and_what_can_go_can_be_unset() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("values.yaml");
        std::fs::write(&file, "").unwrap();
        for key in KEYS {
            let value = match key.name {
                "tier" => "tier-5".to_owned(),
                "provider" => "do".to_owned(),
                "strategy" => "canary".to_owned(),
                "env" => "LEVEL info".to_owned(),
                "secret" => "KEY environment:KEY".to_owned(),
                "drop" => "n8n qdrant".to_owned(),
                "swap" => "ollama=openrouter".to_owned(),
                "values" => file.display().to_string(),
                "scenario" => folder.path().display().to_string(),
                "server" => "db.example.com database".to_owned(),
                "domain" => "shop.example.com".to_owned(),
                "ssl" => "letsencrypt".to_owned(),
                "listen" => "127.0.0.1".to_owned(),
                "port" | "count.compute" => "8080".to_owned(),
                "load_balancer" | "cdn" | "include_optional" => "true".to_owned(),
                _ => "x-1".to_owned(),
            };
            let before = profile();
            let mut after = before.clone();
            try_set(&mut after, &format!("{} {value}", key.name))
                .unwrap_or_else(|e| panic!("{}: {e}", key.name));
            assert_ne!(after, before, "{}", key.name);
            let kept = ["tier", "app", "scenario", "name"].contains(&key.name);
            let result = unset(&mut after, key.name, &[], Path::new("/"));
            assert_eq!(result.is_err(), kept, "{}", key.name);
            assert!(kept || after == before, "{}", key.name);
            assert!(unset(&mut before.clone(), key.name, &[], Path::new("/")).is_err(), "{}", key.name);
        }
    }

    #[test]
    fn words_are_understood_by_their_aliases() {
        let mut p = profile();
        try_set(&mut p, "tier 4").unwrap();
        try_set(&mut p, "provider metal").unwrap();
        try_set(&mut p, "count 2").unwrap();
        try_set(&mut p, "env A=b=c").unwrap();
        assert_eq!(p.tier, Tier::Saas);
        assert_eq!(p.settings.provider.as_ref().unwrap().as_str(), "bare-metal");
        assert_eq!(p.settings.compute.count, Some(2));
        assert_eq!(p.settings.env[&"A".parse::<crate::names::VariableName>().unwrap()], "b=c");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_suggestion_and_changes_nothing() {
        for (line, code, help) in [
            ("regoin nyc1", rules::PROFILE_SETTING, "did you mean `region`?"),
            ("size.databse x", rules::PROFILE_SETTING, "did you mean `size.database`?"),
            ("provider digitalocan", rules::UNKNOWN_PROVIDER, "did you mean `digitalocean`?"),
            ("tier 6", rules::UNKNOWN_TIER, "known are"),
            ("ssl letsencript", rules::PROFILE_VALUE, "did you mean `letsencrypt`?"),
            ("count.compute -1", rules::PROFILE_VALUE, "takes N"),
            ("count.compute 0", rules::PROFILE_VALUE, "takes N"),
            ("port 70000", rules::PROFILE_VALUE, "takes PORT"),
            ("size.compute a/b", rules::PROFILE_VALUE, "takes SIZE"),
            ("swap postgres", rules::PROFILE_VALUE, "use something else"),
            ("env A", rules::PROFILE_VALUE, "environment variable"),
            ("env DB_PASSWORD hunter22", rules::PLAIN_SECRET, "refer to it"),
            ("secret KEY hunter22", rules::PROFILE_VALUE, "environment:NAME"),
            ("scenario /nowhere/at/all", rules::PROFILE_SCENARIO, "folder"),
            ("region", rules::PROFILE_VALUE, "region"),
            ("name profile-3", rules::PROFILE_VALUE, "lower-case"),
        ] {
            let before = profile();
            let mut after = before.clone();
            let error = try_set(&mut after, line).unwrap_err();
            assert_eq!(error.code, code, "{line}: {error}");
            assert!(error.help.as_deref().unwrap_or_default().contains(help), "{line}: {:?}", error.help);
            assert!(!format!("{error:?}").contains("hunter22"), "{line}");
            assert_eq!(after, before, "{line}");
        }
    }

    #[test]
    fn a_dependency_is_swapped_once_and_not_dropped_too() {
        let mut p = profile();
        try_set(&mut p, "swap ollama=openrouter").unwrap();
        try_set(&mut p, "swap ollama=anthropic").unwrap();
        assert_eq!(p.swaps.len(), 1);
        assert!(try_set(&mut p, "drop ollama").is_err());
        unset(&mut p, "swap", &["ollama".to_owned()], Path::new("/")).unwrap();
        try_set(&mut p, "drop ollama").unwrap();
    }
}
