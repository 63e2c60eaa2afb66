//! The plan of a load: which request is sent when, as the flags say.

use super::args::{DatasetArg, SendArgs};
use crate::error::CommandError;
use router_core::Rng;
use router_load::{
    BadEntry, ClientName, ClientSample, Dataset, LoadPlan, Prompt, PromptSample, PromptSegment, RandomShape,
    ResponseMode, read_custom, read_sharegpt, read_trace,
};
use router_sim::ClientMix;

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
    if let Some(mix) = &args.clients {
        return clients(args, mix);
    }
    let Some(file) = &args.trace else {
        return Ok(LoadPlan::paced(samples(args)?, args.arrivals(), streams.unwrap_or(1.0), args.seed));
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

/// The share of streams that the flags name, if they do.
fn streams(args: &SendArgs) -> Result<Option<f64>, CommandError> {
    let share = if args.no_stream { Some(0.0) } else { args.stream };
    let valid = share.is_none_or(|share| (0.0..=1.0).contains(&share));
    valid.then_some(share).ok_or("expected a share from 0 to 1").map_err(CommandError::flag("--stream"))
}

fn requests(args: &SendArgs) -> usize {
    args.num_requests.map_or(100, usize::from)
}

/// The requests of several clients.
fn clients(args: &SendArgs, mix: &ClientMix) -> Result<LoadPlan, CommandError> {
    let names = mix.clients().iter().map(|client| client.name.parse::<ClientName>());
    let names = names.collect::<Result<Vec<_>, _>>().map_err(CommandError::flag("--clients"))?;
    // Independent of the arrivals, which use the seed itself.
    let mut words = Rng::seeded(args.seed ^ 0x776F_7264_7321_2121);
    let heads: Vec<u64> = names.iter().map(|_| words.next_u64()).collect();
    let samples = mix.requests(requests(args), args.seed).into_iter().map(|request| {
        let client = &mix.clients()[request.client];
        let head = PromptSegment { seed: heads[request.client], tokens: client.shared_tokens };
        let own = PromptSegment { seed: words.next_u64(), tokens: request.own_tokens };
        let sample = PromptSample {
            prompt: Prompt::Made([head, own].into()),
            input_tokens: client.shared_tokens.saturating_add(request.own_tokens),
            output_tokens: request.output_tokens,
        };
        let response_mode = if request.stream { ResponseMode::Streamed } else { ResponseMode::Whole };
        ClientSample { client: request.client, sample, output_limit: client.max_tokens, response_mode }
    });
    Ok(LoadPlan::of_clients(names, samples, args.arrivals(), args.seed))
}

fn samples(args: &SendArgs) -> Result<Vec<PromptSample>, CommandError> {
    let requests = requests(args);
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
