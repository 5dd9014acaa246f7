//! Certificates kept: ordered when there is none, renewed in time, tried again after a failure,
//! and never more often than that.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use vrooli_deploy_core::diagnostics::{Diagnostic, rules};
use vrooli_deploy_core::secrets::Secret;

use super::account::{Account, KEY_FILE};
use super::authority::Authority;
use super::certificate::Certificate;
use super::edges::Edges;
use super::error::{AcmeError, listed};
use super::name::{CertificateName, DnsName};
use super::reach::{Resolve, SystemDns, points_here, points_here_at_all};
use super::record::{Folder, Record, Tried};
use super::schedule::{Turn, Why, after_success, again_at, in_turn, renew_at};
use crate::challenges::{ChallengeAnswer, ChallengeToken};

/// An authority that does not say when to renew is not asked about it again for so long.
const NO_WISH: SignedDuration = SignedDuration::from_hours(6);
/// What [`Certificates::run`] waits at least and at most before it looks again.
const LOOK: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(1), SignedDuration::from_hours(1));

/// What time it is.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Timestamp::now)
    }

    /// One that somebody else sets.
    pub fn of(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Clock")
    }
}

/// How certificates are kept.
#[derive(Clone)]
pub struct CertificatesOptions {
    /// A folder of its own for the account's key, the certificates and what is known of them;
    /// made, 0700, if it is not there.
    pub folder: PathBuf,
    /// Who signs.
    pub authority: Authority,
    /// Whether a name has to lead to our edges before the authority is asked. Default: yes.
    pub look_first: bool,
    /// The port where an authority asks. Default 80, which is the only one that a public one does.
    pub port: u16,
    /// Who says where a name leads.
    pub dns: Arc<dyn Resolve>,
    /// What time it is.
    pub clock: Clock,
    /// Which one this is of several hosts that keep the same certificate, each on its own. Default:
    /// the only one.
    pub turn: Turn,
}

impl fmt::Debug for CertificatesOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, authority) = (&self.folder, &self.authority);
        out.debug_struct("CertificatesOptions")
            .field("folder", folder)
            .field("authority", authority)
            .finish_non_exhaustive()
    }
}

impl CertificatesOptions {
    /// Options with everything else at its default.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, authority: Authority) -> Self {
        Self {
            folder: folder.into(),
            authority,
            look_first: true,
            port: 80,
            dns: Arc::new(SystemDns),
            clock: Clock::system(),
            turn: Turn::default(),
        }
    }
}

/// A certificate that there is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is called.
    pub name: CertificateName,
    /// What it is for: one name at least.
    pub names: BTreeSet<DnsName>,
}

/// What keeping a certificate came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is there, on every edge, until it is to be renewed.
    Good {
        /// When that is.
        renew_at: Timestamp,
    },
    /// One that was issued before is on every edge now.
    Placed,
    /// It was issued, and is on every edge.
    Issued,
}

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateStatus {
    /// What it is called.
    pub name: CertificateName,
    /// What it is for.
    pub names: Vec<DnsName>,
    /// Who signed the one that is there, if there is one.
    pub issuer: Option<String>,
    /// The number that its issuer gave it.
    pub serial: Option<String>,
    /// From when on it is valid.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub not_after: Option<Timestamp>,
    /// When it is to be renewed.
    pub renew_at: Option<Timestamp>,
    /// It is on every edge.
    pub placed: bool,
    /// Tries that failed since the last one that did not.
    pub failed: u32,
    /// When the last try was.
    pub tried_at: Option<Timestamp>,
    /// When the next one is, if the last one failed.
    pub again_at: Option<Timestamp>,
    /// What the last one was told, with its code, if it failed.
    pub said: Option<String>,
}

impl CertificateStatus {
    /// What a person has to know: that it is not renewed, that there is none, or that it is not
    /// everywhere.
    #[must_use]
    pub fn diagnostic(&self) -> Option<Diagnostic> {
        let names = listed(&self.names);
        let Some(said) = &self.said else {
            return (self.not_after.is_some() && !self.placed).then(|| {
                rules::CERTIFICATE_NOT_PLACED.diagnostic(format!(
                    "the certificate `{}` for {names} is not on all hosts yet",
                    self.name
                ))
            });
        };
        let end = match self.not_after {
            Some(end) => format!("has not been renewed ({} tries) and ends at {end:.0}", self.failed),
            None => format!("could not be had ({} tries)", self.failed),
        };
        let next = self.again_at.map(|at| format!("; next try at {at:.0}")).unwrap_or_default();
        let text = format!("the certificate for {names} {end}; last: {said}{next}");
        Some(rules::CERTIFICATE_EXPIRES.diagnostic(text))
    }

