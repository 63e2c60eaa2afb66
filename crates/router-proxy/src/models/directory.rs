//! The groups of all models: who is in which, and which of them a request goes to.

use super::group_factory::{GroupError, GroupFactory, WorkersAtStart};
use super::resolution::{Finding, GroupTable, ModelName, Resolved};
use super::serving_group::ServingGroup;
use crate::error::ProxyError;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use router_config::{ModelConfig, WorkerKind, WorkerSpec, WorkerUrl};
use router_telemetry::Clock;
use router_upstream::{
    Arrival, Candidate, HealthState, MembershipError, ModelDirectory, Place, Worker, WorkerPool,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, info};

/// A model whose last worker has left is known for so long: its requests wait for a worker, or get 503, while its servers are
/// replaced.
const KEPT_WHEN_EMPTY: Duration = Duration::from_secs(600);

/// How long a request waits at most for workers that have not been asked yet what they serve.
const LONGEST_DOUBT: Duration = Duration::from_secs(10);

/// The groups of all models.
#[derive(Debug)]
pub(crate) struct Models {
    config: ModelConfig,
    clock: Clock,
    /// The first group, which is there from the start to the end.
    first: Arc<ServingGroup>,
    table: ArcSwap<GroupTable>,
    /// Held while workers join, leave or change their group.
    pub(super) factory: Mutex<GroupFactory>,
    /// Every worker of the start was asked what it serves.
    is_settled: AtomicBool,
    /// Notified when a worker has said what it serves, or failed to.
    told: Notify,
}

/// Why a worker cannot join.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Membership(#[from] MembershipError),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("{0}")]
    Kind(&'static str),
}

impl Models {
    /// The first group, and no workers yet.
    pub(crate) fn new(
        config: ModelConfig,
        mut factory: GroupFactory,
        workers: WorkersAtStart,
    ) -> Result<Arc<Self>, GroupError> {
        let link = factory.directory.clone();
        let first = Arc::new(factory.make(None, workers)?);
        let models = Arc::new(Self {
            config,
            clock: factory.clock,
            table: ArcSwap::from_pointee(GroupTable::new(vec![Arc::clone(&first)])),
            first,
            is_settled: AtomicBool::new(link.is_none()),
            factory: Mutex::new(factory),
            told: Notify::new(),
        });
        if let Some(link) = link {
            let own = Arc::downgrade(&models);
            let _ = link.set(own);
        }
        Ok(models)
    }

    /// The first group: what the router as a whole reports and runs is that of its pool.
    pub(crate) const fn first(&self) -> &Arc<ServingGroup> {
        &self.first
    }

    /// All groups.
    pub(crate) fn groups(&self) -> Vec<Arc<ServingGroup>> {
        self.table.load().groups.clone()
    }

