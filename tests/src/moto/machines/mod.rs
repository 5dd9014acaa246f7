//! Machines, which the emulator runs nothing on: each machine of a group runs what it is told when it starts, the
//! script itself, with programs beside it that stand in for those of a machine (`programs`). Each container
//! that the script starts is a server on loopback that does what its image does. What AWS tells of groups and
//! targets is told from that.

mod boot;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

pub use super::traffic::Image;
use super::traffic::{DRAINED, Front, Played, answer, play, serve, write};
use super::{elements, query};
use crate::fault_proxy::Passing;

/// From being launched to running.
const PROVISIONED: Duration = Duration::from_millis(150);
/// A container that began just now is not believed to be well.
const LIVED: Duration = Duration::from_millis(50);

/// What a group is, as the emulator says it.
#[derive(Debug, Clone, Default)]
struct Group {
    name: String,
    template: String,
    version: String,
    targets: Vec<String>,
    machines: Vec<String>,
}

#[derive(Debug)]
struct Container {
    address: Option<SocketAddr>,
    /// The ports that it listens on, as its environment says them.
    ports: BTreeSet<String>,
    since: Instant,
}

#[derive(Debug)]
struct Machine {
    group: String,
    version: String,
    /// Where what it starts is written down.
    folder: PathBuf,
    image: Option<Image>,
    containers: BTreeMap<String, Container>,
    since: Instant,
    booted: bool,
    /// Since when it is in no group.
    gone: Option<Instant>,
    stop: Arc<AtomicBool>,
}

impl Machine {
    fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for address in self.containers.values().filter_map(|one| one.address) {
            // Wakes who waits for a connection.
            let _ = TcpStream::connect(address);
        }
    }
}

#[derive(Debug, Default)]
struct World {
    images: BTreeMap<String, Image>,
    missing: BTreeSet<String>,
    groups: Vec<Group>,
    /// By id.
    machines: BTreeMap<String, Machine>,
    /// The port of each target group.
    ports: BTreeMap<String, String>,
    /// Why no machine can be had, if none can.
    refused: Option<String>,
    /// Why the last launch for a group failed, until one does not: with a number of its own.
    failed: BTreeMap<String, (usize, String)>,
}

#[derive(Debug)]
struct Inner {
    emulator: SocketAddr,
    address: SocketAddr,
    front: Front,
    world: Mutex<World>,
    folder: tempfile::TempDir,
    ended: AtomicBool,
}

/// Runs the machines of an emulator's groups until it is dropped.
#[derive(Debug)]
pub struct Machines(Arc<Inner>);

impl Drop for Machines {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
        self.0.world().machines.values().for_each(Machine::end);
    }
}

impl Machines {
    /// Runs what there is in an emulator from now on.
    ///
    /// # Errors
    /// When no port or no folder can be had.
    pub fn of(emulator: SocketAddr) -> io::Result<Self> {
        let front = TcpListener::bind("127.0.0.1:0")?;
        let inner = Arc::new(Inner {
            emulator,
            address: front.local_addr()?,
            front: Front::of(emulator),
            world: Mutex::default(),
            folder: tempfile::tempdir()?,
            ended: AtomicBool::new(false),
        });
        play(front, &inner);
        Ok(Self(inner))
    }

    /// Says what the image of a digest (`sha256:…`) does. One of which nothing was said serves its digest.
    pub fn image(&self, digest: &str, does: Image) {
        self.0.world().images.insert(digest.to_owned(), does);
    }

    /// No registry has the image of this digest.
    pub fn no_image(&self, digest: &str) {
        self.0.world().missing.insert(digest.to_owned());
    }

    /// From now on AWS launches no machine, and says this; with `None` it does again.
    pub fn refuse(&self, why: Option<&str>) {
        self.0.world().refused = why.map(str::to_owned);
    }

    /// Where the load balancer is reached.
    #[must_use]
    pub fn front(&self) -> SocketAddr {
        self.0.address
    }

    /// How many machines run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.counts().values().sum()
    }

    /// How many machines run in each group, of each version of its template.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for machine in self.0.world().machines.values().filter(|one| one.gone.is_none()) {
            *counts.entry(format!("{}-{}", machine.group, machine.version)).or_default() += 1;
        }
        counts
    }

    /// What containers of a service were given as a variable, on machines that run.
    #[must_use]
    pub fn given(&self, service: &str, variable: &str) -> Vec<String> {
        let world = self.0.world();
        let live = world.machines.values().filter(|one| one.gone.is_none());
        let file = |one: &Machine| one.folder.join("containers").join(service).join("env").join(variable);
        live.filter_map(|one| std::fs::read_to_string(file(one)).ok()).collect()
    }

    /// What AWS would say of groups and targets, in the place of what the emulator says.
    pub fn play(&self) -> impl Fn(&Passing, Bytes) -> Bytes + Send + Sync + 'static {
        let inner = Arc::clone(&self.0);
        move |request, body| inner.said(request, &body).map_or(body, Bytes::from)
    }
}

/// The groups that an answer tells of.
fn groups(said: &str) -> Vec<Group> {
    let first = |part: &str, name: &str| elements(part, name).into_iter().next().unwrap_or_default();
    let group = |part: &str| {
        let (name, rest) = part.split_once("</AutoScalingGroupName>")?;
        let (own, machines) = rest.split_once("<Instances>").unwrap_or((rest, ""));
        let machines = machines.split("</Instances>").next().unwrap_or_default();
        let targets = elements(rest, "TargetGroupARNs");
        Some(Group {
            name: name.to_owned(),
            template: first(own, "LaunchTemplateId"),
            version: first(own, "Version"),
            targets: targets.iter().flat_map(|all| elements(all, "member")).collect(),
            machines: elements(machines, "InstanceId"),
        })
    };
    said.split("<AutoScalingGroupName>").skip(1).filter_map(group).collect()
}

