//! The endpoints of one Service, which its EndpointSlices hold in parts.

use crate::object::{Endpoint, EndpointSlice};
use crate::object_table::{ListPurpose, ObjectName, ObjectTable, Version};
use std::collections::{BTreeSet, HashMap};

/// A pod as the Service sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServiceEndpoint {
    /// It takes new requests.
    pub is_ready: bool,
    /// It is being deleted.
    pub is_terminating: bool,
    /// Its zone.
    pub zone: Option<String>,
}

/// The endpoints of one Service.
#[derive(Debug, Default)]
pub(crate) struct ServiceEndpoints {
    slices: ObjectTable<HashMap<String, ServiceEndpoint>>,
    /// The slices that have a pod, by its UID. A pod is in two of them while it moves, or where it has two kinds of address.
    places: HashMap<String, BTreeSet<ObjectName>>,
}

impl ServiceEndpoints {
    /// The endpoint of the pod with this UID.
    pub(crate) fn endpoint(&self, uid: &str) -> Option<ServiceEndpoint> {
        let mut found: Option<ServiceEndpoint> = None;
        let slices = self.places.get(uid)?.iter().filter_map(|name| self.slices.get(name)?.get(uid));
        for endpoint in slices {
            found = Some(match found {
                None => endpoint.clone(),
                Some(other) => ServiceEndpoint {
                    is_ready: other.is_ready || endpoint.is_ready,
                    is_terminating: other.is_terminating || endpoint.is_terminating,
                    zone: other.zone.or_else(|| endpoint.zone.clone()),
                },
            });
        }
        found
    }

    /// A slice was added or changed. Returns the UIDs of the pods for which that changes something.
    pub(crate) fn apply(&mut self, name: ObjectName, version: Version, slice: &EndpointSlice) -> Vec<String> {
        let Some(before) = self.slices.apply(name.clone(), version, endpoints(slice)) else {
            return Vec::new();
        };
        let before = before.unwrap_or_default();
        let now = self.slices.get(&name).into_iter().flatten();
        let mut changed: Vec<String> = now
            .filter(|(uid, endpoint)| before.get(*uid) != Some(endpoint))
            .map(|(uid, _)| uid.clone())
            .collect();
        let stays = |uid: &String| self.slices.get(&name).is_some_and(|slice| slice.contains_key(uid));
        changed.extend(before.into_keys().filter(|uid| !stays(uid)));
        self.sync(&changed, &[name]);
        changed
    }

    /// A slice was deleted. Returns the UIDs of the pods that it had.
    pub(crate) fn delete(&mut self, name: &ObjectName, version: Version) -> Vec<String> {
        let before = self.slices.delete(name.clone(), version).unwrap_or_default();
        let touched: Vec<String> = before.into_keys().collect();
        self.sync(&touched, std::slice::from_ref(name));
        touched
    }

    /// All slices were listed. Returns the UIDs of the pods that they had or have.
    pub(crate) fn replace(
        &mut self,
        slices: Vec<(ObjectName, Version, &EndpointSlice)>,
        list: Version,
        purpose: ListPurpose,
    ) -> Vec<String> {
        let mut touched: BTreeSet<String> = self.places.keys().cloned().collect();
        let mut names: BTreeSet<ObjectName> = self.places.values().flatten().cloned().collect();
        let items = slices.into_iter().map(|(name, version, slice)| {
            let now = endpoints(slice);
            touched.extend(now.keys().cloned());
            names.insert(name.clone());
            (name, version, now)
        });
        let items = items.collect();
        self.slices.replace(items, list, purpose);
        let (touched, names): (Vec<_>, Vec<_>) = (touched.into_iter().collect(), names.into_iter().collect());
        self.places.clear();
        for name in &names {
            for uid in self.slices.get(name).into_iter().flat_map(HashMap::keys) {
                self.places.entry(uid.clone()).or_default().insert(name.clone());
            }
        }
        touched
    }

    /// Makes the places of these pods agree with these slices.
    fn sync(&mut self, uids: &[String], names: &[ObjectName]) {
        for uid in uids {
            let places = self.places.entry(uid.clone()).or_default();
            for name in names {
                if self.slices.get(name).is_some_and(|slice| slice.contains_key(uid)) {
                    places.insert(name.clone());
                } else {
                    places.remove(name);
                }
            }
            if places.is_empty() {
                self.places.remove(uid);
            }
        }
    }
}

/// The pods of a slice. An endpoint that is no pod has no identity and is left out.
fn endpoints(slice: &EndpointSlice) -> HashMap<String, ServiceEndpoint> {
    let read = |endpoint: &Endpoint| {
        let uid =
            endpoint.target_ref.as_ref().map(|target| target.uid.clone()).filter(|uid| !uid.is_empty())?;
        let conditions = endpoint.conditions;
        let is_terminating = conditions.terminating.unwrap_or(false);
        let is_ready = conditions.ready.unwrap_or(true) && conditions.serving.unwrap_or(true);
        Some((uid, ServiceEndpoint { is_ready, is_terminating, zone: endpoint.zone.clone() }))
    };
    slice.endpoints.iter().filter_map(read).collect()
}
