//! What AWS says, in the engine's terms: its own words, code and request id are kept.

use std::error::Error as StdError;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId as _;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Retryability};

/// What a call that gave no clear answer may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it reads.
    None,
    /// All that it was made for.
    Change,
}

/// Whole codes and their kinds. What is not here is recognised by its end or its status.
const CODES: &[(&str, ErrorKind)] = &[
    ("AccessDenied", ErrorKind::Permission),
    ("AccessDeniedException", ErrorKind::Permission),
    ("AuthorizationError", ErrorKind::Permission),
    ("UnauthorizedOperation", ErrorKind::Permission),
    ("AuthFailure", ErrorKind::Auth),
    ("ExpiredToken", ErrorKind::Auth),
    ("ExpiredTokenException", ErrorKind::Auth),
    ("IncompleteSignature", ErrorKind::Auth),
    ("InvalidAccessKeyId", ErrorKind::Auth),
    ("InvalidClientTokenId", ErrorKind::Auth),
    ("InvalidSignatureException", ErrorKind::Auth),
    ("InvalidToken", ErrorKind::Auth),
    ("MissingAuthenticationToken", ErrorKind::Auth),
    ("OptInRequired", ErrorKind::Auth),
    ("RequestExpired", ErrorKind::Auth),
    ("SignatureDoesNotMatch", ErrorKind::Auth),
    ("UnrecognizedClientException", ErrorKind::Auth),
    ("AuthorizationHeaderMalformed", ErrorKind::Config),
    ("IllegalLocationConstraintException", ErrorKind::Config),
    ("PermanentRedirect", ErrorKind::Config),
    ("DBSubnetGroupDoesNotCoverEnoughAZs", ErrorKind::Config),
    ("EC2ThrottledException", ErrorKind::RateLimited),
    ("PriorRequestNotComplete", ErrorKind::RateLimited),
    ("RequestLimitExceeded", ErrorKind::RateLimited),
    ("RequestThrottled", ErrorKind::RateLimited),
    ("RequestThrottledException", ErrorKind::RateLimited),
    ("SlowDown", ErrorKind::RateLimited),
    ("Throttling", ErrorKind::RateLimited),
    ("ThrottledException", ErrorKind::RateLimited),
    ("ThrottlingException", ErrorKind::RateLimited),
    ("TooManyRequestsException", ErrorKind::RateLimited),
    ("TooManyBuckets", ErrorKind::Quota),
    ("TooManyDistributionCNAMEs", ErrorKind::Quota),
    ("TooManyDistributions", ErrorKind::Quota),
    ("TooManyListeners", ErrorKind::Quota),
    ("TooManyLoadBalancers", ErrorKind::Quota),
    ("TooManyRules", ErrorKind::Quota),
    ("TooManyTargetGroups", ErrorKind::Quota),
    ("InsufficientInstanceCapacity", ErrorKind::Unavailable),
    ("InvalidGroup.Duplicate", ErrorKind::AlreadyExists),
    ("InvalidPermission.Duplicate", ErrorKind::AlreadyExists),
    ("Gateway.NotAttached", ErrorKind::NotFound),
    ("ServiceNotActiveException", ErrorKind::NotFound),
    ("InvalidIPAddress.InUse", ErrorKind::Conflict),
    ("InvalidSubnet.Conflict", ErrorKind::Conflict),
    ("IncorrectInstanceState", ErrorKind::Conflict),
    ("IncorrectModificationState", ErrorKind::Conflict),
    ("IncorrectState", ErrorKind::Conflict),
    ("ScalingActivityInProgress", ErrorKind::Conflict),
    ("VolumeInUse", ErrorKind::Conflict),
    ("VolumeModificationRateExceeded", ErrorKind::Conflict),
    ("Resource.AlreadyAssociated", ErrorKind::Conflict),
    ("DuplicateListener", ErrorKind::AlreadyExists),
    ("DuplicateRecordException", ErrorKind::AlreadyExists),
    ("DuplicateLoadBalancerName", ErrorKind::AlreadyExists),
    ("DuplicateTargetGroupName", ErrorKind::AlreadyExists),
    ("PriorityInUse", ErrorKind::AlreadyExists),
    ("OperationNotPermitted", ErrorKind::Conflict),
    ("BucketAlreadyOwnedByYou", ErrorKind::AlreadyExists),
    ("BucketNotEmpty", ErrorKind::Conflict),
    ("ConcurrentModification", ErrorKind::Conflict),
    ("ConcurrentModificationException", ErrorKind::Conflict),
    ("ConcurrentUpdateException", ErrorKind::Conflict),
    ("DeleteConflict", ErrorKind::Conflict),
    ("DependencyViolation", ErrorKind::Conflict),
    ("DistributionNotDisabled", ErrorKind::Conflict),
    ("HostedZoneNotEmpty", ErrorKind::Conflict),
    ("CacheSubnetGroupInUse", ErrorKind::Conflict),
    ("InvalidCacheClusterState", ErrorKind::Conflict),
    ("InvalidReplicationGroupState", ErrorKind::Conflict),
    ("KMSInvalidStateException", ErrorKind::Conflict),
    ("SubnetInUse", ErrorKind::Conflict),
    ("InvalidDBInstanceState", ErrorKind::Conflict),
    ("InvalidDBParameterGroupState", ErrorKind::Conflict),
    ("InvalidDBSubnetGroupStateFault", ErrorKind::Conflict),
    ("InvalidIfMatchVersion", ErrorKind::Conflict),
    ("OperationAborted", ErrorKind::Conflict),
    ("PreconditionFailed", ErrorKind::Conflict),
    ("RepositoryNotEmptyException", ErrorKind::Conflict),
    ("EntityTemporarilyUnmodifiable", ErrorKind::Conflict),
    ("ResourceExistsException", ErrorKind::AlreadyExists),
];

