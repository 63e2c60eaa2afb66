//! Keys, ports, web pages: who gets what, and what is never told.

use crate::support::{RawClient, WrittenLog, header, options, router, worker};
use router_config::{Options, Secret};
use router_core::Registry;
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use tokio::net::TcpStream;

const CLIENT_KEY: &str = "client-hush-1";
const ADMIN_KEY: &str = "admin-hush-2";
const OPS_KEY: &str = "ops-hush-3";
const WORKER_KEY: &str = "worker-hush-4";

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

/// A worker that answers with the `authorization` that it saw.
async fn telling() -> SocketAddr {
    worker(|mut incoming| async move {
        let seen = incoming.header("authorization").unwrap_or("none").to_owned();
        incoming.send_json(&format!(r#"{{"saw":"{seen}"}}"#)).await;
    })
    .await
}

/// One request on a connection of its own, to any of the router's ports.
async fn call(address: SocketAddr, line: &str, headers: &[(&str, &str)]) -> String {
    call_host(address, "localhost", line, headers).await
}

/// The same, with this `host`.
async fn call_host(address: SocketAddr, host: &str, line: &str, headers: &[(&str, &str)]) -> String {
    let mut client = RawClient { socket: TcpStream::connect(address).await.unwrap(), seen: Vec::new() };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 2\r\n{headers}\r\n{{}}"
    );
    client.send(head).await;
    client.rest().await
}

async fn with_key(router: &RunningRouter, line: &str, key: &str) -> String {
    call(router.address(), line, &[("authorization", &format!("Bearer {key}"))]).await
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
}

fn locked(address: SocketAddr) -> Options {
    Options {
        api_key: Some(secret(CLIENT_KEY)),
        admin_api_key: Some(secret(ADMIN_KEY)),
        control_plane_api_keys: vec![secret(&format!("id1:Ops team:admin:{OPS_KEY}"))],
        ..options(&[address])
    }
}

#[tokio::test]
async fn keys_allow_their_routes() {
    let router = router(locked(telling().await)).await;
    for probe in ["/health", "/liveness", "/readiness", "/healthz", "/readyz"] {
        assert_eq!(status(&call(router.address(), &format!("GET {probe}"), &[]).await), 200, "{probe}");
    }
    let client_routes =
        ["POST /generate", "GET /v1/models", "GET /metrics", "GET /engine_metrics", "POST /any/other"];
    let admin_routes = [
        "GET /list_workers",
        "GET /workers",
        "DELETE /workers/1",
        "GET /get_loads",
        "GET /v1/scale",
        "POST /flush_cache",
        "GET /v1/traces",
        "POST /add_worker",
        "POST /pause_generation",
        "POST /update_weights_from_disk",
        "GET /start_profile",
        "POST /v1/load_lora_adapter",
    ];
    for line in client_routes {
        assert_eq!(status(&call(router.address(), line, &[]).await), 401, "{line}");
        assert_eq!(status(&with_key(&router, line, "client-hush-0").await), 401, "{line}");
        for key in [CLIENT_KEY, ADMIN_KEY, OPS_KEY] {
            let status = status(&with_key(&router, line, key).await);
            assert!(!matches!(status, 401 | 403), "{line}: {status}");
        }
    }
    for line in admin_routes {
        assert_eq!(status(&call(router.address(), line, &[]).await), 401, "{line}");
        assert_eq!(status(&with_key(&router, line, CLIENT_KEY).await), 401, "{line}");
        for key in [ADMIN_KEY, OPS_KEY] {
            assert_ne!(status(&with_key(&router, line, key).await), 401, "{line}");
        }
    }
    let refused = call(router.address(), "POST /v1/chat/completions", &[]).await;
    assert_eq!(header(&refused, "www-authenticate"), Some("Bearer"));
    assert!(refused.contains(r#""code":"invalid_api_key""#) && header(&refused, "x-request-id").is_some());
}

#[tokio::test]
async fn only_admins_abort_all_requests() {
    let router = router(locked(telling().await)).await;
    for (body, key, expected) in [
        (r#"{"rid":"mine"}"#, CLIENT_KEY, 200),
        (r#"{"rid":"mine","abort_all":false}"#, CLIENT_KEY, 200),
        (r#"{"abort_all":true}"#, CLIENT_KEY, 401),
        (r#"{"rid":""}"#, CLIENT_KEY, 401),
        ("{}", CLIENT_KEY, 401),
        (r#"{"rid":"mine","abort_all":true}"#, ADMIN_KEY, 200),
    ] {
        let mut client = RawClient::connect(&router).await;
        let length = body.len();
        let head = format!(
            "POST /abort_request HTTP/1.1\r\nhost: r\r\nauthorization: Bearer {key}\r\nconnection: close"
        );
        client.send(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}")).await;
        assert_eq!(status(&client.rest().await), expected, "{body} {key}");
    }
}

#[tokio::test]
async fn router_keys_never_reach_workers() {
    let address = telling().await;
    let locked = router(locked(address)).await;
    for key in [CLIENT_KEY, ADMIN_KEY] {
        assert!(with_key(&locked, "POST /generate", key).await.ends_with(r#"{"saw":"none"}"#));
    }
    assert!(!with_key(&locked, "POST /flush_cache", ADMIN_KEY).await.contains("hush"));
    let open = router(options(&[address])).await;
    assert!(with_key(&open, "POST /generate", "engine").await.ends_with(r#"{"saw":"Bearer engine"}"#));
    let keyed = Options { worker_api_key: Some(secret(WORKER_KEY)), ..options(&[address]) };
    let keyed = router(keyed).await;
    let answer = with_key(&keyed, "POST /generate", "mine").await;
    assert!(answer.ends_with(&format!(r#"{{"saw":"Bearer {WORKER_KEY}"}}"#)), "{answer}");
}

#[tokio::test]
async fn admin_routes_are_local_without_key() {
    let router = router(options(&[telling().await])).await;
    assert_eq!(status(&call(router.address(), "GET /list_workers", &[]).await), 200);
    let rebound = call_host(router.address(), "evil.example", "GET /workers", &[]).await;
    assert!(status(&rebound) == 403 && rebound.contains("use localhost"), "{rebound}");
    for elsewhere in
        [("x-forwarded-host", "a.example"), ("x-real-ip", "203.0.113.9"), ("origin", "https://evil.example")]
    {
        let answer = call(router.address(), "GET /list_workers", &[elsewhere]).await;
        assert_eq!(status(&answer), 403, "{elsewhere:?}: {answer}");
        assert!(answer.contains(r#""code":"forbidden""#));
        assert_eq!(status(&call(router.address(), "POST /generate", &[elsewhere]).await), 200);
    }
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let open = router(options(&[telling().await])).await;
    for line in [
        "GET /flush_cache",
        "POST /flush_cache",
        "POST /abort_request",
        "GET /start_profile",
        "DELETE /workers/1",
    ] {
        for site in ["cross-site", "same-site", "anything"] {
            let refused = call(open.address(), line, &[("sec-fetch-site", site)]).await;
            assert_eq!(status(&refused), 403, "{line} {site}: {refused}");
            assert!(refused.contains(r#""code":"forbidden""#), "{refused}");
        }
        for site in ["same-origin", "none"] {
            let answer = call(open.address(), line, &[("sec-fetch-site", site)]).await;
            assert_ne!(status(&answer), 403, "{line} {site}: {answer}");
        }
    }
    assert_eq!(status(&call(open.address(), "GET /health", &[("sec-fetch-site", "cross-site")]).await), 200);
    let page = "https://ops.example";
    let shared = Options { cors_allowed_origins: vec![page.to_owned()], ..locked(telling().await) };
    let shared = router(shared).await;
    let key = format!("Bearer {ADMIN_KEY}");
    for (origin, expected) in [(page, 200), ("https://evil.example", 403)] {
        let headers = [("authorization", &*key), ("sec-fetch-site", "cross-site"), ("origin", origin)];
        assert_eq!(status(&call(shared.address(), "GET /workers", &headers).await), expected, "{origin}");
    }
}

#[tokio::test]
async fn admin_routes_on_their_own_port() {
    let apart = Options { admin_port: Some(0), ..options(&[telling().await]) };
    let router = router(apart).await;
    let admin = router.admin_address().unwrap();
    assert_eq!(status(&call(admin, "GET /list_workers", &[]).await), 200);
    assert_eq!(status(&call(admin, "GET /health", &[]).await), 200);
    assert_eq!(status(&call(admin, "POST /generate", &[]).await), 404, "no inference there");
    let refused = call(router.address(), "GET /list_workers", &[]).await;
    assert!(status(&refused) == 404 && !refused.contains("saw"), "{refused}");
    assert_eq!(status(&call(router.address(), "POST /generate", &[]).await), 200);
    for line in ["GET /dashboard", "GET /v1/live"] {
        let refused = call(router.address(), line, &[]).await;
        assert!(status(&refused) == 404 && refused.contains("their own port"), "{line}: {refused}");
    }
    let page = call(admin, "GET /dashboard", &[]).await;
    assert!(status(&page) == 200 && page.contains("<title>sgl-router</title>"), "{page}");
}

#[tokio::test]
async fn buttons_of_the_page_work_for_the_page_of_this_router_alone() {
    let open = router(options(&[telling().await])).await;
    let patch = "PATCH /v1/config?dry_run=true";
    let own = format!("http://{}", open.address());
    let of_own_page = [(patch, &*own, 200), ("PUT /workers/none", &own, 404)];
    let others = [
        (patch, "http://127.0.0.1:1", 403),
        (patch, "https://evil.example", 403),
        (patch, "null", 403),
        ("DELETE /workers/none", &own, 403),
        ("POST /flush_cache", &own, 403),
        ("GET /workers", &own, 403),
    ];
    for (line, origin, expected) in of_own_page.into_iter().chain(others) {
        let headers = [("origin", origin), ("sec-fetch-site", "same-origin")];
        let answer = call_host(open.address(), &open.address().to_string(), line, &headers).await;
        assert_eq!(status(&answer), expected, "{line} {origin}: {answer}");
    }
    let off = router(Options { no_dashboard: true, ..options(&[telling().await]) }).await;
    let (host, own) = (off.address().to_string(), format!("http://{}", off.address()));
    let refused = call_host(off.address(), &host, patch, &[("origin", &own)]).await;
    assert_eq!(status(&refused), 403, "there is no such page: {refused}");
    for line in ["GET /dashboard", "GET /v1/live"] {
        let refused = call(off.address(), line, &[]).await;
        assert!(
            status(&refused) == 404 && refused.contains(r#""code":"dashboard_off""#),
            "{line}: {refused}"
        );
    }
}

#[tokio::test]
async fn cors_allows_configured_origins() {
    let page = "https://chat.example";
    let shared = Options { cors_allowed_origins: vec![page.to_owned()], ..locked(telling().await) };
    let router = router(shared).await;
    let asks = [
        ("origin", page),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, x-mine"),
    ];
    let preflight = call(router.address(), "OPTIONS /v1/chat/completions", &asks).await;
    assert_eq!(status(&preflight), 204, "a browser asks without a key: {preflight}");
    assert_eq!(header(&preflight, "access-control-allow-origin"), Some(page));
    assert_eq!(header(&preflight, "access-control-allow-headers"), Some("authorization, x-mine"));
    assert!(header(&preflight, "access-control-allow-methods").unwrap().contains("POST"));
    assert!(preflight.to_ascii_lowercase().contains("vary: origin"));
    let bearer = format!("Bearer {CLIENT_KEY}");
    let answer =
        call(router.address(), "POST /generate", &[("origin", page), ("authorization", &bearer)]).await;
    assert_eq!((status(&answer), header(&answer, "access-control-allow-origin")), (200, Some(page)));
    assert!(header(&answer, "access-control-expose-headers").unwrap().contains("x-request-id"));
    let refused = call(router.address(), "POST /generate", &[("origin", page)]).await;
    assert_eq!((status(&refused), header(&refused, "access-control-allow-origin")), (401, Some(page)));
    let stranger = [("origin", "https://evil.example"), asks[1]];
    for line in ["OPTIONS /generate", "POST /generate"] {
        let answer = call(router.address(), line, &stranger).await;
        assert_eq!(header(&answer, "access-control-allow-origin"), None, "{answer}");
        assert!(
            answer.to_ascii_lowercase().contains("vary: origin"),
            "caches must not mix pages up: {answer}"
        );
    }
}

/// Everything that the router can say about itself and its requests, with keys all over.
#[tokio::test]
async fn keys_are_never_shown() {
    let log = WrittenLog::default();
    let _guard = tracing::subscriber::set_default(log.subscriber(tracing::Level::TRACE));
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("quiet");
    let _ = std::fs::remove_dir_all(&dir);
    let options = Options {
        worker_api_key: Some(secret(WORKER_KEY)),
        enable_tracking: true,
        record_dir: Some(dir.clone()),
        record_candidates: true,
        ..locked(telling().await)
    };
    let mut said = vec![format!("{options:?}"), serde_json::to_string(&options).unwrap()];
    said.push(format!("{:?}", options.check(&Registry::builtin()).unwrap()));
    let router = router(options).await;
    said.push(format!("{router:?}"));
    for key in [CLIENT_KEY, ADMIN_KEY, "wrong-hush"] {
        said.push(with_key(&router, "POST /v1/completions", key).await.replace(WORKER_KEY, ""));
    }
    for line in ["GET /v1/traces", "GET /metrics", "GET /list_workers", "GET /get_loads", "POST /add_worker"]
    {
        said.push(with_key(&router, line, ADMIN_KEY).await);
    }
    router.shutdown().await;
    for entry in std::fs::read_dir(&dir).unwrap() {
        said.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    said.push(log.text());
    assert!(said.len() > 12 && said.iter().all(|text| !text.is_empty()));
    for text in said {
        assert!(!text.contains("hush"), "{text}");
    }
}
