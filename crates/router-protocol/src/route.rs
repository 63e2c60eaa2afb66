//! Which API a path belongs to. Only the path decides; methods and hosts do not.

use router_core::Route;

/// The API behind an HTTP path, query excluded. A trailing slash is ignored; an unknown path is [`Route::Other`].
///
/// ```
/// use router_core::Route;
/// use router_protocol::route_of;
/// assert_eq!(route_of("/v1/chat/completions"), Route::ChatCompletions);
/// assert_eq!(route_of("/v1/models"), Route::Other);
/// ```
pub fn route_of(path: &str) -> Route {
    match path.strip_suffix('/').unwrap_or(path) {
        "/generate" => Route::Generate,
        "/v1/chat/completions" => Route::ChatCompletions,
        "/v1/completions" => Route::Completions,
        "/v1/embeddings" => Route::Embeddings,
        "/v1/responses" => Route::Responses,
        "/rerank" | "/v1/rerank" | "/v2/rerank" | "/score" | "/v1/score" => Route::Rerank,
        "/classify" | "/v1/classify" | "/encode" => Route::Classify,
        "/tokenize" | "/v1/tokenize" | "/detokenize" | "/v1/detokenize" => Route::Tokenize,
        _ => Route::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_names_parse_to_their_route() {
        for route in Route::ALL {
            assert_eq!(route_of(route.as_str()), route);
        }
        assert_eq!(route_of("/v1/completions/"), Route::Completions);
        assert_eq!(route_of("/v1/responses/resp_1"), Route::Other);
        assert_eq!(route_of(""), Route::Other);
    }
}
