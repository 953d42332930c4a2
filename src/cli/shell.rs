//! Words of a shell's command line.

/// Whether a shell takes a text as one word, as it is.
pub(super) fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+:~".contains(&b))
}

/// A text as one word.
pub(super) fn quoted(word: &str) -> String {
    match is_plain(word) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The text of one word that is plain or was made by [`quoted`].
pub(super) fn unquoted(word: &str) -> Option<String> {
    if is_plain(word) {
        return Some(word.to_owned());
    }
    let inner = word.strip_prefix('\'')?.strip_suffix('\'')?.replace(r"'\''", "\0");
    (!inner.contains('\'')).then(|| inner.replace('\0', "'"))
}
