//! What requests to AWS say, whichever SDK made them.

use serde_json::json;

use crate::fault_proxy::{Answer, Passing};

/// What requests to EC2 say, and no others.
const EC2: &str = "Version=2016-11-15";

/// What an AWS request asks for: `CreateLogGroup`, or method and path.
#[must_use]
pub fn action(request: &Passing) -> String {
    if let Some(target) = request.headers.get("x-amz-target") {
        return target.to_str().unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned();
    }
    let body = String::from_utf8_lossy(&request.body);
    let named = body.split('&').find_map(|field| field.strip_prefix("Action="));
    named.map_or_else(|| format!("{} {}", request.method, request.path), str::to_owned)
}

/// Does it make something that was not there?
#[must_use]
pub fn creates(request: &Passing) -> bool {
    let action = action(request);
    let bucket = |path: &str| !path.trim_matches('/').contains(['/', '?']);
    ["Create", "Allocate", "RunInstances", "RequestCertificate", "PutMetricAlarm", "PutDashboard", "Register"]
        .iter()
        .any(|start| action.starts_with(start))
        || action.starts_with("POST /2013-04-01/hostedzone")
        || action.starts_with("POST /2020-05-31/distribution")
        || action.strip_prefix("PUT ").is_some_and(bucket)
}

/// Does it change anything?
#[must_use]
pub fn changes(request: &Passing) -> bool {
    let action = action(request);
    !["Describe", "List", "Get", "GET", "HEAD"].iter().any(|start| action.starts_with(start))
        && action != "POST /2013-04-01/tags/hostedzone"
}

/// What a service that is asked too often answers, in the words of its protocol.
#[must_use]
pub fn refused(request: &Passing, code: &str, message: &str, status: u16) -> Answer {
    if request.headers.contains_key("x-amz-target") {
        let body = json!({ "__type": code, "message": message }).to_string();
        return Answer { status, content_type: "application/x-amz-json-1.1", body };
    }
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    if String::from_utf8_lossy(&request.body).contains(EC2) {
        let body =
            format!("<Response><Errors>{error}</Errors><RequestID>broken-on-the-way</RequestID></Response>");
        return Answer { status, content_type: "text/xml", body };
    }
    let dated = ["/2013-04-01/", "/2020-05-31/"].iter().any(|version| request.path.starts_with(version));
    let is_s3 = !dated && request.path != "/";
    let body = if is_s3 {
        error
    } else {
        format!("<ErrorResponse>{error}<RequestId>broken-on-the-way</RequestId></ErrorResponse>")
    };
    Answer { status, content_type: "text/xml", body }
}
