//! A well-behaved client of HTTP/2, by the h2 library.

use crate::support::PATIENCE;
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request, Response};
use router_proxy::RunningRouter;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A connection that speaks HTTP/2 from its first byte.
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A request to any path of the router.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://localhost{path}"))
}

impl Client {
    pub(crate) async fn connect(router: &RunningRouter) -> Self {
        Self::connect_with(router, &Builder::new()).await
    }

    pub(crate) async fn connect_with(router: &RunningRouter, builder: &Builder) -> Self {
        let socket = TcpStream::connect(router.address()).await.unwrap();
        let (sender, connection) = builder.handshake(socket).await.unwrap();
        Self { sender, connection: tokio::spawn(connection) }
    }

    /// Sends a request; its response is still to come.
    pub(crate) async fn begin(
        &mut self,
        request: http::request::Builder,
        body: &'static str,
    ) -> h2::client::ResponseFuture {
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request.body(()).unwrap(), body.is_empty()).unwrap();
        if !body.is_empty() {
            stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
        }
        response
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn open(
        &mut self,
        request: http::request::Builder,
        body: &'static str,
    ) -> Response<RecvStream> {
        let response = self.begin(request, body).await;
        timeout(PATIENCE, response).await.expect("no response came").unwrap()
    }

    /// Sends a request and reads its whole response.
    pub(crate) async fn send(&mut self, request: http::request::Builder, body: &'static str) -> Answer {
        whole(self.open(request, body).await).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &'static str) -> Answer {
        self.send(request("POST", path), body).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(request("GET", path), "").await
    }

    /// Closes the TCP connection without a word.
    pub(crate) fn vanish(self) {
        self.connection.abort();
    }

    /// How the connection ends when the router ends it.
    pub(crate) async fn ended(self) -> Result<(), h2::Error> {
        let Self { sender, connection } = self;
        drop(sender);
        timeout(PATIENCE, connection).await.expect("the connection never ended").unwrap()
    }

    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }
}

/// The next piece of a body; `None` at its end.
pub(crate) async fn piece(body: &mut RecvStream) -> Option<Result<String, h2::Error>> {
    loop {
        let data = timeout(PATIENCE, body.data()).await.expect("nothing came")?;
        let data = data.map(|data| {
            body.flow_control().release_capacity(data.len()).unwrap();
            String::from_utf8(data.to_vec()).unwrap()
        });
        // The end may come in a frame of its own.
        if data.as_ref().is_ok_and(String::is_empty) {
            continue;
        }
        return Some(data);
    }
}

pub(crate) async fn whole(response: Response<RecvStream>) -> Answer {
    let (parts, mut stream) = response.into_parts();
    let mut body = String::new();
    while let Some(data) = piece(&mut stream).await {
        body += &data.unwrap();
    }
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}
