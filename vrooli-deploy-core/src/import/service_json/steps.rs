//! Phases of the lifecycle: what builds, what runs, what is dropped and why.

use serde_json::Value;

use super::commands;
use super::patterns::{PATTERNS, matches_any};
use super::reader::Reader;
use crate::diagnostics::{Severity, rules};
use crate::manifest::redaction::redact;
use crate::manifest::semantics::stays_inside;
use crate::manifest::{BuildStep, Command};

/// A step that runs until it is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceStep {
    /// The step's name.
    pub name: String,
    /// Its command, without credentials.
    pub run: String,
    /// Variables that stand for what was a credential.
    pub secrets: Vec<String>,
    /// Where it stands in the file.
    pub at: String,
}

/// What the phases come to.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub build: Vec<BuildStep>,
    pub services: Vec<ServiceStep>,
    /// Where the phase stands that services were taken from.
    pub run_phase: String,
}

/// Is a resource declared and enabled? Conditions of steps ask.
pub(super) type ResourceEnabled<'a> = &'a dyn Fn(&str) -> bool;

pub(super) fn read(
    reader: &Reader<'_>,
    root: Option<&std::path::Path>,
    resource_enabled: ResourceEnabled<'_>,
) -> Steps {
    let mut steps = Steps::default();
    let phase = Phase { reader, root, resource_enabled };
    for at in phase.steps("/lifecycle/setup") {
        if let Some(step) = phase.build_step(&at, false) {
            steps.build.push(step);
        }
    }
    let run_phase = PATTERNS
        .run_phases
        .iter()
        .map(|name| format!("/lifecycle/{name}"))
        .find(|at| phase.steps(at).iter().any(|at| reader.get(&format!("{at}/run")).is_some()))
        .unwrap_or_else(|| "/lifecycle/develop".to_owned());
    steps.run_phase.clone_from(&run_phase);
    let (background, foreground): (Vec<String>, Vec<String>) = phase
        .steps(&run_phase)
        .into_iter()
        .partition(|at| reader.flag(&format!("{at}/background")).unwrap_or(false));
    for at in background {
        steps.services.extend(phase.service(&at));
    }
    let nothing_in_background = steps.services.is_empty();
    for at in foreground {
        let name = reader.full_text(&format!("{at}/name")).unwrap_or_default();
        let run = reader.full_text(&format!("{at}/run")).unwrap_or_default();
        let starts = PATTERNS.service_prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
        if nothing_in_background && starts && !commands::only_prints(&run) && !run.is_empty() {
            reader.note(
                rules::ODD_SHAPE,
                &at,
                format!(
                    "the step `{name}` is taken for a service, though it does not say `background: true`"
                ),
                "add `\"background\": true`",
            );
            steps.services.extend(phase.service(&at));
        } else if let Some(step) = phase.build_step(&at, true)
            && !steps.build.iter().any(|known| known.run == step.run)
        {
            steps.build.push(step);
        }
    }
    phase.name_what_never_runs();
    steps
}

struct Phase<'a> {
    reader: &'a Reader<'a>,
    root: Option<&'a std::path::Path>,
    resource_enabled: ResourceEnabled<'a>,
}

