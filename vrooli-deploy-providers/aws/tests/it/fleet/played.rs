//! What runs the app, as it is played: tasks on Fargate, or machines.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use vrooli_deploy_tests::fault_proxy::FaultProxy;
use vrooli_deploy_tests::moto::machines::{Image, Machines};
use vrooli_deploy_tests::moto::tasks::Tasks;
use vrooli_deploy_tests::moto::{ec2, elements};

/// What the app runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Fargate,
    Machines,
}

impl On {
    /// A manifest for Fargate as one for this.
    pub(super) fn said(self, manifest: &str) -> String {
        match self {
            Self::Fargate => manifest.to_owned(),
            Self::Machines => manifest.replace("type: fargate", "type: ec2"),
        }
    }

    /// Values that ask for it beside a manifest that says nothing of it.
    pub(super) fn values(self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        if self == Self::Fargate {
            return Ok(Vec::new());
        }
        let file = folder.join("values.yaml");
        std::fs::write(&file, "infrastructure: { compute: { type: ec2, count: 2 } }\n")?;
        Ok(vec![file])
    }

    /// What AWS says, or the machine, of a container that ended by itself.
    pub(super) fn why_ended(self) -> &'static str {
        match self {
            Self::Fargate => "Essential container in task exited",
            Self::Machines => "machine i-",
        }
    }

    /// So long the first of runs may take that are ended: a machine takes seconds to start.
    pub(super) fn first_limit(self) -> Duration {
        match self {
            Self::Fargate => Duration::from_millis(400),
            Self::Machines => Duration::from_millis(1500),
        }
    }
}

/// What runs of it.
#[derive(Debug)]
pub(super) enum Played {
    Tasks(Tasks),
    Machines(Machines),
}

impl Played {
    pub(super) fn of(on: On, emulator: SocketAddr) -> io::Result<Self> {
        Ok(match on {
            On::Fargate => Self::Tasks(Tasks::of(emulator)?),
            On::Machines => Self::Machines(Machines::of(emulator)?),
        })
    }

    pub(super) fn play(&self, proxy: &FaultProxy) {
        match self {
            Self::Tasks(tasks) => proxy.set_play(tasks.play()),
            Self::Machines(machines) => proxy.set_play(machines.play()),
        }
    }

    pub(super) fn image(&self, digest: &str, does: Image) {
        match self {
            Self::Tasks(tasks) => tasks.image(digest, does),
            Self::Machines(machines) => machines.image(digest, does),
        }
    }

    pub(super) fn front(&self) -> SocketAddr {
        match self {
            Self::Tasks(tasks) => tasks.front(),
            Self::Machines(machines) => machines.front(),
        }
    }

    pub(super) fn running(&self) -> usize {
        self.counts().values().sum()
    }

    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        match self {
            Self::Tasks(tasks) => tasks.counts(),
            Self::Machines(machines) => machines.counts(),
        }
    }

    /// What containers were given, as far as that is played.
    pub(super) fn given(&self, service: &str, variable: &str) -> Vec<String> {
        match self {
            Self::Tasks(_) => Vec::new(),
            Self::Machines(machines) => machines.given(service, variable),
        }
    }

    pub(super) fn machines(&self) -> Result<&Machines, String> {
        match self {
            Self::Tasks(_) => Err("tasks are played".to_owned()),
            Self::Machines(machines) => Ok(machines),
        }
    }
}

/// What machines of releases are told, unpacked.
pub(super) fn told(emulator: SocketAddr) -> Vec<String> {
    let all = ec2(emulator, "Action=DescribeLaunchTemplates").unwrap();
    let templates = elements(&all, "launchTemplateId");
    let of = |id: String| {
        let form = format!("Action=DescribeLaunchTemplateVersions&LaunchTemplateId={id}");
        elements(&ec2(emulator, &form).unwrap(), "userData")
    };
    templates.into_iter().flat_map(of).map(|text| unpacked(&text)).collect()
}

/// Tags of the disks of machines that releases run on, each template's versions after one another.
pub(super) fn of_disks(emulator: SocketAddr) -> Vec<Vec<String>> {
    let all = ec2(emulator, "Action=DescribeLaunchTemplates").unwrap();
    let of = |id: String| {
        let form = format!("Action=DescribeLaunchTemplateVersions&LaunchTemplateId={id}");
        let said = ec2(emulator, &form).unwrap();
        let disks = said.split("<resourceType>volume</resourceType>").skip(1);
        disks
            .map(|tags| elements(tags.split("</tagSet>").next().unwrap_or_default(), "key"))
            .collect::<Vec<_>>()
    };
    elements(&all, "launchTemplateId").into_iter().flat_map(of).collect()
}

fn unpacked(user_data: &str) -> String {
    let unpack = "printf %s \"$1\" | base64 -d > raw && { gzip -dc raw 2> /dev/null || cat raw; }";
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new("sh");
    run.args(["-c", unpack, "sh", user_data]).current_dir(folder.path()).stdin(Stdio::null());
    String::from_utf8(run.output().unwrap().stdout).unwrap()
}
