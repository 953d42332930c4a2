//! How large a regular expression becomes when it is compiled.

/// About how many states the pattern has: what it is made of, with repetitions spelled out.
pub(super) fn states(pattern: &str) -> u64 {
    let mut groups = Groups::default();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                let class = rest.next();
                groups.atom(if matches!(class, Some('p' | 'P')) { LARGE_CLASS } else { 1 });
            }
            '[' => groups.atom(class(&mut rest)),
            '.' => groups.atom(CLASS),
            '(' => groups.open(),
            ')' => groups.close(),
            '{' => {
                let count: String =
                    std::iter::from_fn(|| rest.next_if(|c| c.is_ascii_digit() || *c == ','))
                        .collect();
                match rest.peek() {
                    Some('}') if !count.is_empty() => {
                        rest.next();
                        groups.repeat(&count);
                    }
                    _ => groups.atom(1 + count.len() as u64),
                }
            }
            _ => groups.atom(1),
        }
    }
    groups.whole()
}

/// States of a class of characters outside ASCII.
const CLASS: u64 = 10;

/// States of a class such as all letters.
const LARGE_CLASS: u64 = 400;

/// The states of a class in brackets; takes what is left of it.
fn class(rest: &mut impl Iterator<Item = char>) -> u64 {
    let mut states = 2;
    let mut first = true;
    while let Some(c) = rest.next() {
        match c {
            ']' if !first => break,
            '^' if first => states += CLASS,
            '\\' if matches!(rest.next(), Some('p' | 'P')) => states += LARGE_CLASS,
            c if !c.is_ascii() => states += CLASS,
            _ => {}
        }
        first = false;
    }
    states
}

/// The groups that are open: the states of each so far, and of its last part.
#[derive(Default)]
struct Groups {
    outer: Vec<(u64, u64)>,
    sum: u64,
    last: u64,
}

impl Groups {
    fn atom(&mut self, states: u64) {
        self.sum = self.sum.saturating_add(states);
        self.last = states;
    }

    fn open(&mut self) {
        self.outer.push((self.sum, self.last));
        (self.sum, self.last) = (1, 0);
    }

    fn close(&mut self) {
        let group = self.sum;
        (self.sum, self.last) = self.outer.pop().unwrap_or_default();
        self.atom(group);
    }

    fn repeat(&mut self, count: &str) {
        let times = count.split(',').filter(|bound| !bound.is_empty());
        let times = times.map(|bound| bound.parse().unwrap_or(u64::MAX)).max().unwrap_or(1);
        let more = self.last.saturating_mul(times.saturating_sub(1));
        self.sum = self.sum.saturating_add(more);
        self.last = self.last.saturating_add(more);
    }

    fn whole(mut self) -> u64 {
        while !self.outer.is_empty() {
            self.close();
        }
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::states;

    #[test]
    fn repetitions_multiply() {
        assert_eq!(states("abc"), 3);
        assert_eq!(states("a{1000}"), 1000);
        assert!(states("(a{1000}){1000}") > 1_000_000);
        assert!(states("((((a{9}){9}){9}){9}){9}") > 9_u64.pow(5));
        assert!(states(r"\p{L}{100}") > 100);
        assert!(states("(a{99999999999999999999}){99999999999999999999}") > u64::MAX / 2);
        assert!(states(r"^\d{4}-\d{2}-\d{2}T[0-9:]{8}(\.\d+)?Z$") < 50);
        assert!(states("^[a-zA-Z0-9_-]{1,128}$") < 500);
        assert!(states("((((") < 10);
        assert!(states("[]a]{3}[^]x") < 50);
        assert_eq!(states("a{x}"), 4);
    }
}
