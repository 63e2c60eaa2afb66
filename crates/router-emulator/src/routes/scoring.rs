//! Routes that generate nothing: embeddings, reranking, classification, the tokenizer.
//!
//! A real server serves either these or generation, by how it was launched; this one serves both. They cost no
//! engine time.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::api::body::HttpResponse;
use crate::api::errors::{bad_request, json_response, parse};
use crate::api::request::{MessagesBody, OneOrMany, PromptBody};
use crate::api::text;
use crate::state::ServerState;

/// Dimensions of an embedding.
const DIMENSIONS: usize = 64;

/// A number in -1..1 that depends on the text alone.
fn score(text: &[u8], seed: u64) -> f64 {
    (xxh3_64_with_seed(text, seed) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn usage(tokens: u32) -> Value {
    json!({
        "prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": null,
        "reasoning_tokens": 0, "completion_tokens_details": null,
    })
}

#[derive(Deserialize)]
struct EmbeddingsBody {
    input: PromptBody,
    model: Option<String>,
    encoding_format: Option<String>,
}

/// `POST /v1/embeddings`.
pub(crate) fn embeddings(server: &ServerState, body: &[u8]) -> HttpResponse {
    let parsed: EmbeddingsBody = match parse(body, "/v1/embeddings") {
        Ok(parsed) => parsed,
        Err(malformed) => return malformed.response(),
    };
    let inputs = parsed.input.into_prompts();
    let tokens: u32 = inputs.iter().map(crate::api::generation::Prompt::tokens).sum();
    if inputs.is_empty() || inputs.iter().any(|p| p.tokens() == 0) {
        return bad_request("Input cannot be empty");
    }
    let base64 = parsed.encoding_format.as_deref() == Some("base64");
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, prompt)| {
            let key = format!("{prompt:?}");
            let vector: Vec<f32> = (0..DIMENSIONS).map(|d| score(key.as_bytes(), d as u64) as f32).collect();
            let embedding = if base64 { json!(encode(&vector)) } else { json!(vector) };
            json!({"embedding": embedding, "index": index, "object": "embedding"})
        })
        .collect();
    let model = parsed.model.as_deref().unwrap_or(&server.config().model_name);
    json_response(
        StatusCode::OK,
        &json!({"data": data, "model": model, "object": "list", "usage": usage(tokens)}),
    )
}

/// Little-endian floats in base64, as the OpenAI API has it.
fn encode(vector: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |g, b| g << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sextet = (group >> (18 - 6 * i)) & 63;
            out.push(if i <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    out
}

#[derive(Deserialize)]
struct RerankBody {
    query: String,
    documents: Vec<String>,
    #[serde(default)]
    top_n: Option<usize>,
    #[serde(default)]
    return_documents: Option<bool>,
}

/// `POST /v1/rerank`: a list, best first.
pub(crate) fn rerank(server: &ServerState, body: &[u8]) -> HttpResponse {
    let parsed: RerankBody = match parse(body, "/v1/rerank") {
        Ok(parsed) => parsed,
        Err(malformed) => return malformed.response(),
    };
    if parsed.query.is_empty() || parsed.documents.is_empty() {
        return bad_request("Query and documents cannot be empty");
    }
    let mut ranked: Vec<(f64, usize)> = parsed
        .documents
        .iter()
        .enumerate()
        .map(|(i, d)| (score(format!("{}\0{d}", parsed.query).as_bytes(), server.config().seed), i))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let show = parsed.return_documents.unwrap_or(true);
    let results: Vec<Value> = ranked
        .into_iter()
        .take(parsed.top_n.unwrap_or(usize::MAX))
        .map(|(score, index)| {
            let document = if show { json!(parsed.documents[index]) } else { Value::Null };
            json!({"score": score, "document": document, "index": index, "meta_info": {"id": server.new_id()}})
        })
        .collect();
    json_response(StatusCode::OK, &results)
}

#[derive(Deserialize)]
struct ClassifyBody {
    #[serde(alias = "text")]
    input: OneOrMany<String>,
    model: Option<String>,
}

/// `POST /v1/classify` with two labels.
pub(crate) fn classify(server: &ServerState, body: &[u8]) -> HttpResponse {
    let parsed: ClassifyBody = match parse(body, "/v1/classify") {
        Ok(parsed) => parsed,
        Err(malformed) => return malformed.response(),
    };
    let inputs = parsed.input.into_vec();
    let tokens = inputs.iter().map(|i| text::count(i)).sum();
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let p = f64::midpoint(score(input.as_bytes(), server.config().seed), 1.0);
            let label = if p > 0.5 { "LABEL_1" } else { "LABEL_0" };
            json!({"index": index, "label": label, "probs": [1.0 - p, p], "num_classes": 2})
        })
        .collect();
    let clock = server.driver().clock();
    let model = parsed.model.as_deref().unwrap_or(&server.config().model_name);
    let body = json!({
        "id": format!("classify-{}", server.new_id()), "object": "list",
        "created": clock.unix(clock.now()) as u64, "model": model, "data": data, "usage": usage(tokens),
    });
    json_response(StatusCode::OK, &body)
}

