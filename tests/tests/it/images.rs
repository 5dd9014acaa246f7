//! Apps as images: built by the engine of this machine, pushed to a registry, run from there.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vrooli_deploy_core::manifest::load;
use vrooli_deploy_core::names::{ImageRef, StackId};
use vrooli_deploy_core::provider::{
    Artefact, BuildRequest, Cancellation, ErrorKind, ImageBuilder as _, ImageRepository, OpCtx, OutputSink,
    ProviderError,
};
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_providers::local::build::Images;
use vrooli_deploy_tests::registry::{ImageRegistry, docker};

const PLATFORM: &str = "linux/amd64";
/// A debug build of the example on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);
const PASSWORD: &str = "planted-registry-password";

/// A registry, and an app that is built into it.
struct Ground {
    registry: ImageRegistry,
    images: Images,
    request: BuildRequest,
    lines: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if !path.is_dir() {
            fs::copy(&path, &target).unwrap();
        } else if !["target", "node_modules", ".git"].iter().any(|made| path.ends_with(made)) {
            copy(&path, &target);
        }
    }
}

impl Ground {
    /// Copies a folder of the repository; the app is in `app` of it. `Err`: why there is none here.
    fn of(folder: &str, app: &str, bases: &[&str]) -> Result<Self, String> {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        Self::made(app, bases, |context| copy(&from, context))
    }

    /// An app that is nothing but its Dockerfile.
    fn of_dockerfile(bases: &[&str]) -> Result<Self, String> {
        Self::made("", bases, |context| {
            fs::create_dir_all(context).unwrap();
            let manifest = "schema_version: v0.1\ntarget: saas\nprovider: aws\napp: { name: shop }\nservices: { web: { run: [/web] } }\n";
            fs::write(context.join("deployment.yaml"), manifest).unwrap();
        })
    }

    fn made(app: &str, bases: &[&str], fill: impl FnOnce(&Path)) -> Result<Self, String> {
        let mut registry = ImageRegistry::start()?;
        let base_images = registry.bases(bases)?;
        let work = tempfile::tempdir().unwrap();
        let context = work.path().join("sources");
        fill(&context);
        let loaded = load(&context.join(app)).value.unwrap();
        let services = loaded.manifest.services.values();
        let mut steps = loaded.manifest.build.steps.clone();
        steps.extend(services.clone().flat_map(|service| service.build.iter().cloned()));
        let request = BuildRequest {
            root: loaded.root.clone(),
            context: loaded.context.clone(),
            exclude: loaded.manifest.build.exclude.clone(),
            include: loaded.manifest.build.include.clone(),
            steps,
            pass_env: Vec::new(),
            env: loaded.manifest.env.clone(),
            image: None,
            runs: services.map(|service| service.run.clone()).collect(),
            base_images,
            containers: None,
        };
        let images = Images::new(&work.path().join("state"));
        Ok(Self { registry, images, request, lines: Arc::default(), folder: work })
    }

    fn cx(&self) -> OpCtx {
        let stack = StackId { app: "image-test".parse().unwrap(), environment: "default".parse().unwrap() };
        let lines = Arc::clone(&self.lines);
        OpCtx::new(stack, uuid::Uuid::nil(), 1, Instant::now() + PATIENCE, Cancellation::new())
            .with_output(OutputSink::new(move |line| lines.lock().unwrap().push(line.to_owned())))
    }

    fn repository(&self) -> ImageRepository {
        ImageRepository {
            name: format!("{}/app/{}", self.registry.host(), std::process::id()),
            user: "AWS".to_owned(),
            password: Secret::new(PASSWORD.to_owned()),
        }
    }

    fn publish(&self) -> Result<Artefact, ProviderError> {
        wait(self.images.publish(&self.cx(), &self.request, PLATFORM, &self.repository()))
    }

    fn said(&self) -> String {
        std::mem::take(&mut *self.lines.lock().unwrap()).join("\n")
    }

    fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join("sources").join(path)
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A container of an image that runs one service, gone when it is dropped.
struct Service {
    name: String,
    port: u16,
}

impl Service {
    fn run(image: &ImageRef, root: &str, script: &str, variables: &[(&str, &str)]) -> Self {
        static RUN: AtomicU32 = AtomicU32::new(0);
        let name = format!("vdt-image-{}-{}", std::process::id(), RUN.fetch_add(1, Ordering::Relaxed));
        let mut words = vec!["run", "--detach", "--name", &name, "--publish", "127.0.0.1::8080"];
        let managed = [("VROOLI_LIFECYCLE_MANAGED", "true")];
        let variables: Vec<String> =
            managed.iter().chain(variables).map(|(name, value)| format!("{name}={value}")).collect();
        for variable in &variables {
            words.extend(["--env", variable.as_str()]);
        }
        // As ECS starts it: the service's command, in the manifest's folder.
        words.extend([
            "--cap-drop",
            "ALL",
            "--workdir",
            root,
            "--entrypoint",
            "sh",
            image.as_str(),
            "-c",
            script,
        ]);
        docker(&words).unwrap();
        let port = docker(&["port", &name, "8080"]).unwrap();
        let port = port.lines().next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        Self { name, port }
    }

    /// The answer to `GET /health`, once there is one.
    fn health(&self) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let mut answer = String::new();
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let asked = stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
                if asked.is_ok()
                    && stream.read_to_string(&mut answer).is_ok()
                    && answer.starts_with("HTTP/1.1 ")
                {
                    return answer;
                }
            }
            let log = docker(&["logs", &self.name]);
            assert!(Instant::now() < until, "`{}` does not answer: {log:?}", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn user(&self) -> String {
        docker(&["exec", &self.name, "id", "-u"]).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

#[test]
fn the_example_is_an_image_that_runs_as_nobody_special() {
    let mut ground = match Ground::of("examples/picker-wheel", "", &["rust", "runtime"]) {
        Ok(ground) => ground,
        Err(why) => return println!("skipped: images of apps: {why}"),
    };
    fs::write(ground.file(".env"), "PASSWORD=planted-in-env").unwrap();
    let cx = ground.cx();
    let source = wait(ground.images.source(&cx, &ground.request, PLATFORM)).unwrap();
    assert!(source.notes.iter().any(|note| note.contains("`rust` 127.0.0.1:")), "{:?}", source.notes);
    let made = ground.publish().unwrap();
    let said = ground.said();
    assert!(said.contains("cargo build") && said.contains("pushing"), "{said}");
    assert_eq!((&made.source, made.root.as_str()), (&source.digest, "/app"));
    assert!(made.location.ends_with(&format!("@{}", made.digest)), "{made:?}");

    // The same sources are neither built nor pushed again, by whomever.
    assert_eq!(ground.publish().unwrap(), made);
    let said = ground.said();
    assert!(said.contains("already") && !said.contains("cargo build"), "{said}");

    let image = ImageRef::new(&made.location).unwrap();
    ground.registry.pull(&image).unwrap();
    let run = |script: &str| docker(&["run", "--rm", "--entrypoint", "sh", image.as_str(), "-c", script]);
    // No compiler's folders, no secrets, nothing that the app could change of itself.
    let looks =
        "find /app -name target -o -name .env; touch /app/x 2>&1; touch /app/data/x; command -v cargo; id -u";
    let files = run(looks).unwrap();
    assert!(
        files.ends_with("10001") && files.contains("Permission denied") && files.lines().count() == 2,
        "{files}"
    );
    let history = docker(&["history", "--no-trunc", image.as_str()]).unwrap();
    assert!(!history.contains(PASSWORD), "{history}");

    let api = Service::run(&image, &made.root, "cd api && ./picker-wheel-api", &[("API_PORT", "8080")]);
    let page = Service::run(
        &image,
        &made.root,
        "cd ui && ./picker-wheel-ui",
        &[("UI_PORT", "8080"), ("API_PORT", "9")],
    );
    for service in [&api, &page] {
        assert!(service.health().starts_with("HTTP/1.1 200"), "{}", service.health());
        assert_eq!(service.user(), "10001");
    }
}

#[test]
fn a_scenario_of_go_and_node_is_one_image() {
    let mut ground = match Ground::of("tests/fixtures/vrooli", "scenarios/guest-book", &["go", "node"]) {
        Ok(ground) => ground,
        Err(why) => return println!("skipped: images of scenarios: {why}"),
    };
    let made = match ground.publish() {
        Ok(made) => made,
        Err(error) if error.to_string().contains("go mod download") => {
            return println!(
                "skipped: images of scenarios: no Go modules can be had in a container here: {error}"
            );
        }
        Err(error) => panic!("{error}: {:?}\n{}", error.context(), ground.said()),
    };
    assert_eq!(made.root, "/app/scenarios/guest-book");
    let image = ImageRef::new(&made.location).unwrap();
    ground.registry.pull(&image).unwrap();
    let page = Service::run(
        &image,
        &made.root,
        "cd ui && node server.js",
        &[("UI_PORT", "8080"), ("PORT", "8080"), ("API_PORT", "9")],
    );
    assert!(page.health().starts_with("HTTP/1.1 200"), "{}", page.health());
    assert_eq!(page.user(), "10001");
    let api = Service::run(&image, &made.root, "cd api && ./guest-book-api", &[("API_PORT", "8080")]);
    assert!(api.health().starts_with("HTTP/1.1 "), "{}", api.health());
}

#[test]
fn a_build_that_fails_says_which_step_and_its_last_lines() {
    let mut ground = match Ground::of_dockerfile(&["runtime"]) {
        Ok(ground) => ground,
        Err(why) => return println!("skipped: builds of images that fail: {why}"),
    };
    fs::write(
        ground.request.root.join("Dockerfile"),
        format!(
            "FROM {}\nRUN echo one && echo the last line && exit 7\n",
            ground.request.base_images["runtime"]
        ),
    )
    .unwrap();
    let error = ground.publish().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::App, "{error}");
    assert!(
        error.message().ends_with("failed: exit status 7") && error.message().contains("[2/2] RUN"),
        "{error}"
    );
    let log = error.context().iter().find(|(name, _)| *name == "log").map(|(_, text)| text.clone());
    assert_eq!(log.as_deref(), Some("one\nthe last line"));

    // A base that is nowhere.
    let nowhere = format!("{}/nowhere@sha256:{}", ground.registry.host(), "0".repeat(64));
    fs::write(ground.request.root.join("Dockerfile"), format!("FROM {nowhere}\n")).unwrap();
    let error = ground.publish().unwrap_err();
    assert!(error.message().contains("nowhere@sha256:0000"), "{error}");

    // No engine.
    ground.images = ground.images.clone().with_engine("unix:///nonexistent/docker.sock");
    let error = ground.publish().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Missing, Some("VD0959")), "{error}");
    assert!(error.message().contains("/nonexistent/docker.sock"), "{error}");

    // A base of another platform is refused before anything is built.
    ground.images = Images::new(&ground.folder.path().join("state"));
    fs::remove_file(ground.request.root.join("Dockerfile")).unwrap();
    let repository = ground.repository();
    let error =
        wait(ground.images.publish(&ground.cx(), &ground.request, "linux/arm64", &repository)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("`runtime` is for linux/amd64"), "{error}");

    // A registry that is not there.
    let gone = ImageRepository { name: "127.0.0.1:1/app".to_owned(), ..repository };
    let error = wait(ground.images.publish(&ground.cx(), &ground.request, PLATFORM, &gone)).unwrap_err();
    assert!(error.message().contains("127.0.0.1:1"), "{error}");
    assert!(!format!("{error:?}").contains(PASSWORD));
}