impl Played for Inner {
    fn look(this: &Arc<Self>) -> io::Result<()> {
        let said =
            query(this.emulator, "autoscaling", "Action=DescribeAutoScalingGroups&Version=2011-01-01")?;
        let groups = groups(&said);
        let form = "Action=DescribeTargetGroups&Version=2015-12-01";
        let said = query(this.emulator, "elasticloadbalancing", form)?;
        let ports = said.split("<TargetGroupArn>").skip(1).filter_map(|part| {
            let arn = part.split_once("</TargetGroupArn>")?.0;
            Some((arn.to_owned(), elements(part, "Port").into_iter().next()?))
        });
        let ports = ports.collect();
        // After the groups: one ends after traffic was taken from it, so who sees it end sees that, too.
        this.front.look()?;
        let mut world = this.world();
        world.ports = ports;
        let there: BTreeMap<&String, &Group> =
            groups.iter().flat_map(|group| group.machines.iter().map(move |id| (id, group))).collect();
        if world.refused.is_none() {
            for (id, group) in &there {
                if !world.machines.contains_key(*id) {
                    let machine = this.launched(id, group)?;
                    world.failed.remove(&group.name);
                    world.machines.insert((*id).clone(), machine);
                }
            }
        }
        if let Some(why) = world.refused.clone() {
            for group in groups.iter().filter(|one| !one.machines.is_empty()) {
                let number = world.failed.len() + 1;
                world.failed.entry(group.name.clone()).or_insert((number, why.clone()));
            }
        }
        let World { machines, images, missing, .. } = &mut *world;
        for (id, machine) in machines.iter_mut() {
            if !there.contains_key(id) {
                machine.gone.get_or_insert_with(Instant::now);
            }
            if !machine.booted && machine.since.elapsed() >= PROVISIONED {
                machine.booted = true;
                this.boot(id, machine, (images, missing));
            }
            this.begin(machine, images);
        }
        machines.retain(|_, machine| {
            let over = machine.gone.is_some_and(|since| since.elapsed() > DRAINED);
            if over {
                machine.end();
            }
            !over
        });
        world.groups = groups;
        Ok(())
    }

    fn targets_of(&self, group: &str) -> Vec<SocketAddr> {
        let world = self.world();
        Self::targets(&world, group).filter(|(one, ..)| one.gone.is_none()).map(|(.., at)| at).collect()
    }

    fn front(&self) -> &Front {
        &self.front
    }

    fn ended(&self) -> &AtomicBool {
        &self.ended
    }
}

impl Inner {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launched(&self, id: &str, group: &Group) -> io::Result<Machine> {
        let folder = self.folder.path().join(id);
        std::fs::create_dir_all(folder.join("containers"))?;
        Ok(Machine {
            group: group.name.clone(),
            version: group.version.clone(),
            folder,
            image: None,
            containers: BTreeMap::new(),
            since: Instant::now(),
            booted: false,
            gone: None,
            stop: Arc::default(),
        })
    }

    /// Plays containers that the machine's script has started since.
    fn begin(&self, machine: &mut Machine, images: &BTreeMap<String, Image>) {
        let folder = machine.folder.join("containers");
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            if machine.containers.contains_key(&name) {
                continue;
            }
            let read = |what: &str| std::fs::read_to_string(path.join(what)).unwrap_or_default();
            let digest = read("image");
            let image = images.get(&digest).cloned().unwrap_or(Image::Serves(digest));
            let log = read("log");
            let option =
                |what: &str| log.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default();
            write(self.emulator, option("awslogs-group="), option("awslogs-stream="), &image.lines());
            let address = image.answers().and_then(|(status, said)| {
                let listener = TcpListener::bind("127.0.0.1:0").ok()?;
                let (address, own) = (listener.local_addr().ok(), name.clone());
                serve(listener, Arc::clone(&machine.stop), move |_| answer(status, &own, &said));
                address
            });
            // It is on all ports of its machine: its own are those that the release calls so.
            let record = std::fs::read_to_string(machine.folder.join("record")).unwrap_or_default();
            let record: Value = serde_json::from_str(&record).unwrap_or_default();
            let given = record["bundle"]["env"][&name].as_object().into_iter().flatten();
            let own = given.filter(|(_, value)| value["port"]["service"] == *name);
            let ports = own.map(|(variable, _)| read(&format!("env/{variable}"))).collect();
            machine.containers.insert(name, Container { address, ports, since: Instant::now() });
            machine.image = Some(image);
        }
    }

    /// Machines that are in a target group with a container that listens on its port, and where.
    fn targets<'a>(
        world: &'a World,
        group: &'a str,
    ) -> impl Iterator<Item = (&'a Machine, &'a Container, SocketAddr)> {
        let port = world.ports.get(group);
        let within: BTreeSet<&String> = world
            .groups
            .iter()
            .filter(|one| one.targets.iter().any(|arn| arn == group))
            .map(|one| &one.name)
            .collect();
        world.machines.values().filter(move |one| within.contains(&one.group)).filter_map(move |machine| {
            let listens = |one: &&Container| port.is_some_and(|port| one.ports.contains(port));
            let container = machine.containers.values().find(listens)?;
            Some((machine, container, container.address?))
        })
    }
}
