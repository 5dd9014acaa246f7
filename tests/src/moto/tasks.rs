//! Tasks and traffic, which the emulator has none of: each task of a task set in it is a server on
//! loopback that does what its image does, and a front spreads requests by the weights in it. What AWS
//! tells of tasks and targets is told from that.

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
    /// Answers every request with 200 and this.
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
    address: Option<SocketAddr>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Set {
    id: String,
    service: String,
    group: Option<String>,
    container: String,
    /// Log group and the start of its streams.
    lines: (String, String),
    image: Image,
    tasks: Vec<Task>,
    /// Since when the emulator has it no more.
    gone: Option<Instant>,
}

#[derive(Debug, Default)]
struct World {
    images: BTreeMap<String, Image>,
    sets: BTreeMap<String, Set>,
    weights: Vec<(String, u64)>,
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
        for task in self.0.world().sets.values().flat_map(|set| &set.tasks) {
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
        let world = self.0.world();
        let live = world.sets.values().filter(|set| set.gone.is_none());
        live.flat_map(|set| &set.tasks).filter(|task| task.life == Life::Running).count()
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

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
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
        let weights = self.weights()?;
        let mut there: Vec<(Value, usize, String)> = Vec::new();
        let clusters = self.ecs("ListClusters", &json!({}))?;
        for cluster in clusters["clusterArns"].as_array().into_iter().flatten() {
            let all = self.ecs("ListServices", &json!({ "cluster": cluster }))?;
            if all["serviceArns"].as_array().is_none_or(Vec::is_empty) {
                continue;
            }
            // Without tags the emulator would leave them out of what it tells others at the same time, too.
            let form = json!({ "cluster": cluster, "services": all["serviceArns"], "include": ["TAGS"] });
            let said = self.ecs("DescribeServices", &form)?;
            for service in said["services"].as_array().into_iter().flatten() {
                if service["status"] != "ACTIVE" {
                    continue;
                }
                let count = service["desiredCount"].as_u64().unwrap_or(0);
                let name = service["serviceName"].as_str().unwrap_or_default();
                for set in service["taskSets"].as_array().into_iter().flatten() {
                    there.push((set.clone(), usize::try_from(count).unwrap_or(0), name.to_owned()));
                }
            }
        }
        for (set, _, service) in &there {
            let arn = set["taskSetArn"].as_str().unwrap_or_default();
            if !self.world().sets.contains_key(arn) {
                let made = self.made(set, service)?;
                self.world().sets.insert(arn.to_owned(), made);
            }
        }
        let mut world = self.world();
        world.weights = weights;
        let World { sets, made, .. } = &mut *world;
        for (arn, set) in sets.iter_mut() {
            match there.iter().find(|(one, ..)| one["taskSetArn"] == **arn) {
                Some((_, count, _)) => self.keep(set, *count, made),
                None => _ = set.gone.get_or_insert_with(Instant::now),
            }
        }
        sets.retain(|_, set| {
            let over = set.gone.is_some_and(|since| since.elapsed() > DRAINED);
            if over {
                for task in &set.tasks {
                    task.stop.store(true, Ordering::SeqCst);
                    if let Some(address) = task.address {
                        // Wakes who waits for a connection.
                        let _ = TcpStream::connect(address);
                    }
                }
            }
            !over
        });
        Ok(())
    }

    fn made(&self, set: &Value, service: &str) -> io::Result<Set> {
        let said = self.ecs("DescribeTaskDefinition", &json!({ "taskDefinition": set["taskDefinition"] }))?;
        let container = &said["taskDefinition"]["containerDefinitions"][0];
        let digest =
            container["image"].as_str().and_then(|image| image.split('@').nth(1)).unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let options = &container["logConfiguration"]["options"];
        let name = word(&container["name"]);
        let stream = format!("{}/{name}", word(&options["awslogs-stream-prefix"]));
        let image = self.world().images.get(digest).cloned();
        Ok(Set {
            id: word(&set["id"]),
            service: service.to_owned(),
            group: set["loadBalancers"][0]["targetGroupArn"].as_str().map(str::to_owned),
            container: name,
            lines: (word(&options["awslogs-group"]), stream),
            image: image.unwrap_or_else(|| Image::Serves(digest.to_owned())),
            tasks: Vec::new(),
            gone: None,
        })
    }

