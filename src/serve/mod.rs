//! Floor 4: MCP in, as raw JSON-RPC messages.
//!
//! - [`stdio`]: one message per line, on standard input and output.
//! - [`session`]: one client: what it negotiated, its requests in flight, the questions it was asked.
//!   [`in_flight`], [`questions`] and [`protocol`] are its parts.
//! - [`dispatch`]: which answer a method gets. [`tool_call`]: `tools/call`, with what its server says
//!   meanwhile.
//! - [`message`]: what a message says. [`outbox`]: messages towards the client.
//!
//! A transport reads text, gives it to the session, and provides an outbox; it decides nothing.

mod dispatch;
mod in_flight;
mod message;
mod outbox;
mod protocol;
mod questions;
mod session;
mod stdio;
mod tool_call;

pub use stdio::{HangUp, serve_stdio};
