//! Makes what takes no token: only its marks tell it.

use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{PhysicalId, Result, Retryability};

use super::ec2::SETTLE;
use super::{Calls, Look, Native, Seen};

/// What was made with the same token, whole or not.
pub(crate) async fn begun<K: Native>(
    kind: &K,
    at: &Calls<'_>,
    key: &ResourceKey,
) -> Result<Option<Seen<K::Observed>>> {
    let all = kind.list(at, Look::Key(key)).await?;
    Ok(all.into_iter().find(|one| one.marks.are(at.cx, key) && one.marks.token == at.cx.token))
}

/// Makes it: what was begun with our token is it, and one whose answer was lost is looked for as long as it may
/// take to show. `create` gives its id and what there is of it then.
pub(crate) async fn made_once<T, F>(
    at: &Calls<'_>,
    begun: impl Fn() -> F + Send + Sync,
    create: impl Future<Output = Result<(PhysicalId, T)>> + Send,
) -> Result<(PhysicalId, T)>
where
    T: Send,
    F: Future<Output = Result<Option<Seen<T>>>> + Send,
{
    if let Some(there) = begun().await? {
        return Ok((there.id, there.observed));
    }
    match create.await {
        Err(error) if error.retry() == Retryability::LookUpFirst => match at.until(SETTLE, begun).await {
            Ok(Some(there)) => Ok((there.id, there.observed)),
            Ok(None) | Err(_) => Err(error),
        },
        made => made,
    }
}
