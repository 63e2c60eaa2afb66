//! What every run told, one line of JSON each, so that a measurement that was broken off goes on where it was.

use super::rows::Figures;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A sender whose 99th percentile of lateness is above this many seconds did not send the planned load.
const LATE_SENDER: f64 = 0.020;

/// When more of the engines' steps than this share are seen over 5 ms late, the machine was too busy.
const LATE_STEPS: f64 = 0.05;

/// What all runs of a file have in common.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Seconds of load after the warm-up.
    pub(crate) secs: u64,
    /// Seconds of load before it.
    pub(crate) warm_up: u64,
    /// Runs at a time.
    pub(crate) lanes: usize,
    /// The seed of the first round.
    pub(crate) seed: u64,
    /// Machine, date and commit at the start.
    pub(crate) place: String,
}

/// CPU time in seconds while the load ran.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cpu {
    /// Of the contender.
    pub(crate) contender: f64,
    /// Of all emulated workers.
    pub(crate) workers: f64,
    /// Of the sender.
    pub(crate) sender: f64,
    /// Wall time meanwhile.
    pub(crate) wall: f64,
}

/// One run: a contender, a case, a round.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The case's name.
    pub(crate) case: String,
    /// The contender's name.
    pub(crate) contender: String,
    /// The version of its program.
    pub(crate) version: String,
    /// The round, from 1; it decides the seed of the load.
    pub(crate) round: u32,
    /// Latencies and failures.
    pub(crate) figures: Figures,
    /// Share of the answers that each worker gave, warm-up included.
    pub(crate) shares: Vec<f64>,
    /// Share of the prompt tokens that were in a cache, warm-up included.
    pub(crate) hits: f64,
    /// Share of the engines' steps that were seen late.
    pub(crate) late_steps: f64,
    /// CPU time.
    pub(crate) cpu: Cpu,
}

impl Record {
    /// Why the run cannot be used, if so: its machine was late, not its contender.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.figures.lateness_p99 > LATE_SENDER {
            return Some(format!("sender late by {:.1} ms at the p99", self.figures.lateness_p99 * 1e3));
        }
        let late = self.late_steps > LATE_STEPS;
        late.then(|| format!("{:.0} % of the engines' steps late", self.late_steps * 100.0))
    }

    /// Whether it is the run of that place in the plan.
    pub(crate) fn is_of(&self, case: &str, contender: &str, round: u32) -> bool {
        self.case == case && self.contender == contender && self.round == round
    }
}

/// The file of a measurement: its setting in the first line, then a run in each.
#[derive(Debug)]
pub(crate) struct Book {
    file: PathBuf,
    /// What all runs have in common.
    pub(crate) setting: Setting,
    /// The runs so far; of a run that was repeated, the last one.
    pub(crate) records: Vec<Record>,
}

impl Book {
    /// Begins a file, or goes on with it where it has the same setting.
    ///
    /// # Errors
    /// The file is of another setting or cannot be written.
    pub(crate) fn open(file: PathBuf, setting: Setting) -> Result<Self> {
        if file.exists() {
            let book = Self::read(file)?;
            let same = Setting { place: book.setting.place.clone(), ..setting } == book.setting;
            if same {
                return Ok(book);
            }
            bail!(
                "{} holds runs of another setting (seconds, lanes or seed); --fresh begins anew, --render \
                 shows what is there",
                book.file.display()
            );
        }
        let book = Self { file, setting, records: Vec::new() };
        let line = serde_json::to_string(&book.setting)? + "\n";
        fs::write(&book.file, line).with_context(|| format!("cannot write {}", book.file.display()))?;
        Ok(book)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is missing or not one of ours.
    pub(crate) fn read(file: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let strange =
            |line: usize| format!("{}:{line} is not of this kind; --fresh begins anew", file.display());
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().with_context(|| strange(1))?;
        let setting = serde_json::from_str(first).with_context(|| strange(1))?;
        let mut records: Vec<Record> = Vec::new();
        for (index, line) in lines {
            let record = serde_json::from_str(line).with_context(|| strange(index + 1))?;
            put(&mut records, record);
        }
        Ok(Self { file, setting, records })
    }

    /// Notes a run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn add(&mut self, record: Record) -> Result<()> {
        let line = serde_json::to_string(&record)? + "\n";
        let appended =
            OpenOptions::new().append(true).open(&self.file).and_then(|mut f| f.write_all(line.as_bytes()));
        appended.with_context(|| format!("cannot write {}", self.file.display()))?;
        put(&mut self.records, record);
        Ok(())
    }

    /// Whether this run is there and can be used.
    pub(crate) fn has(&self, case: &str, contender: &str, round: u32) -> bool {
        self.records.iter().any(|record| record.is_of(case, contender, round) && record.fault().is_none())
    }
}

fn put(records: &mut Vec<Record>, record: Record) {
    records.retain(|old| !old.is_of(&record.case, &record.contender, record.round));
    records.push(record);
}

/// Removes the file of an earlier measurement.
///
/// # Errors
/// It is there and cannot be removed.
pub(crate) fn forget(file: &Path) -> Result<()> {
    if file.exists() {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run that can be used, with the given mean latency.
    pub(crate) fn record(case: &str, contender: &str, round: u32, mean: f64) -> Record {
        let figures = serde_json::json!({"requests": 100, "failed": 0, "failure": null, "mean": mean, "p50": mean,
            "p99": 2.0 * mean, "first_mean": 0.1 * mean, "first_p99": 0.2 * mean, "per_token": 0.01 * mean,
            "lateness_p99": 0.001, "course": [mean, null]});
        Record {
            case: case.to_owned(),
            contender: contender.to_owned(),
            version: "1.0".to_owned(),
            round,
            figures: serde_json::from_value(figures).unwrap(),
            shares: vec![0.5, 0.5],
            hits: 0.0,
            late_steps: 0.0,
            cpu: Cpu::default(),
        }
    }

    pub(crate) fn setting() -> Setting {
        Setting { secs: 20, warm_up: 6, lanes: 4, seed: 1, place: "here".to_owned() }
    }

    #[test]
    fn a_measurement_goes_on_where_it_was_and_repeats_what_was_late() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs.jsonl");
        let mut book = Book::open(file.clone(), setting()).unwrap();
        let mut late = record("a", "x", 2, 1.0);
        late.late_steps = 0.5;
        book.add(record("a", "x", 1, 1.0)).unwrap();
        book.add(late).unwrap();
        let mut again = Book::open(file.clone(), Setting { place: "there".to_owned(), ..setting() }).unwrap();
        assert!(again.has("a", "x", 1) && !again.has("a", "x", 2));
        again.add(record("a", "x", 2, 3.0)).unwrap();
        let read = Book::read(file.clone()).unwrap();
        assert!(read.has("a", "x", 2) && read.records.len() == 2);
        let error = Book::open(file, Setting { secs: 1, ..setting() }).unwrap_err().to_string();
        assert!(error.contains("--fresh"), "{error}");
    }
}
