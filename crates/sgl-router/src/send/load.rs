//! From flags to a plan: what is sent when.

use super::args::{DatasetArg, SendArgs};
use crate::cli::CommandError;
use router_load::{
    BadEntry, Dataset, DatasetError, LoadPlan, PromptSample, RandomShape, read_custom, read_sharegpt,
    read_trace,
};

/// How many bad entries of a file are shown; the rest are counted.
const SHOWN: usize = 5;

pub(super) fn plan(args: &SendArgs) -> Result<LoadPlan, CommandError> {
    let streams = streams(args)?;
    let Some(file) = &args.trace else {
        return Ok(LoadPlan::paced(samples(args)?, args.arrivals(), streams, args.seed));
    };
    if !(args.speed.is_finite() && args.speed > 0.0) {
        return Err(CommandError::Usage("--speed must be above 0".to_owned()));
    }
    let mut trace = read_trace(file).map_err(|e| wrong("--trace", &e))?;
    tell(&trace.bad);
    if let Some(requests) = args.num_requests {
        trace.lines.truncate(requests.get());
    }
    Ok(LoadPlan::replay(&trace, args.speed, streams, args.seed))
}

fn streams(args: &SendArgs) -> Result<f64, CommandError> {
    let share = if args.no_stream { 0.0 } else { args.stream.unwrap_or(1.0) };
    let valid = (0.0..=1.0).contains(&share);
    valid.then_some(share).ok_or_else(|| CommandError::Usage("--stream is a share from 0 to 1".to_owned()))
}

fn samples(args: &SendArgs) -> Result<Vec<PromptSample>, CommandError> {
    let requests = args.num_requests.map_or(100, usize::from);
    let path = || {
        args.dataset_path
            .as_deref()
            .ok_or_else(|| CommandError::Usage("--dataset-path: this dataset needs a file".to_owned()))
    };
    let read = match args.dataset {
        DatasetArg::Random => return random(args, requests),
        DatasetArg::Sharegpt => read_sharegpt(path()?),
        DatasetArg::Custom => read_custom(path()?, args.output_len),
    };
    let dataset: Dataset = read.map_err(|e| wrong("--dataset-path", &e))?;
    tell(&dataset.bad);
    if dataset.samples.len() < requests {
        let held = dataset.samples.len();
        eprintln!(
            "sgl-router: the file holds {held} prompts, so they are sent more than once; caches will like it"
        );
    }
    Ok(dataset.take(requests).collect())
}

fn random(args: &SendArgs, requests: usize) -> Result<Vec<PromptSample>, CommandError> {
    if args.dataset_path.is_some() {
        let problem = "--dataset-path: random prompts need no file; say --dataset sharegpt or custom";
        return Err(CommandError::Usage(problem.to_owned()));
    }
    if !(0.0..=2.0).contains(&args.range_ratio) {
        return Err(CommandError::Usage("--range-ratio is a share from 0 to 2".to_owned()));
    }
    let shape = RandomShape {
        requests,
        input_len: args.input_len,
        output_len: args.output_len,
        range_ratio: args.range_ratio,
        ..RandomShape::default()
    };
    Ok(shape.samples(args.seed))
}

fn wrong(flag: &str, error: &DatasetError) -> CommandError {
    CommandError::Usage(format!("{flag}: {error}"))
}

/// Entries that are left out.
fn tell(bad: &[BadEntry]) {
    for entry in bad.iter().take(SHOWN) {
        eprintln!("sgl-router: left out {entry}");
    }
    if bad.len() > SHOWN {
        eprintln!("sgl-router: left out {} more", bad.len() - SHOWN);
    }
}
