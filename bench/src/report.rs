//! How figures are shown: a table on the terminal, the same as Markdown, and the sections of `RESULTS.md`.

mod markdown;
mod table;

use crate::results::{Results, RowResult, Verdict};
use crate::rows::{Bar, Unit};

pub use self::markdown::replace_section;
pub use self::table::Table;

/// Makes the table of a comparison.
pub fn comparison_table(results: &Results) -> Table {
    let mut header = vec!["work".to_owned()];
    header.extend(results.contestants.iter().cloned());
    header.extend(["x stock", "x native", "to reach", "reached"].map(str::to_owned));
    let rows = results.rows.iter().map(|row| {
        let mut cells = vec![row.row.title.to_owned()];
        let figures = results.contestants.iter().map(|contestant| {
            row.medians.get(contestant).map_or("-".to_owned(), |&median| figure(row.row.unit, median))
        });
        cells.extend(figures);
        cells.extend([times(row.times_stock), times(row.times_native), bar(row.row.bar), verdict(row)]);
        cells
    });
    Table { rows: std::iter::once(header).chain(rows).collect() }
}

/// Says for each row what state it starts from.
pub fn states(results: &Results) -> String {
    results.rows.iter().map(|row| format!("- {}: {}\n", row.row.title, row.row.before)).collect()
}

/// Writes a figure with its unit, in three digits or so.
pub fn figure(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Seconds => format!("{} s", digits(value)),
        Unit::PerSecond => format!("{}/s", digits(value)),
        Unit::Mebibytes => format!("{} MiB", digits(value)),
    }
}

fn digits(value: f64) -> String {
    match value {
        ..0.1 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{} x", digits(ratio)))
}

fn bar(bar: Option<Bar>) -> String {
    match bar {
        Some(Bar::TimesStock(at_least, stretch)) => format!("{at_least} x ({stretch} x)"),
        Some(Bar::Seconds(at_most, stretch)) => format!("{at_most} s ({stretch} s)"),
        None => String::new(),
    }
}

fn verdict(row: &RowResult) -> String {
    match (row.row.bar, row.verdict) {
        (_, Some(Verdict::Missed)) => "missed",
        (_, Some(Verdict::Reached)) => "reached",
        (_, Some(Verdict::Stretch)) => "stretch",
        (Some(_), None) => "not measured",
        (None, None) => "",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_or_so() {
        assert_eq!(figure(Unit::Seconds, 0.01234), "0.012 s");
        assert_eq!(figure(Unit::Seconds, 1.234), "1.23 s");
        assert_eq!(figure(Unit::PerSecond, 61_234.5), "61234/s");
        assert_eq!(times(None), "-");
    }
}
