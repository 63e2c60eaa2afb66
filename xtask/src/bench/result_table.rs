//! Samples of several rounds, and the table they become.

use crate::harness::stats::median;
use std::fmt::Write as _;

/// One measured quantity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Its name and unit.
    pub(crate) title: &'static str,
    /// Digits after the point.
    pub(crate) decimals: usize,
    /// Whether it is also shown as a multiple of the first row's.
    pub(crate) ratio: bool,
}

/// One contender's samples: for each round, one number per column.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: String,
    rounds: Vec<Vec<f64>>,
}

impl Row {
    /// A row without samples.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rounds: Vec::new() }
    }

    /// Takes in one round.
    pub(crate) fn add<const N: usize>(&mut self, round: [f64; N]) {
        self.rounds.push(round.to_vec());
    }

    fn sorted(&self, column: usize) -> Vec<f64> {
        let mut samples: Vec<f64> =
            self.rounds.iter().filter_map(|round| round.get(column).copied()).collect();
        samples.sort_by(f64::total_cmp);
        samples
    }
}

/// What was measured of everybody. The first row is the measure.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Where it stands on the page.
    pub(crate) name: &'static str,
    /// What was done.
    pub(crate) title: String,
    /// What was measured.
    pub(crate) columns: Vec<Column>,
    /// Who.
    pub(crate) rows: Vec<Row>,
}

impl Table {
    /// The table as Markdown: medians, and the range where there were several rounds.
    pub(crate) fn markdown(&self, setting: &str) -> String {
        let mut text = format!("{}.\n{setting}\n\n| |", self.title);
        for column in &self.columns {
            let _ = write!(text, " {} |", column.title);
            if column.ratio {
                text.push_str(" x nginx |");
            }
        }
        text.push_str("\n|---|");
        let cells: usize = self.columns.iter().map(|column| 1 + usize::from(column.ratio)).sum();
        text.push_str(&"---:|".repeat(cells));
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.name);
            for (index, column) in self.columns.iter().enumerate() {
                self.cell(&mut text, row, (index, *column));
            }
        }
        text.push('\n');
        text
    }

    fn cell(&self, text: &mut String, row: &Row, (index, column): (usize, Column)) {
        let samples = row.sorted(index);
        let digits = column.decimals;
        let (Some(middle), Some(least), Some(most)) = (median(&samples), samples.first(), samples.last())
        else {
            text.push_str(if column.ratio { " - | - |" } else { " - |" });
            return;
        };
        let range = if samples.len() > 1 && least < most {
            format!(" ({least:.digits$}-{most:.digits$})")
        } else {
            String::new()
        };
        let _ = write!(text, " {middle:.digits$}{range} |");
        if column.ratio {
            let measure = self.rows.first().and_then(|first| median(&first.sorted(index)));
            match measure.filter(|measure| *measure > 0.0) {
                Some(measure) => {
                    let _ = write!(text, " {:.2} |", middle / measure);
                }
                None => text.push_str(" - |"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ranges_and_ratios_are_shown() {
        let mut nginx = Row::new("nginx");
        let mut other = Row::new("other");
        for (a, b) in [(10.0, 20.0), (12.0, 26.0), (11.0, 22.0)] {
            nginx.add([a, 0.0]);
            other.add([b, 0.0]);
        }
        let columns = vec![
            Column { title: "CPU", decimals: 1, ratio: true },
            Column { title: "failed", decimals: 0, ratio: false },
        ];
        let table = Table { name: "t", title: "T".to_owned(), columns, rows: vec![nginx, other] };
        let wanted = "T.\nhere\n\n| | CPU | x nginx | failed |\n|---|---:|---:|---:|\n\
                      | nginx | 11.0 (10.0-12.0) | 1.00 | 0 |\n| other | 22.0 (20.0-26.0) | 2.00 | 0 |\n";
        assert_eq!(table.markdown("here"), wanted);
    }
}
