//! What the router foresaw of requests beside what came: lengths of outputs, and tokens in caches.

use super::quantiles::QuantileSummary;
use super::rounding::four_digits;
use crate::run::{RecordedForecast, RecordedRequest, RecordedRun};
use serde::Serialize;
use std::collections::BTreeMap;

/// Steps of the quantiles at which calibration is shown.
const STEPS: usize = 20;
/// The class of lengths that callers stated: they have no spread.
const STATED: &str = "stated";

/// An answer whose length was foreseen.
#[derive(Clone, Copy, Debug)]
struct ForeseenAnswer {
    forecast: RecordedForecast,
    /// Its true length in tokens.
    came: f64,
    /// Where its length lies in the forecast, if that tells how true the spread of the forecast is.
    rank: Option<f64>,
}

impl ForeseenAnswer {
    fn of(request: &RecordedRequest, classes: &[String]) -> Option<Self> {
        let (forecast, came) = (request.forecast?, request.output_tokens?);
        let cut = request.planned.output.is_some_and(|limit| came >= f64::from(limit));
        let stated = classes[forecast.class as usize] == STATED;
        Some(Self { forecast, came, rank: forecast.rank.filter(|_| !cut && !stated) })
    }
}

/// The figures on forecasts of one run; empty where the file has none.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(crate) struct ForecastFigures {
    /// Each class whose forecasts were used, that with the most answers first.
    pub(crate) classes: Vec<ClassFigures>,
    /// Lengths by what was expected, in doublings.
    pub(crate) lengths: Vec<LengthRow>,
    /// The mean forecast and the mean length that came, by tenths of the forecasts.
    pub(crate) length_tenths: Vec<TenthRow>,
    /// How many answers lay in the central parts of their forecasts.
    pub(crate) coverage: Vec<CoverageRow>,
    /// Answers that have a rank and no part in coverage and calibration: their limit cut them off, or their length was
    /// stated, so that the rank says nothing of the spread of the forecast.
    pub(crate) unranked: u64,
    /// Prompt tokens in caches, if any request has both numbers.
    pub(crate) cached: Option<CacheFigures>,
}

/// A tenth of the answers, sorted by what was predicted.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct TenthRow {
    answers: u64,
    /// The means, in tokens.
    predicted: f64,
    came: f64,
}

/// How many answers lay in the central part of their forecasts.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct CoverageRow {
    /// The part of the forecast's distribution.
    pub(crate) part: f64,
    /// The share of the answers in it; equal to `part` when forecasts are calibrated.
    pub(crate) share: f64,
    /// The shares of the answers below it and above it.
    below: f64,
    above: f64,
}

/// The central parts of which coverage is shown.
const PARTS: [f64; 3] = [0.5, 0.8, 0.95];

/// The answers that were foreseen by one class.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct ClassFigures {
    name: String,
    answers: u64,
    /// The share of the answers whose rank is at most 0, 0.05, 0.1 and so on to 1.
    calibration: Vec<f64>,
    /// Mean of the expected and of the true lengths, in tokens.
    expected: f64,
    came: f64,
    /// How many times longer or shorter than expected the answers were.
    factor: Option<QuantileSummary>,
}

/// The answers of which a length between `from` and twice that was expected.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct LengthRow {
    from: f64,
    answers: u64,
    /// How many answers have a true length of 1, 2 to 3, 4 to 7 tokens and so on.
    came: Vec<u64>,
}

/// Prompt tokens in caches, as predicted and as reported.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct CacheFigures {
    answers: u64,
    predicted: f64,
    reported: f64,
    /// The sum of the differences, each without its sign.
    mispredicted: f64,
    /// The same by what was predicted: none, then in doublings.
    rows: Vec<CacheRow>,
    /// The same by tenths of what was predicted.
    tenths: Vec<TenthRow>,
}

impl CacheFigures {
    /// The reported tokens as a share of the predicted ones.
    pub(crate) fn kept(&self) -> Option<f64> {
        (self.predicted > 0.0).then(|| self.reported / self.predicted)
    }
}

/// The answers of which between `from` and twice that many cached tokens were predicted; 0 stands for none.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct CacheRow {
    from: f64,
    answers: u64,
    predicted: f64,
    reported: f64,
    mispredicted: f64,
}

impl ForecastFigures {
    pub(crate) fn of(run: &RecordedRun) -> Self {
        let names = run.forecast_classes.as_slice();
        let served = run.requests.iter().filter(|r| r.ok);
        let answers: Vec<ForeseenAnswer> = served.filter_map(|r| ForeseenAnswer::of(r, names)).collect();
        let mut classes: BTreeMap<u32, Vec<ForeseenAnswer>> = BTreeMap::new();
        answers.iter().for_each(|answer| classes.entry(answer.forecast.class).or_default().push(*answer));
        let mut classes: Vec<_> =
            classes.into_iter().map(|(class, of)| ClassFigures::of(&names[class as usize], &of)).collect();
        classes.sort_by(|a, b| b.answers.cmp(&a.answers).then_with(|| a.name.cmp(&b.name)));
        let unranked =
            answers.iter().filter(|answer| answer.forecast.rank.is_some() && answer.rank.is_none());
        Self {
            unranked: unranked.count() as u64,
            classes,
            lengths: length_rows(&answers),
            length_tenths: tenths(answers.iter().map(|a| (a.forecast.tokens, a.came)).collect()),
            coverage: coverage(answers.iter().filter_map(|answer| answer.rank).collect()),
            cached: CacheFigures::of(&run.requests),
        }
    }
}

