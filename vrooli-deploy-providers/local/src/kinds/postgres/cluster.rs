//! One private server: made, started, stopped and removed, each resumable from wherever a
//! kill left it. Everything here is done with the server's lock held. How it is run is
//! decided when it is made, and kept in its record.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::migration::{SqlSession as _, add_extensions, identifier, literal, refused};
use vrooli_deploy_core::secrets::Secret;

use super::binaries::{self, Binaries, KNOWN};
use super::choice::Chosen;
use super::home::{self, Home};
use super::psql::Through;
use super::{KIND, Login, PostgresObserved, PostgresSpec, Session, SqlName};
use crate::claims::Claims;
use crate::kinds::marker::{self, Marker, Progress};
use crate::kinds::vessel::{self, Contained};
use crate::kinds::{Machine, Way, folder_name, numbers, password};
use crate::servers::{is_final, stays};
use crate::{failure, files};

/// What the record of a server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) major: u32,
    pub(super) port: u16,
    pub(super) database: SqlName,
    pub(super) extensions: BTreeSet<SqlName>,
    /// Where it is run in a container; else it is run from installed programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) contained: Option<Contained>,
}

impl Made {
    pub(super) fn way(&self) -> Way {
        if self.contained.is_some() { Way::Docker } else { Way::Programs }
    }
}

pub(super) type Record = Marker<Made>;

/// Loopback: nobody else has business with it.
pub(super) const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The lock under which a server is prepared, as long as the session lasts: what a killed
/// predecessor still does comes to its end first. An arbitrary number, the same for ever.
const LOCK: i64 = 0x7672_6f6f_6c69_0002;
/// Between looks at a server that starts or stops.
const POLL: Duration = Duration::from_millis(25);

/// A server whose lock we hold.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) machine: &'a Machine,
    pub(super) stack: StackId,
    pub(super) key: ResourceKey,
    pub(super) home: Home,
    pub(super) lock: File,
    /// The state that asks.
    pub(super) owner: Uuid,
}

