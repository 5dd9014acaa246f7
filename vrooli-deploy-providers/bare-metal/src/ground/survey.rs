use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use vrooli_deploy_core::provider::TakenOver;

use super::HostRecord;
use crate::facts::{Lines, Machine};

/// What was seen of a stack on a host.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct HostSurvey {
    /// What the host keeps of it; none: it is not there.
    pub record: Option<HostRecord>,
    /// The highest lease that changed it.
    pub fence: u64,
    /// How it came to its owner, if that is not who made it.
    pub taken: Option<TakenOver>,
    /// Versions of the packages that it wants and that are installed.
    pub packages: BTreeMap<String, String>,
    /// Those of them that are older than when they were last seen to.
    pub older: BTreeSet<String>,
    /// Its user.
    pub user: Option<UserSeen>,
    /// Its folder and those in it, by path.
    pub folders: BTreeMap<String, FolderSeen>,
    /// Who decides what comes in.
    pub firewall: FirewallWay,
    /// Ports that it lets in, where that shows.
    pub open: BTreeSet<u16>,
    /// Do our rules outlast a boot?
    pub lasts: bool,
    /// Ports that it lets in from one address each.
    pub open_from: BTreeSet<(u16, String)>,
    /// Its memory in bytes, or what it is allowed of it.
    pub memory: u64,
    /// Its address, the one that others of a private network reach it at before any other.
    pub address: Option<String>,
    /// Versions of PostgreSQL that are installed.
    pub postgres: BTreeSet<u32>,
    /// Servers and backups that stand there for the stack, by what we call them.
    pub roles: BTreeMap<String, RoleSeen>,
    /// Files that we wrote for them.
    pub files: BTreeMap<String, FileSeen>,
    /// What runs there.
    pub machine: Machine,
    /// Our own program that the host uses, by the SHA-256 of its file in hexadecimal.
    pub program: Option<String>,
    /// The unit of its supervisor, by the SHA-256 of its file in hexadecimal.
    pub unit: Option<String>,
    /// What our program says of releases, as it was printed; none: there is no program of ours.
    pub fleet: Option<String>,
    /// Why it says nothing.
    pub unseen: Option<String>,
}

/// A server or a backup that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleSeen {
    /// What was written down when it was made: name, value.
    pub made: BTreeMap<String, String>,
    /// How it is: name, values.
    pub live: BTreeMap<String, Vec<String>>,
}

impl RoleSeen {
    /// Was that said of it?
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "as below"))]
    pub(crate) fn is(&self, name: &str) -> bool {
        self.live.contains_key(name)
    }

    /// The one value of a name.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "as below"))]
    pub(crate) fn live(&self, name: &str) -> Option<&str> {
        self.live.get(name)?.first().map(String::as_str)
    }
}

/// A file that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSeen {
    /// `640`.
    pub mode: String,
    /// Whose.
    pub owner: String,
    /// Whose group.
    pub group: String,
    /// Its lines, blanks at their ends aside.
    pub lines: Vec<String>,
}

/// A user that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSeen {
    /// Its name.
    pub name: String,
    /// Its comment, by which it is known.
    pub comment: String,
    /// Its home.
    pub home: String,
    /// Its shell.
    pub shell: String,
}

/// A folder that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderSeen {
    /// `750`.
    pub mode: String,
    /// Whose.
    pub owner: String,
    /// Whose group.
    pub group: String,
}

/// Who decides what comes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirewallWay {
    /// `ufw`, which is active; ports are opened in it.
    Ufw,
    /// A table of ours.
    Own,
    /// Rules of somebody else's, which are left alone.
    Other,
    /// Nobody.
    #[default]
    None,
}

impl HostSurvey {
    /// Reads what the script printed.
    ///
    /// # Errors
    /// Why the record cannot be used.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only asked for by the native half"))]
    pub(crate) fn read(lines: &Lines<'_>) -> Result<Self, String> {
        let record: Vec<&str> = lines.all("record").collect();
        let record = if record.is_empty() { None } else { Some(HostRecord::read(&record.join("\n"))?) };
        let packages = lines
            .all("package")
            .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                [name, version, "installed"] => Some((name.to_owned(), version.to_owned())),
                _ => None,
            })
            .collect();
        let folders = lines
            .all("folder")
            .filter_map(|line| {
                let mut words = line.splitn(4, ' ').map(ToOwned::to_owned);
                let (mode, owner, group) = (words.next()?, words.next()?, words.next()?);
                Some((words.next()?, FolderSeen { mode, owner, group }))
            })
            .collect();
        Ok(Self {
            record,
            fence: lines.get("fence").and_then(|fence| fence.parse().ok()).unwrap_or(0),
            taken: lines.get("taken").and_then(taken),
            packages,
            older: lines.all("older").map(ToOwned::to_owned).collect(),
            user: lines.get("user").and_then(user),
            folders,
            firewall: match lines.get("firewall") {
                Some("ufw") => FirewallWay::Ufw,
                Some("own") => FirewallWay::Own,
                Some("other") => FirewallWay::Other,
                _ => FirewallWay::None,
            },
            open: lines.all("open").filter_map(|port| port.parse().ok()).collect(),
            lasts: lines.get("lasts").is_some(),
            open_from: lines
                .all("from")
                .filter_map(|line| line.split_once(' '))
                .filter_map(|(port, address)| Some((port.parse().ok()?, address.to_owned())))
                .collect(),
            memory: lines.get("memory").and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024,
            address: address(lines),
            postgres: lines.all("postgres").filter_map(|major| major.parse().ok()).collect(),
            roles: roles(lines),
            files: files(lines),
            machine: Machine {
                architecture: lines.get("machine").unwrap_or_default().to_owned(),
                glibc: lines.get("glibc").map(ToOwned::to_owned),
            },
            program: lines.get("program").map(ToOwned::to_owned),
            unit: lines.get("unit").map(ToOwned::to_owned),
            fleet: lines.get("fleet").map(ToOwned::to_owned),
            unseen: lines.get("unseen").map(ToOwned::to_owned),
        })
    }
}