impl ClassFigures {
    fn of(name: &str, answers: &[ForeseenAnswer]) -> Self {
        let mean = |of: fn(&ForeseenAnswer) -> f64| {
            four_digits(answers.iter().map(of).sum::<f64>() / answers.len() as f64)
        };
        let ranks: Vec<f64> = answers.iter().filter_map(|answer| answer.rank).collect();
        let share = |step: usize| {
            let quantile = step as f64 / STEPS as f64;
            // A rank is recorded with fewer digits than a quantile has here.
            let below = ranks.iter().filter(|rank| **rank <= quantile + 1e-6).count();
            four_digits(below as f64 / ranks.len() as f64)
        };
        let factor = |answer: &ForeseenAnswer| {
            (answer.came.max(1.0) / answer.forecast.tokens.max(1.0)).ln().abs().exp()
        };
        Self {
            name: name.to_owned(),
            answers: answers.len() as u64,
            calibration: if ranks.is_empty() { Vec::new() } else { (0..=STEPS).map(share).collect() },
            expected: mean(|answer| answer.forecast.tokens),
            came: mean(|answer| answer.came),
            factor: QuantileSummary::of(answers.iter().map(factor).collect()),
        }
    }
}

/// The means of tenths of `answers`, pairs of a prediction and of what came, by what was predicted. Equal predictions
/// stay together, so there may be fewer than ten.
fn tenths(mut answers: Vec<(f64, f64)>) -> Vec<TenthRow> {
    answers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = answers.len();
    let mut rows = Vec::new();
    let mut from = 0;
    for tenth in 1..=10 {
        let mut until = (n * tenth / 10).max(from);
        while until > from && until < n && answers[until].0 == answers[until - 1].0 {
            until += 1;
        }
        let part = &answers[from..until];
        if !part.is_empty() {
            let mean = |of: fn(&(f64, f64)) -> f64| {
                four_digits(part.iter().map(of).sum::<f64>() / part.len() as f64)
            };
            let (predicted, came) = (mean(|answer| answer.0), mean(|answer| answer.1));
            rows.push(TenthRow { answers: part.len() as u64, predicted, came });
        }
        from = until;
    }
    rows
}

fn coverage(ranks: Vec<f64>) -> Vec<CoverageRow> {
    let share = |inside: &dyn Fn(f64) -> bool| {
        four_digits(ranks.iter().filter(|rank| inside(**rank)).count() as f64 / ranks.len() as f64)
    };
    let row = |part: f64| {
        let (low, high) = ((1.0 - part) / 2.0, (1.0 + part) / 2.0);
        let (below, above) = (share(&|rank| rank < low), share(&|rank| rank > high));
        CoverageRow { part, share: share(&|rank| (low..=high).contains(&rank)), below, above }
    };
    if ranks.is_empty() { Vec::new() } else { PARTS.into_iter().map(row).collect() }
}

/// The doubling that a number of tokens is in.
fn doubling(tokens: f64) -> usize {
    tokens.max(1.0).log2() as usize
}

fn length_rows(answers: &[ForeseenAnswer]) -> Vec<LengthRow> {
    let mut rows: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for answer in answers {
        let (row, column) =
            (rows.entry(doubling(answer.forecast.tokens)).or_default(), doubling(answer.came));
        row.resize(row.len().max(column + 1), 0);
        row[column] += 1;
    }
    let row = |(from, came): (usize, Vec<u64>)| LengthRow {
        from: (from as f64).exp2(),
        answers: came.iter().sum(),
        came,
    };
    rows.into_iter().map(row).collect()
}

