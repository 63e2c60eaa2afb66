//! Whether the server listens: set by faults, followed by the accept loop.

use tokio::sync::watch;

/// Whether the server takes connections, and how often it has crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListenState {
    pub(crate) open: bool,
    pub(crate) crashes: u64,
}

/// The switch between the fault route and the accept loop.
#[derive(Debug)]
pub(crate) struct ListenSwitch(watch::Sender<ListenState>);

impl Default for ListenSwitch {
    fn default() -> Self {
        Self(watch::Sender::new(ListenState { open: true, crashes: 0 }))
    }
}

impl ListenSwitch {
    /// Follows the state.
    pub(crate) fn subscribe(&self) -> watch::Receiver<ListenState> {
        self.0.subscribe()
    }

    pub(crate) fn open(&self) {
        self.0.send_modify(|listen| listen.open = true);
    }

    pub(crate) fn close(&self) {
        self.0.send_modify(|listen| listen.open = false);
    }

    pub(crate) fn crash(&self) {
        self.0.send_modify(|listen| *listen = ListenState { open: false, crashes: listen.crashes + 1 });
    }
}
