//! The events of a stream, out of its bytes (`text/event-stream`).

use bytes::BytesMut;

/// Most bytes of one event: a snapshot of ten thousand workers has a tenth of that.
const MOST_BYTES: usize = 64 << 20;

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Event {
    /// Its type; empty if it has none.
    pub(super) name: String,
    /// Its data; several lines are joined.
    pub(super) data: String,
}

/// Reads events from pieces of any length.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// What is not read yet.
    bytes: BytesMut,
    /// So many of them have no end of a line among them.
    searched: usize,
    name: String,
    data: Option<String>,
}

impl EventReader {
    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// When an event is longer than any that a router sends.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.bytes.extend_from_slice(bytes);
        let length = self.bytes.len() + self.data.as_ref().map_or(0, String::len);
        if length > MOST_BYTES { Err(format!("an event has more than {MOST_BYTES} bytes")) } else { Ok(()) }
    }

    /// The next whole event; `None` until more bytes come.
    pub(super) fn next(&mut self) -> Option<Event> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                let name = std::mem::take(&mut self.name);
                // An event without data is none.
                if let Some(data) = self.data.take() {
                    return Some(Event { name, data });
                }
                continue;
            }
            // A line that begins with a colon is a comment, and a field without one has no value.
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match (field, &mut self.data) {
                ("event", _) => value.clone_into(&mut self.name),
                ("data", Some(data)) => {
                    data.push('\n');
                    data.push_str(value);
                }
                ("data", none) => *none = Some(value.to_owned()),
                _ => {}
            }
        }
        None
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Option<String> {
        let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let line = self.bytes.split_to(self.searched + end + 1);
        self.searched = 0;
        let text = String::from_utf8_lossy(&line);
        Some(text.trim_end_matches('\n').trim_end_matches('\r').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: snapshot\ndata: {\"a\":\"é\"}\n\nevent: delta\r\ndata:1\r\ndata: 2\r\nid: 3\r\n\r\nevent: x\n\ndata\n\ndata: not whole";

    fn read(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<(String, String)> {
        let (mut reader, mut all) = (EventReader::default(), Vec::new());
        for piece in pieces {
            reader.take(&piece).unwrap();
            while let Some(event) = reader.next() {
                all.push((event.name, event.data));
            }
        }
        all
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let expected = [("snapshot", "{\"a\":\"é\"}"), ("delta", "1\n2"), ("", "")];
        let expected: Vec<_> = expected.map(|(name, data)| (name.to_owned(), data.to_owned())).into();
        for size in 1..STREAM.len() {
            assert_eq!(read(STREAM.as_bytes().chunks(size).map(<[u8]>::to_vec)), expected, "{size}");
        }
    }

    #[test]
    fn endless_event_is_refused() {
        let mut reader = EventReader::default();
        let piece = vec![b'x'; 1 << 20];
        let taken = (0..100).take_while(|_| reader.take(&piece).is_ok()).count();
        assert_eq!(taken, 64);
    }
}
