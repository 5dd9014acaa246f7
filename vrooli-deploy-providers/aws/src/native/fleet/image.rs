//! The app's image: given by its digest, or built here and pushed to the stack's repository.

use base64::Engine as _;
use vrooli_deploy_core::names::ImageRef;
use vrooli_deploy_core::provider::{
    Artefact, BuildRequest, ErrorKind, ImageBuilder, ImageRepository, ImageSource, OpCtx, ProviderError,
    Result,
};
use vrooli_deploy_core::secrets::Secret;

use super::AwsFleet;
use super::carrier::Carrier;
use super::site::Site;
use crate::kinds::ecr_repository::EcrRepository;
use crate::native::{Calls, unexpected};

/// The stack's repository.
const REPOSITORY: &str = "images/app";

impl<C: Carrier> AwsFleet<C> {
    /// What an image would be made from, or the one that is given.
    pub(super) async fn image_source(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Source> {
        match &request.image {
            Some(image) => Ok(Source::Given(image.clone())),
            None => {
                let platform = C::platform(&self.site()?);
                Ok(Source::Built(self.builder()?.source(cx, request, platform).await?))
            }
        }
    }

    /// Refuses a build that could not be done, unless a release of these sources is staged: then none is needed.
    pub(super) async fn can_build(&self, cx: &OpCtx, site: &Site<C::On>, source: &ImageSource) -> Result<()> {
        let Err(error) = self.builder()?.is_ready(cx).await else { return Ok(()) };
        let at = self.at(cx, site).await;
        let staged = self.releases(&at, site).await.unwrap_or_default();
        let is_there = staged.values().any(|release| release.bundle.artefact.source == source.digest);
        if is_there { Ok(()) } else { Err(error) }
    }

    /// The app's image in the stack's repository.
    pub(super) async fn publish(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let to = self.repository(&at).await?;
        self.builder()?.publish(cx, request, C::platform(&site), &to).await
    }

    fn builder(&self) -> Result<&dyn ImageBuilder> {
        self.account.images().ok_or_else(|| {
            ProviderError::new(ErrorKind::Unsupported, "this program builds no images: give one")
        })
    }

    /// The stack's repository and a login that AWS gives for some hours.
    async fn repository(&self, at: &Calls<'_>) -> Result<ImageRepository> {
        let ecr = &at.region.ecr;
        let lacks = || ProviderError::new(ErrorKind::Config, "the stack has no repository for images");
        let name = super::site::name_of(&self.account, &EcrRepository, REPOSITORY).ok_or_else(lacks)?;
        let ask = ecr.describe_repositories().repository_names(&name).send();
        let seen = at.find("ecr:DescribeRepositories", ask).await?.ok_or_else(lacks)?;
        let uri = seen.repositories().first().and_then(|one| one.repository_uri()).ok_or_else(lacks)?;
        let answer = at.read("ecr:GetAuthorizationToken", ecr.get_authorization_token().send()).await?;
        let token = answer.authorization_data().first().and_then(|data| data.authorization_token());
        let wrong = || unexpected("ecr:GetAuthorizationToken", "token");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(token.ok_or_else(wrong)?)
            .map_err(|_| wrong())?;
        let text = Secret::new(String::from_utf8(bytes).map_err(|_| wrong())?);
        let (user, password) = text.expose().split_once(':').ok_or_else(wrong)?;
        Ok(ImageRepository {
            name: self.account.repository(uri),
            user: user.to_owned(),
            password: Secret::new(password.to_owned()),
        })
    }
}

/// Where an image comes from.
pub(super) enum Source {
    /// It is there.
    Given(ImageRef),
    /// It is made from this.
    Built(ImageSource),
}

/// A given image as an artefact. Where the app lies in it is not known.
pub(super) fn given(image: &ImageRef) -> Artefact {
    let digest = image.digest();
    let images = std::collections::BTreeMap::new();
    Artefact { source: digest.clone(), digest, location: image.to_string(), root: ".".to_owned(), images }
}

/// The folder that a service of an image starts in. `None`: the one that the image says.
pub(super) fn folder(root: &str, dir: Option<&str>) -> Option<String> {
    match (root.starts_with('/'), dir) {
        (false, dir) => dir.map(str::to_owned),
        (true, None | Some("." | "")) => Some(root.to_owned()),
        (true, Some(dir)) => Some(format!("{}/{}", root.trim_end_matches('/'), dir.trim_start_matches("./"))),
    }
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn services_start_where_the_manifest_says() {
        let of = |root, dir| folder(root, dir);
        assert_eq!(of("/app", Some("api")).as_deref(), Some("/app/api"));
        assert_eq!(of("/app/scenarios/s", None).as_deref(), Some("/app/scenarios/s"));
        assert_eq!(of("/", Some("./ui")).as_deref(), Some("/ui"));
        // Nothing is known of where a given image keeps what.
        assert_eq!((of(".", Some("api")).as_deref(), of(".", None)), (Some("api"), None));
    }
}
