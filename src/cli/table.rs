//! Tables without lines, for people. No word is broken to fit the width.

use unicode_width::UnicodeWidthStr;

/// The lines of a table. Text is wrapped between words to fit `width`; columns that still do not fit
/// continue on further lines of their row.
pub(super) fn lines(
    header: &Vec<String>,
    rows: &[Vec<String>],
    width: Option<usize>,
) -> Vec<String> {
    let all: Vec<&Vec<String>> = std::iter::once(header).chain(rows).collect();
    let columns: Vec<Column> = (0..header.len()).map(|index| Column::of(&all, index)).collect();
    let groups = groups(columns, width.unwrap_or(usize::MAX));
    all.iter().flat_map(|row| groups.iter().flat_map(|group| group.lines(row))).collect()
}

struct Column {
    index: usize,
    /// The width with every text on one line.
    natural: usize,
    /// The width of the longest word.
    least: usize,
    width: usize,
}

impl Column {
    fn of(rows: &[&Vec<String>], index: usize) -> Self {
        let cells = || rows.iter().filter_map(|row| row.get(index));
        let natural = cells().map(|text| text.width()).max().unwrap_or(0);
        let words = cells().flat_map(|text| text.split(' ').map(UnicodeWidthStr::width));
        Self { index, natural, least: words.max().unwrap_or(0), width: natural }
    }
}

/// Columns that share a line.
struct Group {
    columns: Vec<Column>,
    indent: usize,
}

/// One blank on each side of a column.
const PADDING: usize = 2;

/// How far the further lines of a row are indented.
const INDENT: usize = 4;

/// Puts as many columns into a line as fit.
fn groups(columns: Vec<Column>, width: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut left = 0;
    for column in columns {
        let needs = column.least + PADDING;
        match groups.last_mut() {
            Some(group) if needs <= left => {
                group.columns.push(column);
                left -= needs;
            }
            _ => {
                let indent = if groups.is_empty() { 0 } else { INDENT };
                groups.push(Group { columns: vec![column], indent });
                left = width.saturating_sub(indent + needs);
            }
        }
    }
    groups.iter_mut().for_each(|group| group.share(width));
    groups
}

impl Group {
    /// Gives each column the width of its longest word, and the rest to the columns that lack most.
    fn share(&mut self, width: usize) {
        let padding = self.columns.len() * PADDING + self.indent;
        let natural: usize = self.columns.iter().map(|column| column.natural).sum();
        let available = width.saturating_sub(padding);
        if natural <= available {
            return;
        }
        let least: usize = self.columns.iter().map(|column| column.least).sum();
        self.columns.iter_mut().for_each(|column| column.width = column.least);
        for _ in least..available {
            let lacking =
                self.columns.iter_mut().max_by_key(|column| column.natural - column.width);
            if let Some(column) = lacking {
                column.width += 1;
            }
        }
    }

    /// The part of a row that is in these columns.
    fn lines(&self, row: &[String]) -> Vec<String> {
        let cell = |column: &Column| {
            let text = row.get(column.index).map_or("", String::as_str);
            (column.width, wrapped(text, column.width))
        };
        let cells: Vec<(usize, Vec<String>)> = self.columns.iter().map(cell).collect();
        let height = cells.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
        (0..height).map(|index| self.line(&cells, index)).collect()
    }

    fn line(&self, cells: &[(usize, Vec<String>)], index: usize) -> String {
        let mut line = " ".repeat(self.indent);
        for (width, lines) in cells {
            let text = lines.get(index).map_or("", String::as_str);
            let filling = width.saturating_sub(text.width());
            line.push_str(&format!(" {text}{} ", " ".repeat(filling)));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// A text in lines of at most this width; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::lines;

    fn check(width: Option<usize>, rows: &[&[&str]], expected: &[&str]) {
        let owned = |row: &&[&str]| row.iter().map(|&text| text.to_owned()).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(owned).collect();
        let (header, rows) = rows.split_first().unwrap();
        assert_eq!(lines(header, rows, width), expected);
    }

    const ROWS: [&[&str]; 2] = [&["NAME", "WHAT IT IS"], &["filesystem", "reads and writes files"]];

    #[test]
    fn what_fits_is_one_line_a_row() {
        let expected = [" NAME        WHAT IT IS", " filesystem  reads and writes files"];
        check(None, &ROWS, &expected);
        check(Some(36), &ROWS, &expected);
    }

    #[test]
    fn texts_are_wrapped_between_words() {
        let expected = [
            " NAME        WHAT IT",
            "             IS",
            " filesystem  reads",
            "             and",
            "             writes",
            "             files",
        ];
        check(Some(21), &ROWS, &expected);
    }

    #[test]
    fn columns_that_do_not_fit_go_on_below() {
        let expected =
            [" NAME", "     WHAT IT IS", " filesystem", "     reads and", "     writes files"];
        check(Some(18), &ROWS, &expected);
    }

    #[test]
    fn words_are_never_broken() {
        check(Some(3), &[&["A"], &["longer than this"]], &[" A", " longer", " than", " this"]);
        check(Some(10), &[&["A"], &[""]], &[" A", ""]);
        check(None, &[&["你", "B"], &["x", "y"]], &[" 你  B", " x   y"]);
    }
}
