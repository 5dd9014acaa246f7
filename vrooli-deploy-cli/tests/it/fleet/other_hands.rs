//! What others do to an app that runs: another state that takes it over, and edits on its servers.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::Shop;

/// The state folder is lost, as on a machine that begins anew for each run; an old copy of it turns up.
pub(super) fn taken_over_by_a_state_that_knows_nothing(shop: &Shop) {
    let (state, old) = (shop.0.place.state(), shop.0.place.state().with_file_name("old"));
    fs::rename(&state, &old).unwrap();
    shop.vouch();
    let refused = |result: &Value, exit: i32, code: &str| {
        assert_eq!(result["exit_code"], exit, "{result}");
        assert!(result.to_string().contains(code), "{result}");
        assert!(result.to_string().contains("--take-over=shop"), "{result}");
    };
    let owners = || {
        shop.0.rig.on(1, "sed -n '1s/.*\"owner\":\"\\([^\"]*\\)\".*/\\1/p' /var/lib/vrooli-deploy/host-record/shop.default.json")
    };
    let before = owners();
    refused(&shop.deploy(&[]), 1, "VD0919");
    let rebuild = |more: &[&str]| shop.lines(&[&["state", "rebuild", "shop/deployment.yaml"], more].concat());
    refused(rebuild(&[]).last().unwrap(), 7, "VD0974");
    refused(rebuild(&["--take-over=blog"]).last().unwrap(), 7, "VD0530");
    assert_eq!(owners(), before, "nothing was changed");

    let lines = rebuild(&["--take-over=shop"]);
    assert_eq!(lines.last().unwrap()["outcome"], "applied", "{lines:?}");
    let how = |how: &str| -> Vec<&str> {
        let those = lines.iter().filter(|line| line["how"] == how);
        those.map(|line| line["what"].as_str().unwrap()).collect()
    };
    assert_eq!(how("taken_over"), ["web1", "web2", "web3"]);
    assert_eq!(how("had_back"), ["shop/default/env/SESSION_KEY v1"]);
    assert_eq!((how("lost"), how("ended")), (vec![], vec![]));
    for release in ["r2", "r3", "r4", "r5"] {
        assert!(how("found").contains(&release), "{lines:?}");
    }
    assert_ne!(owners(), before);
    // What is planned and deployed from here on is what was.
    assert_eq!(shop.ran(&["plan", "shop/deployment.yaml", "--detailed-exitcode"])["exit_code"], 0);
    assert_eq!(shop.deploy(&[])["outcome"], "no_change");
    assert_eq!(shop.ran(&["drift", "shop"])["exit_code"], 0);
    assert_eq!(shop.ran(&["rollback", "shop", "--yes"])["outcome"], "applied");
    shop.is_everywhere("3");
    // Killed at whatever moment, it is run again.
    let mut killed = shop.program(&["state", "rebuild", "shop/deployment.yaml"]);
    let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(rebuild(&[]).last().unwrap()["outcome"], "applied");

    // The old copy is told who has it by now.
    let old = old.to_str().unwrap();
    let result = shop.ran(&["deploy", "shop/deployment.yaml", "--yes", "--state-dir", old]);
    refused(&result, 1, "VD0919");
    assert!(result.to_string().contains("took it over from this one on"), "{result}");
    shop.is_everywhere("3");
}

/// What somebody changes on a server is told with the server's name, and the next deployment puts it right.
pub(super) fn changed_by_another_hand(shop: &Shop) {
    let rig = &shop.0.rig;
    let told = || -> Vec<String> {
        let lines = shop.lines(&["drift", "shop"]);
        let those = lines.iter().filter(|line| line["type"] == "drift");
        let told: Vec<String> = those.map(|line| line["what"].as_str().unwrap().to_owned()).collect();
        assert_eq!(lines.last().unwrap()["exit_code"], if told.is_empty() { 0 } else { 10 }, "{lines:?}");
        told
    };
    let planned = || shop.ran(&["plan", "shop/deployment.yaml", "--detailed-exitcode"])["exit_code"].clone();
    let result = shop.deploy(&[]);
    assert_eq!(result["outcome"], "applied", "{result}");
    let current = result["release"].as_str().unwrap();
    assert_eq!(told(), [""; 0]);

    let unit = "/etc/systemd/system/vrooli-deploy-supervisor.service";
    rig.on(1, &format!("echo '# mine' >>{unit}"));
    rig.on(2, "systemctl stop vrooli-deploy-supervisor");
    assert_eq!(told(), ["supervisor on web1", "supervisor on web2"]);
    // The release is as it was.
    assert_eq!(shop.deploy(&[])["outcome"], "no_change");
    assert_eq!(told(), [""; 0]);
    assert_eq!(rig.on(1, &format!("grep -c mine {unit}; true")), "0");

    let app = "/var/lib/vrooli-deploy/workspace/apps/shop/default";
    let edit = |number, file: &str, how: &str| {
        let file = format!("{app}/{file}");
        rig.on(
            number,
            &format!("cp {file} /tmp/before && sed -i '{how}' {file} && ! cmp -s /tmp/before {file}"),
        )
    };
    edit(3, &format!("releases/{current}/release.json"), "s/--quiet/--loud/;s/\"PORT\"/\"PORTS\"/");
    edit(2, &format!("units/{current}/values"), "$ s/.$/~/");
    rig.on(1, &format!("rm {app}/units/{current}/values"));
    let altered = [("environment", 1), ("environment", 2), ("record", 3)];
    assert_eq!(told(), altered.map(|(what, number)| format!("{current} {what} on web{number}")));
    assert_eq!(planned(), 10);
    let result = shop.deploy(&[]);
    assert_eq!(result["outcome"], "applied", "{result}");
    assert_ne!(result["release"], current);
    assert_eq!((told(), planned()), (vec![], 0.into()));
    shop.is_everywhere("4");
}
