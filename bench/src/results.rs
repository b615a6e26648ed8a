//! The figures of a run: every sample, their medians, and how ours compare.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::machine::Machine;
use crate::rows::{Bar, ROWS, Row, Unit};

/// The contestant everything is about.
pub const OURS: &str = "ours";
/// The contestant the bars refer to.
pub const STOCK: &str = "stock";
/// The contestant that is the limit.
pub const NATIVE: &str = "native";

/// All figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Where and with what it ran.
    pub machine: Machine,
    /// The contestants, in the order of the table's columns.
    pub contestants: Vec<String>,
    /// The rows that were wanted.
    pub rows: Vec<RowResult>,
    /// What was left out or went wrong, each with its reason.
    pub notes: Vec<String>,
}

/// The figures of one row.
#[derive(Debug, Clone, Serialize)]
pub struct RowResult {
    /// What was measured.
    #[serde(flatten)]
    pub row: Row,
    /// All samples, by contestant, in the order they were taken.
    pub samples: BTreeMap<String, Vec<f64>>,
    /// Their medians.
    pub medians: BTreeMap<String, f64>,
    /// How many times better than stock ours is.
    pub times_stock: Option<f64>,
    /// How many times better than native ours is: a fraction when it is slower.
    pub times_native: Option<f64>,
    /// Whether the bar is reached; `None` without a bar or without the figures for it.
    pub verdict: Option<Verdict>,
}

/// How a row stands to its bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Worse than the bar.
    Missed,
    /// At least the bar.
    Reached,
    /// The best that was hoped for.
    Stretch,
}

/// Gathers samples.
#[derive(Debug, Default)]
pub struct Samples {
    by_row: BTreeMap<&'static str, BTreeMap<String, Vec<f64>>>,
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, key: &'static str, contestant: &str, value: f64) {
        self.by_row.entry(key).or_default().entry(contestant.to_owned()).or_default().push(value);
    }

    /// Gives the rows that have samples.
    pub fn rows(mut self) -> Vec<RowResult> {
        ROWS.into_iter().filter_map(|row| Some(RowResult::new(row, self.by_row.remove(row.key)?))).collect()
    }
}

impl RowResult {
    fn new(row: Row, samples: BTreeMap<String, Vec<f64>>) -> RowResult {
        let medians: BTreeMap<String, f64> = samples
            .iter()
            .filter_map(|(contestant, values)| Some((contestant.clone(), median(values)?)))
            .collect();
        let times = |other: &str| {
            let (ours, other) = (*medians.get(OURS)?, *medians.get(other)?);
            let (better, worse) = if row.unit == Unit::PerSecond { (ours, other) } else { (other, ours) };
            (worse > 0.0).then(|| better / worse)
        };
        let (times_stock, times_native) = (times(STOCK), times(NATIVE));
        let verdict = row.bar.and_then(|bar| match bar {
            Bar::TimesStock(at_least, stretch) => {
                times_stock.map(|times| Verdict::of(times >= at_least, times >= stretch))
            }
            Bar::Seconds(at_most, stretch) => {
                medians.get(OURS).map(|&ours| Verdict::of(ours <= at_most, ours <= stretch))
            }
        });
        RowResult { row, samples, medians, times_stock, times_native, verdict }
    }
}

impl Verdict {
    fn of(is_reached: bool, is_stretch: bool) -> Verdict {
        match (is_reached, is_stretch) {
            (_, true) => Verdict::Stretch,
            (true, false) => Verdict::Reached,
            (false, false) => Verdict::Missed,
        }
    }
}

/// Gives the middle value, or the mean of the two in the middle; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    match sorted.len() % 2 {
        0 => Some((sorted[middle - 1] + upper) / 2.0),
        _ => Some(upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &'static str, figures: &[(&str, f64)]) -> RowResult {
        let mut samples = Samples::default();
        for (contestant, value) in figures {
            samples.add(key, contestant, *value);
        }
        samples.rows().remove(0)
    }

    #[test]
    fn the_median_is_not_moved_by_one_slow_run() {
        assert_eq!(median(&[1.0, 90.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 2.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn less_time_and_more_calls_are_better() {
        let find = row("find-cold", &[(OURS, 2.0), (STOCK, 14.0), (NATIVE, 0.5)]);
        assert_eq!((find.times_stock, find.times_native), (Some(7.0), Some(0.25)));
        assert_eq!(find.verdict, Some(Verdict::Reached));
        let random = row("random-read", &[(OURS, 300_000.0), (STOCK, 1_500.0)]);
        assert_eq!((random.times_stock, random.verdict), (Some(200.0), Some(Verdict::Stretch)));
    }

    #[test]
    fn a_bar_in_seconds_needs_no_stock_and_one_in_ratios_does() {
        assert_eq!(row("unmount", &[(OURS, 0.2)]).verdict, Some(Verdict::Reached));
        assert_eq!(row("unmount", &[(OURS, 0.5)]).verdict, Some(Verdict::Missed));
        assert_eq!(row("ready", &[(OURS, 0.2)]).verdict, None);
        assert_eq!(row("tar", &[(OURS, 0.2), (STOCK, 1.0)]).verdict, None);
    }
}
