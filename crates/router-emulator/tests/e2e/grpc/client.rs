//! A client that keeps the messages of a call as they came, and its status.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use router_emulator::{Emulator, EmulatorConfig, RunningEmulator, SglangVersion};
use router_engine::EngineProfile;
use tokio::net::TcpStream;

/// A server with both ports, at `speed` times the pace of an 8B model.
pub(crate) async fn server(speed: f64) -> RunningEmulator {
    server_with(|config| config.speed = speed).await
}

/// The same with another configuration.
pub(crate) async fn server_with(change: impl FnOnce(&mut EmulatorConfig)) -> RunningEmulator {
    let mut config = EmulatorConfig::new(EngineProfile::named("sglang_8b").unwrap());
    (config.version, config.grpc_port) = (SglangVersion::Stock, Some(0));
    change(&mut config);
    Emulator::start(config).await.unwrap()
}

/// How a call ended: a status, or nothing where the connection was cut.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) messages: Vec<Bytes>,
    pub(crate) status: Option<i32>,
    pub(crate) details: String,
}

impl Ended {
    /// The messages of a call that ended with OK.
    pub(crate) fn ok<M: Message + Default>(&self) -> Vec<M> {
        assert_eq!(self.status, Some(0), "{}", self.details);
        self.messages.iter().map(|message| M::decode(message.clone()).unwrap()).collect()
    }

    /// The one message of a call that ended with OK.
    pub(crate) fn one<M: Message + Default>(&self) -> M {
        let mut all = self.ok();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }
}

/// A connection.
#[derive(Clone)]
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    metadata: HeaderMap,
}

/// A call whose answer is coming.
pub(crate) struct Call {
    headers: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
}

impl Client {
    pub(crate) async fn connect(server: &RunningEmulator) -> Self {
        let url = server.grpc_url().unwrap();
        let stream = TcpStream::connect(url.strip_prefix("grpc://").unwrap()).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, metadata: HeaderMap::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.metadata.insert(name, value.parse().unwrap());
        self
    }

    /// A call up to the headers of its answer.
    pub(crate) async fn open(&self, path: &str, message: Bytes) -> hyper::Result<Call> {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&message);
        let request = Request::post(format!("http://emulator{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let mut request = request.body(Full::new(frame.into())).unwrap();
        request.headers_mut().extend(self.metadata.clone());
        let (parts, body) = self.sender.clone().send_request(request).await?.into_parts();
        assert_eq!(
            (parts.status.as_u16(), &parts.headers["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        Ok(Call { headers: parts.headers, body, buffer: BytesMut::new() })
    }

    /// A call with the bytes of its request, to its end.
    pub(crate) async fn raw(&self, path: &str, message: Bytes) -> Ended {
        match self.open(path, message).await {
            Ok(call) => call.ended().await,
            Err(_) => Ended { messages: Vec::new(), status: None, details: String::new() },
        }
    }

    /// A call to its end.
    pub(crate) async fn call(&self, rpc: router_grpc::Rpc, request: &impl Message) -> Ended {
        self.raw(rpc.path(), request.encode_to_vec().into()).await
    }
}

impl Call {
    /// The next message; the error holds the trailers, or nothing where the connection was cut.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Option<HeaderMap>> {
        loop {
            if let Some(length) = self.buffer.get(1..5).map(|mut head| head.get_u32() as usize)
                && self.buffer.len() >= 5 + length
            {
                self.buffer.advance(5);
                return Ok(self.buffer.split_to(length).freeze());
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(trailers) => return Err(trailers.into_trailers().ok()),
                },
                Some(Err(_)) => return Err(None),
                // A status without messages is in the headers.
                None => return Err(self.headers.contains_key("grpc-status").then(|| self.headers.clone())),
            }
        }
    }

    pub(crate) async fn ended(mut self) -> Ended {
        let mut messages = Vec::new();
        let end = loop {
            match self.next().await {
                Ok(message) => messages.push(message),
                Err(end) => break end,
            }
        };
        let text = |name| Some(end.as_ref()?.get(name)?.to_str().unwrap().to_owned());
        let details = text("grpc-message").unwrap_or_default();
        Ended {
            messages,
            status: text("grpc-status").map(|code| code.parse().unwrap()),
            details: unescaped(&details),
        }
    }
}

/// `%0A` and the like as what they stand for.
fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (code, after) = after.split_at(2);
            out.push(u8::from_str_radix(std::str::from_utf8(code).unwrap(), 16).unwrap());
            rest = after;
        } else {
            out.push(first);
        }
    }
    String::from_utf8(out).unwrap()
}
