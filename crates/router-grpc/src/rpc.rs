//! The calls of the service.

/// The service that SGLang serves with `--grpc-port`.
pub const SERVICE: &str = "sglang.runtime.v1.SglangService";

/// A call of [`SERVICE`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rpc {
    /// OpenAI's chat completions.
    ChatComplete,
    /// OpenAI's completions.
    Complete,
    /// OpenAI's embeddings.
    OpenAiEmbed,
    /// Classification.
    OpenAiClassify,
    /// The likelihood of given continuations.
    Score,
    /// The order of documents.
    Rerank,
    /// Text from text.
    TextGenerate,
    /// Tokens from tokens.
    Generate,
    /// Whether the server serves.
    HealthCheck,
    /// What is running and waiting.
    GetLoad,
    /// The model.
    GetModelInfo,
    /// The server's settings.
    GetServerInfo,
    /// The model and its adapters.
    ListModels,
    /// The server's state, now and after each change.
    WatchEngineState,
    /// Tokens of a text.
    Tokenize,
    /// Text of tokens.
    Detokenize,
    /// Ends a request.
    Abort,
    /// Empties the prefix cache.
    FlushCache,
    /// Stops generation for a while.
    PauseGeneration,
    /// Goes on with it.
    ContinueGeneration,
    /// Loads other weights.
    UpdateWeightsFromDisk,
}

impl Rpc {
    /// Every call.
    pub const ALL: [Self; 21] = [
        Self::ChatComplete,
        Self::Complete,
        Self::OpenAiEmbed,
        Self::OpenAiClassify,
        Self::Score,
        Self::Rerank,
        Self::TextGenerate,
        Self::Generate,
        Self::HealthCheck,
        Self::GetLoad,
        Self::GetModelInfo,
        Self::GetServerInfo,
        Self::ListModels,
        Self::WatchEngineState,
        Self::Tokenize,
        Self::Detokenize,
        Self::Abort,
        Self::FlushCache,
        Self::PauseGeneration,
        Self::ContinueGeneration,
        Self::UpdateWeightsFromDisk,
    ];

    /// Its name in the service.
    pub fn as_str(self) -> &'static str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    /// The path of the HTTP/2 request.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatComplete => "/sglang.runtime.v1.SglangService/ChatComplete",
            Self::Complete => "/sglang.runtime.v1.SglangService/Complete",
            Self::OpenAiEmbed => "/sglang.runtime.v1.SglangService/OpenAIEmbed",
            Self::OpenAiClassify => "/sglang.runtime.v1.SglangService/OpenAIClassify",
            Self::Score => "/sglang.runtime.v1.SglangService/Score",
            Self::Rerank => "/sglang.runtime.v1.SglangService/Rerank",
            Self::TextGenerate => "/sglang.runtime.v1.SglangService/TextGenerate",
            Self::Generate => "/sglang.runtime.v1.SglangService/Generate",
            Self::HealthCheck => "/sglang.runtime.v1.SglangService/HealthCheck",
            Self::GetLoad => "/sglang.runtime.v1.SglangService/GetLoad",
            Self::GetModelInfo => "/sglang.runtime.v1.SglangService/GetModelInfo",
            Self::GetServerInfo => "/sglang.runtime.v1.SglangService/GetServerInfo",
            Self::ListModels => "/sglang.runtime.v1.SglangService/ListModels",
            Self::WatchEngineState => "/sglang.runtime.v1.SglangService/WatchEngineState",
            Self::Tokenize => "/sglang.runtime.v1.SglangService/Tokenize",
            Self::Detokenize => "/sglang.runtime.v1.SglangService/Detokenize",
            Self::Abort => "/sglang.runtime.v1.SglangService/Abort",
            Self::FlushCache => "/sglang.runtime.v1.SglangService/FlushCache",
            Self::PauseGeneration => "/sglang.runtime.v1.SglangService/PauseGeneration",
            Self::ContinueGeneration => "/sglang.runtime.v1.SglangService/ContinueGeneration",
            Self::UpdateWeightsFromDisk => "/sglang.runtime.v1.SglangService/UpdateWeightsFromDisk",
        }
    }

    /// The call that a path names.
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rpc| rpc.path() == path)
    }
}
