//! Schema, migrations, seeds and data, each file applied once and never twice.
//!
//! A file and its entry in the ledger (`vrooli_deploy.ledger`, in the database itself) are
//! one transaction, so that a kill at any instant leaves both or neither. The whole input
//! lies ready before `psql` starts: a script that is cut off is never committed in part.

mod files;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use vrooli_deploy_core::diagnostics::{Code, Diagnostic, Severity};
use vrooli_deploy_core::names::{Digest, ResourceKey};
use vrooli_deploy_core::provider::{ErrorKind, MigrationReport, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::Migration;
use vrooli_deploy_core::requirements::ResourceRequirement;

pub use files::migrations;
use script::{Place, Script};

use crate::failure;
use crate::kinds::Machine;
use crate::kinds::postgres::{self, Session, identifier, literal};

/// A file was changed after it had been applied.
pub const FILE_CHANGED: Code = Code(744);
/// A declared file is not there.
pub const FILE_MISSING: Code = Code(745);
/// Statements or files were left out, and why.
pub const FILE_SKIPPED: Code = Code(746);
/// A database that is not ours: its files are not applied.
pub const NOT_OURS: Code = Code(747);

/// The lock under which files are applied to a database: an arbitrary number, the same for ever.
const LOCK: i64 = 0x7672_6f6f_6c69_0001;

/// What was applied, and what is to be said about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Files applied now and before.
    pub report: MigrationReport,
    /// Changed files, statements left out, roles made.
    pub notes: Vec<Diagnostic>,
}

/// Does a resource take SQL files here?
pub(crate) fn takes_files(requirement: &ResourceRequirement) -> bool {
    requirement.resource == "postgres"
}

/// The key under which a database requirement is made.
fn key_of(requirement: &ResourceRequirement) -> Result<ResourceKey> {
    ResourceKey::new(format!("database/{}", requirement.name.as_str().to_ascii_lowercase()))
        .map_err(|error| failure::name(&error))
}

/// Applies what is not applied yet, in order. `root` is the manifest's folder in the
/// staged release. The servers are started if they do not run.
///
/// # Errors
/// `App` with file, line and the server's words when a file is refused: nothing of that
/// file was applied then, and the files before it were. `Conflict` when a file is not the
/// one that the release was made with.
pub async fn apply(
    machine: &Machine,
    cx: &OpCtx,
    root: &Path,
    resources: &[ResourceRequirement],
    migrations: &[Migration],
) -> Result<Migrated> {
    let mut done = Migrated::default();
    for requirement in resources.iter().filter(|requirement| takes_files(requirement)) {
        let wanted: Vec<&Migration> =
            migrations.iter().filter(|migration| migration.resource == requirement.name.as_str()).collect();
        if wanted.is_empty() {
            continue;
        }
        let key = key_of(requirement)?;
        if !postgres::exists(machine, cx, &key)? {
            let message =
                format!("the files of `{}` are not applied: its database is not ours", requirement.name);
            note(
                cx,
                &mut done.notes,
                NOT_OURS,
                Severity::Warning,
                message,
                Some("apply them by hand where the app needs them"),
            );
            continue;
        }
        let (app, superuser) = postgres::sessions(machine, cx, &key).await?;
        let ledger = Ledger { cx, app: &app, superuser: &superuser };
        ledger.apply(root, &wanted, &mut done).await?;
    }
    Ok(done)
}

