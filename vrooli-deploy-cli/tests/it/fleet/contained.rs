//! Services that run in containers on servers.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Load, Shop, version};
use crate::hosts::User;
use crate::script::repository;

const HOSTS: u32 = 2;
/// What Docker has of the app on a server.
const CONTAINERS: &str = "docker ps -aq --filter label=vrooli-deploy.stack=shop/default";

/// The name of the image that apps run in here. `None`: it was not made.
fn base() -> Option<String> {
    let script = repository().join("tests/fixtures/images/bases.sh");
    let tag = Command::new("bash").arg(script).arg("--tag").output().ok()?;
    let image = format!("vrooli-deploy-test/base/runtime:{}", String::from_utf8(tag.stdout).ok()?.trim());
    let there = Command::new("docker").args(["image", "inspect", &image]).output().ok()?;
    there.status.success().then_some(image)
}

fn docker(words: &[&str]) -> String {
    String::from_utf8(Command::new("docker").args(words).output().unwrap().stdout).unwrap()
}

/// An app of which one service runs from an image that is built of its Dockerfile, one from an image that is
/// there, and one as a program.
fn write(shop: &Shop, version: &str, run: &str) {
    let servers: String = (1..=HOSTS)
        .map(|number| format!("    - {{ host: web{number}, role: app, monthly_usd: \"5.00\" }}\n"))
        .collect();
    let manifest = format!(
        "schema_version: v0.1\ntarget: saas\nprovider: bare-metal\napp: {{ name: shop, version: 1.0.0 }}\n\
         services:\n  web:\n    runtime: docker\n    run: {run}\n    ports: {{ http: {{ env_var: PORT }} }}\n    \
         health: {{ path: /health, startup_grace: 5s }}\n    routes: [{{ path: / }}]\n  \
         clock:\n    runtime: docker\n    run: 'id -u >data/clock; echo \"$(pwd) $MADE_BY\" >>data/clock; exec sleep 1000000'\n  \
         beside:\n    run: exec sleep 1000000\n\
         secrets: {{ SESSION_KEY: {{ from: {{ generate: {{ length: 40 }} }} }} }}\n\
         env: {{ APP_VERSION: \"{version}\" }}\ninfrastructure:\n  servers:\n{servers}"
    );
    let folder = shop.0.place.dir().join("shop");
    fs::write(folder.join("deployment.yaml"), manifest).unwrap();
    fs::write(folder.join("version.txt"), version.repeat(1000)).unwrap();
}

fn are_everywhere(shop: &Shop, wanted: &str) {
    for number in 1..=HOSTS {
        assert_eq!(version(shop.address(number)), wanted, "on {number}");
    }
}

fn told(shop: &Shop) -> Vec<String> {
    let lines = shop.lines(&["drift", "shop"]);
    let told = lines.iter().filter(|line| line["type"] == "drift");
    told.map(|line| line["what"].as_str().unwrap().to_owned()).collect()
}

