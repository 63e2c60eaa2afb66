//! The arrival rate, and what it will be: Holt's level and trend, with a season once one period of it has been seen.
//!
//! Holt, "Forecasting seasonals and trends by exponentially weighted moving averages" (1957, reprinted in the International
//! Journal of Forecasting 20, 2004), with the damped trend of Gardner and McKenzie (1985) and the multiplicative season of
//! Winters (1960). Two forecasts are kept, with and without the season; the one that was off by less so far is used.

use super::season::Season;
use std::collections::VecDeque;

/// Seconds of arrivals that make one observation.
pub(super) const STEP_SECS: f64 = 10.0;
/// Observations before the rate counts as known.
const FIRST_STEPS: u32 = 3;
/// Smoothing of the level and of the trend, and how much of the trend is left after each step.
const LEVEL_GAIN: f64 = 0.15;
const TREND_GAIN: f64 = 0.03;
const TREND_DAMPING: f64 = 0.97;
/// Observations whose mean a forecast is compared with: the noise of a single one is not what it foretells.
const CHECK_STEPS: usize = 6;
/// How far the slow mean follows one observation: it is that of about half an hour.
const MEAN_GAIN: f64 = 1.0 / 180.0;
/// Decay of the squared errors, per observation: they are those of about an hour.
const ERROR_DECAY: f64 = 0.997;

/// Holt's level and trend, in requests per second and per step.
#[derive(Clone, Copy, Debug, Default)]
struct Holt {
    level: f64,
    trend: f64,
    /// Mean over a longer time, without a trend.
    mean: f64,
    steps: u32,
}

impl Holt {
    fn observe(&mut self, rate: f64) {
        self.steps = self.steps.saturating_add(1);
        self.mean += (rate - self.mean) * MEAN_GAIN.max(f64::from(self.steps).recip());
        if self.steps <= FIRST_STEPS {
            self.level += (rate - self.level) / f64::from(self.steps);
            return;
        }
        let before = self.level;
        let foreseen = before + TREND_DAMPING * self.trend;
        self.level = (foreseen + LEVEL_GAIN * (rate - foreseen)).max(0.0);
        self.trend = TREND_GAIN * (self.level - before) + (1.0 - TREND_GAIN) * TREND_DAMPING * self.trend;
    }

    /// The rate after so many steps.
    fn ahead(&self, steps: usize) -> f64 {
        let reach = (1.0 - TREND_DAMPING.powi(steps as i32)) * TREND_DAMPING / (1.0 - TREND_DAMPING);
        (self.level + reach * self.trend).max(0.0)
    }
}

/// Squared errors of one kind of forecast, relative to the rate that was foreseen.
#[derive(Clone, Copy, Debug, Default)]
struct ForecastError {
    sum: f64,
    weight: f64,
}

impl ForecastError {
    fn add(&mut self, foreseen: f64, came: f64) {
        self.sum = ERROR_DECAY * self.sum + (came - foreseen).powi(2) / foreseen.max(1e-3);
        self.weight = ERROR_DECAY * self.weight + 1.0;
    }

    fn mean(&self) -> Option<f64> {
        (self.weight >= CHECK_STEPS as f64).then(|| self.sum / self.weight)
    }
}

/// What the arrival rate will be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RateForecast {
    /// Requests per second expected after the horizon.
    pub rate: f64,
    /// Standard deviation of what comes from what is expected, in requests per second; 0 until it is known.
    pub deviation: f64,
    /// Whether the season is used.
    pub is_seasonal: bool,
    /// The share of the first period that has been watched, 0 to 1; at 1 the season is known.
    pub season_seen: f64,
}

/// Watches the arrival rate, one step after the other.
#[derive(Clone, Debug)]
pub(super) struct RateForecaster {
    plain: Holt,
    /// Of the rate divided by the season.
    seasonal: Holt,
    season: Season,
    horizon: usize,
    /// What was foreseen for the steps to come, oldest first: without and with the season.
    foreseen: VecDeque<(f64, Option<f64>)>,
    /// The last rates, for comparison.
    recent: VecDeque<f64>,
    errors: [ForecastError; 2],
    /// Seconds since the start at the end of the last step.
    at: f64,
}

impl RateForecaster {
    pub(super) fn new(horizon_secs: f64, period_secs: f64) -> Self {
        let horizon = (horizon_secs / STEP_SECS).ceil().clamp(1.0, 1e4) as usize;
        Self {
            plain: Holt::default(),
            seasonal: Holt::default(),
            season: Season::new(period_secs),
            horizon,
            foreseen: VecDeque::with_capacity(horizon + CHECK_STEPS),
            recent: VecDeque::with_capacity(CHECK_STEPS),
            errors: [ForecastError::default(); 2],
            at: 0.0,
        }
    }

    /// Takes in the rate of a step that ended `at` so many seconds after the start.
    pub(super) fn observe(&mut self, at: f64, rate: f64) {
        self.at = at;
        let middle = at - 0.5 * STEP_SECS;
        self.check(rate);
        self.plain.observe(rate);
        if self.season.is_known() {
            self.seasonal.observe(rate / self.season.factor(middle).max(1e-3));
        }
        let level = if self.seasonal.steps > 0 { self.seasonal.level } else { self.plain.level };
        self.season.learn(middle, rate, level);
        if self.plain.steps >= FIRST_STEPS {
            let seasonal = (self.seasonal.steps >= FIRST_STEPS).then(|| self.with_season());
            self.foreseen.push_back((self.plain.ahead(self.horizon), seasonal));
        }
    }

