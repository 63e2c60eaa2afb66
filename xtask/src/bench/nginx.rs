//! nginx in two roles: workers that respond at once, and the proxy that the ratios are to. Bodies stay in its memory.

use super::traffic;
use crate::harness::process::RunningProcess;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Whether the proxy buffers responses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Buffering {
    /// nginx's default.
    On,
    /// Data is forwarded at once, as streams need it.
    Off,
}

/// Starts one nginx that serves all these ports.
///
/// # Errors
/// nginx cannot be started.
pub(crate) fn workers(scratch: &Path, ports: &[u16]) -> Result<RunningProcess> {
    let mut servers = String::new();
    for port in ports {
        let _ = writeln!(
            servers,
            "server {{ listen 127.0.0.1:{port} backlog=1024;\ndefault_type application/json;"
        );
        for path in traffic::WORKER_INFO_PATHS {
            let body = traffic::worker_info(path).unwrap_or_default();
            let _ = writeln!(servers, "location = {path} {{ return 200 '{body}'; }}");
        }
        let response = traffic::chat_response().replace('\'', "\\'");
        let _ = writeln!(servers, "location /v1/ {{ return 200 '{response}'; }}\n}}");
    }
    start(&scratch.join("nginx-workers"), 1, &servers)
}

/// Starts nginx as a proxy of so many processes, each with kept connections to the workers.
///
/// # Errors
/// nginx cannot be started.
pub(crate) fn proxy(
    scratch: &Path,
    processes: usize,
    port: u16,
    workers: &[u16],
    buffering: Buffering,
) -> Result<RunningProcess> {
    let upstreams: String = workers.iter().map(|port| format!("server 127.0.0.1:{port};\n")).collect();
    let buffering = match buffering {
        Buffering::On => "on",
        Buffering::Off => "off",
    };
    let servers = format!(
        "upstream workers {{\n{upstreams}keepalive 256;\nkeepalive_requests 100000000;\n}}\n\
         server {{ listen 127.0.0.1:{port} backlog=1024;\nlocation / {{\nproxy_pass http://workers;\n\
         proxy_http_version 1.1;\nproxy_set_header Connection '';\nproxy_buffering {buffering};\n}}\n}}\n"
    );
    start(&scratch.join(format!("nginx-proxy-{processes}")), processes, &servers)
}

/// The version that `nginx -v` prints.
pub(crate) fn version() -> Option<String> {
    let printed = Command::new("nginx").arg("-v").output().ok()?.stderr;
    String::from_utf8_lossy(&printed).trim().rsplit('/').next().map(str::to_owned)
}

fn start(folder: &Path, processes: usize, servers: &str) -> Result<RunningProcess> {
    fs::create_dir_all(folder).context("cannot create nginx's folder")?;
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect();
    let text = format!(
        "daemon off;\nworker_processes {processes};\npid {at}/pid;\nerror_log {at}/error.log warn;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\naccess_log off;\ntcp_nodelay on;\nkeepalive_timeout 75;\nkeepalive_requests 100000000;\n\
         client_max_body_size 0;\nclient_body_buffer_size 4m;\n{temporary}{servers}}}\n"
    );
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, text).context("cannot write nginx.conf")?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&configuration);
    RunningProcess::start(&mut command, &folder.join("log"))
}
