//! The load generator: wrk, with a script that makes the bodies, pauses between requests, and prints a line to parse.

use super::cell::RequestBody;
use super::traffic;
use crate::harness::http;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;
use std::{fs, process};

/// One run of wrk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrkRun<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) port: u16,
    pub(crate) body: RequestBody,
    pub(crate) connections: u32,
    pub(crate) time: Duration,
    /// Runs with different seeds send different conversations.
    pub(crate) seed: u32,
    /// Requests per second to aim at; as many as possible when absent. wrk sends the next request of a connection only
    /// after the response, so the real rate is a little lower.
    pub(crate) rate: Option<f64>,
}

/// What came of it. Latencies are in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct LoadResult {
    pub(crate) completed: f64,
    pub(crate) failed: f64,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl WrkRun<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// wrk cannot be started, or prints no result.
    pub(crate) async fn run(self) -> Result<LoadResult> {
        let script = self.scratch.join("load.lua");
        fs::write(&script, self.script()).context("cannot write wrk's script")?;
        let mut wrk = tokio::process::Command::new("wrk");
        let (connections, time) = (self.connections.to_string(), format!("{}s", self.time.as_secs()));
        wrk.args(["-t", "1", "--timeout", "20s", "-c", &connections, "-d", &time, "-s"]);
        wrk.arg(&script).arg(http::url(self.port, "/v1/chat/completions"));
        let output = wrk.stdin(process::Stdio::null()).kill_on_drop(true).output().await;
        let output = output.context("cannot start wrk")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        parse_summary(&printed).with_context(|| format!("wrk printed no result:\n{printed}"))
    }

    fn script(self) -> String {
        let mut text =
            String::from("wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n");
        text += &format!("math.randomseed({})\n", self.seed);
        text += &match self.body {
            RequestBody::Short => format!("wrk.body = [==[{}]==]\n", traffic::chat_request()),
            RequestBody::Long => conversations(self.seed, 98_000, LONG_PARTS),
            RequestBody::Image => conversations(self.seed, 2_000_000, IMAGE_PARTS),
        };
        if let Some(rate) = self.rate {
            let mean = f64::from(self.connections) * 1e3 / rate;
            // The pauses are those of a Poisson process; wrk knows whole milliseconds only, so the rest is drawn.
            text += &format!(
                "function delay()\nlocal pause = -{mean} * math.log(1 - math.random())\nlocal whole = math.floor(pause)\n\
                 if math.random() < pause - whole then whole = whole + 1 end\nreturn whole\nend\n"
            );
        }
        text + "function done(summary, latency, requests)\nlocal e = summary.errors\n\
                io.write(string.format('SUMMARY %d %d %f %f %f\\n', summary.requests, \
                e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6, \
                latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))\nend\n"
    }
}

/// The parts of a body around the conversation's name and its text.
#[derive(Clone, Copy, Debug)]
struct BodyParts {
    before: &'static str,
    between: &'static str,
    after: &'static str,
    /// The words of the text, in Lua.
    words: &'static str,
}

const LONG_PARTS: BodyParts = BodyParts {
    before: r#"","messages":[{"role":"system","content":"You are a patient engineer."},{"role":"user","content":"Session "#,
    between: ": ",
    after: r#""}],"max_tokens":64,"stream":false}"#,
    words: "'the ', 'worker ', 'reads ', 'a ', 'file ', 'and ', 'returns ', 'its ', 'lines ', 'model ', 'fn ', 'self.'",
};

const IMAGE_PARTS: BodyParts = BodyParts {
    before: r#"","messages":[{"role":"user","content":[{"type":"text","text":"Session "#,
    between: r#""},{"type":"image_url","image_url":{"url":"data:image/png;base64,"#,
    after: r#""}}]}],"max_tokens":64,"stream":false}"#,
    words: "'iVBORw0K', 'GgoAAAAN', 'SUhEUgAA', 'AAUA/AAA', 'FCAYAAAC', 'NbyblAAA', 'HElEQVQI', '12P4//8/'",
};

/// Conversations whose first text has `bytes`. Half of the requests begin one, half continue one of the latest 64 by 2 KB,
/// up to 10 times.
fn conversations(seed: u32, bytes: u32, parts: BodyParts) -> String {
    let BodyParts { before, between, after, words } = parts;
    let model = traffic::MODEL;
    format!(
        "local words, parts = {{{words}}}, {{}}\nlocal size = 0\nwhile size < {bytes} + 200000 do\n\
         local word = words[math.random(#words)]\nparts[#parts + 1] = word\nsize = size + #word\nend\n\
         local text, parts, open, made = table.concat(parts), nil, {{}}, 0\n\
         function request()\nlocal one\nif #open < 64 or math.random() < 0.5 then\nmade = made + 1\n\
         one = {{name = '{seed}-' .. made, from = math.random(100000), size = {bytes}}}\n\
         open[#open < 64 and #open + 1 or math.random(64)] = one\nelse\none = open[math.random(#open)]\n\
         one.size = math.min(one.size + 2000, {bytes} + 20000)\nend\n\
         return wrk.format(nil, nil, nil, [==[{{\"model\":\"{model}{before}]==] .. one.name .. [==[{between}]==] .. \
         text:sub(one.from, one.from + one.size) .. [==[{after}]==])\nend\n"
    )
}

/// Parses the script's last line. wrk counts a refused request as a request and as an error.
fn parse_summary(printed: &str) -> Option<LoadResult> {
    let line = printed.lines().find_map(|line| line.strip_prefix("SUMMARY "))?;
    let numbers: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [completed, failed, seconds, p50, p99] = numbers[..] else { return None };
    Some(LoadResult { completed, failed, per_second: completed / seconds, p50, p99 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_line_is_parsed() {
        let printed = "Running 1s test\nSUMMARY 5000 3 2.000000 0.3 1.5\n";
        let wanted = LoadResult { completed: 5000.0, failed: 3.0, per_second: 2500.0, p50: 0.3, p99: 1.5 };
        assert_eq!(parse_summary(printed), Some(wanted));
        assert_eq!(parse_summary("Running 1s test\nunable to connect\n"), None);
    }
}
