//! `sgl-router endpoint-picker`: chooses endpoints for Envoy and the gateways that are built on it.

use crate::error::CommandError;
use crate::launch::{self, CheckedLaunch, LaunchArgs};
use crate::runtime;
use clap::{ArgMatches, Args};
use router_config::{CertificateFiles, Config};
use router_picker::{Picker, PickerConfig};
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing::{info, warn};

/// The flags of `endpoint-picker`: its own, and those of `launch`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Endpoint picker")]
pub(crate) struct EndpointPickerArgs {
    #[command(flatten)]
    picker: PickerArgs,

    #[command(flatten)]
    launch: LaunchArgs,
}

/// The flags of the picker itself.
#[derive(Debug, Args)]
struct PickerArgs {
    /// Port of the external processor and of its health service, on the address of --host
    #[arg(long, value_name = "PORT", default_value_t = 9002, help_heading = "Endpoint picker")]
    grpc_port: u16,

    /// Also serve the health service on this port, without TLS
    #[arg(long, value_name = "PORT", help_heading = "Endpoint picker")]
    grpc_health_port: Option<u16>,

    /// Certificate chain for --grpc-port, PEM; turns TLS on
    #[arg(long, value_name = "FILE", requires = "grpc_tls_key_path", help_heading = "Endpoint picker")]
    grpc_tls_cert_path: Option<PathBuf>,

    /// Private key for --grpc-tls-cert-path, PEM
    #[arg(long, value_name = "FILE", requires = "grpc_tls_cert_path", help_heading = "Endpoint picker")]
    grpc_tls_key_path: Option<PathBuf>,

    /// Endpoints named beside the chosen one, which the gateway tries in order when it retries
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=16),
        help_heading = "Endpoint picker")]
    fallback_endpoints: u8,
}

pub(crate) fn run(args: Box<EndpointPickerArgs>, matches: &ArgMatches) -> Result<(), CommandError> {
    let EndpointPickerArgs { picker, launch } = *args;
    let checked = launch.check(matches)?;
    if checked.config.disaggregation.is_some() {
        let problem = "a gateway sends a request to one worker, not to two: use launch";
        return Err(CommandError::flag("--pd-disaggregation")(problem));
    }
    if checked.config.fleet.ranks.is_some() {
        let problem =
            "a gateway cannot set the rank in a request's body: use launch, or leave ranks to the engine";
        return Err(CommandError::flag("--dp-aware")(problem));
    }
    let config = picker.config(&checked.config);
    runtime::raise_open_files();
    runtime::block_on_one(serve(checked, config))
}

impl PickerArgs {
    fn config(self, router: &Config) -> PickerConfig {
        let at = |port| SocketAddr::new(router.listen.ip(), port);
        let tls = self.grpc_tls_cert_path.zip(self.grpc_tls_key_path);
        PickerConfig {
            listen: at(self.grpc_port),
            health: self.grpc_health_port.map(at),
            tls: tls.map(|(cert, key)| CertificateFiles { cert, key }),
            fallbacks: self.fallback_endpoints.into(),
        }
    }
}

async fn serve(checked: CheckedLaunch, picker: PickerConfig) -> Result<(), CommandError> {
    launch::serve_with(checked, async |router: &RunningRouter| {
        let is_open = picker.tls.is_none() && !picker.listen.ip().is_loopback();
        let scheme = if picker.tls.is_some() { "grpcs" } else { "grpc" };
        let started = Picker::start(router, picker).await.map_err(CommandError::runtime)?;
        info!(url = format!("{scheme}://{}", started.address()), "endpoint picker");
        if let Some(address) = started.health_address() {
            info!(url = format!("grpc://{address}"), "health of the endpoint picker");
        }
        if is_open {
            warn!("gateways reach the endpoint picker without TLS: --grpc-tls-cert-path turns it on");
        }
        Ok(())
    })
    .await
}
