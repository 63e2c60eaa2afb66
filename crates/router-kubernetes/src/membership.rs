//! Which pods are workers: a pure state machine. What the API server tells goes in, changes of the fleet come out.
//!
//! A pod is a worker while it has an address, is not terminating and, where a Service is named, is behind that Service. A
//! worker is known by the UID of its pod, so that another pod at the same address is another worker.

use crate::object::{EndpointSlice, Pod};
use crate::object_table::{ListPurpose, ObjectName, ObjectTable, identity, version};
use crate::pod_facts::{PodFacts, PodState};
use crate::service_endpoints::ServiceEndpoints;
use router_config::{DiscoveryConfig, PodSelector, WorkerSpec, WorkerUpdate};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// A change of the fleet.
#[derive(Clone, PartialEq, Debug)]
pub enum MembershipChange {
    /// The pod terminates, or is no worker any more: it gets no new requests.
    Draining {
        /// The UID of the pod.
        uid: String,
    },
    /// A pod is a worker now.
    Joined(Box<DiscoveredWorker>),
    /// What its annotations and labels say has changed.
    Updated {
        /// The UID of the pod.
        uid: String,
        /// The new values.
        update: Box<WorkerUpdate>,
    },
    /// It is ready now, or not any more.
    Readiness {
        /// The UID of the pod.
        uid: String,
        /// Why it is not ready; `None` when it is.
        problem: Option<String>,
    },
    /// An annotation of a pod cannot be read.
    Warning {
        /// The pod.
        pod: String,
        /// The annotation and its value.
        annotation: String,
    },
}

/// A pod that became a worker.
#[derive(Clone, PartialEq, Debug)]
pub struct DiscoveredWorker {
    /// The UID of the pod; with the port behind it where the pod serves at several and this is not the first.
    pub uid: String,
    /// The worker.
    pub spec: WorkerSpec,
    /// Why it is not ready; `None` when it is.
    pub problem: Option<String>,
}

/// A selector, and the name of a pod that it selects.
type Place = (usize, ObjectName);

/// What the API server told, and what was made of it.
#[derive(Debug)]
pub struct Membership {
    config: DiscoveryConfig,
    /// The pods of each selector.
    pods: Vec<ObjectTable<PodFacts>>,
    /// Where each pod is, by UID.
    places: HashMap<String, BTreeSet<Place>>,
    /// The pods at each URL.
    at_url: HashMap<String, BTreeSet<(String, Place)>>,
    /// The endpoints of the Service, where one is named.
    service: Option<ServiceEndpoints>,
    /// The workers as they were told, by UID.
    workers: HashMap<String, ToldWorker>,
    /// Pods that may have to be told of.
    dirty: BTreeSet<String>,
    changes: Vec<MembershipChange>,
}

/// A worker that does not drain.
#[derive(Clone, PartialEq, Debug)]
struct ServingWorker {
    spec: WorkerSpec,
    /// Why it is not ready; `None` when it is.
    problem: Option<String>,
}

/// A worker as it was told.
#[derive(Clone, PartialEq, Debug)]
enum ToldWorker {
    Serving(Box<ServingWorker>),
    /// Nothing brings it back.
    Draining,
}

