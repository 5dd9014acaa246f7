//! Artefacts on hosts: only what is missing is sent, whole or not at all, and nobody loses what
//! he needs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use vrooli_deploy_core::names::{Digest, ReleaseNumber, StackId};
use vrooli_deploy_core::provider::Cancellation;
use vrooli_deploy_provider_bare_metal::archive::Archive;
use vrooli_deploy_provider_bare_metal::hosts::Hosts;
use vrooli_deploy_provider_bare_metal::remote::{Phase, RemoteError};
use vrooli_deploy_provider_bare_metal::store::{
    AccountName, Delivery, DeliveryError, ImageId, ReleaseFolder, Retention, SURVEY, Sent, Staged, StoredFile,
};

use crate::rig::{self, Rig};
use crate::{host, run, trial, trusted, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("only_what_is_missing_is_sent", only_what_is_missing_is_sent),
        trial("sending_goes_on", sending_goes_on),
        trial("what_is_there_is_not_believed", what_is_there_is_not_believed),
        trial("a_small_disk_is_refused_before", a_small_disk_is_refused_before),
        trial("what_is_needed_stays", what_is_needed_stays),
        trial("two_apps_at_the_same_time", two_apps_at_the_same_time),
        trial("images_need_docker", images_need_docker),
        Trial::test("images_go_layer_by_layer", || {
            if let Some(why) = rig::absent_docker() {
                println!("skipped: images_go_layer_by_layer: {why}");
                return Ok(());
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(images_go_layer_by_layer());
            Ok(())
        }),
    ]
}

const STORE: &str = "/var/lib/vrooli-deploy/store";

/// Bytes without a pattern, the same every time.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn stack(app: &str) -> StackId {
    StackId { app: app.parse().unwrap(), environment: "default".parse().unwrap() }
}

