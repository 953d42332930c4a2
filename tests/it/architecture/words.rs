//! Names that were given up, and turns of phrase that nobody outside this project would use.

/// Types that have another name now.
pub const RETIRED_TYPES: [&str; 20] = [
    "Till", "Terms", "Desk", "Book", "Sheet", "Seals", "Pen", "Shelf", "Placed", "Kept", "Uplink",
    "Downlink", "News", "Front", "Meant", "Trail", "Flight", "Patience", "Shown", "Asked",
];

/// Functions that have another name now, and the part of `src` in which they had it.
pub const RETIRED_FUNCTIONS: [(&str, &str); 15] = [
    ("", "shelve"),
    ("", "deaf"),
    ("", "without_server"),
    ("", "depart"),
    ("", "land"),
    ("", "attend"),
    ("", "tend"),
    ("", "outlast"),
    ("", "put_down"),
    ("", "among"),
    ("", "free"),
    ("", "payer"),
    ("", "first_time"),
    ("ledger/", "look"),
    ("ledger/", "show"),
];

/// Phrases, as regular expressions of any case, with what to write instead.
pub const IDIOMS: [(&str, &str); 12] = [
    (r"\bso (many|much)\b", "at most, up to, that number"),
    (r"\bfor so long\b", "for that time"),
    (r"(?m)(^|\s)nobody([\s.,;:]|$)", "no one, or name who"),
    (r"\b(is|are|was|were|be) told\b", "is reported, is logged"),
    (r"\b(tells|told) of\b", "reports, logs"),
    (r"\bin earnest\b", "for real"),
    (r"\b(takes?|took) down\b", "stops"),
    (r"\bis there to be\b", "is, exists"),
    (r"\bthe turn of\b", "it is next"),
    (r"\bhas its moment\b", "runs"),
    (r"(?m)^\s*//[/!]? What (is|was|are|were)\b", "the value that, or a noun"),
    (r"\bis no (time|duration|number|amount)\b", "is not a duration"),
];
