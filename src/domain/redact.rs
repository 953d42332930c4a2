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
    /// A redactor for these values, as they are and as they stand within JSON.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = secrets
            .into_iter()
            .filter(|secret| secret.len() >= SHORTEST)
            .flat_map(|secret| [in_json(&secret), secret])
            .collect();
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

fn in_json(secret: &str) -> String {
    let quoted = serde_json::Value::from(secret).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
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
        let multiline = Redactor::new(["one\ntwo\"".into()]);
        assert_eq!(multiline.redact(r#"{"x":"one\ntwo\""}"#), r#"{"x":"[redacted]"}"#);
        assert_eq!(
            redactor.redact("a token-and-more b token c abc"),
            "a [redacted] b [redacted] c abc"
        );
    }
}