/// What is built: a program, a link to it, and so many bytes of noise.
fn built(folder: &Path, bytes: &[u8]) -> Archive {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    fs::write(folder.join("bin/app"), "#!/bin/sh\necho it runs\n").unwrap();
    fs::set_permissions(folder.join("bin/app"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("bin/app", folder.join("app")).unwrap();
    fs::write(folder.join("noise"), bytes).unwrap();
    Archive::pack(folder, folder.parent().unwrap()).unwrap()
}

/// What an archive is called here.
fn name(archive: &Archive) -> Digest {
    Digest::of(archive.file().digest().as_bytes())
}

fn tree(app: &str, number: u32, archive: &Archive) -> Delivery {
    let folder = ReleaseFolder {
        number: ReleaseNumber(number),
        record: format!("{{\"number\":\"r{number}\"}}\n").into_bytes(),
        owner: Some(AccountName::new("deploy").unwrap()),
    };
    Delivery::tree(&stack(app), &name(archive), archive, folder)
}

async fn send(rig: &Rig, hosts: &Hosts, delivery: &Delivery) -> Result<Sent, DeliveryError> {
    delivery.send(&*hosts.connections().host(&host(rig, 1)), &Cancellation::new()).await
}

async fn send_unasked(
    rig: &Rig,
    hosts: &Hosts,
    delivery: &Delivery,
    there: &BTreeSet<String>,
) -> Result<Sent, DeliveryError> {
    let host = hosts.connections().host(&host(rig, 1));
    delivery.send_unasked(&*host, there, &Cancellation::new()).await
}

fn had(delivery: &Delivery) -> BTreeSet<String> {
    delivery.pieces().into_iter().map(ToOwned::to_owned).collect()
}

fn place(app: &str, number: u32) -> String {
    ReleaseFolder::place(&stack(app), ReleaseNumber(number))
}

/// Where the program of these tests is on a host. Beside the store: what is counted there is of releases.
const PROGRAM: &str = "/opt/program";

/// A host that has our program: this one.
async fn with_program(rig: &Rig) -> Hosts {
    let program = std::env::current_exe().unwrap();
    let to = format!("{}:{PROGRAM}", rig.name(1));
    assert!(Command::new("docker").arg("cp").arg(program).arg(to).status().unwrap().success());
    rig.on(1, &format!("mkdir -p /var/lib/vrooli-deploy; chmod 711 /var/lib/vrooli-deploy; ln -sfT {PROGRAM} /var/lib/vrooli-deploy/program"));
    trusted(rig, 1).await
}

/// The noise in a release on the host is this.
fn is_there(rig: &Rig, app: &str, number: u32, bytes: &[u8]) -> bool {
    let here = Digest::of(bytes);
    rig.on(1, &format!("sha256sum <{}/root/noise || true", place(app, number)))
        .starts_with(&here.as_str()[7..])
}

fn count(rig: &Rig, folder: &str) -> usize {
    rig.on(1, &format!("ls -A {folder} 2>/dev/null | wc -l")).parse().unwrap()
}

async fn only_what_is_missing_is_sent() {
    let rig = Rig::up(1, &[]);
    let hosts = with_program(&rig).await;
    let folder = rig.folder().join("built");
    let mut bytes = noise(12 << 20, 0);
    let first = built(&folder, &bytes);
    let sent = send(&rig, &hosts, &tree("shop", 1, &first)).await.unwrap();
    assert_eq!((sent.phases, sent.pieces, sent.bytes), (2, first.file().pieces(), first.file().size()));
    assert!(is_there(&rig, "shop", 1, &bytes));
    let root = format!("{}/root", place("shop", 1));
    // It is the app's, and nobody else's; modes and links are as they were.
    assert_eq!(rig.on(1, &format!("sudo -u deploy {root}/app")), "it runs");
    assert_eq!(rig.on(1, &format!("find {root} ! -user deploy -o ! -group deploy")), "");
    assert_eq!(
        rig.on(1, &format!("cd {root} && stat -c '%a %N' . bin/app app noise empty")),
        "750 '.'\n755 'bin/app'\n777 'app' -> 'bin/app'\n644 'noise'\n755 'empty'"
    );
    assert_eq!(rig.on(1, &format!("sudo -u nobody ls {root} 2>&1 || true")).matches("denied").count(), 1);
    let record = format!("{}/release.json", place("shop", 1));
    assert_eq!(
        rig.on(1, &format!("cat {record}; stat -c '%a %U' {record}")),
        "{\"number\":\"r1\"}\n600 root"
    );
    // Again costs a look, and nothing is sent.
    let sent = send(&rig, &hosts, &tree("shop", 1, &first)).await.unwrap();
    assert_eq!((sent.phases, sent.pieces), (1, 0));
    // A survey knows it without asking.
    let survey = run(&hosts, &host(&rig, 1), Phase::new("survey", SURVEY).as_root()).await.unwrap();
    assert!(Staged::read(&survey.stdout).has(&stack("shop"), ReleaseNumber(1), &name(&first)));
    // A change in the middle that moves all that comes after.
    bytes.splice(5_000_000..5_000_000, *b"one line more");
    let second = built(&folder, &bytes);
    let there = had(&tree("shop", 1, &first));
    // What was sent before is remembered: nobody asks.
    let sent = send_unasked(&rig, &hosts, &tree("shop", 2, &second), &there).await.unwrap();
    assert_eq!(sent.phases, 1);
    assert!((1..=4).contains(&sent.pieces) && sent.bytes < 4 << 20, "{sent:?}");
    assert!(is_there(&rig, "shop", 2, &bytes));
    println!("a line more in {} bytes: {} pieces, {} bytes", second.file().size(), sent.pieces, sent.bytes);
    // The same artefact in another release: nothing is sent.
    let sent = send(&rig, &hosts, &tree("shop", 3, &second)).await.unwrap();
    assert_eq!((sent.phases, sent.pieces, sent.bytes), (2, 0, 0));
    assert!(is_there(&rig, "shop", 3, &bytes));
    // It was remembered, and is gone: it is sent after that.
    let lost = rig.on(1, &format!("cd {STORE}/pieces && ls | head -n 1 | tee /dev/stderr | xargs rm"));
    let there = had(&tree("shop", 3, &second));
    let sent = send_unasked(&rig, &hosts, &tree("shop", 2, &second), &there).await.unwrap();
    assert_eq!((sent.phases, sent.pieces), (2, 1), "{lost}");
    assert!(is_there(&rig, "shop", 2, &bytes));
    // All of it is there: the host asks for nothing.
    let sent = send_unasked(&rig, &hosts, &tree("shop", 2, &second), &BTreeSet::new()).await.unwrap();
    assert_eq!((sent.phases, sent.pieces, sent.bytes), (1, 0, 0));
    // An account that is not there is said before anything is sent.
    let third = built(&folder, b"other");
    let owner = Some(AccountName::new("nobody-here").unwrap());
    let folder = ReleaseFolder { number: ReleaseNumber(4), record: Vec::new(), owner };
    let error =
        send(&rig, &hosts, &Delivery::tree(&stack("shop"), &name(&third), &third, folder)).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NoAccount { .. }), "{error:?}");
    // A file that changed after it was looked at is not sent as what it was.
    fs::write(third.file().path(), noise(1 << 20, 5)).unwrap();
    let fourth = tree("shop", 4, &third);
    let error = send(&rig, &hosts, &fourth).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Remote(RemoteError::File { .. })), "{error:?}");
    // Sent unasked, the host finds it: then it is looked at here as well.
    let mut bytes = fs::read(third.file().path()).unwrap();
    bytes.truncate(third.file().size() as usize);
    fs::write(third.file().path(), bytes).unwrap();
    let error = send_unasked(&rig, &hosts, &fourth, &BTreeSet::new()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Remote(RemoteError::File { .. })), "{error:?}");
    // Nobody but root can read any of it, and nothing is left over.
    assert_eq!(rig.on(1, &format!("stat -c %a {STORE}")), "700");
    until("nothing is left over", || rig.on(1, &format!("find {STORE} -name 'phase-*'")).is_empty()).await;
    assert_eq!(rig.on(1, &format!("ls {}/..", place("shop", 1))), "r1\nr2\nr3");
}

