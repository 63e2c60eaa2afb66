//! A file that changes while the router runs, and `sgl-router check-config`.

use crate::support::{BIN, assert_mistake, get, start, text, url};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.toml", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

fn check(file: &PathBuf, flags: &[&str]) -> Output {
    Command::new(BIN).arg("check-config").arg(file).args(flags).output().unwrap()
}

#[test]
fn hang_up_reads_the_file_again() {
    let first = "start_empty = true\npolicy = 'random'\nqueue_size = 5\n";
    let path = file("hang-up", first);
    let flags = ["launch", "--port", "0", "--queue-timeout-secs", "7", "--config", path.to_str().unwrap()];
    let mut router = start(&flags, |c| Box::new(c.stderr.take().unwrap()));
    let base = url(&mut router, "listening");
    router.signal("-HUP");
    router.says("the configuration file says nothing new");
    std::fs::write(&path, format!("{first}port = 1\n")).unwrap();
    router.signal("-HUP");
    router.says("the configuration file says nothing new");
    std::fs::write(&path, format!("{first}seed = 3\nmax_payload_size = 9\n")).unwrap();
    router.signal("-HUP");
    router.says("the configuration stays as it was: nothing was changed: seed needs a restart");
    std::fs::write(&path, "start_empty = true\npolicy = 'least_request'\nqueue_timeout_secs = 3\n").unwrap();
    router.signal("-HUP");
    router.says(r#"configuration changed key="policy" from="random" to="least_request""#);
    std::fs::write(&path, "polcy = 1").unwrap();
    router.signal("-HUP");
    router.says("did you mean `policy`?");
    std::fs::write(&path, "start_empty = true\npolicy = 'least_request'\nlog_level = 'error'\n").unwrap();
    router.signal("-HUP");
    // While only errors are logged, this is not.
    while !get(&base, "/v1/config").contains(r#""log_level":{"live":true,"source":"file","value":"error"}"#) {
    }
    std::fs::write(&path, "start_empty = true\npolicy = 'round_robin'\nlog_level = 'info'\n").unwrap();
    router.signal("-HUP");
    router.says(r#"configuration changed key="log_level" from="error" to="info""#);
}

#[test]
fn valid_file_is_explained() {
    let path = file(
        "valid",
        "worker_urls = ['http://a:1']\npolicy = 'least_load'\n[[workers]]\nurl = 'http://b:1'\nweight = 2.0\n",
    );
    let output = check(&path, &["--port", "4000"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = text(&output.stdout);
    let row = |key: &str| {
        let line = page.lines().find(|line| line.split_whitespace().next() == Some(key)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!([row("port"), row("policy")], ["flag 4000", "file \"least_load\""]);
    assert_eq!(row("queue_size"), "default 100");
    for fact in [
        "least_load decides, and uses load reports",
        "worker http://b:1 has weight 2",
        "polled for their load every",
    ] {
        assert!(page.contains(fact), "{page}");
    }
    let json: Value = serde_json::from_slice(&check(&path, &["--json"]).stdout).unwrap();
    assert_eq!(
        (&json["valid"], &json["options"]["policy"]["source"]),
        (&Value::from(true), &Value::from("file"))
    );
}

#[test]
fn invalid_file_is_refused_with_its_line() {
    for (content, parts) in [
        ("start_empty = true\npolcy = 'x'\n", ["line 2", "unknown key `polcy`"]),
        ("start_empty = true\n\npolicy = 'randm'\n", ["line 3: --policy", "did you mean `random`?"]),
        ("start_empty = true\npolicy = 'random'\n[policy_options]\nx = 1\n", ["line 3", "no options"]),
        ("queue_size = -1\n", ["line 1", "queue_size"]),
    ] {
        let path = file("invalid", content);
        assert_mistake(&check(&path, &[]), &[content], &parts);
    }
    let path = file("invalid", "start_empty = true\npolicy = 'randm'\n");
    let json: Value = serde_json::from_slice(&check(&path, &["--json"]).stdout).unwrap();
    assert_eq!((&json["valid"], &json["line"]), (&Value::from(false), &Value::from(2)));
    assert_mistake(&check(&PathBuf::from("/nowhere.toml"), &[]), &["missing"], &["/nowhere.toml"]);
}
