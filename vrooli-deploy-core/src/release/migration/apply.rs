//! Schema, migrations, seeds and data, each file applied once and never twice.
//!
//! A file and its entry in the ledger (`vrooli_deploy.ledger`, in the database itself) are
//! one transaction, so that a kill at any instant leaves both or neither.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use async_trait::async_trait;

use super::files;
use super::script::{self, Place, Script};
use super::session::{Database, add_extensions, identifier, literal, refused};
use crate::diagnostics::{Code, Diagnostic, Severity, rules};
use crate::provider::{ErrorKind, MigrationReport, OpCtx, ProviderError, Result};
use crate::release::Migration;
use crate::requirements::ResourceRequirement;

/// The lock under which files are applied to a database: an arbitrary number, the same for ever.
const LOCK: i64 = 0x7672_6f6f_6c69_0001;

/// Is there a ledger, and what does it say? In one script: a server may be far away.
const READ: &str = "SELECT to_regclass('vrooli_deploy.ledger') IS NOT NULL AS known \\gset\n\
    \\echo :known\n\
    \\if :known\n\
    SELECT file, digest FROM vrooli_deploy.ledger;\n\
    \\endif\n";

/// What was applied, and what is to be said about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Files applied now and before.
    pub report: MigrationReport,
    /// Changed files, statements left out, roles made.
    pub notes: Vec<Diagnostic>,
}

/// Where the databases of a stack are.
#[async_trait]
pub trait Databases: Send + Sync {
    /// The database of a requirement, its server running; none if it was not made by us.
    ///
    /// # Errors
    /// When its server cannot be found or started.
    async fn open(&self, cx: &OpCtx, requirement: &ResourceRequirement) -> Result<Option<Database>>;
}

/// The databases that files are for, and the files of each, in order.
fn wanted<'a>(
    resources: &'a [ResourceRequirement],
    migrations: &'a [Migration],
) -> impl Iterator<Item = (&'a ResourceRequirement, Vec<&'a Migration>)> {
    resources.iter().filter(|requirement| files::takes_files(requirement)).filter_map(|requirement| {
        let of = |migration: &&Migration| migration.resource == requirement.name.as_str();
        let wanted: Vec<&Migration> = migrations.iter().filter(of).collect();
        (!wanted.is_empty()).then_some((requirement, wanted))
    })
}

/// Applies what is not applied yet, in order. `root` is the manifest's folder in the artefact of
/// the release.
///
/// # Errors
/// `App` with file, line and the server's words when a file is refused: nothing of that
/// file was applied then, and the files before it were. `Conflict` when a file is not the
/// one that the release was made with.
pub async fn apply(
    databases: &dyn Databases,
    cx: &OpCtx,
    root: &Path,
    resources: &[ResourceRequirement],
    migrations: &[Migration],
) -> Result<Migrated> {
    let mut done = Migrated::default();
    for (requirement, wanted) in wanted(resources, migrations) {
        let Some(database) = databases.open(cx, requirement).await? else {
            let message =
                format!("the files of `{}` are not applied: its database is not ours", requirement.name);
            note(
                cx,
                &mut done.notes,
                rules::DATABASE_NOT_OURS,
                Severity::Warning,
                message,
                Some("apply them by hand where the app needs them"),
            );
            continue;
        };
        Ledger { cx, database: &database }.apply(root, &wanted, &mut done).await?;
    }
    Ok(done)
}

