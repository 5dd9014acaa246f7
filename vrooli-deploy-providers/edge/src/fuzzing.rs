//! What is fed with anything at all: three doors of the edge, each as a function of bytes that
//! panics when a promise about them is broken. `fuzz/` hands them a fuzzer's bytes; the tests
//! of this crate hand them the same seeds and what becomes of them.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::expect_used,
    reason = "a broken promise is a panic, which is what a fuzzer looks for"
)]

mod message;
mod request;
mod state;

pub use message::message;
pub use request::request;
pub use state::state;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::names::ListenerId;
use crate::routes::{Published, PublishedSite, Routes};
use crate::stats::ReleaseStats;
use crate::table::SiteTable;

/// The routes of some tables, and what they say about a host and path.
fn routes(tables: impl Iterator<Item = SiteTable>) -> Routes {
    let sites = tables.map(|table| PublishedSite {
        stats: table
            .releases
            .keys()
            .map(|name| (name.clone(), ReleaseStats::new(table.site.clone(), name.clone(), 1)))
            .collect::<BTreeMap<_, _>>(),
        table: Arc::new(table),
    });
    Routes::compile(&Published { generation: 1, sites: sites.collect(), ..Published::default() })
}

/// Asks for everything that a table serves; nothing of it may be without an answer.
fn visit(table: &SiteTable) {
    let routes = routes(std::iter::once(table.clone()));
    for listener in table.served_on() {
        for rule in &table.rules {
            let host = rule.host_key().map(|host| host.replace('*', "x"));
            let found = routes.find(&listener, host.as_deref(), &rule.path).expect("a rule has its route");
            for point in [0, 1, u64::MAX] {
                if let Some(choice) = found.pick(|below| point % below) {
                    assert!(choice.backends.in_turn().next().is_some(), "a release without a backend");
                }
            }
            assert!(found.of_bucket(crate::sticky::BUCKETS - 1).is_some() == found.of_bucket(0).is_some());
        }
        let _ = routes.find(&listener, None, "*");
    }
    if let Ok(nobody) = ListenerId::new("nobody/at-all") {
        let _ = routes.find(&nobody, Some("a.test"), "/");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    /// What lies in the tree for a target, in the order of its names.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty());
        files.iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// A seed with some of its parts replaced, doubled, moved or left out.
    fn altered(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
        let seed = prop::sample::select(seeds(target));
        let bytes = prop::collection::vec(any::<u8>(), 0..6);
        let telling = prop::sample::select(vec![
            &b"\r\n"[..],
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b":",
            b",",
            b"\0",
            b"0\r\n\r\n",
            b"chunked",
            b"{",
            b"}",
            b"[",
            b"\"",
            b"-1",
            b"18446744073709551616",
            b"\x80",
            b"HTTP/1.0",
            b"Host: b\r\n",
            b"Content-Length: 4\r\n",
            b"Transfer-Encoding: chunked\r\n",
        ]);
        let piece = prop_oneof![bytes, telling.prop_map(<[u8]>::to_vec)];
        let change = (any::<prop::sample::Index>(), 0..8_usize, piece, any::<bool>());
        (seed, prop::collection::vec(change, 1..5)).prop_map(|(mut bytes, changes)| {
            for (at, length, piece, double) in changes {
                let start = at.index(bytes.len() + 1);
                let end = (start + length).min(bytes.len());
                let gone: Vec<u8> = bytes.splice(start..end, piece).collect();
                if double {
                    bytes.extend(gone);
                }
            }
            bytes
        })
    }

    macro_rules! target {
        ($name:ident) => {
            mod $name {
                use super::*;

                #[test]
                fn holds_for_the_seeds() {
                    for seed in seeds(stringify!($name)) {
                        crate::fuzzing::$name(&seed);
                        for end in 0..seed.len().min(2_000) {
                            crate::fuzzing::$name(&seed[..end]);
                        }
                    }
                }

                proptest! {
                    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

                    #[test]
                    fn holds_for_what_becomes_of_them(bytes in altered(stringify!($name))) {
                        crate::fuzzing::$name(&bytes);
                    }

                    #[test]
                    fn holds_for_anything(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
                        crate::fuzzing::$name(&bytes);
                    }
                }
            }
        };
    }

    target!(request);
    target!(state);
    target!(message);
}
