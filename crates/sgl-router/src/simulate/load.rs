//! The load of each seed, as the flags say.

use super::args::LoadArgs;
use crate::error::CommandError;
use router_sim::{
    ArrivalProcess, ChatSessions, ClientMix, ClientProfile, PrefixGroups, RequestLengths, TraceSlice,
    Workload, read_trace,
};
use std::fs;
use std::time::Duration;

/// Where the load comes from.
#[derive(Debug)]
pub(super) enum WorkloadSource {
    /// A trace: the same requests for every seed.
    Trace(Workload),
    /// Generated for each seed.
    Synthetic,
}

impl WorkloadSource {
    /// Reads the trace, if there is one.
    pub(super) fn open(args: &LoadArgs) -> Result<Self, CommandError> {
        let Some(path) = &args.trace else { return Ok(Self::Synthetic) };
        let named = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|e| CommandError::flag("--trace")(named(&e)))?;
        let slice = TraceSlice {
            requests: args.slice.clone().unwrap_or(0..usize::MAX),
            speed: args.speed,
            block_tokens: args.trace_block,
        };
        let load = read_trace(&text, &slice).map_err(|e| CommandError::flag("--trace")(named(&e)))?;
        Ok(Self::Trace(adapted(load, args)))
    }

    /// The load of one seed.
    pub(super) fn load(&self, args: &LoadArgs, seed: u64) -> Workload {
        match self {
            Self::Trace(load) => curved(load.clone(), args, seed),
            Self::Synthetic => curved(adapted(synthetic(args, seed), args), args, seed),
        }
    }
}

/// The load with the rate that the flags say.
fn curved(load: Workload, args: &LoadArgs, seed: u64) -> Workload {
    match &args.rate_curve {
        Some(curve) => load.along(curve, seed),
        None => load,
    }
}

/// The load with what the flags say of all its requests.
fn adapted(load: Workload, args: &LoadArgs) -> Workload {
    let load = match args.stream {
        Some(share) => load.streamed(share),
        None => load,
    };
    if args.name_lengths { load.naming_lengths() } else { load }
}

fn synthetic(args: &LoadArgs, seed: u64) -> Workload {
    let arrivals = ArrivalProcess::gamma(args.request_rate, args.burstiness);
    if let Some(count) = args.sessions {
        let sessions = ChatSessions {
            count: count.get(),
            turns: args.turns,
            added: args.input_len,
            output: args.output_len,
            think: Duration::from_secs_f64(args.think_secs),
        };
        return arrivals.sessions(sessions, seed);
    }
    let n = args.num_requests.get();
    if let Some(mix) = &args.clients {
        return arrivals.clients(n, mix, seed);
    }
    if let Some(groups) = args.prefix_groups {
        let groups = PrefixGroups {
            groups: groups.get(),
            shared_tokens: args.prefix_len,
            own: args.input_len,
            output: args.output_len,
        };
        return arrivals.grouped(n, groups, seed);
    }
    arrivals.requests(n, RequestLengths { prompt: args.input_len, output: args.output_len }, seed)
}

/// A description: `2000 requests, 27/s (Poisson), prompts of 220..385 and responses of 190..320 tokens`.
pub(super) fn describe(args: &LoadArgs, requests: usize) -> String {
    let mut details = match args.stream {
        None | Some(1.0) => String::new(),
        Some(share) => format!(", {:.0} % streamed", share * 100.0),
    };
    if args.name_lengths {
        details += ", each with its length as max_tokens";
    }
    if let Some(curve) = &args.rate_curve {
        details += &format!(", along {curve}");
    }
    if let Some(path) = &args.trace {
        let speed =
            if args.speed == 1.0 { String::new() } else { format!(" at {} times its speed", args.speed) };
        return format!("{requests} requests of {}{speed}{details}", path.display());
    }
    let spacing = match args.burstiness {
        1.0 => "Poisson".to_owned(),
        shape => format!("gamma, shape {shape}"),
    };
    let (rate, input, output) = (args.request_rate, args.input_len, args.output_len);
    if let Some(mix) = &args.clients {
        return format!("{requests} requests, {rate}/s ({spacing}), of {}", describe_clients(mix));
    }
    if let Some(count) = args.sessions {
        return format!(
            "{count} conversations of {} turns, {rate}/s ({spacing}), {input} tokens added in each turn and responses of \
             {output}, {} s to think{details}",
            args.turns, args.think_secs
        );
    }
    let prompts = match args.prefix_groups {
        Some(groups) => {
            format!(
                "prompts of one of {groups} prefixes of {} tokens and {input} of their own",
                args.prefix_len
            )
        }
        None => format!("prompts of {input}"),
    };
    format!("{requests} requests, {rate}/s ({spacing}), {prompts} and responses of {output} tokens{details}")
}

/// `2 clients: chat sends 75 %, prompts of 200..600 and responses of 150..400 tokens; …`.
fn describe_clients(mix: &ClientMix) -> String {
    let one = |(index, client): (usize, &ClientProfile)| {
        let shared = match client.shared_tokens {
            0 => String::new(),
            tokens => format!("{tokens} shared and "),
        };
        let streamed = match client.stream {
            1.0 => String::new(),
            share => format!(", {:.0} % streamed", share * 100.0),
        };
        format!(
            "{} sends {:.0} %, prompts of {shared}{} and responses of {} tokens, at most {}{streamed}",
            client.name,
            mix.share(index) * 100.0,
            client.prompt,
            client.output,
            client.max_tokens
        )
    };
    let all: Vec<_> = mix.clients().iter().enumerate().map(one).collect();
    format!("{} clients: {}", all.len(), all.join("; "))
}
