//! The state of one emulated server, which its routes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use router_core::Rng;
use router_engine::Engine;

use crate::api::formats::{ApiFormat, EventWriter};
use crate::api::generation::ModelSpec;
use crate::api::request::UsageReporting;
use crate::clock::Clock;
use crate::config::EmulatorConfig;
use crate::control_state::ControlState;
use crate::engine_task::driver::EngineDriver;
use crate::faults::{Fault, FaultKind, FaultSlot, ListenSwitch};
use crate::kv_transfer::KvHandover;

/// State of one emulated server.
#[derive(Debug)]
pub(crate) struct ServerState {
    config: EmulatorConfig,
    model: ModelSpec,
    /// One engine for each data-parallel rank; at least one.
    ranks: Vec<EngineDriver>,
    turn: AtomicU32,
    pub(crate) faults: FaultSlot,
    listening: ListenSwitch,
    ids: Mutex<Rng>,
    handover: Arc<KvHandover>,
    pub(crate) control: ControlState,
}

impl ServerState {
    pub(crate) fn new(config: EmulatorConfig, port: u16) -> Arc<Self> {
        let limits = config.limits.unwrap_or(config.profile.limits);
        let (timing, clock) = (config.profile.timing.at_speed(config.speed), Clock::start());
        let rank = |_| EngineDriver::new(Engine::new(timing, limits), clock);
        let model = ModelSpec {
            seed: config.seed,
            // As SGLang: no request may be longer than the whole KV cache.
            context_tokens: limits.context_tokens.min(u32::try_from(limits.kv_tokens).unwrap_or(u32::MAX)),
            block_tokens: limits.block_tokens,
        };
        // Servers of one fleet share a seed; the port keeps their request ids apart.
        let ids = Rng::seeded(config.seed ^ (u64::from(port) << 48));
        Arc::new(Self {
            ranks: (0..config.dp_size.max(1)).map(rank).collect(),
            turn: AtomicU32::new(0),
            config,
            model,
            faults: FaultSlot::default(),
            listening: ListenSwitch::default(),
            ids: Mutex::new(ids),
            handover: Arc::default(),
            control: ControlState::default(),
        })
    }

    pub(crate) fn config(&self) -> &EmulatorConfig {
        &self.config
    }

    pub(crate) fn model(&self) -> &ModelSpec {
        &self.model
    }

    /// The engine of the first rank, which is the only one of most servers.
    pub(crate) fn driver(&self) -> &EngineDriver {
        &self.ranks[0]
    }

    /// The engines of all ranks.
    pub(crate) fn ranks(&self) -> &[EngineDriver] {
        &self.ranks
    }

    /// The engine of one rank; the first where there is no such rank.
    pub(crate) fn rank(&self, rank: Option<u32>) -> &EngineDriver {
        self.ranks.get(rank.unwrap_or(0) as usize).unwrap_or(self.driver())
    }

    /// The next rank in round-robin order.
    pub(crate) fn next_rank(&self) -> u32 {
        self.turn.fetch_add(1, Relaxed) % self.config.dp_size.max(1)
    }

    pub(crate) fn handover(&self) -> &Arc<KvHandover> {
        &self.handover
    }

    pub(crate) fn listening(&self) -> &ListenSwitch {
        &self.listening
    }

    /// A new request id, 32 hex digits as SGLang's.
    pub(crate) fn new_id(&self) -> String {
        let mut rng = self.ids.lock();
        format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64())
    }

    /// A random time shorter than `limit`.
    pub(crate) fn random_delay(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.ids.lock().unit_f64())
    }

    /// A writer of events, without usage and with one choice per prompt.
    pub(crate) fn event_writer(
        &self,
        api_format: ApiFormat,
        id: String,
        model: Option<String>,
    ) -> EventWriter {
        let clock = self.driver().clock();
        EventWriter {
            api_format,
            version: self.config.version,
            weight_version: self.control.quoted_weight_version(),
            clock,
            id,
            // SGLang echoes the client's name.
            model: model.unwrap_or_else(|| self.config.model_name.clone()),
            created: clock.unix(clock.now()) as u64,
            usage: UsageReporting::Never,
            choices: 1,
            sequence: 0,
        }
    }

    /// Activates a fault, and ends it after its duration.
    pub(crate) fn set_fault(self: &Arc<Self>, fault: Fault) {
        self.clear_fault();
        self.slow_down(if fault.kind == FaultKind::Slow { fault.factor } else { 1.0 });
        self.control.set_healthy(fault.kind != FaultKind::Unhealthy);
        match fault.kind {
            FaultKind::Refuse => self.listening.close(),
            FaultKind::Crash => self.listening.crash(),
            _ => {}
        }
        let duration = fault.duration();
        let generation = self.faults.set(fault);
        if let Some(duration) = duration {
            let server = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(duration).await;
                if let Some(server) = server.upgrade()
                    && server.faults.expire(generation).is_some()
                {
                    server.recover();
                }
            });
        }
    }

    /// Ends the active fault.
    pub(crate) fn clear_fault(&self) {
        if self.faults.clear().is_some() {
            self.recover();
        }
    }

    fn slow_down(&self, factor: f64) {
        self.ranks.iter().for_each(|rank| rank.set_slowdown(factor));
    }

    fn recover(&self) {
        self.slow_down(1.0);
        self.control.set_healthy(true);
        self.listening.open();
    }
}