impl CacheFigures {
    fn of(requests: &[RecordedRequest]) -> Option<Self> {
        let mut rows: BTreeMap<Option<usize>, CacheRow> = BTreeMap::new();
        let mut answers = Vec::new();
        for request in requests.iter().filter(|r| r.ok) {
            let Some((predicted, reported)) = request.predicted_cached_tokens.zip(request.cached_tokens)
            else {
                continue;
            };
            answers.push((predicted, reported));
            let key = (predicted > 0.0).then(|| doubling(predicted));
            let from = key.map_or(0.0, |key| (key as f64).exp2());
            let row = rows.entry(key).or_insert(CacheRow {
                from,
                answers: 0,
                predicted: 0.0,
                reported: 0.0,
                mispredicted: 0.0,
            });
            row.answers += 1;
            row.predicted += predicted;
            row.reported += reported;
            row.mispredicted += (predicted - reported).abs();
        }
        let rows: Vec<_> = rows.into_values().collect();
        let sum = |of: fn(&CacheRow) -> f64| rows.iter().map(of).sum::<f64>();
        (!rows.is_empty()).then(|| Self {
            answers: rows.iter().map(|row| row.answers).sum(),
            predicted: sum(|row| row.predicted),
            reported: sum(|row| row.reported),
            mispredicted: sum(|row| row.mispredicted),
            rows: rows.clone(),
            tenths: tenths(answers),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::FileKind;

    fn answer(class: u32, tokens: f64, came: f64, rank: f64) -> RecordedRequest {
        RecordedRequest {
            ok: true,
            output_tokens: Some(came),
            forecast: Some(RecordedForecast { class, tokens, rank: Some(rank) }),
            ..RecordedRequest::default()
        }
    }

    fn run(requests: Vec<RecordedRequest>) -> RecordedRun {
        let mut run = RecordedRun::new("r".to_owned(), FileKind::Recorder);
        run.forecast_classes.index(b"fleet");
        run.forecast_classes.index(b"client");
        RecordedRun { requests, ..run }
    }

    #[test]
    fn even_ranks_are_calibrated() {
        let even = (0..100).map(|i| answer(1, 100.0, 200.0, f64::from(i) / 100.0 + 0.005));
        let failed = RecordedRequest { ok: false, ..answer(1, 1.0, 1.0, 0.0) };
        let figures = ForecastFigures::of(&run(even.chain([failed, answer(0, 50.0, 50.0, 0.5)]).collect()));
        let [client, fleet] = &figures.classes[..] else { panic!("{:?}", figures.classes) };
        assert_eq!(
            (client.name.as_str(), client.answers, client.expected, client.came),
            ("client", 100, 100.0, 200.0)
        );
        let ideal: Vec<_> = (0..=STEPS).map(|step| step as f64 / STEPS as f64).collect();
        assert_eq!(client.calibration, ideal);
        assert!((client.factor.unwrap().p50 - 2.0).abs() < 1e-9);
        assert_eq!((fleet.calibration[9], fleet.calibration[10]), (0.0, 1.0));
        let rows: Vec<_> = figures.lengths.iter().map(|row| (row.from, row.answers)).collect();
        assert_eq!(rows, [(32.0, 1), (64.0, 100)]);
        assert_eq!(
            figures.lengths[1].came,
            [0, 0, 0, 0, 0, 0, 0, 100],
            "200 tokens are in the doubling from 128"
        );
    }

    #[test]
    fn ranks_of_answers_at_their_limit_say_nothing() {
        let cut = RecordedRequest {
            planned: crate::run::PlannedLengths { prompt: None, output: Some(200) },
            ..answer(0, 190.0, 200.0, 0.5)
        };
        let figures = ForecastFigures::of(&run(vec![cut, answer(0, 50.0, 90.0, 0.99)]));
        assert_eq!((figures.unranked, figures.coverage[2].share, figures.classes[0].answers), (1, 0.0, 2));
        let figures = ForecastFigures::of(&run(vec![cut]));
        assert!(figures.coverage.is_empty() && figures.classes[0].calibration.is_empty());
    }

    #[test]
    fn tenths_keep_equal_predictions_together() {
        let rows = tenths((0..100).map(|i| (f64::from(i), f64::from(2 * i))).collect());
        assert_eq!(rows.len(), 10);
        assert_eq!(rows[9], TenthRow { answers: 10, predicted: 94.5, came: 189.0 });
        let rows = tenths((0..100).map(|i| (if i < 95 { 0.0 } else { 8.0 }, f64::from(i % 5))).collect());
        let answers: Vec<_> = rows.iter().map(|row| (row.answers, row.predicted)).collect();
        assert_eq!(answers, [(95, 0.0), (5, 8.0)]);
        assert!(tenths(Vec::new()).is_empty());
    }

    #[test]
    fn coverage_counts_both_sides() {
        let rows = coverage((0..100).map(|i| f64::from(i) / 200.0 + 0.0025).collect());
        let half = rows[0];
        assert_eq!((half.part, half.share, half.below, half.above), (0.5, 0.5, 0.5, 0.0));
        assert!(coverage(Vec::new()).is_empty());
    }

    #[test]
    fn only_requests_with_both_numbers_of_cached_tokens_count() {
        let cached = |predicted, reported| RecordedRequest {
            ok: true,
            predicted_cached_tokens: predicted,
            cached_tokens: reported,
            ..RecordedRequest::default()
        };
        let requests = vec![
            cached(Some(0.0), Some(8.0)),
            cached(Some(100.0), Some(64.0)),
            cached(Some(100.0), None),
            cached(None, Some(5.0)),
        ];
        let found = ForecastFigures::of(&run(requests)).cached.unwrap();
        assert_eq!(
            (found.answers, found.predicted, found.reported, found.mispredicted),
            (2, 100.0, 72.0, 44.0)
        );
        assert_eq!(found.rows.iter().map(|row| row.from).collect::<Vec<_>>(), [0.0, 64.0]);
        assert_eq!(ForecastFigures::of(&run(Vec::new())), ForecastFigures::default());
    }
}
