//! The flags of `simulate`.

use super::autoscale_args::AutoscaleArgs;
use crate::clap_message::first_line;
use crate::error::CommandError;
use clap::{Args, Command, FromArgMatches as _};
use router_core::DEFAULT_OVERLOAD_WAITING;
use router_sim::{ClientMix, LengthDistribution, RateCurve, ScheduledEvent, Slo};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The flags of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sgl-router simulate\n  \
    sgl-router simulate --trace chat.jsonl --speed 2 --fleet 'sglang_8b*4' -o report.html\n  \
    sgl-router simulate --policy least_request,marginal_cost:ttft_weight=0 --event slow:0:4@30..90\n  \
    sgl-router simulate --fleet 'h200*4:max_running=64' --output-len lognormal:250:1.2 --json\n  \
    sgl-router simulate --clients 'chat:share=3,input-len=200..600,output-len=80..400;\
    extract:share=1,input-len=2000,output-len=5..30'\n\
    docs/simulating.md says what is modelled and what is not.")]
pub struct SimulateArgs {
    /// The servers, as PROFILE*COUNT@SPEED:LIMIT=VALUE, comma-separated; the limits are kv_tokens, max_running, max_queued,
    /// max_prefill_tokens and chunked (tokens per step, or off)
    #[arg(
        long,
        value_name = "SPEC",
        default_value = "sglang_1.5b,sglang_8b*2",
        help_heading = "Installation"
    )]
    pub(crate) fleet: String,

    /// Number of independent routers; each request goes to a random one
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Installation",
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) routers: u16,

    /// An incident: slow:SERVER:FACTOR@FROM..TO, die:SERVER@AT, join:SPEC@AT, late-answers:SECS@FROM..TO or
    /// late-reports:SECS@FROM..TO; servers are numbered from 0, times are seconds. Repeatable
    #[arg(long, value_name = "EVENT", help_heading = "Installation")]
    pub(crate) event: Vec<ScheduledEvent>,

    /// Interval of polling every server for its load [default: never; responses report the queue length]
    #[arg(long, value_name = "SECS", help_heading = "Installation", value_parser = interval)]
    pub(crate) poll_secs: Option<f64>,

    /// Requests that come within so many milliseconds while the fleet is busy are dispatched together; 0 is off
    #[arg(long, value_name = "MS", default_value_t = 0, help_heading = "Installation")]
    pub(crate) batch_window_ms: u32,

    /// A server that reports so many waiting requests gets none while another server is not overloaded; 0 is off
    #[arg(long, value_name = "N", default_value_t = DEFAULT_OVERLOAD_WAITING, help_heading = "Installation")]
    pub(crate) overload_waiting_requests: u32,

    /// A server that reports such a share of its KV cache in use gets no requests while another one is not overloaded; 0 is off
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Installation",
        value_parser = share)]
    pub(crate) overload_kv_usage: f64,

    /// Policies to compare, comma-separated, with options as NAME:OPTION=VALUE; ratios are to the first. `oracle` knows all
    /// lengths and engine states and is a bound for the others
    #[arg(
        long,
        visible_alias = "policies",
        value_name = "LIST",
        help_heading = "Comparison",
        default_value = "round_robin,least_request,cache_aware,marginal_cost,oracle"
    )]
    pub(crate) policy: String,

    /// Runs per policy, each with another seed
    #[arg(long, value_name = "N", default_value = "5", help_heading = "Comparison")]
    pub(crate) seeds: NonZeroUsize,

    /// The first seed; the others are the next numbers
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Comparison")]
    pub(crate) seed: u64,

    /// Limit of the time to first token for goodput
    #[arg(long, value_name = "SECS", default_value_t = Slo::default().ttft, help_heading = "Comparison",
        value_parser = above_zero)]
    pub(crate) slo_ttft: f64,

    /// Limit of the time per further token for goodput
    #[arg(long, value_name = "SECS", default_value_t = Slo::default().tpot, help_heading = "Comparison",
        value_parser = above_zero)]
    pub(crate) slo_tpot: f64,

    #[command(flatten)]
    pub(crate) load: LoadArgs,

    #[command(flatten)]
    pub(crate) autoscaling: AutoscaleArgs,

    /// Write all results as JSON; without a file, to standard output, and the table to standard error
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", help_heading = "Result")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with the table and charts
    #[arg(long, short, value_name = "FILE", help_heading = "Result")]
    pub(crate) output: Option<PathBuf>,
}

impl SimulateArgs {
    /// Parses flags, without the name of the command.
    ///
    /// # Errors
    /// An unknown flag or an invalid value.
    pub fn parse<T: Into<OsString> + Clone>(
        flags: impl IntoIterator<Item = T>,
    ) -> Result<Self, CommandError> {
        let command =
            Self::augment_args(Command::new("simulate").no_binary_name(true).disable_help_flag(true));
        let parsed = command.try_get_matches_from(flags).and_then(|matches| Self::from_arg_matches(&matches));
        parsed.map_err(|error| CommandError::usage(first_line(&error)))
    }
}

