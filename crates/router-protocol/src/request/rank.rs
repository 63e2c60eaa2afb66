//! One data-parallel rank of a server, chosen by whoever sends the request.

use bytes::Bytes;

use crate::disaggregation::set_members;

/// The body for rank `rank` of an SGLang server, whatever rank the client wanted. `None` when it is not one JSON object.
///
/// `data_parallel_rank` is known to every version that knows ranks. Later ones call it `routed_dp_rank` and heed that name
/// first, so it is set where the client did.
///
/// ```
/// use router_protocol::set_rank;
/// assert_eq!(set_rank(br#"{"text":"hi"}"#, 3).unwrap(), r#"{"text":"hi","data_parallel_rank":3}"#);
/// assert_eq!(
///     set_rank(br#"{"routed_dp_rank":0,"text":"hi"}"#, 3).unwrap(),
///     r#"{"routed_dp_rank":3,"text":"hi","data_parallel_rank":3}"#
/// );
/// ```
pub fn set_rank(body: &[u8], rank: u32) -> Option<Bytes> {
    let rank = rank.to_string();
    let members = [("data_parallel_rank", &rank), ("routed_dp_rank", &rank)];
    let later = memchr::memmem::find(body, b"\"routed_dp_rank\"").is_some();
    set_members(body, &members[..if later { 2 } else { 1 }])
}
