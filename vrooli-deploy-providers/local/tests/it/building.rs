use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use vrooli_deploy_core::manifest::{BuildStep, Command};
use vrooli_deploy_core::names::{Digest, VariableName};
use vrooli_deploy_core::provider::{Artefact, BuildRequest, ErrorKind, OpCtx, OutputSink, Result};
use vrooli_deploy_provider_local::build::{Builder, Guard, build_log, forget};
use vrooli_deploy_provider_local::layout::Layout;

use crate::place::{context, kill_after, processes_in, stack, trial, until, wait};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("build_makes_an_artefact_and_leaves_the_sources_alone", &[], artefact),
        trial("build_of_the_same_sources_is_not_repeated", &[], unchanged),
        trial("build_that_fails_says_step_status_and_last_lines", &[], failing),
        trial("build_sees_a_clean_environment", &[], environment),
        trial("build_names_the_package_of_a_missing_tool", &[], missing_tool),
        trial("build_ends_its_steps_with_their_children_when_cancelled", &[], cancelled),
        trial("build_in_process_ends_its_steps_when_cancelled", &[], cancelled_in_process),
        trial("build_killed_at_any_moment_leaves_nothing_running_and_converges", &[], killed),
        trial("build_keeps_the_layout_of_a_repository", &[], repository),
        trial("build_makes_local_packages_first", &["npm", "node"], local_packages),
        trial("build_installs_with_pnpm_outside_of_a_workspace", &["pnpm", "node"], pnpm_workspace),
        trial("build_warns_of_a_page_whose_modules_are_not_there", &[], dead_page),
        trial("build_artefacts_that_nobody_needs_are_removed", &[], pruning),
    ]
}

struct App {
    folder: tempfile::TempDir,
    lines: Arc<Mutex<Vec<String>>>,
}

fn builder(state: &Path) -> Builder {
    let arguments = [super::CHILD, "build-step"].map(OsString::from).to_vec();
    Builder::new(Layout::new(state), Guard::Program { program: std::env::current_exe().unwrap(), arguments })
}

fn request(tree: &Path, steps: &[(&str, &str)]) -> BuildRequest {
    BuildRequest {
        root: tree.to_path_buf(),
        context: tree.to_path_buf(),
        exclude: Vec::new(),
        include: Vec::new(),
        steps: steps
            .iter()
            .map(|(name, run)| BuildStep {
                name: (*name).to_owned(),
                run: Command::Shell((*run).to_owned()),
                if_exists: Vec::new(),
                unless_exists: Vec::new(),
            })
            .collect(),
        pass_env: Vec::new(),
        env: BTreeMap::new(),
        image: None,
        runs: Vec::new(),
        base_images: BTreeMap::new(),
        containers: None,
    }
}

impl App {
    fn new(files: &[(&str, &str)]) -> Self {
        let app = Self { folder: tempfile::tempdir().unwrap(), lines: Arc::default() };
        fs::create_dir_all(app.tree()).unwrap();
        for (path, text) in files {
            app.write(path, text);
        }
        app
    }
    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }
    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
    fn layout(&self) -> Layout {
        Layout::new(self.state())
    }
    fn write(&self, path: &str, text: &str) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fn cx(&self) -> OpCtx {
        let lines = Arc::clone(&self.lines);
        context(&stack())
            .with_output(OutputSink::new(move |line| lines.lock().unwrap().push(line.to_owned())))
    }
    fn build(&self, steps: &[(&str, &str)]) -> Result<Artefact> {
        self.build_request(&request(&self.tree(), steps))
    }
    fn build_request(&self, request: &BuildRequest) -> Result<Artefact> {
        wait(builder(&self.state()).build(&self.cx(), request))
    }
    fn prune(&self, keep: &std::collections::BTreeSet<Digest>) {
        wait(builder(&self.state()).prune(&self.cx(), keep)).unwrap();
    }
    fn said(&self) -> String {
        std::mem::take(&mut *self.lines.lock().unwrap()).join("\n")
    }
    fn made(&self, artefact: &Artefact) -> PathBuf {
        self.state().join(&artefact.location)
    }
    fn read(&self, artefact: &Artefact, path: &str) -> String {
        fs::read_to_string(self.made(artefact).join(path)).unwrap()
    }
}

