//! All of it once more, as a user without rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::world::copy_this_program;

trials![
    "process::ordinary_user":
    ordinary_user_can_do_it_too,
];

fn ordinary_user_can_do_it_too() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: this is an ordinary user already, and every other test ran as one");
        return;
    }
    let Ok(passwd) = fs::read_to_string("/etc/passwd") else {
        return;
    };
    let ids = passwd.lines().find_map(|l| {
        let fields: Vec<&str> = l.split(':').collect();
        (fields[0] == "nobody").then(|| (fields[2].to_owned(), fields[3].to_owned()))
    });
    let Some((user, group)) = ids else {
        println!("skipped: there is no user `nobody`");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where this binary was built another user may not look.
    let program = dir.path().join("it");
    copy_this_program(&program);
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    std::os::unix::fs::chown(&temporary, Some(user.parse().unwrap()), Some(group.parse().unwrap())).unwrap();
    use std::os::unix::process::CommandExt as _;
    let output = Command::new(&program)
        .args(["--test-threads=1", "--skip", "ordinary_user", "--skip", "rotated"])
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary)
        .current_dir(&temporary)
        .uid(user.parse().unwrap())
        .gid(group.parse().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
