//! Samples of several rounds, and the Markdown table that shows them.

use crate::harness::stats::Spread;
use std::fmt::Write as _;

/// One measured quantity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResultColumn {
    /// Its name and unit.
    pub(crate) title: &'static str,
    /// Digits after the point.
    pub(crate) decimals: usize,
    /// Whether it is also shown as a multiple of the first row's.
    pub(crate) ratio: bool,
}

/// The samples of one contender: for each round, one number per column.
#[derive(Clone, Debug)]
pub(crate) struct ContenderRow {
    name: String,
    rounds: Vec<Vec<f64>>,
}

impl ContenderRow {
    /// A row without samples.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rounds: Vec::new() }
    }

    /// Adds the samples of one round.
    pub(crate) fn add<const N: usize>(&mut self, round: [f64; N]) {
        self.rounds.push(round.to_vec());
    }

    fn spread(&self, column: usize) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.get(column).copied()))
    }
}

/// The samples of all contenders. Ratios are to the first row.
#[derive(Clone, Debug)]
pub(crate) struct ResultTable {
    /// What was measured, and how.
    pub(crate) title: String,
    /// What ratios are to, as a heading: the first row.
    pub(crate) base: &'static str,
    pub(crate) columns: Vec<ResultColumn>,
    pub(crate) rows: Vec<ContenderRow>,
}

impl ResultTable {
    /// The table as Markdown: medians, and the greatest deviation from them where there were several rounds.
    pub(crate) fn markdown(&self, setting: &str) -> String {
        let mut text = format!("{}.\n{setting}\n\n| |", self.title);
        for column in &self.columns {
            let _ = write!(text, " {} |", column.title);
            if column.ratio {
                let _ = write!(text, " x {} |", self.base);
            }
        }
        text.push_str("\n|---|");
        let cells: usize = self.columns.iter().map(|column| 1 + usize::from(column.ratio)).sum();
        text.push_str(&"---:|".repeat(cells));
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.name);
            for (index, column) in self.columns.iter().enumerate() {
                let spread = row.spread(index);
                let _ = write!(
                    text,
                    " {} |",
                    spread.map_or("-".to_owned(), |spread| cell(spread, column.decimals))
                );
                if column.ratio {
                    let base = self.rows[0].spread(index).filter(|base| base.median > 0.0);
                    let ratio = spread.zip(base).map(|(own, base)| own.median / base.median);
                    let _ =
                        write!(text, " {} |", ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
                }
            }
        }
        text.push('\n');
        text
    }
}

fn cell(spread: Spread, decimals: usize) -> String {
    let Spread { median, min, max } = spread;
    if min < max && median.abs() > 0.0 {
        let deviation = (max - median).max(median - min) / median.abs() * 100.0;
        format!("{median:.decimals$}±{deviation:.0}%")
    } else {
        format!("{median:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_deviations_and_ratios_are_shown() {
        let mut nginx = ContenderRow::new("nginx");
        let mut other = ContenderRow::new("other");
        for (a, b) in [(10.0, 20.0), (12.0, 26.0), (11.0, 22.0)] {
            nginx.add([a, 0.0]);
            other.add([b, 0.0]);
        }
        let columns = vec![
            ResultColumn { title: "CPU", decimals: 1, ratio: true },
            ResultColumn { title: "failed", decimals: 0, ratio: false },
        ];
        let table = ResultTable { title: "T".to_owned(), base: "nginx", columns, rows: vec![nginx, other] };
        let wanted = "T.\nhere\n\n| | CPU | x nginx | failed |\n|---|---:|---:|---:|\n\
                      | nginx | 11.0±9% | 1.00 | 0 |\n| other | 22.0±18% | 2.00 | 0 |\n";
        assert_eq!(table.markdown("here"), wanted);
    }
}
