//! Several emulated servers from one fleet line, such as `a100*1,t4*2` or `sglang_8b@0.5*2`.

use std::io;

use router_engine::FleetSpec;

use crate::config::EmulatorConfig;
use crate::emulator::{Emulator, RunningEmulator};

/// The configuration of each server, in order, made from `base` by setting profile, speed and ports.
fn configs(spec: &FleetSpec, base: &EmulatorConfig, port_base: Option<u16>) -> Vec<EmulatorConfig> {
    let servers = spec.parts.iter().flat_map(|p| (0..p.count).map(move |_| p));
    servers
        .zip(0u16..)
        .map(|(part, i)| {
            let mut config = base.clone();
            config.profile = part.profile;
            config.speed = base.speed * part.speed;
            config.listen.set_port(port_base.map_or(0, |port| port.saturating_add(i)));
            config.grpc_port = base.grpc_port.map(|port| if port == 0 { 0 } else { port.saturating_add(i) });
            config
        })
        .collect()
}

/// Several running servers.
#[derive(Debug)]
pub struct EmulatedFleet {
    /// The servers in the order of the fleet line.
    pub servers: Vec<RunningEmulator>,
}

impl EmulatedFleet {
    /// Starts every server of `spec` with `base` for everything the line does not say. Ports count up from
    /// `port_base`; `None` = any free ports. gRPC ports count up from that of `base`.
    ///
    /// # Errors
    /// The first address that cannot be bound, named in the message; servers already started are stopped.
    pub async fn start(spec: &FleetSpec, port_base: Option<u16>, base: &EmulatorConfig) -> io::Result<Self> {
        let mut servers = Vec::with_capacity(spec.len());
        for config in configs(spec, base, port_base) {
            let listen = config.listen;
            let started = Emulator::start(config).await;
            servers.push(
                started.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {listen}: {e}")))?,
            );
        }
        Ok(Self { servers })
    }

    /// Base URLs in order.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(RunningEmulator::url).collect()
    }

    /// gRPC URLs in order, of the servers that have one.
    pub fn grpc_urls(&self) -> Vec<String> {
        self.servers.iter().filter_map(RunningEmulator::grpc_url).collect()
    }

    /// Stops every server.
    pub async fn shutdown(self) {
        for server in self.servers {
            server.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_get_profiles_and_consecutive_ports() {
        let spec: FleetSpec = "a100*1, t4*2:max_running=3,sglang_8b@0.5".parse().unwrap();
        let base = EmulatorConfig { grpc_port: Some(31001), ..EmulatorConfig::new(spec.parts[0].profile) };
        let configs = configs(&spec, &base, Some(30001));
        let ports: Vec<_> = configs.iter().map(|c| (c.profile.name, c.listen.port())).collect();
        assert_eq!(ports, [("a100", 30001), ("t4", 30002), ("t4", 30003), ("sglang_8b", 30004)]);
        assert_eq!(configs[3].grpc_port, Some(31004));
        assert_eq!((configs[1].profile.limits.max_running, configs[3].speed), (3, 0.5));
    }
}