/// Built here, sent to servers and run there in their Docker, under load without a failed request.
#[test]
fn services_in_containers_live_on_servers() {
    const TEST: &str = "services_in_containers_live_on_servers";
    let Some(base) = base() else {
        println!("skipped: {TEST}: the base image is not there that tests/fixtures/images/bases.sh makes");
        return;
    };
    let Some(user) = User::with_docker(TEST, HOSTS) else { return };
    let folder = user.place.dir().join("shop");
    fs::create_dir_all(&folder).unwrap();
    let source = repository().join("tests/fixtures/server/src/main.rs");
    let mut built = Command::new("rustc");
    built.args(["--edition", "2024", "-O", "-o"]).arg(folder.join("server")).arg(source);
    assert!(built.status().unwrap().success());
    let dockerfile =
        format!("FROM {base}\nENV MADE_BY=dockerfile\nWORKDIR /srv/app\nCOPY server version.txt ./\n");
    fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let shop = Shop(user);
    (1..=HOSTS).for_each(|number| shop.add(number));
    let rig = &shop.0.rig;

    write(&shop, "1", "[./server]");
    let plan = shop.program(&["plan", "shop/deployment.yaml"]).output().unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("the app's own Dockerfile"), "{plan}");
    let result = shop.deploy(&[]);
    assert_eq!((&result["outcome"], &result["release"]), (&"applied".into(), &"r1".into()), "{result}");
    are_everywhere(&shop, "1");
    for number in 1..=HOSTS {
        assert_eq!(rig.on(number, "ps -o user= -C server"), "vd-shop");
        // What must not run twice is on the first.
        assert_eq!(rig.on(number, &format!("{CONTAINERS} | wc -l")), if number == 1 { "2" } else { "1" });
        // No value is in what the engine writes down.
        let key = rig.on(number, "tr '\\0' '\\n' </proc/$(pidof server)/environ | sed -n s/^SESSION_KEY=//p");
        assert_eq!(key.len(), 40);
        let written = format!(
            "! docker inspect $({CONTAINERS}) | grep -F {key} && ! grep -rlF {key} /var/lib/docker/containers"
        );
        assert_eq!(rig.on(number, &written), "");
    }
    // As the app's own account, in the image's folder, with the image's variables and the app's data.
    let data = "/var/lib/vrooli-deploy/workspace/apps/shop/default/data/clock";
    let wanted = format!("{}\n/srv/app dockerfile\nvd-shop", rig.on(1, "id -u vd-shop"));
    assert_eq!(rig.on(1, &format!("cat {data}; stat -c %U {data}")), wanted);
    assert_eq!(shop.deploy(&[])["outcome"], "no_change");
    assert_eq!(told(&shop), [""; 0]);

    let load = Load::on((1..=HOSTS).map(|number| shop.address(number)));
    for (version, strategy) in [("2", "blue-green"), ("3", "rolling"), ("4", "canary")] {
        write(&shop, version, "[./server]");
        let result = shop.deploy(&["--strategy", strategy, "--watch", "1s"]);
        assert_eq!(result["outcome"], "applied", "{strategy}: {result}");
        are_everywhere(&shop, version);
    }
    // A program that the image has not.
    write(&shop, "5", "[./none]");
    let result = shop.deploy(&[]);
    assert_eq!(result["exit_code"], 3, "{result}");
    assert!(result.to_string().contains("cannot run `./none`"), "{result}");
    are_everywhere(&shop, "4");
    let result = shop.ran(&["rollback", "shop", "--yes"]);
    assert_eq!(result["outcome"], "applied", "{result}");
    are_everywhere(&shop, "3");
    assert!(load.end() > 100);

    comes_back(&shop);
    write(&shop, "6", "[./server]");
    assert_eq!(shop.deploy(&[])["outcome"], "applied");
    // An image that somebody took away is told by its server, and brought again.
    rig.on(1, &format!("docker rm -f $({CONTAINERS}) >/dev/null; docker image rm -f $(docker image ls -aq | sort -u) >/dev/null"));
    let lines = told(&shop);
    assert!(lines.iter().any(|what| what.ends_with(" image on web1")), "{lines:?}");
    assert!(!lines.iter().any(|what| what.ends_with("on web2")), "{lines:?}");
    let result = shop.deploy(&[]);
    assert_eq!(result["outcome"], "applied", "{result}");
    are_everywhere(&shop, "6");
    assert_eq!(told(&shop), [""; 0]);

    let result = shop.ran(&["destroy", "shop", "--yes", "--data=shop"]);
    assert_eq!(result["outcome"], "applied", "{result}");
    for number in 1..=HOSTS {
        let left = rig.on(
            number,
            "find /var/lib/vrooli-deploy 2>/dev/null; getent passwd vd-shop; docker ps -aq; docker image ls -aq; ps -o args= -C server; true",
        );
        assert_eq!(left, "", "on {number}");
    }
    assert_eq!(docker(&["image", "ls", "-q", "vrooli-deploy/shop-default-*"]), "");
}

/// Whatever of a unit is killed, it runs again, once.
fn comes_back(shop: &Shop) {
    let rig = &shop.0.rig;
    let started = |number| {
        rig.on(number, "docker inspect -f '{{.State.StartedAt}}' $(docker ps -q --filter label=vrooli-deploy.unit=web.0) 2>/dev/null || true")
    };
    for what in [
        "docker kill $(docker ps -q --filter label=vrooli-deploy.unit=web.0)",
        "pkill -9 -f '_[_]vrooli-deploy-child keeper'",
        "pkill -9 -f '_[_]vrooli-deploy-child shim'",
        "systemctl restart docker",
        "systemctl kill -s KILL vrooli-deploy-supervisor",
    ] {
        let before = started(1);
        rig.on(1, what);
        let survives = what.contains("supervisor");
        super::until(what, || {
            let now = started(1);
            !now.is_empty()
                && !now.contains('\n')
                && (survives || now != before)
                && version(shop.address(1)) == "3"
        });
        assert_eq!(rig.on(1, "pidof server | wc -w"), "1", "{what}");
    }
    let status: Vec<Value> = shop.lines(&["status", "shop"]);
    assert!(status.iter().any(|line| line["type"] == "status"), "{status:?}");
}
