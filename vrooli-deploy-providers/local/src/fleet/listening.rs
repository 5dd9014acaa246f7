//! Which TCP ports the descendants of a process listen on, read from /proc: for the
//! message "listens on 3500 instead".

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Ports that the process or a descendant listens on. Empty where /proc says nothing.
pub(super) fn ports_of(root: u32) -> BTreeSet<u16> {
    let inodes: BTreeSet<u64> = family(root).into_iter().flat_map(socket_inodes).collect();
    let mut ports = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else { continue };
        ports.extend(text.lines().skip(1).filter_map(|line| listening(line, &inodes)));
    }
    ports
}

/// `sl local_address rem_address st … inode`: state 0A is LISTEN.
fn listening(line: &str, inodes: &BTreeSet<u64>) -> Option<u16> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != "0A" || !inodes.contains(&fields.get(9)?.parse().ok()?) {
        return None;
    }
    u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()
}

fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

fn family(root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::from([root]) };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = BTreeSet::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        if all.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten().copied());
        }
    }
    all
}

/// The name of a process may hold spaces and brackets: what follows the last `)` is read.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn finds_our_own_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(super::ports_of(std::process::id()).contains(&port));
        drop(listener);
        assert!(!super::ports_of(std::process::id()).contains(&port));
    }
}