/// Tables that the files of a release make and that are not there. For smoke tests: an app
/// without its tables may well say that it is healthy.
///
/// # Errors
/// When the server cannot be asked.
pub async fn missing_tables(
    machine: &Machine,
    cx: &OpCtx,
    root: &Path,
    resources: &[ResourceRequirement],
    migrations: &[Migration],
) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for requirement in resources.iter().filter(|requirement| takes_files(requirement)) {
        let key = key_of(requirement)?;
        let wanted: Vec<&Migration> =
            migrations.iter().filter(|migration| migration.resource == requirement.name.as_str()).collect();
        if wanted.is_empty() || !postgres::exists(machine, cx, &key)? {
            continue;
        }
        let (app, superuser) = postgres::sessions(machine, cx, &key).await?;
        let mut tables: BTreeSet<String> = BTreeSet::new();
        let mut moves = false;
        for migration in wanted {
            let script = read(root, migration, &app, &superuser)?;
            moves |= script.text.to_ascii_lowercase().contains("search_path");
            tables.retain(|table| !script.removed.contains(table));
            tables.extend(script.tables);
        }
        // A script that chooses its own schema makes tables where their names do not tell.
        tables.retain(|table| !moves || table.contains("\".\""));
        if tables.is_empty() {
            continue;
        }
        let values: Vec<String> = tables.iter().map(|table| format!("({})", literal(table))).collect();
        let statement = format!(
            "SELECT name FROM (VALUES {}) AS t(name) WHERE to_regclass(name) IS NULL;",
            values.join(", ")
        );
        missing.extend(app.rows(cx, &statement).await?.into_iter().flatten());
    }
    Ok(missing)
}

fn note(
    cx: &OpCtx,
    notes: &mut Vec<Diagnostic>,
    code: Code,
    severity: Severity,
    message: String,
    help: Option<&str>,
) {
    cx.output.line(&message);
    let mut diagnostic = Diagnostic::new(code, severity, message);
    diagnostic.help = help.map(str::to_owned);
    notes.push(diagnostic);
}

fn read(root: &Path, migration: &Migration, app: &Session, superuser: &Session) -> Result<Script> {
    let path = files::inside(root, &migration.file)?;
    let content = fs::read(&path).map_err(failure::at("read", &path))?;
    if Digest::of(&content) != migration.digest {
        return Err(ProviderError::new(
            ErrorKind::Conflict,
            format!("`{}` is not the file that the release was made with", path.display()),
        )
        .with_help("deploy again: that makes a new release from the sources"));
    }
    let text = String::from_utf8(content).map_err(|error| {
        ProviderError::new(
            ErrorKind::App,
            format!("`{}` is not UTF-8: {}", migration.file, error.utf8_error()),
        )
        .with_help("save it as UTF-8")
    })?;
    let place = Place {
        file: &migration.file,
        role: &app.login.user,
        superuser: &superuser.login.user,
        database: &app.login.database,
    };
    script::read(&text, place)
}

struct Ledger<'a> {
    cx: &'a OpCtx,
    app: &'a Session,
    superuser: &'a Session,
}

