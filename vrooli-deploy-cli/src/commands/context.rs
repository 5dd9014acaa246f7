//! What every command on a workspace needs.

use std::path::PathBuf;
use std::sync::Arc;

use etcetera::BaseStrategy as _;
use vrooli_deploy_core::provider::Registry;
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_core::workspace::{Run, Target, Workspace, WorkspaceOptions, run_url};
use vrooli_deploy_providers::bare_metal::hosts::Hosts;
use vrooli_deploy_providers::bare_metal::remote::SshOptions;

use super::interrupt::Interrupt;
use crate::arguments::Global;
use crate::errors::Failure;
use crate::output::{Console, Progress, prompt};

/// Who asks, how to talk, and how to be stopped.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) console: Console,
    pub(crate) global: Global,
    pub(crate) registry: Registry,
    pub(crate) interrupt: Interrupt,
}

impl Context {
    /// Opens the workspace.
    pub(crate) async fn workspace(&self) -> Result<Workspace, Failure> {
        Ok(Workspace::open(self.workspace_options()?, self.registry.clone()).await?)
    }

    /// Which folder it is, and its key.
    pub(crate) fn workspace_options(&self) -> Result<WorkspaceOptions, Failure> {
        let mut options = WorkspaceOptions::new(self.state_dir()?);
        options.key = std::env::var("VROOLI_DEPLOY_KEY").ok().filter(|key| !key.is_empty()).map(Secret::new);
        Ok(options)
    }

    /// The workspace, and what the argument means there.
    pub(crate) async fn target(&self, argument: &str) -> Result<(Workspace, Target), Failure> {
        self.target_with(argument, &[]).await
    }

    /// The same with values files laid over the manifest.
    pub(crate) async fn target_with(
        &self,
        argument: &str,
        values: &[PathBuf],
    ) -> Result<(Workspace, Target), Failure> {
        let workspace = self.workspace().await?;
        let mut options = self.global.target();
        options.values = values.to_vec();
        let target = workspace.resolve(argument, &options).await?;
        Ok((workspace, target))
    }

    /// The app, for somebody who only wants to know: files that it lacks do not matter.
    pub(crate) async fn target_to_assess(&self, argument: &str) -> Result<(Workspace, Target), Failure> {
        self.target_to_assess_with(argument, &[]).await
    }

    /// The same with values files laid over the manifest.
    pub(crate) async fn target_to_assess_with(
        &self,
        argument: &str,
        values: &[PathBuf],
    ) -> Result<(Workspace, Target), Failure> {
        let workspace = self.workspace().await?;
        let mut options = self.global.target();
        options.values = values.to_vec();
        let target = workspace.resolve_to_assess(argument, &options).await?;
        Ok((workspace, target))
    }

    /// The servers of the workspace. Reaches none.
    pub(crate) fn hosts(&self) -> Result<Hosts, Failure> {
        Ok(Hosts::open(&self.state_dir()?, SshOptions::from_environment().anew())?)
    }

    fn state_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.global.state_dir {
            return Ok(dir.clone());
        }
        if let Some(dir) = std::env::var_os("VROOLI_DEPLOY_HOME").filter(|dir| !dir.is_empty()) {
            return Ok(dir.into());
        }
        let strategy = etcetera::base_strategy::choose_native_strategy().map_err(Failure::no_state_dir)?;
        Ok(strategy.data_dir().join("vrooli-deploy"))
    }

    /// A run that is drawn as it happens and that Ctrl-C stops.
    pub(crate) fn run(&self) -> Run {
        let progress = Arc::new(Progress::new(&self.console));
        Run::new()
            .with_events(move |event| progress.event(event))
            .with_cancellation(self.interrupt.cancellation())
            .with_run_url(run_url(|name| std::env::var(name).ok()))
    }

    /// Asks on the terminal. Only when there is one: see [`Console::can_ask`].
    pub(crate) async fn ask(&self, question: &str) -> Result<String, Failure> {
        use std::io::Write as _;
        // A terminal that cannot be written to cannot be read from either.
        let _ = write!(std::io::stderr(), "{question} ");
        let read = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer).map(|_| answer.trim().to_owned())
        });
        let cancellation = self.interrupt.cancellation();
        tokio::select! {
            answer = read => match answer {
                Ok(Ok(answer)) => Ok(answer),
                _ => Err(Failure::declined()),
            },
            () = cancellation.cancelled() => Err(Failure::interrupted()),
        }
    }

    /// Asks for a value on the terminal, which does not show it. Only when there is one.
    pub(crate) async fn ask_unseen(&self, question: &str) -> Result<Secret<String>, Failure> {
        let cancellation = self.interrupt.cancellation();
        tokio::select! {
            value = prompt::hidden(question) => {
                value.map_err(|error| Failure::system("cannot read from the terminal", &error))
            }
            () = cancellation.cancelled() => Err(Failure::interrupted()),
        }
    }

    /// Asks whether to go on with what was shown.
    pub(crate) async fn confirm(&self, command: &str) -> Result<(), Failure> {
        if self.global.yes {
            return Ok(());
        }
        if !self.console.can_ask {
            return Err(Failure::nobody_to_ask(command, &retyped("--yes")));
        }
        match self.ask("Go on? [y/N]").await?.to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::declined()),
        }
    }
}

/// The command line again, with one more argument, so that it can be copied.
pub(crate) fn retyped(more: &str) -> String {
    let mut words = vec!["vrooli-deploy".to_owned()];
    words.extend(std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy())));
    words.push(more.to_owned());
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn what_is_to_be_typed_is_safe_to_copy() {
        assert_eq!(quoted("examples/picker-wheel"), "examples/picker-wheel");
        assert_eq!(quoted("it's; rm -rf ~"), r"'it'\''s; rm -rf ~'");
        assert_eq!(quoted(""), "''");
    }
}
