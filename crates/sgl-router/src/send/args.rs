//! The flags of `send`.

use clap::{Args, ValueEnum};
use router_load::{ApiEndpoint, ArrivalProcess, RequestFormat, RequestRate, StopRule};
use router_sim::ClientMix;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

/// The flags of `send`.
#[derive(Debug, Args)]
#[command(after_help = "Ctrl-C stops the load and writes the results so far.")]
pub(crate) struct SendArgs {
    /// Router or engine to send to
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:30000")]
    pub(crate) router_url: String,

    /// How many requests to send [default: 100, or the whole trace]
    #[arg(long, value_name = "N")]
    pub(crate) num_requests: Option<NonZeroUsize>,

    /// Source of the prompts
    #[arg(long, value_enum, default_value_t = DatasetArg::Random)]
    pub(crate) dataset: DatasetArg,

    /// File of the dataset: ShareGPT's JSON, or JSON Lines with prompt and output_len
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset_path: Option<PathBuf>,

    /// Clients with requests of their own, as NAME:MEMBER=VALUE,MEMBER=VALUE;NAME:...; the members are share (of the requests,
    /// relative to the others), input-len and output-len (N, LOW..HIGH or lognormal:MEAN:SIGMA[:MAX]), and, if needed, prefix-len
    /// (tokens that all its prompts share), max-tokens (its limit; the longest output if absent) and stream (share, all if absent)
    #[arg(long, value_name = "CLIENTS", conflicts_with_all = ["dataset", "dataset_path", "input_len", "output_len",
        "range_ratio", "trace", "stream", "no_stream", "stop_at_eos"])]
    pub(crate) clients: Option<ClientMix>,

    /// Mean length of a random prompt in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) input_len: u32,

    /// Mean response length in tokens, for random prompts and for custom prompts without a length
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) output_len: u32,

    /// Width of the range of random lengths relative to the mean: 0.5 = from 75 % to 125 % of the mean
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub(crate) range_ratio: f64,

    /// Requests per second, on average; inf = as fast as possible
    #[arg(long, value_name = "PER_SEC", default_value = "10")]
    pub(crate) request_rate: RateArg,

    /// How arrivals are spaced
    #[arg(long, value_enum, default_value_t = ArrivalsArg::Poisson)]
    arrivals: ArrivalsArg,

    /// Replay a trace: JSON Lines with arrival_s, input_tokens, output_tokens and, if known, hash_ids, client, max_tokens and
    /// stream
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dataset", "dataset_path", "request_rate", "arrivals",
        "input_len", "output_len", "range_ratio"])]
    pub(crate) trace: Option<PathBuf>,

    /// Replay speed of the trace: 2 = twice as fast as recorded
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "trace")]
    pub(crate) speed: f64,

    /// API to use: /generate, chat or completions
    #[arg(long, value_name = "API", default_value = "/generate")]
    endpoint: ApiEndpoint,

    /// Share of the responses to stream, from 0 to 1; all without a value [default: all, or as the trace says]
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "1", conflicts_with = "no_stream")]
    pub(crate) stream: Option<f64>,

    /// Do not stream responses
    #[arg(long)]
    pub(crate) no_stream: bool,

    /// Let the model end responses before their planned length (do not send ignore_eos)
    #[arg(long)]
    stop_at_eos: bool,

    /// Limit of concurrent requests; later requests wait, and the wait counts as latency [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) max_concurrency: Option<NonZeroUsize>,

    /// Seed of prompts, lengths and arrivals; the same seed gives the same load
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Seed of the words of random and replayed prompts: another one gives other words at the same times and lengths, so that
    /// a second run finds nothing of the first one in the caches [default: the words that --seed gives]
    #[arg(long, value_name = "N")]
    pub(crate) prompt_seed: Option<u64>,

    /// Model to request [default: the first of the target's /v1/models]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// Bearer token to send
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,

    /// Header to send, as NAME: VALUE; can be given again
    #[arg(long, value_name = "HEADER")]
    pub(crate) header: Vec<String>,

    /// Timeout of one request, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 600.0)]
    pub(crate) timeout_secs: f64,

    /// CSV to write, one row per request [default: router_test_YYYYMMDD_HHMMSS.csv]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Also write the summary as JSON; - = standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Threads for the network [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

/// The source of the prompts.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DatasetArg {
    /// Random words
    Random,
    /// Conversations in the ShareGPT format
    Sharegpt,
    /// JSON Lines with prompt and output_len
    Custom,
}

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ArrivalsArg {
    /// Random, as from many independent users
    Poisson,
    /// Evenly
    Constant,
}

/// A rate, or no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RateArg {
    Per(RequestRate),
    Infinite,
}

impl FromStr for RateArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            Ok(rate) if rate == f64::INFINITY => Ok(Self::Infinite),
            Ok(rate) => RequestRate::per_second(rate).map(Self::Per).ok_or("expected a rate above 0"),
            Err(_) => Err("expected a number of requests per second, or inf"),
        }
    }
}

impl SendArgs {
    pub(crate) const fn arrivals(&self) -> ArrivalProcess {
        match (self.request_rate, self.arrivals) {
            (RateArg::Infinite, _) => ArrivalProcess::Immediate,
            (RateArg::Per(rate), ArrivalsArg::Poisson) => ArrivalProcess::Poisson(rate),
            (RateArg::Per(rate), ArrivalsArg::Constant) => ArrivalProcess::Constant(rate),
        }
    }

    pub(crate) fn format(&self) -> RequestFormat {
        let stop = if self.stop_at_eos { StopRule::Natural } else { StopRule::Planned };
        RequestFormat { endpoint: self.endpoint, model: self.model.clone(), stop }
    }
}
