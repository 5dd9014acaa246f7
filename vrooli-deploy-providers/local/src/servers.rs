//! What a user may say about private servers (PostgreSQL, Redis): whether they are run from
//! installed programs or in containers, and from which images.

use vrooli_deploy_core::diagnostics::Code;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use crate::docker::{self, Engine, NoEngine};
use crate::kinds::Way;
use crate::programs;

/// The variable that says how servers are run: `auto`, `programs` or `docker`.
pub const WAY_VARIABLE: &str = "VROOLI_DEPLOY_DATABASES";
/// The variable that names the image of PostgreSQL servers.
pub const POSTGRES_IMAGE_VARIABLE: &str = "VROOLI_DEPLOY_POSTGRES_IMAGE";
/// The variable that names the image of Redis servers.
pub const REDIS_IMAGE_VARIABLE: &str = "VROOLI_DEPLOY_REDIS_IMAGE";
/// Docker's own variable: which engine. Only `unix://` is taken.
const HOST_VARIABLE: &str = "DOCKER_HOST";

/// How private servers are run. The default: from installed programs; where they are
/// missing in a container, if an engine answers at one of the usual sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerOptions {
    /// In which way new servers are run; `None` chooses.
    pub way: Option<Way>,
    /// The image of PostgreSQL servers, made like the official one (`PGDATA`, an account
    /// `postgres`, its entry point). For a server that has data it must be of the same
    /// major version.
    pub postgres_image: Option<String>,
    /// The image of Redis servers, made like the official one (its entry point takes
    /// `redis-server`, data lies in `/data`).
    pub redis_image: Option<String>,
    /// The engine, as `DOCKER_HOST` names it: `unix:///path/to/socket`.
    pub engine: Option<String>,
}

impl ServerOptions {
    /// What the environment says: `VROOLI_DEPLOY_DATABASES`, `VROOLI_DEPLOY_POSTGRES_IMAGE`,
    /// `VROOLI_DEPLOY_REDIS_IMAGE`, `DOCKER_HOST`.
    ///
    /// # Errors
    /// `Config` when a value is none of those that there are.
    pub fn from_environment() -> Result<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let value = |name| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let way = match value(WAY_VARIABLE).as_deref() {
            None | Some("auto") => None,
            Some("programs") => Some(Way::Programs),
            Some("docker") => Some(Way::Docker),
            Some(other) => {
                return Err(ProviderError::new(
                    ErrorKind::Config,
                    format!("{WAY_VARIABLE} is `{other}`, which is no way to run a database"),
                )
                .with_help("say `auto`, `programs` (what is installed) or `docker` (containers)"));
            }
        };
        let image = |name| match value(name) {
            None => Ok(None),
            Some(reference) => match docker::check_reference(&reference) {
                Ok(()) => Ok(Some(reference)),
                Err(rule) => Err(ProviderError::new(ErrorKind::Config, format!("{name}: {rule}"))),
            },
        };
        Ok(Self {
            way,
            postgres_image: image(POSTGRES_IMAGE_VARIABLE)?,
            redis_image: image(REDIS_IMAGE_VARIABLE)?,
            engine: value(HOST_VARIABLE),
        })
    }

    /// The engine to make new servers in.
    pub(crate) async fn find_engine(&self, cx: &OpCtx) -> Result<std::result::Result<Engine, NoEngine>> {
        docker::find(cx, self.engine.as_deref(), None).await
    }
}

/// Neither programs nor an engine.
pub(crate) const NO_WAY: Code = Code(748);
/// A server stays with the way that it was made in.
pub(crate) const STAYS: Code = Code(749);

/// What is missing for a server to run: the error of the programs, and why there is no engine.
pub(crate) fn no_way(programs: &ProviderError, engine: &NoEngine, elsewhere: &str) -> ProviderError {
    let help = programs.help().map(|help| format!("{help}; ")).unwrap_or_default();
    ProviderError::new(ErrorKind::Missing, format!("{}, and {engine}", programs.message()))
        .with_code(NO_WAY.to_string())
        .with_help(format!(
            "{help}or start Docker or Podman, and it runs in a container ({}); {elsewhere}",
            programs::install("docker")
        ))
}

