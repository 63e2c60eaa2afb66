//! The plan of a load: which request is sent when, as the flags say.

use super::args::{DatasetArg, SendArgs};
use crate::error::CommandError;
use router_load::{
    BadEntry, Dataset, LoadPlan, PromptSample, RandomShape, read_custom, read_sharegpt, read_trace,
};

/// How many invalid entries of a file are shown; the rest are counted.
const MAX_SHOWN: usize = 5;

pub(super) fn plan(args: &SendArgs) -> Result<LoadPlan, CommandError> {
    let Some(seed) = args.prompt_seed else { return planned(args) };
    if args.dataset_path.is_some() {
        let problem = "prompts of a file are sent as they are; to compare runs, empty the caches of the servers between them";
        return Err(CommandError::flag("--prompt-seed")(problem));
    }
    Ok(planned(args)?.with_prompt_seed(seed))
}

fn planned(args: &SendArgs) -> Result<LoadPlan, CommandError> {
    let streams = streams(args)?;
    let Some(file) = &args.trace else {
        return Ok(LoadPlan::paced(samples(args)?, args.arrivals(), streams, args.seed));
    };
    if !(args.speed.is_finite() && args.speed > 0.0) {
        return Err(CommandError::flag("--speed")("expected a number above 0"));
    }
    let mut trace = read_trace(file).map_err(CommandError::flag("--trace"))?;
    print_invalid(&trace.bad);
    if let Some(requests) = args.num_requests {
        trace.lines.truncate(requests.get());
    }
    Ok(LoadPlan::replay(&trace, args.speed, streams, args.seed))
}

fn streams(args: &SendArgs) -> Result<f64, CommandError> {
    let share = if args.no_stream { 0.0 } else { args.stream.unwrap_or(1.0) };
    let valid = (0.0..=1.0).contains(&share);
    valid.then_some(share).ok_or("expected a share from 0 to 1").map_err(CommandError::flag("--stream"))
}

fn samples(args: &SendArgs) -> Result<Vec<PromptSample>, CommandError> {
    let requests = args.num_requests.map_or(100, usize::from);
    let path = || {
        args.dataset_path
            .as_deref()
            .ok_or("this dataset needs a file")
            .map_err(CommandError::flag("--dataset-path"))
    };
    let read = match args.dataset {
        DatasetArg::Random => return random(args, requests),
        DatasetArg::Sharegpt => read_sharegpt(path()?),
        DatasetArg::Custom => read_custom(path()?, args.output_len),
    };
    let dataset: Dataset = read.map_err(CommandError::flag("--dataset-path"))?;
    print_invalid(&dataset.bad);
    if dataset.samples.len() < requests {
        let prompts = dataset.samples.len();
        eprintln!(
            "sgl-router: the file has only {prompts} prompts; they are repeated, which raises the prefix cache hit rate"
        );
    }
    Ok(dataset.take(requests).collect())
}

fn random(args: &SendArgs, requests: usize) -> Result<Vec<PromptSample>, CommandError> {
    if args.dataset_path.is_some() {
        let problem = "random prompts need no file; use --dataset sharegpt or --dataset custom";
        return Err(CommandError::flag("--dataset-path")(problem));
    }
    if !(0.0..=2.0).contains(&args.range_ratio) {
        return Err(CommandError::flag("--range-ratio")("expected a share from 0 to 2"));
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

/// Prints the invalid entries, which are skipped.
fn print_invalid(bad: &[BadEntry]) {
    for entry in bad.iter().take(MAX_SHOWN) {
        eprintln!("sgl-router: skipped {entry}");
    }
    if bad.len() > MAX_SHOWN {
        eprintln!("sgl-router: skipped {} more", bad.len() - MAX_SHOWN);
    }
}