/// Our program behind somebody who takes his time, so that something can happen meanwhile.
const SLOW: &str = "#!/bin/sh\nwhile dd bs=256k count=1 status=none of=/tmp/block && [ -s /tmp/block ]; do cat /tmp/block; sleep 0.2; done | /opt/program \"$@\"\n";

/// The connection is cut, then the host loses its power while pieces arrive: those that have
/// arrived are not sent again, and there is never a part of a release.
async fn sending_goes_on() {
    let rig = Rig::up(1, &[]);
    let hosts = with_program(&rig).await;
    let link = "/var/lib/vrooli-deploy/program";
    rig.on(1, &format!("printf '%s' '{SLOW}' >/opt/slow; chmod 755 /opt/slow; ln -sfT /opt/slow {link}"));
    let bytes = noise(10 << 20, 1);
    let archive = built(&rig.folder().join("built"), &bytes);
    let all = archive.file().pieces();
    let delivery = tree("shop", 1, &archive);
    let arrived = || count(&rig, &format!("{STORE}/pieces"));
    let (result, ()) = tokio::join!(send(&rig, &hosts, &delivery), async {
        until("pieces arrive", || arrived() >= 4).await;
        // From OpenSSH 9.8 on the process of a session has a name of its own.
        rig.on(1, "pkill -KILL -f 'sshd[^ ]*: [d]eploy'");
    });
    assert!(matches!(result, Err(DeliveryError::Remote(RemoteError::Lost { .. }))), "{result:?}");
    // What ran there sees the end of its input, and gives no name to what is not whole.
    until("the script ends", || rig.on(1, "pgrep -x timeout || true").is_empty()).await;
    let first = arrived();
    assert!(first >= 4 && first < all, "{first} of {all}");
    assert_eq!(rig.on(1, &format!("ls -d {} 2>/dev/null || true", place("shop", 1))), "");
    // The power goes: nobody tidies up.
    let (result, ()) = tokio::join!(send(&rig, &hosts, &delivery), async {
        until("more pieces arrive", || arrived() >= first + 3).await;
        rig.docker(&["kill"], 1);
    });
    assert!(result.is_err(), "{result:?}");
    rig.docker(&["start"], 1);
    until("it is up again", || rig.on(1, "systemctl is-active ssh || true") == "active").await;
    rig.on(1, &format!("ln -sfT {PROGRAM} {link}"));
    let sent = send(&rig, &hosts, &delivery).await.unwrap();
    assert_eq!(sent.phases, 2);
    // All that was whole of both tries is still there: at least what was counted.
    assert!(sent.pieces > 0 && sent.pieces <= all - first - 3, "{sent:?}, {first} of {all}");
    assert!(is_there(&rig, "shop", 1, &bytes));
    assert_eq!(count(&rig, &format!("{STORE}/pieces")), all);
    assert_eq!(rig.on(1, &format!("find {STORE} -name 'phase-*'")), "");
}

