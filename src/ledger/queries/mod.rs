//! Records read back: in pages, filtered, counted; and the tokens that agents were sent.
//!
//! - [`newest_first`], [`stats()`], [`usage`]: queries over all records that a [`filter`] takes.
//! - [`records`]: pages of records. [`context`]: tokens that agents were sent, kept in a file.

pub mod context;
pub mod filter;
pub mod records;
mod select;
pub mod stats;

pub use select::{Extent, newest_first, stats, usage};
