//! Which group a request goes to, by the model that it names.

use super::serving_group::ServingGroup;
use crate::error::ProxyError;
use router_config::{ModelConfig, ModelRouting};
use router_core::WorkerId;
use router_upstream::WorkerPool;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The most models that an error names.
const NAMED_MODELS: usize = 32;

/// What a request says of its model.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelName<'a> {
    pub(crate) model: Option<Cow<'a, str>>,
    /// SGLang's `lora_path`, where it is one name.
    pub(crate) adapter: Option<Cow<'a, str>>,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) group: Arc<ServingGroup>,
    /// A name that some workers of the group do not have: only the others can take the request.
    pub(crate) only: Option<Arc<str>>,
    /// The model's own name, where the request gave an alias.
    pub(crate) rename: Option<String>,
}

impl Resolved {
    pub(crate) const fn of(group: Arc<ServingGroup>) -> Self {
        Self { group, only: None, rename: None }
    }

    /// The same, without the workers that have not said yet whether they serve it.
    pub(super) fn only_told(self, name: &ModelName<'_>) -> Self {
        let told = || self.group.model().filter(|_| name.model.is_some());
        let only = self.only.clone().or_else(told);
        Self { only, ..self }
    }

    /// The candidates of a pool that do not serve what the request names.
    pub(crate) fn unfit(&self, pool: &WorkerPool) -> Vec<WorkerId> {
        let Some(name) = &self.only else { return Vec::new() };
        let lacks = |c: &Arc<router_upstream::Candidate>| !c.worker.profile.load().served.has(name);
        pool.candidates.all().iter().filter(|c| lacks(c)).map(|c| c.id).collect()
    }
}

/// What the names of a request lead to.
#[derive(Debug)]
pub(crate) enum Finding {
    /// This group for certain.
    Certain(Resolved),
    /// This, unless a worker that has not been asked yet serves what the request names.
    Doubtful(Result<Resolved, ProxyError>),
}

/// The groups and the names that lead to them, at one moment.
#[derive(Debug, Default)]
pub(super) struct GroupTable {
    /// The first is always there.
    pub(super) groups: Vec<Arc<ServingGroup>>,
    names: HashMap<Arc<str>, NamedGroup>,
    /// Some names are served by a part of their group only.
    has_partial: bool,
}

#[derive(Debug)]
struct NamedGroup {
    group: Arc<ServingGroup>,
    is_partial: bool,
}

impl GroupTable {
    /// The table of these groups, with the names that their workers have now.
    pub(super) fn new(groups: Vec<Arc<ServingGroup>>) -> Self {
        let mut names = HashMap::<Arc<str>, NamedGroup>::new();
        for group in &groups {
            let Some(model) = group.model() else { continue };
            let mut counts = HashMap::<Arc<str>, usize>::new();
            let mut workers = 0;
            for candidate in group.active() {
                let profile = candidate.worker.profile.load();
                if profile.served.is_unknown() {
                    continue;
                }
                workers += 1;
                for name in profile.served.names_of(&model) {
                    *counts.entry(Arc::clone(name)).or_default() += 1;
                }
            }
            // A name that is a model's own leads there, whoever else has it.
            counts.entry(Arc::clone(&model)).or_insert(workers);
            for (name, count) in counts {
                let is_own = *name == *model;
                if is_own || !names.contains_key(&name) {
                    let group = Arc::clone(group);
                    names.insert(name, NamedGroup { group, is_partial: count < workers });
                }
            }
        }
        let has_partial = names.values().any(|named| named.is_partial);
        Self { groups, names, has_partial }
    }

    /// The group of this model, by its own name.
    pub(super) fn of_model(&self, model: &str) -> Option<&Arc<ServingGroup>> {
        self.groups.iter().find(|group| group.model().is_some_and(|own| *own == *model))
    }

    /// Whether the workers of `group` have these names of its model, and all of them the same.
    pub(super) fn is_uniform(&self, group: &Arc<ServingGroup>, names: &[Arc<str>]) -> bool {
        let own = |named: &&NamedGroup| Arc::ptr_eq(&named.group, group);
        let is_whole = |name| self.names.get(name).is_some_and(|named| own(&named) && !named.is_partial);
        names.iter().all(is_whole) && self.names.values().filter(own).count() == names.len()
    }

    /// Where a request goes.
    pub(super) fn find(&self, config: &ModelConfig, name: &ModelName<'_>) -> Finding {
        let [first, ..] = self.groups.as_slice() else {
            return Finding::Doubtful(Err(ProxyError::ModelUnnamed));
        };
        let is_one = self.groups.len() == 1;
        let lenient = is_one && config.routing == ModelRouting::Auto;
        if lenient && !self.has_partial && config.aliases.is_empty() {
            // Whatever it names: the fleet has one model. Only a worker that was not asked yet may have another one.
            let is_known = name.model.as_ref().is_some_and(|model| self.names.contains_key(&**model));
            let resolved = Resolved::of(Arc::clone(first));
            return if is_known { Finding::Certain(resolved) } else { Finding::Doubtful(Ok(resolved)) };
        }
        let given = name.model.as_deref().filter(|model| !model.is_empty());
        let rename = given.and_then(|given| config.aliases.get(given));
        let wanted = rename.map(String::as_str).or(given);
        let found = match wanted {
            Some(wanted) => self.named(wanted).or_else(|| self.adapted(wanted)),
            None => {
                let adapter = name.adapter.as_deref().and_then(|adapter| self.named(adapter));
                adapter.or_else(|| self.named(config.default.as_deref()?))
            }
        };
        if let Some(found) = found {
            return Finding::Certain(Resolved { rename: rename.cloned(), ..found });
        }
        let is_silent = self.names.is_empty();
        Finding::Doubtful(match wanted.or(config.default.as_deref()) {
            // Nobody knows yet what is served; a request that finds no worker says so.
            _ if lenient || is_silent => {
                Ok(Resolved { rename: rename.cloned(), ..Resolved::of(Arc::clone(first)) })
            }
            None if is_one => Ok(Resolved::of(Arc::clone(first))),
            None => Err(ProxyError::ModelUnnamed),
            Some(wanted) => Err(self.unknown(wanted, config)),
        })
    }

    fn named(&self, name: &str) -> Option<Resolved> {
        let (name, named) = self.names.get_key_value(name)?;
        let only = named.is_partial.then(|| Arc::clone(name));
        Some(Resolved { only, ..Resolved::of(Arc::clone(&named.group)) })
    }

    /// SGLang's `MODEL:ADAPTER`.
    fn adapted(&self, name: &str) -> Option<Resolved> {
        let (model, adapter) = name.rsplit_once(':')?;
        let base = self.named(model)?;
        match self.named(adapter) {
            Some(adapter) if Arc::ptr_eq(&adapter.group, &base.group) => Some(adapter),
            _ => Some(base),
        }
    }

    fn unknown(&self, wanted: &str, config: &ModelConfig) -> ProxyError {
        let mut known: BTreeSet<&str> = self.names.keys().map(|name| &**name).collect();
        known.extend(config.aliases.keys().map(String::as_str));
        let more = known.len().saturating_sub(NAMED_MODELS);
        let mut text = known.into_iter().take(NAMED_MODELS).collect::<Vec<_>>().join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        ProxyError::UnknownModel { model: wanted.chars().take(200).collect(), known: text }
    }
}