    /// The names that the configuration gives to models: alias and model.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.config.aliases.iter().map(|(alias, model)| (alias.as_str(), model.as_str()))
    }

    /// The group of a model, by any of its names.
    pub(crate) fn group_of(&self, name: &str) -> Result<Arc<ServingGroup>, ProxyError> {
        let name = ModelName { model: Some(name.into()), adapter: None };
        match self.table.load().find(&self.config, &name) {
            Finding::Certain(resolved) => Ok(resolved.group),
            Finding::Doubtful(result) => result.map(|resolved| resolved.group),
        }
    }

    /// The group that a request goes to, which waits while workers of the start have not been asked yet what they serve.
    ///
    /// # Errors
    /// No worker serves the model, or the request names none where there are several.
    pub(crate) async fn resolve(&self, name: &ModelName<'_>) -> Result<Resolved, ProxyError> {
        let is_settled = self.is_settled.load(Relaxed);
        match self.table.load().find(&self.config, name) {
            Finding::Certain(resolved) if is_settled => Ok(resolved),
            Finding::Certain(resolved) => Ok(self.without_untold(resolved, name)),
            Finding::Doubtful(result) if is_settled => result,
            Finding::Doubtful(_) => Box::pin(self.resolve_later(name)).await,
        }
    }

    async fn resolve_later(&self, name: &ModelName<'_>) -> Result<Resolved, ProxyError> {
        let until = Instant::now() + LONGEST_DOUBT;
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            told.as_mut().enable();
            let doubtful = match self.table.load().find(&self.config, name) {
                Finding::Certain(resolved) => return Ok(self.without_untold(resolved, name)),
                Finding::Doubtful(result) => result,
            };
            if self.is_settled.load(Relaxed) || tokio::time::timeout_at(until, told).await.is_err() {
                return doubtful;
            }
        }
    }

    /// The same, without workers of the first group that have not said yet whether they serve it. Those of the other groups have.
    fn without_untold(&self, resolved: Resolved, name: &ModelName<'_>) -> Resolved {
        if Arc::ptr_eq(&resolved.group, &self.first) { resolved.only_told(name) } else { resolved }
    }

    /// Adds the workers of the start.
    pub(crate) fn join_at_start(
        self: &Arc<Self>,
        workers: &[WorkerSpec],
        prefill: &[WorkerSpec],
    ) -> Result<(), JoinError> {
        let mut factory = self.factory.lock();
        for specs in [workers, prefill] {
            let mut first = Vec::new();
            for spec in specs {
                let group = self.home_of(spec, &mut factory)?;
                if Arc::ptr_eq(&group, &self.first) {
                    first.push(spec.clone());
                } else {
                    pool_of(&group, spec.worker_type)?.join(spec)?;
                }
            }
            if let Some(kind) = first.first().map(|spec| spec.worker_type) {
                pool_of(&self.first, kind)?.join_all(&first)?;
            }
        }
        self.rebuild(self.groups());
        self.settle();
        Ok(())
    }

    /// Adds a worker. One whose model is not configured begins in the first group.
    pub(crate) fn join(&self, spec: &WorkerSpec, arrival: Arrival) -> Result<Arc<Candidate>, JoinError> {
        let mut factory = self.factory.lock();
        // Before a group is made for it.
        pool_of(&self.first, spec.worker_type)?;
        let url = spec.base_url(factory.fleet.connection_mode);
        let url = url.map_err(|error| MembershipError::Spec(error.into()))?;
        if !self.members_at(&url).is_empty() {
            return Err(MembershipError::Present(url).into());
        }
        let group = self.home_of(spec, &mut factory)?;
        let joined = pool_of(&group, spec.worker_type)?.join_with(spec, arrival)?;
        self.rebuild(self.groups());
        Ok(joined)
    }

    /// The members of all groups that are the worker at this URL: one for each model that it serves.
    pub(crate) fn members_at(&self, url: &WorkerUrl) -> Vec<(Arc<WorkerPool>, Arc<Candidate>)> {
        let member = |pool: &Arc<WorkerPool>| Some((Arc::clone(pool), pool.candidates.find_active(url)?));
        self.groups().iter().flat_map(|group| group.pools().filter_map(member).collect::<Vec<_>>()).collect()
    }

    /// Begins to drain a worker, in every group that it belongs to.
    pub(crate) fn begin_drain(&self, url: &WorkerUrl) {
        let _order = self.factory.lock();
        for (pool, member) in self.members_at(url) {
            pool.begin_drain(&member.worker);
        }
        self.rebuild(self.groups());
    }

    /// The group in which a new worker begins.
    fn home_of(
        &self,
        spec: &WorkerSpec,
        factory: &mut GroupFactory,
    ) -> Result<Arc<ServingGroup>, GroupError> {
        match spec.model().filter(|_| factory.directory.is_some()) {
            Some(model) => self.group_for(&Arc::from(model), factory),
            None => Ok(Arc::clone(&self.first)),
        }
    }

    /// The group of this model. It is made where there is none, unless the first group has no model yet.
    fn group_for(
        &self,
        model: &Arc<str>,
        factory: &mut GroupFactory,
    ) -> Result<Arc<ServingGroup>, GroupError> {
        if let Some(group) = self.table.load().of_model(model) {
            return Ok(Arc::clone(group));
        }
        if self.first.model().is_none() {
            self.first.name(model);
            return Ok(Arc::clone(&self.first));
        }
        let group = Arc::new(factory.make(Some(model), WorkersAtStart::default())?);
        group.announce();
        info!(%model, "the first worker of another model");
        let mut groups = self.groups();
        groups.push(Arc::clone(&group));
        self.rebuild(groups);
        Ok(group)
    }

    /// Makes the table anew, without the groups whose last worker left long ago.
    fn rebuild(&self, groups: Vec<Arc<ServingGroup>>) {
        let now = self.clock.now();
        let (kept, over): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|group| Arc::ptr_eq(group, &self.first) || !group.is_over(now, KEPT_WHEN_EMPTY));
        for group in over {
            info!(model = group.model().as_deref(), "no worker serves the model any more");
            group.pools().for_each(|pool| pool.stop_tasks());
        }
        self.table.store(Arc::new(GroupTable::new(kept)));
    }

    /// Notes whether every worker was asked what it serves. Once is enough: later ones begin outside of what requests find.
    fn settle(&self) {
        if !self.is_settled.load(Relaxed) {
            let groups = self.groups();
            let all_told = groups.iter().flat_map(|g| g.active()).all(|c| c.worker.has_told_models());
            self.is_settled.store(all_told, Relaxed);
        }
    }

    /// The worker joins the groups of the models that it serves and is not in yet.
    fn join_others(&self, worker: &Worker, models: &[Arc<str>], factory: &mut GroupFactory) {
        let spec = worker.spec();
        for model in models {
            let joined = self.group_for(model, factory).map_err(JoinError::from).and_then(|group| {
                let pool = pool_of(&group, spec.worker_type)?;
                if pool.candidates.find_active(&worker.url).is_none() {
                    info!(worker = %worker.url, %model, "the worker joins the workers of its model");
                    pool.join_with(&spec, worker.arrival())?;
                }
                Ok(())
            });
            if let Err(error) = joined {
                error!(worker = %worker.url, %model, %error, "the worker cannot join the workers of its model");
            }
        }
    }
}

