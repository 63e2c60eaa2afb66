//! Messages on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};

/// Bytes before each message: whether it is compressed, and its length.
const HEADER: usize = 5;

/// A message with its length before it.
pub(crate) fn framed<M: Message>(message: &M) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEADER + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Writing to memory that grows cannot fail.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// Takes the messages out of a response as they are; what they mean depends on the call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawMessages;

impl Decoder for RawMessages {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        use bytes::Buf;
        let length = message.remaining();
        Ok(Some(message.copy_to_bytes(length)))
    }
}
