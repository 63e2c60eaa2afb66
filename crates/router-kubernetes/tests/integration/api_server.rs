//! An API server of Kubernetes: lists with pages and versions, watches with events and bookmarks, and every way in which they
//! fail.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};

type Body = BoxBody<Bytes, Infallible>;

/// How a watch that begins at a version that is not kept any more is refused. Servers do both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// By the status of the response.
    Status,
    /// By an event of the stream.
    Event,
}

/// The server. It stops when dropped.
pub struct ApiServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: AbortHandle,
}

struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    log: Vec<Change>,
    /// Changes up to this version are not kept.
    compacted: u64,
    gone: Gone,
    watchers: Vec<Watcher>,
    token: Option<String>,
    is_down: bool,
    /// How long a list takes; it is of the moment when it was asked for.
    list_delay: Duration,
    /// How many of the next events no watcher gets.
    to_lose: usize,
    /// Whether each event is sent twice.
    duplicates: bool,
    /// Whether each event is sent after the one that follows it.
    swaps: bool,
    lists: usize,
    watches: usize,
    connections: JoinSet<()>,
}

/// The kind, namespace and name of an object.
type Key = (String, String, String);

#[derive(Clone)]
struct Change {
    version: u64,
    key: Key,
    before: Option<Value>,
    after: Option<Value>,
}

struct Watcher {
    query: Query,
    lines: UnboundedSender<Bytes>,
    held: Option<Bytes>,
}

#[derive(Clone, Default)]
struct Query {
    kind: String,
    namespace: Option<String>,
    labels: Vec<(String, String)>,
    words: HashMap<String, String>,
}

