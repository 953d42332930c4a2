//! Floor 2: what is kept about calls.
//!
//! - [`context`]: how many tokens of tools each agent was sent.

pub mod context;