impl ModelDirectory for Models {
    fn told(&self, worker: &Arc<Worker>, place: Place) {
        let mut factory = self.factory.lock();
        if matches!(worker.health(), HealthState::Draining | HealthState::Gone) {
            return;
        }
        let groups = self.groups();
        let with_pool = |group: &Arc<ServingGroup>| {
            let pool = group.pools().find(|pool| pool.has_worker(worker))?;
            Some((Arc::clone(group), Arc::clone(pool)))
        };
        let Some((group, pool)) = groups.iter().find_map(with_pool) else { return };
        let served = worker.profile.load().served.clone();
        let models = served.models();
        let is_alone = || group.active().all(|candidate| Arc::ptr_eq(&candidate.worker, worker));
        match (place, models.first()) {
            (Place::Elsewhere, Some(model)) if is_alone() && self.table.load().of_model(model).is_none() => {
                group.name(model);
                // It is checked again at once, and belongs here now.
                worker.request_recheck();
            }
            (Place::Here, Some(_)) => group.announce(),
            _ => {}
        }
        let own = group.model();
        let is_here = own.as_ref().is_none_or(|own| models.is_empty() || models.contains(own));
        let names: Vec<_> = own.iter().flat_map(|own| served.names_of(own)).cloned().collect();
        let is_news = models.len() > 1 || !is_here || !self.table.load().is_uniform(&group, &names);
        if is_news {
            self.join_others(worker, &models, &mut factory);
            if !is_here {
                pool.begin_drain(worker);
            }
            self.rebuild(self.groups());
        }
        self.settle();
        self.told.notify_waiters();
    }
}

fn pool_of(group: &ServingGroup, kind: WorkerKind) -> Result<&Arc<WorkerPool>, JoinError> {
    group.pool_of(kind).ok_or(JoinError::Kind(match kind {
        WorkerKind::Regular => "worker_type: with --pd-disaggregation it must be prefill or decode",
        WorkerKind::Prefill | WorkerKind::Decode => {
            "worker_type: prefill and decode need --pd-disaggregation"
        }
    }))
}
