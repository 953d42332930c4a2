//! Names close to a name that was not found, so that an error can offer them.

/// The most names that are offered.
const OFFERED: usize = 5;

/// Up to five of `known` that resemble `wanted`, best first: the same but for case and
/// separators, one containing the other, or few edits apart.
pub fn near<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = fold(wanted);
    best(known, |name| distance(&wanted, &fold(name)))
}

/// Up to five of `known` that have a part like `word`, best first.
pub fn near_word<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let word = fold(word);
    best(known, |name| {
        let parts = name.split(['-', '_', '.', '/', ' ']);
        parts.filter_map(|part| distance(&word, &fold(part))).min()
    })
}

fn best<'a>(
    known: impl IntoIterator<Item = &'a str>,
    distance: impl Fn(&str) -> Option<usize>,
) -> Vec<&'a str> {
    let scored = known.into_iter().filter_map(|name| Some((distance(name)?, name)));
    let mut scored: Vec<(usize, &str)> = scored.collect();
    scored.sort();
    scored.truncate(OFFERED);
    scored.into_iter().map(|(_, name)| name).collect()
}

/// How far apart two folded names are, or None where they do not resemble each other.
fn distance(wanted: &[char], name: &[char]) -> Option<usize> {
    if wanted.is_empty() || name.is_empty() {
        return None;
    }
    if contains(name, wanted) || contains(wanted, name) {
        return Some(wanted.len().abs_diff(name.len()).min(3));
    }
    let longest = wanted.len().max(name.len());
    // At least this many letters have to be added or removed.
    if wanted.len().abs_diff(name.len()) * 3 > longest {
        return None;
    }
    let edits = edits(wanted, name);
    (edits * 3 <= longest).then_some(edits)
}

fn contains(long: &[char], short: &[char]) -> bool {
    short.len() >= 3 && long.windows(short.len()).any(|window| window == short)
}

/// Levenshtein distance, one row at a time.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let cost = (diagonal + usize::from(x != y)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Lower case, without the separators that people mix up; at most 64 characters, so that a hostile
/// name costs nothing.
fn fold(name: &str) -> Vec<char> {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_' | '.' | '/' | ' '))
        .flat_map(char::to_lowercase)
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{near, near_word};

    #[test]
    fn word_is_compared_with_each_part_of_names() {
        let known = ["read_file", "write-file", "list_directory"];
        assert_eq!(near_word("fiel", known), Vec::<&str>::new());
        assert_eq!(near_word("files", known), ["read_file", "write-file"]);
        assert_eq!(near_word("direktory", known), ["list_directory"]);
    }

    #[test]
    fn resembling_names_are_offered_best_first() {
        let known = ["read_file", "read_files", "write_file", "list_directory"];
        assert_eq!(near("readFile", known), ["read_file", "read_files"]);
        assert_eq!(near("list_dirctory", known), ["list_directory"]);
        assert_eq!(near("zebra", known), Vec::<&str>::new());
        assert_eq!(near("", known), Vec::<&str>::new());
    }
}
