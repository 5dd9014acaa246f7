use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HostRecord;
use crate::facts::{Lines, Machine};

/// What was seen of a stack on a host.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct HostSurvey {
    /// What the host keeps of it; none: it is not there.
    pub record: Option<HostRecord>,
    /// Versions of the packages that it wants and that are installed.
    pub packages: BTreeMap<String, String>,
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
            packages,
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
        assert_eq!(HostSurvey::read(&Lines::new("")).unwrap(), HostSurvey::default());
        assert!(HostSurvey::read(&Lines::new("record\t{\n")).is_err());
    }
}
