//! Follows the objects of one kind: lists them, watches their changes, and lists them again now and then to find what the
//! watch did not tell.
//!
//! kube's own watcher is not used: it does not list again when a watch begins with 410 Gone, nor to find a deletion that was
//! lost, and its lists have no time limit.

use crate::api_access::{ApiAccess, ApiFailure};
use crate::object::{ObjectPage, Watched};
use crate::object_table::{ListPurpose, version};
use crate::pace::{Backoff, Timing, jittered};
use crate::status::WatchStatus;
use futures_util::future::OptionFuture;
use futures_util::{TryStreamExt as _, stream::BoxStream};
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

/// How many objects a page of a list has at most.
const PAGE: u32 = 250;
/// How much longer than a watch lasts the router waits for its end.
const WATCH_MARGIN: Duration = Duration::from_secs(10);
/// A watch that ends sooner and told nothing counts as failed, so that the next one is not begun at once.
const SHORT_WATCH: Duration = Duration::from_secs(1);

/// What the API server told of the objects of one kind.
#[derive(Debug)]
pub(crate) enum ObjectNews<T> {
    /// These are all there are, as of this version.
    Listed { items: Vec<T>, version: String, purpose: ListPurpose },
    /// One was added or changed.
    Applied(T),
    /// One was deleted, or is not selected any more.
    Deleted(T),
}

/// Which objects.
#[derive(Clone, Debug)]
pub(crate) struct ObjectQuery {
    pub(crate) namespace: Option<String>,
    pub(crate) labels: String,
    /// Only the one of this name.
    pub(crate) name: Option<String>,
}

impl ObjectQuery {
    fn request<T: Watched>(&self) -> Request {
        Request::new(match &self.namespace {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", T::API, T::PLURAL),
            None => format!("{}/{}", T::API, T::PLURAL),
        })
    }

    fn labels(&self) -> Option<String> {
        Some(self.labels.clone()).filter(|labels| !labels.is_empty())
    }

    fn fields(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("metadata.name={name}"))
    }
}

/// Follows the objects of one kind.
pub(crate) struct Follower<T, W> {
    pub(crate) api: Arc<ApiAccess>,
    pub(crate) query: ObjectQuery,
    pub(crate) status: Arc<WatchStatus>,
    pub(crate) news: Sender<W>,
    pub(crate) wrap: fn(usize, ObjectNews<T>) -> W,
    /// Which follower it is, for `wrap`.
    pub(crate) index: usize,
    pub(crate) timing: Timing,
}

/// The receiver of the news is gone: the router stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped;

/// Why a request or a watch ended.
enum End {
    Failed(ApiFailure),
    Stopped,
}

impl<E: Into<ApiFailure>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl<T: Watched, W> Follower<T, W> {
    /// Follows until nobody receives the news any more.
    pub(crate) async fn follow(self) -> Stopped {
        let mut backoff = Backoff::new(self.timing);
        // The version up to which everything is known.
        let mut known: Option<String> = None;
        let (mut was_refused, mut was_expired) = (false, false);
        loop {
            let (begun, before) = (Instant::now(), known.clone());
            let end = match known.as_mut() {
                None => self.begin().await.map(|version| known = Some(version)),
                Some(known) => self.watch(known).await,
            };
            let was_watching = before.is_some();
            let has_moved = was_watching && before != known;
            if has_moved || (was_watching && end.is_ok() && begun.elapsed() >= SHORT_WATCH) {
                backoff.reset();
                (was_refused, was_expired) = (false, false);
            } else if was_watching && end.is_ok() {
                backoff.pause().await;
            }
            match end {
                Ok(()) => {}
                Err(End::Stopped) => return Stopped,
                Err(End::Failed(ApiFailure::Expired)) => {
                    debug!(objects = T::PLURAL, "the watch has expired, listing again");
                    known = None;
                    if std::mem::replace(&mut was_expired, true) {
                        backoff.pause().await;
                    }
                }
                Err(End::Failed(failure)) => {
                    self.log_failure(&failure);
                    // The token may have been renewed, or the address may have changed.
                    self.api.renew();
                    let is_refused = matches!(failure, ApiFailure::Unauthorized(_));
                    if !is_refused || was_refused {
                        backoff.pause().await;
                    }
                    was_refused = is_refused;
                }
            }
        }
    }

    fn log_failure(&self, failure: &ApiFailure) {
        if self.status.failed() {
            warn!(
                objects = T::PLURAL,
                labels = self.query.labels,
                name = self.query.name,
                cause = %failure,
                "cannot reach the Kubernetes API; workers stay as they are until it answers"
            );
        } else {
            debug!(objects = T::PLURAL, cause = %failure, "cannot reach the Kubernetes API");
        }
    }

