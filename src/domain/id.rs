//! Names of 128 bits, written as 32 hexadecimal digits.

/// Such a name.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl $name {
            /// From the text that [`std::fmt::Display`] makes.
            pub fn parse(text: &str) -> Option<Self> {
                let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                digits.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

pub(super) use id;