impl Ledger<'_> {
    async fn apply(&self, root: &Path, wanted: &[&Migration], done: &mut Migrated) -> Result<()> {
        let mut applied = self.read().await?;
        for migration in wanted {
            if let Some(digest) = applied.get(&migration.file) {
                self.already(migration, digest, done);
                continue;
            }
            let script = read(root, migration, self.app, self.superuser)?;
            self.prepare(migration, &script, done).await?;
            if self.run(migration, &script).await? {
                self.cx.output.line(&format!("applied `{}`", migration.file));
                done.report.applied.push(migration.file.clone());
            } else {
                // Somebody else did, while we waited for the lock.
                applied = self.read().await?;
                if let Some(digest) = applied.get(&migration.file) {
                    self.already(migration, digest, done);
                }
            }
        }
        Ok(())
    }

    /// What the ledger says; it is made when there is none.
    async fn read(&self) -> Result<BTreeMap<String, String>> {
        let known =
            self.superuser.rows(self.cx, "SELECT to_regclass('vrooli_deploy.ledger') IS NOT NULL;").await?;
        if known.first().and_then(|row| row.first()).map(String::as_str) != Some("t") {
            let role = identifier(&self.app.login.user);
            let make = format!(
                "SELECT pg_advisory_xact_lock({LOCK});\n\
                 CREATE SCHEMA IF NOT EXISTS vrooli_deploy AUTHORIZATION {role};\n\
                 CREATE TABLE IF NOT EXISTS vrooli_deploy.ledger (file text PRIMARY KEY, digest text NOT NULL, \
                 applied_at timestamptz NOT NULL DEFAULT now());\n\
                 ALTER TABLE vrooli_deploy.ledger OWNER TO {role};\n"
            );
            let answer = self.superuser.script(self.cx, &make, true).await?;
            if !answer.status.success() {
                return Err(postgres::refused(&answer));
            }
            return Ok(BTreeMap::new());
        }
        let rows = self.superuser.rows(self.cx, "SELECT file, digest FROM vrooli_deploy.ledger;").await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let mut fields = row.into_iter();
                Some((fields.next()?, fields.next()?))
            })
            .collect())
    }

    fn already(&self, migration: &Migration, digest: &str, done: &mut Migrated) {
        done.report.already.push(migration.file.clone());
        if digest != migration.digest.as_str() {
            note(
                self.cx,
                &mut done.notes,
                FILE_CHANGED,
                Severity::Warning,
                format!(
                    "`{}` was changed after it had been applied, and is not applied again",
                    migration.file
                ),
                Some(
                    "write the change as a file of its own and declare it under `initialization` with type `migration`",
                ),
            );
        }
    }

    /// What only the superuser may: extensions, and roles that the file names.
    async fn prepare(&self, migration: &Migration, script: &Script, done: &mut Migrated) -> Result<()> {
        for text in &script.notes {
            note(self.cx, &mut done.notes, FILE_SKIPPED, Severity::Info, text.clone(), None);
        }
        let extensions = script.extensions.iter().map(String::as_str);
        postgres::add_extensions(self.cx, self.superuser, extensions, &format!("`{}`", migration.file))
            .await?;
        let list: Vec<String> = script.roles.iter().map(|role| format!("({})", literal(role))).collect();
        if list.is_empty() {
            return Ok(());
        }
        let statement = format!(
            "SELECT name FROM (VALUES {}) AS t(name) WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name);",
            list.join(", ")
        );
        for role in self.superuser.rows(self.cx, &statement).await?.into_iter().flatten() {
            // Granted to the app's role, so that it may give what it makes to the new one.
            let make = format!(
                "SELECT format('CREATE ROLE %I NOLOGIN', {text}) WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) \\gexec\n\
                 GRANT {name} TO {app};\n",
                text = literal(&role),
                name = identifier(&role),
                app = identifier(&self.app.login.user),
            );
            let answer = self.superuser.script(self.cx, &make, false).await?;
            if !answer.status.success() {
                return Err(postgres::refused(&answer));
            }
            let text = format!(
                "`{}` names the role `{role}`, which was not there: made, without a login",
                migration.file
            );
            note(self.cx, &mut done.notes, FILE_SKIPPED, Severity::Info, text, None);
        }
        Ok(())
    }

    /// Applies one file with its entry. `false` when another had applied it.
    async fn run(&self, migration: &Migration, script: &Script) -> Result<bool> {
        // On the file's first line, so that the lines of messages are the file's own.
        let whole = format!(
            "SELECT pg_advisory_xact_lock({LOCK}); INSERT INTO vrooli_deploy.ledger (file, digest) VALUES ({}, {}); {}\n",
            literal(&migration.file),
            literal(migration.digest.as_str()),
            script.text
        );
        let answer = self.app.script(self.cx, &whole, true).await?;
        if answer.status.success() {
            return Ok(true);
        }
        let said = answer.stderr.replace("psql:<stdin>:", &format!("{}:", migration.file));
        if said.contains("ledger_pkey") {
            return Ok(false);
        }
        let first = said
            .lines()
            .find(|line| line.contains("ERROR:") || line.contains("FATAL:"))
            .or_else(|| said.lines().next());
        let kind = if said.contains("No space left") { ErrorKind::Quota } else { ErrorKind::App };
        Err(ProviderError::new(kind, first.unwrap_or("psql failed and said nothing").trim().to_owned())
            .with_context("file", migration.file.clone())
            .with_context("psql", said.trim().to_owned())
            .with_help("nothing of this file was applied, and the running release is untouched; mend the file and deploy again"))
    }
}
