use super::codes;
use super::entry::StepFailure;
use super::error::ApplyError;
use super::options::Redact;
use crate::diagnostics::Code;
use crate::plan::StepId;
use crate::provider::{Cancellation, ErrorKind, ProviderError, Retryability};

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum StepError {
    /// It failed, and it is known what came of it.
    Failed(StepFailure),
    /// It is not known whether it happened; it stays open for the next run to resolve.
    Unknown(StepFailure),
    /// The run was cancelled.
    Cancelled,
    /// Everything stops.
    Stop(ApplyError),
}

pub(super) type StepResult<T> = Result<T, StepError>;

/// Turns a provider's error into what is journalled and shown. Nothing of it is left out but
/// what is secret.
pub(super) fn failure(error: &ProviderError, redact: &Redact) -> StepFailure {
    let mut context: Vec<(String, String)> = Vec::new();
    let catalogued = error.catalogued();
    if let Some(code) = error.code().filter(|_| catalogued.is_none()) {
        context.push(("code".to_owned(), redact.apply(code)));
    }
    if let Some(id) = error.request_id() {
        context.push(("request id".to_owned(), redact.apply(id)));
    }
    context.extend(error.context().iter().map(|(name, value)| ((*name).to_owned(), redact.apply(value))));
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        context.push(("cause".to_owned(), redact.apply(&cause.to_string())));
        source = cause.source();
    }
    StepFailure {
        code: catalogued.unwrap_or(codes::provider_code(error.kind())),
        kind: error.kind(),
        message: redact.apply(error.message()),
        help: error.help().map(|help| redact.apply(help)),
        context,
        ambiguous: error.retry() == Retryability::LookUpFirst,
    }
}

/// A failure of ours.
pub(super) fn own(
    code: Code,
    kind: ErrorKind,
    message: impl Into<String>,
    help: Option<&str>,
) -> StepFailure {
    StepFailure {
        code,
        kind,
        message: message.into(),
        help: help.map(ToOwned::to_owned),
        context: Vec::new(),
        ambiguous: false,
    }
}

/// How a provider's error ends a step.
pub(super) fn step_error(
    step: &StepId,
    error: &ProviderError,
    redact: &Redact,
    cancellation: &Cancellation,
) -> StepError {
    match error.kind() {
        ErrorKind::Fenced => {
            StepError::Stop(ApplyError::Fenced { step: step.clone(), message: redact.apply(error.message()) })
        }
        ErrorKind::Cancelled if cancellation.is_cancelled() => StepError::Cancelled,
        _ => StepError::Failed(failure(error, redact)),
    }
}

/// What recovery writes about a step that never came to an end.
pub(super) fn interrupted(message: &str) -> StepFailure {
    own(codes::INTERRUPTED, ErrorKind::Cancelled, message, None)
}

/// Did the step fail by itself, or was it only left behind?
pub(super) fn is_real(failure: &StepFailure) -> bool {
    failure.code != codes::INTERRUPTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_its_most_specific_code_once() {
        let code_and_facts = |code: &str| {
            let error = ProviderError::new(ErrorKind::Unavailable, "it is gone").with_code(code);
            let failure = failure(&error, &Redact::default());
            (failure.code.to_string(), failure.context)
        };
        assert_eq!(code_and_facts("VD0904"), ("VD0904".to_owned(), vec![]));
        // A cloud's own code, also one that looks like one of ours.
        for code in ["Throttling", "1040", "VD9999"] {
            let fact = ("code".to_owned(), code.to_owned());
            assert_eq!(code_and_facts(code), ("VD0714".to_owned(), vec![fact]));
        }
    }
}