/// Pieces, releases and links that bear our names and are something else are found and put right.
async fn what_is_there_is_not_believed() {
    let rig = Rig::up(1, &[]);
    let hosts = with_program(&rig).await;
    let bytes = noise(4 << 20, 2);
    let archive = built(&rig.folder().join("built"), &bytes);
    send(&rig, &hosts, &tree("shop", 1, &archive)).await.unwrap();
    // One piece is damaged, one is a folder, one is a link to a file of somebody else.
    rig.on(
        1,
        &format!(
            "cd {STORE}/pieces; set -- *; printf x | dd of=$1 conv=notrunc status=none; rm $2 $3; mkdir -p $2/x; ln -s /etc/passwd $3"
        ),
    );
    let before = rig.on(1, "sha256sum /etc/passwd");
    let sent = send(&rig, &hosts, &tree("shop", 2, &archive)).await.unwrap();
    assert_eq!((sent.phases, sent.pieces, sent.repaired), (2, 3, 1), "{sent:?}");
    assert!(is_there(&rig, "shop", 2, &bytes));
    assert_eq!(rig.on(1, "sha256sum /etc/passwd"), before);
    // A release that was changed behind our back, and one of a stranger.
    rig.on(1, &format!("cd {}/root; echo changed >>bin/app", place("shop", 2)));
    rig.on(1, &format!("mkdir -p {0}/root; echo mine >{0}/root/noise", place("shop", 3)));
    for number in [2, 3] {
        let sent = send(&rig, &hosts, &tree("shop", number, &archive)).await.unwrap();
        assert_eq!((sent.phases, sent.pieces), (2, 0), "r{number}");
        assert!(is_there(&rig, "shop", number, &bytes));
        assert_eq!(rig.on(1, &format!("{}/root/app", place("shop", number))), "it runs");
    }
    // Where something runs from such a folder it is left alone, and that is said.
    rig.on(1, &format!("echo {0} {0} >{1}/artefact", "0".repeat(64), place("shop", 3)));
    rig.on(
        1,
        &format!(
            "systemd-run --quiet --unit=app --property=WorkingDirectory={}/root sleep 600",
            place("shop", 3)
        ),
    );
    let error = send(&rig, &hosts, &tree("shop", 3, &archive)).await.unwrap_err();
    assert!(
        matches!(&error, DeliveryError::InUse { folder, .. } if *folder == place("shop", 3)),
        "{error:?}"
    );
    assert_eq!(rig.on(1, "systemctl is-active app"), "active");
}

async fn a_small_disk_is_refused_before() {
    let rig = Rig::up(1, &["--tmpfs", "/var/lib/vrooli-deploy:size=100m"]);
    let hosts = with_program(&rig).await;
    let folder = rig.folder().join("built");
    let large = built(&folder, &noise(30 << 20, 3));
    let error = send(&rig, &hosts, &tree("shop", 1, &large)).await.unwrap_err();
    let DeliveryError::Remote(RemoteError::NoRoom { needed, free, .. }) = error else { panic!("{error:?}") };
    assert!(needed > 60 << 20 && free < 100 << 20 && needed > free, "{needed} {free}");
    let error = send_unasked(&rig, &hosts, &tree("shop", 1, &large), &BTreeSet::new()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Remote(RemoteError::NoRoom { .. })), "{error:?}");
    assert_eq!(count(&rig, &format!("{STORE}/pieces")), 0);
    assert_eq!(rig.on(1, &format!("find {STORE}/refs -type f")), "");
    let old = noise(8 << 20, 4);
    let (first, second) = (built(&folder, &old), built(&folder, &noise(14 << 20, 5)));
    let first_name = name(&first);
    send(&rig, &hosts, &tree("shop", 1, &first)).await.unwrap();
    // It would fit if the old one went, but that is needed.
    let needing = tree("shop", 2, &second).keeping(Retention::needing([first_name.clone()]));
    let error = send(&rig, &hosts, &needing).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Remote(RemoteError::NoRoom { .. })), "{error:?}");
    assert!(is_there(&rig, "shop", 1, &old));
    // Kept, but not needed: it goes before the disk is full.
    let sent = send(&rig, &hosts, &tree("shop", 2, &second)).await.unwrap();
    assert_eq!(sent.pruned, [first_name]);
    assert!(is_there(&rig, "shop", 2, &noise(14 << 20, 5)));
    assert_eq!(rig.on(1, &format!("ls {}/..", place("shop", 2))), "r2");
    assert_eq!(count(&rig, &format!("{STORE}/pieces")), second.file().pieces());
}

