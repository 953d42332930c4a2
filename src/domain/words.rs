//! Closed sets whose members have words: in settings, flags and records.

/// A type whose values are written as words.
pub trait Words: Copy + 'static {
    /// All values that have a word, by their words.
    const WORDS: &'static [(&'static str, Self)];
}

/// Gives each member of an enum its word, in one table.
macro_rules! words {
    ($type:ident { $($member:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// All of them, by their words.
            pub const WORDS: [(&str, Self); [$($word),+].len()] = [$(($word, Self::$member)),+];

            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$member => $word),+
                }
            }
        }

        impl $crate::domain::words::Words for $type {
            const WORDS: &'static [(&'static str, Self)] = &Self::WORDS;
        }
    };
}

pub(crate) use words;
