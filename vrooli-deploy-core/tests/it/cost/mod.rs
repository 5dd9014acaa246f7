//! Prices and estimates.

mod book;
