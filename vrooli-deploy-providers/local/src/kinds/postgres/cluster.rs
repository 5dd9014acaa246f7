//! One private server: made, started, stopped and removed, each resumable from wherever a
//! kill left it. Everything here is done with the server's lock held; tools that make or
//! start it inherit the lock, so that a successor waits for what they still do.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::binaries::{self, Binaries, KNOWN};
use super::home::{self, Home};
use super::psql::{identifier, literal};
use super::version::VersionWish;
use super::{Login, PostgresObserved, PostgresSpec, Session, SqlName};
use crate::kinds::marker::{Marker, Progress};
use crate::kinds::{Machine, folder_name, numbers, password, resident};
use crate::tool::{Tool, ToolOutput, whole_input};
use crate::{failure, files};

/// What the record of a server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) major: u32,
    pub(super) port: u16,
    pub(super) database: SqlName,
    pub(super) extensions: BTreeSet<SqlName>,
}

pub(super) type Record = Marker<Made>;

/// Loopback: nobody else has business with it.
const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Between looks at a server that starts or stops.
const POLL: Duration = Duration::from_millis(25);
/// How long a server may take over a fast shutdown before it is ended at once.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// A server whose lock we hold.
#[derive(Debug)]
pub(super) struct Server<'a> {
    machine: &'a Machine,
    stack: StackId,
    key: ResourceKey,
    pub(super) home: Home,
    lock: File,
}

/// What the record says, as it is observed.
pub(super) fn observed(record: &Record) -> PostgresObserved {
    PostgresObserved {
        major: record.made.major,
        port: record.made.port,
        database: record.made.database.clone(),
        user: KNOWN.role.clone(),
        extensions: record.made.extensions.clone(),
        finished: record.progress == Progress::Ready,
    }
}

/// The URL with the password in it. Both are of letters and digits, nothing to escape.
pub(super) fn url(have: &PostgresObserved, password: &Secret<String>) -> Secret<String> {
    Secret::new(format!(
        "postgres://{}:{}@127.0.0.1:{}/{}?sslmode=disable",
        have.user,
        password.expose(),
        have.port,
        have.database
    ))
}

