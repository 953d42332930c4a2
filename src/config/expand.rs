//! `${VAR}`, `${VAR:-default}` and `${file:PATH}` in string values, expanded after parsing, so that
//! a value can never inject structure.

use std::fs;

use crate::host::environment::Environment;

/// A value after expansion.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// What came from outside the file, and may be secret.
    pub(super) brought_in: Vec<String>,
    /// Whether the whole value was one reference, so that it may stand for another type.
    pub(super) whole: bool,
}

/// Expands every reference in `text`.
///
/// # Errors
/// What cannot be expanded, and what to do; never a value.
pub(super) fn expand(text: &str, env: &Environment) -> Result<Expanded, String> {
    let mut out = Expanded::default();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((reference, after)) = after.split_once('}') else {
            return Err("has `${` without its `}`".into());
        };
        let value = resolve(reference, env)?;
        out.whole = before.is_empty() && out.text.is_empty() && after.is_empty();
        out.text.push_str(before);
        out.text.push_str(&value);
        out.brought_in.push(value);
        rest = after;
    }
    out.text.push_str(rest);
    Ok(out)
}

/// Whether a text has a reference to a variable.
pub(super) fn refers_to(text: &str, variable: &str) -> bool {
    let references = text.split("${").skip(1);
    references
        .filter_map(|rest| rest.strip_prefix(variable))
        .any(|rest| rest.starts_with(['}', ':']))
}

/// Whether a text has `$NAME`, which other systems expand and this one does not.
pub(super) fn has_bare_reference(text: &str) -> bool {
    let begins = |c: char| c.is_ascii_uppercase() || c == '_';
    text.split('$').skip(1).any(|rest| {
        let end = rest.find(|c: char| !begins(c) && !c.is_ascii_digit());
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let whole = !rest.starts_with(|c: char| c.is_ascii_lowercase());
        whole && name.len() > 1 && name.starts_with(begins)
    })
}

fn resolve(reference: &str, env: &Environment) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        return file(path, env);
    }
    if reference.contains("${") {
        return Err("has a reference within a reference, which is not supported".into());
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !named {
        return Err(format!(
            "has `${{{name}}}`, which names no variable; write `${{VAR}}`, `${{VAR:-default}}` or `${{file:PATH}}`"
        ));
    }
    // As in shells, `:-` also replaces an empty value.
    match (env.variables.get(name), default) {
        (Some(value), None) => Ok(value.clone()),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value.clone()),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "needs the environment variable `{name}`, which is not set; set it, or write `${{{name}:-default}}`"
        )),
    }
}

/// The text of a file, without its last line end.
fn file(path: &str, env: &Environment) -> Result<String, String> {
    const LARGEST: u64 = 1024 * 1024;
    let full = env.path(path);
    let unreadable = |why: &str| format!("names the file `{path}`, which cannot be read: {why}");
    match full.metadata() {
        Ok(meta) if !meta.is_file() => return Err(unreadable("it is not a regular file")),
        Ok(meta) if meta.len() > LARGEST => {
            return Err(unreadable(&format!("it is larger than {} MiB", LARGEST >> 20)));
        }
        _ => {}
    }
    let text = fs::read_to_string(full).map_err(|error| unreadable(&error.to_string()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Environment, expand, has_bare_reference};

    fn check(text: &str, expected: Result<&str, &str>) {
        let variables = [("A", "x"), ("EMPTY", ""), ("QUOTE", "\"}, evil: {")];
        let env = Environment {
            variables: variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..Environment::default()
        };
        match (expand(text, &env), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.text, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn bare_references_are_told_from_other_dollars() {
        for text in ["$HOME", "a/$API_KEY/b", "$A1", "${X}$PATH:", "$$HOME", "($_X)"] {
            assert!(has_bare_reference(text), "{text}");
        }
        for text in ["", "$", "$5", "$1A", "US$", "$ref", "$Home", "$A", "${HOME}", "$(PWD)", "^x$"]
        {
            assert!(!has_bare_reference(text), "{text}");
        }
    }

    #[test]
    fn references_are_expanded_where_they_stand() {
        check("plain $A {A}", Ok("plain $A {A}"));
        check("${A}", Ok("x"));
        check("a${A}b${A}c", Ok("axbxc"));
        check("${NO:-d}${EMPTY:-e}${A:-f}", Ok("dex"));
        check("${NO:-}", Ok(""));
        check("${EMPTY}", Ok(""));
        check("${QUOTE}", Ok("\"}, evil: {"));
        check("${NO}", Err("`NO`, which is not set"));
        check("${A", Err("without its `}`"));
        check("${}", Err("names no variable"));
        check("${file:/nowhere/at/all}", Err("cannot be read"));
        check("${file:/dev/zero}", Err("not a regular file"));
        check("${NO:-${A}}", Err("within a reference"));
    }
}
