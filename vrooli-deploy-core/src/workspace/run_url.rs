//! The page of the run that a command is part of, on a build server.

use std::sync::LazyLock;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
struct Known {
    servers: Vec<Server>,
}

#[derive(Debug, Deserialize)]
struct Server {
    known_by: String,
    urls: Vec<String>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    serde_json::from_str(include_str!("data/ci.json")).unwrap_or_else(|error| {
        // A test reads the file, so this is never met.
        tracing::error!(%error, "the list of build servers cannot be read");
        Known::default()
    })
});

/// The address of the page of the build-server run that this program is part of, by the
/// variables that GitHub Actions, GitLab, CircleCI, Buildkite and Jenkins set. `variable` gives
/// the value of a variable. `None` elsewhere, and for what is no plain web address: it is
/// written down and shown to others.
#[must_use]
pub fn run_url(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    KNOWN
        .servers
        .iter()
        .filter(|server| variable(&server.known_by).is_some())
        .flat_map(|server| &server.urls)
        .find_map(|url| filled(url, &variable).filter(|url| is_plain(url)))
}

/// The address with its variables' values; `None` if one of them is not set.
fn filled(url: &str, variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut parts = url.split("${");
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}')?;
        text.push_str(&variable(name)?);
        text.push_str(rest);
    }
    Some(text)
}

/// A web address of sane length, without a user in it.
fn is_plain(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !authority.is_empty()
        && !authority.contains('@')
        && url.len() <= 2048
        && url.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(variables: &[(&str, &str)]) -> Option<String> {
        run_url(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn each_server_is_known_by_its_own_variables() {
        serde_json::from_str::<Known>(include_str!("data/ci.json")).unwrap();
        let github = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "o/r"),
            ("GITHUB_RUN_ID", "7"),
        ];
        assert_eq!(url(&github).as_deref(), Some("https://github.com/o/r/actions/runs/7"));
        assert_eq!(url(&github[..3]), None, "half of an address is none");
        for (by, name) in [
            ("GITLAB_CI", "CI_JOB_URL"),
            ("CIRCLECI", "CIRCLE_BUILD_URL"),
            ("BUILDKITE", "BUILDKITE_BUILD_URL"),
            ("JENKINS_URL", "BUILD_URL"),
        ] {
            let variables = [(by, "true"), (name, "https://ci.example/run/1")];
            assert_eq!(url(&variables).as_deref(), Some("https://ci.example/run/1"), "{by}");
            assert_eq!(url(&variables[1..]), None, "{by}: a variable that merely happens to be set");
        }
        assert_eq!(url(&[]), None);
    }

    #[test]
    fn what_is_no_plain_address_is_not_taken() {
        for bad in [
            "",
            "javascript:alert(1)",
            "https://user:pw@ci/1",
            "https://ci/a b",
            "https://ci/\u{1b}[2J",
            "https:///x",
        ] {
            assert_eq!(url(&[("GITLAB_CI", "true"), ("CI_JOB_URL", bad)]), None, "{bad:?}");
        }
    }
}
