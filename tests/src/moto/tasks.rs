//! Tasks and traffic, which the emulator has none of: each container of a task that a service in it is to
//! have is a server on loopback that does what its image does, and a front passes requests on by the rules
//! and weights in it. What AWS tells of services, tasks and targets is told from that.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};

use super::wire::action;
use super::{elements, query};
use crate::fault_proxy::Passing;

/// So often the emulator is asked what there is.
const LOOK: Duration = Duration::from_millis(60);
/// From being placed to running.
const PROVISIONED: Duration = Duration::from_millis(150);
/// So long what was taken out finishes what it does.
const DRAINED: Duration = Duration::from_secs(2);
/// An image that ends does so after that time.
const LIVED: Duration = Duration::from_millis(50);

/// What an image does.
#[derive(Debug, Clone)]
pub enum Image {
    /// Answers every request with 200 and this, and says so in its log. Which container did says the
    /// header `x-container`.
    Serves(String),
    /// Answers every request with this status: its targets are not well.
    Sick(u16),
    /// Writes these lines and ends with this exit code.
    Ends(i32, Vec<String>),
}

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

/// Who gets the requests of a listener or rule.
#[derive(Debug, Default)]
struct Route {
    priority: u32,
    paths: Vec<String>,
    weights: Vec<(String, u64)>,
}

impl Route {
    fn fits(&self, path: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == pattern,
        };
        self.paths.is_empty() || self.paths.iter().any(fits)
    }
}

#[derive(Debug, Default)]
struct World {
    images: BTreeMap<String, Image>,
    /// By what they are told as: see [`id`].
    deployments: BTreeMap<String, Deployment>,
    routes: Vec<Route>,
    made: u64,
}

#[derive(Debug)]
struct Inner {
    emulator: SocketAddr,
    front: SocketAddr,
    world: Mutex<World>,
    ended: AtomicBool,
    turn: AtomicU64,
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
            front: front.local_addr()?,
            world: Mutex::default(),
            ended: AtomicBool::new(false),
            turn: AtomicU64::default(),
        });
        let looks = Arc::clone(&inner);
        std::thread::spawn(move || {
            while !looks.ended.load(Ordering::SeqCst) {
                // One that does not answer is asked again.
                let _ = looks.look();
                std::thread::sleep(LOOK);
            }
        });
        let serves = Arc::clone(&inner);
        serve(front, Arc::new(AtomicBool::new(false)), move |request| serves.pass(request));
        Ok(Self(inner))
    }

    /// Says what the image of a digest (`sha256:…`) does. One of which nothing was said serves its digest.
    pub fn image(&self, digest: &str, does: Image) {
        self.0.world().images.insert(digest.to_owned(), does);
    }

    /// Where the load balancer is reached.
    #[must_use]
    pub fn front(&self) -> SocketAddr {
        self.0.front
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

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Serves one request a connection until it is stopped.
fn serve(
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let Ok(mut stream) = stream else { continue };
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                if let Ok(request) = head(&mut stream) {
                    // Who asks may be gone.
                    let _ = stream.write_all(&answer(&request));
                }
            });
        }
    });
}

fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    while !all.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut some)? {
            0 => break,
            count => all.extend_from_slice(&some[..count]),
        }
    }
    Ok(all)
}