impl ApiServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            version: 1000,
            objects: BTreeMap::new(),
            log: Vec::new(),
            compacted: 0,
            gone: Gone::Event,
            watchers: Vec::new(),
            token: None,
            is_down: false,
            list_delay: Duration::ZERO,
            to_lose: 0,
            duplicates: false,
            swaps: false,
            lists: 0,
            watches: 0,
            connections: JoinSet::new(),
        }));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let mut state = shared.lock();
                if state.is_down {
                    continue;
                }
                let served = Arc::clone(&shared);
                state.connections.spawn(async move {
                    let service = service_fn(|request| {
                        let served = Arc::clone(&served);
                        async move { Ok::<_, Infallible>(answer(&served, request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { address, state, accepting: accepting.abort_handle() }
    }

    /// A kubeconfig for it, with the token in a file of this folder.
    pub fn kubeconfig(&self, folder: &std::path::Path) -> std::path::PathBuf {
        let file = folder.join("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster:\n    \
             server: http://{}\ncontexts:\n- name: test\n  context:\n    cluster: test\n    user: router\nusers:\n\
             - name: router\n  user:\n    tokenFile: {}\n",
            self.address,
            folder.join("token").display()
        );
        std::fs::write(folder.join("token"), "first").unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Adds or changes an object.
    pub fn put(&self, kind: &str, mut object: Value) {
        let mut state = self.state.lock();
        let key = key(kind, &object);
        let before = state.objects.get(&key).cloned();
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.objects.insert(key.clone(), object.clone());
        state.publish(key, before, Some(object));
    }

    pub fn put_pod(&self, pod: &super::objects::TestPod) {
        self.put("pods", pod.value.clone());
    }

    /// Deletes an object.
    pub fn delete(&self, kind: &str, name: &str) {
        let mut state = self.state.lock();
        let key = (kind.to_owned(), "default".to_owned(), name.to_owned());
        let before = state.objects.remove(&key).unwrap();
        state.version += 1;
        state.publish(key, Some(before), None);
    }

    /// Ends all watches, as a server does from time to time.
    pub fn end_watches(&self) {
        self.state.lock().watchers.clear();
    }

    /// Ends all watches and forgets all changes so far.
    pub fn compact(&self, gone: Gone) {
        let mut state = self.state.lock();
        state.compacted = state.version;
        state.gone = gone;
        state.log.clear();
        state.watchers.clear();
    }

    /// Refuses connections and cuts those that are open, or no longer.
    pub fn set_down(&self, is_down: bool) {
        let mut state = self.state.lock();
        state.is_down = is_down;
        if is_down {
            state.connections.abort_all();
            state.watchers.clear();
        }
    }

    /// Only this token is accepted from now on, also of watches that are open.
    pub fn require_token(&self, token: &str) {
        let mut state = self.state.lock();
        state.token = Some(token.to_owned());
        state.watchers.clear();
    }

    pub fn delay_lists(&self, delay: Duration) {
        self.state.lock().list_delay = delay;
    }

    /// The next `events` reach no watcher, not even one that asks for them later.
    pub fn lose(&self, events: usize) {
        self.state.lock().to_lose = events;
    }

    pub fn send_twice(&self, duplicates: bool) {
        self.state.lock().duplicates = duplicates;
    }

    /// Sends each event after the one that follows it, or in order again.
    pub fn swap(&self, swaps: bool) {
        let mut state = self.state.lock();
        state.swaps = swaps;
        for watcher in &mut state.watchers {
            if let Some(line) = watcher.held.take() {
                let _ = watcher.lines.send(line);
            }
        }
    }

    /// Sends a bookmark to all watchers.
    pub fn bookmark(&self) {
        let mut state = self.state.lock();
        // Something else in the cluster has changed.
        state.version += 1;
        let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {
            "resourceVersion": state.version.to_string(), "creationTimestamp": null},
            "spec": {"containers": null}, "status": {}});
        let line = line("BOOKMARK", &object);
        state.watchers.retain(|watcher| watcher.lines.send(line.clone()).is_ok());
    }

    /// How many lists and watches were asked for.
    pub fn asked(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.lists, state.watches)
    }

    /// How many watches are open.
    pub fn watchers(&self) -> usize {
        let mut state = self.state.lock();
        state.watchers.retain(|watcher| !watcher.lines.is_closed());
        state.watchers.len()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn key(kind: &str, object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap().to_owned();
    (kind.to_owned(), text("namespace"), text("name"))
}

fn line(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
}

impl State {
    fn publish(&mut self, key: Key, before: Option<Value>, after: Option<Value>) {
        let change = Change { version: self.version, key, before, after };
        if self.to_lose > 0 {
            self.to_lose -= 1;
            return;
        }
        let (duplicates, swaps) = (self.duplicates, self.swaps);
        self.watchers.retain_mut(|watcher| {
            let Some(line) = watcher.query.event(&change) else { return !watcher.lines.is_closed() };
            if swaps && watcher.held.is_none() {
                watcher.held = Some(line);
                return true;
            }
            let mut lines = vec![line];
            lines.extend(watcher.held.take());
            if duplicates {
                lines.extend(lines.clone());
            }
            lines.into_iter().all(|line| watcher.lines.send(line).is_ok())
        });
        self.log.push(change);
    }
}

impl Query {
    fn of(request: &Request<Incoming>) -> Self {
        let words = request.uri().query().unwrap_or_default().split('&').filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            let value = value.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/").replace('+', " ");
            Some((name.to_owned(), value))
        });
        let words: HashMap<String, String> = words.collect();
        let path: Vec<_> = request.uri().path().trim_matches('/').split('/').collect();
        let at = path.iter().position(|part| *part == "namespaces").map(|at| path[at + 1].to_owned());
        let labels = words.get("labelSelector").map(String::as_str).unwrap_or_default();
        let label = |word: &str| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        Self {
            kind: path.last().unwrap().to_string(),
            namespace: at,
            labels: labels.split(',').filter_map(label).collect(),
            words,
        }
    }

    fn word(&self, name: &str) -> &str {
        self.words.get(name).map_or("", String::as_str)
    }

    fn selects(&self, (kind, namespace, name): &Key, object: &Value) -> bool {
        *kind == self.kind
            && self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            && self.word("fieldSelector").strip_prefix("metadata.name=").is_none_or(|wanted| wanted == name)
            && self.labels.iter().all(|(k, v)| object["metadata"]["labels"][k] == v.as_str())
    }

    /// The event that a change is for a watcher with this query.
    fn event(&self, change: &Change) -> Option<Bytes> {
        let select =
            |object: &Option<Value>| object.clone().filter(|object| self.selects(&change.key, object));
        match (select(&change.before), select(&change.after)) {
            (None, None) => None,
            (None, Some(after)) => Some(line("ADDED", &after)),
            (Some(_), Some(after)) => Some(line("MODIFIED", &after)),
            (Some(mut before), None) => {
                before["metadata"]["resourceVersion"] = change.version.to_string().into();
                Some(line("DELETED", &before))
            }
        }
    }
}

async fn answer(state: &Mutex<State>, request: Request<Incoming>) -> Response<Body> {
    let query = Query::of(&request);
    let given = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_known = state.lock().token.as_ref().is_none_or(|token| given == format!("Bearer {token}"));
    if !is_known {
        return refusal(401, "Unauthorized", "Unauthorized");
    }
    if query.word("watch") == "true" { watch(state, query) } else { list(state, query).await }
}

fn refusal(code: u16, reason: &str, message: &str) -> Response<Body> {
    let status = status(code, reason, message);
    let mut response = Response::new(Full::new(Bytes::from(status.to_string())).boxed());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code})
}

async fn list(state: &Mutex<State>, query: Query) -> Response<Body> {
    let (page, delay) = {
        let mut state = state.lock();
        state.lists += 1;
        let selected = state.objects.iter().filter(|(key, object)| query.selects(key, object));
        let all: Vec<Value> = selected.map(|(_, object)| object.clone()).collect();
        let limit = query.word("limit").parse().unwrap_or(usize::MAX);
        // A real server goes on with the same moment; tests change nothing between two pages.
        let from: usize = query.word("continue").parse().unwrap_or(0);
        let rest = all.len().saturating_sub(from + limit.min(all.len()));
        let items: Vec<Value> = all.into_iter().skip(from).take(limit).collect();
        let next = if rest > 0 { (from + items.len()).to_string() } else { String::new() };
        let items = if items.is_empty() { Value::Null } else { items.into() };
        let page = json!({"kind": "List", "apiVersion": "v1", "items": items, "metadata": {
            "resourceVersion": state.version.to_string(), "continue": next, "remainingItemCount": rest}});
        (page, state.list_delay)
    };
    tokio::time::sleep(delay).await;
    Response::new(Full::new(Bytes::from(page.to_string())).boxed())
}

fn watch(state: &Mutex<State>, query: Query) -> Response<Body> {
    let mut state = state.lock();
    state.watches += 1;
    let from: u64 = query.word("resourceVersion").parse().unwrap();
    let (lines, received) = unbounded_channel();
    if from < state.compacted {
        let message = format!("too old resource version: {from} ({})", state.compacted);
        if state.gone == Gone::Status {
            return refusal(410, "Expired", &message);
        }
        let _ = lines.send(line("ERROR", &status(410, "Expired", &message)));
    } else {
        for change in state.log.iter().filter(|change| change.version > from) {
            if let Some(line) = query.event(change) {
                let _ = lines.send(line);
            }
        }
        state.watchers.push(Watcher { query, lines, held: None });
    }
    let frames = futures_util::stream::unfold(received, |mut received| async move {
        let line = received.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(line)), received))
    });
    Response::new(StreamBody::new(frames.boxed()).boxed_unsync_to_sync())
}

/// A stream body that is shared between threads.
trait IntoShared {
    fn boxed_unsync_to_sync(self) -> Body;
}

impl<S> IntoShared for StreamBody<S>
where
    S: futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static,
{
    fn boxed_unsync_to_sync(self) -> Body {
        BoxBody::new(SyncBody(Mutex::new(Box::pin(self))))
    }
}

/// Only one task polls it at a time.
struct SyncBody<B>(Mutex<std::pin::Pin<Box<B>>>);

impl<B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send> hyper::body::Body for SyncBody<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.lock().as_mut().poll_frame(context)
    }
}
