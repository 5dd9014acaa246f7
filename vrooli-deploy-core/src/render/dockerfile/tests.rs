use std::fs;

use super::*;
use crate::manifest::{LoadedManifest, load};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn chosen() -> BTreeMap<String, ImageRef> {
    let image = |name: &str, image: &str, digit| {
        (name.to_owned(), ImageRef::new(format!("docker.io/library/{image}@{}", digest(digit))).unwrap())
    };
    [
        image("rust", "rust", '1'),
        image("go", "golang", '2'),
        image("node", "node", '3'),
        image("runtime", "debian", '4'),
    ]
    .into()
}

fn fill(tree: &mut SourceTree, context: &Path, folder: &Path) {
    let mut all: Vec<PathBuf> =
        fs::read_dir(context.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    for path in all {
        let relative = path.strip_prefix(context).unwrap().to_path_buf();
        if path.is_dir() {
            if !["target", "node_modules", ".git", "dist"].iter().any(|made| path.ends_with(made)) {
                fill(tree, context, &relative);
            }
        } else {
            let text = SourceTree::is_marker(&relative).then(|| fs::read_to_string(&path).unwrap());
            tree.add(relative, text);
        }
    }
}

struct App {
    loaded: LoadedManifest,
    tree: SourceTree,
    root: PathBuf,
    steps: Vec<BuildStep>,
    runs: Vec<Command>,
}

fn app(folder: &str) -> App {
    let loaded = load(&repository().join(folder)).value.unwrap();
    let context = fs::canonicalize(&loaded.context).unwrap();
    let root = fs::canonicalize(&loaded.root).unwrap().strip_prefix(&context).unwrap().to_path_buf();
    let mut tree = SourceTree::new();
    fill(&mut tree, &context, Path::new(""));
    let services = loaded.manifest.services.values();
    let runs = services.clone().map(|service| service.run.clone()).collect();
    let mut steps = loaded.manifest.build.steps.clone();
    steps.extend(services.flat_map(|service| service.build.iter().cloned()));
    App { tree, root, runs, steps, loaded }
}

impl App {
    fn written(&self, base_images: &BTreeMap<String, ImageRef>) -> Result<Dockerfile, DockerfileError> {
        dockerfile(&DockerfileInput {
            tree: &self.tree,
            root: &self.root,
            steps: &self.steps,
            runs: &self.runs,
            env: &self.loaded.manifest.env,
            base_images,
        })
    }
}

/// Compared byte by byte; `UPDATE=1` writes it anew.
fn is_golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/dockerfile/goldens").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), text, "{name}");
}

#[test]
fn the_example_is_built_with_rust_and_runs_without() {
    let example = app("examples/picker-wheel");
    let made = example.written(&chosen()).unwrap();
    is_golden("picker-wheel.Dockerfile", &made.text);
    assert_eq!(made.bases.keys().collect::<Vec<_>>(), ["runtime", "rust"]);
    assert_eq!((made.root.as_str(), made.notes.len()), ("/app", 0));
    assert_eq!(example.written(&chosen()).unwrap(), made);
}

#[test]
fn a_scenario_is_built_in_its_repository() {
    let scenario = app("tests/fixtures/vrooli/scenarios/guest-book");
    let made = scenario.written(&chosen()).unwrap();
    is_golden("guest-book.Dockerfile", &made.text);
    assert_eq!(made.bases.keys().collect::<Vec<_>>(), ["go", "node"]);
    assert_eq!(made.root, "/app/scenarios/guest-book");
    // The package that nobody built comes before the steps that need it.
    let at = |words: &str| made.text.find(words).unwrap_or_else(|| panic!("{words}: {}", made.text));
    assert!(
        at("WORKDIR /app/packages/iframe-bridge") < at("npm install") && !made.text.contains("npm\",\"ci")
    );
    let build = &scenario.loaded.manifest.build;
    is_golden("guest-book.dockerignore", &dockerignore(&build.include, &build.exclude, &scenario.root));
}

