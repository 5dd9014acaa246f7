//! A playbook of `ansible.builtin` modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use vrooli_deploy_core::diagnostics::{Checked, rules};
use vrooli_deploy_core::render::{FilePath, FileTree, Renderer, yaml};
use vrooli_deploy_core::stack::Stack;

use super::servers::{RenderedServer, RenderedServers};

/// A playbook, its inventory, and its variables.
#[derive(Debug, Clone, Copy)]
pub struct Ansible;

/// Ansible's own default; more servers than that are worked on at the same time, too.
const FORKS: usize = 5;

impl Renderer for Ansible {
    fn format(&self) -> &'static str {
        "ansible"
    }

    fn about(&self) -> &'static str {
        "a playbook of ansible.builtin modules"
    }

    fn render(&self, stack: &Stack) -> Checked<FileTree> {
        let Checked { value, mut diagnostics } = RenderedServers::of(stack, self.format());
        let mut tree = FileTree::new();
        if let Some(rendered) = value {
            for (path, text) in files(stack, &rendered) {
                let added = text.and_then(|text| {
                    let path = FilePath::new(path).map_err(|error| error.to_string())?;
                    tree.add(path, text).map_err(|error| error.to_string())
                });
                if let Err(why) = added {
                    diagnostics.push(rules::CANNOT_RENDER.diagnostic(why));
                }
            }
        }
        Checked { value: Some(tree), diagnostics }
    }
}

fn files(stack: &Stack, rendered: &RenderedServers) -> Vec<(String, Result<String, String>)> {
    let mut files = vec![
        ("README.md".to_owned(), Ok(readme(stack, rendered))),
        ("ansible.cfg".to_owned(), Ok(configuration(rendered.servers.len()))),
        ("group_vars/all.yml".to_owned(), yaml(&json!({ "vrooli_deploy_stack": rendered.place.name }))),
        ("inventory.yml".to_owned(), yaml(&inventory(&rendered.servers))),
        ("site.yml".to_owned(), yaml(&playbook(stack, rendered))),
    ];
    for server in &rendered.servers {
        files.push((format!("host_vars/{}.yml", server.name), yaml(&variables(server))));
    }
    for kind in rendered.kinds() {
        files.push((format!("tasks/{}.yml", kind.word()), Ok(kind.tasks().to_owned())));
        if !kind.handlers().is_empty() {
            files.push((format!("handlers/{}.yml", kind.word()), Ok(kind.handlers().to_owned())));
        }
        if let Some(look) = kind.look() {
            let text = format!("# Run on the server by its shell; changes nothing there.\n{look}");
            files.push((format!("files/look_{}.sh", kind.word()), Ok(text)));
        }
    }
    files
}

/// One connection a server, kept; no file is copied to run a module.
fn configuration(servers: usize) -> String {
    format!(
        "[defaults]\ninventory = inventory.yml\nforks = {}\ngathering = explicit\ninterpreter_python = /usr/bin/python3\n\
         force_handlers = True\nretry_files_enabled = False\n\n\
         [ssh_connection]\npipelining = True\nssh_args = -o ControlMaster=auto -o ControlPersist=60s\n",
        servers.max(FORKS)
    )
}

/// Servers by role. A name that is an address with colons is none for Ansible, which takes them for ports.
fn inventory(servers: &[RenderedServer]) -> Value {
    let mut groups: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for server in servers {
        let role = if server.role.is_empty() { "servers" } else { &server.role };
        let how = if server.name == server.host.as_str() {
            json!({})
        } else {
            json!({ "ansible_host": server.host.as_str() })
        };
        groups.entry(role).or_default().insert(server.name.clone(), how);
    }
    let children: Map<String, Value> =
        groups.into_iter().map(|(role, hosts)| (role.to_owned(), json!({ "hosts": hosts }))).collect();
    json!({ "all": { "children": children } })
}

/// The items of each kind, with names.
fn variables(server: &RenderedServer) -> Value {
    let parts = server.parts.iter().map(|(kind, items)| {
        let named = |item: &Vec<String>| -> Value {
            kind.fields()
                .iter()
                .zip(item)
                .map(|(field, word)| ((*field).to_owned(), json!(word)))
                .collect::<Map<_, _>>()
                .into()
        };
        (format!("vrooli_deploy_{}", kind.word()), items.iter().map(named).collect())
    });
    Value::Object(parts.collect())
}

fn playbook(stack: &Stack, rendered: &RenderedServers) -> Value {
    let kinds = rendered.kinds();
    let import = |folder: &str, what: &str, word: &str| json!({ "name": format!("{what} {word}"), "ansible.builtin.import_tasks": format!("{folder}/{word}.yml") });
    let tasks: Vec<Value> = kinds
        .iter()
        .map(|kind| {
            let word = kind.word();
            let mut task = import("tasks", "Bring about:", word);
            // Not every server has every kind.
            let has = |server: &RenderedServer| server.parts.iter().any(|(other, _)| other.word() == word);
            if !rendered.servers.iter().all(has) {
                task["when"] = json!(format!("vrooli_deploy_{word} is defined"));
            }
            task
        })
        .collect();
    let handlers: Vec<Value> = kinds
        .iter()
        .filter(|kind| !kind.handlers().is_empty())
        .map(|kind| import("handlers", "Handle:", kind.word()))
        .collect();
    let python = json!({
        "name": "Install Python where it is missing, which modules need",
        "ansible.builtin.raw": include_str!("python.sh").trim_end(),
        "register": "vrooli_deploy_python",
        "changed_when": "'installed' in vrooli_deploy_python.stdout",
    });
    let play = |name: String, more: Value| {
        let mut play = json!({ "name": name, "hosts": "all", "become": true, "gather_facts": false });
        if let (Some(play), Value::Object(more)) = (play.as_object_mut(), more) {
            play.extend(more);
        }
        play
    };
    let mut prepare = json!({ "tasks": tasks });
    if !handlers.is_empty() {
        prepare["handlers"] = json!(handlers);
    }
    json!([
        play("Make servers ready for modules".to_owned(), json!({ "tasks": [python] })),
        play(format!("Prepare the servers of {}", stack.id), prepare),
    ])
}

fn readme(stack: &Stack, rendered: &RenderedServers) -> String {
    let mut text = format!(
        "# {}: servers, prepared by Ansible\n\n\
         Written by `vrooli-deploy render … --format ansible`; the next time it writes these files anew, and refuses\n\
         where somebody changed one. Needs `ansible-core` here, and Debian or Ubuntu there; modules are of\n\
         `ansible.builtin` alone. Accounts, keys and jump hosts are those of your ssh_config.\n\n\
         ```sh\nansible-playbook site.yml --check --diff   # what would be changed; Python must be there already\n\
         ansible-playbook site.yml                  # the second time: changed=0\n\
         ansible-playbook site.yml --ask-become-pass   # where sudo asks\n```\n\n| server | role |\n|---|---|\n",
        stack.id
    );
    let mut seen = BTreeSet::new();
    for server in &rendered.servers {
        let role = if server.role.is_empty() { "-" } else { &server.role };
        if seen.insert(&server.host) {
            let _ = writeln!(text, "| {} | {role} |", server.host);
        }
    }
    text.push_str(include_str!("readme.tail.md"));
    text.push_str(
        "A password for sudo is asked for, or comes from a file that `ansible-vault` sealed\n\
         (`ansible_become_password`); never write it into these files.\n",
    );
    super::servers::left_out(&mut text, &rendered.left_out);
    text
}