/// What is taken away is what the rule says, of this app, and nothing that another one has.
async fn what_is_needed_stays() {
    let rig = Rig::up(1, &[]);
    let hosts = with_program(&rig).await;
    let folder = rig.folder().join("built");
    let common = noise(2 << 20, 6);
    // The same but for the end.
    let bytes = |number: u64| [common.clone(), noise(700_000, 100 + number)].concat();
    let archives: Vec<Archive> = (0..6).map(|number| built(&folder, &bytes(number))).collect();
    let needed = name(&archives[1]);
    let rule = || {
        let mut rule = Retention::needing([needed.clone()]);
        rule.keep = 1;
        rule
    };
    let deliver = async |app: &str, number: u32| {
        send(&rig, &hosts, &tree(app, number, &archives[number as usize]).keeping(rule())).await.unwrap()
    };
    let releases = |app: &str| {
        let folder = place(app, 1).strip_suffix("/r1").unwrap().to_owned();
        rig.on(1, &format!("ls {folder}"))
    };
    for number in 1..=2 {
        assert_eq!(deliver("shop", number).await.pruned, []);
    }
    // Another app has the same artefact: its pieces are there already.
    let sent = deliver("blog", 2).await;
    assert_eq!((sent.phases, sent.pieces), (2, 0));
    // Something still runs from r3, whatever anybody says is needed.
    assert_eq!(deliver("shop", 3).await.pruned, []);
    rig.on(
        1,
        &format!(
            "systemd-run --quiet --unit=app --property=WorkingDirectory={}/root sleep 600",
            place("shop", 3)
        ),
    );
    assert_eq!(deliver("shop", 4).await.pruned, [name(&archives[2])]);
    assert_eq!(releases("shop"), "r1\nr3\nr4");
    let sent = deliver("shop", 5).await;
    assert_eq!(sent.pruned, []);
    assert_eq!(releases("shop"), "r1\nr3\nr4\nr5");
    rig.on(1, "systemctl stop app");
    assert_eq!(deliver("shop", 5).await.pruned, [name(&archives[3])]);
    assert_eq!(releases("shop"), "r1\nr4\nr5");
    // Only its own pieces went: what is needed, and the other app's, can be had without sending.
    assert_eq!(releases("blog"), "r2");
    for (app, number) in [("shop", 1), ("blog", 2)] {
        assert!(is_there(&rig, app, number, &bytes(number.into())));
        rig.on(1, &format!("rm -r {}", place(app, number)));
        assert_eq!(deliver(app, number).await.pieces, 0, "{app} r{number}");
        assert!(is_there(&rig, app, number, &bytes(number.into())));
    }
    // Delivered again, r1 is the newest; of the others one stays.
    assert_eq!(releases("shop"), "r1\nr5");
    let pieces = |numbers: &[usize]| {
        let mut all = std::collections::BTreeSet::new();
        for number in numbers {
            all.extend(
                rig.on(
                    1,
                    &format!(
                        "sed -n 's/^piece //p' {STORE}/refs/*/default/{}",
                        &name(&archives[*number]).as_str()[7..]
                    ),
                )
                .lines()
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>(),
            );
        }
        all.len()
    };
    assert_eq!(count(&rig, &format!("{STORE}/pieces")), pieces(&[1, 2, 5]));
}

/// Two apps, two states, one host: neither knows of the other.
async fn two_apps_at_the_same_time() {
    let rig = Rig::up(1, &[]);
    let hosts = with_program(&rig).await;
    let (one, other) = (noise(6 << 20, 7), noise(6 << 20, 8));
    let (first, second) =
        (built(&rig.folder().join("one"), &one), built(&rig.folder().join("other"), &other));
    for number in 1..=3 {
        let (shop, blog) = (tree("shop", number, &first), tree("blog", number, &second));
        let (shop, blog) = tokio::join!(send(&rig, &hosts, &shop), send(&rig, &hosts, &blog));
        assert_eq!((shop.unwrap().phases, blog.unwrap().phases), (2, 2));
        assert!(is_there(&rig, "shop", number, &one) && is_there(&rig, "blog", number, &other));
    }
}

/// An image of this machine's engine, gone with this.
struct Image(String);