/// Beginnings, ends and middles of codes.
const PARTS: &[(&str, ErrorKind)] = &[
    ("AlreadyExists", ErrorKind::AlreadyExists),
    ("LimitExceeded", ErrorKind::Quota),
    ("QuotaExceeded", ErrorKind::Quota),
    ("QuotaForCluster", ErrorKind::Quota),
    ("QuotaForCustomer", ErrorKind::Quota),
    ("NotFound", ErrorKind::NotFound),
    ("NoSuch", ErrorKind::NotFound),
    ("ResourceInUse", ErrorKind::Conflict),
    ("ClusterContains", ErrorKind::Conflict),
    ("Validation", ErrorKind::Config),
    ("Malformed", ErrorKind::Config),
    ("Invalid", ErrorKind::Config),
];

fn kind_of(code: Option<&str>, status: u16, effect: Effect) -> ErrorKind {
    if let Some(code) = code {
        if let Some((_, kind)) = CODES.iter().find(|(known, _)| *known == code) {
            return *kind;
        }
        // Budgets say it with status 400.
        if code == "InternalErrorException" {
            return if effect == Effect::Change { ErrorKind::Ambiguous } else { ErrorKind::Unavailable };
        }
        if let Some((_, kind)) = PARTS.iter().find(|(part, _)| code.contains(part)) {
            return *kind;
        }
    }
    match (status, effect) {
        (429, _) => ErrorKind::RateLimited,
        (403, _) => ErrorKind::Permission,
        (401, _) => ErrorKind::Auth,
        (404, _) => ErrorKind::NotFound,
        (409, _) => ErrorKind::Conflict,
        // It may have happened before something broke.
        (500.., Effect::Change) => ErrorKind::Ambiguous,
        (500.., Effect::None) => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    }
}

/// EC2 and Auto Scaling learn of a new instance profile some seconds after IAM, and call it wrong until then.
fn profile_unknown(message: Option<&str>) -> bool {
    message.is_some_and(|said| said.contains("Invalid IAM Instance Profile"))
}

fn help_for(kind: ErrorKind, code: Option<&str>) -> Option<&'static str> {
    match (kind, code) {
        (ErrorKind::Auth, Some("ExpiredToken" | "ExpiredTokenException" | "RequestExpired")) => {
            Some("the session has ended (or this machine's clock is wrong): sign in again")
        }
        (ErrorKind::Auth, Some("OptInRequired")) => {
            Some("enable the region, or the service, for this account")
        }
        (ErrorKind::Auth, _) => Some(
            "check `configure` (`aws_access_key`, `aws_secret_key`, `aws_profile`) or AWS's own variables; a region that is not enabled refuses valid keys, too",
        ),
        (ErrorKind::Permission, _) => {
            Some("the action is named first; give it to the role or user that deploys")
        }
        (ErrorKind::Config, Some("AuthorizationHeaderMalformed" | "PermanentRedirect")) => {
            Some("it is in another region than the one asked")
        }
        (ErrorKind::Quota, _) => {
            Some("ask AWS for a higher quota (Service Quotas), or delete what is not used")
        }
        _ => None,
    }
}

