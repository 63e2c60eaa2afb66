//! What a response says about itself: read at once ([`read_response`]) or while it streams by ([`StreamObserver`]).
//! Both end in the same [`ResponseFacts`].

mod error;
pub(crate) mod events;
mod facts;
mod finish;
mod meta_info;
mod object;
mod stream;
mod usage;

pub use error::EngineError;
pub use facts::ResponseFacts;
pub use stream::{MAX_EVENT_BYTES, StreamObserver};

use crate::json::{JsonReader, Parse};
use facts::ResponseSum;
use meta_info::ResponseForm;
use object::ResponseObject;

/// Reads the body of a response that was not streamed. Never fails: what is not JSON is `complete: false` and unknown.
///
/// ```
/// let body = br#"{"text":"a","meta_info":{"prompt_tokens":3,"completion_tokens":8,"finish_reason":{"type":"stop"}}}"#;
/// let facts = router_protocol::read_response(body);
/// assert_eq!((facts.usage.prompt_tokens, facts.usage.output_tokens), (Some(3), Some(8)));
/// ```
pub fn read_response(body: &[u8]) -> ResponseFacts {
    let mut sum = ResponseSum::new(ResponseForm::Whole);
    let mut r = JsonReader::new(body);
    let read = match r.peek() {
        Ok(b'[') => add_elements(&mut sum, &mut r),
        Ok(b'{') => add_object(&mut sum, &mut r),
        _ => return ResponseFacts::default(),
    };
    if read.is_err() || !r.at_end() {
        return ResponseFacts::default();
    }
    ResponseFacts { complete: true, ..sum.facts }
}

fn add_elements(sum: &mut ResponseSum, r: &mut JsonReader<'_>) -> Parse<()> {
    // A list of numbers is a response of `/tokenize` or the like; it need not be walked.
    if r.numbers().is_some() {
        return Ok(());
    }
    r.elements(|r| add_object(sum, r))
}

fn add_object(sum: &mut ResponseSum, r: &mut JsonReader<'_>) -> Parse<()> {
    let mut object = ResponseObject::default();
    object.read_into(r)?;
    sum.add(&mut object);
    Ok(())
}
