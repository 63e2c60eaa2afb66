//! The connections to one worker.

use crate::call::{Answer, Call, metadata};
use crate::error::{GrpcError, TransportError};
use crate::framing::MessageReader;
use crate::http2::{CallBody, H2Body, H2Connection};
use crate::messages::Empty;
use crate::receiver::{Messages, Receiver};
use crate::request::PreparedCall;
use crate::response::GrpcResponse;
use crate::rpc::Rpc;
use crate::watch::EngineStates;
use http::response::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use parking_lot::Mutex;
use std::sync::Arc;
use thread_local::ThreadLocal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// The connections to one worker. Each thread has its own, because a connection wakes the thread that opened it. A connection carries
/// as many calls at once as the worker allows; another one is opened when all are full.
#[derive(Debug)]
pub struct GrpcChannel<E: Send + Sync> {
    /// The URI of each call.
    uris: Vec<Uri>,
    threads: ThreadLocal<ThreadConnections<E>>,
}

#[derive(Debug)]
struct ThreadConnections<E: Send + Sync> {
    open: Mutex<Vec<H2Connection>>,
    /// Held by the call that connects, so that the others of a burst wait for it and share the connection. It has when and why the last
    /// attempt failed.
    connecting: tokio::sync::Mutex<Option<(Instant, Arc<E>)>>,
}

impl<E: Send + Sync> Default for ThreadConnections<E> {
    fn default() -> Self {
        Self { open: Mutex::default(), connecting: tokio::sync::Mutex::new(None) }
    }
}

/// A connection for a call.
struct Chosen {
    connection: H2Connection,
    /// It was opened for this call.
    is_new: bool,
}

impl<E: Send + Sync> GrpcChannel<E> {
    /// The channel to the worker at `authority`, by the scheme of HTTP that says whether there is TLS.
    pub fn new(scheme: Scheme, authority: Authority) -> Self {
        let uri = |rpc: Rpc| {
            let mut uri = http::uri::Parts::default();
            uri.scheme = Some(scheme.clone());
            uri.authority = Some(authority.clone());
            uri.path_and_query = Some(PathAndQuery::from_static(rpc.path()));
            // All three parts are there, which is all that can be wrong.
            Uri::from_parts(uri).unwrap_or_default()
        };
        Self { uris: Rpc::ALL.into_iter().map(uri).collect(), threads: ThreadLocal::new() }
    }

    /// Sends a request as calls of the service and waits for the head of the response, which comes with the first message. `dial`
    /// opens a connection.
    ///
    /// A request that got nothing back on a connection that was open before, not even a head, goes once more on a new one, unless it has an id that
    /// the worker may have seen.
    ///
    /// # Errors
    /// When the worker cannot be reached or the connection breaks. That a call failed is a response.
    pub async fn send<S, F>(
        &self,
        request: &PreparedCall,
        dial: impl Fn() -> F,
    ) -> Result<(Parts, GrpcResponse), GrpcError<E>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<S, E>>,
    {
        let Chosen { connection, is_new } = self.connection(&dial, true).await?;
        let receiver = match self.start(&connection, request).await {
            Ok(receiver) => receiver,
            Err(error) if is_new || matches!(error, TransportError::Invalid(_)) => return Err(error.into()),
            Err(error) if !error.is_refused() && request.is_repeat_forbidden => {
                return Err(GrpcError::Stale(error));
            }
            Err(_) => {
                let Chosen { connection, .. } = self.connection(&dial, false).await?;
                self.start(&connection, request).await?
            }
        };
        Ok(GrpcResponse::receive(receiver, &request.call.answer).await?)
    }