#[derive(Deserialize)]
struct ScoreBody {
    query: PromptBody,
    items: PromptBody,
    label_token_ids: Vec<u32>,
    model: Option<String>,
}

/// `POST /v1/score`: for each item the likelihood of each label.
pub(crate) fn likelihoods(server: &ServerState, body: &[u8]) -> HttpResponse {
    let parsed: ScoreBody = match parse(body, "/v1/score") {
        Ok(parsed) => parsed,
        Err(malformed) => return malformed.response(),
    };
    if parsed.label_token_ids.is_empty() {
        return bad_request("label_token_ids cannot be empty");
    }
    let (query, items) = (format!("{:?}", parsed.query), parsed.items.into_prompts());
    let tokens = items.iter().map(crate::api::generation::Prompt::tokens).sum();
    let row = |item: &crate::api::generation::Prompt| -> Vec<f64> {
        let key = format!("{query}\0{item:?}");
        let label = |id: &u32| f64::midpoint(score(key.as_bytes(), u64::from(*id)), 1.0);
        parsed.label_token_ids.iter().map(label).collect()
    };
    let scores: Vec<_> = items.iter().map(row).collect();
    let model = parsed.model.as_deref().unwrap_or(&server.config().model_name);
    json_response(
        StatusCode::OK,
        &json!({"scores": scores, "model": model, "usage": usage(tokens), "object": "scoring"}),
    )
}

#[derive(Deserialize)]
struct TokenizeBody {
    #[serde(alias = "text")]
    prompt: OneOrMany<String>,
}

/// `POST /tokenize`.
pub(crate) fn tokenize(server: &ServerState, body: &[u8]) -> HttpResponse {
    let parsed: TokenizeBody = match parse(body, "/v1/tokenize") {
        Ok(parsed) => parsed,
        Err(malformed) => return malformed.response(),
    };
    let max = server.model().context_tokens;
    let body = match parsed.prompt {
        OneOrMany::One(prompt) => {
            let tokens = text::ids(&prompt);
            json!({"count": tokens.len(), "tokens": tokens, "max_model_len": max})
        }
        OneOrMany::Many(prompts) => {
            let tokens: Vec<_> = prompts.iter().map(|p| text::ids(p)).collect();
            let count: Vec<_> = tokens.iter().map(Vec::len).collect();
            json!({"tokens": tokens, "count": count, "max_model_len": max})
        }
    };
    json_response(StatusCode::OK, &body)
}

/// `POST /v1/messages/count_tokens`.
pub(crate) fn count_tokens(body: &[u8]) -> HttpResponse {
    match parse::<MessagesBody>(body, "/v1/messages/count_tokens") {
        Ok(parsed) => json_response(StatusCode::OK, &json!({"input_tokens": parsed.prompt().tokens()})),
        Err(malformed) => malformed.response(),
    }
}

#[derive(Deserialize)]
struct DetokenizeBody {
    tokens: Vec<u32>,
}

/// `POST /detokenize`.
pub(crate) fn detokenize(body: &[u8]) -> HttpResponse {
    match parse::<DetokenizeBody>(body, "/v1/detokenize") {
        Ok(parsed) => json_response(StatusCode::OK, &json!({"text": text::from_ids(&parsed.tokens)})),
        Err(malformed) => malformed.response(),
    }
}
