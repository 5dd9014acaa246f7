//! Where the emulator differs from AWS it is put right on the way.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use super::wire::action;
use crate::fault_proxy::{Correction, Passing};

/// What is put right on the way to the emulator and back.
pub const AS_AWS: Correction = Correction { request: as_aws_takes_it, answer: as_aws_gives_it };

fn replaced(body: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(body).replace(from, to).into_bytes()
}

/// What the emulator does not take as AWS does: `false` may be left out, and a token may be used
/// again for a certificate after the first was deleted (the emulator looks for that one and breaks).
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
        _ => {}
    }
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

/// What the emulator calls by another name than AWS, or does faster.
pub fn as_aws_gives_it(request: &Passing, body: Bytes) -> Bytes {
    match action(request).as_str() {
        "DescribeDBInstances" if WAITS.load(Ordering::SeqCst) => {
            let status = |word: &str| format!("<ParameterApplyStatus>{word}</ParameterApplyStatus>");
            return replaced(&body, &status("in-sync"), &status("pending-reboot")).into();
        }
        "DescribeDBInstances" => return being_made(&body).unwrap_or(body),
        "RebootDBInstance" => WAITS.store(false, Ordering::SeqCst),
        _ => {}
    }
    if request.method == "GET" && request.path.contains("?versioning") {
        return replaced(&body, "GetBucketVersioningResponse", "VersioningConfiguration").into();
    }
    body
}
