//! The commands of the documentation run: in a folder of their own, against emulated workers and a router before them.
//!
//! Each page's shell blocks are run in order, so that a file which one command writes is there for the next. Commands that need
//! root, a container engine, a network or a release are left to the checks of releases.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BIN: &str = env!("CARGO_BIN_EXE_sgl-router");

/// Programs whose commands are run as they stand.
const RUN: [&str; 5] = ["sgl-router", "curl", "awk", "echo", "cat"];

/// Commands that need what a test does not have, or prepare others for it.
const LEFT_OUT: [&str; 12] = [
    "export", "kill", "sudo", "sudoedit", "docker", "kubectl", "helm", "pip", "python", "cargo", "tar",
    "openssl",
];

/// Addresses of workers that a page starts itself.
const EMULATED: [&str; 3] = ["http://127.0.0.1:30001", "http://127.0.0.1:30002", "http://127.0.0.1:30003"];

/// Addresses that stand for the engines of a reader.
const ENGINES: [&str; 5] = [
    "http://10.0.0.1:30000",
    "http://10.0.0.2:30000",
    "http://10.0.0.3:30000",
    "http://10.0.0.4:30000",
    "http://10.0.0.5:30000",
];

/// A started command, killed at the end of the test whatever happens.
struct Started {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Started {
    fn new(command: &mut Command, log: fn(&mut Child) -> Box<dyn Read>) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(log(&mut child)).lines().map(Result::unwrap);
        Self { child, lines: Box::new(lines) }
    }

