//! How `bare-metal.postgres` is prepared on a host, and seen there.

use std::collections::BTreeSet;

use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::Digest;
use vrooli_deploy_core::provider::{ErrorKind, Known, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::tuning::{KNOWN, settings};
use super::{LOOPBACK, Postgres, PostgresObserved, PostgresSpec, scram, sslmode, takes};
use crate::ground::{FirewallWay, HostSurvey, Making, PORT, Place, Prepared, Written, differences};
use crate::kinds::{is_role_name, is_sql_name};

type Spec = PostgresSpec<Known>;

fn id(want: &Spec) -> String {
    id_of(&want.name)
}

/// What we call it on its host.
pub(crate) fn id_of(name: &str) -> String {
    format!("postgres-{name}")
}

/// The cluster's name. A `-` in one confuses its unit; the digest tells apart what would fall together.
pub(crate) fn cluster(place: &Place, name: &str) -> String {
    let digest = Digest::of(format!("{}/{name}", place.name).as_bytes());
    let digest = digest.short().get(..6).unwrap_or_default();
    let mut plain = format!("vd_{}_{name}", place.name).replace(['-', '.'], "_");
    plain.truncate(50);
    format!("{plain}_{digest}")
}

fn files(want: &Spec, place: &Place, major: u32, memory: u64) -> Vec<Written> {
    let cluster = cluster(place, &want.name);
    let folder = format!("/etc/postgresql/{major}/{cluster}");
    let postgres = |name: &str, mode, text| Written {
        path: format!("{folder}/{name}"),
        mode,
        owner: "postgres",
        group: "postgres",
        text,
    };
    let mut files = vec![
        postgres("postgresql.conf", "644", conf(want, major, &cluster, memory)),
        postgres("pg_hba.conf", "640", hba(want)),
        postgres("start.conf", "644", "auto\n".to_owned()),
    ];
    if want.address.is_some() {
        // An address that is not there yet cannot be listened on.
        files.push(Written::public(
            format!("/etc/systemd/system/postgresql@{major}-{cluster}.service.d/vrooli-deploy.conf"),
            "[Unit]\nWants=network-online.target\nAfter=network-online.target\n".to_owned(),
        ));
    }
    files
}

fn conf(want: &Spec, major: u32, cluster: &str, memory: u64) -> String {
    let listen = want.address.as_deref().unwrap_or(LOOPBACK);
    let mut text = String::from("# Written by vrooli-deploy; changes made here are put back.\n");
    let mut set = |name: &str, value: &str| {
        text.push_str(name);
        text.push_str(" = ");
        text.push_str(value);
        text.push('\n');
    };
    let quoted = |value: String| format!("'{value}'");
    let etc = format!("/etc/postgresql/{major}/{cluster}");
    set("data_directory", &quoted(format!("/var/lib/postgresql/{major}/{cluster}")));
    set("hba_file", &quoted(format!("{etc}/pg_hba.conf")));
    set("ident_file", &quoted(format!("{etc}/pg_ident.conf")));
    set("external_pid_file", &quoted(format!("/var/run/postgresql/{major}-{cluster}.pid")));
    set("cluster_name", &quoted(format!("{major}/{cluster}")));
    set("port", PORT);
    set("listen_addresses", &quoted(listen.to_owned()));
    set("unix_socket_directories", "'/var/run/postgresql'");
    set("password_encryption", "'scram-sha-256'");
    set("log_line_prefix", "'%m [%p] %q%u@%d '");
    set("timezone", "'UTC'");
    set("log_timezone", "'UTC'");
    if want.address.is_some() {
        set("ssl", "on");
        set("ssl_cert_file", "'/etc/ssl/certs/ssl-cert-snakeoil.pem'");
        set("ssl_key_file", "'/etc/ssl/private/ssl-cert-snakeoil.key'");
    }
    for (name, value) in settings(memory, want.alone) {
        set(&name, &value);
    }
    text
}

fn hba(want: &Spec) -> String {
    let mut text = String::from("# Written by vrooli-deploy; changes made here are put back.\n");
    text.push_str("local all postgres peer\n");
    let mut rule = |kind: &str, address: &str| {
        let width = if address.contains(':') { 128 } else { 32 };
        let (database, role) = (&want.database, &KNOWN.role);
        text.push_str(&format!("{kind} \"{database}\" \"{role}\" {address}/{width} scram-sha-256\n"));
    };
    match &want.address {
        None => rule("host", LOOPBACK),
        Some(_) => want.clients.iter().for_each(|client| rule("hostssl", client)),
    }
    text
}

/// The major version that is there, or that would be made.
fn major(want: &Spec, seen: &HostSurvey) -> Result<u32> {
    let wanted = || want.version.as_deref().unwrap_or_default();
    if let Some(major) = made(want, seen, "major").and_then(|major| major.parse().ok()) {
        if takes(want.version.as_deref(), major) {
            return Ok(major);
        }
        return Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!("`{}` on {} holds data of PostgreSQL {major}, and `{}` is wanted", want.name, want.host, wanted()),
        )
        .with_code(rules::POSTGRES_MAJOR.to_string())
        .with_help(format!(
            "data are not carried to another major version by a deployment: install that version on the server, make a backup, upgrade with `pg_upgradecluster {major} {}` there, or leave the version in the manifest as it is; nothing was changed",
            made(want, seen, "cluster").unwrap_or_default(),
        )));
    }
    if let Some(major) = seen.postgres.iter().rev().find(|major| takes(want.version.as_deref(), **major)) {
        return Ok(*major);
    }
    let there = seen.postgres.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = if there.is_empty() {
        format!("PostgreSQL is not installed on {}", want.host)
    } else {
        format!("{} has PostgreSQL {there}, and `{}` is wanted", want.host, wanted())
    };
    Err(ProviderError::new(ErrorKind::Unsupported, message)
        .with_code(rules::POSTGRES_MAJOR.to_string())
        .with_help("leave the version out of the manifest, or install that one on the server: https://www.postgresql.org/download/linux/debian/"))
}

