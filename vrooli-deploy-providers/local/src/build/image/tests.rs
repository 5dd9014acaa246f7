use std::fs;

use futures_util::StreamExt as _;
use vrooli_deploy_core::manifest::{BuildStep, Command};
use vrooli_deploy_core::names::{ImageRef, StackId};
use vrooli_deploy_core::provider::Cancellation;

use super::*;

const AMD64: &str = "linux/amd64";

struct App {
    folder: tempfile::TempDir,
    request: BuildRequest,
}

impl App {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = |digit: &str| ImageRef::new(format!("docker.io/x@sha256:{}", digit.repeat(64))).unwrap();
        let request = BuildRequest {
            root: folder.path().join("scenarios/s"),
            context: folder.path().to_owned(),
            exclude: Vec::new(),
            include: Vec::new(),
            steps: vec![BuildStep {
                name: "build".to_owned(),
                run: Command::Shell("cd api && go build".to_owned()),
                if_exists: Vec::new(),
                unless_exists: Vec::new(),
            }],
            pass_env: Vec::new(),
            env: BTreeMap::new(),
            image: None,
            runs: vec![Command::Shell("./server".to_owned())],
            base_images: BTreeMap::from([("go".to_owned(), base("1")), ("runtime".to_owned(), base("2"))]),
            containers: None,
        };
        let app = Self { folder, request };
        app.write("scenarios/s/api/main.go", "package main");
        files.iter().for_each(|(path, text)| app.write(path, text));
        app
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn recipe(&self) -> Result<Recipe> {
        let state = self.folder.path().join("state");
        let stack = StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() };
        let source = source::read(&Layout::new(state), &stack, &self.request, &Cancellation::new())?;
        recipe(source, &self.request, AMD64)
    }

    fn digest(&self) -> Digest {
        self.recipe().unwrap().digest
    }
}

fn names(recipe: &Recipe) -> Vec<String> {
    recipe
        .context
        .entries
        .iter()
        .filter(|(e, _)| e.kind != EntryKind::Folder)
        .map(|(e, _)| e.path.display().to_string())
        .collect()
}

#[test]
fn the_digest_is_that_of_all_that_is_built_from() {
    let mut app = App::new(&[]);
    let first = app.digest();
    assert_eq!(app.digest(), first);
    app.write("scenarios/s/.env", "PASSWORD=x");
    app.write(".dockerignore", "api");
    assert_eq!(app.digest(), first, "what no build sees");
    let steps = app.request.steps.clone();
    app.request.steps[0].run = Command::Shell("cd api && go build -v".to_owned());
    assert_ne!(app.digest(), first, "a step");
    app.request.steps = steps;
    let bases = app.request.base_images.clone();
    app.request.base_images.insert("go".to_owned(), bases["runtime"].clone());
    assert_ne!(app.digest(), first, "a base");
    app.request.base_images = bases;
    app.write("scenarios/s/api/main.go", "package main // changed");
    assert_ne!(app.digest(), first, "a source");
}

#[test]
fn the_apps_own_dockerfile_is_used_as_it_is() {
    let app = App::new(&[
        (
            "scenarios/s/Dockerfile",
            "FROM docker.io/library/golang:1.25 AS build\nFROM build\nCOPY api /api\n",
        ),
        ("scenarios/s/.dockerignore", "*.md\n"),
        ("scenarios/s/README.md", "x"),
        ("packages/x", "x"),
    ]);
    let recipe = app.recipe().unwrap();
    assert_eq!(names(&recipe), [".dockerignore", "Dockerfile", "api/main.go"]);
    assert!(recipe.root.is_none() && recipe.context.written.is_none());
    assert_eq!(recipe.notes.len(), 2, "{:?}", recipe.notes);
    assert!(recipe.notes[1].contains("`docker.io/library/golang:1.25`"));
    app.write("scenarios/s/Dockerfile", "FROM scratch\nCOPY scenarios/s/api /api\n");
    let recipe = app.recipe().unwrap();
    assert_eq!(recipe.dockerfile, "scenarios/s/Dockerfile");
    assert!(names(&recipe).contains(&"packages/x".to_owned()));
}

#[test]
fn a_base_without_a_digest_is_asked_for_by_name() {
    let mut app = App::new(&[]);
    app.request.base_images.clear();
    let error = app.recipe().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Config, Some("VD0958")));
    assert!(
        error.help().unwrap().contains("--base-image go=docker.io/library/golang@sha256:"),
        "{:?}",
        error.help()
    );
}

#[tokio::test]
async fn the_archive_holds_what_was_chosen_and_nobodys_accounts() {
    use std::os::unix::fs::PermissionsExt as _;
    let app = App::new(&[("scenarios/s/run.sh", "#!/bin/sh\n")]);
    let private = app.folder.path().join("scenarios/s/api/main.go");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(app.folder.path().join("scenarios/s/run.sh"), fs::Permissions::from_mode(0o700))
        .unwrap();
    std::os::unix::fs::symlink("api/main.go", app.folder.path().join("scenarios/s/link")).unwrap();
    let mut bytes = Vec::new();
    let mut parts = Box::pin(app.recipe().unwrap().context.tar());
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part.unwrap());
    }
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut seen = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        seen.insert(entry.path().unwrap().display().to_string(), header.mode().unwrap());
    }
    assert_eq!(seen["scenarios/s/api/main.go"], 0o644);
    assert_eq!(seen["scenarios/s/run.sh"], 0o755);
    assert!(seen.contains_key(WRITTEN) && seen.contains_key("scenarios/s/link"), "{seen:?}");
}

#[tokio::test]
async fn a_file_that_is_gone_ends_the_archive_with_its_name() {
    let app = App::new(&[]);
    let recipe = app.recipe().unwrap();
    fs::remove_file(app.folder.path().join("scenarios/s/api/main.go")).unwrap();
    let parts: Vec<_> = Box::pin(recipe.context.tar()).collect().await;
    assert!(parts.last().unwrap().is_err());
}

#[test]
fn the_dockerfile_is_written_down_for_people() {
    let mut app = App::new(&[]);
    app.request.include = vec!["/packages/".to_owned(), "/scenarios/s/".to_owned()];
    app.request.exclude = vec!["/scenarios/s/private.key".to_owned()];
    let images = Images::new(&app.folder.path().join("state"));
    let stack = StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() };
    let files = images.written(&stack, &app.request).unwrap();
    assert_eq!(
        files.text("Dockerfile"),
        app.recipe().unwrap().context.written.as_ref().map(|(_, text)| text.as_str())
    );
    let ignored = files.text("Dockerfile.dockerignore").unwrap();
    assert!(ignored.starts_with("*\n!packages\n!scenarios/s\n"), "{ignored}");
    assert!(ignored.ends_with("\nscenarios/s/private.key\n"), "{ignored}");
    // What no build sees is in no image that somebody else builds by it either.
    let known: serde_json::Value = serde_json::from_str(include_str!("../../../data/sources.json")).unwrap();
    for pattern in known["never_copied"].as_array().unwrap() {
        let name = pattern["name"].as_str().or(pattern["path"].as_str()).unwrap();
        assert!(ignored.lines().any(|line| line == format!("**/{name}")), "{name}: {ignored}");
    }
    app.write("scenarios/s/Dockerfile", "FROM scratch\n");
    assert_eq!(images.written(&stack, &app.request).unwrap_err().kind(), ErrorKind::AlreadyExists);
}