/// Sees to it that a server that was made is running: before a migration or a start, and
/// after a reboot. Running already is `Ok`, and quick.
///
/// # Errors
/// `NotFound` when it was never made; what keeps it from starting, with its last log lines.
pub async fn ensure_running(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<PostgresObserved> {
    let server = Server::open(machine, cx, key).await?;
    let record = server.made()?;
    server.run(cx, &record).await?;
    Ok(observed(&record))
}

/// Stops a server; its data stays. Not running, or never made, is `Ok`.
///
/// # Errors
/// When it does not stop.
pub async fn stop(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<()> {
    let server = Server::open(machine, cx, key).await?;
    if Record::read(&server.home.folder)?.is_some() {
        server.halt(cx).await?;
    }
    Ok(())
}

/// Was that server made, by us?
pub(crate) fn exists(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<bool> {
    let home = home::of(&machine.layout, &cx.stack, key)?;
    Ok(Record::read(&home.folder)?.is_some())
}

/// Ways to give statements to a running server: as the app's role, and as its superuser.
pub(crate) async fn sessions(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<(Session, Session)> {
    let server = Server::open(machine, cx, key).await?;
    let record = server.made()?;
    server.run(cx, &record).await?;
    let superuser = server.superuser(cx, &record, record.made.database.as_str()).await?;
    let password = server.password()?;
    let login = Login { user: KNOWN.role.clone(), password, ..superuser.login.clone() };
    Ok((superuser.to(login), superuser))
}

/// What a failed script said, as an error.
pub(crate) fn refused(answer: &ToolOutput) -> ProviderError {
    let said = answer.stderr.trim();
    let kind = if said.contains("No space left") { ErrorKind::Quota } else { ErrorKind::Unexpected };
    let line =
        said.lines().find(|l| l.contains("ERROR:") || l.contains("FATAL:")).or_else(|| said.lines().next());
    let line = line.unwrap_or("psql failed and said nothing");
    let line = line
        .split_once("psql:<stdin>:")
        .map_or(line, |(_, rest)| rest.split_once(' ').map_or(rest, |(_, r)| r));
    ProviderError::new(kind, format!("PostgreSQL refused: {}", line.trim()))
        .with_context("psql", said.to_owned())
}

impl<'a> Server<'a> {
    /// Takes the server's lock.
    pub(super) async fn open(machine: &'a Machine, cx: &OpCtx, key: &ResourceKey) -> Result<Self> {
        let path = machine.layout.locks(&cx.stack).join(format!("postgres-{}", folder_name(key)));
        let what = format!("the PostgreSQL server of {}", cx.stack);
        let lock = files::lock(cx, &path, &what).await?;
        let home = home::of(&machine.layout, &cx.stack, key)?;
        Ok(Self { machine, stack: cx.stack.clone(), key: key.clone(), home, lock })
    }

    fn name(&self) -> String {
        format!("`{}` of {}", self.key, self.stack)
    }

    pub(super) fn record(&self) -> Result<Option<Record>> {
        Record::read(&self.home.folder)
    }

    /// The record of a server whose data is there.
    fn made(&self) -> Result<Record> {
        match self.record()? {
            Some(record) if matches!(record.progress, Progress::Initialized | Progress::Ready) => Ok(record),
            _ => Err(ProviderError::new(ErrorKind::NotFound, format!("{} was never made", self.name()))
                .with_help("deploy the app: that makes it")),
        }
    }

    /// The app's password: kept over redeploys, made when there is none.
    pub(super) fn password(&self) -> Result<Secret<String>> {
        password::kept(self.machine, &self.stack, &self.key, "password")
    }

    /// Makes it, or goes on where a kill left it, up to `Ready`.
    pub(super) async fn make(&self, cx: &OpCtx, want: &PostgresSpec) -> Result<Record> {
        if let Some(record) = self.record()?
            && record.progress == Progress::Deleting
        {
            self.remove(cx).await?;
        }
        let mut record = match self.record()? {
            Some(record) => record,
            None => self.begin(cx, want).await?,
        };
        if record.progress == Progress::Creating {
            record = self.initialise(cx, record).await?;
        }
        self.run_first(cx, &mut record).await?;
        self.prepare(cx, &record, want).await?;
        record.made.database = want.database.clone();
        record.made.extensions.extend(want.extensions.iter().cloned());
        record.progress = Progress::Ready;
        record.write(&self.home.folder)?;
        Ok(record)
    }

    /// Chooses version and port and writes the record: from here on it can be found.
    async fn begin(&self, cx: &OpCtx, want: &PostgresSpec) -> Result<Record> {
        let binaries = binaries::choose(VersionWish::read(want.version.as_deref()), &self.name())?;
        let data = self.home.data();
        if data.join("PG_VERSION").exists() {
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("`{}` holds a PostgreSQL server that no record of ours tells of", data.display()),
            )
            .with_help(
                "move it away, or bring back the `resource.json` that lay beside it; nothing was changed",
            ));
        }
        self.home.make()?;
        files::remove_temporary(&self.home.folder).map_err(failure::at("clean", &self.home.folder))?;
        let _numbers = numbers::lock(cx, &self.machine.layout).await?;
        let port = numbers::choose(&self.machine.layout, &self.stack, &self.key, LISTEN, KNOWN.ports)?;
        let made = Made {
            major: binaries.major,
            port,
            database: want.database.clone(),
            extensions: BTreeSet::new(),
        };
        let record = Record::new(cx, &self.key, made);
        record.write(&self.home.folder)?;
        Ok(record)
    }

    /// Makes the data folder. What is there was never finished: the record says so.
    async fn initialise(&self, cx: &OpCtx, mut record: Record) -> Result<Record> {
        let binaries = binaries::for_data(record.made.major, &self.name())
            // Nothing was made with that version yet.
            .or_else(|_| binaries::choose(VersionWish::read(None), &self.name()))?;
        record.made.major = binaries.major;
        self.home.make()?;
        files::remove_temporary(&self.home.folder).map_err(failure::at("clean", &self.home.folder))?;
        // Kept before it is used: whatever happens next, nobody is locked out.
        let superuser = password::kept(self.machine, &self.stack, &self.key, "superuser")?;
        self.password()?;
        let data = self.home.data();
        let mut said = String::new();
        for locale in &KNOWN.locales {
            files::remove_tree(&data).map_err(failure::at("remove", &data))?;
            match self.initdb(cx, &binaries, &data, locale, &superuser).await? {
                None => {
                    said.clear();
                    break;
                }
                Some(failed) => {
                    said = failed;
                    if !said.contains("locale") {
                        break;
                    }
                }
            }
        }
        if !said.is_empty() {
            let kind = if said.contains("No space left") { ErrorKind::Quota } else { ErrorKind::Unexpected };
            let line = said
                .lines()
                .find(|line| line.contains("error:"))
                .unwrap_or("initdb failed")
                .trim()
                .to_owned();
            return Err(ProviderError::new(kind, format!("cannot make {}: {line}", self.name()))
                .with_context("initdb", said));
        }
        self.configure(&data)?;
        record.progress = Progress::Initialized;
        record.write(&self.home.folder)?;
        Ok(record)
    }

    /// Runs initdb; `Some` with what it said when it failed.
    async fn initdb(
        &self,
        cx: &OpCtx,
        binaries: &Binaries,
        data: &Path,
        locale: &str,
        superuser: &Secret<String>,
    ) -> Result<Option<String>> {
        let pipe = |error: io::Error| failure::io("make a pipe for", data, &error);
        // Through a pipe: a file with the password could outlive us.
        let (reader, mut writer) = io::pipe().map_err(pipe)?;
        writeln!(writer, "{}", superuser.expose()).map_err(pipe)?;
        drop(writer);
        if let Some(account) = &self.home.account {
            // `/dev/stdin` is opened anew, by that account.
            std::os::unix::fs::fchown(&reader, Some(account.uid), Some(account.gid)).map_err(pipe)?;
        }
        self.lock.set_len(0).map_err(pipe)?;
        (&self.lock).rewind().map_err(pipe)?;
        let answer = Tool::new(&binaries.program("initdb"), &self.home.folder, self.home.account.as_ref())
            .arg("-D")
            .arg(data)
            .arg("-U")
            .arg(&KNOWN.superuser)
            .args(["--pwfile=/dev/stdin", "--auth=scram-sha-256", "--encoding=UTF8"])
            .arg(format!("--locale={locale}"))
            .stdin(reader)
            // The lock is its standard output: while it works nobody else does.
            .output_to(&self.lock)
            .map_err(pipe)?
            .run(cx)
            .await?;
        if answer.status.success() {
            return Ok(None);
        }
        let path =
            self.machine.layout.locks(&self.stack).join(format!("postgres-{}", folder_name(&self.key)));
        Ok(Some(fs::read_to_string(path).unwrap_or_else(|_| "initdb failed".to_owned())))
    }

    /// Has the server read our settings after its own.
    fn configure(&self, data: &Path) -> Result<()> {
        let path = data.join("postgresql.conf");
        let append = || -> io::Result<()> {
            let mut file = File::options().append(true).open(&path)?;
            file.write_all(b"\ninclude_if_exists = '../server.conf'\n")?;
            file.sync_all()
        };
        append().map_err(failure::at("write", &path))
    }

    /// Starts it; while nobody was told of its port yet, one that somebody took meanwhile
    /// is given up for another.
    async fn run_first(&self, cx: &OpCtx, record: &mut Record) -> Result<()> {
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            match self.run(cx, record).await {
                Err(error) if error.kind() == ErrorKind::Conflict && record.progress != Progress::Ready => {
                    let _numbers = numbers::lock(cx, &self.machine.layout).await?;
                    record.made.port =
                        numbers::choose(&self.machine.layout, &self.stack, &self.key, LISTEN, KNOWN.ports)?;
                    record.write(&self.home.folder)?;
                }
                other => return other,
            }
        }
        self.run(cx, record).await
    }

    /// Starts it unless it runs, and sees to it that it ends with us where all does.
    pub(super) async fn run(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        // What a program left that ended is about to be ended, and no server to rely on.
        self.machine.supervision.admit(&self.machine.layout).await?;
        self.run_unkept(cx, record).await?;
        self.machine.supervision.keep_server(self.pid()).await
    }

    async fn run_unkept(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        if self.running() == Running::Ready {
            return Ok(());
        }
        let binaries = binaries::for_data(self.major_of_data(record)?, &self.name())?;
        let mut started = false;
        loop {
            match self.running() {
                Running::Ready => return Ok(()),
                Running::Busy(_) => {}
                // A start that lost against another's is looked at again, once.
                Running::No if started => return Err(self.did_not_start(record)),
                Running::No => {
                    started = true;
                    self.start(cx, &binaries, record).await?;
                    continue;
                }
            }
            wait(cx, &self.name()).await?;
        }
    }

    /// The version of the data as the data itself says it.
    fn major_of_data(&self, record: &Record) -> Result<u32> {
        let path = self.home.data().join("PG_VERSION");
        let text = fs::read_to_string(&path).map_err(failure::at("read", &path))?;
        Ok(text.trim().split('.').next().and_then(|major| major.parse().ok()).unwrap_or(record.made.major))
    }

    async fn start(&self, cx: &OpCtx, binaries: &Binaries, record: &Record) -> Result<()> {
        let settings = self.home.folder.join("server.conf");
        let text =
            include_str!("../../../data/postgres.conf").replace("@PORT@", &record.made.port.to_string());
        files::write_atomic(&settings, text.as_bytes()).map_err(failure::at("write", &settings))?;
        let log = self.home.log();
        // What it says while it starts is what `did_not_start` reads: the log begins anew,
        // and the one before is kept beside it.
        files::absent_is_ok(fs::rename(&log, self.home.folder.join("server.1.log")))
            .map_err(failure::at("rename", &log))?;
        if let Some(account) = &self.home.account {
            std::os::unix::fs::chown(&settings, Some(account.uid), Some(account.gid))
                .map_err(failure::at("give away", &settings))?;
        }
        let left = cx.deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
        let lock = self.lock.try_clone().map_err(failure::at("keep the lock of", &self.home.folder))?;
        // It detaches the server from us: another session, its output to the log.
        let tool = Tool::new(&binaries.program("pg_ctl"), &self.home.folder, self.home.account.as_ref());
        let mark = self.machine.supervision.server_mark().await?;
        tool.envs(mark)
            .args(["start", "-s", "-w", "-t"])
            .arg(left.to_string())
            .arg("-D")
            .arg(self.home.data())
            .arg("-l")
            .arg(&log)
            .stdin(lock)
            .run(cx)
            .await
            .map(drop)
    }

    fn did_not_start(&self, record: &Record) -> ProviderError {
        let lines = files::last_lines(&self.home.log(), 20);
        if lines.iter().any(|line| line.contains("Address already in use")) {
            return numbers::taken(LISTEN, record.made.port).with_help(format!(
                "{} has that port; stop the process and run the same command again",
                self.name()
            ));
        }
        let full = lines.iter().any(|line| line.contains("No space left"));
        let kind = if full { ErrorKind::Quota } else { ErrorKind::Unavailable };
        ProviderError::new(kind, format!("{} did not start", self.name()))
            .with_context("log", lines.join("\n"))
            .with_help(format!("its log is `{}`", self.home.log().display()))
    }

    /// Is it running? By its own record of its process, checked against the process.
    fn running(&self) -> Running {
        let data = self.home.data();
        let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
            return Running::No;
        };
        let mut lines = text.lines();
        let Some(pid) = lines.next().and_then(|pid| pid.trim().parse().ok()).and_then(Pid::from_raw) else {
            return Running::No;
        };
        if !resident::works_in(pid, &data) {
            // After a crash or a reboot the number may be anybody's, and the server would
            // refuse to start while that process lives.
            if Path::new("/proc/self").exists() {
                let _ = fs::remove_file(data.join("postmaster.pid"));
            }
            return Running::No;
        }
        match lines.nth(6).map(str::trim) {
            Some("ready") => Running::Ready,
            _ => Running::Busy(pid),
        }
    }

    /// Stops it if it runs: clients are cut off, transactions rolled back.
    pub(super) async fn halt(&self, cx: &OpCtx) -> Result<()> {
        let give_up = Instant::now() + STOP_GRACE;
        let (mut asked, mut forced) = (false, false);
        loop {
            let pid = match self.running() {
                Running::No => return Ok(()),
                Running::Ready => match self.pid() {
                    Some(pid) => pid,
                    None => continue,
                },
                Running::Busy(pid) => pid,
            };
            let signal = if !asked {
                asked = true;
                Some(Signal::INT)
            } else if !forced && Instant::now() > give_up {
                forced = true;
                Some(Signal::QUIT)
            } else {
                None
            };
            if let Some(signal) = signal
                && let Err(error) = rustix::process::kill_process(pid, signal)
                && error != rustix::io::Errno::SRCH
            {
                return Err(ProviderError::new(
                    ErrorKind::Permission,
                    format!("cannot stop {} (process {}): {error}", self.name(), pid.as_raw_nonzero()),
                ));
            }
            wait(cx, &self.name()).await?;
        }
    }

    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.home.data().join("postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }

    /// A session as the superuser; sets its password anew when the store has lost it.
    async fn superuser(&self, cx: &OpCtx, record: &Record, database: &str) -> Result<Session> {
        let binaries = binaries::for_data(record.made.major, &self.name())?;
        let known = password::find(self.machine, &self.stack, &self.key, "superuser")?;
        let password = match known {
            Some(password) => password,
            None => self.reset_superuser(cx, &binaries, record).await?,
        };
        Ok(Session {
            program: binaries.psql()?,
            folder: self.home.folder.clone(),
            major: record.made.major,
            login: Login {
                port: record.made.port,
                user: KNOWN.superuser.clone(),
                database: database.to_owned(),
                password,
            },
        })
    }

    /// The store was lost and the data was not: who owns the data may set the password.
    async fn reset_superuser(
        &self,
        cx: &OpCtx,
        binaries: &Binaries,
        record: &Record,
    ) -> Result<Secret<String>> {
        self.halt(cx).await?;
        let password = password::kept(self.machine, &self.stack, &self.key, "superuser")?;
        let statement =
            format!("ALTER ROLE {} PASSWORD {}\n", identifier(&KNOWN.superuser), literal(password.expose()));
        let answer = Tool::new(&binaries.program("postgres"), &self.home.folder, self.home.account.as_ref())
            .args(["--single", "-c", "log_min_error_statement=panic", "-D"])
            .arg(self.home.data())
            .arg("postgres")
            .stdin(whole_input(statement.as_bytes(), &self.home.folder)?)
            .run(cx)
            .await?;
        if !answer.status.success() || answer.stderr.contains("ERROR:") {
            return Err(ProviderError::new(
                ErrorKind::Unexpected,
                format!("cannot set the password of {} anew", self.name()),
            )
            .with_context("postgres", answer.stderr));
        }
        self.run(cx, record).await?;
        Ok(password)
    }

    /// Role, database and extensions: each only where it is not there yet.
    async fn prepare(&self, cx: &OpCtx, record: &Record, want: &PostgresSpec) -> Result<()> {
        let session = self.superuser(cx, record, &KNOWN.superuser).await?;
        let password = self.password()?;
        let (role, database) = (&KNOWN.role, want.database.as_str());
        let script = format!(
            // A statement that fails is logged by the server, and this one holds a password.
            "SET log_min_error_statement = 'panic';\n\
             SET log_statement = 'none';\n\
             SELECT format('CREATE ROLE %I', {role_text}) WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {role_text}) \\gexec\n\
             ALTER ROLE {role_name} WITH LOGIN PASSWORD {password};\n\
             SELECT format('CREATE DATABASE %I OWNER %I', {database_text}, {role_text}) WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {database_text}) \\gexec\n\
             ALTER DATABASE {database_name} OWNER TO {role_name};\n",
            role_text = literal(role),
            role_name = identifier(role),
            password = literal(password.expose()),
            database_text = literal(database),
            database_name = identifier(database),
        );
        let answer = session.script(cx, &script, false).await?;
        if !answer.status.success() {
            return Err(refused(&answer));
        }
        let inside = session.to(Login { database: database.to_owned(), ..session.login.clone() });
        add_extensions(cx, &inside, want.extensions.iter().map(SqlName::as_str), &self.name()).await
    }

    /// Stops it and removes everything, the record last.
    pub(super) async fn remove(&self, cx: &OpCtx) -> Result<()> {
        let folder = &self.home.folder;
        let Some(mut record) = self.record()? else {
            // Nothing of ours, or what a finished removal left.
            files::remove_temporary(folder).map_err(failure::at("clean", folder))?;
            let _ = fs::remove_dir(folder);
            home::remove_empty_parents(&self.home);
            return Ok(());
        };
        record.progress = Progress::Deleting;
        record.write(folder)?;
        self.halt(cx).await?;
        let mut entries: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder).map_err(failure::at("read", folder))? {
            let entry = entry.map_err(failure::at("read", folder))?;
            if entry.file_name() != "resource.json" {
                entries.push(entry.path());
            }
        }
        for entry in entries {
            files::remove_tree(&entry).map_err(failure::at("remove", &entry))?;
        }
        files::remove_tree(folder).map_err(failure::at("remove", folder))?;
        home::remove_empty_parents(&self.home);
        Ok(())
    }
}