    /// For Prometheus, without its `# TYPE` lines: when it ends, and how many tries failed.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let name = &self.name;
        let end = self.not_after.map_or(0, Timestamp::as_second);
        let failed = self.failed;
        format!(
            "edge_certificate_ends_seconds{{certificate=\"{name}\"}} {end}\n\
             edge_certificate_failed_tries{{certificate=\"{name}\"}} {failed}\n"
        )
    }
}

/// What one host has of a certificate, for another.
#[derive(Serialize, Deserialize)]
struct Carried {
    account: Vec<u8>,
    pem: Option<String>,
    record: Option<Record>,
}

/// The certificates of a deployment, and the account that they are ordered by.
#[derive(Debug)]
pub struct Certificates {
    options: CertificatesOptions,
    folder: Folder,
    account: Mutex<Option<Account>>,
}

impl Certificates {
    /// Opens the folder; the authority is not asked before something is due.
    ///
    /// # Errors
    /// [`AcmeError::State`].
    pub fn open(options: CertificatesOptions) -> Result<Self, AcmeError> {
        let folder = Folder::open(&options.folder)?;
        Ok(Self { options, folder, account: Mutex::default() })
    }

    /// Sees to one certificate: orders it if there is none for these names, renews it if it is
    /// time, and takes it to every edge. Asks the authority for nothing before that is due, and
    /// after a failure not before its wait is over, whoever restarts in between.
    ///
    /// # Errors
    /// Why it is not there, or not everywhere; [`AcmeError::Waits`] when it was not tried. What
    /// served before serves on.
    pub async fn keep<E: Edges + ?Sized>(&self, wanted: &Wanted, edges: &E) -> Result<Kept, AcmeError> {
        self.keep_as(wanted, edges, false).await
    }

