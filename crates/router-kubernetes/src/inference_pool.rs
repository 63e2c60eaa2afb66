//! Which pods an InferencePool has, and at which ports they serve.

use crate::list_watch::{ObjectNews, ObjectQuery};
use crate::object::InferencePool;
use crate::object_table::{ObjectName, ObjectTable, identity, version};
use router_config::{PodSelector, WorkerKind};
use std::num::NonZeroU16;
use tracing::{info, warn};

/// The members of the pool of one name, by what the API server tells of it.
#[derive(Debug)]
pub(crate) struct PoolMembers {
    name: ObjectName,
    pools: ObjectTable<InferencePool>,
    /// As they were told last; `None` before the first time.
    told: Option<Vec<PodSelector>>,
}

impl PoolMembers {
    pub(crate) fn new(query: &ObjectQuery) -> Self {
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        let name = ObjectName { namespace: text(&query.namespace), name: text(&query.name) };
        Self { name, pools: ObjectTable::default(), told: None }
    }

    /// Applies a piece of news. Returns the selectors of the members if they are others now, one for each port: none when
    /// there is no such pool.
    pub(crate) fn take(&mut self, news: ObjectNews<InferencePool>) -> Option<Vec<PodSelector>> {
        match news {
            ObjectNews::Applied(pool) => {
                let (name, at) = identity(&pool);
                self.pools.apply(name, at, pool);
            }
            ObjectNews::Deleted(pool) => {
                let (name, at) = identity(&pool);
                self.pools.delete(name, at);
            }
            ObjectNews::Listed { items, version: list, purpose } => {
                let item = |pool| {
                    let (name, at) = identity(&pool);
                    (name, at, pool)
                };
                self.pools.replace(items.into_iter().map(item).collect(), version(&list), purpose);
            }
        }
        let pool = self.pools.get(&self.name).filter(|pool| pool.metadata.deletion_timestamp.is_none());
        let selectors = match pool.map(selectors).transpose() {
            Ok(selectors) => selectors.unwrap_or_default(),
            Err(problem) => {
                warn!(
                    pool = self.name.name,
                    problem, "the InferencePool cannot be used; workers stay as they are"
                );
                return None;
            }
        };
        if self.told.as_ref() == Some(&selectors) {
            return None;
        }
        self.log(&selectors);
        self.told = Some(selectors.clone());
        Some(selectors)
    }

    fn log(&self, selectors: &[PodSelector]) {
        let ObjectName { namespace, name: pool } = &self.name;
        let ports: Vec<u16> = selectors.iter().map(|selector| selector.port.get()).collect();
        match selectors.first() {
            Some(selector) => {
                info!(
                    namespace,
                    pool,
                    labels = selector.labels,
                    ?ports,
                    "the workers are the pods of the InferencePool"
                );
            }
            None => warn!(namespace, pool, "there is no such InferencePool, so no pod is a worker"),
        }
    }
}

/// A selector for each port of the pool's pods.
fn selectors(pool: &InferencePool) -> Result<Vec<PodSelector>, &'static str> {
    let labels = &pool.spec.selector.match_labels;
    if labels.is_empty() {
        return Err("spec.selector.matchLabels is empty");
    }
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let labels = labels.join(",");
    let ports = pool.spec.target_ports.iter();
    let ports: Option<Vec<NonZeroU16>> = ports.map(|port| NonZeroU16::new(port.number)).collect();
    let ports = ports.filter(|ports| !ports.is_empty()).ok_or("spec.targetPorts names no port")?;
    let selector = |port| PodSelector { kind: WorkerKind::Regular, labels: labels.clone(), port };
    Ok(ports.into_iter().map(selector).collect())
}