/// The canonical request that AWS quotes for a wrong signature holds session tokens.
fn words(message: &str) -> &str {
    message.split("The Canonical String").next().unwrap_or_default().trim_end()
}

/// An error and what caused it, once each.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let (mut said, mut next) = (error.to_string(), error.source());
    while let Some(error) = next {
        let words = error.to_string();
        if !said.ends_with(&words) {
            said.push_str(": ");
            said.push_str(&words);
        }
        next = error.source();
    }
    said
}

/// A connection that was never made carried nothing.
fn never_left(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(client) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return client.is_connect();
        }
        next = error.source();
    }
    false
}

/// No credentials were found, or what gives them failed.
fn no_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<aws_credential_types::provider::error::CredentialsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error of the SDK as one of ours.
pub(super) fn failed<E>(
    action: &'static str,
    effect: Effect,
    error: SdkError<E, HttpResponse>,
) -> ProviderError
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let request = error.request_id().map(str::to_owned);
    let built = match &error {
        SdkError::ServiceError(answer) => {
            let (code, status) = (answer.err().code(), answer.raw().status().as_u16());
            let kind = if profile_unknown(answer.err().message()) {
                ErrorKind::NotFound
            } else {
                kind_of(code, status, effect)
            };
            let said = answer.err().message().map(words).filter(|said| !said.is_empty());
            let said = said.map_or_else(|| format!("HTTP status {status}"), str::to_owned);
            let mut built = ProviderError::new(kind, format!("{action}: {said}"));
            if let Some(code) = code {
                built = built.with_code(code);
            }
            if let Some(help) = help_for(kind, code) {
                built = built.with_help(help);
            }
            // Something else is under way with the very object: it did not happen, and may later.
            if matches!(
                code,
                Some("OperationAborted" | "ConcurrentModification" | "ConcurrentUpdateException")
            ) {
                built = built.with_retry(Retryability::Safe);
            }
            built
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            let kind = kind_of(None, status.max(500), effect);
            ProviderError::new(
                kind,
                format!("{action}: an answer that cannot be read (HTTP status {status})"),
            )
        }
        SdkError::ConstructionFailure(_) => ProviderError::new(
            ErrorKind::Config,
            format!("{action}: the request cannot be made: {}", chain(&error)),
        ),
        SdkError::DispatchFailure(failure) => {
            let source = failure.as_connector_error().map(|error| error as &(dyn StdError + 'static));
            if source.is_some_and(no_credentials) {
                ProviderError::new(ErrorKind::Auth, format!("{action}: no credentials for AWS were found"))
                    .with_code("VD1004")
                    .with_help(
                        "configure `aws_access_key` and `aws_secret_key`, or sign in with AWS's own tools and name the profile (`aws_profile`)",
                    )
            } else if failure.is_user() {
                ProviderError::new(ErrorKind::Config, format!("{action}: the request cannot be made"))
            } else {
                let left = !source.is_some_and(never_left);
                unreachable_error(action, effect, left, &source.map_or_else(String::new, chain))
            }
        }
        _ => unreachable_error(action, effect, true, &chain(&error)),
    };
    match request {
        Some(request) => built.with_request_id(request),
        None => built,
    }
}

fn unreachable_error(action: &str, effect: Effect, left: bool, said: &str) -> ProviderError {
    if left && effect == Effect::Change {
        ProviderError::new(ErrorKind::Ambiguous, format!("{action}: the answer was lost: {said}"))
    } else {
        ProviderError::new(ErrorKind::Unavailable, format!("{action}: not reachable: {said}"))
            .with_help("check the network, the region's name and `AWS_ENDPOINT_URL`")
    }
}

/// Something of this name is there, and is not this stack's.
pub(crate) fn name_taken(what: &str, name: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::AlreadyExists,
        format!("there is a {what} `{name}` already, and this stack did not make it"),
    )
    .with_code("VD1005")
    .with_help("delete or rename it, or give the app or environment another name")
}

