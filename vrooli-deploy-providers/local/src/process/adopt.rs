//! What the files of a unit say about it, checked against the processes that are there.

use std::io;

use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{Result, UnitObserved, UnitState};

use super::files::read_json;
use super::identity::Handle;
use super::lock;
use super::paths::UnitLayout;
use super::ports;
use super::record::{ExitRecord, InstanceRecord, UnitRecord};
use super::table::{self, Table};
use crate::failure::at;
use crate::layout::Layout;

/// An instance whose shim lives.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) record: InstanceRecord,
    pub(crate) shim: Handle,
}

/// What became of the last instance of a unit.
#[derive(Debug)]
pub(crate) enum Last {
    /// There was none, or it is of another boot.
    None,
    /// Its shim lives.
    Lives(Found),
    /// A shim lives but has not said yet who it is.
    Starting,
    /// It ended and its shim said how.
    Ended(ExitRecord),
    /// Its shim was killed: processes may be left.
    Orphaned,
}

/// Looks for the instance of a unit. The lock decides: a folder that was copied has the
/// files of another's instance, and nobody holds its lock.
pub(crate) fn last(files: &UnitLayout) -> io::Result<Last> {
    let held = lock::is_held(&files.lock())?;
    // A damaged record is as good as none: lock and mark lead to the processes all the same.
    let record: Option<InstanceRecord> = read_json(&files.instance()).unwrap_or_default();
    if held {
        return Ok(match record {
            Some(record) => match record.shim.open()? {
                Some(shim) => Last::Lives(Found { record, shim }),
                None => Last::Starting,
            },
            None => Last::Starting,
        });
    }
    let Some(record) = record else {
        return Ok(Last::None);
    };
    if record.shim.boot != super::identity::boot_id()? {
        return Ok(Last::None);
    }
    Ok(match read_json::<ExitRecord>(&files.exit()).unwrap_or_default() {
        Some(exit) if exit.instance == record.instance => Last::Ended(exit),
        // The program runs it elsewhere: this is a copy of its folder.
        _ if record.in_process && !record.shim.is_this() && record.shim.open()?.is_some() => Last::None,
        _ => Last::Orphaned,
    })
}

/// All units of a stack as files and processes show them, without a supervisor. What a
/// supervisor would start again shows as restarting.
///
/// # Errors
/// When the state folder cannot be read.
pub fn observe(layout: &Layout, stack: &StackId) -> Result<Vec<UnitObserved>> {
    let folder = layout.units(stack);
    let mut all = Vec::new();
    for release in layout.supervised_releases(stack).map_err(at("read", &folder))? {
        for unit in layout.supervised_units(stack, release).map_err(at("read", &folder))? {
            all.push(observe_unit(layout, stack, release, &unit)?);
        }
    }
    Ok(all)
}

fn observe_unit(
    layout: &Layout,
    stack: &StackId,
    release: ReleaseNumber,
    unit: &UnitId,
) -> Result<UnitObserved> {
    let files = layout.unit(stack, release, unit);
    let record: UnitRecord = read_json(&files.record()).unwrap_or_default().unwrap_or_default();
    let (state, pid) = match last(&files).map_err(at("look at", files.root()))? {
        Last::Lives(found) => (UnitState::Running, speaker(found.record.shim.pid, found.record.app)),
        Last::Starting => (UnitState::Running, None),
        _ if record.wanted => (UnitState::Restarting, None),
        _ => (UnitState::Stopped, None),
    };
    describe(layout, stack, release, unit, &record, state, pid)
}

/// The process that stands for an instance: the app's first, or, when that ended and others
/// go on, the first of those. `shim`: what keeps it.
pub(crate) fn speaker(shim: u32, app: Option<u32>) -> Option<u32> {
    if let Some(app) = app
        && table::stat(app).is_ok_and(|stat| stat.parent == shim && stat.state != 'Z')
    {
        return Some(app);
    }
    let table = Table::read().ok()?;
    if crate::child::is_shim(shim) {
        return table.descendants(shim).into_iter().next();
    }
    app.and_then(|group| table.group(group).into_iter().next())
}

/// A unit as others see it.
pub(crate) fn describe(
    layout: &Layout,
    stack: &StackId,
    release: ReleaseNumber,
    unit: &UnitId,
    record: &UnitRecord,
    state: UnitState,
    pid: Option<u32>,
) -> Result<UnitObserved> {
    let ports = ports::read(layout, stack, release)?;
    Ok(UnitObserved {
        release,
        unit: unit.clone(),
        host: "localhost".to_owned(),
        state,
        pid,
        ports: ports
            .of(unit)
            .into_iter()
            .flatten()
            .map(|(name, number)| (name.to_string(), *number))
            .collect(),
        restarts: record.restarts,
        last_exit: record.last_exit.clone(),
        log: Some(
            crate::failure::real(&layout.unit_log(stack, release, unit)).to_string_lossy().into_owned(),
        ),
    })
}
