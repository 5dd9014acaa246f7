//! Which requests ask for a static asset.

use std::collections::HashSet;

use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;

const DATA: &str = include_str!("../data/static-assets.json");

#[derive(Debug, Deserialize)]
struct StaticAssets {
    extensions: HashSet<String>,
}

/// The file extensions of what pages load: scripts, styles, pictures, fonts.
#[derive(Debug)]
pub(crate) struct AssetExtensions(HashSet<String>);

impl AssetExtensions {
    pub(crate) fn load() -> Result<Self, serde_json::Error> {
        serde_json::from_str::<StaticAssets>(DATA).map(|data| Self(data.extensions))
    }

    /// Whether this request can be repeated on another release to look for an asset.
    pub(crate) fn asks_for_asset(&self, method: &Method, path: &str) -> bool {
        if *method != Method::GET && *method != Method::HEAD {
            return false;
        }
        let file = path.rsplit('/').next().unwrap_or(path);
        let Some((stem, extension)) = file.rsplit_once('.') else {
            return false;
        };
        !stem.is_empty() && self.0.contains(extension.to_ascii_lowercase().as_str())
    }

    /// Whether an answer says that the release does not have the asset: a 404, or the page
    /// that single-page apps answer to every path they do not know.
    pub(crate) fn is_miss(status: StatusCode, headers: &HeaderMap) -> bool {
        status == StatusCode::NOT_FOUND || (status == StatusCode::OK && is_html(headers))
    }
}

fn is_html(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.len() >= 9 && kind[..9].eq_ignore_ascii_case(b"text/html")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_known_by_their_extension() {
        let assets = AssetExtensions::load().unwrap();
        for path in ["/assets/app.4f2a.js", "/x.CSS", "/a/b/logo.svg"] {
            assert!(assets.asks_for_asset(&Method::GET, path), "{path}");
        }
        for path in ["/", "/api/items", "/index.html", "/v1.2/items", "/.js", "/app.js/"] {
            assert!(!assets.asks_for_asset(&Method::GET, path), "{path}");
        }
        assert!(!assets.asks_for_asset(&Method::POST, "/app.js"));
    }

    #[test]
    fn a_page_in_place_of_an_asset_is_a_miss() {
        let mut headers = HeaderMap::new();
        assert!(AssetExtensions::is_miss(StatusCode::NOT_FOUND, &headers));
        assert!(!AssetExtensions::is_miss(StatusCode::OK, &headers));
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("Text/HTML; charset=utf-8"));
        assert!(AssetExtensions::is_miss(StatusCode::OK, &headers));
        assert!(!AssetExtensions::is_miss(StatusCode::FORBIDDEN, &headers));
    }
}