/// What the record in a folder says, as it is observed.
pub(super) fn observed(record: &Record, folder: &Path) -> PostgresObserved {
    let made = &record.made;
    PostgresObserved {
        major: made.major,
        port: made.port,
        database: made.database.clone(),
        user: KNOWN.role.clone(),
        extensions: made.extensions.clone(),
        finished: record.progress == Progress::Ready,
        way: made.way(),
        path: made.contained.is_none().then(|| folder.join("data")),
        volume: made.contained.as_ref().map(|contained| contained.name.clone()),
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
    stays(cx, &machine.servers, record.made.way(), &server.name());
    server.run(cx, &record).await?;
    Ok(observed(&record, &server.home.folder))
}

/// Stops a server; its data stays. Not running, or never made, is `Ok`.
///
/// # Errors
/// When it does not stop.
pub async fn stop(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<()> {
    let server = Server::open(machine, cx, key).await?;
    match server.record()? {
        Some(record) => server.halt(cx, &record).await,
        None => Ok(()),
    }
}

/// Stops all servers of a stack.
///
/// # Errors
/// When one does not stop.
pub(crate) async fn stop_all(machine: &Machine, cx: &OpCtx) -> Result<()> {
    for parent in home::parents(&machine.layout, &cx.stack)? {
        for folder in marker::folders(&parent)? {
            if let Some(record) = Record::read(&folder)?
                && record.is_owned(&machine.layout, cx.owner)
            {
                stop(machine, cx, &record.key).await?;
            }
        }
    }
    Ok(())
}

/// Was that server made, by us?
pub(super) fn exists(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<bool> {
    Ok(Record::read(&home_of(machine, &cx.stack, key)?.folder)?.is_some())
}

/// Where a server is, or would be made from programs.
fn home_of(machine: &Machine, stack: &StackId, key: &ResourceKey) -> Result<Home> {
    let inside = home::of_contained(&machine.layout, stack, key);
    match Record::read(&inside.folder)? {
        Some(record) if record.made.contained.is_some() => Ok(inside),
        _ => home::of(&machine.layout, stack, key),
    }
}

/// Ways to give statements to a running server: as the app's role, and as its superuser.
pub(super) async fn sessions(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<(Session, Session)> {
    let server = Server::open(machine, cx, key).await?;
    let record = server.made()?;
    server.run(cx, &record).await?;
    let superuser = server.superuser(cx, &record, record.made.database.as_str()).await?;
    let password = server.password()?;
    let login = Login { user: KNOWN.role.clone(), password, ..superuser.login.clone() };
    Ok((superuser.to(login), superuser))
}

impl<'a> Server<'a> {
    /// Takes the server's lock.
    pub(super) async fn open(machine: &'a Machine, cx: &OpCtx, key: &ResourceKey) -> Result<Self> {
        let path = machine.layout.locks(&cx.stack).join(format!("postgres-{}", folder_name(key)));
        let what = format!("the PostgreSQL server of {}", cx.stack);
        let lock = files::lock(cx, &path, &what).await?;
        let home = home_of(machine, &cx.stack, key)?;
        Ok(Self { machine, stack: cx.stack.clone(), key: key.clone(), home, lock, owner: cx.owner })
    }

    pub(super) fn name(&self) -> String {
        format!("`{}` of {}", self.key, self.stack)
    }

    /// Its record, unless it is another state's: then it is not touched.
    pub(super) fn record(&self) -> Result<Option<Record>> {
        match Record::read(&self.home.folder)? {
            Some(record) => record.owned(&self.machine.layout, self.owner).map(Some),
            None => Ok(None),
        }
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

    /// Makes it, or goes on where a kill left it, up to `Ready`. One that was begun here and
    /// cannot be made leaves nothing.
    pub(super) async fn make(&mut self, cx: &OpCtx, want: &PostgresSpec) -> Result<Record> {
        if let Some(record) = self.record()?
            && record.progress == Progress::Deleting
        {
            self.remove(cx).await?;
        }
        if let Some(record) = self.record()? {
            stays(cx, &self.machine.servers, record.made.way(), &self.name());
            return self.make_from(cx, record, want).await;
        }
        let had_data = vessel::has_marked(self.machine, cx, KIND, &self.key).await?;
        let record = self.begin(cx, want).await?;
        match self.make_from(cx, record, want).await {
            Err(error) if !had_data && is_final(&error) => {
                self.remove(cx).await?;
                Err(error)
            }
            other => other,
        }
    }

    async fn make_from(&self, cx: &OpCtx, mut record: Record, want: &PostgresSpec) -> Result<Record> {
        if record.progress == Progress::Creating {
            record = match record.made.contained {
                Some(_) => self.initialise_contained(cx, record, want).await?,
                None => self.initialise_installed(cx, record).await?,
            };
        }
        self.run_first(cx, &mut record).await?;
        self.prepare(cx, &record, want).await?;
        record.made.database = want.database.clone();
        record.made.extensions.extend(want.extensions.iter().cloned());
        record.progress = Progress::Ready;
        record.write(&self.home.folder)?;
        Ok(record)
    }

    /// Decides how it is run.
    async fn begin(&mut self, cx: &OpCtx, want: &PostgresSpec) -> Result<Record> {
        match self.choose(cx, want).await? {
            Chosen::Installed(binaries) => self.begin_installed(cx, &binaries, want).await,
            Chosen::Contained(contained, major) => {
                self.home = home::of_contained(&self.machine.layout, &self.stack, &self.key);
                cx.output.line(&format!("{} runs in a container of `{}`", self.name(), contained.image));
                self.note(cx, major, Some(contained), want).await
            }
        }
    }

    /// With installed programs.
    async fn begin_installed(&self, cx: &OpCtx, binaries: &Binaries, want: &PostgresSpec) -> Result<Record> {
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
        self.note(cx, binaries.major, None, want).await
    }

    /// Chooses a port and writes the record: from here on it can be found.
    async fn note(
        &self,
        cx: &OpCtx,
        major: u32,
        contained: Option<Contained>,
        want: &PostgresSpec,
    ) -> Result<Record> {
        self.home.make()?;
        files::remove_temporary(&self.home.folder).map_err(failure::at("clean", &self.home.folder))?;
        let _numbers = numbers::lock(cx, &self.machine.layout).await?;
        let numbers::Chosen { port, claim: _until_written } = self.choose_port()?;
        let made =
            Made { major, port, database: want.database.clone(), extensions: BTreeSet::new(), contained };
        let record = Record::new(cx, &self.key, made);
        record.write(&self.home.folder)?;
        Ok(record)
    }

    fn choose_port(&self) -> Result<numbers::Chosen> {
        let record = Record::path(&self.home.folder);
        numbers::choose(&self.machine.layout, &self.stack, &self.key, &record, LISTEN, KNOWN.ports)
    }

    /// Starts it unless it runs, and sees to it that it ends with us where all does.
    async fn run(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        // What a program left that ended is about to be ended, and no server to rely on.
        self.machine.supervision.admit(&self.machine.layout).await?;
        match &record.made.contained {
            Some(contained) => self.run_contained(cx, record, contained).await,
            None => self.run_installed(cx, record).await,
        }
    }

    /// Stops it if it runs: clients are cut off, transactions rolled back.
    async fn halt(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        match &record.made.contained {
            Some(contained) => self.vessel(cx, record, contained).await?.halt(cx).await,
            None => self.halt_installed(cx).await,
        }
    }

    /// Starts it; while nobody was told of its port yet, one that somebody took meanwhile
    /// is given up for another.
    async fn run_first(&self, cx: &OpCtx, record: &mut Record) -> Result<()> {
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            match self.run(cx, record).await {
                Err(error) if error.kind() == ErrorKind::Conflict && record.progress != Progress::Ready => {
                    let _numbers = numbers::lock(cx, &self.machine.layout).await?;
                    let numbers::Chosen { port, claim: _until_written } = self.choose_port()?;
                    record.made.port = port;
                    record.write(&self.home.folder)?;
                }
                other => return other,
            }
        }
        self.run(cx, record).await
    }

    /// A session as the superuser; sets its password anew when the store has lost it.
    async fn superuser(&self, cx: &OpCtx, record: &Record, database: &str) -> Result<Session> {
        let through = match &record.made.contained {
            Some(contained) => self.through_container(cx, record, contained).await?,
            None => Through::Program {
                program: binaries::for_data(record.made.major, &self.name())?.psql()?,
                folder: self.home.folder.clone(),
            },
        };
        let password = match password::find(self.machine, &self.stack, &self.key, "superuser")? {
            Some(password) => password,
            None => match &record.made.contained {
                Some(contained) => self.reset_contained(cx, record, contained).await?,
                None => self.reset_installed(cx, record).await?,
            },
        };
        let login = Login {
            port: record.made.port,
            user: KNOWN.superuser.clone(),
            database: database.to_owned(),
            password,
        };
        Ok(Session { through, major: record.made.major, login })
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
             SELECT pg_advisory_lock({LOCK});\n\
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
        if !answer.succeeded {
            return Err(refused(&answer));
        }
        let inside = session.to(Login { database: database.to_owned(), ..session.login.clone() });
        add_extensions(cx, &inside, want.extensions.iter().map(SqlName::as_str), &self.name()).await
    }

    /// Stops it and removes everything, the record last.
    pub(super) async fn remove(&self, cx: &OpCtx) -> Result<()> {
        let folder = &self.home.folder;
        let Some(mut record) = self.record()? else {
            // Nothing of ours, or what a finished removal left; or data whose record is lost.
            self.remove_marked(cx).await?;
            files::remove_temporary(folder).map_err(failure::at("clean", folder))?;
            let _ = fs::remove_dir(folder);
            home::remove_empty_parents(&self.home);
            return Ok(());
        };
        record.progress = Progress::Deleting;
        record.write(folder)?;
        match &record.made.contained {
            Some(contained) => self.remove_contained(cx, &record, contained).await?,
            None => self.halt_installed(cx).await?,
        }
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
        Claims::of_machine().release(record.made.port, &Record::path(folder));
        home::remove_empty_parents(&self.home);
        Ok(())
    }
}

pub(super) async fn wait(cx: &OpCtx, what: &str) -> Result<()> {
    if cx.cancellation.is_cancelled() {
        return Err(failure::cancelled(what));
    }
    if Instant::now() >= cx.deadline {
        return Err(ProviderError::new(ErrorKind::Timeout, format!("{what} took too long to start or stop")));
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}
