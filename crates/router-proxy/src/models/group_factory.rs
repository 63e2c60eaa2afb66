//! Makes the pools of a model.

use super::serving_group::ServingGroup;
use crate::prefill_pool::PrefillPool;
use router_config::{AdmissionConfig, FleetConfig, PdProtocol, RecordConfig};
use router_core::{Balancer, LineupError, PolicyError, PolicyFactory, ScalingOptions};
use router_telemetry::{Clock, RecordedPool, RecorderError, Telemetry};
use router_upstream::{
    CapacityQueue, ConnectConfig, DirectoryLink, FleetWeights, PoolConfig, PoolModel, WaitLimit, WorkerPool,
};
use std::sync::Arc;

/// Why a model got no pools.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    /// A policy cannot be built again.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A policy cannot take part.
    #[error(transparent)]
    Lineup(#[from] LineupError),
    /// Its record files cannot be written.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
}

/// Makes the pools of a model: those of all models are made in the same way, each with a balancer and policies of its own.
#[derive(Debug)]
pub(crate) struct GroupFactory {
    pub(crate) clock: Clock,
    pub(crate) fleet: FleetConfig,
    pub(crate) connect: ConnectConfig,
    pub(crate) admission: AdmissionConfig,
    pub(crate) scaling: ScalingOptions,
    pub(crate) limit: Arc<WaitLimit>,
    pub(crate) seed: u64,
    pub(crate) policy: PolicyFactory,
    pub(crate) shadows: Vec<PolicyFactory>,
    pub(crate) prefill: Option<PrefillPlan>,
    /// The telemetry of the router, from which that of each pool is derived.
    pub(crate) telemetry: Telemetry,
    pub(crate) record: Option<RecordConfig>,
    /// Absent where all workers count as serving the same model.
    pub(crate) directory: Option<DirectoryLink>,
    /// How many groups were made.
    pub(crate) made: u64,
    /// How often the policies were changed.
    pub(crate) changes: u64,
    /// The number of the next pool in the records.
    pub(crate) next_pool: RecordedPool,
}

/// The second pool of each model, where prefill and decode are apart.
#[derive(Debug)]
pub(crate) struct PrefillPlan {
    pub(crate) protocol: PdProtocol,
    pub(crate) policy: PolicyFactory,
    pub(crate) record: Option<RecordConfig>,
}

/// How many workers are configured, and join at the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkersAtStart {
    pub(crate) main: usize,
    pub(crate) prefill: usize,
}

/// What one pool has for itself.
struct PoolParts<'a> {
    balancer: Balancer,
    policy: String,
    record: Option<&'a RecordConfig>,
    id_prefix: String,
    side: &'static str,
    weights: Arc<FleetWeights>,
    model: PoolModel,
    workers_at_start: usize,
}

impl GroupFactory {
    /// Pools without workers. `model` is absent for the first group, which takes the model of its first worker.
    pub(crate) fn make(
        &mut self,
        model: Option<&Arc<str>>,
        workers: WorkersAtStart,
    ) -> Result<ServingGroup, GroupError> {
        // Each group has another stream of random numbers.
        let seed = self.seed.wrapping_add(self.made.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let number = self.made;
        let now = self.clock.now();
        let mut balancer = Balancer::new(self.policy.make()?, seed);
        for (n, shadow) in (1u64..).zip(&mut self.shadows) {
            balancer.add_shadow(now, shadow.make()?, seed.wrapping_add(n));
        }
        let prefill = match &mut self.prefill {
            // The complement is another stream of random numbers than that of the first pool.
            Some(plan) => Some(Balancer::new(plan.policy.make()?, !seed)),
            None => None,
        };
        let weights = Arc::<FleetWeights>::default();
        let own = PoolModel::new(model.cloned(), self.directory.clone());
        let prefix = if number == 0 { String::new() } else { format!("{number}-") };
        let record = self.record.as_ref().map(|record| of_group(record, number, model));
        let main = PoolParts {
            policy: balancer.policy_name().to_owned(),
            balancer,
            record: record.as_ref(),
            id_prefix: prefix.clone(),
            side: "main",
            weights: Arc::clone(&weights),
            model: own.clone(),
            workers_at_start: workers.main,
        };
        let pool = self.pool(main)?;
        let disaggregation = match prefill {
            Some(balancer) => {
                let plan = self.prefill.as_ref();
                let record = plan.and_then(|plan| plan.record.as_ref());
                let record = record.map(|record| of_group(record, number, model));
                let protocol = plan.map_or(PdProtocol::Sglang, |plan| plan.protocol);
                let parts = PoolParts {
                    policy: balancer.policy_name().to_owned(),
                    balancer,
                    record: record.as_ref(),
                    id_prefix: format!("{prefix}prefill-"),
                    side: "prefill",
                    weights,
                    model: own,
                    workers_at_start: workers.prefill,
                };
                Some(PrefillPool::new(protocol, self.pool(parts)?, seed))
            }
            None => None,
        };
        self.made += 1;
        Ok(ServingGroup::new(pool, disaggregation))
    }

    fn pool(&mut self, parts: PoolParts<'_>) -> Result<Arc<WorkerPool>, GroupError> {
        let PoolParts { mut balancer, policy, record, id_prefix, side, weights, model, workers_at_start } =
            parts;
        let is_main = self.next_pool == RecordedPool::MAIN;
        let metrics = if is_main {
            Arc::clone(&self.telemetry.metrics)
        } else {
            self.telemetry.metrics.for_pool(&policy).into()
        };
        let telemetry = Telemetry { metrics, pool: self.next_pool, ..self.telemetry.clone() };
        if let Some(recorder) = &telemetry.recorder {
            recorder.add_pool(telemetry.pool, record, &telemetry.metrics)?;
        }
        self.next_pool = self.next_pool.next();
        balancer.keep_history(telemetry.metrics.policy_number());
        let cap = self.admission.worker_max_in_flight;
        balancer.set_cap(cap);
        balancer.set_scaling(self.scaling);
        balancer.set_overload_bounds(self.admission.overload);
        balancer.set_batch_window(self.admission.batch_window);
        let capacity = CapacityQueue::new(cap, Arc::clone(&self.limit), self.admission.queue_timeout);
        Ok(Arc::new(WorkerPool::new(
            balancer,
            PoolConfig {
                clock: self.clock,
                model,
                telemetry,
                fleet: self.fleet.clone(),
                connect: self.connect.clone(),
                capacity,
                weights,
                id_prefix,
                side,
                workers_at_start,
            },
        )))
    }
}

/// Of a longer name of a model, the end is in the names of its files.
const LONGEST_NAME: usize = 60;

/// The files of one group. The first keeps the plain name; the others have their model's in it, as far as it fits into a file name.
fn of_group(record: &RecordConfig, number: u64, model: Option<&Arc<str>>) -> RecordConfig {
    let stem = match model {
        Some(model) if number > 0 => {
            let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' };
            let beyond = model.chars().count().saturating_sub(LONGEST_NAME);
            let model: String = model.chars().skip(beyond).map(fits).collect();
            format!("{}_{number}-{}", record.stem, model.trim_matches('-'))
        }
        _ => record.stem.clone(),
    };
    RecordConfig { stem, ..record.clone() }
}
