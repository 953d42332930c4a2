//! Floor 2: what is kept about calls.
//!
//! - [`source`]: where records come from, and how they are read, the newest first. [`line`]: a record
//!   and its hash as one line of JSON.
//! - [`filter`]: which records are meant. [`stats`]: how many there are of what.
//! - [`mirror`]: a file that follows the records of a store. [`verify`]: whether such a file is what
//!   was written to it.
//! - [`context`]: how many tokens of tools each agent was sent.

pub mod context;
pub mod filter;
pub mod line;
pub mod mirror;
pub mod source;
pub mod stats;
pub mod verify;
