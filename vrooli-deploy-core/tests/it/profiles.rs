//! Profiles and configuration of a workspace.

use std::path::Path;

use vrooli_deploy_core::configuration::Origin;
use vrooli_deploy_core::diagnostics::{Code, rules};
use vrooli_deploy_core::profile::{ProfileVersion, set};
use vrooli_deploy_core::provider::Registry;
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_core::workspace::{
    ImportOptions, OperationError, ProfileEdit, TargetOptions, Workspace, WorkspaceOptions,
};

use crate::process::folder;
use crate::state::block_on;

async fn open(dir: &Path) -> Workspace {
    let mut options = WorkspaceOptions::new(dir.join("state"));
    options.key_dir = Some(dir.join("keys"));
    options.host = Some("here".to_owned());
    Workspace::open(options, Registry::new()).await.unwrap()
}

fn app(dir: &Path, name: &str) -> std::path::PathBuf {
    let file = dir.join(format!("{name}.yaml"));
    let text = format!(
        "schema_version: v0.1\ntarget: local\nprovider: local\napp: {{name: {name}}}\nservices: {{x: {{run: [sleep, '1']}}}}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

async fn create(workspace: &Workspace, name: &str, file: &Path) -> Result<ProfileVersion, OperationError> {
    let (options, edit) = (TargetOptions::default(), ProfileEdit::new());
    workspace.create_profile(name.parse().unwrap(), file, &options, None, &edit, |_| Ok(())).await
}

async fn change(
    workspace: &Workspace,
    profile: &ProfileVersion,
    edit: &ProfileEdit,
    key: &str,
    values: &[&str],
) -> Result<ProfileVersion, OperationError> {
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    workspace.change_profile(profile.id, edit, |profile| set(profile, key, &values, Path::new("/"))).await
}

fn code(error: &OperationError) -> Code {
    error.code()
}

#[test]
fn ids_are_never_given_twice_and_names_are_free_again() {
    let dir = folder();
    let file = app(dir.path(), "shop");
    block_on(async {
        let workspace = open(dir.path()).await;
        let one = create(&workspace, "prod", &file).await.unwrap();
        assert_eq!((one.id.to_string().as_str(), one.version), ("profile-1", 1));
        assert!(one.by.ends_with("@here"));
        let error = create(&workspace, "prod", &file).await.unwrap_err();
        assert_eq!(code(&error), rules::PROFILE_NAME_TAKEN);
        workspace.delete_profile(one.id, &ProfileEdit::new()).await.unwrap();
        let two = create(&workspace, "prod", &file).await.unwrap();
        assert_eq!(two.id.to_string(), "profile-2");
        let error = change(&workspace, &one, &ProfileEdit::new(), "region", &["x"]).await.unwrap_err();
        assert_eq!(code(&error), rules::PROFILE_UNKNOWN);
        assert_eq!(workspace.profile_versions(one.id).await.unwrap().len(), 2);
    });
}

#[test]
fn writers_at_once_lose_nothing_unless_they_say_what_they_expect() {
    let dir = folder();
    let file = app(dir.path(), "shop");
    let profile = block_on(async { create(&open(dir.path()).await, "prod", &file).await.unwrap() });
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let (dir, profile) = (dir.path().to_owned(), profile.clone());
            std::thread::spawn(move || {
                block_on(async {
                    let workspace = open(&dir).await;
                    for number in 0..3 {
                        let variable = format!("V{writer}_{number}");
                        change(&workspace, &profile, &ProfileEdit::new(), "env", &[&variable, "x"])
                            .await
                            .unwrap();
                    }
                    let expecting = ProfileEdit::new().expecting(Some(1));
                    change(&workspace, &profile, &expecting, "region", &[&format!("r{writer}")]).await
                })
            })
        })
        .collect();
    let last: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    for error in last.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(code(error), rules::CHANGED_MEANWHILE, "{error}");
    }
    // Each had changed it by then, so nobody's expectation held.
    assert!(last.iter().all(Result::is_err));
    block_on(async {
        let workspace = open(dir.path()).await;
        let now = workspace.profile("prod").await.unwrap();
        assert_eq!(now.version, 19);
        let settings = now.profile.unwrap().settings;
        assert_eq!(settings.env.len(), 18);
        assert_eq!(settings.region, None);
    });
}

