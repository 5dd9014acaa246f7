//! The machine's processes: who descends from whom, who carries our mark, and how to end
//! them all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::identity::Handle;

/// The environment variable that names the unit a process belongs to:
/// `<workspace id>/<app>/<environment>/rN/<unit>`. Children inherit it, so what a killed
/// shim left behind can be found.
pub const MARKER: &str = "VROOLI_DEPLOY_UNIT";

/// The environment variable of what a program runs in itself:
/// `<run>:<sort>:<pid of the program>:<when it started>`.
pub(crate) const RUN: &str = "VROOLI_DEPLOY_RUN";

/// How often the table is read while something is being ended.
const POLL: Duration = Duration::from_millis(20);

/// What the kernel says about a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) state: char,
    /// In clock ticks since boot.
    pub(crate) started: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may hold any of them.
        let rest = text.get(text.rfind(')')? + 1..)?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Memory of processes with all their descendants, in bytes, by whatever they are for.
pub(crate) fn memory<K: Ord + Copy>(of: &BTreeMap<K, Vec<u32>>) -> BTreeMap<K, u64> {
    let Ok(table) = Table::read() else { return BTreeMap::new() };
    let resident = |pid: u32| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        kib.unwrap_or_default() * 1024
    };
    of.iter()
        .map(|(key, pids)| {
            let mut all: BTreeSet<u32> = pids.iter().copied().collect();
            for pid in pids {
                all.extend(table.kept(*pid));
            }
            (*key, all.into_iter().map(resident).sum())
        })
        .collect()
}

/// Reads what the kernel says about a process.
pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat"))?;
    Stat::parse(&String::from_utf8_lossy(&text))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat cannot be read")))
}

/// When a process started, in clock ticks since boot; `None` where that cannot be seen.
pub(crate) fn started(pid: u32) -> Option<u64> {
    stat(pid).ok().map(|stat| stat.started)
}

/// Does the error say that the process is gone? (It may vanish between open and read.)
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// All processes at one moment.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<u32, Stat>);

impl Table {
    /// Reads the table. Processes that vanish meanwhile are left out.
    pub(crate) fn read() -> io::Result<Self> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir("/proc")? {
            if let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse().ok())
                && let Ok(stat) = stat(pid)
            {
                all.insert(pid, stat);
            }
        }
        Ok(Self(all))
    }

    /// All living processes under one, children's children too, without itself. Zombies are dead.
    pub(crate) fn descendants(&self, of: u32) -> BTreeSet<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pid, stat) in &self.0 {
            children.entry(stat.parent).or_default().push(*pid);
        }
        let mut found = BTreeSet::new();
        let mut open = vec![of];
        while let Some(pid) = open.pop() {
            for child in children.get(&pid).into_iter().flatten() {
                if found.insert(*child) {
                    open.push(*child);
                }
            }
        }
        found.retain(|pid| self.lives(*pid));
        found
    }

    /// What a process stands for: its descendants, and of a keeper the processes of its container, which bear the
    /// same mark.
    pub(crate) fn kept(&self, by: u32) -> BTreeSet<u32> {
        let mut all = self.descendants(by);
        for pid in all.clone().into_iter().chain([by]).filter(|pid| crate::child::is_keeper(*pid)) {
            let environ = environ(pid);
            let mark = environ.split(|b| *b == 0).find_map(|variable| {
                let value = variable.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"=")?;
                std::str::from_utf8(value).ok().map(Mark::new)
            });
            if let Some(mark) = mark {
                all.extend(self.marked(&mark).into_iter().filter(|pid| !crate::child::is_shim(*pid)));
            }
        }
        all.remove(&by);
        all
    }

    /// Living processes that bear a mark.
    pub(crate) fn marked(&self, mark: &Mark) -> BTreeSet<u32> {
        self.0.keys().copied().filter(|pid| self.lives(*pid) && mark.is_on(*pid)).collect()
    }

    /// Living processes of a group.
    pub(crate) fn group(&self, group: u32) -> BTreeSet<u32> {
        self.0
            .iter()
            .filter(|(pid, stat)| stat.group == group && self.lives(**pid))
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Living processes of an instance that has no shim: its group, what descends from that,
    /// and what bears its mark.
    pub(crate) fn instance(&self, group: u32, mark: &Mark) -> BTreeSet<u32> {
        let mut all = self.group(group);
        for pid in all.clone() {
            all.extend(self.descendants(pid));
        }
        all.extend(self.marked(mark));
        all
    }

    fn lives(&self, pid: u32) -> bool {
        self.0.get(&pid).is_some_and(|s| !matches!(s.state, 'Z' | 'X'))
    }

    /// Is one of its ancestors (or itself) such a process?
    fn is_under(&self, pid: u32, test: impl Fn(u32) -> bool) -> bool {
        let mut seen = BTreeSet::new();
        let mut at = pid;
        while at > 1 && seen.insert(at) {
            if test(at) {
                return true;
            }
            match self.0.get(&at) {
                Some(stat) => at = stat.parent,
                None => return false,
            }
        }
        false
    }

    /// Living processes that carry a mark starting so, whose shim is gone, and which no other
    /// program that lives runs in itself. Only those whose environment this user may read are
    /// seen.
    pub(crate) fn left_behind(&self, mark: &Mark) -> BTreeSet<u32> {
        let marked: Vec<u32> = self
            .0
            .keys()
            .copied()
            .filter(|pid| self.lives(*pid))
            .filter(|pid| {
                let environ = environ(*pid);
                mark.is_in(&environ) && !self.is_held(&environ)
            })
            .collect();
        let shims: BTreeSet<u32> = marked.iter().copied().filter(|pid| crate::child::is_shim(*pid)).collect();
        marked.into_iter().filter(|pid| !self.is_under(*pid, |p| shims.contains(&p))).collect()
    }
}

