//! One POSIX script a server, with everything in it.

use std::fmt::Write as _;

use vrooli_deploy_core::diagnostics::{Checked, rules};
use vrooli_deploy_core::render::{FilePath, FileTree, Renderer};
use vrooli_deploy_core::stack::Stack;

use super::script::{SPLIT, functions};
use super::servers::{RenderedServer, RenderedServers};

/// Scripts for the plain shell of each server.
#[derive(Debug, Clone, Copy)]
pub struct Shell;

/// Ends a list of items in a script: no item can be this.
const END: &str = "VROOLI_DEPLOY_END|";

impl Renderer for Shell {
    fn format(&self) -> &'static str {
        "shell"
    }

    fn about(&self) -> &'static str {
        "one POSIX script a server"
    }

    fn render(&self, stack: &Stack) -> Checked<FileTree> {
        let Checked { value, mut diagnostics } = RenderedServers::of(stack, self.format());
        let mut tree = FileTree::new();
        if let Some(rendered) = value {
            let mut add = |name: String, text: String, executable: bool| {
                let path = FilePath::new(name).map_err(|error| error.to_string())?;
                let added = if executable { tree.add_executable(path, text) } else { tree.add(path, text) };
                added.map_err(|error| error.to_string())
            };
            for server in &rendered.servers {
                if let Err(why) = add(script_name(server), script(stack, &rendered, server), true) {
                    diagnostics.push(rules::CANNOT_RENDER.diagnostic(why));
                }
            }
            if let Err(why) = add("README.md".to_owned(), readme(stack, &rendered), false) {
                diagnostics.push(rules::CANNOT_RENDER.diagnostic(why));
            }
        }
        Checked { value: Some(tree), diagnostics }
    }
}

fn script_name(server: &RenderedServer) -> String {
    format!("install-{}.sh", server.name)
}

fn script(stack: &Stack, rendered: &RenderedServers, server: &RenderedServer) -> String {
    let mut text = include_str!("install.head.sh").to_owned();
    let place = &rendered.place;
    // Names are checked when they are made; none holds a quote.
    let _ = write!(text, "stack='{}'\nserver='{}'\nsplit='{SPLIT}'\n\n", place.name, server.host);
    text.push_str(&functions());
    text.push_str("\n\n# What would be changed, a line each; nothing: it is as it should be.\n");
    for (kind, _) in &server.parts {
        text.push_str(kind.differs());
    }
    text.push('\n');
    text.push_str(include_str!("install.main.sh"));
    let _ = writeln!(text, "# {}", stack.id);
    text.push_str("main() {\n    begin \"$@\"\n");
    for (kind, items) in &server.parts {
        let _ = writeln!(text, "    step {} <<'{END}'", kind.word());
        for item in items {
            let _ = writeln!(text, "{}", item.join(&SPLIT.to_string()));
        }
        let _ = writeln!(text, "{END}");
    }
    text.push_str("    finish\n}\n\nmain \"$@\"\n");
    text
}

fn readme(stack: &Stack, rendered: &RenderedServers) -> String {
    let mut text = format!(
        "# {}: servers, prepared by a script\n\n\
         Written by `vrooli-deploy render … --format shell`; the next time it writes these files anew, and\n\
         refuses where somebody changed one. Each script holds everything for one server, needs root there and\n\
         nothing else than Debian or Ubuntu, and can be run again: what is as it should be is left alone.\n\n\
         | server | role | look only | do it |\n|---|---|---|---|\n",
        stack.id
    );
    for server in &rendered.servers {
        let (host, name) = (&server.host, script_name(server));
        let role = if server.role.is_empty() { "-" } else { &server.role };
        let _ = writeln!(
            text,
            "| {host} | {role} | `ssh {host} sudo sh -s -- --dry-run <{name}` | `ssh {host} sudo sh -s <{name}` |"
        );
    }
    text.push_str(include_str!("readme.tail.md"));
    super::servers::left_out(&mut text, &rendered.left_out);
    text
}
