//! What breaks a rule today. A line goes as soon as its fault is mended; none is added.

/// How offences begin, by the rule's name, as the failing test prints them.
pub const OFFENCES: &[(&str, &[&str])] = &[(
    "reserved",
    &[
        "child processes: cli/demo/workspace.rs",
        "the file system: cli/audit/verify.rs",
        "the file system: cli/demo/client.rs",
        "the file system: cli/demo/workspace.rs",
        "the file system: cli/hook/install.rs",
        "the file system: downstream/cache.rs",
    ],
)];

/// Idioms of `words.rs`, each with how often it may still be found.
pub const IDIOMS: &[(&str, usize)] = &[
    (r"\bso (many|much)\b", 6),
    (r"\bfor so long\b", 1),
    (r"(?m)(^|\s)nobody([\s.,;:]|$)", 19),
    (r"\b(is|are|was|were|be) told\b", 30),
    (r"\b(tells|told) of\b", 10),
    (r"(?m)^\s*//[/!]? What (is|was|are|were)\b", 21),
    (r"\bis no (time|duration|number|amount)\b", 1),
];

/// How many type names may stand for more than one type, while that is more than the rule says.
pub const SHARED_NAMES: Option<usize> = Some(21);