/// Tables that the files of a release make and that are not there. For smoke tests: an app
/// without its tables may well say that it is healthy.
///
/// # Errors
/// When the server cannot be asked.
pub async fn missing_tables(
    databases: &dyn Databases,
    cx: &OpCtx,
    root: &Path,
    resources: &[ResourceRequirement],
    migrations: &[Migration],
) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (requirement, wanted) in wanted(resources, migrations) {
        let Some(database) = databases.open(cx, requirement).await? else { continue };
        let mut tables: BTreeSet<String> = BTreeSet::new();
        let mut moves = false;
        for migration in wanted {
            let script = read(root, migration, &database)?;
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
        missing.extend(database.app.rows(cx, &statement).await?.into_iter().flatten());
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

fn read(root: &Path, migration: &Migration, database: &Database) -> Result<Script> {
    let text = files::text(root, migration)?;
    let place = Place {
        file: &migration.file,
        role: database.app.user(),
        superuser: database.superuser.user(),
        database: database.app.database(),
    };
    script::read(&text, place)
}

struct Ledger<'a> {
    cx: &'a OpCtx,
    database: &'a Database,
}

impl Ledger<'_> {
    async fn apply(&self, root: &Path, wanted: &[&Migration], done: &mut Migrated) -> Result<()> {
        let mut applied = self.read().await?;
        for migration in wanted {
            if let Some(digest) = applied.get(&migration.file) {
                self.already(migration, digest, done);
                continue;
            }
            let script = read(root, migration, self.database)?;
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
        let superuser = &self.database.superuser;
        let mut rows = superuser.rows(self.cx, READ).await?.into_iter();
        let known = rows.next().is_some_and(|row| row.first().is_some_and(|known| known == "t"));
        if !known {
            let role = identifier(self.database.app.user());
            let make = format!(
                "SELECT pg_advisory_xact_lock({LOCK});\n\
                 CREATE SCHEMA IF NOT EXISTS vrooli_deploy AUTHORIZATION {role};\n\
                 CREATE TABLE IF NOT EXISTS vrooli_deploy.ledger (file text PRIMARY KEY, digest text NOT NULL, \
                 applied_at timestamptz NOT NULL DEFAULT now());\n\
                 ALTER TABLE vrooli_deploy.ledger OWNER TO {role};\n"
            );
            let answer = superuser.script(self.cx, &make, true).await?;
            return if answer.succeeded { Ok(BTreeMap::new()) } else { Err(refused(&answer)) };
        }
        let entry = |row: Vec<String>| {
            let mut fields = row.into_iter();
            Some((fields.next()?, fields.next()?))
        };
        Ok(rows.filter_map(entry).collect())
    }

    fn already(&self, migration: &Migration, digest: &str, done: &mut Migrated) {
        done.report.already.push(migration.file.clone());
        if digest != migration.digest.as_str() {
            note(
                self.cx,
                &mut done.notes,
                rules::APPLIED_FILE_CHANGED,
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
            note(self.cx, &mut done.notes, rules::STATEMENTS_LEFT_OUT, Severity::Info, text.clone(), None);
        }
        let extensions = script.extensions.iter().map(String::as_str);
        add_extensions(self.cx, &*self.database.superuser, extensions, &format!("`{}`", migration.file))
            .await?;
        let list: Vec<String> = script.roles.iter().map(|role| format!("({})", literal(role))).collect();
        if list.is_empty() {
            return Ok(());
        }
        let statement = format!(
            "SELECT name FROM (VALUES {}) AS t(name) WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name);",
            list.join(", ")
        );
        for role in self.database.superuser.rows(self.cx, &statement).await?.into_iter().flatten() {
            // Granted to the app's role, so that it may give what it makes to the new one.
            let make = format!(
                "SELECT format('CREATE ROLE %I NOLOGIN', {text}) WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) \\gexec\n\
                 GRANT {name} TO {app};\n",
                text = literal(&role),
                name = identifier(&role),
                app = identifier(self.database.app.user()),
            );
            let answer = self.database.superuser.script(self.cx, &make, false).await?;
            if !answer.succeeded {
                return Err(refused(&answer));
            }
            let text = format!(
                "`{}` names the role `{role}`, which was not there: made, without a login",
                migration.file
            );
            note(self.cx, &mut done.notes, rules::STATEMENTS_LEFT_OUT, Severity::Info, text, None);
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
        let answer = self.database.app.script(self.cx, &whole, true).await?;
        if answer.succeeded {
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
