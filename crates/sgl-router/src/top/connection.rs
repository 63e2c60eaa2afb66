//! The stream of one router, begun again each time it ends.

use super::events::{Event, EventReader};
use crate::clean_text::clean_all;
use crate::router_client::{RouterClient, RouterClientError, RouterStream};
use router_live::{Delta, Snapshot};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// The stream.
const PATH: &str = "/v1/live";

/// After so long without an event the connection counts as lost; a router sends two a second.
const SILENCE: Duration = Duration::from_secs(10);

/// The first and the longest pause before the router is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What the stream tells.
#[derive(Debug)]
pub(super) enum News {
    /// All there is.
    Snapshot(Box<Snapshot>),
    /// What has changed since the event before.
    Delta(Box<Delta>),
    /// The connection is lost, for this reason; it is begun again.
    Lost(String),
}

/// The stream of one router.
#[derive(Debug)]
pub(super) struct Connection {
    client: RouterClient,
    stream: Option<RouterStream>,
    reader: EventReader,
    /// The number of the last event; `None` before the first one of a stream.
    seq: Option<u64>,
    pause: Duration,
}

impl Connection {
    /// Begins the stream.
    ///
    /// # Errors
    /// When the router cannot be reached or refuses.
    pub(super) async fn open(client: RouterClient) -> Result<Self, RouterClientError> {
        let stream = Some(client.events(PATH).await?);
        Ok(Self { client, stream, reader: EventReader::default(), seq: None, pause: PAUSES.0 })
    }

    /// The next event. After [`News::Lost`] it waits a while and begins the stream again; what is not read from then on stays unread.
    ///
    /// # Errors
    /// When the router refuses for good: asking again would not help.
    pub(super) async fn next(&mut self) -> Result<News, RouterClientError> {
        if self.stream.is_none() {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSES.1);
            match self.client.events(PATH).await {
                Ok(stream) => {
                    (self.stream, self.reader, self.seq) = (Some(stream), EventReader::default(), None)
                }
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => return Ok(News::Lost(error.to_string())),
            }
        }
        match self.event().await {
            Ok(news) => {
                self.pause = PAUSES.0;
                Ok(news)
            }
            Err(cause) => {
                self.stream = None;
                Ok(News::Lost(cause))
            }
        }
    }

    /// The next event of a stream that is open.
    async fn event(&mut self) -> Result<News, String> {
        loop {
            while let Some(event) = self.reader.next() {
                if let Some(news) = self.read(&event)? {
                    return Ok(news);
                }
            }
            let Some(stream) = &mut self.stream else { return Err("no stream is open".to_owned()) };
            let bytes = tokio::time::timeout(SILENCE, stream.next()).await;
            let bytes = bytes.map_err(|_| format!("it has said nothing for {} s", SILENCE.as_secs()))??;
            self.reader.take(&bytes.ok_or("the router ended the stream")?)?;
        }
    }

    /// What an event says; `None` for one of a kind that this version does not know.
    fn read(&mut self, event: &Event) -> Result<Option<News>, String> {
        let (seq, news) = match (event.name.as_str(), self.seq) {
            ("snapshot", _) => {
                let snapshot: Box<Snapshot> = parsed(&event.data)?;
                (snapshot.seq, News::Snapshot(snapshot))
            }
            ("delta", Some(last)) => {
                let delta: Box<Delta> = parsed(&event.data)?;
                if delta.seq != last + 1 {
                    return Err("an event is missing".to_owned());
                }
                (delta.seq, News::Delta(delta))
            }
            _ => return Ok(None),
        };
        self.seq = Some(seq);
        Ok(Some(news))
    }
}

/// Whether the router would refuse again.
const fn is_final(error: &RouterClientError) -> bool {
    matches!(error, RouterClientError::Key { .. } | RouterClientError::Refused { status: 403 | 404, .. })
}

/// The data of an event, with nothing in its texts that a terminal would obey.
fn parsed<T: DeserializeOwned>(data: &str) -> Result<T, String> {
    let unreadable = |error: serde_json::Error| format!("an event cannot be read: {error}");
    let mut value: Value = serde_json::from_str(data).map_err(unreadable)?;
    clean_all(&mut value);
    serde_json::from_value(value).map_err(unreadable)
}
