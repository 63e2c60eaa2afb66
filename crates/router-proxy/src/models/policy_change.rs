//! Other policies and limits for all groups while requests run.

use super::directory::Models;
use super::group_factory::{GroupError, GroupFactory};
use super::serving_group::ServingGroup;
use router_config::{AdmissionConfig, LoadPolls};
use router_core::{
    EventHistory, LineupError, NextPolicy, PolicyFactory, PolicyLineup, PolicyNeeds, PreparedPolicy,
};
use router_upstream::WorkerPool;
use std::sync::Arc;

/// The policies of all groups from now on.
#[derive(Debug)]
pub(crate) struct NextPolicies {
    pub(crate) live: PolicyFactory,
    pub(crate) shadows: Vec<PolicyFactory>,
    /// That of the prefill pools, where prefill and decode are apart.
    pub(crate) prefill: Option<PolicyFactory>,
}

/// How the live policy of the first group begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beginning {
    /// It goes on: nothing about it has changed.
    Same,
    /// It was a shadow, and goes on with all that it has learned.
    WasShadow,
    /// It has learned from so many of the last requests.
    Learned(usize),
}

/// Where a policy of one pool comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    Live,
    Shadow(usize),
    New,
}

/// Where the policies of a pool come from: the live one, and the shadows.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Origins {
    live: Origin,
    shadows: Vec<Origin>,
}

/// A live policy and its shadows.
#[derive(Clone, Copy)]
struct PolicySet<'a> {
    live: &'a PolicyFactory,
    shadows: &'a [PolicyFactory],
}

impl Origins {
    /// Each present policy goes on in one place at most, where the same one is wanted.
    fn of(present: PolicySet<'_>, wanted: PolicySet<'_>) -> Self {
        let mut free: Vec<_> = (0..present.shadows.len()).map(Origin::Shadow).collect();
        free.insert(0, Origin::Live);
        let same = |origin: Origin, wanted: &PolicyFactory| match origin {
            Origin::Live => present.live.is_same(wanted),
            Origin::Shadow(at) => present.shadows[at].is_same(wanted),
            Origin::New => false,
        };
        let mut take = |wanted: &PolicyFactory| match free.iter().position(|&origin| same(origin, wanted)) {
            Some(at) => free.remove(at),
            None => Origin::New,
        };
        Self { live: take(wanted.live), shadows: wanted.shadows.iter().map(take).collect() }
    }

    fn is_unchanged(&self, shadows: usize) -> bool {
        let unchanged = (0..shadows).map(Origin::Shadow);
        self.live == Origin::Live && self.shadows.iter().copied().eq(unchanged)
    }

    /// The line-up of a pool, in which new policies have learned from its history.
    fn lineup(
        &self,
        pool: &WorkerPool,
        wanted: &mut NextOfPool<'_>,
        history: Option<&EventHistory>,
    ) -> Result<PolicyLineup, GroupError> {
        let mut seed = wanted.seed;
        let mut next = |origin, factory: &mut PolicyFactory| {
            seed = seed.wrapping_add(1);
            Ok::<_, GroupError>(match origin {
                Origin::Live => NextPolicy::Live,
                Origin::Shadow(at) => NextPolicy::Shadow(at),
                Origin::New => NextPolicy::New(PreparedPolicy::new(factory.make()?, seed, history)),
            })
        };
        let live = next(self.live, wanted.live)?;
        let shadows = self.shadows.iter().zip(&mut *wanted.shadows);
        let shadows = shadows.map(|(origin, factory)| next(*origin, factory)).collect::<Result<_, _>>()?;
        let number = pool.telemetry.metrics.policy_names().number(wanted.live.name());
        Ok(PolicyLineup { live, number, shadows })
    }
}

/// The policies of one pool from now on.
struct NextOfPool<'a> {
    live: &'a mut PolicyFactory,
    shadows: &'a mut [PolicyFactory],
    seed: u64,
}

/// A pool, the origins of its next policies, and these policies.
type PoolLineup = (Arc<WorkerPool>, Origins, PolicyLineup);

