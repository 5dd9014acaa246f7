//! What a machine is told when it starts: a script that is always the same, and below it what it is to start.
//! Nothing of an app stands in the script, and no value of a secret in any of it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use vrooli_deploy_core::manifest::{Command, ServiceConfig};
use vrooli_deploy_core::names::ServiceName;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::secrets::SecretRef;

use super::super::environment::{Given, variables};
use super::super::image::folder;
use super::super::site::{Place, ports};
use crate::native::unexpected;

/// What is run. The plan follows its last line.
const START: &str = include_str!("start.sh");
/// The line of the plan that holds the whole record of a release, without a secret.
const RECORD: &str = "record ";
/// What begins what is packed.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// A record is no longer than this, packed or not.
const RECORD_LIMIT: u64 = 16 << 20;

fn word(text: &str) -> String {
    STANDARD.encode(text)
}

/// A registry of AWS's own by the name of an image, and its region: `<account>.dkr.ecr.<region>.amazonaws.com`.
fn registry(image: &str) -> Option<(&str, &str)> {
    let (host, _) = image.split_once('/')?;
    let (_, rest) = host.split_once(".dkr.ecr.")?;
    let (region, domain) = rest.split_once('.')?;
    domain.starts_with("amazonaws.com").then_some((host, region))
}

/// Services so that what a service needs comes before it.
fn in_order<'a>(
    mut left: Vec<(&'a ServiceName, &'a ServiceConfig)>,
) -> Vec<(&'a ServiceName, &'a ServiceConfig)> {
    let mut all = Vec::new();
    while !left.is_empty() {
        let waits = |one: &(&ServiceName, &ServiceConfig)| {
            one.1.needs.iter().any(|need| left.iter().any(|(other, _)| *other == need))
        };
        // A circle is refused when a manifest is read.
        let next = left.iter().position(|one| !waits(one)).unwrap_or(0);
        all.push(left.remove(next));
    }
    all
}

/// Everything that a machine of a release needs to know: the script with its plan.
///
/// # Errors
/// When a service is given what cannot be had on a machine of a group.
pub(super) fn script<P>(
    place: &Place<P>,
    logs: &str,
    release: &Release,
    values: &BTreeMap<SecretRef, String>,
) -> Result<String> {
    let wrong = |what| unexpected("ec2:CreateLaunchTemplateVersion", what);
    let bundle = &release.bundle;
    let image = &bundle.artefact.location;
    let ports = ports(bundle);
    let mut plan = vec![
        format!("region {}", place.region),
        format!("group {logs}"),
        format!("release {}", release.number),
        format!("image {image}"),
    ];
    plan.extend(registry(image).map(|(host, region)| format!("registry {host} {region}")));
    for (name, config) in in_order(place.services(bundle).collect()) {
        let mut options: Vec<String> = Vec::new();
        let (first, rest) = match &config.run {
            Command::Shell(text) => ("sh".to_owned(), vec!["-c".to_owned(), text.clone()]),
            Command::Exec(words) => {
                let (first, rest) = words.split_first().ok_or_else(|| wrong("command"))?;
                (first.clone(), rest.to_vec())
            }
        };
        options.extend(["--entrypoint".to_owned(), first]);
        if let Some(folder) = folder(&bundle.artefact.root, config.dir.as_deref()) {
            options.extend(["--workdir".to_owned(), folder]);
        }
        if let Some(grace) = config.stop_grace {
            options.extend(["--stop-timeout".to_owned(), grace.as_secs().to_string()]);
        }
        let mut secrets = Vec::new();
        for (variable, given) in variables(release, name, &ports)? {
            match given {
                Given::Plain(text) => options.extend(["--env".to_owned(), format!("{variable}={text}")]),
                Given::Secret(reference) => {
                    let value = values.get(reference).ok_or_else(|| wrong("secret"))?;
                    let (arn, version) = value.split_once(":::").ok_or_else(|| wrong("secret"))?;
                    secrets.push(format!("secret {variable} {arn} {version}"));
                }
            }
        }
        plan.push(format!("container {name}"));
        plan.extend(options.iter().map(|text| format!("option {}", word(text))));
        plan.extend(secrets);
        plan.push("run".to_owned());
        plan.extend(rest.iter().map(|text| format!("word {}", word(text))));
        plan.push("end".to_owned());
    }
    let record = serde_json::to_string(release).map_err(|_| wrong("record"))?;
    plan.push(format!("{RECORD}{}", word(&record)));
    Ok(format!("{START}{}\n", plan.join("\n")))
}

/// A script as AWS takes it: packed if it is too long as it is, in base64.
///
/// # Errors
/// When it is too long packed, too. `limit` is in bytes, before base64.
pub(super) fn encoded(script: &str, limit: usize) -> Result<String> {
    if script.len() <= limit {
        return Ok(STANDARD.encode(script));
    }
    let mut packing = GzEncoder::new(Vec::new(), Compression::best());
    let packed = packing.write_all(script.as_bytes()).and_then(|()| packing.finish());
    let packed = packed.map_err(|_| unexpected("ec2:CreateLaunchTemplateVersion", "user data"))?;
    if packed.len() <= limit {
        return Ok(STANDARD.encode(packed));
    }
    let words = format!(
        "what a machine is told when it starts is {} bytes long (packed; {} as it is), and AWS takes {limit}",
        packed.len(),
        script.len()
    );
    Err(ProviderError::new(ErrorKind::Config, words).with_help(
        "give the app fewer and shorter environment variables, move large ones into its image, or choose the compute type `fargate`",
    ))
}