/// The load.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Replay a trace: JSON Lines with arrival_s, input_tokens, output_tokens and, if known, hash_ids, client, max_tokens and
    /// stream
    #[arg(long, value_name = "FILE", help_heading = "Load",
        conflicts_with_all = ["num_requests", "request_rate", "burstiness", "clients", "input_len", "output_len",
        "prefix_groups", "sessions"])]
    pub(crate) trace: Option<PathBuf>,

    /// The requests of the trace to use, as FROM..TO, counted from 0; both are optional
    #[arg(long, value_name = "RANGE", requires = "trace", help_heading = "Load", value_parser = slice)]
    pub(crate) slice: Option<std::ops::Range<usize>>,

    /// Replay speed of the trace: 2 = twice as fast as recorded
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "trace", help_heading = "Load",
        value_parser = above_zero)]
    pub(crate) speed: f64,

    /// Tokens per entry of the trace's hash_ids
    #[arg(long, value_name = "TOKENS", default_value_t = 512, requires = "trace", help_heading = "Load",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) trace_block: u32,

    /// Number of requests
    #[arg(long, value_name = "N", default_value = "2000", help_heading = "Load")]
    pub(crate) num_requests: NonZeroUsize,

    /// Requests per second, on average; with --sessions, conversations per second
    #[arg(long, value_name = "PER_SEC", default_value_t = 27.0, help_heading = "Load", value_parser = above_zero)]
    pub(crate) request_rate: f64,

    /// Shape of the gamma-distributed gaps between arrivals: 1 is Poisson, below 1 is bursty, above 1 is regular
    #[arg(long, value_name = "SHAPE", default_value_t = 1.0, help_heading = "Load", value_parser = above_zero)]
    pub(crate) burstiness: f64,

    /// How the rate changes over time: day or day:SECS (a sinusoid with an evening peak and noise, in days of so many seconds), or
    /// SECS=FACTOR;SECS=FACTOR (from each time on, so many times the rate)
    #[arg(long, value_name = "CURVE", help_heading = "Load")]
    pub(crate) rate_curve: Option<RateCurve>,

    /// Clients with requests of their own, as NAME:MEMBER=VALUE,MEMBER=VALUE;NAME:...; the members are share (of the requests,
    /// relative to the others), input-len and output-len (in the forms of --input-len), and, if needed, prefix-len (tokens that
    /// all its prompts share), max-tokens (its limit; the longest output if absent) and stream (share, all if absent)
    #[arg(long, value_name = "CLIENTS", help_heading = "Load", conflicts_with_all = ["input_len", "output_len",
        "prefix_groups", "sessions", "stream"])]
    pub(crate) clients: Option<ClientMix>,

    /// Prompt tokens (with --prefix-groups: after the shared prefix; with --sessions: added in each turn), as N, LOW..HIGH,
    /// lognormal:MEAN:SIGMA or lognormal:MEAN:SIGMA:MAX
    #[arg(long, value_name = "LENGTH", default_value = "220..385", help_heading = "Load")]
    pub(crate) input_len: LengthDistribution,

    /// Response tokens, in the same forms
    #[arg(long, value_name = "LENGTH", default_value = "190..320", help_heading = "Load")]
    pub(crate) output_len: LengthDistribution,

    /// Number of shared prefixes; each prompt starts with one of them
    #[arg(long, value_name = "N", help_heading = "Load", conflicts_with = "sessions")]
    pub(crate) prefix_groups: Option<std::num::NonZeroU32>,

    /// Tokens of each shared prefix
    #[arg(
        long,
        value_name = "TOKENS",
        default_value_t = 2400,
        requires = "prefix_groups",
        help_heading = "Load"
    )]
    pub(crate) prefix_len: u32,

    /// Number of conversations; each turn repeats the conversation and comes after the previous response
    #[arg(long, value_name = "N", help_heading = "Load", conflicts_with = "num_requests")]
    pub(crate) sessions: Option<NonZeroUsize>,

    /// Turns per conversation, in the forms of --input-len
    #[arg(long, value_name = "LENGTH", default_value = "2..8", requires = "sessions", help_heading = "Load")]
    pub(crate) turns: LengthDistribution,

    /// Mean pause between a response and the next turn
    #[arg(long, value_name = "SECS", default_value_t = 5.0, requires = "sessions", help_heading = "Load",
        value_parser = pause)]
    pub(crate) think_secs: f64,

    /// Share of the responses that are streamed, so that routers see first tokens [default: 1, or as the trace says]
    #[arg(long, value_name = "SHARE", help_heading = "Load", value_parser = share)]
    pub(crate) stream: Option<f64>,

    /// Each request names the length of its response as its max_tokens, as sgl-router send does by default
    #[arg(long, help_heading = "Load", conflicts_with = "clients")]
    pub(crate) name_lengths: bool,
}

fn number(text: &str, is_valid: impl Fn(f64) -> bool, expected: &'static str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && is_valid(*x)).ok_or(expected)
}

fn above_zero(text: &str) -> Result<f64, &'static str> {
    number(text, |x| x > 0.0, "expected a number above 0")
}

pub(super) fn interval(text: &str) -> Result<f64, &'static str> {
    number(text, |x| (1e-3..=1e6).contains(&x), "expected seconds from 0.001 to 1e6")
}

pub(super) fn pause(text: &str) -> Result<f64, &'static str> {
    number(text, |x| (0.0..=1e6).contains(&x), "expected seconds from 0 to 1e6")
}

fn share(text: &str) -> Result<f64, &'static str> {
    number(text, |x| (0.0..=1.0).contains(&x), "expected a share from 0 to 1")
}

pub(super) fn part(text: &str) -> Result<f64, &'static str> {
    number(text, |x| x > 0.0 && x < 1.0, "expected a share above 0 and below 1")
}

fn slice(text: &str) -> Result<std::ops::Range<usize>, &'static str> {
    const EXPECTED: &str = "expected FROM..TO, FROM.. or ..TO, with whole numbers";
    let (from, to) = text.split_once("..").ok_or(EXPECTED)?;
    let edge = |text: &str, open: usize| match text.trim() {
        "" => Ok(open),
        text => text.parse().map_err(|_| EXPECTED),
    };
    let (from, to) = (edge(from, 0)?, edge(to, usize::MAX)?);
    if from < to { Ok(from..to) } else { Err("expected a range that is not empty") }
}
