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
                Err(RouterClientError::Unreachable { cause, .. }) => return Ok(News::Lost(cause)),
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
pub(super) fn parsed<T: DeserializeOwned>(data: &str) -> Result<T, String> {
    let unreadable = |error: serde_json::Error| format!("an event cannot be read: {error}");
    let mut value: Value = serde_json::from_str(data).map_err(unreadable)?;
    clean_all(&mut value);
    serde_json::from_value(value).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router_client::RouterArgs;
    use clap::Parser;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        router: RouterArgs,
    }

    fn events(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
    }

    /// A router that gives each connection the next one of these answers, and then closes it.
    fn router(answers: Vec<String>) -> RouterClient {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut socket, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).unwrap();
                    head.extend_from_slice(&byte);
                }
                socket.write_all(answer.as_bytes()).unwrap();
            }
        });
        RouterClient::new(&Command::parse_from(["x", "--url", &url]).router).unwrap()
    }

    #[tokio::test]
    async fn stream_is_begun_again_until_the_router_refuses_for_good() {
        let snapshot = "event: snapshot\ndata: {\"seq\":7}\n\n";
        let delta = |seq| format!("event: delta\ndata: {{\"seq\":{seq}}}\n\n");
        let client = router(vec![
            events(&format!("event: later\ndata: x\n\n{snapshot}{}{}", delta(8), delta(10))),
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ]);
        let mut connection = Connection::open(client).await.unwrap();
        assert!(matches!(connection.next().await, Ok(News::Snapshot(now)) if now.seq == 7));
        assert!(matches!(connection.next().await, Ok(News::Delta(delta)) if delta.seq == 8));
        assert!(matches!(connection.next().await, Ok(News::Lost(why)) if why == "an event is missing"));
        assert!(matches!(connection.next().await, Err(RouterClientError::Key { .. })));
    }

    #[tokio::test]
    async fn ends_and_refusals_are_told_and_tried_again() {
        let client = router(vec![
            events("event: snapshot\ndata: {}\n\n"),
            "HTTP/1.1 503 Busy\r\ncontent-length: 27\r\n\r\n{\"error\":\"a\\u001b[2J many\"}".to_owned(),
            events("event: snapshot\ndata: {\"seq\":1}\n\n"),
        ]);
        let mut connection = Connection::open(client).await.unwrap();
        assert!(matches!(connection.next().await, Ok(News::Snapshot(_))));
        assert!(matches!(connection.next().await, Ok(News::Lost(why)) if why.contains("ended")));
        let refused = connection.next().await;
        assert!(
            matches!(&refused, Ok(News::Lost(why)) if why.contains("(503): a\u{fffd}[2J many")),
            "{refused:?}"
        );
        assert!(matches!(connection.next().await, Ok(News::Snapshot(now)) if now.seq == 1));
    }

    #[tokio::test]
    async fn other_servers_are_told_apart() {
        let client = router(vec!["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned()]);
        let refused = Connection::open(client).await.unwrap_err().to_string();
        assert!(refused.contains("not that of a router: /v1/live is no stream of events"), "{refused}");
    }
}
