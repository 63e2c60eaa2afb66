//! Control routes as their clients see them.

use http::StatusCode;
use router_emulator::{Fault, FaultKind, SglangVersion};

use crate::client::{get, post, server};

const GENERATE: &str = r#"{"text": "a", "sampling_params": {"max_new_tokens": 2}}"#;

#[tokio::test]
async fn responses_name_the_weight_version() {
    let s = server(SglangVersion::Stock, 20.0).await;
    let version =
        async || post(&s, "/generate", GENERATE).await.json()["meta_info"]["weight_version"].clone();
    assert_eq!(version().await, "default");
    let update = r#"{"model_path": "m", "weight_version": "step \"7\""}"#;
    s.set_fault(Fault::new(FaultKind::FailUpdate));
    let failed = post(&s, "/update_weights_from_disk", update).await;
    assert_eq!((failed.status, &failed.json()["success"]), (StatusCode::BAD_REQUEST, &false.into()));
    assert_eq!(version().await, "default");
    s.clear_fault();
    assert_eq!(post(&s, "/update_weights_from_disk", update).await.json()["success"], true);
    assert_eq!(version().await, "step \"7\"");
    assert_eq!(get(&s, "/server_info").await.json()["weight_version"], "step \"7\"");
}

#[tokio::test]
async fn adapters_and_groups_are_kept() {
    let s = server(SglangVersion::Stock, 20.0).await;
    let load = r#"{"lora_name": "l", "lora_path": "/l"}"#;
    assert_eq!(post(&s, "/load_lora_adapter", load).await.status, StatusCode::OK);
    assert_eq!(post(&s, "/load_lora_adapter", load).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(get(&s, "/v1/models").await.json()["data"][1]["id"], "l");
    assert_eq!(post(&s, "/unload_lora_adapter", r#"{"lora_name": "l"}"#).await.status, StatusCode::OK);
    let parts = r#"{"names": [], "group_name": "g"}"#;
    assert_eq!(post(&s, "/update_weights_from_distributed", parts).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(post(&s, "/init_weights_update_group", parts).await.status, StatusCode::OK);
    assert_eq!(post(&s, "/update_weights_from_distributed", parts).await.status, StatusCode::OK);
    assert_eq!(get(&s, "/pause_generation").await.status, StatusCode::NOT_FOUND);
}