/// Makes extensions as the superuser; those that the server does not have are named.
pub(crate) async fn add_extensions<'a>(
    cx: &OpCtx,
    superuser: &Session,
    names: impl Iterator<Item = &'a str>,
    what_for: &str,
) -> Result<()> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let rows = superuser
        .rows(cx, &format!("SELECT name FROM pg_available_extensions WHERE name IN ({});", list.join(", ")))
        .await?;
    let available: BTreeSet<&str> = rows.iter().filter_map(|row| row.first()).map(String::as_str).collect();
    if let Some(missing) = names.iter().find(|name| !available.contains(*name)) {
        return Err(binaries::extension_missing(missing, superuser.major, what_for));
    }
    let script: String =
        names.iter().map(|name| format!("CREATE EXTENSION IF NOT EXISTS {};\n", identifier(name))).collect();
    let answer = superuser.script(cx, &script, false).await?;
    if answer.status.success() { Ok(()) } else { Err(refused(&answer)) }
}

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Running {
    No,
    /// Starting or stopping.
    Busy(Pid),
    Ready,
}

async fn wait(cx: &OpCtx, what: &str) -> Result<()> {
    if cx.cancellation.is_cancelled() {
        return Err(failure::cancelled(what));
    }
    if Instant::now() >= cx.deadline {
        return Err(ProviderError::new(ErrorKind::Timeout, format!("{what} took too long to start or stop")));
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}