fn answer(status: u16, container: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: text/plain\r\nx-container: {container}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
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

fn body(said: &str) -> io::Result<Value> {
    let body = said.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    Ok(serde_json::from_str(body)?)
}

impl Inner {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ecs(&self, what: &str, form: &Value) -> io::Result<Value> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{what}");
        body(&super::json(self.emulator, "ecs", &target, &form.to_string())?)
    }

    /// What there is now, and what that means for tasks.
    fn look(&self) -> io::Result<()> {
        let routes = self.routes()?;
        let mut there: BTreeMap<String, Value> = BTreeMap::new();
        let clusters = self.ecs("ListClusters", &json!({}))?;
        for cluster in clusters["clusterArns"].as_array().into_iter().flatten() {
            let all = self.ecs("ListServices", &json!({ "cluster": cluster }))?;
            if all["serviceArns"].as_array().is_none_or(Vec::is_empty) {
                continue;
            }
            // Without tags the emulator would leave them out of what it tells others at the same time, too.
            let form = json!({ "cluster": cluster, "services": all["serviceArns"], "include": ["TAGS"] });
            let said = self.ecs("DescribeServices", &form)?;
            let services = said["services"].as_array().into_iter().flatten();
            let active = services.filter(|service| service["status"] == "ACTIVE");
            there.extend(active.map(|service| (id(service), service.clone())));
        }
        for (id, service) in &there {
            let asked = service["desiredCount"].as_u64().unwrap_or(0) > 0;
            if asked && !self.world().deployments.contains_key(id) {
                let made = self.made(service)?;
                self.world().deployments.insert(id.clone(), made);
            }
        }
        let mut world = self.world();
        world.routes = routes;
        let World { deployments, made, .. } = &mut *world;
        for (id, deployment) in deployments.iter_mut() {
            let count = there.get(id).and_then(|service| service["desiredCount"].as_u64()).unwrap_or(0);
            match usize::try_from(count).unwrap_or(0) {
                0 => _ = deployment.gone.get_or_insert_with(Instant::now),
                count => {
                    deployment.gone = None;
                    self.keep(deployment, count, made);
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
                    let (status, said, lines) = match image {
                        Image::Serves(said) => (200, said.clone(), vec![format!("serves {said}")]),
                        Image::Sick(status) => (*status, "not well".to_owned(), Vec::new()),
                        Image::Ends(_, lines) => (0, String::new(), lines.clone()),
                    };
                    for to in deployment.containers.values() {
                        self.write(to, &task.arn, &lines);
                    }
                    if status == 0 {
                        continue;
                    }
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

    /// As the log driver of ECS does it.
    fn write(&self, (group, stream): &(String, String), task: &str, lines: &[String]) {
        let stream = format!("{stream}/{}", task.rsplit('/').next().unwrap_or_default());
        let logs = |what: &str, form: &Value| {
            super::json(self.emulator, "logs", &format!("Logs_20140328.{what}"), &form.to_string())
        };
        let name = json!({ "logGroupName": group, "logStreamName": stream });
        let events: Vec<Value> =
            lines.iter().map(|line| json!({ "timestamp": now() * 1000.0, "message": line })).collect();
        let mut form = name.clone();
        form["logEvents"] = events
            .into_iter()
            .map(|mut event| {
                event["timestamp"] = json!(event["timestamp"].as_f64().unwrap_or(0.0).trunc() as i64);
                event
            })
            .collect();
        // Lines that cannot be written are lost, as there.
        let _ = logs("CreateLogStream", &name).and_then(|_| logs("PutLogEvents", &form));
    }

    /// Who gets what: the rules of all listeners, and what they give besides.
    fn routes(&self) -> io::Result<Vec<Route>> {
        let ask =
            |form: &str| query(self.emulator, "elasticloadbalancing", &format!("{form}&Version=2015-12-01"));
        let weights = |said: &str| -> Vec<(String, u64)> {
            let (groups, weights) = (elements(said, "TargetGroupArn"), elements(said, "Weight"));
            groups.into_iter().zip(weights.iter().map(|weight| weight.parse().unwrap_or(0))).collect()
        };
        let mut all = Vec::new();
        for balancer in elements(&ask("Action=DescribeLoadBalancers")?, "LoadBalancerArn") {
            let said = ask(&format!("Action=DescribeListeners&LoadBalancerArn={balancer}"))?;
            for listener in elements(&said, "ListenerArn") {
                let said = ask(&format!("Action=DescribeRules&ListenerArn={listener}"))?;
                // Elements of a name stand in each other here: a rule is what stands before the next one's ARN.
                for rule in said.split("<IsDefault>") {
                    let Some(forward) = elements(rule, "ForwardConfig").pop() else { continue };
                    let priority = elements(rule, "Priority").pop().unwrap_or_default();
                    let conditions = elements(rule, "PathPatternConfig");
                    all.push(Route {
                        priority: priority.parse().unwrap_or(u32::MAX),
                        paths: conditions.iter().flat_map(|one| elements(one, "member")).collect(),
                        weights: weights(&forward),
                    });
                }
            }
        }
        all.sort_by_key(|route| route.priority);
        Ok(all)
    }

    /// Passes a request on to a task, as the load balancer does it.
    fn pass(&self, request: &[u8]) -> Vec<u8> {
        let head = String::from_utf8_lossy(request);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let target = {
            let world = self.world();
            let Some(route) = world.routes.iter().find(|route| route.fits(path)) else {
                return answer(404, "", "no rule is for it");
            };
            let total: u64 = route.weights.iter().map(|(_, weight)| weight).sum();
            let turn = self.turn.fetch_add(1, Ordering::SeqCst);
            let mut place = match total {
                0 => return answer(503, "", "no target group gets anything"),
                total => turn % total,
            };
            let group = route.weights.iter().find(|(_, weight)| {
                let here = place < *weight;
                place = place.saturating_sub(*weight);
                here
            });
            let group = group.map(|(group, _)| group.as_str()).unwrap_or_default();
            let live = world.deployments.values().filter(|one| one.gone.is_none());
            let targets: Vec<SocketAddr> =
                live.flat_map(|one| one.targets(group)).map(|(_, at)| at).collect();
            let one = usize::try_from(turn).unwrap_or(0).checked_rem(targets.len());
            one.and_then(|at| targets.get(at)).copied()
        };
        let passed = target.map(|address| -> io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(request)?;
            let mut said = Vec::new();
            stream.read_to_end(&mut said)?;
            Ok(said)
        });
        match passed {
            Some(Ok(said)) => said,
            Some(Err(error)) => answer(502, "", &error.to_string()),
            None => answer(503, "", "no target"),
        }
    }

    fn said(&self, request: &Passing, body: &Bytes) -> Option<String> {
        match action(request).as_str() {
            "ListTasks" => Some(self.list(&serde_json::from_slice(&request.body).ok()?).to_string()),
            "DescribeTasks" => Some(self.tasks(&serde_json::from_slice(&request.body).ok()?).to_string()),
            "DescribeServices" => Some(self.counted(serde_json::from_slice(body).ok()?).to_string()),
            "DescribeTargetHealth" => Some(self.targets(&String::from_utf8_lossy(&request.body))),
            "DescribeLoadBalancers" => {
                let said = String::from_utf8_lossy(body).into_owned();
                let names = elements(&said, "DNSName");
                Some(names.iter().fold(said, |said, name| said.replace(name, &self.front.to_string())))
            }
            _ => None,
        }
    }

    fn list(&self, form: &Value) -> Value {
        let service = form["serviceName"].as_str().unwrap_or_default();
        let ended = form["desiredStatus"] == "STOPPED";
        let world = self.world();
        let deployments =
            world.deployments.values().filter(|one| one.service == service && (one.gone.is_none() || ended));
        let tasks = deployments.flat_map(|one| &one.tasks);
        let arns: Vec<&String> =
            tasks.filter(|task| matches!(task.life, Life::Ended(_)) == ended).map(|task| &task.arn).collect();
        json!({ "taskArns": arns })
    }

    fn tasks(&self, form: &Value) -> Value {
        let asked: Vec<&str> =
            form["tasks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let world = self.world();
        let mut all = Vec::new();
        for (id, deployment) in &world.deployments {
            for task in deployment.tasks.iter().filter(|task| asked.contains(&task.arn.as_str())) {
                let containers: Vec<Value> =
                    deployment.containers.keys().map(|name| json!({ "name": name })).collect();
                let mut said = json!({
                    "taskArn": task.arn, "startedBy": id, "createdAt": task.created, "containers": containers,
                });
                let (last, desired) = match task.life {
                    Life::Placed => ("PROVISIONING", "RUNNING"),
                    Life::Running => ("RUNNING", "RUNNING"),
                    Life::Ended(code) => {
                        said["stopCode"] = "EssentialContainerExited".into();
                        said["stoppedReason"] = "Essential container in task exited".into();
                        said["containers"][0]["exitCode"] = code.into();
                        ("STOPPED", "STOPPED")
                    }
                };
                said["lastStatus"] = last.into();
                said["desiredStatus"] = desired.into();
                all.push(said);
            }
        }
        json!({ "tasks": all, "failures": [] })
    }

    /// A service's last deployment, and how many tasks run, those that still end included.
    fn counted(&self, mut said: Value) -> Value {
        let world = self.world();
        for service in said["services"].as_array_mut().into_iter().flatten() {
            let last = id(service);
            let count = |deployment: &Deployment, life: Life| {
                deployment.tasks.iter().filter(|task| task.life == life).count()
            };
            let of_service = world.deployments.values().filter(|one| service["serviceName"] == *one.service);
            let (mut running, mut pending) = (0, 0);
            for deployment in of_service {
                running += count(deployment, Life::Running);
                pending += if deployment.gone.is_none() { count(deployment, Life::Placed) } else { 0 };
            }
            let ours = world.deployments.get(&last);
            let primary = &mut service["deployments"][0];
            primary["id"] = last.into();
            primary["runningCount"] = ours.map_or(0, |one| count(one, Life::Running)).into();
            primary["pendingCount"] = ours.map_or(0, |one| count(one, Life::Placed)).into();
            let (revision, desired) = (service["taskDefinition"].clone(), service["desiredCount"].clone());
            service["deployments"][0]["taskDefinition"] = revision;
            service["deployments"][0]["desiredCount"] = desired;
            service["runningCount"] = running.into();
            service["pendingCount"] = pending.into();
        }
        said
    }

    fn targets(&self, form: &str) -> String {
        let group =
            form.split('&').find_map(|field| field.strip_prefix("TargetGroupArn=")).unwrap_or_default();
        let group = percent_encoding::percent_decode_str(group).decode_utf8_lossy().into_owned();
        let world = self.world();
        let mut members = String::new();
        for deployment in world.deployments.values() {
            for (task, address) in deployment.targets(&group) {
                let health = match (&deployment.image, deployment.gone) {
                    (_, Some(_)) => "<State>draining</State>".to_owned(),
                    (Image::Sick(status), _) => format!(
                        "<State>unhealthy</State><Reason>Target.ResponseCodeMismatch</Reason>\
                         <Description>Health checks failed with these codes: [{status}]</Description>"
                    ),
                    // A load balancer asks some times before it believes that one is well.
                    (Image::Serves(_), _) if task.since.elapsed() >= LIVED => {
                        "<State>healthy</State>".to_owned()
                    }
                    (Image::Serves(_) | Image::Ends(..), _) => {
                        "<State>initial</State><Reason>Elb.InitialHealthChecking</Reason>".to_owned()
                    }
                };
                let port = address.port();
                members.push_str(&format!(
                    "<member><Target><Id>127.0.0.1</Id><Port>{port}</Port></Target>\
                     <TargetHealth>{health}</TargetHealth></member>"
                ));
            }
        }
        format!(
            "<DescribeTargetHealthResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
             <DescribeTargetHealthResult><TargetHealthDescriptions>{members}</TargetHealthDescriptions>\
             </DescribeTargetHealthResult></DescribeTargetHealthResponse>"
        )
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
