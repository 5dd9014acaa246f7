//! Accounts of the operating system, for the one program that refuses to run as root.

use std::fs;
use std::path::Path;
use std::process::Command;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Are we root?
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Looks an account up by name or number: in the file, then through the name service.
pub(crate) fn look_up(name: &str) -> Option<Account> {
    let from_file = fs::read_to_string(Path::new("/etc/passwd")).ok().and_then(|text| find_in(&text, name));
    from_file.or_else(|| {
        let answer = Command::new("getent").arg("passwd").arg(name).output().ok()?;
        find_in(&String::from_utf8_lossy(&answer.stdout), name)
    })
}

fn find_in(passwd: &str, wanted: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if name != wanted && uid != wanted {
            return None;
        }
        Some(Account { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_number() {
        let text = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\n";
        let postgres = Account { name: "postgres".to_owned(), uid: 101, gid: 104 };
        assert_eq!(find_in(text, "postgres"), Some(postgres.clone()));
        assert_eq!(find_in(text, "101"), Some(postgres));
        assert_eq!(find_in(text, "nobody"), None);
    }
}