/// All paths of a tree with their content, links and modes.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            all.insert(entry.path(), (mode, fs::read(entry.path()).unwrap_or_default()));
        }
    }
    all
}

fn artefact() {
    let app = App::new(&[
        ("src/a.txt", "a"),
        (".env", "SECRET=1"),
        (".git/HEAD", "x"),
        ("node_modules/m/i.js", "old"),
        (".vrooli/secrets.json", "{}"),
    ]);
    app.write("run.sh", "#!/bin/sh\n");
    fs::set_permissions(app.tree().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = snapshot(&app.tree());
    let steps = [(
        "make",
        "mkdir -p dist node_modules/n && tr a b < src/a.txt > dist/b.txt && echo 1 > node_modules/n/i.js && ls -a",
    )];
    let made = app.build(&steps).unwrap();
    assert_eq!(made.root, ".");
    assert_eq!(app.read(&made, "dist/b.txt"), "b");
    assert_eq!(app.read(&made, "node_modules/n/i.js"), "1\n");
    assert_eq!(fs::metadata(app.made(&made).join("run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    for absent in [".env", ".git", ".vrooli/secrets.json", "node_modules/m"] {
        assert!(!app.made(&made).join(absent).exists(), "{absent}");
    }
    assert_eq!(snapshot(&app.tree()), before);
    let said = app.said();
    assert!(said.contains("== make") && said.contains("run.sh"), "{said}");
    assert_eq!(fs::read_to_string(build_log(&app.layout(), &stack())).unwrap().trim(), said.trim());

    // Other sources, the same result: another source digest, the same artefact.
    app.write("src/a.txt", "b");
    app.write("src/a.txt", "a");
    app.write("notes.txt", "n");
    let other =
        app.build(&[("make", "rm notes.txt; mkdir -p dist; tr a b < src/a.txt > dist/b.txt")]).unwrap();
    assert_eq!(other.digest, made.digest);
    assert_ne!(other.source, made.source);
}

fn unchanged() {
    let app = App::new(&[("a", "a"), ("b/c", "c")]);
    let steps = [("count", "echo x >> ../count; cp a out")];
    let first = app.build(&steps).unwrap();
    let digest = wait(builder(&app.state()).source_digest(&app.cx(), &request(&app.tree(), &steps))).unwrap();
    assert_eq!(digest, first.source);
    assert_eq!(app.build(&steps).unwrap(), first);
    let count = || fs::read_to_string(app.layout().stack(&stack()).join("count")).unwrap().lines().count();
    assert_eq!(count(), 1);

    // A file of the artefact that is lost or empty after a power cut: built again.
    fs::write(app.made(&first).join("out"), "").unwrap();
    assert_eq!(app.build(&steps).unwrap(), first);
    assert_eq!(count(), 2);
    assert_eq!(app.read(&first, "out"), "a");

    // Modes, links, steps and what is passed on count; times do not.
    let mut digests = std::collections::BTreeSet::from([first.source]);
    let mut changed = |app: &App, request: &BuildRequest| {
        let digest = wait(builder(&app.state()).source_digest(&app.cx(), request)).unwrap();
        assert!(digests.insert(digest), "{request:?}");
    };
    fs::set_permissions(app.tree().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    changed(&app, &request(&app.tree(), &steps));
    std::os::unix::fs::symlink("a", app.tree().join("link")).unwrap();
    changed(&app, &request(&app.tree(), &steps));
    changed(&app, &request(&app.tree(), &[("count", "true")]));
    let mut with_env = request(&app.tree(), &steps);
    with_env.env.insert(VariableName::new("A").unwrap(), "1".to_owned());
    changed(&app, &with_env);
    app.write("b/c", "d");
    changed(&app, &request(&app.tree(), &steps));

    // A plan of an app that was never deployed writes nothing.
    let fresh = App::new(&[("a", "a")]);
    wait(builder(&fresh.state()).source_digest(&fresh.cx(), &request(&fresh.tree(), &steps))).unwrap();
    assert!(!fresh.state().exists());
}

fn failing() {
    let app = App::new(&[("a", "a")]);
    let steps = [
        ("fine", "echo fine"),
        ("broken", "for i in $(seq 100); do echo line $i; done; echo 'undefined: foo' >&2; exit 3"),
        ("never", "touch ../never"),
    ];
    let error = app.build(&steps).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::App);
    assert_eq!(error.message(), "build step `broken` failed: exit status 3");
    let log = &error.context().iter().find(|(name, _)| *name == "log").unwrap().1;
    assert!(log.lines().count() <= 40 && log.contains("undefined: foo") && log.contains("line 100"), "{log}");
    assert!(error.help().unwrap().contains("build.log"));
    assert!(!app.layout().stack(&stack()).join("never").exists());
    assert!(!app.layout().artefacts(&stack()).exists());
    // Mended it goes on.
    app.build(&[("broken", "true")]).unwrap();
}

fn environment() {
    let app = App::new(&[("a", "a")]);
    let mut request = request(&app.tree(), &[("env", "env | sort; test ! -t 0; cat; pwd")]);
    request.env.insert(VariableName::new("FROM_MANIFEST").unwrap(), "yes".to_owned());
    // Set by cargo for every test that it runs, and by nobody for a build.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    request.pass_env.push("CARGO_PKG_NAME".to_owned());
    app.build_request(&request).unwrap();
    let said = app.said();
    assert!(said.contains("FROM_MANIFEST=yes") && said.contains("PATH="), "{said}");
    assert!(said.contains("CARGO_PKG_NAME=vrooli-deploy-provider-local"), "{said}");
    assert!(!said.contains("CARGO_MANIFEST_DIR"), "{said}");
    assert!(said.lines().last().unwrap().ends_with("apps/wheel/default/work"), "{said}");
}

fn missing_tool() {
    let app = App::new(&[("a", "a")]);
    let mut bare = request(&app.tree(), &[("build-api", "touch ../begun && cd . && go build")]);
    bare.env.insert(VariableName::new("PATH").unwrap(), "/nonexistent-path:/bin".to_owned());
    if Path::new("/bin/go").exists() {
        println!("skipped: go is in /bin");
        return;
    }
    let error = app.build_request(&bare).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.message().contains("`go`") && error.message().contains("build-api"), "{error}");
    assert!(error.help().unwrap().contains("https://go.dev"), "{:?}", error.help());
    assert!(!app.layout().stack(&stack()).join("begun").exists());
    // Said by the shell only: not known beforehand.
    bare.steps[0].run = Command::Shell("x=1; if true; then go build; fi".to_owned());
    assert_eq!(app.build_request(&bare).unwrap_err().kind(), ErrorKind::Missing);
    // Not a tool of the system but of a package that was not installed.
    bare.steps[0].run = Command::Shell("vite-or-so build".to_owned());
    assert_eq!(app.build_request(&bare).unwrap_err().kind(), ErrorKind::App);
}

/// Ignores what it is asked, and has a child that left its session.
const STUBBORN: &str = "trap '' TERM; (setsid sleep 1000 &) ; sleep 1000 & touch ../begun; wait; sleep 1000";

fn give_up(builder: &Builder, app: &App) {
    let cx = app.cx();
    let request = request(&app.tree(), &[("stubborn", STUBBORN)]);
    let begun = app.layout().stack(&stack()).join("begun");
    let (error, took) = wait(async {
        let cancel = cx.cancellation.clone();
        let builder = builder.clone();
        let task = tokio::spawn(async move { builder.build(&cx, &request).await });
        while !begun.exists() && !task.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let from = Instant::now();
        cancel.cancel();
        (task.await.unwrap().unwrap_err(), from.elapsed())
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(took < Duration::from_secs(30), "{took:?}");
}

fn cancelled() {
    let app = App::new(&[("a", "a")]);
    give_up(&builder(&app.state()), &app);
    until("nothing of the step runs", || processes_in(&app.state()).is_empty());
    app.build(&[("fine", "true")]).unwrap();
}

fn cancelled_in_process() {
    let app = App::new(&[("a", "a")]);
    let builder = Builder::new(app.layout(), Guard::InProcess);
    let cx = app.cx();
    let request = request(&app.tree(), &[("sleep", "sleep 1000 & touch ../begun; wait")]);
    let begun = app.layout().stack(&stack()).join("begun");
    wait(async {
        let cancel = cx.cancellation.clone();
        let task = tokio::spawn(async move { builder.build(&cx, &request).await });
        while !begun.exists() && !task.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
        assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
    until("nothing of the step runs", || processes_in(&app.state()).is_empty());
    // What a step leaves running keeps the build from nothing and is ended too.
    let leaving = Builder::new(app.layout(), Guard::InProcess);
    wait(leaving.build(&app.cx(), &self::request(&app.tree(), &[("leaves", "sleep 1000 & echo done")])))
        .unwrap();
    until("nothing of the step runs", || processes_in(&app.state()).is_empty());
}

const SLOW: [(&str, &str); 2] = [
    ("one", "for i in 1 2 3 4 5 6 7 8; do cp a out$i; sleep 0.01; done; (setsid sleep 1000 &)"),
    ("two", "cat out8 > last"),
];

/// The child that is killed.
pub(crate) fn child(rest: &[String]) -> i32 {
    let request = request(Path::new(&rest[1]), &SLOW);
    i32::from(wait(builder(Path::new(&rest[0])).build(&context(&stack()), &request)).is_err())
}

fn killed() {
    for delay in [0, 5, 15, 30, 50, 70, 90, 110, 130, 150, 200] {
        let app = App::new(&[("a", "content"), ("b/c", "c")]);
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([super::CHILD, "build"])
            .args([app.state(), app.tree()])
            .spawn()
            .unwrap();
        kill_after(child, Duration::from_millis(delay));
        // At once: it waits for what the killed one's guard still ends.
        let made = app.build(&SLOW).unwrap();
        assert_eq!(app.read(&made, "last"), "content");
        until("nothing of the steps runs", || processes_in(&app.state()).is_empty());
        let entries: Vec<_> =
            fs::read_dir(app.layout().artefacts(&stack())).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(entries.len(), 1, "killed after {delay} ms: {entries:?}");
        let whole = App::new(&[("a", "content"), ("b/c", "c")]);
        assert_eq!(whole.build(&SLOW).unwrap().digest, made.digest, "killed after {delay} ms");
    }
}

fn repository() {
    let app = App::new(&[
        ("scenarios/s/api/main", "m"),
        ("scenarios/t/other", "o"),
        ("packages/lib/code", "shared"),
        ("packages/unused/code", "u"),
        ("big/file", "b"),
    ]);
    let mut request = request(
        &app.tree(),
        &[("use", "cp ../../packages/lib/code api/got"), ("skipped", "false"), ("due", "touch due")],
    );
    request.root = app.tree().join("scenarios/s");
    request.include = vec!["/packages/lib".to_owned()];
    request.steps[1].if_exists = vec!["no/such".to_owned()];
    request.steps[2].unless_exists = vec!["api/got".to_owned()];
    let made = app.build_request(&request).unwrap();
    assert_eq!(made.root, "scenarios/s");
    assert_eq!(app.read(&made, "scenarios/s/api/got"), "shared");
    assert!(app.made(&made).join("scenarios/s/due").exists());
    for absent in ["scenarios/t", "packages/unused", "big"] {
        assert!(!app.made(&made).join(absent).exists(), "{absent}");
    }
    request.context = app.tree().join("packages");
    assert_eq!(app.build_request(&request).unwrap_err().kind(), ErrorKind::Config);
}

const BRIDGE: &str = r#"{"name":"@x/bridge","version":"1.0.0","main":"dist/index.js","scripts":{"build":"mkdir -p dist && cp src.js dist/index.js"}}"#;

fn local_packages() {
    let app = App::new(&[
        ("packages/bridge/package.json", BRIDGE),
        ("packages/bridge/src.js", "module.exports = 'bridge one';"),
        (
            "scenarios/s/ui/package.json",
            r#"{"name":"ui","version":"1.0.0","dependencies":{"@x/bridge":"file:../../../packages/bridge"}}"#,
        ),
    ]);
    let mut request = request(
        &app.tree(),
        &[(
            "ui",
            "cd ui && npm install --no-audit --no-fund --offline && node -p \"require('@x/bridge')\" > out",
        )],
    );
    request.root = app.tree().join("scenarios/s");
    let made = app.build_request(&request).unwrap();
    assert_eq!(app.read(&made, "scenarios/s/ui/out"), "bridge one\n");
    assert!(app.said().contains("`packages/bridge` is used by the app and nobody built it"));
    // The link inside node_modules leads to the same place in the artefact.
    assert!(app.made(&made).join("scenarios/s/ui/node_modules/@x/bridge/dist/index.js").exists());
    // Built again when its sources change, and only then.
    app.write("scenarios/s/ui/more", "m");
    app.build_request(&request).unwrap();
    assert!(!app.said().contains("nobody built it"));
    app.write("packages/bridge/src.js", "module.exports = 'bridge two';");
    let made = app.build_request(&request).unwrap();
    assert_eq!(app.read(&made, "scenarios/s/ui/out"), "bridge two\n");
}

fn pnpm_workspace() {
    let app = App::new(&[
        ("pnpm-workspace.yaml", "packages:\n  - packages/*\n"),
        ("package.json", r#"{"name":"root","private":true}"#),
        ("packages/bridge/package.json", BRIDGE),
        ("packages/bridge/src.js", "module.exports = 'bridge';"),
        (
            "scenarios/s/ui/package.json",
            r#"{"name":"ui","version":"1.0.0","dependencies":{"@x/bridge":"file:../../../packages/bridge"}}"#,
        ),
    ]);
    let mut request = request(
        &app.tree(),
        &[("ui", "cd ui && pnpm install --offline && node -p \"require('@x/bridge')\" > out")],
    );
    request.root = app.tree().join("scenarios/s");
    let made = app.build_request(&request).unwrap();
    assert_eq!(app.read(&made, "scenarios/s/ui/out"), "bridge\n");
    assert!(app.said().contains("--ignore-workspace"));
}

fn dead_page() {
    let app = App::new(&[
        ("ui/index.html", r#"<script type="module" src="/script.js"></script>"#),
        ("ui/script.js", "import './bridge/index.js';"),
    ]);
    app.build(&[("ui", "cd ui && mkdir -p dist && cp index.html script.js dist")]).unwrap();
    let said = app.said();
    assert!(said.contains("warning: the page in `ui/dist` needs `./bridge/index.js`"), "{said}");
}

fn pruning() {
    let app = App::new(&[("a", "1")]);
    let first = app.build(&[]).unwrap();
    app.write("a", "2");
    let second = app.build(&[]).unwrap();
    app.prune(&[second.digest.clone()].into());
    assert!(!app.made(&first).exists() && app.made(&second).exists());
    assert_eq!(app.build(&[]).unwrap(), second);
    app.write("a", "1");
    assert_eq!(app.build(&[]).unwrap(), first);
    // Nothing that was built ever served: the last stays for the next try.
    let nothing = std::collections::BTreeSet::new();
    app.prune(&nothing);
    assert!(app.made(&first).exists() && !app.made(&second).exists());
    app.prune(&nothing);
    assert!(app.made(&first).exists());
    forget(&app.layout(), &stack()).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(app.layout().stack(&stack())).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["locks", "logs"]);
}