#[test]
fn every_dockerfile_holds_what_images_must() {
    for folder in ["examples/picker-wheel", "tests/fixtures/vrooli/scenarios/guest-book"] {
        let text = app(folder).written(&chosen()).unwrap().text;
        let from: Vec<&str> = text.lines().filter(|line| line.starts_with("FROM ")).collect();
        assert!(from.len() > 1 && from.iter().all(|line| line.contains("@sha256:")), "{text}");
        let user = text.lines().filter_map(|line| line.strip_prefix("USER ")).next_back();
        assert_eq!(user, Some("10001:10001"));
        assert!(!text.contains("# syntax") && !text.contains("--link") && !text.contains("<<"), "{text}");
    }
}

#[test]
fn pnpm_is_installed_where_a_lock_file_wants_it() {
    let mut scenario = app("tests/fixtures/vrooli/scenarios/guest-book");
    let package = r#"{"packageManager":"pnpm@9.1.0+sha512.ab","dependencies":{}}"#;
    scenario.tree.add("scenarios/guest-book/ui/package.json", Some(package.to_owned()));
    scenario.steps = vec![BuildStep {
        name: "ui".to_owned(),
        run: Command::Shell("cd ui && pnpm install --frozen-lockfile".to_owned()),
        if_exists: vec!["ui/package.json".to_owned(), "ui/made".to_owned()],
        unless_exists: Vec::new(),
    }];
    let text = scenario.written(&chosen()).unwrap().text;
    assert!(text.contains("npm install --global --force pnpm@9.1.0\n"), "{text}");
    let line = "test -e 'ui/made' || exit 0; cd ui && pnpm install --ignore-workspace --frozen-lockfile";
    assert!(text.contains(line), "{text}");
}

#[test]
fn what_cannot_be_written_is_said_with_the_way_out() {
    let example = app("examples/picker-wheel");
    let mut without = chosen();
    without.remove("rust");
    let error = example.written(&without).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no digest is known of the base image `rust`, which build step `build-api` needs"
    );
    assert!(error.help().contains("--base-image rust=docker.io/library/rust@sha256:…"), "{}", error.help());
    let mut more = chosen();
    more.insert("rustt".to_owned(), more["rust"].clone());
    assert!(example.written(&more).unwrap_err().help().contains("`rust`"));
    let mut python = app("examples/picker-wheel");
    python.runs = vec![Command::Shell("python3 serve.py".to_owned())];
    let error = python.written(&chosen()).unwrap_err();
    assert_eq!(error.to_string(), "a service starts `python3`, which no base image has");
    let mut odd = app("examples/picker-wheel");
    odd.root = PathBuf::from("a\nUSER root");
    assert!(odd.written(&chosen()).is_err());
}

#[test]
fn steps_whose_work_is_done_are_left_out() {
    let mut example = app("examples/picker-wheel");
    for step in &mut example.steps {
        step.unless_exists = vec!["api/Cargo.toml".to_owned()];
    }
    let made = example.written(&chosen()).unwrap();
    assert!(!made.text.contains("cargo build") && made.notes.len() == example.steps.len(), "{}", made.text);
}

/// `VROOLI_DEPLOY_HADOLINT` is the folder that it is in.
#[test]
fn hadolint_has_nothing_to_say() {
    let Some(folder) = std::env::var_os("VROOLI_DEPLOY_HADOLINT") else {
        return println!("skipped: hadolint: VROOLI_DEPLOY_HADOLINT is not set");
    };
    for folder_of_app in ["examples/picker-wheel", "tests/fixtures/vrooli/scenarios/guest-book"] {
        let text = app(folder_of_app).written(&chosen()).unwrap().text;
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let said = std::process::Command::new(Path::new(&folder).join("hadolint"))
            .arg(file.path())
            .output()
            .unwrap();
        assert!(said.status.success() && said.stdout.is_empty(), "{}", String::from_utf8_lossy(&said.stdout));
    }
}
