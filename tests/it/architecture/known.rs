//! What breaks a rule today. A line goes as soon as its fault is mended; none is added.

/// How offences begin, by the rule's name, as the failing test prints them.
pub const OFFENCES: &[(&str, &[&str])] = &[];

/// Idioms of `words.rs`, each with how often it may still be found.
pub const IDIOMS: &[(&str, usize)] = &[];

/// How many type names may stand for more than one type, while that is more than the rule says.
pub const SHARED_NAMES: Option<usize> = None;
