//! The file with the result of every run, one line of JSON each, so that an interrupted measurement can be continued.

use super::rows::RunFigures;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A sender whose 99th percentile of lateness, in seconds, is above this did not send the planned load.
const LATE_SENDER: f64 = 0.020;

/// If more than this share of the engines' steps are seen over 5 ms late, the machine was too busy.
const LATE_STEPS: f64 = 0.05;

/// What all runs of a file share.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct RunSettings {
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
pub(crate) struct CpuSeconds {
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
pub(crate) struct RunRecord {
    /// The case's name.
    pub(crate) case: String,
    /// The contender's name.
    pub(crate) contender: String,
    /// The version of the program.
    pub(crate) version: String,
    /// The round, from 1; it decides the seed of the load.
    pub(crate) round: u32,
    /// Latencies and failures.
    pub(crate) figures: RunFigures,
    /// Share of the requests that each worker completed, warm-up included.
    pub(crate) shares: Vec<f64>,
    /// Share of the prompt tokens found in a cache, warm-up included.
    pub(crate) hits: f64,
    /// Share of the engines' steps that were seen late.
    pub(crate) late_steps: f64,
    /// CPU time.
    pub(crate) cpu: CpuSeconds,
}

impl RunRecord {
    /// Why the run cannot be used: the machine was too busy. `None` where it can.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.figures.lateness_p99 > LATE_SENDER {
            return Some(format!("sender late by {:.1} ms at the p99", self.figures.lateness_p99 * 1e3));
        }
        let late = self.late_steps > LATE_STEPS;
        late.then(|| format!("{:.0} % of the engines' steps late", self.late_steps * 100.0))
    }

    /// Whether it is the run of this case, contender and round.
    pub(crate) fn is_of(&self, case: &str, contender: &str, round: u32) -> bool {
        self.case == case && self.contender == contender && self.round == round
    }
}

/// The file of a measurement: its settings in the first line, then one run per line.
#[derive(Debug)]
pub(crate) struct RunLog {
    file: PathBuf,
    /// What all runs share.
    pub(crate) settings: RunSettings,
    /// The runs so far; of a repeated run the last one.
    pub(crate) records: Vec<RunRecord>,
}

impl RunLog {
    /// Opens a file that has the same settings, or creates it.
    ///
    /// # Errors
    /// The file has other settings or cannot be written.
    pub(crate) fn open(file: PathBuf, settings: RunSettings) -> Result<Self> {
        if file.exists() {
            let log = Self::read(file)?;
            let same = RunSettings { place: log.settings.place.clone(), ..settings } == log.settings;
            if same {
                return Ok(log);
            }
            bail!(
                "{} has runs with other settings (seconds, lanes or seed); --fresh starts over, --render shows \
                 these runs",
                log.file.display()
            );
        }
        let log = Self { file, settings, records: Vec::new() };
        let line = serde_json::to_string(&log.settings)? + "\n";
        fs::write(&log.file, line).with_context(|| format!("cannot write {}", log.file.display()))?;
        Ok(log)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is missing or has another format.
    pub(crate) fn read(file: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let unknown_format =
            |line: usize| format!("{}:{line} has another format; --fresh starts over", file.display());
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().with_context(|| unknown_format(1))?;
        let settings = serde_json::from_str(first).with_context(|| unknown_format(1))?;
        let mut records: Vec<RunRecord> = Vec::new();
        for (index, line) in lines {
            let record = serde_json::from_str(line).with_context(|| unknown_format(index + 1))?;
            replace(&mut records, record);
        }
        Ok(Self { file, settings, records })
    }

    /// Adds a run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn add(&mut self, record: RunRecord) -> Result<()> {
        let line = serde_json::to_string(&record)? + "\n";
        let appended =
            OpenOptions::new().append(true).open(&self.file).and_then(|mut f| f.write_all(line.as_bytes()));
        appended.with_context(|| format!("cannot write {}", self.file.display()))?;
        replace(&mut self.records, record);
        Ok(())
    }

    /// Whether this run is present and usable.
    pub(crate) fn has(&self, case: &str, contender: &str, round: u32) -> bool {
        self.records.iter().any(|record| record.is_of(case, contender, round) && record.fault().is_none())
    }
}

fn replace(records: &mut Vec<RunRecord>, record: RunRecord) {
    records.retain(|old| !old.is_of(&record.case, &record.contender, record.round));
    records.push(record);
}

/// Removes the file of an earlier measurement.
///
/// # Errors
/// It is there and cannot be removed.
pub(crate) fn remove(file: &Path) -> Result<()> {
    if file.exists() {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A usable run with the given mean latency.
    pub(crate) fn record(case: &str, contender: &str, round: u32, mean: f64) -> RunRecord {
        let figures = serde_json::json!({"requests": 100, "failed": 0, "failure": null, "mean": mean, "p50": mean,
            "p99": 2.0 * mean, "first_mean": 0.1 * mean, "first_p99": 0.2 * mean, "per_token": 0.01 * mean,
            "lateness_p99": 0.001, "course": [mean, null]});
        RunRecord {
            case: case.to_owned(),
            contender: contender.to_owned(),
            version: "1.0".to_owned(),
            round,
            figures: serde_json::from_value(figures).unwrap(),
            shares: vec![0.5, 0.5],
            hits: 0.0,
            late_steps: 0.0,
            cpu: CpuSeconds::default(),
        }
    }

    pub(crate) fn settings() -> RunSettings {
        RunSettings { secs: 20, warm_up: 6, lanes: 4, seed: 1, place: "here".to_owned() }
    }

    #[test]
    fn late_runs_are_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs.jsonl");
        let mut log = RunLog::open(file.clone(), settings()).unwrap();
        let mut late = record("a", "x", 2, 1.0);
        late.late_steps = 0.5;
        log.add(record("a", "x", 1, 1.0)).unwrap();
        log.add(late).unwrap();
        let mut again =
            RunLog::open(file.clone(), RunSettings { place: "there".to_owned(), ..settings() }).unwrap();
        assert!(again.has("a", "x", 1) && !again.has("a", "x", 2));
        again.add(record("a", "x", 2, 3.0)).unwrap();
        let read = RunLog::read(file.clone()).unwrap();
        assert!(read.has("a", "x", 2) && read.records.len() == 2);
        let error = RunLog::open(file, RunSettings { secs: 1, ..settings() }).unwrap_err().to_string();
        assert!(error.contains("--fresh"), "{error}");
    }
}