/// The release that user data are of, as AWS gives them; `None` of what is not ours.
pub(super) fn release(user_data: &str) -> Option<Release> {
    let bytes = STANDARD.decode(user_data).ok()?;
    let mut script = String::new();
    if bytes.starts_with(&GZIP) {
        GzDecoder::new(&*bytes).take(RECORD_LIMIT).read_to_string(&mut script).ok()?;
    } else {
        script = String::from_utf8(bytes).ok()?;
    }
    let (_, plan) = script.split_once("\n#-- plan\n")?;
    let record = plan.lines().find_map(|line| line.strip_prefix(RECORD))?;
    serde_json::from_slice(&STANDARD.decode(record).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_core::names::ReleaseNumber;

    use super::*;

    fn one() -> Release {
        let digest = format!("sha256:{}", "0".repeat(64));
        let secret = serde_json::json!({
            "$secret": "file", "path": "shop/default/API_KEY", "version": 1, "hash": "h"
        });
        let bundle = serde_json::json!({
            "app": "shop", "environment": "default", "version": "1",
            "artefact": {
                "digest": digest, "source": digest, "root": "/app",
                "location": format!("1.dkr.ecr.eu-west-1.amazonaws.com/shop@{digest}")
            },
            "services": {
                "api": { "run": ["/api", "it's $(here) `now`\n"], "ports": { "http": {} }, "needs": ["web"], "dir": "api" },
                "jobs": { "run": ["/jobs"] },
                "web": { "run": "exec /web", "ports": { "http": { "port": 3000 } } },
            },
            "env": { "api": { "GREETING": { "value": "a 'b' \"c\"\nd" }, "API_KEY": { "secret": secret } } },
            "smoke": [], "strategy": { "type": "blue-green" }, "resources": [], "migrations": [],
        });
        Release::new(ReleaseNumber(4), serde_json::from_value(bundle).unwrap()).unwrap()
    }

    fn place() -> Place<()> {
        Place {
            key: "compute/app".to_owned(),
            region: "us-east-1".to_owned(),
            slots: ["shop-blue".to_owned(), "shop-green".to_owned()],
            count: 1,
            scaled: false,
            on: (),
        }
    }

    fn values(release: &Release) -> BTreeMap<SecretRef, String> {
        let names: Vec<ServiceName> = release.bundle.services.keys().cloned().collect();
        let all = super::super::super::environment::secrets(release, &names);
        all.map(|one| (one.clone(), "arn:aws:secretsmanager:us-east-1:1:secret:a:::v1".to_owned())).collect()
    }

    #[test]
    fn words_of_an_app_stand_in_the_plan_and_in_no_script() {
        let release = one();
        let script = script(&place(), "/shop/default", &release, &values(&release)).unwrap();
        let plan = script.strip_prefix(START).unwrap();
        for line in [
            "image 1.dkr.ecr.eu-west-1.amazonaws.com/shop@sha256:",
            "registry 1.dkr.ecr.eu-west-1.amazonaws.com eu-west-1\n",
            "secret API_KEY arn:aws:secretsmanager:us-east-1:1:secret:a v1\n",
            &format!("word {}\n", word("it's $(here) `now`\n")),
            &format!("option {}\n", word("GREETING=a 'b' \"c\"\nd")),
            &format!("option {}\n", word("/app/api")),
        ] {
            assert!(plan.contains(line), "no {line} in {plan}");
        }
        assert!(plan.lines().all(|line| !line.contains(['$', '`', '\'', '"', '\\'])), "{plan}");
        let at = |name: &str| plan.find(&format!("container {name}\n")).unwrap();
        assert!(at("web") < at("api"), "what is needed starts first");
        assert!(!plan.contains("container jobs"), "a worker has machines of its own");
    }

    #[test]
    fn a_release_is_read_back_packed_or_not() {
        let release = one();
        let script = script(&place(), "/shop/default", &release, &values(&release)).unwrap();
        for limit in [script.len(), script.len() - 1] {
            assert_eq!(super::release(&encoded(&script, limit).unwrap()).as_ref(), Some(&release), "{limit}");
        }
        let again = encoded(&script, script.len() - 1).unwrap();
        assert_eq!(again, encoded(&script, script.len() - 1).unwrap(), "the same bytes each time");
        assert_eq!(super::release(&STANDARD.encode("#!/bin/sh\necho others\n")), None);
        assert_eq!(super::release("not base64!"), None);
    }

    #[test]
    fn what_is_too_long_is_refused_with_its_size() {
        let error = encoded(START, 100).unwrap_err();
        assert!(
            error.message().contains(&format!("{} as it is), and AWS takes 100", START.len())),
            "{error}"
        );
    }

    #[test]
    fn only_registries_of_aws_are_logged_in_to() {
        let of = |image: &str| registry(image).map(|(_, region)| region.to_owned());
        assert_eq!(of("1.dkr.ecr.cn-north-1.amazonaws.com.cn/a@sha256:0").as_deref(), Some("cn-north-1"));
        assert_eq!(of("docker.io/library/nginx@sha256:0"), None);
        assert_eq!(of("1.dkr.ecr.eu-west-1.example.com/a@sha256:0"), None);
    }
}