    /// Compares the mean of the last rates with what was foreseen for them.
    fn check(&mut self, rate: f64) {
        if self.recent.len() == CHECK_STEPS {
            self.recent.pop_front();
        }
        self.recent.push_back(rate);
        if self.foreseen.len() < self.horizon + CHECK_STEPS / 2 {
            return;
        }
        let came = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        let Some((plain, seasonal)) = self.foreseen.pop_front() else { return };
        self.errors[0].add(plain, came);
        if let Some(seasonal) = seasonal {
            self.errors[1].add(seasonal, came);
        }
    }

    fn with_season(&self) -> f64 {
        let then = self.at + self.horizon as f64 * STEP_SECS;
        self.seasonal.ahead(self.horizon) * self.season.factor(then)
    }

    /// The slow mean of the rate, as it is expected to be after `secs`; absent until some steps have been seen.
    pub(super) fn mean_ahead(&self, secs: f64) -> Option<f64> {
        self.rate()?;
        Some(if self.is_seasonal() {
            self.seasonal.mean * self.season.factor(self.at + secs)
        } else {
            self.plain.mean
        })
    }

    /// Whether the forecast with the season was off by less.
    fn is_seasonal(&self) -> bool {
        let [plain, seasonal] = self.errors.map(|error| error.mean());
        seasonal.is_some_and(|error| plain.is_none_or(|plain| error <= plain))
    }

    /// Requests per second at present; absent until some steps have been seen.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.plain.steps >= FIRST_STEPS).then_some(self.plain.level)
    }

    /// What it will be after the horizon.
    pub(super) fn forecast(&self) -> Option<RateForecast> {
        self.rate()?;
        let [plain, seasonal] = self.errors.map(|error| error.mean());
        let is_seasonal = self.is_seasonal();
        let rate = if is_seasonal { self.with_season() } else { self.plain.ahead(self.horizon) };
        let variance = if is_seasonal { seasonal } else { plain }.unwrap_or(0.0);
        let deviation = (variance * rate.max(1e-3)).sqrt();
        Some(RateForecast { rate, deviation, is_seasonal, season_seen: self.season.seen() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HORIZON: f64 = 120.0;

    /// A forecaster that has seen `rate` for so many seconds.
    fn watched(secs: f64, period: f64, rate: impl Fn(f64) -> f64) -> RateForecaster {
        let mut forecaster = RateForecaster::new(HORIZON, period);
        let steps = (secs / STEP_SECS) as usize;
        for step in 1..=steps {
            let end = step as f64 * STEP_SECS;
            forecaster.observe(end, rate(end - 0.5 * STEP_SECS));
        }
        forecaster
    }

    fn near(value: f64, expected: f64, share: f64) {
        assert!((value - expected).abs() <= share * expected.abs(), "{value} is not near {expected}");
    }

    #[test]
    fn rate_is_unknown_before_some_steps() {
        assert_eq!(watched(20.0, 86_400.0, |_| 5.0).forecast(), None);
        near(watched(30.0, 86_400.0, |_| 5.0).rate().unwrap(), 5.0, 1e-9);
    }

    #[test]
    fn trend_is_continued_as_far_as_it_is_trusted() {
        let forecast = watched(3600.0, 86_400.0, |t| 10.0 + t / 600.0).forecast().unwrap();
        assert!(!forecast.is_seasonal);
        // At the end 16/s, in two minutes 16.2.
        near(forecast.rate, 16.2, 0.02);
    }

    #[test]
    fn step_is_followed_within_two_minutes() {
        let after = watched(1920.0, 86_400.0, |t| if t < 1800.0 { 2.0 } else { 8.0 });
        near(after.rate().unwrap(), 8.0, 0.2);
    }

    #[test]
    fn season_is_used_once_a_period_was_seen_and_only_where_it_helps() {
        let period = 7200.0;
        let day = |t: f64| 10.0 + 8.0 * (t / period * std::f64::consts::TAU).sin();
        let first = watched(0.9 * period, period, day).forecast().unwrap();
        assert!(!first.is_seasonal && first.season_seen > 0.85);
        let third = watched(3.0 * period, period, day);
        let forecast = third.forecast().unwrap();
        assert!(forecast.is_seasonal);
        near(forecast.rate, day(3.0 * period + HORIZON), 0.05);
        // A rate that does not repeat: the season of its first period would mislead.
        let odd = watched(3.0 * period, period, |t| if t < period { day(t) } else { 10.0 });
        assert!(!odd.forecast().unwrap().is_seasonal);
    }

    #[test]
    fn silence_is_a_rate_of_zero() {
        let forecast = watched(600.0, 3000.0, |_| 0.0).forecast().unwrap();
        assert_eq!((forecast.rate, forecast.is_seasonal), (0.0, false));
    }
}