    /// As many tasks as there should be, each a step further.
    fn keep(&self, set: &mut Set, count: usize, made: &mut u64) {
        let lives = |set: &Set| set.tasks.iter().filter(|task| !matches!(task.life, Life::Ended(_))).count();
        // One that ended is started again, as ECS does it, but not for ever.
        while lives(set) < count && set.tasks.len() < count + 3 {
            *made += 1;
            set.tasks.push(Task {
                arn: format!("arn:aws:ecs:us-east-1:123456789012:task/{}/{made:032x}", set.service),
                life: Life::Placed,
                since: Instant::now(),
                created: now(),
                address: None,
                stop: Arc::default(),
            });
        }
        for task in &mut set.tasks {
            match (task.life, &set.image) {
                (Life::Placed, _) if task.since.elapsed() < PROVISIONED => {}
                (Life::Placed, image) => {
                    task.life = Life::Running;
                    task.since = Instant::now();
                    let (status, said) = match image {
                        Image::Serves(said) => (200, said.clone()),
                        Image::Sick(status) => (*status, "not well".to_owned()),
                        Image::Ends(_, lines) => {
                            self.write(&set.lines, &task.arn, lines);
                            continue;
                        }
                    };
                    if let Ok(listener) = TcpListener::bind("127.0.0.1:0") {
                        task.address = listener.local_addr().ok();
                        serve(listener, Arc::clone(&task.stop), move |_| answer(status, &said));
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

    /// Target groups and weights of what all requests go to.
    fn weights(&self) -> io::Result<Vec<(String, u64)>> {
        let ask =
            |form: &str| query(self.emulator, "elasticloadbalancing", &format!("{form}&Version=2015-12-01"));
        let mut all = Vec::new();
        for balancer in elements(&ask("Action=DescribeLoadBalancers")?, "LoadBalancerArn") {
            let said = ask(&format!("Action=DescribeListeners&LoadBalancerArn={balancer}"))?;
            for forward in elements(&said, "ForwardConfig") {
                let (groups, weights) = (elements(&forward, "TargetGroupArn"), elements(&forward, "Weight"));
                all.extend(groups.into_iter().zip(weights.iter().map(|weight| weight.parse().unwrap_or(0))));
            }
        }
        Ok(all)
    }

    /// Passes a request on to a task, as the load balancer does it.
    fn pass(&self, request: &[u8]) -> Vec<u8> {
        let target = {
            let world = self.world();
            let total: u64 = world.weights.iter().map(|(_, weight)| weight).sum();
            let mut place = match total {
                0 => return answer(503, "no target group gets anything"),
                total => self.turn.fetch_add(1, Ordering::SeqCst) % total,
            };
            let group = world.weights.iter().find(|(_, weight)| {
                let here = place < *weight;
                place = place.saturating_sub(*weight);
                here
            });
            let group = group.map(|(group, _)| group.clone());
            let sets = world.sets.values().filter(|set| set.group == group);
            let mut tasks = sets.flat_map(|set| &set.tasks).filter(|task| task.life == Life::Running);
            tasks.find_map(|task| task.address)
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
            Some(Err(error)) => answer(502, &error.to_string()),
            None => answer(503, "no target"),
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
        let sets = world.sets.values().filter(|set| set.service == service && (set.gone.is_none() || ended));
        let tasks = sets.flat_map(|set| &set.tasks);
        let arns: Vec<&String> =
            tasks.filter(|task| matches!(task.life, Life::Ended(_)) == ended).map(|task| &task.arn).collect();
        json!({ "taskArns": arns })
    }

    fn tasks(&self, form: &Value) -> Value {
        let asked: Vec<&str> =
            form["tasks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let world = self.world();
        let mut all = Vec::new();
        for set in world.sets.values() {
            for task in set.tasks.iter().filter(|task| asked.contains(&task.arn.as_str())) {
                let mut said = json!({
                    "taskArn": task.arn, "startedBy": set.id, "createdAt": task.created,
                    "containers": [{ "name": set.container }],
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

    fn counted(&self, mut said: Value) -> Value {
        let world = self.world();
        for service in said["services"].as_array_mut().into_iter().flatten() {
            let desired = service["desiredCount"].clone();
            for set in service["taskSets"].as_array_mut().into_iter().flatten() {
                let arn = set["taskSetArn"].as_str().unwrap_or_default();
                let tasks = world.sets.get(arn).map(|set| set.tasks.as_slice()).unwrap_or_default();
                let count = |life: Life| tasks.iter().filter(|task| task.life == life).count();
                set["runningCount"] = count(Life::Running).into();
                set["pendingCount"] = count(Life::Placed).into();
                set["computedDesiredCount"] = desired.clone();
            }
        }
        said
    }

    fn targets(&self, form: &str) -> String {
        let group =
            form.split('&').find_map(|field| field.strip_prefix("TargetGroupArn=")).unwrap_or_default();
        let group = percent_encoding::percent_decode_str(group).decode_utf8_lossy().into_owned();
        let world = self.world();
        let mut members = String::new();
        for set in world.sets.values().filter(|set| set.group.as_ref() == Some(&group)) {
            for task in set.tasks.iter().filter(|task| task.life == Life::Running) {
                let health = match (&set.image, set.gone) {
                    (_, Some(_)) => "<State>draining</State>".to_owned(),
                    (Image::Sick(status), _) => format!(
                        "<State>unhealthy</State><Reason>Target.ResponseCodeMismatch</Reason>\
                         <Description>Health checks failed with these codes: [{status}]</Description>"
                    ),
                    (Image::Ends(..), _) => {
                        "<State>initial</State><Reason>Elb.InitialHealthChecking</Reason>".to_owned()
                    }
                    (Image::Serves(_), _) => "<State>healthy</State>".to_owned(),
                };
                let port = task.address.map_or(0, |address| address.port());
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
