use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{LogCursor, LogLine, LogPage, LogQuery, OpCtx, Result, UnitState};

use super::LocalFleet;

/// How far back the last lines are looked for.
const TAIL_BYTES: u64 = 1024 * 1024;
/// How much one page holds at most.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

impl LocalFleet {
    /// The last lines of a unit's log; none when there is no log.
    pub(super) fn tail(
        &self,
        stack: &StackId,
        release: ReleaseNumber,
        unit: &UnitId,
        lines: usize,
    ) -> Vec<String> {
        tail(&self.machine.layout.unit_log(stack, release, unit), lines)
            .map(|(lines, _)| lines)
            .unwrap_or_default()
    }

    pub(super) async fn read_logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage> {
        let mut units = Vec::new();
        match query.release {
            Some(release) => {
                units.extend(self.logged_units(&cx.stack, release).into_iter().map(|u| (release, u)))
            }
            None => {
                let seen = self.units(cx).await?.into_iter();
                units.extend(seen.filter(|u| u.state != UnitState::Stopped).map(|u| (u.release, u.unit)));
                if units.is_empty()
                    && let Some(last) = self.last_logged_release(&cx.stack)
                {
                    units.extend(self.logged_units(&cx.stack, last).into_iter().map(|u| (last, u)));
                }
            }
        }
        units.sort();
        units.dedup();
        let mut page = LogPage::default();
        for (release, unit) in units {
            if query.service.as_ref().is_some_and(|wanted| *wanted != unit.service) {
                continue;
            }
            let path = self.machine.layout.unit_log(&cx.stack, release, &unit);
            let name = format!("{release}/{unit}");
            let read = match query.after.as_ref() {
                Some(LogCursor(offsets)) => after(&path, offsets.get(&name).copied().unwrap_or_default()),
                None => tail(&path, query.lines),
            };
            let Ok((lines, offset)) = read else { continue };
            page.next.0.insert(name, offset);
            page.lines.extend(lines.into_iter().map(|line| LogLine { release, unit: unit.clone(), line }));
        }
        Ok(page)
    }

    fn logged_units(&self, stack: &StackId, release: ReleaseNumber) -> Vec<UnitId> {
        let Ok(entries) = std::fs::read_dir(self.machine.layout.release_logs(stack, release)) else {
            return Vec::new();
        };
        let mut units: Vec<UnitId> = entries
            .filter_map(|e| e.ok()?.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
            .collect();
        units.sort();
        units
    }

    fn last_logged_release(&self, stack: &StackId) -> Option<ReleaseNumber> {
        let folder = self.machine.layout.logs(stack);
        std::fs::read_dir(folder).ok()?.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).max()
    }
}

fn tail(path: &Path, lines: usize) -> std::io::Result<(Vec<String>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut kept = VecDeque::new();
    let mut reader = BufReader::new(file.take(length - from));
    let mut buffer = Vec::new();
    let mut first = from > 0;
    while reader.read_until(b'\n', &mut buffer)? > 0 {
        if !std::mem::take(&mut first) {
            if kept.len() == lines {
                kept.pop_front();
            }
            kept.push_back(text(&buffer));
        }
        buffer.clear();
    }
    kept.truncate(lines);
    Ok((kept.into(), length))
}

/// Whole lines from an offset on; from the start when the log was rotated meanwhile.
fn after(path: &Path, offset: u64) -> std::io::Result<(Vec<String>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut offset = if offset > length { 0 } else { offset };
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::new(file.take(PAGE_BYTES));
    let mut lines = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let read = reader.read_until(b'\n', &mut buffer)?;
        if read == 0 || buffer.last() != Some(&b'\n') {
            break;
        }
        offset += read as u64;
        lines.push(text(&buffer));
        buffer.clear();
    }
    Ok((lines, offset))
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_and_follow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(&path, "a\nb\nc\n").unwrap();
        let (lines, offset) = tail(&path, 2).unwrap();
        assert_eq!(lines, ["b", "c"]);
        std::fs::write(&path, "a\nb\nc\nd\nhalf").unwrap();
        let (lines, offset) = after(&path, offset).unwrap();
        assert_eq!(lines, ["d"]);
        assert_eq!(after(&path, offset).unwrap().0, Vec::<String>::new());
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(after(&path, offset).unwrap().0, ["new"]);
    }
}
