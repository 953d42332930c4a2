//! The first sentence of a description: what the tool is for, in the server's own words.

use super::visible;

/// Words with a point that ends no sentence.
const ABBREVIATIONS: [&str; 8] = ["e.g", "i.e", "etc", "vs", "approx", "incl", "no", "cf"];

/// The first sentence of `description`, headings and markup passed over, at most `longest`
/// characters; empty if there is none.
pub fn first_sentence(description: &str, longest: usize) -> String {
    // Only the beginning matters, however long the rest is.
    let start: String = description.chars().take(4_000).collect();
    let paragraph = first_paragraph(&visible(&start));
    shorten(sentence(&paragraph), longest)
}

/// The first lines of running text, joined: headings are passed over, a label such as
/// `Error Responses:` ends it.
fn first_paragraph(text: &str) -> String {
    let mut paragraph = String::new();
    for line in text.lines().map(plain) {
        if line.is_empty() || is_heading(&line) {
            if paragraph.is_empty() {
                continue;
            }
            break;
        }
        if !paragraph.is_empty() {
            paragraph.push(' ');
        }
        paragraph.push_str(&line);
        if paragraph.len() > 1_000 {
            break;
        }
    }
    if paragraph.is_empty() {
        // Nothing but headings: the first of them says what there is to say.
        paragraph = text.lines().map(plain).find(|line| !line.is_empty()).unwrap_or_default();
    }
    paragraph
}

/// A line without markdown: heading marks, list marks, emphasis, code quotes, tags.
fn plain(line: &str) -> String {
    let line = line.trim();
    let heading = line.starts_with('#');
    let line = line.trim_start_matches(['#', '>', '*', '-', '•', ' ']);
    let line = line.replace("**", "").replace("__", "").replace('`', "");
    let line = match line.strip_prefix('<') {
        Some(tag) if line.ends_with('>') && !tag.contains(' ') => String::new(),
        _ => line,
    };
    let text = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if heading && !text.is_empty() && !text.ends_with(':') { format!("{text}:") } else { text }
}

/// A short line that names what follows: `Purpose:`, `🎯 Purpose`, `Error Responses:`.
fn is_heading(line: &str) -> bool {
    let words = line.split_whitespace().count();
    let symbol = line.chars().next().is_some_and(|c| !c.is_alphanumeric() && !c.is_ascii());
    (line.ends_with(':') && words <= 5) || (symbol && words <= 4 && !line.ends_with('.'))
}

/// Up to and including the first point that ends a sentence.
fn sentence(paragraph: &str) -> &str {
    for (at, c) in paragraph.char_indices().filter(|(_, c)| matches!(c, '.' | '!' | '?' | '。')) {
        let (before, rest) = paragraph.split_at(at);
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        let ends = after.is_empty()
            || c == '。'
            || (after.starts_with(' ') && !begins_small(after) && !abbreviated(before));
        if ends {
            return paragraph.get(..at + c.len_utf8()).unwrap_or(paragraph);
        }
    }
    paragraph
}

fn begins_small(text: &str) -> bool {
    text.trim_start().chars().next().is_some_and(char::is_lowercase)
}

fn abbreviated(before: &str) -> bool {
    let word = before.rsplit([' ', '(']).next().unwrap_or_default().to_lowercase();
    word.chars().count() == 1 || ABBREVIATIONS.contains(&word.as_str())
}

/// At most `longest` characters, cut between words.
fn shorten(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let kept: String = text.chars().take(longest.saturating_sub(1)).collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if words.len() * 2 > kept.len() => words,
        _ => &kept,
    };
    format!("{}…", kept.trim_end_matches([' ', ',', ';', ':', '—', '-']))
}

#[cfg(test)]
mod tests {
    use super::first_sentence;

    #[track_caller]
    fn check(description: &str, expected: &str) {
        assert_eq!(first_sentence(description, 80), expected);
    }

    #[test]
    fn the_first_sentence_is_found_behind_headings_and_markup() {
        check("", "");
        check("Reads a file. Then more.", "Reads a file.");
        check("Reads files, e.g. text. More", "Reads files, e.g. text.");
        check("Version 2.0 of x.y. Next", "Version 2.0 of x.y.");
        check("Notion | Retrieve a user\nError Responses:\n400: 400", "Notion | Retrieve a user");
        check("🎯 Purpose\n  1. Lists objects.\n🛡️ Guardrails", "1. Lists objects.");
        check("🎯 Purpose:\nLists objects", "Lists objects");
        check("# Heading\n\nThe **bold** `code` text", "The bold code text");
        check("<use_case>\nFinds things\nin places.\n</use_case>", "Finds things in places.");
        check("Purpose:", "Purpose:");
        check("\u{202e}Hidden\u{200b} text", "Hidden text");
        check("句子。第二句", "句子。");
    }

    #[test]
    fn a_long_sentence_is_cut_between_words() {
        let cut = first_sentence(&"word ".repeat(100), 80);
        assert!(cut.chars().count() <= 80 && cut.ends_with("word…"), "{cut}");
        assert_eq!(first_sentence(&"x".repeat(5_000), 10), "xxxxxxxxx…");
    }
}