impl Phase<'_> {
    /// The pointers of a phase's steps.
    fn steps(&self, phase: &str) -> Vec<String> {
        match self.reader.get(phase) {
            Some(Value::Object(_)) => {
                let at = format!("{phase}/steps");
                (0..self.reader.count(&at)).map(|index| format!("{at}/{index}")).collect()
            }
            Some(Value::Array(items)) => (0..items.len()).map(|index| format!("{phase}/{index}")).collect(),
            _ => Vec::new(),
        }
    }

    fn name(&self, at: &str) -> String {
        self.reader.full_text(&format!("{at}/name")).unwrap_or_else(|| {
            let index = at.rsplit('/').next().unwrap_or_default();
            format!("step-{index}")
        })
    }

    fn dropped(&self, at: &str, name: &str, reason: &str) {
        self.reader.note(
            rules::STEP_DROPPED,
            at,
            format!("the step `{name}` is left out: {reason}"),
            "nothing to do",
        );
    }

    /// A step of the build, or `None` if it is none; says why.
    fn build_step(&self, at: &str, foreground: bool) -> Option<BuildStep> {
        let reader = self.reader;
        let name = self.name(at);
        let run_at = format!("{at}/run");
        let Some(run) = reader.full_text(&run_at) else {
            self.dropped(at, &name, "it runs nothing");
            return None;
        };
        if let Some(pattern) =
            PATTERNS.dropped_steps.iter().find(|pattern| matches_any(&pattern.names, &name))
        {
            self.dropped(at, &name, &pattern.reason);
            return None;
        }
        let command = PATTERNS
            .dropped_commands
            .iter()
            .find(|pattern| pattern.names.iter().any(|part| run.contains(part.as_str())));
        if let Some(pattern) = command {
            self.dropped(at, &name, &pattern.reason);
            return None;
        }
        if commands::only_prints(&run) {
            self.dropped(at, &name, "it only prints");
            return None;
        }
        if commands::only_exports(&run) {
            self.dropped(at, &name, "what it exports ends with it");
            return None;
        }
        let platform = commands::platform_calls(&run);
        let templates = commands::template_references(&run);
        let resources = commands::resource_calls(&run);
        let prepares = matches_any(&PATTERNS.resource_steps.names, &name);
        if !platform.is_empty() || !templates.is_empty() || !resources.is_empty() || prepares {
            let what = [platform, templates, resources].concat();
            let reason = if prepares && what.is_empty() {
                PATTERNS.resource_steps.reason.clone()
            } else {
                let what = what.iter().map(|what| format!("`{what}`")).collect::<Vec<_>>().join(", ");
                format!("it uses {what}, and neither the platform nor a resource runs while the app is built")
            };
            reader.note(
                rules::STEP_NEEDS_PLATFORM,
                &run_at,
                format!("the step `{name}` is left out: {reason}"),
                "tables and data belong into files declared under `initialization` of their resource",
            );
            return None;
        }
        if foreground {
            let programs = commands::programs(&run);
            let builds = programs.iter().any(|program| PATTERNS.foreground_build_commands.contains(program));
            if !builds {
                reader.note_as(
                    Severity::Warning,
                    rules::STEP_DROPPED,
                    at,
                    format!("the step `{name}` is left out: it neither builds nor runs in the background"),
                    "a service says `\"background\": true`; what builds belongs into `setup`",
                );
                return None;
            }
        }
        self.remark(&run_at, &name, &run);
        let redacted = redact(&run);
        self.credentials(&run_at, &name, &redacted.variables);
        let mut step = BuildStep {
            name,
            run: Command::Shell(redacted.line),
            if_exists: Vec::new(),
            unless_exists: Vec::new(),
        };
        self.condition(at, &mut step).then_some(step)
    }

    /// Applies the conditions of a step; false when the step is not wanted at all.
    fn condition(&self, at: &str, step: &mut BuildStep) -> bool {
        let reader = self.reader;
        let at = format!("{at}/condition");
        if reader.get(&at).is_none() {
            return true;
        }
        for key in reader.keys(&at) {
            let here = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            match key {
                "file_exists" | "path_exists" | "directory_exists" => {
                    step.if_exists.extend(self.inside(&here))
                }
                "file_not_exists" => step.unless_exists.extend(self.inside(&here)),
                "resource_enabled" => {
                    if let Some(off) = reader.texts(&here).iter().find(|name| !(self.resource_enabled)(name))
                    {
                        self.dropped(&here, &step.name, &format!("`{off}` is not enabled"));
                        return false;
                    }
                }
                "env_var_set" => {
                    let variable = reader.texts(&here).join(", ");
                    self.dropped(
                        &here,
                        &step.name,
                        &format!("it wants `{variable}`, which a clean build environment does not have"),
                    );
                    return false;
                }
                "json_path_exists" => {
                    let text = reader.text(&here).unwrap_or_default();
                    let (file, path) = text.split_once(':').unwrap_or((text.as_str(), ""));
                    if !self.json_path_exists(file, path) {
                        self.dropped(&here, &step.name, &format!("`{text}` does not exist"));
                        return false;
                    }
                    if stays_inside(file) {
                        step.if_exists.push(file.to_owned());
                    }
                }
                // Vrooli's own test whether the setup is due; here the source digest decides.
                "checks" | "always" | "description" | "note" => {}
                other => reader.note(
                    rules::CONDITION_NOT_KEPT,
                    &here,
                    format!("the condition `{other}` of the step `{}` is not kept", step.name),
                    "the step always runs; conditions that are kept are `file_exists` and `file_not_exists`",
                ),
            }
        }
        true
    }

    fn inside(&self, at: &str) -> Vec<String> {
        let (inside, outside): (Vec<String>, Vec<String>) =
            self.reader.texts(at).into_iter().partition(|path| stays_inside(path));
        for path in outside {
            self.reader.note_as(
                Severity::Warning,
                rules::PATH_OUTSIDE,
                at,
                format!("the condition on `{path}` is not kept: the path leaves the scenario's folder"),
                "write a relative path that stays inside",
            );
        }
        inside
    }

    /// Without the files at hand the answer is yes.
    fn json_path_exists(&self, file: &str, path: &str) -> bool {
        let Some(root) = self.root.filter(|_| stays_inside(file)) else {
            return true;
        };
        let Ok(text) = std::fs::read_to_string(root.join(file)) else {
            return false;
        };
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            return false;
        };
        path.trim_start_matches('.')
            .split('.')
            .filter(|part| !part.is_empty())
            .try_fold(&value, |value, part| value.get(part))
            .is_some()
    }

    fn service(&self, at: &str) -> Option<ServiceStep> {
        let reader = self.reader;
        let name = self.name(at);
        let run_at = format!("{at}/run");
        let Some(run) = reader.full_text(&run_at) else {
            self.dropped(at, &name, "it runs nothing");
            return None;
        };
        if commands::only_prints(&run) {
            self.dropped(at, &name, "it only prints");
            return None;
        }
        self.remark(&run_at, &name, &run);
        for call in commands::platform_calls(&run) {
            reader.note(
                rules::STEP_NEEDS_PLATFORM,
                &run_at,
                format!("`{name}` calls `{call}` when it starts, which is there only with the Vrooli platform"),
                "read what it would say from environment variables: ports, URLs and passwords are given there",
            );
        }
        let templates = commands::template_references(&run);
        for reference in templates.iter().filter(|reference| !reference.starts_with("$(")) {
            reader.note(
                rules::TEMPLATE_REFERENCE,
                &run_at,
                format!("`{name}` uses `{reference}`, which only Vrooli's own runner resolves"),
                "use the resource's environment variable instead, e.g. `POSTGRES_PORT`",
            );
        }
        let condition = format!("{at}/condition");
        for key in reader.get(&condition).map(|_| reader.keys(&condition)).unwrap_or_default() {
            // That what was built is there, the release itself guarantees.
            if !matches!(key, "file_exists" | "binary_exists" | "description" | "note" | "always") {
                reader.note(
                    rules::CONDITION_NOT_KEPT,
                    &condition,
                    format!("the condition `{key}` of `{name}` is not kept"),
                    "the service always runs",
                );
            }
        }
        let redacted = redact(&run);
        self.credentials(&run_at, &name, &redacted.variables);
        Some(ServiceStep { name, run: redacted.line, secrets: redacted.variables, at: at.to_owned() })
    }

    fn remark(&self, at: &str, name: &str, run: &str) {
        if commands::goes_to_background(run) {
            self.reader.note(
                rules::RUNS_IN_BACKGROUND,
                at,
                format!("`{name}` puts itself in the background"),
                "remove `nohup` and the last `&`: a service is started, watched and stopped for you, and its output is kept",
            );
        }
        for killer in commands::killers(run) {
            self.reader.note(
                rules::KILLS_BY_PATTERN,
                at,
                format!("`{name}` calls `{killer}`, which can end processes of other releases and apps"),
                "remove it: the old release is stopped for you",
            );
        }
    }

    fn credentials(&self, at: &str, name: &str, variables: &[String]) {
        for variable in variables {
            self.reader.note(
                rules::CREDENTIAL_IN_COMMAND,
                at,
                format!("the command of `{name}` holds a credential; it is taken out, and `{variable}` stands in its place"),
                format!("treat the old value as known to others; the new one is a secret named `{variable}`"),
            );
        }
    }

    fn name_what_never_runs(&self) {
        for phase in PATTERNS.never_run_phases.iter() {
            let at = format!("/lifecycle/{phase}");
            let names: Vec<String> =
                self.steps(&at).iter().map(|at| format!("`{}`", self.name(at))).collect();
            if !names.is_empty() {
                self.reader.note(
                    rules::STEP_DROPPED,
                    &at,
                    format!("steps of `{phase}` are never run: {}", names.join(", ")),
                    "nothing to do: processes are stopped by what started them, and tests belong to development",
                );
            }
        }
    }
}