/// A line about a take-over: whose it was, when, by whom.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "as above"))]
pub(crate) fn taken(line: &str) -> Option<TakenOver> {
    let mut words = line.splitn(3, ' ');
    let (from, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(TakenOver { from, at, by: words.next().unwrap_or_default().to_owned() })
}

/// The first address of a private network, else the first.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "as above"))]
fn address(lines: &Lines<'_>) -> Option<String> {
    let all: Vec<IpAddr> = lines.all("address").filter_map(|text| text.parse().ok()).collect();
    let private = |address: &&IpAddr| match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    };
    all.iter().find(private).or_else(|| all.first()).map(ToString::to_string)
}

#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "as above"))]
fn roles(lines: &Lines<'_>) -> BTreeMap<String, RoleSeen> {
    let mut roles: BTreeMap<String, RoleSeen> = BTreeMap::new();
    let parts = |line: &str| {
        let mut words = line.splitn(3, ' ').map(ToOwned::to_owned);
        Some((words.next()?, words.next()?, words.next().unwrap_or_default()))
    };
    for (id, name, value) in lines.all("made").filter_map(parts) {
        roles.entry(id).or_default().made.insert(name, value);
    }
    for (id, name, value) in lines.all("live").filter_map(parts) {
        roles.entry(id).or_default().live.entry(name).or_default().push(value);
    }
    roles
}

#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "as above"))]
fn files(lines: &Lines<'_>) -> BTreeMap<String, FileSeen> {
    let mut files: BTreeMap<String, FileSeen> = BTreeMap::new();
    for line in lines.all("file") {
        if let [mode, owner, group, path] = line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            let own = |text: &str| text.to_owned();
            let file = FileSeen { mode: own(mode), owner: own(owner), group: own(group), lines: Vec::new() };
            files.insert(own(path), file);
        }
    }
    for line in lines.all("text") {
        let (path, text) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(file) = files.get_mut(path) {
            file.lines.push(text.trim().to_owned());
        }
    }
    files
}

/// A line of `passwd`.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "as above"))]
fn user(line: &str) -> Option<UserSeen> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, _, _, comment, home, shell] = fields[..] else { return None };
    let own = |text: &str| text.to_owned();
    Some(UserSeen { name: own(name), comment: own(comment), home: own(home), shell: own(shell) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survey_is_read() {
        let text = "package\tnftables 1.0.6-2 installed\npackage\tcurl 7 config-files\n\
            user\tvd-shop:x:998:998:vrooli-deploy shop.default:/var/lib:/usr/sbin/nologin\n\
            folder\t750 root vd-shop /var/lib/vrooli-deploy/workspace/apps/shop/default\n\
            firewall\town\nopen\t22\nopen\t443\nlasts\tyes\n";
        let seen = HostSurvey::read(&Lines::new(text)).unwrap();
        assert_eq!(seen.packages.keys().collect::<Vec<_>>(), ["nftables"]);
        assert_eq!(seen.user.unwrap().comment, "vrooli-deploy shop.default");
        assert_eq!(seen.folders["/var/lib/vrooli-deploy/workspace/apps/shop/default"].group, "vd-shop");
        assert_eq!((seen.firewall, seen.lasts), (FirewallWay::Own, true));
        assert_eq!(seen.open.into_iter().collect::<Vec<_>>(), [22, 443]);
        let text = "memory\t2048\naddress\t203.0.113.7\naddress\t10.0.0.7\npostgres\t15\nfrom\t5433 10.0.0.8\n\
            made\tpostgres-main port 5433\nlive\tpostgres-main extension vector\n\
            file\t640 postgres postgres /etc/a.conf\ntext\t/etc/a.conf port = 5433\ntext\t/etc/a.conf \n";
        let seen = HostSurvey::read(&Lines::new(text)).unwrap();
        assert_eq!((seen.memory, seen.address.as_deref()), (2048 * 1024, Some("10.0.0.7")));
        assert_eq!(seen.open_from, BTreeSet::from([(5433, "10.0.0.8".to_owned())]));
        assert_eq!(seen.roles["postgres-main"].made["port"], "5433");
        assert_eq!(seen.roles["postgres-main"].live("extension"), Some("vector"));
        assert_eq!(seen.files["/etc/a.conf"].lines, ["port = 5433", ""]);
        let id = "11111111-2222-3333-4444-555555555555";
        let text = format!("fence\t7\ntaken\t{id} 2026-11-21T22:10:00Z process 12 on ci\n");
        let seen = HostSurvey::read(&Lines::new(&text)).unwrap();
        let taken = seen.taken.unwrap();
        assert_eq!((seen.fence, taken.from.to_string().as_str()), (7, id));
        assert_eq!(
            (taken.at.to_string().as_str(), taken.by.as_str()),
            ("2026-11-21T22:10:00Z", "process 12 on ci")
        );
        assert_eq!(HostSurvey::read(&Lines::new("")).unwrap(), HostSurvey::default());
        assert!(HostSurvey::read(&Lines::new("record\t{\n")).is_err());
    }
}