impl Models {
    /// Lets other policies decide from now on, in all groups and in those to come.
    ///
    /// # Errors
    /// When a policy from outside refuses to be made again; then nothing has changed.
    pub(crate) fn set_policies(&self, mut next: NextPolicies) -> Result<Beginning, GroupError> {
        let mut factory = self.factory.lock();
        let groups = self.groups();
        let main = Origins::of(
            PolicySet { live: &factory.policy, shadows: &factory.shadows },
            PolicySet { live: &next.live, shadows: &next.shadows },
        );
        let prefill = factory.prefill.as_ref().zip(next.prefill.as_ref());
        let prefill = prefill.map(|(plan, wanted)| {
            let alone = |live| PolicySet { live, shadows: &[] };
            Origins::of(alone(&plan.policy), alone(wanted))
        });
        factory.changes = factory.changes.wrapping_add(1);
        let seed = factory.seed.wrapping_add(factory.changes.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let mut lineups: Vec<PoolLineup> = Vec::new();
        let mut beginning = Beginning::Same;
        for (n, group) in (0u64..).zip(&groups) {
            let seed = seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if !main.is_unchanged(factory.shadows.len()) {
                let mut wanted = NextOfPool { live: &mut next.live, shadows: &mut next.shadows, seed };
                let history = group.pool.balancer.lock().history();
                lineups.push((
                    Arc::clone(&group.pool),
                    main.clone(),
                    main.lineup(&group.pool, &mut wanted, history.as_ref())?,
                ));
                if n == 0 {
                    beginning = main.beginning(history.as_ref());
                }
            }
            if let (Some(origins), Some(split), Some(live)) =
                (&prefill, &group.disaggregation, &mut next.prefill)
                && !origins.is_unchanged(0)
            {
                let mut wanted = NextOfPool { live, shadows: &mut [], seed: !seed };
                let history = split.pool.balancer.lock().history();
                let lineup = origins.lineup(&split.pool, &mut wanted, history.as_ref())?;
                lineups.push((Arc::clone(&split.pool), origins.clone(), lineup));
            }
        }
        let load_polls = factory.fleet.load_polls;
        for (pool, origins, lineup) in lineups {
            let is_main = groups.iter().any(|group| Arc::ptr_eq(&group.pool, &pool));
            let mut wanted = match (is_main, &mut next.prefill) {
                (false, Some(live)) => NextOfPool { live, shadows: &mut [], seed },
                _ => NextOfPool { live: &mut next.live, shadows: &mut next.shadows, seed },
            };
            install(&pool, &origins, lineup, &mut wanted, load_polls)?;
        }
        factory.take(next);
        Ok(beginning)
    }

    /// Sets the limits of all workers, of those that are there and of those to come.
    pub(crate) fn set_admission(&self, admission: &AdmissionConfig, load_polls: LoadPolls) {
        let mut factory = self.factory.lock();
        factory.fleet.load_polls = load_polls;
        factory.admission = admission.clone();
        for group in self.groups() {
            for pool in group.pools() {
                let cap = admission.worker_max_in_flight;
                let mut balancer = pool.balancer.lock();
                balancer.set_cap(cap);
                balancer.set_overload_bounds(admission.overload);
                balancer.set_batch_window(admission.batch_window);
                let needs = balancer.needs();
                drop(balancer);
                pool.needs.set(needs, load_polls);
                pool.capacity.set(cap, admission.queue_timeout);
            }
        }
    }
}

impl Origins {
    fn beginning(&self, history: Option<&EventHistory>) -> Beginning {
        match self.live {
            Origin::Live => Beginning::Same,
            Origin::Shadow(_) => Beginning::WasShadow,
            Origin::New => Beginning::Learned(history.map_or(0, EventHistory::requests)),
        }
    }
}

impl GroupFactory {
    /// Groups to come get these policies.
    fn take(&mut self, next: NextPolicies) {
        self.policy = next.live;
        self.shadows = next.shadows;
        if let (Some(plan), Some(policy)) = (&mut self.prefill, next.prefill) {
            plan.policy = policy;
        }
    }
}

/// Lets the policies of a pool take part. Where so much happened since they were prepared that they cannot catch up, they are prepared
/// again while nothing else can happen.
fn install(
    pool: &WorkerPool,
    origins: &Origins,
    lineup: PolicyLineup,
    wanted: &mut NextOfPool<'_>,
    load_polls: LoadPolls,
) -> Result<(), GroupError> {
    let now = pool.clock.now();
    let mut balancer = pool.balancer.lock();
    match balancer.set_policies(now, lineup) {
        Err(LineupError::Outdated) => {
            let history = balancer.history();
            let lineup = origins.lineup(pool, wanted, history.as_ref())?;
            balancer.set_policies(now, lineup)?;
        }
        set => set?,
    }
    let needs = balancer.needs();
    drop(balancer);
    pool.telemetry.metrics.set_policy(wanted.live.name());
    pool.needs.set(needs, load_polls);
    Ok(())
}

impl ServingGroup {
    /// What the policies of its pools want to know of a request, which is scanned once for all of them.
    pub(crate) fn needs(&self) -> PolicyNeeds {
        // Each pool polls its own workers, and a client that names a worker means one that decodes.
        let of_prefill = |pool: &Arc<WorkerPool>| PolicyNeeds {
            load_reports: false,
            target_worker: false,
            ..pool.needs.get()
        };
        let prefill = self.disaggregation.as_ref().map(|split| of_prefill(&split.pool));
        prefill.into_iter().fold(self.pool.needs.get(), PolicyNeeds::or)
    }
}
