//! The figures from which the fleet is scaled, with their reasons.

use router_core::{RateForecast, ScaleUnknown, ScalingSignals, WorkerCapability, WorkersNeeded};
use router_live::{Figure, PoolScale};
use router_telemetry::ScaleGauges;

/// The figures of one pool: value, unit, and the reason, which says why a value is null.
pub(crate) fn figures(of: &ScaleGauges) -> PoolScale {
    let ScaleGauges { pool, model, signals, queue_age } = of;
    let age = queue_age.as_secs_f64();
    let age_reason = if age > 0.0 {
        "the oldest request that waits for admission or for a worker"
    } else {
        "no request waits in the router"
    };
    PoolScale {
        pool: (*pool).to_owned(),
        model: model.as_deref().map(str::to_owned),
        workers: signals.workers,
        saturation: figure(signals.saturation, "share of capacity", |x| *x, |_| saturation_reason(signals)),
        workers_needed: figure(signals.workers_needed, "workers", |needed| needed.workers, needed_reason),
        worker_capacity: figure(
            signals.capability,
            "requests per second",
            |one| one.requests_per_sec,
            capacity_reason,
        ),
        arrival_rate: figure(
            signals.arrival_rate,
            "requests per second",
            |rate| *rate,
            |_| "Holt's level of the arrivals in steps of 10 s".to_owned(),
        ),
        arrival_rate_forecast: figure(
            signals.forecast,
            "requests per second",
            |forecast| forecast.rate,
            forecast_reason,
        ),
        backlog: figure(
            signals.backlog,
            "requests",
            |requests| *requests,
            |_| {
                "requests that wait in the router, and those on workers beyond what the arrival rate explains"
                    .to_owned()
            },
        ),
        queue_age: Figure { value: Some(age), unit: "seconds".to_owned(), reason: age_reason.to_owned() },
    }
}

fn figure<T>(
    of: Result<T, ScaleUnknown>,
    unit: &str,
    value: impl Fn(&T) -> f64,
    reason: impl Fn(&T) -> String,
) -> Figure {
    let unit = unit.to_owned();
    match of {
        Ok(known) => Figure { value: Some(value(&known)), unit, reason: reason(&known) },
        Err(unknown) => Figure { value: None, unit, reason: format!("unknown: {unknown}") },
    }
}

fn saturation_reason(signals: &ScalingSignals) -> String {
    let (Ok(needed), workers) = (signals.workers_needed, signals.workers) else { return String::new() };
    let demand = needed.for_rate + needed.for_backlog;
    format!("the present demand is that of {demand:.2} full workers, and there are {workers}")
}

fn needed_reason(needed: &WorkersNeeded) -> String {
    let WorkersNeeded { for_rate, for_forecast, for_bursts, for_backlog, .. } = needed;
    let bursts = for_bursts.map_or_else(
        || "bursts are not known yet".to_owned(),
        |workers| format!("{workers:.2} for bursts as in the last hour"),
    );
    format!(
        "the most of {for_rate:.2} for the present rate, {for_forecast:.2} for the forecast and {bursts}; and \
         {for_backlog:.2} for the backlog"
    )
}

fn capacity_reason(one: &WorkerCapability) -> String {
    let WorkerCapability { work_secs, load_limit, limit_responses, is_slo_out_of_reach, .. } = one;
    let reach = if *is_slo_out_of_reach {
        "; a usual request misses the SLO even on an idle worker, which more workers do not change"
    } else {
        ""
    };
    format!(
        "a usual request takes {work_secs:.4} s of a worker, and the SLO holds up to a load of {load_limit:.2}, known from \
         {limit_responses:.0} responses and the model{reach}"
    )
}

fn forecast_reason(forecast: &RateForecast) -> String {
    let RateForecast { deviation, is_seasonal, season_seen, .. } = forecast;
    let season = if *is_seasonal {
        "with the daily season".to_owned()
    } else if *season_seen >= 1.0 {
        "without the daily season, which was off by more".to_owned()
    } else {
        format!("without a daily season, of which {:.0} % has been seen", 100.0 * season_seen)
    };
    format!("Holt's level and trend {season}; such forecasts were off by {deviation:.2}")
}
