//! Tables with aligned columns.

use std::fmt::Write as _;

/// Rows of cells, the header first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// All rows; each has as many cells as the first.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Writes it for a terminal: columns aligned, figures to the right.
    pub fn to_text(&self) -> String {
        self.write("", "  ", "", false)
    }

    /// Writes it as Markdown.
    pub fn to_markdown(&self) -> String {
        self.write("| ", " | ", " |", true)
    }

    fn write(&self, before: &str, between: &str, after: &str, has_rule: bool) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
            })
            .collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                0 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
            let line = format!("{before}{}{after}", cells.collect::<Vec<_>>().join(between));
            text.push_str(line.trim_end());
            text.push('\n');
            if has_rule && number == 0 {
                let rules = widths.iter().enumerate().map(|(column, &width)| match column {
                    0 => "-".repeat(width),
                    _ => format!("{}:", "-".repeat(width - 1)),
                });
                // Writing to a string does not fail.
                let _ = writeln!(text, "{before}{}{after}", rules.collect::<Vec<_>>().join(between));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let rows = [["work", "ours"], ["find", "2.25 s"], ["ls -lR", "10 s"]];
        Table { rows: rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect() }
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(table().to_text(), "work      ours\nfind    2.25 s\nls -lR    10 s\n");
    }

    #[test]
    fn markdown_has_a_rule_below_the_header() {
        let expected = "| work   |   ours |\n| ------ | -----: |\n| find   | 2.25 s |\n| ls -lR |   10 s |\n";
        assert_eq!(table().to_markdown(), expected);
    }
}