    /// Asks for the states of the server, with these headers.
    ///
    /// # Errors
    /// When the worker cannot be reached.
    pub async fn watch<S, F>(
        &self,
        headers: &HeaderMap,
        dial: impl Fn() -> F,
    ) -> Result<EngineStates, GrpcError<E>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<S, E>>,
    {
        let mut metadata = metadata::begin();
        metadata.extend(headers.clone());
        // Its messages are not made an HTTP response.
        let call = Call::one(Rpc::WatchEngineState, &Empty {}, Answer::Aborted);
        let request = PreparedCall { call, metadata, is_repeat_forbidden: false, deadline: None };
        let Chosen { connection, .. } = self.connection(&dial, true).await?;
        Ok(EngineStates(self.start(&connection, &request).await?))
    }

    /// Closes all but one of each thread's connections on which no call is open: a burst needed more.
    pub fn evict_idle(&self) {
        for thread in &self.threads {
            let mut place = 0;
            thread.open.lock().retain(|connection| {
                place += 1;
                !connection.has_ended() && (place == 1 || !connection.is_idle())
            });
        }
    }

    /// Sends the messages, and waits for the heads of the responses.
    async fn start(
        &self,
        connection: &H2Connection,
        request: &PreparedCall,
    ) -> Result<Receiver, TransportError> {
        let mut receiver = Receiver::default();
        for message in &request.call.messages {
            let active = connection.activate();
            let mut metadata = request.metadata.clone();
            if let Some(deadline) = request.deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                metadata.insert(metadata::TIMEOUT, metadata::timeout(left));
            }
            let (response, mut body) = connection.send(self.request(request.call.rpc, metadata))?;
            body.send_data(message.clone(), true)?;
            let (head, received) = response.await?.into_parts();
            let body = H2Body::new(received, active);
            receiver.push(messages(&head.headers, head.status, body)?);
        }
        Ok(receiver)
    }

    fn request(&self, rpc: Rpc, headers: HeaderMap) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uris.get(rpc as usize).cloned().unwrap_or_default();
        *request.headers_mut() = headers;
        request
    }

    /// A connection with room for one more call: one that is open, if `reuse` says so, or a new one.
    async fn connection<S, F>(&self, dial: &impl Fn() -> F, reuse: bool) -> Result<Chosen, GrpcError<E>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<S, E>>,
    {
        let thread = self.threads.get_or_default();
        if reuse && let Some(connection) = thread.with_room() {
            return Ok(Chosen { connection, is_new: false });
        }
        let asked = Instant::now();
        let mut last_failure = thread.connecting.lock().await;
        match last_failure.as_ref() {
            Some((failed, error)) if *failed > asked => return Err(GrpcError::Connect(Arc::clone(error))),
            _ => {}
        }
        // Another call may have connected meanwhile.
        if reuse && let Some(connection) = thread.with_room() {
            return Ok(Chosen { connection, is_new: false });
        }
        let wire = match dial().await {
            Ok(wire) => wire,
            Err(error) => {
                let error = Arc::new(error);
                *last_failure = Some((Instant::now(), Arc::clone(&error)));
                return Err(GrpcError::Connect(error));
            }
        };
        let connection = H2Connection::open(wire).await?;
        thread.open.lock().push(connection.clone());
        Ok(Chosen { connection, is_new: true })
    }
}

impl<E: Send + Sync> ThreadConnections<E> {
    /// The first connection with room for one more call; those that have ended go.
    fn with_room(&self) -> Option<H2Connection> {
        let mut open = self.open.lock();
        open.retain(|connection| !connection.has_ended());
        open.iter().find(|connection| connection.has_room()).cloned()
    }
}

/// The messages of a response.
///
/// # Errors
/// When it is not one of gRPC.
fn messages(headers: &HeaderMap, status: StatusCode, body: H2Body) -> Result<Messages, TransportError> {
    let is_grpc = headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if status == StatusCode::OK && !is_grpc {
        return Err(TransportError::Invalid("the response is not one of gRPC"));
    }
    Ok(match tonic::Status::from_header_map(headers) {
        Some(status) => Messages::Ended(Some(status)),
        None => Messages::Streamed(MessageReader::new(CallBody::H2(body))),
    })
}
