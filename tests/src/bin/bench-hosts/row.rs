//! What was measured on so many hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::tools::{ANSIBLE, BARE, OURS, PYINFRA, Work};

/// One run.
pub(crate) struct Sample {
    pub(crate) took: Duration,
    /// Connections and sessions a host, as its sshd counted them.
    pub(crate) connections: f64,
    pub(crate) sessions: f64,
    /// What it cost a host: time of its processors, all that ran there.
    pub(crate) processor: Duration,
}

#[derive(Default)]
pub(crate) struct Row {
    samples: BTreeMap<(&'static str, Work), Vec<Sample>>,
    refused: BTreeMap<&'static str, String>,
}

impl Row {
    pub(crate) fn add(&mut self, tool: &'static str, work: Work, sample: Sample) {
        self.samples.entry((tool, work)).or_default().push(sample);
    }

    pub(crate) fn refuse(&mut self, tool: &'static str, why: &str) {
        self.refused.insert(tool, why.to_owned());
    }

    fn median(&self, tool: &'static str, work: Work) -> Option<f64> {
        self.median_of(tool, work, |sample| sample.took)
    }

    fn median_of(&self, tool: &'static str, work: Work, of: fn(&Sample) -> Duration) -> Option<f64> {
        let mut all: Vec<f64> =
            self.samples.get(&(tool, work))?.iter().map(|sample| of(sample).as_secs_f64()).collect();
        all.sort_by(f64::total_cmp);
        let middle = all.len() / 2;
        match all.len() {
            0 => None,
            count if count % 2 == 0 => Some((all[middle - 1] + all[middle]) / 2.0),
            _ => Some(all[middle]),
        }
    }

    /// Median, least and most.
    fn shown(&self, tool: &'static str, work: Work) -> String {
        let (Some(median), Some(all)) = (self.median(tool, work), self.samples.get(&(tool, work))) else {
            return if self.refused.contains_key(tool) { "refused" } else { "-" }.to_owned();
        };
        let seconds = || all.iter().map(|sample| sample.took.as_secs_f64());
        let (least, most) = (seconds().fold(f64::MAX, f64::min), seconds().fold(0.0, f64::max));
        format!("{median:.2} ({least:.2} to {most:.2})")
    }

    /// The most that a host was asked in a run.
    fn asked(&self, tool: &'static str, work: Work) -> String {
        let Some(all) = self.samples.get(&(tool, work)) else { return "-".to_owned() };
        let most = |of: fn(&Sample) -> f64| all.iter().map(of).fold(0.0, f64::max);
        format!("{:.1}/{:.1}", most(|sample| sample.connections), most(|sample| sample.sessions))
    }

    /// Seconds of a host's processors.
    fn cost(&self, tool: &'static str, work: Work) -> String {
        let median = self.median_of(tool, work, |sample| sample.processor);
        median.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"))
    }

    fn ratio(&self, work: Work, to: Option<f64>) -> String {
        match (self.median(OURS, work), to) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.3}", ours / theirs),
            _ => "-".to_owned(),
        }
    }

    pub(crate) fn print_head() {
        println!(
            "| hosts | work | ours | Ansible | pyinfra | bare ssh | ours/Ansible | ours/pyinfra | ours/ssh | \
             connections/sessions a host: ours, Ansible, pyinfra | processor of a host: ours, Ansible, pyinfra, ssh |"
        );
        println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---|---|");
    }

    pub(crate) fn print(&self, hosts: u32) {
        for work in [Work::Setup, Work::SetupAgain, Work::Release, Work::ReleaseAgain] {
            let to = |tool| self.ratio(work, self.median(tool, work));
            println!(
                "| {hosts} | {} | {} | {} | {} | {} | {} | {} | {} | {}, {}, {} | {}, {}, {}, {} |",
                work.as_str(),
                self.shown(OURS, work),
                self.shown(ANSIBLE, work),
                self.shown(PYINFRA, work),
                self.shown(BARE, Work::Nothing),
                to(ANSIBLE),
                to(PYINFRA),
                self.ratio(work, self.median(BARE, Work::Nothing)),
                self.asked(OURS, work),
                self.asked(ANSIBLE, work),
                self.asked(PYINFRA, work),
                self.cost(OURS, work),
                self.cost(ANSIBLE, work),
                self.cost(PYINFRA, work),
                self.cost(BARE, Work::Nothing),
            );
        }
        for (tool, why) in &self.refused {
            println!("\n{tool} refused releases: {why}\n");
        }
    }
}