#[test]
fn a_rollback_is_a_new_version_that_is_equal_to_the_old_one() {
    let dir = folder();
    let file = app(dir.path(), "shop");
    block_on(async {
        let workspace = open(dir.path()).await;
        let one = create(&workspace, "prod", &file).await.unwrap();
        let edit = ProfileEdit::new();
        change(&workspace, &one, &edit, "region", &["nyc1"]).await.unwrap();
        change(&workspace, &one, &edit, "region", &["nyc3"]).await.unwrap();
        let same = change(&workspace, &one, &edit, "region", &["nyc3"]).await.unwrap();
        assert_eq!(same.version, 3, "what changes nothing is no version");
        let differences = workspace.profile_diff(one.id, 2, 3).await.unwrap();
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].path, "settings.region");
        let back = workspace.rollback_profile(one.id, 2, &edit).await.unwrap();
        assert_eq!(back.version, 4);
        assert!(workspace.profile_diff(one.id, 2, 4).await.unwrap().is_empty());
        let error = workspace.rollback_profile(one.id, 9, &edit).await.unwrap_err();
        assert_eq!(code(&error), rules::PROFILE_VERSION);
    });
}

#[test]
fn an_export_is_imported_equal_and_a_bad_file_writes_nothing() {
    let dir = folder();
    let file = app(dir.path(), "shop");
    block_on(async {
        let workspace = open(dir.path()).await;
        let one = create(&workspace, "prod", &file).await.unwrap();
        let one = change(&workspace, &one, &ProfileEdit::new(), "env", &["LEVEL", "info"]).await.unwrap();
        let profile = one.profile.clone().unwrap();
        let exported = dir.path().join("p.yaml");
        let good = profile.to_yaml().unwrap();
        std::fs::write(&exported, &good).unwrap();
        let mut options = ImportOptions::default();
        options.name = Some("copy".parse().unwrap());
        let copy = workspace.import_profile(&exported, &options, &ProfileEdit::new()).await.unwrap();
        let mut copy = copy.version.profile.unwrap();
        copy.name = profile.name.clone();
        assert_eq!(copy, profile);
        for bad in [
            good.replace("v0.1\n", "v0.9\n"),
            format!("{good}colour: red\n"),
            good.replace("LEVEL: info", "DB_PASSWORD: hunter22"),
            good.replace("shop.yaml", "gone.yaml"),
        ] {
            assert_ne!(bad, good);
            std::fs::write(&exported, &bad).unwrap();
            options.name = Some("bad".parse().unwrap());
            let error = workspace.import_profile(&exported, &options, &ProfileEdit::new()).await.unwrap_err();
            assert!(!format!("{error:?}").contains("hunter22"));
            assert_eq!(workspace.profiles().await.unwrap().len(), 2, "{error}");
        }
    });
}

fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn no_credential_that_is_configured_can_be_found_in_what_we_write() {
    let dir = folder();
    let canaries = ["dop_v1_canary0123456789", "dop_v1_canary9876543210"];
    block_on(async {
        let workspace = open(dir.path()).await;
        for (canary, version) in canaries.iter().zip(1..) {
            let status = workspace.configure("do_token", &Secret::new((*canary).to_owned())).await.unwrap();
            assert_eq!(status.configured.unwrap().0, version);
            let configuration = workspace.configuration().await.unwrap();
            let found = configuration.value("do_token").unwrap().unwrap();
            assert_eq!(found.value.expose(), canary);
            assert!(matches!(found.origin, Origin::Configured { version: v, .. } if v == version));
            assert!(!format!("{configuration:?} {found:?} {status:?}").contains(canary));
        }
        let error =
            workspace.configure("do_token", &Secret::new(format!("{}\nx", canaries[0]))).await.unwrap_err();
        assert_eq!(code(&error), rules::CONFIGURATION_VALUE);
        assert!(!format!("{error:?}").contains(canaries[0]));
        let plain = workspace.configure("aws_region", &Secret::new("us-east-1".to_owned())).await.unwrap();
        assert!(!plain.secret);
    });
    let mut written = Vec::new();
    files(dir.path(), &mut written);
    assert!(written.len() > 2);
    for file in written {
        let bytes = std::fs::read(&file).unwrap();
        let found = |canary: &&str| bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!canaries.iter().any(found), "{}", file.display());
    }
    block_on(async {
        let workspace = open(dir.path()).await;
        assert!(workspace.unconfigure("do_token").await.unwrap());
        assert!(!workspace.unconfigure("do_token").await.unwrap());
        let status = workspace.configuration_status(Some("do_token")).await.unwrap();
        assert_eq!((status.len(), status[0].configured), (1, None));
        let again = workspace.configure("do_token", &Secret::new(canaries[0].to_owned())).await.unwrap();
        assert_eq!(again.configured.unwrap().0, 4, "versions go on");
    });
}
