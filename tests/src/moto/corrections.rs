//! Where the emulator differs from AWS it is put right on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::wire::action;
use crate::fault_proxy::{Correction, Passing};
use bytes::Bytes;
use hyper::header::HeaderValue;
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// What is put right on the way to the emulator and back.
pub const AS_AWS: Correction = Correction { request: as_aws_takes_it, answer: as_aws_gives_it };

fn replaced(body: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(body).replace(from, to).into_bytes()
}

/// What the emulator does not take as AWS does: `false` may be left out, a token may be used again for a certificate after the first was deleted (the emulator looks for that one and breaks),
/// and each database has a resource id of its own (in the emulator all have the same).
pub fn as_aws_takes_it(request: &mut Passing) {
    static CERTIFICATES: AtomicU32 = AtomicU32::new(0);
    match action(request).as_str() {
        "PutImageScanningConfiguration" => {
            let said = r#""imageScanningConfiguration":{"scanOnPush":false}"#;
            request.body = replaced(&request.body, r#""imageScanningConfiguration":{}"#, said).into();
        }
        "RequestCertificate" => {
            let count = CERTIFICATES.fetch_add(1, Ordering::SeqCst);
            let said = format!(r#""IdempotencyToken":"{count}-"#);
            request.body = replaced(&request.body, r#""IdempotencyToken":""#, &said).into();
        }
        "CreateTags" => tagged(&request.body),
        "CancelRotateSecret" => kept_still(request),
        "DescribeDBInstances" => {
            if let Some(body) = by_name(&request.body) {
                request.body = body.into();
            }
        }
        _ => {}
    }
}

/// Tags that launch templates were given after they were made: name and value by id. The emulator goes on
/// telling those that they were made with.
static TEMPLATES: Mutex<BTreeMap<String, BTreeMap<String, String>>> = Mutex::new(BTreeMap::new());

fn templates() -> MutexGuard<'static, BTreeMap<String, BTreeMap<String, String>>> {
    TEMPLATES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the tags that a launch template is given.
fn tagged(body: &[u8]) {
    let said = String::from_utf8_lossy(body);
    let fields: BTreeMap<&str, String> = said
        .split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (name, percent_decode_str(value).decode_utf8_lossy().into_owned()))
        .collect();
    let Some(id) = fields.get("ResourceId.1").filter(|id| id.starts_with("lt-")) else { return };
    let tags = (1..).map_while(|at| {
        let word = |what| fields.get(&*format!("Tag.{at}.{what}")).cloned();
        Some((word("Key")?, word("Value")?))
    });
    templates().entry(id.clone()).or_default().extend(tags);
}

/// Launch templates with the tags that they were given last.
fn with_last_tags(body: &[u8]) -> String {
    let said = String::from_utf8_lossy(body);
    let (start, given) = ("<launchTemplateId>", templates());
    let mut parts = said.split(start);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut part = part.to_owned();
        let id = part.split('<').next().unwrap_or_default().to_owned();
        for (name, value) in given.get(&id).into_iter().flatten() {
            let key = format!("<key>{name}</key><value>");
            if let Some((before, rest)) = part.split_once(&key)
                && let Some((_, after)) = rest.split_once('<')
            {
                part = format!("{before}{key}{value}<{after}");
            }
        }
        whole = whole + start + &part;
    }
    whole
}

/// Secrets that another service keeps, and whose values it changes no more. In the emulator it never does, so nobody can
/// end it there.
static KEPT_STILL: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn secret_asked(body: &[u8]) -> Option<String> {
    let asked: Value = serde_json::from_slice(body).ok()?;
    Some(asked["SecretId"].as_str()?.to_owned())
}

/// The end of a rotation, as a look at the secret that has had one.
fn kept_still(request: &mut Passing) {
    let Some(id) = secret_asked(&request.body).filter(|id| id.contains(":secret:rds!")) else { return };
    KEPT_STILL.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    request.headers.insert("x-amz-target", HeaderValue::from_static("secretsmanager.DescribeSecret"));
}

/// A secret that another service keeps, which changes its value unless somebody ended that.
fn rotated(request: &Passing, body: &[u8]) -> Option<Bytes> {
    let id = secret_asked(&request.body).filter(|id| id.contains(":secret:rds!"))?;
    let mut said: Value = serde_json::from_slice(body).ok()?;
    let still = KEPT_STILL.lock().unwrap_or_else(PoisonError::into_inner).contains(&id);
    said["RotationEnabled"] = (!still).into();
    Some(said.to_string().into())
}

/// The resource id that all databases of the emulator have.
const RESOURCE_ID: &str = "db-M5ENSHXFPU6XHZ4G4ZEI5QIO2U";

/// A resource id from which the name can be read: letters and digits, as AWS's are.
fn resource_id(name: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
    format!("db-{hex}")
}

/// A question for a resource id as one for the name that is in it.
fn by_name(body: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(body);
    if !said.contains("dbi-resource-id") {
        return None;
    }
    let (start, rest) = said.split_once("=db-")?;
    let end = rest.find('&').unwrap_or(rest.len());
    let (hex, rest) = rest.split_at(end);
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let name: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    let name = String::from_utf8(name?).ok()?;
    Some(format!("{start}={name}{rest}").replace("dbi-resource-id", "db-instance-id"))
}

/// Each database with an id of its own.
fn with_own_ids(body: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(body);
    if !said.contains(RESOURCE_ID) {
        return None;
    }
    let named = |part: &str| {
        let name = super::elements(part, "DBInstanceIdentifier").into_iter().next();
        name.map_or_else(|| part.to_owned(), |name| part.replace(RESOURCE_ID, &resource_id(&name)))
    };
    let end = "</DBInstance>";
    Some(said.split(end).map(named).collect::<Vec<_>>().join(end))
}

/// So many more looks at a database find it being made: the emulator makes one at once.
pub static UNFINISHED: AtomicU32 = AtomicU32::new(0);

/// Does a database wait for its next start to read its settings? In the emulator none does.
pub static WAITS: AtomicBool = AtomicBool::new(false);

fn being_made(body: &[u8]) -> Option<Bytes> {
    let said = String::from_utf8_lossy(body);
    let (start, rest) = said.split_once("<Endpoint>")?;
    let (_, end) = rest.split_once("</Endpoint>")?;
    UNFINISHED.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok()?;
    let status = |word: &str| format!("<DBInstanceStatus>{word}</DBInstanceStatus>");
    Some(format!("{start}{end}").replace(&status("available"), &status("creating")).into())
}

/// A distribution with a policy has no rules of its own beside it, and one certificate only.
fn as_it_was_set(body: &[u8]) -> Option<String> {
    let mut said = String::from_utf8_lossy(body).into_owned();
    if said.contains("<CachePolicyId>")
        && let Some((start, rest)) = said.split_once("<ForwardedValues>")
        && let Some((_, end)) = rest.split_once("</ForwardedValues>")
    {
        said = format!("{start}{end}");
    }
    let default = |is: bool| format!("<CloudFrontDefaultCertificate>{is}</CloudFrontDefaultCertificate>");
    if said.contains("<ACMCertificateArn>arn:") {
        said = said.replace(&default(true), &default(false));
    }
    (said.as_bytes() != body).then_some(said)
}

/// What the emulator calls by another name than AWS, or does faster.
pub fn as_aws_gives_it(request: &Passing, body: Bytes) -> Bytes {
    let action = action(request);
    if request.path.starts_with("/2020-05-31/distribution/") {
        return as_it_was_set(&body).map_or(body, Bytes::from);
    }
    let body = match with_own_ids(&body) {
        Some(said) if action.ends_with("DBInstance") || action == "DescribeDBInstances" => said.into(),
        _ => body,
    };
    match action.as_str() {
        "DescribeDBInstances" if WAITS.load(Ordering::SeqCst) => {
            let status = |word: &str| format!("<ParameterApplyStatus>{word}</ParameterApplyStatus>");
            return replaced(&body, &status("in-sync"), &status("pending-reboot")).into();
        }
        "DescribeDBInstances" => return being_made(&body).unwrap_or(body),
        // All that it tells was set by somebody.
        "DescribeDBParameters" => {
            return replaced(&body, "</Parameter>", "<Source>user</Source></Parameter>").into();
        }
        "DescribeSecret" => return rotated(request, &body).unwrap_or(body),
        "RebootDBInstance" => WAITS.store(false, Ordering::SeqCst),
        _ => {}
    }
    if action == "DescribeLaunchTemplates" {
        return with_last_tags(&body).into();
    }
    // Debian's images call the disk that they start from so; the emulator knows none of them.
    if action == "DescribeInstances" {
        return replaced(&body, "<rootDeviceName>/dev/sda1<", "<rootDeviceName>/dev/xvda<").into();
    }
    if request.method == "GET" && request.path.contains("?versioning") {
        return replaced(&body, "GetBucketVersioningResponse", "VersioningConfiguration").into();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_the_tags_that_it_was_given_last() {
        tagged(b"Action=CreateTags&ResourceId.1=lt-1&Tag.1.Key=vrooli%3Aowner&Tag.1.Value=b");
        tagged(b"Action=CreateTags&ResourceId.1=vpc-1&Tag.1.Key=vrooli%3Aowner&Tag.1.Value=b");
        let item = |id: &str, owner: &str| {
            format!(
                "<item><launchTemplateId>{id}</launchTemplateId><tagSet><item><key>a</key><value>b</value></item>\
                 <item><key>vrooli:owner</key><value>{owner}</value></item></tagSet></item>"
            )
        };
        let said = with_last_tags((item("lt-0", "a") + &item("lt-1", "a")).as_bytes());
        assert_eq!(said, item("lt-0", "a") + &item("lt-1", "b"));
    }

    #[test]
    fn each_database_has_an_id_of_its_own_and_is_found_by_it() {
        let one = |name: &str| {
            format!(
                "<DBInstance><DBInstanceIdentifier>{name}</DBInstanceIdentifier>\
                 <DbiResourceId>{RESOURCE_ID}</DbiResourceId></DBInstance>"
            )
        };
        let said = with_own_ids((one("a-1") + &one("b") + "<End/>").as_bytes()).unwrap();
        assert_eq!(super::super::elements(&said, "DbiResourceId"), ["db-612D31", "db-62"]);
        assert!(said.ends_with("</DBInstance><End/>"), "{said}");
        let asked = "Action=DescribeDBInstances&Filters.Filter.1.Name=dbi-resource-id\
                     &Filters.Filter.1.Values.Value.1=db-612D31&Version=2014-10-31";
        assert_eq!(
            by_name(asked.as_bytes()).unwrap(),
            "Action=DescribeDBInstances&Filters.Filter.1.Name=db-instance-id\
             &Filters.Filter.1.Values.Value.1=a-1&Version=2014-10-31"
        );
        assert_eq!(by_name(b"Action=DescribeDBInstances"), None);
    }
}