    /// The first URL in the next line that has `word`.
    fn url(&mut self, word: &str) -> String {
        let line = self.lines.by_ref().find(|line| line.contains(word)).unwrap();
        line[line.find("http://").unwrap()..].split(['"', ' ']).next().unwrap().to_owned()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn out(child: &mut Child) -> Box<dyn Read> {
    Box::new(child.stdout.take().unwrap())
}

fn err(child: &mut Child) -> Box<dyn Read> {
    Box::new(child.stderr.take().unwrap())
}

/// What the pages are run against: two emulated workers behind a router.
struct Installation {
    router: String,
    workers: [String; 2],
    _started: [Started; 2],
}

impl Installation {
    fn start() -> Self {
        let mut fleet = Started::new(
            Command::new(BIN).args(["emulate", "--fleet", "h200@20*2", "--port-base", "0"]),
            out,
        );
        let workers = [fleet.url("h200"), fleet.url("h200")];
        let mut launch = Command::new(BIN);
        launch.args([
            "launch",
            "--port",
            "0",
            "--policy",
            "round_robin",
            "--enable-tracking",
            "--worker-urls",
        ]);
        let mut router = Started::new(launch.args(&workers), err);
        let url = router.url("listening");
        for _ in 0..2 {
            router.lines.by_ref().find(|line| line.contains("worker is healthy")).unwrap();
        }
        Self { router: url, workers, _started: [fleet, router] }
    }

    /// The command with addresses and paths of this machine.
    fn adapted(&self, command: &str) -> String {
        let mut text = command.replace("http://127.0.0.1:30000", &self.router);
        let address = self.router.trim_start_matches("http://");
        for known in ["127.0.0.1:30000", "localhost:30000"] {
            text = text.replace(known, address);
        }
        for (index, engine) in ENGINES.iter().enumerate().chain(EMULATED.iter().enumerate()) {
            // Of more than two engines the others are not there, which a launch does not wait for.
            let closed = format!("http://127.0.0.1:{}", index + 1);
            text = text.replace(engine, self.workers.get(index).unwrap_or(&closed));
        }
        if text.starts_with("sgl-router send") {
            // The default router has another port here, and the default rate would take long.
            for (flag, value) in [("--router-url", self.router.as_str()), ("--request-rate", "100")] {
                if !text.contains(flag) && !text.contains("--trace") {
                    text = format!("{text} {flag} {value}");
                }
            }
            // A load to look at goes on for minutes.
            text =
                text.replace("--request-rate 6 --num-requests 5000", "--request-rate 100 --num-requests 50");
        }
        let text = text.replace("collector:4317", "127.0.0.1:9").replace("/var/log/", "");
        text.split(" --port-base ").enumerate().fold(String::new(), |text, (index, part)| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            if index == 0 { part.to_owned() } else { format!("{text} --port-base 0{rest}") }
        })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All pages, in both languages.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("README.zh-CN.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "md") {
                pages.push(entry);
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 40);
    pages
}

/// The fenced blocks of a page in one of the languages.
fn blocks(page: &str, languages: &[&str]) -> Vec<String> {
    let fenced = page.split("```").collect::<Vec<_>>();
    let inside = fenced.iter().skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    inside.filter(|(language, _)| languages.contains(language)).map(|(_, block)| block.to_owned()).collect()
}

/// The commands of a block: lines that end in a backslash go on in the next one, and a quotation may have several lines.
fn commands(block: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in
        block.lines().map(|line| line.split_once("  # ").map_or(line, |(command, _)| command).trim_end())
    {
        match commands.last_mut().filter(|_| is_open) {
            Some(command) => {
                command.push('\n');
                command.push_str(line);
            }
            None => commands.push(line.to_owned()),
        }
        let command = commands.last().unwrap();
        is_open = command.ends_with('\\') || command.matches('\'').count() % 2 == 1;
    }
    commands.retain(|command| !command.trim().is_empty() && !command.starts_with('#'));
    commands
}

/// An empty folder for one page in one of the tests, which run at the same time.
fn folder_of(page: &Path, test: &str) -> PathBuf {
    let name = page.strip_prefix(root()).unwrap().to_string_lossy().replace(['/', '.'], "-");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documented").join(test).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a command in a shell that finds the program; one that serves is run until it says that it does.
fn run(command: &str, folder: &Path, page: &str) {
    let mut shell = Command::new("sh");
    let path = format!("PATH='{}':\"$PATH\"", Path::new(BIN).parent().unwrap().display());
    // curl reads its defaults there: an error status is a failure.
    std::fs::write(folder.join(".curlrc"), "fail\n").unwrap();
    shell.current_dir(folder).env("HOME", folder).stdin(Stdio::null());
    let served = command.trim_end_matches(|c| c != '&').trim_end_matches('&');
    let served = if served.is_empty() { command } else { served };
    let serves = ["launch", "endpoint-picker", "emulate"]
        .iter()
        .find(|word| served.starts_with(&format!("sgl-router {word} ")));
    let Some(word) = serves else {
        let output = shell.args(["-c", &format!("{path}; {command}")]).output().unwrap();
        let (printed, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{page}: {command}: {}\n{printed}{errors}", output.status);
        return;
    };
    let is_launch = *word != "emulate";
    let port = match is_launch {
        true if *word == "endpoint-picker" => " --port 0 --grpc-port 0 --host 127.0.0.1",
        true => " --port 0 --host 127.0.0.1",
        false if served.contains("--port-base") => "",
        false => " --port-base 0",
    };
    let log = if is_launch { err } else { out };
    let mut started = Started::new(shell.args(["-c", &format!("{path}; exec {served}{port}")]), log);
    let word = if is_launch { "listening" } else { "http://" };
    assert!(started.lines.by_ref().any(|line| line.contains(word)), "{page}: does not serve: {command}");
}

/// Shell commands of all pages.
#[test]
fn documented_shell_commands_run() {
    let installation = Installation::start();
    let mut run_commands = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let name = page.strip_prefix(root()).unwrap().to_string_lossy();
        let folder = folder_of(&page, "commands");
        for command in blocks(&text, &["sh", "bash"]).iter().flat_map(|block| commands(block)) {
            let program = command.split_whitespace().next().unwrap();
            if LEFT_OUT.contains(&program) || command.starts_with("sgl-router demo") {
                continue;
            }
            assert!(RUN.contains(&program), "{name}: should `{program}` be run, or left out? {command}");
            run(&installation.adapted(&command), &folder, &name);
            run_commands += 1;
        }
    }
    assert!(run_commands > 15, "only {run_commands} commands are run");
}

/// Configurations in TOML of all pages.
#[test]
fn documented_configurations_start_a_router() {
    let installation = Installation::start();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let name = page.strip_prefix(root()).unwrap().to_string_lossy();
        for block in blocks(&text, &["toml"]) {
            let folder = folder_of(&page, "configurations");
            std::fs::write(folder.join("router.toml"), installation.adapted(&block)).unwrap();
            run("sgl-router launch --config router.toml", &folder, &name);
        }
    }
}
