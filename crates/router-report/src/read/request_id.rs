//! What the id of a request says: which request of a load it is.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Ids that recorders before this one wrote for every request.
const NO_IDS: [&[u8]; 3] = [b"", b"pending", b"unknown"];

/// What tells the same request in another run: the number in an id of `sgl-router send`, `req_NUMBER_MILLISECONDS`,
/// else a hash of the id. Absent where there is no id.
pub(super) fn key(id: &[u8]) -> Option<u64> {
    if NO_IDS.contains(&id) {
        return None;
    }
    Some(sent_by_us(id).map_or_else(|| hash(id), |(number, _)| number))
}

/// When the request of an id of `sgl-router send` was sent, in Unix seconds.
pub(super) fn sent_at(id: &[u8]) -> Option<f64> {
    sent_by_us(id).map(|(_, millis)| millis as f64 / 1e3)
}

fn sent_by_us(id: &[u8]) -> Option<(u64, u64)> {
    let (number, millis) = std::str::from_utf8(id).ok()?.strip_prefix("req_")?.split_once('_')?;
    Some((number.parse().ok()?, millis.parse().ok()?))
}

/// The same in every run of this program: the hasher has no random keys.
fn hash(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_load_differ_between_runs_and_their_keys_do_not() {
        assert_eq!(key(b"req_17_1764477783123"), key(b"req_17_1764479999999"));
        assert_ne!(key(b"req_17_1764477783123"), key(b"req_18_1764477783123"));
        assert_eq!(sent_at(b"req_17_1764477783123"), Some(1_764_477_783.123));
        assert_eq!(key(b"chat-a"), key(b"chat-a"));
        assert_ne!(key(b"chat-a"), key(b"chat-b"));
        assert_eq!((key(b"pending"), key(b""), sent_at(b"chat-a")), (None, None, None));
    }
}
