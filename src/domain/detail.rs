//! Levels of detail.

use serde::Serialize;

use super::words::Words;

/// How much of a tool is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Level {
    /// The name in a line that it shares with others, where there is no room for a line of its own.
    Mention,
    /// The name: the tool exists.
    Names,
    /// The name and what it is for: the tool can be chosen.
    Summary,
    /// Parameters and types: the tool can be called.
    Signature,
    /// The whole description and schema.
    Full,
}

impl Level {
    /// The levels of items of their own, the shortest first.
    pub const ALL: [Self; 4] = [Self::Names, Self::Summary, Self::Signature, Self::Full];

    /// The place in [`Self::ALL`].
    pub(super) fn index(self) -> usize {
        (self as usize).saturating_sub(1)
    }
}

/// How much detail is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Detail {
    /// Whole objects if all of them fit, else at most signatures: what is left of the budget is
    /// better kept than spent on one tool's prose.
    #[default]
    Auto,
    /// At most this level.
    AtMost(Level),
}

impl Detail {
    /// Every level as written in calls and settings.
    pub const WORDS: [(&str, Self); 5] = [
        ("auto", Self::Auto),
        ("names", Self::AtMost(Level::Names)),
        ("summary", Self::AtMost(Level::Summary)),
        ("signature", Self::AtMost(Level::Signature)),
        ("full", Self::AtMost(Level::Full)),
    ];
}

impl Words for Detail {
    const WORDS: &'static [(&'static str, Self)] = &Self::WORDS;
}
