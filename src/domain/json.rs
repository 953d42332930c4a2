//! JSON that is passed on as text.
//!
//! A tree of values can take fifty times the memory of its text, so the arguments of calls and the
//! results of servers stay text, and a tree is built only where one is needed and only up to a
//! number of values.
//!
//! - [`RawJson`]: well-formed text; its parts share its memory.
//! - [`scan`]: where strings, values and members end.
//! - [`edit`]: objects with some of their members changed.
//! - [`mend`]: text that is not quite JSON. [`walk`]: every object within a value.

mod edit;
mod mend;
mod raw;
mod scan;
mod walk;

pub use edit::Change;
pub use raw::{MOST_VALUES, Malformed, Members, NoTree, RawJson, RawMember};
pub use walk::{objects, references};
