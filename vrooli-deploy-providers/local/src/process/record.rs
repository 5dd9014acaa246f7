//! What shim and supervisor write down about a unit. No command, no variable, no secret.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::identity::ProcessIdentity;

/// `pid.json`, written by the shim (or the program itself): the instance that runs, or ran last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Told from every other start of the unit.
    pub instance: Uuid,
    /// The shim; the program itself where it runs the app.
    pub shim: ProcessIdentity,
    /// Does the program run it in itself, so that it ends with the program?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_process: bool,
    /// Pid of the app's first process; `None` until it runs.
    pub app: Option<u32>,
    /// When.
    pub at: Timestamp,
}

/// `exit.json`, written by the shim when the last process of the instance is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Which start of the unit.
    pub instance: Uuid,
    /// How the app's first process ended.
    pub ended: Option<Ended>,
    /// Was it asked to?
    pub asked: bool,
    /// When the last process was gone.
    pub at: Timestamp,
}

impl fmt::Display for ExitRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ended {
            Some(ended) => ended.fmt(f),
            None => f.write_str("ended in an unknown way"),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, with a status.
    Status(i32),
    /// By a signal.
    Signal(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(signal) => {
                write!(f, "ended by signal {signal}")?;
                match signal {
                    1 => f.write_str(" (SIGHUP)"),
                    2 => f.write_str(" (SIGINT)"),
                    6 => f.write_str(" (SIGABRT)"),
                    9 => f.write_str(" (SIGKILL; was the machine out of memory?)"),
                    11 => f.write_str(" (SIGSEGV)"),
                    15 => f.write_str(" (SIGTERM)"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// `unit.json`, written by the supervisor: what is wanted of the unit, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// Should it run?
    pub wanted: bool,
    /// How often it was started again since it was last asked for.
    pub restarts: u32,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
}
