//! Floor 4: MCP in.
//!
//! - [`server`]: the MCP server that clients talk to. [`stdio`]: on standard input and output.
//! - [`carried`]: what passes by the MCP library. [`relay`]: what servers say in the middle of a call.

mod carried;
mod relay;
mod server;
mod stdio;

pub use stdio::{HangUp, serve_stdio};