/// The user said `docker`, and there is none.
pub(crate) fn no_engine(what_for: &str, engine: &NoEngine, elsewhere: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Missing,
        format!("{what_for} is to run in a container, as {WAY_VARIABLE} says, and {engine}"),
    )
    .with_code(NO_WAY.to_string())
    .with_help(format!(
        "start Docker or Podman ({}); or let it run from installed programs: {WAY_VARIABLE}=auto; {elsewhere}",
        programs::install("docker")
    ))
}

/// The image is not there and cannot be had: what else there is to do.
pub(crate) fn no_image(error: ProviderError, install: &str, elsewhere: &str) -> ProviderError {
    if error.kind() != ErrorKind::Missing {
        return error;
    }
    let help = error.help().unwrap_or_default().to_owned();
    error.with_help(format!("{help}; or let it run without Docker: {install}; {elsewhere}"))
}

/// Says so when a server is run otherwise than the user wants new ones to be.
pub(crate) fn stays(cx: &OpCtx, options: &ServerOptions, way: Way, what: &str) {
    let (here, there) = match way {
        Way::Programs => ("with the installed programs", "in a container"),
        Way::Docker => ("in its container", "with installed programs"),
    };
    if options.way.is_some_and(|wanted| wanted != way) {
        cx.output.line(&format!(
            "{STAYS}: {what} stays {here}, where its data is; to have it {there}, save its data, `destroy` the app with `--data` and deploy it anew"
        ));
    }
}

/// Did it certainly not happen, and not because somebody wanted no more of it? Then what
/// was begun is of no use to anybody.
pub(crate) fn is_final(error: &ProviderError) -> bool {
    !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Timeout | ErrorKind::Ambiguous)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ServerOptions> {
        ServerOptions::read(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn both_ways_and_what_else_there_is_are_named() {
        let programs = ProviderError::new(
            ErrorKind::Missing,
            "`database/main` needs a server, and none is installed here",
        )
        .with_help("install it: `apt-get install postgresql`");
        let engine = NoEngine(vec!["`/var/run/docker.sock`: nobody listens there".to_owned()]);
        let error = no_way(&programs, &engine, "or do without: `--drop postgres`");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Missing, Some("VD0748")));
        let help = error.help().unwrap();
        for wanted in ["apt-get install postgresql", "start Docker", "--drop postgres"] {
            assert!(help.contains(wanted), "{help}");
        }
        assert!(
            error.message().contains("none is installed") && error.message().contains("nobody listens"),
            "{error}"
        );
        let error = no_engine("`cache/redis`", &NoEngine(Vec::new()), "or do without: `--drop redis`");
        assert!(error.message().contains(WAY_VARIABLE), "{error}");
        assert!(error.help().unwrap().contains("--drop redis"), "{error}");
    }

    #[test]
    fn what_is_said_is_taken_and_nonsense_refused() {
        assert_eq!(read(&[]).unwrap(), ServerOptions::default());
        assert_eq!(read(&[(WAY_VARIABLE, "auto"), (HOST_VARIABLE, "")]).unwrap(), ServerOptions::default());
        let options = read(&[(WAY_VARIABLE, "docker"), (POSTGRES_IMAGE_VARIABLE, " postgres:16 ")]).unwrap();
        assert_eq!(options.way, Some(Way::Docker));
        assert_eq!(options.postgres_image.as_deref(), Some("postgres:16"));
        let error = read(&[(WAY_VARIABLE, "podman")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.help().unwrap().contains("programs"), "{error}");
        assert!(read(&[(REDIS_IMAGE_VARIABLE, "../x")]).is_err());
    }
}
