//! Keeps secrets out of text that leaves the gateway: logs, errors, summaries.

use std::borrow::Cow;

/// What stands where a secret stood.
const MASK: &str = "[redacted]";

/// Shorter values are not masked: `1` or `on` would tear holes into every line.
const SHORTEST: usize = 5;

/// The secrets of the settings, longest first so that one inside another is masked whole.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// A redactor for these values.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> =
            secrets.into_iter().filter(|secret| secret.len() >= SHORTEST).collect();
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    /// `text` with every known secret masked.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.secrets.iter().fold(Cow::Borrowed(text), |text, secret| {
            match text.contains(secret.as_str()) {
                true => Cow::Owned(text.replace(secret.as_str(), MASK)),
                false => text,
            }
        })
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Redactor;

    #[test]
    fn secrets_are_masked_longest_first() {
        let redactor = Redactor::new(["token".into(), "token-and-more".into(), "abc".into()]);
        assert_eq!(
            redactor.redact("a token-and-more b token c abc"),
            "a [redacted] b [redacted] c abc"
        );
    }
}
