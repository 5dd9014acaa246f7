//! Tasks, which the emulator has none of: each container of a task that a service in it is to have is a server on
//! loopback that does what its image does. What AWS tells of services, tasks and targets is told from that.

mod told;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

pub use super::traffic::Image;
use super::traffic::{DRAINED, Front, Played, answer, now, play, serve, write};
use crate::fault_proxy::Passing;

/// From being placed to running.
const PROVISIONED: Duration = Duration::from_millis(150);
/// An image that ends does so after that time.
const LIVED: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Placed,
    Running,
    Ended(i32),
}

#[derive(Debug)]
struct Task {
    arn: String,
    life: Life,
    since: Instant,
    created: f64,
    /// Where each of its containers is reached.
    addresses: BTreeMap<String, SocketAddr>,
    stop: Arc<AtomicBool>,
}

impl Task {
    fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for address in self.addresses.values() {
            // Wakes who waits for a connection.
            let _ = TcpStream::connect(address);
        }
    }
}

/// What a service was asked for last, or before that: its tasks are of one task definition.
#[derive(Debug)]
struct Deployment {
    service: String,
    /// Its target groups, and which container is in each.
    groups: BTreeMap<String, String>,
    /// Containers, each with log group and the start of its streams.
    containers: BTreeMap<String, (String, String)>,
    image: Image,
    tasks: Vec<Task>,
    /// Since when it is to have no task.
    gone: Option<Instant>,
}

#[derive(Debug, Default)]
struct World {
    images: BTreeMap<String, Image>,
    /// By what they are told as: see [`id`].
    deployments: BTreeMap<String, Deployment>,
    made: u64,
}

#[derive(Debug)]
struct Inner {
    emulator: SocketAddr,
    address: SocketAddr,
    front: Front,
    world: Mutex<World>,
    ended: AtomicBool,
}

/// Runs the tasks of an emulator until it is dropped.
#[derive(Debug)]
pub struct Tasks(Arc<Inner>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
        for task in self.0.world().deployments.values().flat_map(|one| &one.tasks) {
            task.stop.store(true, Ordering::SeqCst);
        }
    }
}

impl Tasks {
    /// Runs what there is in an emulator from now on.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn of(emulator: SocketAddr) -> io::Result<Self> {
        let front = TcpListener::bind("127.0.0.1:0")?;
        let inner = Arc::new(Inner {
            emulator,
            address: front.local_addr()?,
            front: Front::of(emulator),
            world: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        play(front, &inner);
        Ok(Self(inner))
    }

    /// Says what the image of a digest (`sha256:…`) does. One of which nothing was said serves its digest.
    pub fn image(&self, digest: &str, does: Image) {
        self.0.world().images.insert(digest.to_owned(), does);
    }

    /// Where the load balancer is reached.
    #[must_use]
    pub fn front(&self) -> SocketAddr {
        self.0.address
    }

    /// How many tasks run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.counts().values().sum()
    }

    /// How many tasks run of each service and task definition.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let world = self.0.world();
        let live = world.deployments.iter().filter(|(_, one)| one.gone.is_none());
        let running = |one: &Deployment| one.tasks.iter().filter(|task| task.life == Life::Running).count();
        live.map(|(id, one)| (id.clone(), running(one))).collect()
    }

    /// What AWS would say of tasks and targets, in the place of what the emulator says.
    pub fn play(&self) -> impl Fn(&Passing, Bytes) -> Bytes + Send + Sync + 'static {
        let inner = Arc::clone(&self.0);
        move |request, body| inner.said(request, &body).map_or(body, Bytes::from)
    }
}

/// What the deployment of a service is told as, by what the emulator says of it: that keeps one for all task
/// definitions unless a new one is asked for.
fn id(service: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let revision = word(&service["taskDefinition"]);
    let revision = revision.rsplit('/').next().unwrap_or_default();
    let name = word(&service["serviceName"]);
    format!("{}-{name}-{}", word(&service["deployments"][0]["id"]), revision.replace(':', "-"))
}

impl Played for Inner {
    fn look(this: &Arc<Self>) -> io::Result<()> {
        let mut there: BTreeMap<String, Value> = BTreeMap::new();
        let clusters = this.ecs("ListClusters", &json!({}))?;
        for cluster in clusters["clusterArns"].as_array().into_iter().flatten() {
            let all = this.ecs("ListServices", &json!({ "cluster": cluster }))?;
            if all["serviceArns"].as_array().is_none_or(Vec::is_empty) {
                continue;
            }
            // Without tags the emulator would leave them out of what it tells others at the same time, too.
            let form = json!({ "cluster": cluster, "services": all["serviceArns"], "include": ["TAGS"] });
            let said = this.ecs("DescribeServices", &form)?;
            let services = said["services"].as_array().into_iter().flatten();
            let active = services.filter(|service| service["status"] == "ACTIVE");
            there.extend(active.map(|service| (id(service), service.clone())));
        }
        for (id, service) in &there {
            let asked = service["desiredCount"].as_u64().unwrap_or(0) > 0;
            if asked && !this.world().deployments.contains_key(id) {
                let made = this.made(service)?;
                this.world().deployments.insert(id.clone(), made);
            }
        }
        // After the services: one ends after traffic was taken from it, so who sees it end sees that, too.
        this.front.look()?;
        let mut world = this.world();
        let World { deployments, made, .. } = &mut *world;
        for (id, deployment) in deployments.iter_mut() {
            let count = there.get(id).and_then(|service| service["desiredCount"].as_u64()).unwrap_or(0);
            match usize::try_from(count).unwrap_or(0) {
                0 => _ = deployment.gone.get_or_insert_with(Instant::now),
                count => {
                    deployment.gone = None;
                    this.keep(deployment, count, made);
                }
            }
        }
        deployments.retain(|_, deployment| {
            let over = deployment.gone.is_some_and(|since| since.elapsed() > DRAINED);
            if over {
                deployment.tasks.iter().for_each(Task::end);
            }
            !over
        });
        Ok(())
    }

