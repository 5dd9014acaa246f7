use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::certificate::Certificate;
use super::error::AcmeError;
use super::name::{CertificateName, DnsName};
use super::record::Folder;
use crate::challenges::{ChallengeAnswer, ChallengeToken};
use crate::error::EdgeError;
use crate::link::EdgeLink;

/// How long an edge keeps an answer that nobody takes back.
const KEEP: Duration = Duration::from_secs(3_600);

/// All edges that some names may lead to: whoever holds their control sockets.
pub trait Edges: Sync {
    /// Has every edge give these answers. One that cannot be told is for the log: the authority
    /// may ask another. An error when there is none that gives them.
    fn place(&self, answers: &[ChallengeAnswer]) -> impl Future<Output = Result<(), AcmeError>> + Send;

    /// Takes answers back, as far as that can be: what stays ends by itself.
    fn take_back(&self, tokens: &[ChallengeToken]) -> impl Future<Output = ()> + Send;

    /// Puts a certificate into the place of the one of its name, on every edge, and has it used
    /// for every handshake from then on. It was checked; an edge that cannot use it goes on with
    /// the one before. All edges are tried, whatever becomes of the first.
    fn install(
        &self,
        name: &CertificateName,
        certificate: &Certificate,
    ) -> impl Future<Output = Result<(), AcmeError>> + Send;
}

/// An edge whose folder of certificates is on this machine.
#[derive(Debug, Clone)]
pub struct LocalEdge {
    /// What the host is called in messages.
    pub host: String,
    /// Its control socket.
    pub link: EdgeLink,
    /// Its folder of certificates ([`EdgeOptions::certificates`](crate::EdgeOptions)); made, 0700,
    /// if it is not there. The edge's user has to be able to read what is written there by this
    /// one.
    pub certificates: PathBuf,
}

impl LocalEdge {
    fn failed(&self, what: &str, error: &EdgeError) -> AcmeError {
        let (host, what) = (self.host.clone(), what.to_owned());
        AcmeError::NotPlaced { host, what, reason: error.to_string() }
    }

    async fn install(&self, name: &CertificateName, pem: &str) -> Result<(), AcmeError> {
        let folder = Folder::open(&self.certificates)?;
        let file = format!("{name}.pem");
        let what = format!("the certificate `{name}`");
        let before = folder.read(&file)?;
        folder.write(&file, pem.as_bytes())?;
        let loaded = self.link.load_certificates().await;
        let reason = match &loaded {
            Ok(all) => match all.iter().find(|one| one.file == name.as_str()) {
                Some(one) if one.problem.is_none() => return Ok(()),
                Some(one) => one.problem.clone().unwrap_or_default(),
                None => "it reads another folder".to_owned(),
            },
            // It may be gone and come back: then it finds a good file.
            Err(error) => return Err(self.failed(&what, error)),
        };
        match before {
            Some(before) => folder.write(&file, &before)?,
            None => folder.remove(&file)?,
        }
        if let Err(error) = self.link.load_certificates().await {
            tracing::warn!(host = %self.host, %error, "the certificate before it is not read again yet");
        }
        Err(AcmeError::NotPlaced { host: self.host.clone(), what, reason })
    }

    /// Puts what a person brings (a chain and its key, as PEM) into use for some names, after the
    /// checks that one from an authority has to pass. What is refused changes nothing: the
    /// certificate of that name before it serves on, and so do all others.
    ///
    /// # Errors
    /// [`AcmeError::Unusable`], [`AcmeError::State`], [`AcmeError::NotPlaced`].
    pub async fn bring(
        &self,
        name: &CertificateName,
        pem: &str,
        names: &BTreeSet<DnsName>,
        now: jiff::Timestamp,
    ) -> Result<Certificate, AcmeError> {
        let certificate = super::certificate::check(pem, names, now)?;
        self.install(name, certificate.pem()).await?;
        Ok(certificate)
    }
}

impl Edges for [LocalEdge] {
    async fn place(&self, answers: &[ChallengeAnswer]) -> Result<(), AcmeError> {
        let (mut any, mut first) = (self.is_empty(), Ok(()));
        for edge in self {
            match edge.link.place_answers(answers.to_vec(), KEEP).await {
                Ok(()) => any = true,
                Err(error) => {
                    let error = edge.failed("the answer to a challenge", &error);
                    tracing::warn!(error = error.told(), "an edge is not told");
                    first = first.and(Err(error));
                }
            }
        }
        if any { Ok(()) } else { first }
    }

    async fn take_back(&self, tokens: &[ChallengeToken]) {
        for edge in self {
            if let Err(error) = edge.link.remove_answers(tokens.to_vec()).await {
                tracing::debug!(host = %edge.host, %error, "answers to challenges stay until they end");
            }
        }
    }

    async fn install(&self, name: &CertificateName, certificate: &Certificate) -> Result<(), AcmeError> {
        let mut first = Ok(());
        for edge in self {
            let installed = edge.install(name, certificate.pem()).await;
            first = first.and(installed);
        }
        first
    }
}
