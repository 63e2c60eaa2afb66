//! Short requests as fast as 32 connections bring them: CPU time per request.

use super::contenders::{self, Contender, Site};
use super::nginx::{self, Buffering};
use super::result_table::{Column, Row, Table};
use super::{Options, traffic};
use crate::harness::process::free_port;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, process};

const CONNECTIONS: u32 = 32;
const WORKERS: usize = 4;

/// What one load run told.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Load {
    answered: f64,
    failed: f64,
    per_second: f64,
}

/// Measures all contenders.
///
/// # Errors
/// Something cannot be started, or wrk tells nothing.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Table> {
    let ports = (0..WORKERS).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
    let _workers = nginx::workers(&site.scratch, &ports)?;
    let mut all = contenders::start_all(site, &ports, Buffering::On).await?;
    let script = script(&site.scratch)?;
    for contender in &mut all {
        load(contender.port, &script, Duration::from_secs(1)).await?;
    }
    let mut rows: Vec<Row> = all.iter().map(|contender| Row::new(&contender.name)).collect();
    for round in 1..=options.rounds() {
        for (contender, row) in all.iter_mut().zip(&mut rows) {
            measure_one(contender, row, (&script, options.time())).await?;
        }
        println!("requests: round {round} of {} done", options.rounds());
    }
    let lost = rows_lost(&all)?;
    let columns = vec![
        Column { title: "CPU per request, us", decimals: 1, ratio: true },
        Column { title: "requests/s", decimals: 0, ratio: false },
        Column { title: "failed", decimals: 0, ratio: false },
    ];
    let title = format!(
        "POST /v1/chat/completions, {} bytes in and {} out, wrk with {CONNECTIONS} kept connections, {WORKERS} nginx \
         workers that answer at once{lost}",
        traffic::chat_request().len(),
        traffic::chat_answer().len()
    );
    Ok(Table { name: "requests", title, columns, rows })
}

/// In words, what the recording contender did not write.
fn rows_lost(all: &[Contender]) -> Result<String> {
    let mut words = String::new();
    for contender in all {
        if let Some(rows) = contender.rows_lost()? {
            words = format!("; of two rows per request, `{}` lost {rows} in all", contender.name);
        }
    }
    Ok(words)
}

async fn measure_one(
    contender: &mut Contender,
    row: &mut Row,
    (script, time): (&Path, Duration),
) -> Result<()> {
    let before = contender.cpu_time()?;
    let seen = load(contender.port, script, time).await?;
    let spent = contender.cpu_time()?.saturating_sub(before);
    row.add([spent.as_secs_f64() * 1e6 / seen.answered.max(1.0), seen.per_second, seen.failed]);
    Ok(())
}

/// The request for wrk, and a closing line that is easy to read back.
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

async fn load(port: u16, script: &Path, time: Duration) -> Result<Load> {
    let mut wrk = tokio::process::Command::new("wrk");
    wrk.args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &format!("{}s", time.as_secs()), "-s"]);
    wrk.arg(script).arg(format!("http://127.0.0.1:{port}/v1/chat/completions"));
    let output =
        wrk.stdin(process::Stdio::null()).kill_on_drop(true).output().await.context("cannot start wrk")?;
    let said = String::from_utf8_lossy(&output.stdout);
    parse(&said).with_context(|| format!("wrk told nothing:\n{said}"))
}

/// Reads the script's closing line. A refused or failed request counts as failed, not as answered.
fn parse(said: &str) -> Option<Load> {
    let line = said.lines().find_map(|line| line.strip_prefix("SUMMARY "))?;
    let numbers: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [requests, failed, seconds] = numbers[..] else { return None };
    Some(Load { answered: requests, failed, per_second: requests / seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_is_read_among_others() {
        let said = "Running 1s test\nSUMMARY 5000 3 2.000000\n";
        assert_eq!(parse(said), Some(Load { answered: 5000.0, failed: 3.0, per_second: 2500.0 }));
        assert_eq!(parse("Running 1s test\nunable to connect\n"), None);
    }
}