impl Membership {
    /// No pods are known yet.
    pub fn new(config: DiscoveryConfig) -> Self {
        Self {
            pods: config.pods.iter().map(|_| ObjectTable::default()).collect(),
            service: config.service.as_ref().map(|_| ServiceEndpoints::default()),
            config,
            places: HashMap::new(),
            at_url: HashMap::new(),
            workers: HashMap::new(),
            dirty: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    /// The pods that are workers and do not drain, by UID, each with its URL.
    pub fn serving(&self) -> BTreeMap<&str, &str> {
        let serving = self.workers.iter().filter_map(|(uid, worker)| match worker {
            ToldWorker::Serving(worker) => Some((uid.as_str(), worker.spec.url.as_str())),
            ToldWorker::Draining => None,
        });
        serving.collect()
    }

    /// Other selectors count from now on. The workers stay as they were told until the pods of the new selectors are
    /// known; without selectors they go.
    pub fn select(&mut self, pods: Vec<PodSelector>) {
        self.pods = pods.iter().map(|_| ObjectTable::default()).collect();
        self.config.pods = pods;
        self.places.clear();
        self.at_url.clear();
        self.dirty = self.workers.keys().cloned().collect();
    }

    /// A pod was added or changed that this selector has, and with it those with the same labels.
    pub fn apply_pod(&mut self, selector: usize, pod: &Pod) {
        self.alike(selector).for_each(|selector| self.apply_to(selector, pod));
    }

    /// Such a pod was deleted, or has its labels no more.
    pub fn delete_pod(&mut self, selector: usize, pod: &Pod) {
        self.alike(selector).for_each(|selector| self.delete_from(selector, pod));
    }

    /// All such pods, as of the version of the list.
    pub fn replace_pods(&mut self, selector: usize, pods: &[Pod], list: &str, purpose: ListPurpose) {
        self.alike(selector).for_each(|selector| self.replace_in(selector, pods, list, purpose));
    }

    /// The selectors with the labels of this one: there is one for each port of a pod. Only neighbours are.
    fn alike(&self, selector: usize) -> Range<usize> {
        let pods = self.config.pods.get(selector..).unwrap_or_default();
        let alike = pods.iter().take_while(|other| other.labels == pods[0].labels).count();
        selector..selector + alike
    }

    fn apply_to(&mut self, selector: usize, pod: &Pod) {
        let (name, version) = identity(pod);
        let Some(facts) = self.facts(selector, pod) else { return };
        let Some(table) = self.pods.get_mut(selector) else { return };
        let Some(before) = table.apply(name.clone(), version, facts) else { return };
        let place = (selector, name);
        // Another pod may have had the name: its deletion was not told.
        before.into_iter().for_each(|before| self.unlink(&place, &before));
        self.link(place);
    }

    fn delete_from(&mut self, selector: usize, pod: &Pod) {
        let (name, version) = identity(pod);
        let Some(table) = self.pods.get_mut(selector) else { return };
        if let Some(before) = table.delete(name.clone(), version) {
            self.unlink(&(selector, name), &before);
        }
    }

    fn replace_in(&mut self, selector: usize, pods: &[Pod], list: &str, purpose: ListPurpose) {
        let item = |pod: &Pod| {
            let (name, version) = identity(pod);
            Some((name, version, self.facts(selector, pod)?))
        };
        let items: Vec<_> = pods.iter().filter_map(item).collect();
        let names: Vec<_> = items.iter().map(|(name, ..)| name.clone()).collect();
        let Some(table) = self.pods.get_mut(selector) else { return };
        for (name, before) in table.replace(items, version(list), purpose) {
            self.unlink(&(selector, name), &before);
        }
        names.into_iter().for_each(|name| self.link((selector, name)));
    }

    /// A slice of the Service's endpoints was added or changed.
    pub fn apply_slice(&mut self, slice: &EndpointSlice) {
        let (name, version) = identity(slice);
        if let Some(service) = &mut self.service {
            self.dirty.extend(service.apply(name, version, slice));
        }
    }

    /// A slice of the Service's endpoints was deleted.
    pub fn delete_slice(&mut self, slice: &EndpointSlice) {
        let (name, version) = identity(slice);
        if let Some(service) = &mut self.service {
            self.dirty.extend(service.delete(&name, version));
        }
    }

    /// All slices of the Service's endpoints, as of the version of the list.
    pub fn replace_slices(&mut self, slices: &[EndpointSlice], list: &str, purpose: ListPurpose) {
        let Some(service) = &mut self.service else { return };
        let items = slices.iter().map(|slice| {
            let (name, version) = identity(slice);
            (name, version, slice)
        });
        self.dirty.extend(service.replace(items.collect(), version(list), purpose));
        // Before the first list no pod is known to be behind the Service.
        self.dirty.extend(self.places.keys().cloned());
    }

    /// What has changed since the last call, in the order in which it must be done: a worker leaves an address before
    /// another comes to it.
    pub fn take_changes(&mut self) -> Vec<MembershipChange> {
        while let Some(uid) = self.dirty.pop_first() {
            self.settle(&uid);
        }
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_by_key(|change| match change {
            MembershipChange::Draining { .. } => 0,
            MembershipChange::Joined(_) => 1,
            _ => 2,
        });
        changes
    }

    fn facts(&self, index: usize, pod: &Pod) -> Option<PodFacts> {
        let selector = self.config.pods.get(index)?;
        let mut facts = PodFacts::read(pod, selector, &self.config);
        let before = index.checked_sub(1).and_then(|before| self.config.pods.get(before));
        if before.is_some_and(|before| before.labels == selector.labels) {
            facts.uid = format!("{}:{}", facts.uid, selector.port);
        }
        Some(facts)
    }

    /// The pod of a place is found by its UID and its URL. All at that URL are looked at again.
    fn link(&mut self, place: Place) {
        let Some(facts) = self.pods.get(place.0).and_then(|table| table.get(&place.1)) else { return };
        let uid = facts.uid.clone();
        if let Some(spec) = &facts.spec {
            let sharing = self.at_url.entry(spec.url.clone()).or_default();
            sharing.insert((uid.clone(), place.clone()));
            self.dirty.extend(sharing.iter().map(|(uid, _)| uid.clone()));
        }
        self.places.entry(uid.clone()).or_default().insert(place);
        self.dirty.insert(uid);
    }

    /// A pod left a place. All at its URL are looked at again.
    fn unlink(&mut self, place: &Place, before: &PodFacts) {
        if let Some(places) = self.places.get_mut(&before.uid) {
            places.remove(place);
            if places.is_empty() {
                self.places.remove(&before.uid);
            }
        }
        let url = before.spec.as_ref().map(|spec| spec.url.as_str()).unwrap_or_default();
        if let Some(sharing) = self.at_url.get_mut(url) {
            sharing.remove(&(before.uid.clone(), place.clone()));
            self.dirty.extend(sharing.iter().map(|(uid, _)| uid.clone()));
            if sharing.is_empty() {
                self.at_url.remove(url);
            }
        }
        self.dirty.insert(before.uid.clone());
    }

    /// The pod of this UID, by the first selector that has it.
    fn pod(&self, uid: &str) -> Option<&PodFacts> {
        let (selector, name) = self.places.get(uid)?.first()?;
        self.pods.get(*selector)?.get(name)
    }

    /// Tells what has become of a pod.
    fn settle(&mut self, uid: &str) {
        let wanted = self.wanted(uid);
        let told = self.workers.get(uid);
        match (told, wanted) {
            (None, Wanted::Absent | Wanted::Draining) => {}
            (None, Wanted::Serving(worker)) => self.join(uid, worker),
            (Some(ToldWorker::Draining), Wanted::Absent) => {
                self.workers.remove(uid);
            }
            (Some(ToldWorker::Draining), _) => {}
            (Some(ToldWorker::Serving(_)), Wanted::Absent) => {
                self.changes.push(MembershipChange::Draining { uid: uid.to_owned() });
                self.workers.remove(uid);
            }
            (Some(ToldWorker::Serving(_)), Wanted::Draining) => {
                self.changes.push(MembershipChange::Draining { uid: uid.to_owned() });
                self.workers.insert(uid.to_owned(), ToldWorker::Draining);
            }
            (Some(ToldWorker::Serving(old)), Wanted::Serving(new)) => {
                let old = old.clone();
                self.change(uid, &old, new);
            }
        }
    }

    /// A serving worker stays one, perhaps with other values.
    fn change(&mut self, uid: &str, old: &ServingWorker, new: Box<ServingWorker>) {
        if !is_same_worker(&old.spec, &new.spec) {
            self.changes.push(MembershipChange::Draining { uid: uid.to_owned() });
            return self.join(uid, new);
        }
        if old.problem != new.problem {
            let problem = new.problem.clone();
            self.changes.push(MembershipChange::Readiness { uid: uid.to_owned(), problem });
        }
        if old.spec != new.spec {
            let update = WorkerUpdate {
                weight: Some(new.spec.weight),
                priority: Some(new.spec.priority),
                cost: Some(new.spec.cost),
                labels: Some(new.spec.labels.clone()),
                ..WorkerUpdate::default()
            };
            self.changes.push(MembershipChange::Updated { uid: uid.to_owned(), update: Box::new(update) });
            self.warn_of(uid);
        }
        self.workers.insert(uid.to_owned(), ToldWorker::Serving(new));
    }

    fn join(&mut self, uid: &str, worker: Box<ServingWorker>) {
        self.warn_of(uid);
        let ServingWorker { spec, problem } = (*worker).clone();
        let joined = DiscoveredWorker { uid: uid.to_owned(), spec, problem };
        self.changes.push(MembershipChange::Joined(Box::new(joined)));
        self.workers.insert(uid.to_owned(), ToldWorker::Serving(worker));
    }

    fn warn_of(&mut self, uid: &str) {
        let Some((_, name)) = self.places.get(uid).and_then(|places| places.first()) else { return };
        let pod = format!("{}/{}", name.namespace, name.name);
        let Some(facts) = self.pod(uid) else { return };
        let warnings = facts.warnings.clone().into_iter();
        self.changes
            .extend(warnings.map(|annotation| MembershipChange::Warning { pod: pod.clone(), annotation }));
    }

    /// What a pod should be.
    fn wanted(&self, uid: &str) -> Wanted {
        let Some(pod) = self.pod(uid) else { return Wanted::Absent };
        let endpoint = match &self.service {
            Some(service) => match service.endpoint(uid) {
                Some(endpoint) => Some(endpoint),
                None => return Wanted::Absent,
            },
            None => None,
        };
        if pod.state == PodState::Terminating || endpoint.as_ref().is_some_and(|e| e.is_terminating) {
            return Wanted::Draining;
        }
        let Some(spec) = &pod.spec else { return Wanted::Absent };
        if self.is_superseded(pod, &spec.url) {
            return Wanted::Absent;
        }
        let mut spec = spec.clone();
        let zone = endpoint.as_ref().and_then(|endpoint| endpoint.zone.clone());
        if let Some(zone) = zone {
            spec.labels.entry("zone".to_owned()).or_insert(zone);
        }
        let problem = match &pod.state {
            PodState::NotReady(reason) => Some(reason.clone()),
            _ if endpoint.is_some_and(|endpoint| !endpoint.is_ready) => {
                Some("the endpoint of the Service is not ready".to_owned())
            }
            _ => None,
        };
        Wanted::Serving(Box::new(ServingWorker { spec, problem }))
    }

    /// Whether a newer pod has the URL. Two pods that serve cannot have one address: the deletion of the older one was not
    /// told.
    fn is_superseded(&self, pod: &PodFacts, url: &str) -> bool {
        let others = self.at_url.get(url).into_iter().flatten().filter(|(uid, _)| *uid != pod.uid);
        let rank = |pod: &PodFacts| (pod.created.clone(), pod.uid.clone());
        let mut others = others.filter_map(|(uid, _)| self.pod(uid));
        others.any(|other| other.state != PodState::Terminating && rank(other) > rank(pod))
    }
}

/// What a pod should be.
#[derive(Clone, PartialEq, Debug)]
enum Wanted {
    Absent,
    Draining,
    Serving(Box<ServingWorker>),
}

/// Whether only values differ that a worker can change while it serves.
fn is_same_worker(old: &WorkerSpec, new: &WorkerSpec) -> bool {
    let comparable = WorkerSpec {
        weight: old.weight,
        priority: old.priority,
        cost: old.cost,
        labels: old.labels.clone(),
        ..new.clone()
    };
    *old == comparable
}
