use vrooli_deploy_core::names::{AppName, Digest, EnvironmentName, ReleaseNumber, StackId};

use crate::facts::Lines;

/// Shell that says what is staged on a host, for root: to be part of a survey, so that what is
/// there already costs no round trip of its own. [`Staged::read`] reads what it prints.
pub const SURVEY: &str = include_str!("../scripts/store_survey.sh");

/// What is staged on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Staged {
    /// Release folders that are whole: whose, which, and the artefact in it.
    pub releases: Vec<(StackId, ReleaseNumber, Digest)>,
    /// Our own program that the host uses, by the SHA-256 of its file in hexadecimal.
    pub program: Option<String>,
}

impl Staged {
    /// What [`SURVEY`] printed, among other lines. Lines that are none of ours are passed over.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let lines = Lines::new(text);
        let release = |line: &str| {
            let (place, digest) = line.split_once(' ')?;
            let mut parts = place.split('/');
            let app = AppName::new(parts.next()?).ok()?;
            let environment = EnvironmentName::new(parts.next()?).ok()?;
            let number = parts.next()?.parse().ok()?;
            let digest = Digest::new(format!("sha256:{digest}")).ok()?;
            Some((StackId { app, environment }, number, digest))
        };
        Self {
            releases: lines.all("staged").filter_map(release).collect(),
            program: lines.get("program").map(ToOwned::to_owned),
        }
    }

    /// Is this artefact in that release's folder?
    #[must_use]
    pub fn has(&self, stack: &StackId, number: ReleaseNumber, artefact: &Digest) -> bool {
        self.releases.iter().any(|(of, its, digest)| of == stack && *its == number && digest == artefact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_others_passed_over() {
        let digest = Digest::of(b"a");
        let hexadecimal = &digest.as_str()[7..];
        let text = format!(
            "x\ty\nstaged\tshop/default/r12 {hexadecimal}\nstaged\tUPPER/x/r1 {hexadecimal}\nstaged\tshop/default/r3\nprogram\t\n"
        );
        let staged = Staged::read(&text);
        let shop = StackId {
            app: AppName::new("shop").unwrap(),
            environment: EnvironmentName::new("default").unwrap(),
        };
        assert_eq!(staged.releases, [(shop.clone(), ReleaseNumber(12), digest.clone())]);
        assert!(staged.has(&shop, ReleaseNumber(12), &digest));
        assert!(!staged.has(&shop, ReleaseNumber(11), &digest));
        assert_eq!(staged.program, None);
    }
}