    async fn tell(&self, news: ObjectNews<T>) -> Result<(), End> {
        self.news.send((self.wrap)(self.index, news)).await.map_err(|_| End::Stopped)
    }

    /// Lists everything, and tells it.
    async fn begin(&self) -> Result<String, End> {
        let client = self.api.client().await?;
        let (items, version) = self.list(&client).await?;
        self.status.listed();
        self.tell(ObjectNews::Listed { items, version: version.clone(), purpose: ListPurpose::Begin })
            .await?;
        Ok(version)
    }

    /// All objects, page by page, and the version of the list.
    async fn list(&self, client: &Client) -> Result<(Vec<T>, String), ApiFailure> {
        let mut params = ListParams {
            label_selector: self.query.labels(),
            field_selector: self.query.fields(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut items = Vec::new();
        loop {
            let request = self.query.request::<T>().list(&params);
            let request = request.map_err(|error| ApiFailure::Other(error.to_string()))?;
            let page = timeout(self.timing.answer, client.request::<ObjectPage<T>>(request)).await;
            let page = page.map_err(|_| ApiFailure::TimedOut(self.timing.answer.as_secs()))??;
            items.extend(page.items);
            params.continue_token = page.metadata.continue_token.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok((items, page.metadata.resource_version));
            }
        }
    }

    /// Watches from `known` on, which moves with what is told, until the watch ends.
    async fn watch(&self, known: &mut String) -> Result<(), End> {
        let client = self.api.client().await?;
        let mut events = self.begin_watch(&client, known).await?;
        if self.status.opened() {
            info!(objects = T::PLURAL, labels = self.query.labels, "watching the Kubernetes API");
        }
        let last = Instant::now() + Duration::from_secs(self.timing.watch_secs.into()) + WATCH_MARGIN;
        let mut audit_at = Instant::now() + jittered(self.timing.audit);
        let mut audit = pin!(OptionFuture::from(None));
        loop {
            tokio::select! {
                event = timeout_at(last, events.try_next()) => {
                    let Ok(event) = event else { return Ok(()) };
                    let Some(event) = event? else { return Ok(()) };
                    self.on_event(event, known).await?;
                }
                Some(listed) = &mut audit => {
                    audit.set(OptionFuture::from(None));
                    audit_at = Instant::now() + jittered(self.timing.audit);
                    self.on_audit(listed).await?;
                }
                () = sleep_until(audit_at) => {
                    // No other audit begins before this one has ended.
                    audit_at = last + self.timing.answer;
                    audit.set(OptionFuture::from(Some(self.list(&client))));
                }
            }
        }
    }

    async fn begin_watch(
        &self,
        client: &Client,
        known: &str,
    ) -> Result<BoxStream<'static, kube::Result<WatchEvent<T>>>, ApiFailure> {
        let params = WatchParams {
            label_selector: self.query.labels(),
            field_selector: self.query.fields(),
            timeout: Some(self.timing.watch_secs),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = self.query.request::<T>().watch(&params, known);
        let request = request.map_err(|error| ApiFailure::Other(error.to_string()))?;
        let events = timeout(self.timing.answer, client.request_events::<T>(request)).await;
        let events = events.map_err(|_| ApiFailure::TimedOut(self.timing.answer.as_secs()))??;
        Ok(Box::pin(events))
    }

    async fn on_event(&self, event: WatchEvent<T>, known: &mut String) -> Result<(), End> {
        let (news, at) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let at = object.metadata().resource_version.clone();
                (Some(ObjectNews::Applied(object)), at)
            }
            WatchEvent::Deleted(object) => {
                let at = object.metadata().resource_version.clone();
                (Some(ObjectNews::Deleted(object)), at)
            }
            WatchEvent::Bookmark(bookmark) => (None, bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(End::Failed((*status).into())),
        };
        self.status.heard(news.is_some().into());
        // An event that comes late does not lead back.
        let is_back = matches!((version(&at), version(known)), (Some(at), Some(known)) if at < known);
        if !is_back && !at.is_empty() {
            *known = at;
        }
        match news {
            Some(news) => self.tell(news).await,
            None => Ok(()),
        }
    }

    /// The watch goes on whatever became of the list.
    async fn on_audit(&self, listed: Result<(Vec<T>, String), ApiFailure>) -> Result<(), End> {
        match listed {
            Ok((items, version)) => {
                self.status.listed();
                self.tell(ObjectNews::Listed { items, version, purpose: ListPurpose::Audit }).await
            }
            Err(error) => {
                debug!(objects = T::PLURAL, %error, "cannot list again");
                Ok(())
            }
        }
    }
}
