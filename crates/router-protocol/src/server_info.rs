//! What a worker reports about itself: model, limits, version.

use std::borrow::Cow;

use crate::json::{JsonReader, Parse};

/// Facts about a worker. Absent means that the body does not say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerInfo {
    /// The name clients use for the model: `served_model_name`, else the `id` of the first entry of `/v1/models`,
    /// else `model_path`.
    pub model: Option<String>,
    /// The entries of `/v1/models`, adapters included; empty for other bodies.
    pub models: Vec<ListedModel>,
    /// How many requests run at once.
    pub max_running_requests: Option<u32>,
    /// How many requests one data-parallel rank runs at once.
    pub max_running_per_rank: Option<u32>,
    /// How many tokens fit into the KV cache.
    pub max_total_tokens: Option<u64>,
    /// Most tokens of a prompt and its output together.
    pub context_length: Option<u64>,
    /// How many data-parallel ranks it has.
    pub dp_size: Option<u32>,
    /// How many tensor-parallel ranks it has.
    pub tp_size: Option<u32>,
    /// Tokens per KV page; prefixes are cached in whole pages.
    pub page_size: Option<u32>,
    /// The engine's version.
    pub version: Option<String>,
    /// `prefill` or `decode`; absent for a server that does both.
    pub disaggregation_mode: Option<String>,
    /// The port of the prefill server's bootstrap service.
    pub disaggregation_bootstrap_port: Option<u16>,
    /// Whether it generates text, as opposed to embeddings.
    pub is_generation: Option<bool>,
    /// The engine, as `/v1/models` names it (`sglang`, `vllm`).
    pub owned_by: Option<String>,
    /// The version of the model's weights, a text of whoever updates them.
    pub weight_version: Option<String>,
    /// The seed of the server's random numbers. SGLang draws one at each start, unless it is told one.
    pub random_seed: Option<u64>,
    /// When the process started, in Unix seconds.
    pub started_at: Option<u64>,
    /// The port of SGLang's gRPC service beside its HTTP server.
    pub grpc_port: Option<u16>,
}

/// One entry of `/v1/models`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListedModel {
    /// The name that requests have.
    pub id: String,
    /// Where the model was loaded from: names with the same root are names of one model.
    pub root: Option<String>,
    /// The model that this one adapts; absent for a model of its own.
    pub parent: Option<String>,
}

impl ServerInfo {
    /// Whether the process was started after `earlier` facts were told, if it told both times when it was started.
    pub fn is_restart_of(&self, earlier: &Self) -> bool {
        matches!((self.started_at, earlier.started_at), (Some(new), Some(old)) if new > old)
    }

    /// Whether these facts and `earlier` ones from the same address are of two servers. Facts that change while a server
    /// runs do not count: the list of models grows with each adapter, and new weights may bring another name of the model,
    /// while the random seed stays.
    pub fn is_of_another_server(&self, earlier: &Self) -> bool {
        fn differ<T: PartialEq>(new: &Option<T>, old: &Option<T>) -> bool {
            matches!((new, old), (Some(new), Some(old)) if new != old)
        }
        let is_same_process = self.random_seed.is_some() && self.random_seed == earlier.random_seed;
        differ(&self.model, &earlier.model) && !is_same_process
            || differ(&self.version, &earlier.version)
            || differ(&self.random_seed, &earlier.random_seed)
            || differ(&self.owned_by, &earlier.owned_by)
            || differ(&self.max_running_requests, &earlier.max_running_requests)
            || differ(&self.max_total_tokens, &earlier.max_total_tokens)
            || differ(&self.context_length, &earlier.context_length)
            || differ(&self.page_size, &earlier.page_size)
            || differ(&self.dp_size, &earlier.dp_size)
            || differ(&self.tp_size, &earlier.tp_size)
            || differ(&self.disaggregation_mode, &earlier.disaggregation_mode)
            || differ(&self.is_generation, &earlier.is_generation)
    }

    /// These facts, with those of `earlier` where they say nothing.
    #[must_use]
    pub fn completed_by(self, earlier: &Self) -> Self {
        let earlier = earlier.clone();
        Self {
            model: self.model.or(earlier.model),
            models: if self.models.is_empty() { earlier.models } else { self.models },
            max_running_requests: self.max_running_requests.or(earlier.max_running_requests),
            max_running_per_rank: self.max_running_per_rank.or(earlier.max_running_per_rank),
            max_total_tokens: self.max_total_tokens.or(earlier.max_total_tokens),
            context_length: self.context_length.or(earlier.context_length),
            dp_size: self.dp_size.or(earlier.dp_size),
            tp_size: self.tp_size.or(earlier.tp_size),
            page_size: self.page_size.or(earlier.page_size),
            version: self.version.or(earlier.version),
            disaggregation_mode: self.disaggregation_mode.or(earlier.disaggregation_mode),
            disaggregation_bootstrap_port: self
                .disaggregation_bootstrap_port
                .or(earlier.disaggregation_bootstrap_port),
            is_generation: self.is_generation.or(earlier.is_generation),
            owned_by: self.owned_by.or(earlier.owned_by),
            random_seed: self.random_seed.or(earlier.random_seed),
            weight_version: self.weight_version.or(earlier.weight_version),
            started_at: self.started_at.or(earlier.started_at),
            grpc_port: self.grpc_port.or(earlier.grpc_port),
        }
    }
}