impl Table {
    /// Does another program that lives run this process in itself? It ends it as well.
    fn is_held(&self, environ: &[u8]) -> bool {
        let Some((pid, started)) = holder(environ) else {
            return false;
        };
        pid != std::process::id()
            && self.lives(pid)
            && self.0.get(&pid).is_some_and(|stat| stat.started == started)
    }
}

/// The program that runs a process in itself, by the process's environment: its pid, and when
/// it started.
fn holder(environ: &[u8]) -> Option<(u32, u64)> {
    let run = environ
        .split(|b| *b == 0)
        .find_map(|variable| variable.strip_prefix(RUN.as_bytes())?.strip_prefix(b"="))?;
    let mut parts = std::str::from_utf8(run).ok()?.split(':').skip(2);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn environ(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

/// The mark of a unit, of a release, of a stack or of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark(String);

impl Mark {
    /// The mark itself, or the part before a `/` of it.
    pub(crate) fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn is_on(&self, pid: u32) -> bool {
        self.is_in(&environ(pid))
    }

    fn is_in(&self, environ: &[u8]) -> bool {
        environ.split(|b| *b == 0).any(|variable| {
            variable
                .strip_prefix(MARKER.as_bytes())
                .and_then(|v| v.strip_prefix(b"="))
                .and_then(|v| v.strip_prefix(self.0.as_bytes()))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }
}

/// Ends processes: `SIGTERM` to each once, after the grace `SIGKILL` to those still there.
/// Asked again and again which they are, so that children born meanwhile are found.
#[derive(Debug)]
pub(crate) struct Ending {
    until: Instant,
    asked: BTreeSet<(u32, u64)>,
}

impl Ending {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { until: Instant::now() + grace, asked: BTreeSet::new() }
    }

    /// No more patience.
    pub(crate) fn hurry(&mut self) {
        self.until = Instant::now();
    }

    /// One round. Returns how many were still there.
    pub(crate) fn round(&mut self, find: &dyn Fn(&Table) -> BTreeSet<u32>) -> io::Result<usize> {
        let force = Instant::now() >= self.until;
        let table = Table::read()?;
        let found = find(&table);
        for pid in &found {
            let Some(seen) = table.0.get(pid) else {
                continue;
            };
            // Opened, then looked at again: the pid might be another's by now.
            let Ok(Some(handle)) = Handle::open(*pid) else {
                continue;
            };
            if !stat(*pid).is_ok_and(|now| now.started == seen.started) {
                continue;
            }
            if force {
                handle.signal(Signal::KILL)?;
            } else if self.asked.insert((*pid, seen.started)) {
                handle.signal(Signal::TERM)?;
                // A stopped process takes no notice of a signal until it goes on.
                if seen.state == 'T' {
                    handle.signal(Signal::CONT)?;
                }
            }
        }
        Ok(found.len())
    }

    /// Rounds until nothing is left. `patience` after the grace it is an error: what cannot
    /// be killed hangs in the kernel.
    pub(crate) fn run(
        mut self,
        patience: Duration,
        find: &dyn Fn(&Table) -> BTreeSet<u32>,
    ) -> io::Result<()> {
        loop {
            let left = self.round(find)?;
            if left == 0 {
                return Ok(());
            }
            if Instant::now() > self.until + patience {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{left} processes are still there after SIGKILL"),
                ));
            }
            std::thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read() {
        let text = "7 (a) (b c) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 991 1 1";
        assert_eq!(Stat::parse(text), Some(Stat { parent: 3, group: 7, state: 'S', started: 991 }));
        assert_eq!(Stat::parse("7 (x"), None);
        assert_eq!(Stat::parse("7 (x) S 3"), None);
    }

    fn table(entries: &[(u32, u32, char)]) -> Table {
        Table(
            entries
                .iter()
                .map(|(pid, parent, state)| {
                    (*pid, Stat { parent: *parent, group: *pid, state: *state, started: 1 })
                })
                .collect(),
        )
    }

    #[test]
    fn descendants_are_found_through_the_dead() {
        let table = table(&[(1, 0, 'S'), (5, 1, 'S'), (6, 5, 'Z'), (7, 6, 'S'), (8, 1, 'S')]);
        assert_eq!(table.descendants(5), BTreeSet::from([7]));
        assert!(table.is_under(7, |p| p == 5));
        assert!(!table.is_under(8, |p| p == 5));
    }

    #[test]
    fn a_process_that_another_living_program_holds_is_not_left_behind() {
        let me = std::process::id();
        let table = table(&[(7, 1, 'S'), (8, 1, 'Z'), (me, 1, 'S')]);
        let held = |by: &str| table.is_held(format!("A=1\0{RUN}=run:app:{by}\0").as_bytes());
        assert!(held("7:1"));
        assert!(!held("7:2"), "its number is another's by now");
        assert!(!held("8:1"), "it is dead");
        assert!(!held(&format!("{me}:1")), "we know what we run");
        assert!(!table.is_held(b"A=1\0"));
    }

    #[test]
    fn a_mark_is_whole_or_a_whole_part() {
        let environ = b"A=1\0VROOLI_DEPLOY_UNIT=id/demo/default/r1/api.0\0B=2\0";
        for mark in ["id", "id/demo", "id/demo/default/r1", "id/demo/default/r1/api.0"] {
            assert!(Mark::new(mark).is_in(environ), "{mark}");
        }
        for mark in ["i", "id/dem", "id/demo/default/r", "id/demo/default/r1/api.01", "demo"] {
            assert!(!Mark::new(mark).is_in(environ), "{mark}");
        }
    }
}