fn made<'a>(want: &Spec, seen: &'a HostSurvey, name: &str) -> Option<&'a str> {
    seen.roles.get(&id(want))?.made.get(name).map(String::as_str)
}

impl Prepared for Postgres {
    type Plain = Spec;
    const WORD: &'static str = "postgres";
    const RANK: u8 = 5;
    const LOOKS: bool = true;
    const PASSWORD: bool = true;

    fn host(want: &Spec) -> &str {
        &want.host
    }
    fn name(want: &Spec, place: &Place) -> String {
        format!("postgres/{}", cluster(place, &want.name))
    }
    fn items_there(want: &Spec, making: &Making<'_>) -> Result<Vec<Vec<String>>> {
        let Making { place, seen, password } = making;
        let major = match (password, made(want, seen, "major")) {
            // It is given back, however much of it was made.
            (None, major) => major.unwrap_or_default().to_owned(),
            (Some(_), _) => major(want, seen)?.to_string(),
        };
        let cluster = cluster(place, &want.name);
        let verifier =
            password.map(|password| scram::verifier(password, &cluster).expose().clone()).unwrap_or_default();
        let mut items =
            vec![vec![id(want), major.clone(), cluster, KNOWN.role.clone(), want.database.clone(), verifier]];
        for extension in &want.extensions {
            let package = KNOWN.extension_packages.get(extension).cloned().unwrap_or_default();
            items.push(vec!["extension".to_owned(), extension.clone(), package.replace("@MAJOR@", &major)]);
        }
        items.extend(want.clients.iter().map(|client| vec!["client".to_owned(), client.clone()]));
        if let Ok(major) = major.parse() {
            items.extend(files(want, place, major, seen.memory).iter().flat_map(Written::items));
        }
        Ok(items)
    }
    fn observe(want: &Spec, place: &Place, seen: &HostSurvey) -> PostgresObserved {
        let cluster = cluster(place, &want.name);
        let number = |name: &str| made(want, seen, name).and_then(|text| text.parse::<u32>().ok());
        let (major, port) = (number("major").unwrap_or(0), number("port").unwrap_or(0));
        let port = u16::try_from(port).unwrap_or(0);
        let mut unlike = BTreeSet::new();
        let role = seen.roles.get(&id(want)).cloned().unwrap_or_default();
        if role.made.is_empty() {
            unlike.insert("data".to_owned());
        } else {
            unlike = differences(&files(want, place, major, seen.memory), seen, &port.to_string());
            let facts = ["data", "running", "database", "user", "password", "connections"];
            // Of one that does not run nothing else can be said.
            let seen = if role.is("running") { &facts[..] } else { &facts[..2] };
            unlike.extend(seen.iter().filter(|fact| !role.is(fact)).map(|fact| (*fact).to_owned()));
            unlike.extend(
                role.live
                    .get("altered")
                    .into_iter()
                    .flatten()
                    .map(|key| format!("postgresql.auto.conf: {key}")),
            );
        }
        let clients: BTreeSet<String> = want.clients.iter().cloned().collect();
        let closed = |address: &&String| !seen.open_from.contains(&(port, (*address).clone()));
        let ours = matches!(seen.firewall, FirewallWay::Own | FirewallWay::Ufw);
        if ours && clients.iter().any(|address| closed(&address)) {
            unlike.insert("firewall".to_owned());
        }
        let extensions = role.live.get("extension").into_iter().flatten().cloned().collect();
        PostgresObserved {
            host: want.host.clone(),
            path: format!("/var/lib/postgresql/{major}/{cluster}"),
            cluster,
            major,
            port,
            address: want.address.clone(),
            clients,
            database: want.database.clone(),
            user: KNOWN.role.clone(),
            // Of one that does not run nobody knows; it is put back as it was made.
            extensions: if role.is("running") { extensions } else { want.extensions.clone() },
            alone: want.alone,
            unlike,
        }
    }
    fn check(want: &Spec, _: &Place) -> std::result::Result<(), String> {
        if !is_role_name(&want.name) {
            return Err(format!("`{}` is no name for a server", want.name));
        }
        for name in [&want.database].into_iter().chain(&want.extensions) {
            if !is_sql_name(name) {
                return Err(format!("`{name}` is no name of a database or an extension"));
            }
        }
        for address in want.address.iter().chain(&want.clients) {
            if address.parse::<std::net::IpAddr>().is_err() {
                return Err(format!("`{address}` is no address"));
            }
        }
        Ok(())
    }
    fn secrets(have: &PostgresObserved, password: &Secret<String>) -> Vec<(&'static str, Secret<String>)> {
        let host = have.address.as_deref().unwrap_or(LOOPBACK);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!(
            "postgres://{}:{}@{host}:{}/{}?sslmode={}",
            have.user,
            password.expose(),
            have.port,
            have.database,
            sslmode(have)
        );
        vec![("password", Secret::new(password.expose().clone())), ("url", Secret::new(url))]
    }
}
