//! Faults on demand: what a broken server does to its clients.

mod listen_switch;

pub(crate) use listen_switch::{ListenState, ListenSwitch};

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Accepts the request and never responds.
    Hang,
    /// Responds with an error status.
    Status,
    /// Resets the connection (TCP RST) before the first byte of the response.
    ResetBeforeFirstByte,
    /// Resets the connection (TCP RST) after some events, or after half of a response that is not streamed.
    ResetMidStream,
    /// Closes the connection (FIN) at the same point, without ending the body.
    CloseEarly,
    /// Closes the connection in the middle of an event.
    HalfEvent,
    /// Sends some events and then nothing more, the connection staying open.
    Stall,
    /// Ends the body in an orderly way after some events, without the last one and without `[DONE]`.
    NoDone,
    /// Closes a connection without saying so, at a random moment up to 50 ms after a request on it began.
    CloseKept,
    /// Sends bytes that are not HTTP.
    Garbage,
    /// Ends the body with trailers (sent to clients that say `te: trailers`).
    ChunkedTrailers,
    /// `/health*` respond with `status`; everything else works, as in a server that is about to stop.
    Unhealthy,
    /// Weight updates and loads of LoRA adapters fail with status 400; everything else works.
    FailUpdate,
    /// Every engine step takes `factor` times as long.
    Slow,
    /// Stops listening; open connections stay.
    Refuse,
    /// Stops listening and resets every open connection, as a killed process.
    Crash,
}

/// A fault to inject.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The kind.
    pub kind: FaultKind,
    /// Status of [`FaultKind::Status`] and [`FaultKind::Unhealthy`]. Default 500.
    #[serde(default = "default_status")]
    pub status: u16,
    /// Factor of [`FaultKind::Slow`]. Default 4.
    #[serde(default = "default_factor")]
    pub factor: f64,
    /// Events (frames) sent before a mid-stream fault starts. Default 3.
    #[serde(default = "default_after_events")]
    pub after_events: u32,
    /// Number of requests it affects; `None` = all. Default `None`.
    #[serde(default)]
    pub count: Option<u64>,
    /// Seconds until it is over; `None` = until cleared. Default `None`.
    #[serde(default)]
    pub duration_secs: Option<f64>,
    /// Whether it affects health and information routes too. Default false.
    #[serde(default)]
    pub health: bool,
}

fn default_status() -> u16 {
    500
}

fn default_factor() -> f64 {
    4.0
}

fn default_after_events() -> u32 {
    3
}

impl Fault {
    /// A fault of that kind with defaults for the rest.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            status: default_status(),
            factor: default_factor(),
            after_events: default_after_events(),
            count: None,
            duration_secs: None,
            health: false,
        }
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        self.duration_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok())
    }
}

#[derive(Clone, Debug)]
struct ActiveFault {
    fault: Fault,
    generation: u64,
    until: Option<Instant>,
}

/// The active fault, if any. A new one replaces the old.
#[derive(Debug, Default)]
pub(crate) struct FaultSlot {
    active: Mutex<(u64, Option<ActiveFault>)>,
}

impl FaultSlot {
    /// Activates a fault; returns its generation for [`FaultSlot::expire`].
    pub(crate) fn set(&self, fault: Fault) -> u64 {
        let mut active = self.active.lock();
        active.0 += 1;
        let until = fault.duration().map(|d| Instant::now() + d);
        active.1 = Some(ActiveFault { fault, generation: active.0, until });
        active.0
    }

    pub(crate) fn clear(&self) -> Option<Fault> {
        self.active.lock().1.take().map(|a| a.fault)
    }

    /// Clears the fault if it is still that one.
    pub(crate) fn expire(&self, generation: u64) -> Option<Fault> {
        let mut active = self.active.lock();
        active.1.take_if(|a| a.generation == generation).map(|a| a.fault)
    }

    pub(crate) fn get(&self) -> Option<Fault> {
        self.active.lock().1.as_ref().map(|a| a.fault.clone())
    }

    /// The fault that affects a request, counting the request.
    pub(crate) fn strike(&self, scope: FaultScope) -> Option<Fault> {
        let mut active = self.active.lock();
        let current = active.1.as_mut()?;
        let concerned = match (current.fault.kind, scope) {
            (FaultKind::Unhealthy, scope) => scope == FaultScope::Health,
            (FaultKind::FailUpdate, scope) => scope == FaultScope::Update,
            (_, FaultScope::Inference) => true,
            (_, FaultScope::Information | FaultScope::Health | FaultScope::Update) => current.fault.health,
        };
        if !concerned || current.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let struck = current.fault.clone();
        match &mut current.fault.count {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        Some(struck)
    }
}

/// What a route is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FaultScope {
    Inference,
    Information,
    Health,
    Update,
}

/// How the connection task ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnectionFault {
    Reset,
    Close,
    Garbage,
}

/// Set where a fault ends a connection, read by the connection's task.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultSwitch(Arc<SwitchState>);

#[derive(Debug, Default)]
struct SwitchState {
    fault: watch::Sender<Option<ConnectionFault>>,
    /// When the connection is to be closed as soon as it is idle.
    close_at: watch::Sender<Option<Instant>>,
}

impl FaultSwitch {
    pub(crate) fn set(&self, connection_fault: ConnectionFault) {
        self.0.fault.send_replace(Some(connection_fault));
    }

    pub(crate) fn get(&self) -> Option<ConnectionFault> {
        *self.0.fault.borrow()
    }

    /// Waits until a fault ends the connection.
    #[cfg(feature = "grpc")]
    pub(crate) async fn struck(&self) {
        // The sender lives as long as this switch, so waiting cannot fail.
        let _ = self.0.fault.subscribe().wait_for(Option::is_some).await;
    }

    /// Closes the connection after `delay`, once it is idle. Only the first call counts.
    pub(crate) fn close_after(&self, delay: Duration) {
        self.0.close_at.send_if_modified(|at| at.replace(at.unwrap_or(Instant::now() + delay)).is_none());
    }

    /// Waits until the connection is to be closed.
    pub(crate) async fn closing(&self) {
        let mut close_at = self.0.close_at.subscribe();
        let at = close_at.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        match at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}