impl Image {
    /// Of a file, on top of another image or of nothing.
    fn make(rig: &Rig, base: Option<&Self>, number: u32, bytes: &[u8]) -> Self {
        let folder = rig.folder().join(format!("image-{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(format!("file-{number}")), bytes).unwrap();
        let from = base.map_or("scratch", |base| base.0.as_str());
        let file = format!("FROM {from}\nCOPY file-{number} /\nCMD [\"/none\"]\n");
        fs::write(folder.join("Dockerfile"), file).unwrap();
        let name = format!("{}-{number}", rig.network());
        let made = Command::new("docker")
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "--quiet", "--tag", &name])
            .arg(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        Self(name)
    }

    fn id(&self) -> ImageId {
        let id =
            Command::new("docker").args(["image", "inspect", "-f", "{{.Id}}", &self.0]).output().unwrap();
        ImageId::new(String::from_utf8(id.stdout).unwrap().trim()).unwrap()
    }

    fn saved(&self, rig: &Rig) -> StoredFile {
        let file = rig.folder().join(format!("{}.tar", self.0));
        let saved = Command::new("docker").args(["save", "-o"]).arg(&file).arg(&self.0).status().unwrap();
        assert!(saved.success());
        StoredFile::read(&file).unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Should it fail, one stays that bears the name of this test's process.
        let _ = Command::new("docker").args(["image", "rm", "-f", &self.0]).output();
    }
}

async fn images_go_layer_by_layer() {
    let rig = Rig::up_with_docker(1);
    let hosts = with_program(&rig).await;
    let base = Image::make(&rig, None, 0, &noise(8 << 20, 10));
    let first = Image::make(&rig, Some(&base), 1, b"first");
    let second = Image::make(&rig, Some(&base), 2, b"second");
    let deliver = async |app: &str, image: &Image, keep: usize| {
        let saved = image.saved(&rig);
        let size = saved.size();
        let artefact = Digest::of(image.0.as_bytes());
        let mut rule = Retention::default();
        rule.keep = keep;
        let image = Delivery::image(&stack(app), &artefact, saved, image.id()).keeping(rule);
        (send(&rig, &hosts, &image).await.unwrap(), size)
    };
    let is_loaded = |image: &Image| {
        rig.on(
            1,
            &format!("docker image inspect {} >/dev/null 2>&1 && echo yes || true", image.id().as_str()),
        ) == "yes"
    };
    let (sent, size) = deliver("shop", &first, 1).await;
    assert_eq!((sent.phases, sent.bytes), (2, size));
    assert!(is_loaded(&first));
    assert_eq!(deliver("shop", &first, 1).await.0.phases, 1);
    // The layer below is there: only what is new is sent.
    let (sent, size) = deliver("shop", &second, 1).await;
    println!("an image of {size} bytes with a new layer: {} pieces, {} bytes", sent.pieces, sent.bytes);
    assert!(sent.phases == 2 && sent.bytes < 3 << 20, "{sent:?}");
    assert!(is_loaded(&first) && is_loaded(&second));
    // One that Docker has lost is loaded again, and nothing is sent for it.
    rig.on(1, &format!("docker image rm -f {}", second.id().as_str()));
    let (sent, _) = deliver("shop", &second, 1).await;
    assert_eq!((sent.phases, sent.pieces), (2, 0));
    assert!(is_loaded(&second));
    // What is not needed goes from Docker, too, but not what another app has.
    deliver("blog", &first, 1).await;
    assert_eq!(deliver("shop", &second, 0).await.0.pruned.len(), 1);
    assert!(is_loaded(&first));
    assert_eq!(deliver("blog", &second, 0).await.0.pruned.len(), 1);
    assert!(!is_loaded(&first) && is_loaded(&second));
    // An engine that does not answer is said before anything is sent.
    rig.on(1, "systemctl stop docker.socket docker.service");
    let third = Image::make(&rig, Some(&base), 3, b"third");
    let image = Delivery::image(&stack("shop"), &Digest::of(b"third"), third.saved(&rig), third.id());
    let error = send(&rig, &hosts, &image).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NoDocker { .. }), "{error:?}");
}

async fn images_need_docker() {
    let rig = Rig::up(1, &[]);
    let hosts = with_program(&rig).await;
    let file = rig.folder().join("saved");
    fs::write(&file, noise(1 << 20, 9)).unwrap();
    let id = ImageId::new(Digest::of(b"image").as_str()).unwrap();
    let image = Delivery::image(&stack("shop"), &Digest::of(b"a"), StoredFile::read(&file).unwrap(), id);
    let error = send(&rig, &hosts, &image).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NoDocker { .. }), "{error:?}");
    assert!(error.words().contains("no `docker`"), "{error:?}");
    assert_eq!(error.code().to_string(), "VD0932");
    assert_eq!(count(&rig, &format!("{STORE}/pieces")), 0);
}
