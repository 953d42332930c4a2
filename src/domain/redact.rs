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
    /// A redactor for these values, for each line of those that have several, as logs are masked
    /// line by line, and for what they look like within JSON.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = values
            .into_iter()
            .filter(|value| is_worth_hiding(value))
            .flat_map(|value| {
                let lines: Vec<String> = value.lines().map(|line| line.trim().to_owned()).collect();
                lines.into_iter().chain([value])
            })
            .flat_map(|value| {
                let escaped = serde_json::Value::from(value.as_str()).to_string();
                let within = escaped.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                within.map(str::to_owned).into_iter().chain([value.clone()]).collect::<Vec<_>>()
            })
            .filter(|value| value.len() >= SHORTEST)
            .collect();
        sort(&mut secrets);
        Self { secrets }
    }

    /// A redactor that knows the secrets of both.
    pub fn with(&self, other: &Self) -> Self {
        let mut secrets = [self.secrets.as_slice(), &other.secrets].concat();
        sort(&mut secrets);
        Self { secrets }
    }

    /// `text` with every known secret masked, and all that looks like a credential of the gateway's.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.secrets.iter().fold(Cow::Borrowed(text), |text, secret| {
            match text.contains(secret.as_str()) {
                true => Cow::Owned(text.replace(secret.as_str(), MASK)),
                false => text,
            }
        });
        match without_credentials(&known) {
            Some(masked) => Cow::Owned(masked),
            None => known,
        }
    }
}

/// How credentials begin that the gateway makes (tokens, API keys, handles), and how much follows at
/// least. Callers show them in every place where a text can stand.
const CREDENTIALS: [(&str, usize); 3] = [("gwt1.", 20), ("tgk_", 20), ("sub_", 22)];

/// The text with what looks like a credential masked; None if nothing does.
fn without_credentials(text: &str) -> Option<String> {
    let mut masked: Option<String> = None;
    let mut rest = text;
    while let Some((begins, length)) = credential(rest) {
        let (before, from) = rest.split_at_checked(begins)?;
        let (_, after) = from.split_at_checked(length)?;
        let masked = masked.get_or_insert_default();
        masked.push_str(before);
        masked.push_str(MASK);
        rest = after;
    }
    masked.map(|masked| masked + rest)
}

/// Where the first credential begins, and how long it is.
fn credential(text: &str) -> Option<(usize, usize)> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let found = CREDENTIALS.iter().filter_map(|(prefix, least)| {
        text.match_indices(prefix).find_map(|(begins, _)| {
            let after = text.get(begins + prefix.len()..)?;
            let follows = after.bytes().take_while(|byte| is_part(*byte)).count();
            (follows >= *least).then_some((begins, prefix.len() + follows))
        })
    });
    found.min()
}

fn sort(secrets: &mut Vec<String>) {
    secrets.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    secrets.dedup();
}

/// Switches and small numbers are in every text and are no secrets.
fn is_worth_hiding(value: &str) -> bool {
    const SMALL: usize = 8;
    let number = value.len() < SMALL && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    !number && !["true", "false"].contains(&value.to_lowercase().as_str())
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
    fn what_looks_like_a_credential_is_masked_wherever_it_stands() {
        let redactor = Redactor::default();
        let token = format!("gwt1.{}", "aZ09-_".repeat(20));
        let key = format!("tgk_0a1b2c3d_{}", "x".repeat(43));
        let handle = format!("sub_{}", "h".repeat(22));
        let text = format!("`{token}` and {key},{handle}é{token}");
        assert_eq!(redactor.redact(&text), "`[redacted]` and [redacted],[redacted]é[redacted]");
        for plain in ["gwt1.", "tgk_name", "sub_agent", "sub_é", "a gwt1.short sub_task_list"] {
            assert_eq!(redactor.redact(plain), plain);
        }
    }

    #[test]
    fn secrets_are_masked_longest_first() {
        let redactor = Redactor::new(["token".into(), "token-and-more".into(), "abc".into()]);
        let key =
            Redactor::new(["first line\n  second line\n".into(), "false".into(), "8080.5".into()]);
        assert_eq!(key.redact("x second line y"), "x [redacted] y");
        assert_eq!(key.redact("false 8080.5"), "false 8080.5");
        let quoted = Redactor::new(["pass\"word\\".into()]);
        assert_eq!(
            quoted.redact(r#"{"m":"pass\"word\\"} pass"word\"#),
            r#"{"m":"[redacted]"} [redacted]"#
        );
        let both = redactor.with(&Redactor::new(["more-than-token-and-more".into()]));
        assert_eq!(both.redact("more-than-token-and-more, token"), "[redacted], [redacted]");
        assert_eq!(
            redactor.redact("a token-and-more b token c abc"),
            "a [redacted] b [redacted] c abc"
        );
    }
}
