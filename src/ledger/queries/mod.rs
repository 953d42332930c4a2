//! Records read back: in pages, filtered, counted; and the tokens that agents were sent.

pub mod context;
pub mod filter;
pub mod records;
pub mod stats;
