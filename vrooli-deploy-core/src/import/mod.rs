//! Dialects: what people already have, read into a manifest.
