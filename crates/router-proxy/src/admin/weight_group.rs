//! Requests that make workers members of one group of processes, in which each worker has ranks of its own.
//!
//! The engine's rank is `rank_offset` plus its tensor-parallel rank. With one offset for all, two workers would claim the same
//! rank, and the group would wait for the missing ones for ever. So each worker gets the offset after the ranks of the ones
//! before it.

use super::recipients::Recipient;
use bytes::Bytes;
use serde_json::Value;

/// Why no offsets can be given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "worker {0} does not report its number of ranks (tp_size), so the rank_offset of the workers after it is not known; send a \
     call of its own to each worker (?worker=URL), all at the same time"
)]
pub(super) struct UnknownSize(String);

/// The body for each worker.
pub(super) fn bodies(body: &Bytes, workers: &[Recipient]) -> Result<Vec<Bytes>, UnknownSize> {
    let sizes = workers.iter().map(|to| (to.worker.url.as_str(), to.worker.profile.load().reported.tp_size));
    with_offsets(body, &sizes.collect::<Vec<_>>())
}

/// The body for each worker of this URL and number of ranks.
fn with_offsets(body: &Bytes, workers: &[(&str, Option<u32>)]) -> Result<Vec<Bytes>, UnknownSize> {
    let parsed = serde_json::from_slice::<Value>(body).ok();
    let (Some(mut parsed), 2..) = (parsed, workers.len()) else { return Ok(same(body, workers.len())) };
    let Some(first) = offset(&mut parsed).and_then(|offset| offset.as_u64()) else {
        return Ok(same(body, workers.len()));
    };
    let mut next = first;
    let mut bodies = Vec::new();
    for (n, (url, size)) in workers.iter().enumerate() {
        if let Some(offset) = offset(&mut parsed) {
            *offset = next.into();
        }
        bodies.push(Bytes::from(parsed.to_string()));
        if n + 1 < workers.len() {
            next += u64::from(size.ok_or_else(|| UnknownSize((*url).to_owned()))?);
        }
    }
    Ok(bodies)
}

/// The offset in a request: SGLang has it at the top, vLLM in `init_info`.
fn offset(body: &mut Value) -> Option<&mut Value> {
    let members = body.as_object_mut()?;
    if members.contains_key("rank_offset") {
        return members.get_mut("rank_offset");
    }
    members.get_mut("init_info")?.as_object_mut()?.get_mut("rank_offset")
}

fn same(body: &Bytes, count: usize) -> Vec<Bytes> {
    vec![body.clone(); count]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_workers_follow_each_other() {
        let body = Bytes::from_static(br#"{"group_name":"g","rank_offset":1,"world_size":7}"#);
        let workers = [("http://a:1", Some(4)), ("http://b:1", Some(2)), ("http://c:1", None)];
        let offsets = |bodies: Vec<Bytes>| {
            let one = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap()["rank_offset"].as_u64();
            bodies.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(offsets(with_offsets(&body, &workers).unwrap()), [Some(1), Some(5), Some(7)]);
        let unknown = [workers[2], workers[0]];
        assert_eq!(with_offsets(&body, &unknown), Err(UnknownSize("http://c:1".to_owned())));
    }

    #[test]
    fn other_bodies_are_the_same_for_all() {
        let one = [("http://a:1", None)];
        let two = [one[0], one[0]];
        for (body, workers) in [(&br#"{"rank_offset":1}"#[..], &one[..]), (b"{}", &two), (b"no JSON", &two)] {
            let bodies = with_offsets(&Bytes::from_static(body), workers).unwrap();
            assert!(bodies.len() == workers.len() && bodies.iter().all(|b| b == body), "{bodies:?}");
        }
    }
}
