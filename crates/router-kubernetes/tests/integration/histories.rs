//! Whatever is done to a watcher, a list at the end makes it right.

use super::objects::{TestPod, pod};
use super::watcher::{Told, config};
use proptest::prelude::*;
use router_kubernetes::{ListPurpose, Membership, WorkerSet as _};
use std::collections::BTreeMap;

const NAMES: usize = 5;

/// Something that happens in the cluster, and how the watcher hears of it.
#[derive(Clone, Debug)]
struct Step {
    name: usize,
    what: What,
    heard: Heard,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// The pod comes, with an address; a pod of this name that is there is another one.
    Create {
        address: usize,
    },
    Ready(bool),
    Terminate,
    Delete,
    /// Nothing happens; the watcher gets a list of this moment, or one of some steps ago.
    Audit {
        age: usize,
    },
    Relist,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Once,
    Twice,
    Never,
    /// After the next event.
    Late,
    /// At the end, after everything else.
    Last,
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        4 => (0..NAMES).prop_map(|address| What::Create { address }),
        3 => any::<bool>().prop_map(What::Ready),
        2 => Just(What::Terminate),
        2 => Just(What::Delete),
        1 => (0..3usize).prop_map(|age| What::Audit { age }),
        1 => Just(What::Relist),
    ];
    let heard = prop_oneof![
        5 => Just(Heard::Once),
        1 => Just(Heard::Twice),
        1 => Just(Heard::Never),
        2 => Just(Heard::Late),
        1 => Just(Heard::Last),
    ];
    (0..NAMES, what, heard).prop_map(|(name, what, heard)| Step { name, what, heard })
}

/// A cluster: its pods with their versions.
#[derive(Clone, Default)]
struct Cluster {
    version: u64,
    created: u32,
    pods: BTreeMap<usize, (u64, TestPod, Facts)>,
}

#[derive(Clone, PartialEq, Debug)]
struct Facts {
    uid: String,
    address: usize,
    created: u32,
    is_ready: bool,
    is_terminating: bool,
}

#[derive(Clone)]
enum Event {
    Applied(u64, TestPod),
    Deleted(u64, TestPod),
}

impl Cluster {
    fn put(&mut self, name: usize, facts: Facts) -> Event {
        self.version += 1;
        let created = format!("2026-05-04T{:02}:{:02}:00Z", facts.created / 60, facts.created % 60);
        let mut object =
            pod(&format!("p{name}"), &facts.uid, &format!("10.0.0.{}", facts.address)).created(&created);
        if !facts.is_ready {
            object = object.ready("False");
        }
        if facts.is_terminating {
            object = object.terminating();
        }
        self.pods.insert(name, (self.version, object.clone(), facts));
        Event::Applied(self.version, object)
    }

    fn remove(&mut self, name: usize) -> Option<Event> {
        let (_, object, _) = self.pods.remove(&name)?;
        self.version += 1;
        Some(Event::Deleted(self.version, object))
    }

    fn create(&mut self, name: usize, address: usize) -> Vec<Event> {
        // Kubernetes gives an address to one pod at a time.
        let holder =
            self.pods.iter().find(|(_, (.., facts))| facts.address == address).map(|(name, _)| *name);
        let mut events: Vec<_> = holder.into_iter().filter_map(|holder| self.remove(holder)).collect();
        events.extend(self.remove(name));
        self.created += 1;
        let uid = format!("uid-{}", self.created);
        let created = self.created;
        let facts = Facts { uid, address, created, is_ready: true, is_terminating: false };
        events.push(self.put(name, facts));
        events
    }

    fn change(&mut self, name: usize, change: impl FnOnce(&mut Facts)) -> Vec<Event> {
        let Some((_, _, facts)) = self.pods.get(&name) else { return Vec::new() };
        let mut facts = facts.clone();
        change(&mut facts);
        vec![self.put(name, facts)]
    }

    fn list(&self) -> (Vec<router_kubernetes::Pod>, String) {
        (
            self.pods.values().map(|(version, object, _)| object.read(*version)).collect(),
            self.version.to_string(),
        )
    }

