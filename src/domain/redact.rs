//! Keeps secrets out of text that leaves the gateway: logs, errors, summaries.

use std::{borrow::Cow, ops::Range};

use aho_corasick::{AhoCorasick, AhoCorasickKind};

/// What stands where a secret stood.
const MASK: &str = "[redacted]";

/// Shorter values are not masked: `1` or `on` would tear holes into every line.
const SHORTEST: usize = 5;

/// The secrets of the settings, and what finds them in a text in one pass.
#[derive(Clone)]
pub struct Redactor {
    secrets: Vec<String>,
    /// Finds the beginnings of [`CREDENTIALS`], and then the secrets. None if there are more than it
    /// can find; then no text is shown.
    finder: Option<AhoCorasick>,
}

/// Knows of no secret, but of the gateway's credentials.
impl Default for Redactor {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl Redactor {
    /// A redactor for these values, for each line of those that have several, as logs are masked
    /// line by line, and for what they look like within JSON.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let secrets: Vec<String> = values
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
        Self::of(secrets)
    }

    fn of(mut secrets: Vec<String>) -> Self {
        secrets.sort_unstable();
        secrets.dedup();
        let beginnings = CREDENTIALS.iter().map(|(begins, _)| *begins);
        let all = beginnings.chain(secrets.iter().map(String::as_str));
        let kind = Some(AhoCorasickKind::ContiguousNFA);
        let finder = AhoCorasick::builder().kind(kind).build(all).ok();
        Self { secrets, finder }
    }

    /// A redactor that knows the secrets of both.
    pub fn with(&self, other: &Self) -> Self {
        Self::of([self.secrets.as_slice(), &other.secrets].concat())
    }

    /// `text` with every known secret masked, and all that looks like a credential of the gateway's.
    /// Takes time in proportion to the text.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(finder) = &self.finder else { return Cow::Borrowed(MASK) };
        let hidden = hidden(finder, text);
        if hidden.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::new();
        let mut shown = 0;
        for Range { start, end } in hidden {
            masked.push_str(text.get(shown..start).unwrap_or_default());
            masked.push_str(MASK);
            shown = end;
        }
        masked.push_str(text.get(shown..).unwrap_or_default());
        Cow::Owned(masked)
    }
}

/// The parts of a text that are masked, in order. Secrets that overlap are masked as one.
fn hidden(finder: &AhoCorasick, text: &str) -> Vec<Range<usize>> {
    let mut hidden: Vec<Range<usize>> = Vec::new();
    // Found in the order of their ends.
    for found in finder.find_overlapping_iter(text) {
        // One that begins within a credential is part of it.
        if hidden.last().is_some_and(|last| found.start() >= last.start && found.end() <= last.end)
        {
            continue;
        }
        let follows = match CREDENTIALS.get(found.pattern().as_usize()) {
            Some((_, least)) => match credential_part(text, found.end()) {
                length if length >= *least => length,
                _ => continue,
            },
            None => 0,
        };
        let mut range = found.start()..found.end() + follows;
        while let Some(last) = hidden.pop_if(|last| last.end > range.start) {
            range = last.start.min(range.start)..last.end.max(range.end);
        }
        hidden.push(range);
    }
    hidden
}

/// How much of a credential follows.
fn credential_part(text: &str, from: usize) -> usize {
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    rest.iter().take_while(|b| b.is_ascii_alphanumeric() || b"-_".contains(b)).count()
}

/// How credentials begin that the gateway makes (tokens, API keys, handles), and how much follows at
/// least. Callers show them in every place where a text can stand.
const CREDENTIALS: [(&str, usize); 3] = [("gwt1.", 20), ("tgk_", 20), ("sub_", 22)];

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
    fn credential_like_text_is_masked_anywhere() {
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
    fn redaction_takes_time_in_proportion_to_the_text() {
        let redactor = Redactor::new(["aaaaa".to_owned(), "aaaaaaaaaa".to_owned()]);
        // Each took minutes when the rest was searched anew after every match.
        for unit in
            [format!("sub_{} ", "A".repeat(22)), "sub_".into(), "gwt1.x ".into(), "a".into()]
        {
            let text = unit.repeat(4_000_000 / unit.len());
            assert!(redactor.redact(&text).len() <= text.len(), "{unit}");
        }
    }

    #[test]
    fn secrets_that_overlap_are_masked_whole() {
        let redactor = Redactor::new(["abc-def".into(), "def-ghijk".into(), "-gh-x".into()]);
        assert_eq!(redactor.redact("<abc-def-ghijk>"), "<[redacted]>");
        assert_eq!(redactor.redact("abc-def-gh-x, def-gh"), "[redacted][redacted], def-gh");
        let inside = Redactor::new(["x-sub_A".into(), "AAAA é".into()]);
        let handle = format!("x-sub_{} é.", "A".repeat(30));
        assert_eq!(inside.redact(&handle), "[redacted].");
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
