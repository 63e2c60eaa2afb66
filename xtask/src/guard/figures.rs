//! The figures: one line per piece in a file that a diff shows well, and two of them side by side.

use anyhow::{Context, Error, Result, bail};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A figure may be this many times the stored one.
const MORE: f64 = 1.1;
/// Below this share of the stored figure the new one should be stored, so that the gain is kept.
const LESS: f64 = 0.9;

/// What the first lines of the file say.
const HEAD: &str = "# Instructions per call, counted by callgrind. Written by `cargo xtask guard --store`; see CONTRIBUTING.md.\n";
const COMPILER: &str = "# compiler: ";

/// Instructions per call, by piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Figures {
    compiler: String,
    by_piece: BTreeMap<String, u64>,
}

impl Figures {
    /// Figures of a program that this compiler built.
    pub(super) fn new(compiler: &str, counted: Vec<(String, u64)>) -> Self {
        Self { compiler: compiler.to_owned(), by_piece: counted.into_iter().collect() }
    }

    /// Those of the wanted pieces.
    pub(super) fn only(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        self.by_piece.retain(|name, _| wanted(name));
        self
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}{COMPILER}{}", self.compiler)?;
        self.by_piece.iter().try_for_each(|(name, figure)| writeln!(f, "{name:<42} {figure:>10}"))
    }
}

impl FromStr for Figures {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let compiler =
            text.lines().find_map(|line| line.strip_prefix(COMPILER)).context("no compiler is named")?;
        let mut by_piece = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, figure) = line.rsplit_once(' ').with_context(|| format!("not a figure: {line}"))?;
            let figure = figure.parse().with_context(|| format!("not a figure: {line}"))?;
            if by_piece.insert(name.trim_end().to_owned(), figure).is_some() {
                bail!("a second figure: {line}");
            }
        }
        Ok(Self { compiler: compiler.to_owned(), by_piece })
    }
}

/// How a figure stands to the stored one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Same,
    /// So much less that it should be stored.
    Less,
    More,
    /// Only one of the two is there.
    New,
    Gone,
}

impl Verdict {
    fn of(stored: Option<u64>, now: Option<u64>) -> Self {
        match (stored, now) {
            (Some(stored), Some(now)) => match ratio(stored, now) {
                ratio if ratio > MORE => Self::More,
                ratio if ratio < LESS => Self::Less,
                _ => Self::Same,
            },
            (None, _) => Self::New,
            (Some(_), None) => Self::Gone,
        }
    }

    const fn note(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Less => "  less: store it",
            Self::More => "  MORE THAN 10 %",
            Self::New => "  NOT STORED",
            Self::Gone => "  NO SUCH PIECE",
        }
    }

    const fn fails(self) -> bool {
        matches!(self, Self::More | Self::New | Self::Gone)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn ratio(stored: u64, now: u64) -> f64 {
    now as f64 / stored.max(1) as f64
}

/// Stored and new figures side by side.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    compilers: Option<String>,
    rows: Vec<ComparedPiece>,
}

#[derive(Clone, Debug)]
struct ComparedPiece {
    name: String,
    stored: Option<u64>,
    now: Option<u64>,
}

impl Comparison {
    /// Puts the two side by side.
    pub(super) fn new(stored: &Figures, now: &Figures) -> Self {
        let compilers = (stored.compiler != now.compiler)
            .then(|| format!("stored with {}, counted with {}", stored.compiler, now.compiler));
        let mut names: Vec<&String> = stored.by_piece.keys().chain(now.by_piece.keys()).collect();
        names.sort();
        names.dedup();
        let row = |name: &String| ComparedPiece {
            name: name.clone(),
            stored: stored.by_piece.get(name).copied(),
            now: now.by_piece.get(name).copied(),
        };
        Self { compilers, rows: names.into_iter().map(row).collect() }
    }

    /// Whether no piece takes more than it may, and all of them are stored.
    pub(super) fn holds(&self) -> bool {
        !self.rows.iter().any(|row| Verdict::of(row.stored, row.now).fails())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(compilers) = &self.compilers {
            writeln!(f, "another compiler, which may explain a difference: {compilers}")?;
        }
        writeln!(f, "{:<42} {:>10} {:>10} {:>6}", "instructions per call", "stored", "now", "ratio")?;
        for ComparedPiece { name, stored, now } in &self.rows {
            let cell = |figure: &Option<u64>| figure.map_or("-".to_owned(), |figure| figure.to_string());
            let ratio =
                stored.zip(*now).map_or("-".to_owned(), |(stored, now)| format!("{:.2}", ratio(stored, now)));
            let note = Verdict::of(*stored, *now).note();
            writeln!(f, "{name:<42} {:>10} {:>10} {ratio:>6}{note}", cell(stored), cell(now))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(counted: &[(&str, u64)]) -> Figures {
        Figures::new("rustc 1", counted.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect())
    }

    #[test]
    fn written_figures_are_read_back() {
        let written = figures(&[("scan/600B", 6075), ("decision/round_robin/8", 1150)]);
        assert_eq!(written.to_string().parse::<Figures>().unwrap(), written);
        let error = "# compiler: a\nscan 1\nscan 2\n".parse::<Figures>().unwrap_err().to_string();
        assert_eq!(error, "a second figure: scan 2");
    }

    #[test]
    fn more_than_a_tenth_fails() {
        let stored = figures(&[("a", 1000)]);
        for (now, holds, note) in [(1100, true, "1.10\n"), (1101, false, "MORE"), (899, true, "store it")] {
            let comparison = Comparison::new(&stored, &figures(&[("a", now)]));
            assert_eq!(comparison.holds(), holds, "{now}");
            assert!(comparison.to_string().contains(note), "{comparison}");
        }
    }

    #[test]
    fn every_piece_must_be_stored() {
        let (one, two) = (figures(&[("a", 1)]), figures(&[("a", 1), ("b", 1)]));
        assert!(!Comparison::new(&one, &two).holds(), "a new piece");
        assert!(!Comparison::new(&two, &one).holds(), "a piece that is gone");
    }

    #[test]
    fn another_compiler_is_named() {
        let mut other = figures(&[("a", 1)]);
        other.compiler = "rustc 2".to_owned();
        let comparison = Comparison::new(&figures(&[("a", 1)]), &other);
        assert!(comparison.holds() && comparison.to_string().contains("rustc 1, counted with rustc 2"));
    }
}