/// Reads the body of `/get_server_info`, `/server_info`, `/get_model_info`, `/model_info`, `/v1/models` or `/version`
/// of SGLang or vLLM. `None` when it is not JSON or has none of these facts.
pub fn parse_server_info(body: &[u8]) -> Option<ServerInfo> {
    let mut reader = InfoReader::default();
    let mut r = JsonReader::new(body);
    if r.peek().ok()? != b'{' {
        return None;
    }
    r.fields(|key, r| reader.member(key, r)).ok()?;
    if !r.at_end() {
        return None;
    }
    let info = reader.finish();
    (info != ServerInfo::default()).then_some(info)
}

#[derive(Default)]
struct InfoReader {
    info: ServerInfo,
    served: Option<String>,
    path: Option<String>,
    /// The size of the KV cache as the engine measured it; `max_total_tokens` is the argument that it was started with.
    max_total_num_tokens: Option<u64>,
    /// From `internal_states`, where a server was started without naming a limit.
    effective_running: Option<u32>,
}

impl InfoReader {
    fn member(&mut self, key: &[u8], r: &mut JsonReader<'_>) -> Parse<()> {
        let info = &mut self.info;
        match key {
            b"served_model_name" => self.served = owned(r)?,
            b"model_path" => self.path = owned(r)?,
            b"max_running_requests" => info.max_running_requests = r.count()?,
            b"max_total_tokens" => info.max_total_tokens = r.whole_number()?,
            b"max_total_num_tokens" => self.max_total_num_tokens = r.whole_number()?,
            b"context_length" | b"max_model_len" => info.context_length = r.whole_number()?,
            b"dp_size" => info.dp_size = r.count()?,
            b"tp_size" => info.tp_size = r.count()?,
            b"page_size" => info.page_size = r.count()?,
            b"version" => info.version = owned(r)?,
            b"disaggregation_mode" => info.disaggregation_mode = owned(r)?.filter(|m| m != "null"),
            b"disaggregation_bootstrap_port" => {
                info.disaggregation_bootstrap_port = r.count()?.and_then(|p| u16::try_from(p).ok());
            }
            b"grpc_port" => info.grpc_port = r.count()?.and_then(|port| u16::try_from(port).ok()),
            b"weight_version" => info.weight_version = owned(r)?,
            b"is_generation" => info.is_generation = boolean(r)?,
            b"random_seed" => info.random_seed = r.whole_number()?,
            b"internal_states" => self.internal_states(r)?,
            b"scheduler_info" => r.fields(|key, r| match key {
                b"max_total_num_tokens" => r.whole_number().map(|n| self.max_total_num_tokens = n),
                _ => r.skip(),
            })?,
            b"data" => self.models(r)?,
            _ => r.skip()?,
        }
        Ok(())
    }

    fn internal_states(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        r.elements(|r| {
            r.fields(|key, r| {
                match key {
                    b"effective_max_running_requests_per_dp" => self.effective_running = r.count()?,
                    _ => r.skip()?,
                }
                Ok(())
            })
        })
    }

    fn models(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        r.elements(|r| {
            let first = self.info.models.is_empty();
            let mut model = ListedModel::default();
            r.fields(|key, r| {
                match key {
                    b"id" => model.id = owned(r)?.unwrap_or_default(),
                    b"root" => model.root = owned(r)?,
                    b"parent" => model.parent = owned(r)?,
                    b"owned_by" if first => self.info.owned_by = owned(r)?,
                    b"max_model_len" if first => self.info.context_length = r.whole_number()?,
                    _ => r.skip()?,
                }
                Ok(())
            })?;
            if !model.id.is_empty() {
                self.info.models.push(model);
            }
            Ok(())
        })
    }

    fn finish(self) -> ServerInfo {
        let mut info = self.info;
        info.model = self.served.or_else(|| info.models.first().map(|model| model.id.clone())).or(self.path);
        info.max_total_tokens = self.max_total_num_tokens.or(info.max_total_tokens);
        info.max_running_requests = info.max_running_requests.or(self.effective_running);
        info.max_running_per_rank = self.effective_running;
        info
    }
}

fn owned(r: &mut JsonReader<'_>) -> Parse<Option<String>> {
    Ok(r.text()?.map(Cow::into_owned).filter(|s| !s.is_empty()))
}

fn boolean(r: &mut JsonReader<'_>) -> Parse<Option<bool>> {
    Ok(match r.raw()? {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    })
}
