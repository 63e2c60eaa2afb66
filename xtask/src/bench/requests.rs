//! Short requests as fast as 32 connections send them: CPU time per request.

use super::contenders::{Lineup, RunningContender};
use super::nginx::{self, Buffering};
use super::result_table::{ContenderRow, ResultColumn, ResultTable};
use super::{BenchOptions, traffic};
use crate::harness::http;
use crate::harness::process::free_port;
use crate::harness::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, process};

const CONNECTIONS: u32 = 32;
const WORKERS: usize = 4;

/// The result of one run of wrk.
#[derive(Clone, Copy, PartialEq, Debug)]
struct LoadResult {
    completed: f64,
    failed: f64,
    per_second: f64,
}

/// Measures all contenders.
///
/// # Errors
/// Something cannot be started, or wrk prints no result.
pub(crate) async fn measure(workspace: &Workspace, options: &BenchOptions) -> Result<ResultTable> {
    let ports = (0..WORKERS).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
    let _workers = nginx::workers(&workspace.scratch, &ports)?;
    let lineup = Lineup { workspace, only: &options.only, workers: &ports, buffering: Buffering::On };
    let mut contenders = lineup.start().await?;
    let script = script(&workspace.scratch)?;
    for contender in &contenders {
        load(contender.port, &script, Duration::from_secs(1)).await?;
    }
    let mut rows: Vec<_> = contenders.iter().map(|contender| ContenderRow::new(&contender.name)).collect();
    for round in 1..=options.rounds() {
        for (contender, row) in contenders.iter_mut().zip(&mut rows) {
            let before = contender.cpu_time()?;
            let result = load(contender.port, &script, options.time()).await?;
            let spent = contender.cpu_time()?.saturating_sub(before);
            let per_request = spent.as_secs_f64() * 1e6 / result.completed.max(1.0);
            row.add([per_request, result.per_second, result.failed]);
        }
        println!("requests: round {round} of {} done", options.rounds());
    }
    let lost = rows_lost(&contenders).await?;
    let columns = vec![
        ResultColumn { title: "CPU per request, us", decimals: 1, ratio: true },
        ResultColumn { title: "requests/s", decimals: 0, ratio: false },
        ResultColumn { title: "failed", decimals: 0, ratio: false },
    ];
    let title = format!(
        "POST /v1/chat/completions, {} bytes in and {} out, wrk with {CONNECTIONS} kept connections, {WORKERS} nginx \
         workers that answer at once{lost}",
        traffic::chat_request().len(),
        traffic::chat_response().len()
    );
    Ok(ResultTable { name: "requests", title, columns, rows })
}

/// How many rows the recording contender lost, in words.
async fn rows_lost(contenders: &[RunningContender]) -> Result<String> {
    for contender in contenders {
        if let Some(rows) = contender.rows_lost().await? {
            return Ok(format!("; of two rows per request, `{}` lost {rows} in all", contender.name));
        }
    }
    Ok(String::new())
}

/// The request for wrk, and a last line that is easy to parse.
fn script(scratch: &Path) -> Result<PathBuf> {
    let body = traffic::chat_request();
    let text = format!(
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body}]==]\n\
         function done(summary, latency, requests)\n\
         local e = summary.errors\n\
         io.write(string.format('SUMMARY %d %d %f\\n', summary.requests, \
         e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6))\nend\n"
    );
    let file = scratch.join("chat.lua");
    fs::write(&file, text).context("cannot write wrk's script")?;
    Ok(file)
}

async fn load(port: u16, script: &Path, time: Duration) -> Result<LoadResult> {
    let mut wrk = tokio::process::Command::new("wrk");
    wrk.args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &format!("{}s", time.as_secs()), "-s"]);
    wrk.arg(script).arg(http::url(port, "/v1/chat/completions"));
    let output =
        wrk.stdin(process::Stdio::null()).kill_on_drop(true).output().await.context("cannot start wrk")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    parse_summary(&printed).with_context(|| format!("wrk printed no result:\n{printed}"))
}

/// Parses the script's last line. wrk counts a refused request as a request and as an error.
fn parse_summary(printed: &str) -> Option<LoadResult> {
    let line = printed.lines().find_map(|line| line.strip_prefix("SUMMARY "))?;
    let numbers: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [requests, failed, seconds] = numbers[..] else { return None };
    Some(LoadResult { completed: requests, failed, per_second: requests / seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_line_is_parsed() {
        let printed = "Running 1s test\nSUMMARY 5000 3 2.000000\n";
        let wanted = LoadResult { completed: 5000.0, failed: 3.0, per_second: 2500.0 };
        assert_eq!(parse_summary(printed), Some(wanted));
        assert_eq!(parse_summary("Running 1s test\nunable to connect\n"), None);
    }
}
