//! What is refused: half a setup, and requests that cannot be split.

use super::pair::{Pair, code};
use crate::support::post;
use router_config::Options;
use router_config::PdProtocol;

#[tokio::test]
async fn reserved_members_are_refused_other_mistakes_pass() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    for (request, member) in [
        (r#"{"text":"a","bootstrap_room":1}"#, "bootstrap_room"),
        (r#"{"text":"a","bootstrap_host":"10.0.0.9"}"#, "bootstrap_host"),
        (r#"{"text":"a","kv_transfer_params":{"remote_host":"10.0.0.9"}}"#, "kv_transfer_params"),
        ("[1]", "one JSON object"),
        (r#"{"text":"#, "one JSON object"),
    ] {
        let answer = post(&pair.router, "/generate", request).await;
        assert_eq!((&answer[9..12], code(&answer).as_str()), ("400", "unsplittable_request"), "{answer}");
        assert!(answer.contains(member), "{answer}");
    }
    let huge = post(&pair.router, "/v1/chat/completions", r#"{"messages":[],"n":4000000000}"#).await;
    assert_eq!(code(&huge), "unsplittable_request");
    let answer = post(&pair.router, "/generate", r#"{"sampling_params":{}}"#).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("Either text, input_ids or input_embeds should be provided."), "{answer}");
    pair.at_rest().await;
}

#[test]
fn half_a_setup_is_refused_by_name() {
    let refused = |change: fn(&mut Options)| {
        let mut options = Options {
            pd_disaggregation: true,
            prefill: vec![
                "http://a:1".into(),
                "9000".into(),
                "http://b:1".into(),
                "none".into(),
                "http://c:1".into(),
            ],
            decode: vec!["http://d:1".into()],
            ..Options::default()
        };
        change(&mut options);
        options.check(&router_core::Registry::builtin()).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(|_| {}), "");
    for (change, start) in [
        ((|o| o.pd_disaggregation = false) as fn(&mut Options), "--prefill: needs --pd-disaggregation"),
        (|o| o.prefill.clear(), "--prefill: no worker is given"),
        (|o| o.decode.clear(), "--decode: no worker is given"),
        (
            |o| o.prefill = vec!["http://a:1".into(), "70000".into()],
            "--prefill: '70000' is neither a port nor none",
        ),
        (|o| o.prefill = vec!["9000".into()], "--prefill: worker URL '9000'"),
        (|o| o.decode.push("http://d:1/".into()), "--decode: worker 'http://d:1' is given twice"),
        (|o| o.decode.push("http://b:1".into()), "--decode: worker 'http://b:1' cannot do both"),
        (
            |o| o.worker_urls = vec!["http://e:1".into()],
            "--worker-urls: cannot be combined with --pd-disaggregation",
        ),
        (|o| o.hedge_after = Some("1s".into()), "--hedge-after: cannot be combined with --pd-disaggregation"),
        (|o| o.dp_aware = true, "--dp-aware: cannot be combined with --pd-disaggregation"),
        (|o| o.prefill_policy = Some("nonsense".into()), "--prefill-policy: "),
    ] {
        let error = refused(change);
        assert!(error.starts_with(start), "{error}");
    }
}
