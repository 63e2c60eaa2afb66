//! Who comes in now, who waits, and who is sent away before memory grows.
//!
//! Four bounds, each off unless configured but the last: requests at a time, requests per second, requests per worker,
//! bytes of request bodies. The first three share one queue: requests wait in the order in which they came. None of
//! them counts load: requests in flight are the balancer's to count, and it alone knows which worker is full.

mod bodies;
mod rate;
mod seats;

pub(super) use bodies::{Bodies, Share};
pub(crate) use seats::{Seats, Vacancy};

use crate::error::ProxyError;
use rate::Rate;
use router_config::AdmissionConfig;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The right to be served. It rides in the answer's body and ends with it.
#[derive(Debug)]
pub(super) struct Permit {
    _running: Option<OwnedSemaphorePermit>,
}

/// The bounds of one router.
#[derive(Debug)]
pub(crate) struct Admission {
    config: AdmissionConfig,
    /// A permit for every request that may be served at a time.
    running: Option<Arc<Semaphore>>,
    rate: Option<Rate>,
    /// A permit for every request that may wait.
    places: Arc<Semaphore>,
    pub(crate) seats: Seats,
    pub(super) bodies: Bodies,
}

impl Admission {
    pub(crate) fn new(config: AdmissionConfig) -> Self {
        let places = Arc::new(Semaphore::new(config.queue_size));
        Self {
            running: config.max_concurrent.map(|n| Arc::new(Semaphore::new(n.get()))),
            rate: config.rate.map(|rate| Rate::new(rate, Instant::now())),
            seats: Seats::new(
                config.worker_max_in_flight.is_some(),
                Arc::clone(&places),
                config.queue_timeout,
            ),
            bodies: Bodies::new(config.max_buffered),
            places,
            config,
        }
    }

    /// The bounds of more workers beside these: a line of their own, and the same places to wait. Requests come in here.
    pub(crate) fn beside(&self) -> Self {
        let (config, places) = (self.config.clone(), Arc::clone(&self.places));
        Self {
            running: None,
            rate: None,
            seats: Seats::new(self.seats.are_capped(), Arc::clone(&places), config.queue_timeout),
            bodies: Bodies::new(None),
            places,
            config,
        }
    }

    /// Most requests in flight on one worker; any number when absent.
    pub(crate) const fn worker_cap(&self) -> Option<NonZeroU32> {
        self.config.worker_max_in_flight
    }

    /// How many requests wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.config.queue_size.saturating_sub(self.places.available_permits())
    }

    /// Bytes of request bodies that are held now.
    pub(crate) fn buffered(&self) -> usize {
        self.bodies.held()
    }

    /// Sends a request away that would find the queue full, before its body is read.
    pub(super) fn glance(&self) -> Result<(), ProxyError> {
        let busy = self.running.as_ref().is_some_and(|r| r.available_permits() == 0);
        if busy && self.places.available_permits() == 0 { Err(ProxyError::QueueFull) } else { Ok(()) }
    }

    /// Comes in at once, or waits for its turn.
    ///
    /// # Errors
    /// When too many wait already, or the wait takes too long.
    pub(super) async fn enter(&self) -> Result<Option<Permit>, ProxyError> {
        let Self { running, rate, .. } = self;
        if running.is_none() && rate.is_none() {
            return Ok(None);
        }
        let paid = rate.as_ref().is_none_or(|r| r.take(Instant::now(), Duration::ZERO).is_some());
        if paid {
            match running.as_ref().map(|r| Arc::clone(r).try_acquire_owned()) {
                None => return Ok(Some(Permit { _running: None })),
                Some(Ok(permit)) => return Ok(Some(Permit { _running: Some(permit) })),
                Some(Err(_)) => {}
            }
        }
        // Whoever may not wait must not pay either, or requests that are refused would use up the rate.
        let _place = self.places.try_acquire().map_err(|_| ProxyError::QueueFull)?;
        let due = match rate {
            Some(rate) if !paid => {
                let due = rate.take(Instant::now(), self.config.queue_timeout);
                Some(due.ok_or(ProxyError::QueueFull)?)
            }
            _ => None,
        };
        let turn = async {
            if let Some(due) = due {
                tokio::time::sleep_until(due).await;
            }
            match running {
                // The semaphore is never closed.
                Some(running) => Arc::clone(running).acquire_owned().await.ok(),
                None => None,
            }
        };
        let turn = tokio::time::timeout(self.config.queue_timeout, turn).await;
        let permit = turn.map_err(|_| ProxyError::QueueTimeout(self.config.queue_timeout))?;
        Ok(Some(Permit { _running: permit }))
    }
}

#[cfg(test)]
mod tests;