/// From here on there is something: what fails now has to be looked for.
pub(crate) fn completed<T>(done: Result<T, ProviderError>) -> Result<T, ProviderError> {
    done.map_err(|error| match error.kind() {
        // The engine slows down, and has the whole made again, which is the same.
        ErrorKind::RateLimited => error,
        // Refused is refused: the engine takes back what is half made.
        _ if error.retry() == Retryability::Never => error,
        _ => error.with_retry(Retryability::LookUpFirst),
    })
}

/// What AWS answered lacks something that it always has.
pub(crate) fn unexpected(action: &str, what: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Unexpected, format!("{action}: the answer has no {what}"))
        .with_retry(Retryability::LookUpFirst)
}

/// A change whose aim is already there: what is gone cannot be removed, what is there not made.
/// Says whether it was this call that did it.
pub(crate) fn accept<T>(
    answer: Result<T, ProviderError>,
    fine: ErrorKind,
) -> Result<Option<T>, ProviderError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == fine => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_kinds() {
        let read = |code, status| kind_of(Some(code), status, Effect::None);
        assert_eq!(read("InvalidClientTokenId", 403), ErrorKind::Auth);
        assert_eq!(read("AccessDeniedException", 400), ErrorKind::Permission);
        assert_eq!(read("RequestLimitExceeded", 503), ErrorKind::RateLimited, "not a quota");
        assert_eq!(read("ServiceQuotaExceededException", 400), ErrorKind::Quota);
        assert_eq!(read("EntityAlreadyExists", 409), ErrorKind::AlreadyExists);
        assert_eq!(read("DBInstanceNotFound", 404), ErrorKind::NotFound);
        assert_eq!(read("DuplicateRecordException", 400), ErrorKind::AlreadyExists);
        assert_eq!(read("InvalidVpcID.NotFound", 400), ErrorKind::NotFound);
        assert_eq!(read("InvalidSubnet.Conflict", 400), ErrorKind::Conflict, "not an invalid request");
        assert_eq!(read("NodeQuotaForCustomerExceeded", 400), ErrorKind::Quota);
        assert_eq!(read("InvalidReplicationGroupState", 400), ErrorKind::Conflict);
        assert_eq!(read("CacheSubnetGroupNotFoundFault", 400), ErrorKind::NotFound);
        assert_eq!(read("NoSuchHostedZone", 404), ErrorKind::NotFound);
        assert_eq!(read("InvalidParameterException", 400), ErrorKind::Config);
        assert_eq!(read("VcpuLimitExceeded", 400), ErrorKind::Quota);
        let full = kind_of(Some("InsufficientInstanceCapacity"), 500, Effect::Change);
        assert_eq!(full, ErrorKind::Unavailable, "AWS says it, so nothing was made");
        let unknown =
            "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name";
        assert!(profile_unknown(Some(unknown)) && !profile_unknown(Some("Invalid id: \"ami-1\"")));
    }

    #[test]
    fn what_broke_after_it_was_asked_may_have_happened() {
        assert_eq!(kind_of(None, 500, Effect::Change), ErrorKind::Ambiguous);
        assert_eq!(kind_of(Some("InternalFailure"), 503, Effect::Change), ErrorKind::Ambiguous);
        assert_eq!(kind_of(Some("InternalFailure"), 500, Effect::None), ErrorKind::Unavailable);
        assert_eq!(kind_of(Some("SlowDown"), 503, Effect::Change), ErrorKind::RateLimited);
        let budgets = |effect| kind_of(Some("InternalErrorException"), 400, effect);
        assert_eq!(budgets(Effect::Change), ErrorKind::Ambiguous);
        assert_eq!(budgets(Effect::None), ErrorKind::Unavailable);
    }

    #[test]
    fn a_quoted_request_is_cut_off() {
        let said = "The signature does not match.\n\nThe Canonical String for this request should have been\n'x-amz-security-token:SECRET'";
        assert_eq!(words(said), "The signature does not match.");
    }
}