    /// The workers that it should have: the UID, and whether it is ready.
    fn workers(&self) -> BTreeMap<String, bool> {
        let live = self.pods.values().map(|(.., facts)| facts).filter(|facts| !facts.is_terminating);
        live.map(|facts| (facts.uid.clone(), facts.is_ready)).collect()
    }
}

fn hear(membership: &mut Membership, event: &Event) {
    match event {
        Event::Applied(version, object) => membership.apply_pod(0, &object.read(*version)),
        Event::Deleted(version, object) => membership.delete_pod(0, &object.read(*version)),
    }
}

/// Plays the steps; the watcher, what it told, the cluster, and the events that come last.
fn play(steps: &[Step]) -> (Membership, Told, Cluster, Vec<Event>) {
    let mut membership = Membership::new(config("app=sglang"));
    let (told, mut cluster) = (Told::default(), Cluster { version: 100, ..Cluster::default() });
    let mut moments = vec![cluster.list()];
    let (mut late, mut last): (Vec<Event>, Vec<Event>) = (Vec::new(), Vec::new());
    membership.replace_pods(0, &[], "100", ListPurpose::Begin);
    for step in steps {
        let events = match step.what {
            What::Create { address } => cluster.create(step.name, address),
            What::Ready(is_ready) => cluster.change(step.name, |facts| facts.is_ready = is_ready),
            What::Terminate => cluster.change(step.name, |facts| facts.is_terminating = true),
            What::Delete => cluster.remove(step.name).into_iter().collect(),
            What::Audit { age } => {
                let (pods, version) = &moments[moments.len().saturating_sub(age + 1)];
                membership.replace_pods(0, pods, version, ListPurpose::Audit);
                Vec::new()
            }
            What::Relist => {
                // The watch had ended: nothing of it comes any more.
                (late, last) = (Vec::new(), Vec::new());
                let (pods, version) = cluster.list();
                membership.replace_pods(0, &pods, &version, ListPurpose::Begin);
                Vec::new()
            }
        };
        let overtaken = std::mem::take(&mut late);
        for event in events {
            match step.heard {
                Heard::Once => hear(&mut membership, &event),
                Heard::Twice => (0..2).for_each(|_| hear(&mut membership, &event)),
                Heard::Never => {}
                Heard::Late => late.push(event),
                Heard::Last => last.push(event),
            }
        }
        overtaken.iter().for_each(|event| hear(&mut membership, event));
        // Panics if a change cannot be: a worker that joins twice, or two at one URL.
        told.apply(membership.take_changes());
        moments.push(cluster.list());
    }
    late.extend(last);
    (membership, told, cluster, late)
}

fn assert_agrees(membership: &Membership, told: &Told, cluster: &Cluster) {
    let workers = told.workers.lock();
    let ready: BTreeMap<_, _> =
        workers.iter().map(|(uid, worker)| (uid.clone(), worker.problem.is_none())).collect();
    assert_eq!(ready, cluster.workers());
    assert!(membership.serving().keys().copied().eq(workers.keys().map(String::as_str)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// After any history, one list makes everything right, and what comes late after it changes nothing.
    #[test]
    fn list_makes_any_history_right(steps in prop::collection::vec(step(), 0..40)) {
        let (mut membership, told, cluster, late) = play(&steps);
        let (pods, version) = cluster.list();
        membership.replace_pods(0, &pods, &version, ListPurpose::Audit);
        told.apply(membership.take_changes());
        assert_agrees(&membership, &told, &cluster);
        late.iter().for_each(|event| hear(&mut membership, event));
        told.apply(membership.take_changes());
        assert_agrees(&membership, &told, &cluster);
    }

    /// As long as every event comes at last, in whatever order and however often, no list is needed.
    #[test]
    fn events_in_any_order_are_enough(steps in prop::collection::vec(step(), 0..40)) {
        let heard = |heard| if heard == Heard::Never { Heard::Late } else { heard };
        let watched = steps.into_iter().filter(|step| !matches!(step.what, What::Relist));
        let steps: Vec<_> = watched.map(|step| Step { heard: heard(step.heard), ..step }).collect();
        let (mut membership, told, cluster, late) = play(&steps);
        late.iter().for_each(|event| hear(&mut membership, event));
        told.apply(membership.take_changes());
        assert_agrees(&membership, &told, &cluster);
    }
}
