//! `sgl-router emulate`: emulated servers, each on its own port.

use crate::error::CommandError;
use crate::runtime::{self, LogStyle};
use crate::terminal::say;
use clap::{Args, ValueEnum};
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec, RunningEmulator, ServerRole, SglangVersion};
use std::net::SocketAddr;

/// One model, Llama 3.1 8B, on a fast card and two slow ones.
pub(crate) const DEFAULT_FLEET: &str = "h200*1,rtx4090*2";

/// The fields of `meta_info`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum MetaArg {
    /// As in builds of SGLang that report queue lengths and queue times with every response
    Classic,
    /// As in SGLang 0.5.23 with --enable-metrics
    Stock,
}

/// The part of a request that a worker runs.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    /// Prefill and decode
    Whole,
    /// Prefill, then transfer of the KV cache
    Prefill,
    /// Decode, with the KV cache of a prefill worker
    Decode,
}

/// The flags of `emulate`.
#[derive(Debug, Args)]
pub(crate) struct EmulateArgs {
    /// Emulated workers: PROFILE*COUNT@SPEED:LIMIT=VALUE, comma-separated (docs/simulating.md lists the limits)
    #[arg(long, value_name = "SPEC", default_value = DEFAULT_FLEET)]
    fleet: String,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: std::net::IpAddr,

    /// Port of the first worker; the others get the next ports. 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 30001)]
    port_base: u16,

    /// The fields of meta_info
    #[arg(long, value_enum, default_value_t = MetaArg::Classic)]
    meta: MetaArg,

    /// Serve SGLang's gRPC service beside HTTP, each worker at a port of its own; needs --meta stock, since 0.4 has none
    #[cfg(feature = "grpc")]
    #[arg(long)]
    grpc: bool,

    /// gRPC port of the first worker; the others get the next ports. 0 lets the system choose. Default: --port-base + 1000,
    /// or 0 where that is 0
    #[cfg(feature = "grpc")]
    #[arg(long, value_name = "PORT", requires = "grpc")]
    grpc_port_base: Option<u16>,

    /// Data-parallel ranks of each worker
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    dp_size: u32,

    /// The part of a request that each worker runs
    #[arg(long, value_enum, default_value_t = RoleArg::Whole)]
    role: RoleArg,

    /// Model name that the workers report
    #[arg(long, value_name = "NAME", default_value = "emulated")]
    model: String,

    /// Seed of the response lengths, for requests that do not set a length
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &EmulateArgs) -> Result<(), CommandError> {
    let spec: FleetSpec = args.fleet.parse().map_err(CommandError::flag("--fleet"))?;
    check_ports("--port-base", &spec, args.port_base)?;
    let grpc_port = grpc_port(args, &spec)?;
    runtime::init_logs("info", LogStyle::Text);
    runtime::block_on(None, serve(args, &spec, grpc_port))
}

/// Whether there are as many ports from `first` on as there are workers.
fn check_ports(flag: &'static str, spec: &FleetSpec, first: u16) -> Result<(), CommandError> {
    let last = usize::from(first) + spec.len().saturating_sub(1);
    if first == 0 || last <= usize::from(u16::MAX) {
        return Ok(());
    }
    let problem = format!("{} workers from port {first} need port {last}", spec.len());
    Err(CommandError::flag(flag)(problem))
}

/// The gRPC port of the first worker; `None` without gRPC.
#[cfg(feature = "grpc")]
fn grpc_port(args: &EmulateArgs, spec: &FleetSpec) -> Result<Option<u16>, CommandError> {
    /// How far the gRPC ports lie above those of HTTP.
    const DISTANCE: u16 = 1000;
    if !args.grpc {
        return Ok(None);
    }
    if matches!(args.meta, MetaArg::Classic) {
        let problem = "SGLang 0.4 does not serve gRPC: add --meta stock for 0.5.23, which does";
        return Err(CommandError::flag("--grpc")(problem));
    }
    let first = match (args.grpc_port_base, args.port_base) {
        (Some(port), _) => port,
        (None, 0) => 0,
        (None, port) => port.checked_add(DISTANCE).ok_or_else(|| {
            CommandError::flag("--grpc-port-base")(format!("--port-base + {DISTANCE} is no port: name one"))
        })?,
    };
    check_ports("--grpc-port-base", spec, first)?;
    Ok(Some(first))
}

/// The gRPC port of the first worker: none in a build without gRPC.
#[cfg(not(feature = "grpc"))]
fn grpc_port(_: &EmulateArgs, _: &FleetSpec) -> Result<Option<u16>, CommandError> {
    Ok(None)
}

async fn serve(args: &EmulateArgs, spec: &FleetSpec, grpc_port: Option<u16>) -> Result<(), CommandError> {
    // The spec sets the profile of every worker, and it has at least one part.
    let base = EmulatorConfig {
        listen: SocketAddr::new(args.host, 0),
        version: match args.meta {
            MetaArg::Classic => SglangVersion::Classic,
            MetaArg::Stock => SglangVersion::Stock,
        },
        role: match args.role {
            RoleArg::Whole => ServerRole::Unified,
            RoleArg::Prefill => ServerRole::Prefill,
            RoleArg::Decode => ServerRole::Decode,
        },
        dp_size: args.dp_size,
        grpc_port,
        model_name: args.model.clone(),
        seed: args.seed,
        ..EmulatorConfig::new(spec.parts[0].profile)
    };
    let port = (args.port_base > 0).then_some(args.port_base);
    let fleet = EmulatedFleet::start(spec, port, &base).await.map_err(CommandError::runtime)?;
    for (server, label) in fleet.servers.iter().zip(spec.labels()) {
        let grpc_url = server.grpc_url().map(|url| format!("  {url}")).unwrap_or_default();
        say(format_args!("{}{grpc_url}  {label}\n", server.url()));
    }
    let flags = flags(&fleet, args.role);
    say(format_args!("\nRoute to them:  sgl-router launch {flags}\nPress Ctrl-C to stop.\n"));
    runtime::asked_to_stop().await?;
    fleet.shutdown().await;
    Ok(())
}

/// The flags of `launch` that name the fleet.
fn flags(fleet: &EmulatedFleet, role: RoleArg) -> String {
    match role {
        RoleArg::Whole => format!("--worker-urls {}", fleet.urls().join(" ")),
        RoleArg::Prefill => {
            let one = |s: &RunningEmulator| format!("--prefill {} {}", s.url(), s.config().bootstrap_port);
            let all: Vec<_> = fleet.servers.iter().map(one).collect();
            format!("--pd-disaggregation {} --decode URL", all.join(" "))
        }
        RoleArg::Decode => {
            format!("--pd-disaggregation --prefill URL PORT --decode {}", fleet.urls().join(" "))
        }
    }
}