    /// The same for a person who has just mended something: a wait after what no authority has counted
    /// (it could not be reached, the name did not lead here) is not waited for.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub async fn keep_now<E: Edges + ?Sized>(&self, wanted: &Wanted, edges: &E) -> Result<Kept, AcmeError> {
        self.keep_as(wanted, edges, true).await
    }

    async fn keep_as<E: Edges + ?Sized>(
        &self,
        wanted: &Wanted,
        edges: &E,
        hurry: bool,
    ) -> Result<Kept, AcmeError> {
        // One at a time: two would order twice.
        let mut account = self.account.lock().await;
        let now = self.options.clock.now();
        let (mut record, there) = self.load(wanted, now)?;
        if let Some(certificate) = &there {
            let placed_before = record.placed;
            let placed = if placed_before { Ok(()) } else { edges.install(&wanted.name, certificate).await };
            if placed.is_ok() && !placed_before {
                record.placed = true;
                self.save(wanted, &record)?;
            }
            self.ask_wish(&mut account, wanted, &mut record, certificate, now).await?;
            let renew_at = self.due(&record, certificate);
            // A host that is away for long does not keep the others from a new one.
            if now < renew_at {
                placed?;
                return Ok(if placed_before { Kept::Good { renew_at } } else { Kept::Placed });
            }
        }
        if let Some(Tried { again_at: until, said, .. }) = &record.tried
            && now < *until
            && !(hurry && said.as_deref().is_some_and(was_not_counted))
        {
            let last = said.clone().unwrap_or_else(|| "it was issued".to_owned());
            return Err(AcmeError::Waits { certificate: wanted.name.clone(), until: *until, last });
        }

        record.failed = record.failed.saturating_add(1);
        // What dies on the way may leave a certificate that is nowhere yet.
        let placed_before = std::mem::take(&mut record.placed);
        let again = again_at(now, record.failed, Why::Asked, record.point);
        let said = Some("it was not brought to its end".to_owned());
        record.tried = Some(Tried { at: now, again_at: again, said });
        self.save(wanted, &record)?;
        match self.order(&mut account, wanted, edges, there.as_ref()).await {
            Ok(certificate) => {
                self.folder.write(&pem_file(&wanted.name), certificate.pem().as_bytes())?;
                (record.failed, record.window, record.ask_window_at) = (0, None, None);
                record.point = self.point()?;
                let again_at = after_success(now, certificate.not_before(), certificate.not_after());
                record.tried = Some(Tried { at: now, again_at, said: None });
                self.save(wanted, &record)?;
                tracing::info!(certificate = %wanted.name, ends = %certificate.not_after(), "a certificate was issued");
                edges.install(&wanted.name, &certificate).await?;
                record.placed = true;
                self.save(wanted, &record)?;
                Ok(Kept::Issued)
            }
            Err(error) => {
                let now = self.options.clock.now();
                let again_at = again_at(now, record.failed, why(&error), record.point);
                let ends = there.as_ref().map(Certificate::not_after);
                record.placed = placed_before;
                record.tried = Some(Tried { at: now, again_at, said: Some(error.told()) });
                self.save(wanted, &record)?;
                tracing::warn!(
                    certificate = %wanted.name, error = error.told(), tries = record.failed, next = %again_at,
                    ends = ends.map(tracing::field::display), "no certificate"
                );
                Err(error)
            }
        }
    }

    /// Has every edge use the certificate that is kept: for a host that is new, or was away. True
    /// if there is one.
    ///
    /// # Errors
    /// As [`Edges::install`].
    pub async fn install<E: Edges + ?Sized>(&self, wanted: &Wanted, edges: &E) -> Result<bool, AcmeError> {
        let _one = self.account.lock().await;
        let (_, there) = self.load(wanted, self.options.clock.now())?;
        match there {
            Some(certificate) => edges.install(&wanted.name, &certificate).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Keeps all that is wanted, until nobody can want anything else any more. What goes wrong is
    /// in the log and in [`Certificates::status`].
    pub async fn run<E: Edges + ?Sized>(&self, mut wanted: watch::Receiver<Vec<Wanted>>, edges: &E) {
        loop {
            let all = wanted.borrow_and_update().clone();
            let mut next = self.options.clock.now() + LOOK.1;
            for one in &all {
                if let Err(error) = self.keep(one, edges).await {
                    tracing::debug!(certificate = %one.name, error = error.told(), "not kept");
                }
                next = next.min(self.next(one));
            }
            let wait = next.duration_since(self.options.clock.now()).clamp(LOOK.0, LOOK.1);
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait.unsigned_abs()) => {}
            }
        }
    }

    /// When there is something to do for a certificate.
    #[must_use]
    pub fn next(&self, wanted: &Wanted) -> Timestamp {
        let now = self.options.clock.now();
        let Ok((record, there)) = self.load(wanted, now) else { return now + LOOK.1 };
        let again = record.tried.as_ref().map_or(now, |tried| tried.again_at);
        match there {
            Some(certificate) if record.placed => self.due(&record, &certificate).max(again),
            // It waits for an edge.
            Some(_) => now + SignedDuration::from_mins(1),
            None => again,
        }
    }

    /// What is known of every certificate, in the order of their names.
    ///
    /// # Errors
    /// [`AcmeError::State`].
    pub fn status(&self) -> Result<Vec<CertificateStatus>, AcmeError> {
        let failed = |source| AcmeError::State {
            what: "read",
            file: self.options.folder.display().to_string(),
            source,
        };
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.options.folder).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            let Some(Ok(name)) = file.strip_suffix(".json").map(CertificateName::new) else { continue };
            let Some(record) = Record::load(&self.folder, &file)? else { continue };
            let names: BTreeSet<_> = record.names.iter().cloned().collect();
            let there = self.read(&name, &names)?;
            let tried = record.tried.as_ref();
            let failed = tried.filter(|tried| tried.said.is_some());
            all.push(CertificateStatus {
                issuer: there.as_ref().map(|there| there.issuer().to_owned()),
                serial: there.as_ref().map(|there| there.serial().to_owned()),
                not_before: there.as_ref().map(Certificate::not_before),
                not_after: there.as_ref().map(Certificate::not_after),
                renew_at: there.as_ref().map(|there| self.due(&record, there)),
                placed: record.placed,
                failed: record.failed,
                tried_at: tried.map(|tried| tried.at),
                again_at: failed.map(|tried| tried.again_at),
                said: failed.and_then(|tried| tried.said.clone()),
                names: record.names.clone(),
                name,
            });
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// What another host needs that keeps the same certificate: the account's key (made, if there is
    /// none), the certificate with its key, and what is known of it.
    ///
    /// # Errors
    /// [`AcmeError::State`].
    pub fn carry(&self, name: &CertificateName) -> Result<Secret<Vec<u8>>, AcmeError> {
        Account::thumbprint(&self.options.folder)?;
        let text = |file: &str| -> Result<Option<String>, AcmeError> {
            let bytes = self.folder.read(file)?;
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let carried = Carried {
            account: self.folder.read(KEY_FILE)?.unwrap_or_default(),
            pem: text(&pem_file(name))?,
            record: Record::load(&self.folder, &json_file(name))?,
        };
        let bytes = serde_json::to_vec(&carried).map_err(|error| AcmeError::State {
            what: "read",
            file: self.folder.shown(&json_file(name)),
            source: error.into(),
        })?;
        Ok(Secret::new(bytes))
    }

    /// Takes over what another host [carries](Self::carry): its account, and its certificate if that
    /// is good and newer than the one that is here. The next [`keep`](Self::keep) or
    /// [`install`](Self::install) puts it into use.
    ///
    /// # Errors
    /// [`AcmeError::State`], also for what is no such thing.
    pub async fn take(&self, wanted: &Wanted, carried: &Secret<Vec<u8>>) -> Result<(), AcmeError> {
        let mut account = self.account.lock().await;
        let carried: Carried =
            serde_json::from_slice(carried.expose()).map_err(|error| AcmeError::State {
                what: "take over",
                file: self.folder.shown(&json_file(&wanted.name)),
                source: std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    format!("at {}", error.column()),
                ),
            })?;
        if self.folder.read(KEY_FILE)?.is_none_or(|key| key != carried.account) {
            self.folder.write(KEY_FILE, &carried.account)?;
            *account = None;
        }
        let now = self.options.clock.now();
        let (Some(pem), Some(mut record)) = (carried.pem, carried.record) else { return Ok(()) };
        let Ok(theirs) = super::certificate::check(&pem, &wanted.names, now) else { return Ok(()) };
        let (_, ours) = self.load(wanted, now)?;
        if ours.is_some_and(|ours| ours.not_before() >= theirs.not_before()) {
            return Ok(());
        }
        record.placed = false;
        self.folder.write(&pem_file(&wanted.name), pem.as_bytes())?;
        self.save(wanted, &record)
    }

    /// Forgets a certificate that nobody wants any more. Edges keep it until their folder is
    /// without it.
    ///
    /// # Errors
    /// [`AcmeError::State`].
    pub fn forget(&self, name: &CertificateName) -> Result<(), AcmeError> {
        self.folder.remove(&json_file(name))?;
        self.folder.remove(&pem_file(name))
    }

    /// What is kept, if it is for these names, from this authority and good.
    fn load(&self, wanted: &Wanted, now: Timestamp) -> Result<(Record, Option<Certificate>), AcmeError> {
        let fits = |record: &Record| {
            record.authority == self.options.authority.directory && record.names.iter().eq(&wanted.names)
        };
        let Some(record) = Record::load(&self.folder, &json_file(&wanted.name))?.filter(fits) else {
            let record = Record {
                version: 1,
                names: wanted.names.iter().cloned().collect(),
                authority: self.options.authority.directory.clone(),
                placed: false,
                point: self.point()?,
                window: None,
                ask_window_at: None,
                failed: 0,
                tried: None,
            };
            return Ok((record, None));
        };
        let there = self.read(&wanted.name, &wanted.names)?;
        let there = there.filter(|there| match there.check(&wanted.names, now) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(certificate = %wanted.name, %error, "the certificate that is kept is of no use");
                false
            }
        });
        Ok((record, there))
    }

    fn read(
        &self,
        name: &CertificateName,
        names: &BTreeSet<DnsName>,
    ) -> Result<Option<Certificate>, AcmeError> {
        let bytes = self.folder.read(&pem_file(name))?;
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        // What cannot be read is as good as none, and `check` has said so before.
        Ok(text.and_then(|text| Certificate::read(&text, names).ok()))
    }

    fn save(&self, wanted: &Wanted, record: &Record) -> Result<(), AcmeError> {
        record.save(&self.folder, &json_file(&wanted.name))
    }

    /// Asks the authority when it would like the certificate to be renewed, if it is time to.
    async fn ask_wish(
        &self,
        account: &mut Option<Account>,
        wanted: &Wanted,
        record: &mut Record,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<(), AcmeError> {
        let ask_at = record.window.map(|window| window.ask_again_at).or(record.ask_window_at);
        if ask_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        let (Some(leaf), Ok(account)) = (certificate.leaf(), self.account(account).await) else {
            record.ask_window_at = Some(now + NO_WISH);
            return self.save(wanted, record);
        };
        match account.window(leaf, now).await {
            Some(window) => record.window = Some(window),
            // What it wished before, it may still wish.
            None => match &mut record.window {
                Some(window) => window.ask_again_at = now + NO_WISH,
                None => record.ask_window_at = Some(now + NO_WISH),
            },
        }
        self.save(wanted, record)
    }

    fn due(&self, record: &Record, certificate: &Certificate) -> Timestamp {
        let (from, to) = (certificate.not_before(), certificate.not_after());
        in_turn(renew_at(from, to, record.window, record.point), from, to, self.options.turn)
    }

    async fn account<'a>(&self, held: &'a mut Option<Account>) -> Result<&'a Account, AcmeError> {
        let opened = match held.take() {
            Some(account) => account,
            None => {
                let CertificatesOptions { folder, authority, clock, .. } = &self.options;
                Account::open(folder, authority, clock.clone()).await?
            }
        };
        Ok(held.insert(opened))
    }

    async fn order<E: Edges + ?Sized>(
        &self,
        account: &mut Option<Account>,
        wanted: &Wanted,
        edges: &E,
        before: Option<&Certificate>,
    ) -> Result<Certificate, AcmeError> {
        if self.options.look_first {
            self.look_first(wanted, edges, before.is_some()).await?;
        }
        let account = self.account(account).await?;
        let mut order = account.order(&wanted.names, before.and_then(Certificate::leaf)).await?;
        let answers = order.answers().to_vec();
        let placed = match edges.place(&answers).await {
            Ok(()) => order.answers_placed().await,
            Err(error) => Err(error),
        };
        take_back(edges, &answers).await;
        placed?;
        let certificate = order.certificate().await?;
        // Against our own clock: what an edge would not serve with is not brought to it.
        certificate.check(&wanted.names, self.options.clock.now())?;
        Ok(certificate)
    }

    /// Sees whether every name leads to our edges: by all of its addresses, or, if it did before,
    /// by one of them.
    async fn look_first<E: Edges + ?Sized>(
        &self,
        wanted: &Wanted,
        edges: &E,
        did_before: bool,
    ) -> Result<(), AcmeError> {
        let answer = self.answer_nobody_knows()?;
        let answers = [answer];
        edges.place(&answers).await?;
        let mut all = Ok(());
        for name in &wanted.names {
            let CertificatesOptions { port, dns, .. } = &self.options;
            all = if did_before {
                points_here_at_all(name, &answers[0], *port, &**dns).await
            } else {
                points_here(name, &answers[0], *port, &**dns).await
            };
            if all.is_err() {
                break;
            }
        }
        take_back(edges, &answers).await;
        all
    }

    /// A challenge that no authority gave: edges that know the account answer it without being told,
    /// others have to be.
    fn answer_nobody_knows(&self) -> Result<ChallengeAnswer, AcmeError> {
        use std::fmt::Write as _;
        let mut bytes = [0; 16];
        self.random(&mut bytes)?;
        let mut token = String::from("look-");
        for byte in bytes {
            // Into memory: nothing can fail.
            let _ = write!(token, "{byte:02x}");
        }
        let token =
            ChallengeToken::new(&token).map_err(|error| self.no_chance(std::io::Error::other(error)))?;
        Ok(Account::thumbprint(&self.options.folder)?.answer(token))
    }

    /// A point of 1000.
    fn point(&self) -> Result<u16, AcmeError> {
        let mut bytes = [0; 2];
        self.random(&mut bytes)?;
        Ok(u16::from_ne_bytes(bytes) % 1001)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), AcmeError> {
        getrandom::fill(bytes).map_err(|error| self.no_chance(std::io::Error::other(error)))
    }

    fn no_chance(&self, source: std::io::Error) -> AcmeError {
        let file = self.options.folder.display().to_string();
        AcmeError::State { what: "draw a number at random for", file, source }
    }
}

async fn take_back<E: Edges + ?Sized>(edges: &E, answers: &[ChallengeAnswer]) {
    let tokens: Vec<ChallengeToken> = answers.iter().map(|answer| answer.token().clone()).collect();
    edges.take_back(&tokens).await;
}

/// Did the last try end before an authority had anything to count? By the code that stands before what
/// was said.
fn was_not_counted(said: &str) -> bool {
    let here = [
        rules::CERTIFICATE_NO_ADDRESS,
        rules::CERTIFICATE_POINTS_ELSEWHERE,
        rules::AUTHORITY_UNREACHABLE,
        rules::CERTIFICATE_STATE,
        rules::CERTIFICATE_NOT_PLACED,
    ];
    here.iter().any(|code| said.starts_with(&format!("[{code}]")))
}

fn why(error: &AcmeError) -> Why {
    match error {
        AcmeError::Limited { until, .. } => Why::Limited(*until),
        AcmeError::Refused { .. } | AcmeError::Unusable { .. } => Why::Asked,
        _ => Why::Here,
    }
}

fn pem_file(name: &CertificateName) -> String {
    format!("{name}.pem")
}

fn json_file(name: &CertificateName) -> String {
    format!("{name}.json")
}
