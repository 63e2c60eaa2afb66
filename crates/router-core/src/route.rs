//! The APIs that the router knows, and all that depends on the API alone.

/// The API that a request uses. Closed and low-cardinality: it is a metric label.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Route {
    /// `/generate`, SGLang's native API.
    Generate,
    /// `/v1/chat/completions`.
    ChatCompletions,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`, Anthropic's API.
    Messages,
    /// `/rerank`, `/v1/rerank`, `/v2/rerank`, `/score` and `/v1/score`.
    Rerank,
    /// `/classify`, `/v1/classify` and `/encode`.
    Classify,
    /// `/tokenize`, `/detokenize`, their `/v1` forms, and `/v1/messages/count_tokens`.
    Tokenize,
    /// `/v1/realtime`, a WebSocket.
    Realtime,
    /// Any other path, passed through.
    #[default]
    Other,
}

impl Route {
    /// Every route, in declaration order.
    pub const ALL: [Self; 11] = [
        Self::Generate,
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Messages,
        Self::Rerank,
        Self::Classify,
        Self::Tokenize,
        Self::Realtime,
        Self::Other,
    ];

    /// The API behind an HTTP path, query excluded. Only the path decides; methods and hosts do not. A trailing slash is
    /// ignored; an unknown path is [`Route::Other`].
    ///
    /// ```
    /// use router_core::Route;
    /// assert_eq!(Route::of_path("/v1/chat/completions"), Route::ChatCompletions);
    /// assert_eq!(Route::of_path("/v1/models"), Route::Other);
    /// ```
    pub fn of_path(path: &str) -> Self {
        match path.strip_suffix('/').unwrap_or(path) {
            "/generate" => Self::Generate,
            "/v1/chat/completions" => Self::ChatCompletions,
            "/v1/completions" => Self::Completions,
            "/v1/embeddings" => Self::Embeddings,
            "/v1/responses" => Self::Responses,
            "/v1/messages" => Self::Messages,
            "/rerank" | "/v1/rerank" | "/v2/rerank" | "/score" | "/v1/score" => Self::Rerank,
            "/classify" | "/v1/classify" | "/encode" => Self::Classify,
            "/tokenize" | "/v1/tokenize" | "/detokenize" | "/v1/detokenize" | "/v1/messages/count_tokens" => {
                Self::Tokenize
            }
            "/v1/realtime" => Self::Realtime,
            _ => Self::Other,
        }
    }

    /// The name of the route in metrics, records and traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generate => "/generate",
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::Rerank => "/rerank",
            Self::Classify => "/classify",
            Self::Tokenize => "/tokenize",
            Self::Realtime => "/v1/realtime",
            Self::Other => "other",
        }
    }

    /// The position of the route in [`Route::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// How a request id that the router makes begins: the prefixes that SGLang's own routers use.
    pub const fn request_id_prefix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chatcmpl-",
            Self::Completions => "cmpl-",
            Self::Generate => "gnt-",
            Self::Responses => "resp-",
            Self::Messages => "msg_",
            _ => "req-",
        }
    }

    /// Whether the model runs for such a request, so that a data-parallel rank serves it and its response has token counts.
    pub const fn runs_the_model(self) -> bool {
        !matches!(self, Self::Tokenize | Self::Other)
    }

    /// Whether the response is text that the model generates, so that it has output tokens.
    pub const fn generates_text(self) -> bool {
        matches!(
            self,
            Self::Generate | Self::ChatCompletions | Self::Completions | Self::Responses | Self::Messages
        )
    }

    /// Whether such a request may be sent to another worker after a response of 5xx. A route that the router does not know
    /// may not be idempotent.
    pub const fn retries_after_error(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// Whether such a request has a prefill and a decode leg with `--pd-disaggregation`: engines accept the members that
    /// connect the two legs on these routes only, SGLang not on [`Route::Messages`].
    pub const fn is_split(self) -> bool {
        matches!(self, Self::Generate | Self::ChatCompletions | Self::Completions | Self::Messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_names_parse_to_their_route() {
        for (index, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(Route::of_path(route.as_str()), route);
            assert_eq!(route.index(), index);
        }
        assert_eq!(Route::of_path("/v1/completions/"), Route::Completions);
        assert_eq!(Route::of_path("/v1/responses/resp_1"), Route::Other);
        assert_eq!(Route::of_path(""), Route::Other);
    }
}
