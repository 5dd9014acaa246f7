use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{AuthorizationStatus, ChallengeType, Error, OrderStatus, RetryPolicy};

use super::account::{Account, again, failure};
use super::authority::Authority;
use super::certificate::Certificate;
use super::client::Heard;
use super::error::{AcmeError, listed};
use super::name::DnsName;
use crate::challenges::ChallengeAnswer;

/// How often an authority is asked at first whether it has decided; each time half as often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A certificate that was asked for and is not there yet.
pub struct Order {
    inner: instant_acme::Order,
    names: BTreeSet<DnsName>,
    answers: Vec<ChallengeAnswer>,
    authority: Authority,
    heard: Arc<Heard>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Order").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Order {
    pub(super) async fn new(
        mut inner: instant_acme::Order,
        names: BTreeSet<DnsName>,
        account: &Account,
    ) -> Result<Self, AcmeError> {
        let (authority, heard) = (account.authority.clone(), account.heard.clone());
        let answers = again!(answers(&mut inner))
            .map_err(|error| failure(error, &authority, &heard, &listed(&names)))?;
        Ok(Self { inner, names, answers, authority, heard })
    }

    /// What every edge behind the names is to answer, before the authority is told to look. Empty
    /// if it remembers the names from another time.
    #[must_use]
    pub fn answers(&self) -> &[ChallengeAnswer] {
        &self.answers
    }

    /// Tells the authority that the answers are in their places, and waits until it has looked.
    ///
    /// # Errors
    /// [`AcmeError::Refused`] with what it found instead; [`AcmeError::Limited`] and
    /// [`AcmeError::Unreachable`].
    pub async fn answers_placed(&mut self) -> Result<(), AcmeError> {
        let looked = self.look().await;
        looked.map_err(|error| failure(error, &self.authority, &self.heard, &listed(&self.names)))
    }

    async fn look(&mut self) -> Result<(), Error> {
        if self.inner.state().status == OrderStatus::Ready {
            return Ok(());
        }
        let mut told = BTreeSet::new();
        again!(say_ready(&mut self.inner, &mut told))?;
        let policy = self.policy();
        match again!(self.inner.poll_ready(&policy)) {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(again!(what_it_found(&mut self.inner))?),
            Err(Error::Api(problem)) => match again!(what_it_found(&mut self.inner)) {
                Ok(found @ Error::Api(_)) => Err(found),
                _ => Err(Error::Api(problem)),
            },
            Err(error) => Err(error),
        }
    }

    /// Has the certificate signed, with a key that is made here, and checks it.
    ///
    /// # Errors
    /// Those of [`Order::answers_placed`], and [`AcmeError::Unusable`].
    pub async fn certificate(mut self) -> Result<Certificate, AcmeError> {
        let policy = self.policy();
        let signed = async {
            let key = again!(self.inner.finalize())?;
            let chain = again!(self.inner.poll_certificate(&policy))?;
            Ok((key, chain))
        }
        .await;
        let (key, chain) =
            signed.map_err(|error| failure(error, &self.authority, &self.heard, &listed(&self.names)))?;
        Certificate::issued(&self.names, &chain, &key)
    }

    fn policy(&self) -> RetryPolicy {
        RetryPolicy::new().initial_delay(LOOK_EVERY).backoff(1.5).timeout(self.authority.look)
    }
}

async fn answers(order: &mut instant_acme::Order) -> Result<Vec<ChallengeAnswer>, Error> {
    let mut answers = Vec::new();
    let mut each = order.authorizations();
    while let Some(one) = each.next().await {
        let mut one = one?;
        match one.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            _ => return Err(Error::Str("a name whose proof is still open")),
        }
        let challenge = one.challenge(ChallengeType::Http01);
        let challenge = challenge.ok_or(Error::Str("a proof over HTTP among those that it takes"))?;
        let answer = ChallengeAnswer::new(challenge.key_authorization().as_str());
        answers.push(answer.map_err(|error| Error::Other(Box::new(error)))?);
    }
    Ok(answers)
}

/// `told` are the challenges that it was told of: not twice.
async fn say_ready(order: &mut instant_acme::Order, told: &mut BTreeSet<String>) -> Result<(), Error> {
    let mut each = order.authorizations();
    while let Some(one) = each.next().await {
        let mut one = one?;
        if one.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = one.challenge(ChallengeType::Http01)
        {
            let url = challenge.url.clone();
            if !told.contains(&url) {
                challenge.set_ready().await?;
                told.insert(url);
            }
        }
    }
    Ok(())
}

/// Why the proof of a name failed, in the authority's words.
async fn what_it_found(order: &mut instant_acme::Order) -> Result<Error, Error> {
    let mut each = order.authorizations();
    while let Some(one) = each.next().await {
        let mut one = one?;
        let state = one.refresh().await?;
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.clone()) {
            return Ok(Error::Api(problem));
        }
    }
    Ok(Error::Str("its reason to find the order invalid"))
}
