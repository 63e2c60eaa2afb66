//! Requests that callers of the decision service carry, by the token that each of them got.

use super::routed_request::RoutedRequest;
use crate::atomic_duration::AtomicDuration;
use crate::error::ProxyError;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::Instant;

/// Most routes that are open at a time.
const MAX_OPEN: usize = 1 << 16;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 16;

/// Requests whose callers have a token.
#[derive(Debug)]
pub(crate) struct OpenRoutes {
    /// How long a route stays open that nothing is heard of.
    timeout: AtomicDuration,
    random: SystemRandom,
    open: Mutex<HashMap<Box<str>, OpenRoute>>,
}

#[derive(Debug)]
struct OpenRoute {
    request: RoutedRequest,
    expires_at: Instant,
}

impl OpenRoutes {
    /// Without routes. A route ends when nothing was heard of it for `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout: AtomicDuration::new(timeout), random: SystemRandom::new(), open: Mutex::default() }
    }

    /// How long a route stays open that nothing is heard of.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.get()
    }

    /// Changes how long that is, for routes of which something is heard from now on.
    pub(crate) fn set_timeout(&self, timeout: Duration) {
        self.timeout.set(timeout);
    }

    /// Keeps a request until it is taken or expires, and returns its token, which cannot be guessed.
    ///
    /// # Errors
    /// When too many are open.
    pub(crate) fn open(&self, request: RoutedRequest) -> Result<Box<str>, ProxyError> {
        let mut bytes = [0; TOKEN_BYTES];
        // The system's generator does not fail once it has started; without it there is no token.
        self.random.fill(&mut bytes).map_err(|_| ProxyError::TooManyRoutes)?;
        let mut token = String::with_capacity(2 * TOKEN_BYTES);
        for byte in bytes {
            let _ = write!(token, "{byte:02x}");
        }
        let token = token.into_boxed_str();
        let mut open = self.open.lock();
        if open.len() >= MAX_OPEN {
            return Err(ProxyError::TooManyRoutes);
        }
        open.insert(token.clone(), OpenRoute { request, expires_at: Instant::now() + self.timeout.get() });
        Ok(token)
    }

    /// Tells the request with this token something; its time starts anew.
    ///
    /// # Errors
    /// When no open route has the token.
    pub(crate) fn tell(&self, token: &str, tell: impl FnOnce(&mut RoutedRequest)) -> Result<(), ProxyError> {
        let mut open = self.open.lock();
        let route = open.get_mut(token).ok_or(ProxyError::UnknownRoute)?;
        route.expires_at = Instant::now() + self.timeout.get();
        tell(&mut route.request);
        Ok(())
    }

    /// Takes the request with this token, which is not open any more.
    ///
    /// # Errors
    /// When no open route has the token.
    pub(crate) fn take(&self, token: &str) -> Result<RoutedRequest, ProxyError> {
        let route = self.open.lock().remove(token);
        route.map(|route| route.request).ok_or(ProxyError::UnknownRoute)
    }

    /// Ends the routes whose time is over.
    pub(crate) fn end_expired(&self) {
        let now = Instant::now();
        let expired: Vec<_> = self.open.lock().extract_if(|_, route| route.expires_at <= now).collect();
        for (_, mut route) in expired {
            route.request.expire();
        }
    }

    /// Ends all routes.
    pub(crate) fn end_all(&self) {
        let all = std::mem::take(&mut *self.open.lock());
        for mut route in all.into_values() {
            route.request.expire();
        }
    }
}