    fn targets_of(&self, group: &str) -> Vec<SocketAddr> {
        let world = self.world();
        let live = world.deployments.values().filter(|one| one.gone.is_none());
        live.flat_map(|one| one.targets(group)).map(|(_, at)| at).collect()
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

    fn ecs(&self, what: &str, form: &Value) -> io::Result<Value> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{what}");
        super::told(self.emulator, "ecs", &target, form)
    }

    fn made(&self, service: &Value) -> io::Result<Deployment> {
        let form = json!({ "taskDefinition": service["taskDefinition"] });
        let said = self.ecs("DescribeTaskDefinition", &form)?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = said["taskDefinition"]["containerDefinitions"].as_array().cloned().unwrap_or_default();
        let image = all.first().and_then(|one| one["image"].as_str()).unwrap_or_default();
        let digest = image.split('@').nth(1).unwrap_or_default();
        let container = |one: &Value| {
            let (name, options) = (word(&one["name"]), &one["logConfiguration"]["options"]);
            let stream = format!("{}/{name}", word(&options["awslogs-stream-prefix"]));
            (name, (word(&options["awslogs-group"]), stream))
        };
        let balancers = service["loadBalancers"].as_array().into_iter().flatten();
        let group = |one: &Value| (word(&one["targetGroupArn"]), word(&one["containerName"]));
        let does = self.world().images.get(digest).cloned();
        Ok(Deployment {
            service: word(&service["serviceName"]),
            groups: balancers.map(group).collect(),
            containers: all.iter().map(container).collect(),
            image: does.unwrap_or_else(|| Image::Serves(digest.to_owned())),
            tasks: Vec::new(),
            gone: None,
        })
    }

    /// As many tasks as there should be, each a step further.
    fn keep(&self, deployment: &mut Deployment, count: usize, made: &mut u64) {
        let ended = |task: &Task| matches!(task.life, Life::Ended(_));
        let lives = |all: &[Task]| all.iter().filter(|task| !ended(task)).count();
        // One that ended is started again, as ECS does it, but not for ever.
        while lives(&deployment.tasks) < count && deployment.tasks.len() < count + 3 {
            *made += 1;
            deployment.tasks.push(Task {
                arn: format!("arn:aws:ecs:us-east-1:123456789012:task/{}/{made:032x}", deployment.service),
                life: Life::Placed,
                since: Instant::now(),
                created: now(),
                addresses: BTreeMap::new(),
                stop: Arc::default(),
            });
        }
        while lives(&deployment.tasks) > count {
            let Some(at) = deployment.tasks.iter().rposition(|task| !ended(task)) else { break };
            deployment.tasks.remove(at).end();
        }
        for task in &mut deployment.tasks {
            match (task.life, &deployment.image) {
                (Life::Placed, _) if task.since.elapsed() < PROVISIONED => {}
                (Life::Placed, image) => {
                    task.life = Life::Running;
                    task.since = Instant::now();
                    let last = task.arn.rsplit('/').next().unwrap_or_default();
                    for (group, stream) in deployment.containers.values() {
                        write(self.emulator, group, &format!("{stream}/{last}"), &image.lines());
                    }
                    let Some((status, said)) = image.answers() else { continue };
                    for name in deployment.containers.keys() {
                        let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { continue };
                        task.addresses
                            .extend(listener.local_addr().ok().map(|address| (name.clone(), address)));
                        let (name, said) = (name.clone(), said.clone());
                        serve(listener, Arc::clone(&task.stop), move |_| answer(status, &name, &said));
                    }
                }
                (Life::Running, Image::Ends(code, _)) if task.since.elapsed() >= LIVED => {
                    task.life = Life::Ended(*code);
                }
                _ => {}
            }
        }
    }
}

impl Deployment {
    /// Its tasks that are in a target group, and where.
    fn targets<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a Task, SocketAddr)> {
        let container = self.groups.get(group);
        let running = self.tasks.iter().filter(|task| task.life == Life::Running);
        running.filter_map(move |task| Some((task, *task.addresses.get(container?)?)))
    }
}
