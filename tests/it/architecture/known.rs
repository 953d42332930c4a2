//! What breaks a rule today. A line goes as soon as its fault is mended; none is added.

/// How offences begin, by the rule's name, as the failing test prints them.
pub const OFFENCES: &[(&str, &[&str])] = &[("reserved", &["the file system: downstream/cache.rs"])];

/// Idioms of `words.rs`, each with how often it may still be found.
pub const IDIOMS: &[(&str, usize)] = &[
    (r"(?m)(^|\s)nobody([\s.,;:]|$)", 8),
    (r"\b(is|are|was|were|be) told\b", 20),
    (r"\b(tells|told) of\b", 6),
    (r"(?m)^\s*//[/!]? What (is|was|are|were)\b", 5),
    (r"\bis no (time|duration|number|amount)\b", 1),
];

/// How many type names may stand for more than one type, while that is more than the rule says.
pub const SHARED_NAMES: Option<usize> = None;
