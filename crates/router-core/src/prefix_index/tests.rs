use super::*;
use crate::policy::Random;
use crate::{
    AttemptResult, Balancer, Event, ExplainLevel, Outcome, RequestFeatures, Rng, Time, TokenUsage, WorkerInfo,
};
use proptest::prelude::*;

fn worker(slot: u32) -> WorkerId {
    WorkerId::new(slot, 1)
}

fn index(max_bytes: usize, workers: u32) -> PrefixIndex {
    let mut index = PrefixIndex::new(Some(max_bytes));
    (0..workers).for_each(|slot| index.admit(worker(slot)));
    index
}

fn matched(index: &PrefixIndex, prefix: &[u64], workers: u32) -> Vec<u32> {
    let mut matches = PrefixMatches::default();
    index.lookup(prefix, &mut matches);
    (0..workers).map(|slot| index.blocks(&matches, worker(slot))).collect()
}

#[test]
fn counts_leading_blocks_per_worker() {
    let mut index = index(1 << 16, 3);
    index.insert(worker(0), &[1, 2, 3], 0.0);
    index.insert(worker(1), &[1, 2, 9], 0.0);
    assert_eq!(matched(&index, &[1, 2, 3, 4], 3), [3, 2, 0]);
    assert_eq!(matched(&index, &[5], 3), [0, 0, 0]);
    assert_eq!(matched(&index, &[], 3), [0, 0, 0]);
    assert_eq!(index.len(), 4, "what both share is stored once");
}

#[test]
fn holders_come_longest_part_first() {
    let mut index = index(1 << 16, 12);
    index.insert(worker(0), &[1, 2, 3], 0.0);
    index.insert(worker(1), &[1], 0.0);
    index.insert(worker(2), &[1, 2], 0.0);
    let mut matches = PrefixMatches::default();
    index.lookup(&[1, 2, 3, 4], &mut matches);
    let mut slots: Vec<usize> = Vec::new();
    for id in index.holders(&matches) {
        if !slots.contains(&id.slot()) {
            slots.push(id.slot());
        }
    }
    assert_eq!(slots, [0, 2, 1]);
    for slot in 3..12 {
        index.insert(worker(slot), &[1], 0.0);
    }
    index.lookup(&[1, 2, 3, 4], &mut matches);
    let slots: Vec<usize> = index.holders(&matches).map(WorkerId::slot).collect();
    assert!(slots.contains(&2) && !slots.contains(&1), "everybody holds the first block");
}

#[test]
fn what_a_full_cache_gave_up_is_not_held() {
    let mut index = index(1 << 16, 2);
    index.set_capacity(worker(0), Some(100));
    index.insert(worker(0), &[1, 2, 3], 10.0);
    index.insert(worker(1), &[1, 2, 3], 10.0);
    index.insert(worker(0), &[1, 2, 9], 10.0);
    index.advance(worker(0), 70.0);
    assert_eq!(matched(&index, &[1, 2, 3], 2), [3, 3]);
    // What it holds already takes no room, and is used again.
    index.insert(worker(0), &[1, 2, 9], 10.0);
    index.advance(worker(0), 85.0);
    assert_eq!(matched(&index, &[1, 2, 3], 2), [2, 3], "165 tokens came since the third block was used");
    assert_eq!(matched(&index, &[1, 2, 9], 2), [3, 2]);
    index.advance(worker(0), 15.0);
    assert_eq!(matched(&index, &[1, 2, 3], 2), [0, 3]);
    // It comes anew, and takes room again.
    index.insert(worker(0), &[1, 2, 3], 10.0);
    index.advance(worker(0), 99.0);
    assert_eq!(matched(&index, &[1, 2, 3], 2), [3, 3]);
    index.set_capacity(worker(0), None);
    index.advance(worker(0), 1e6);
    assert_eq!(matched(&index, &[1, 2, 3], 2), [3, 3], "without a limit nothing is given up");
}

#[test]
fn emptied_cache_holds_nothing_and_fills_anew() {
    let mut index = index(1 << 16, 2);
    for slot in 0..2 {
        index.insert(worker(slot), &[1, 2, 3], 10.0);
    }
    index.observe(&Event::CacheEmptied(worker(0)));
    assert_eq!(matched(&index, &[1, 2, 3], 2), [0, 3]);
    index.insert(worker(0), &[1, 2], 10.0);
    assert_eq!(matched(&index, &[1, 2, 3], 2), [2, 3]);
    index.advance(worker(0), 1e9);
    assert_eq!(matched(&index, &[1, 2, 3], 2), [2, 3]);
}

/// Sends a prompt to the first worker and completes it. The worker has of it in its cache what came less than `room` tokens before.
fn serve(
    index: &mut PrefixIndex,
    balancer: &mut Balancer,
    truth: &mut TrueCache,
    prompt: &[u64],
) -> (u32, u32) {
    let bytes = 400 * prompt.len() as u64;
    let request = RequestFeatures {
        prefix: prompt,
        prefix_block_bytes: 400,
        prompt_bytes: bytes,
        ..RequestFeatures::default()
    };
    let ticket = balancer.dispatch(Time::ZERO, &request, &[], ExplainLevel::None).unwrap().ticket;
    let worker = ticket.worker();
    let mut matches = PrefixMatches::default();
    index.lookup(prompt, &mut matches);
    let predicted = 100 * index.blocks(&matches, worker);
    index.dispatched(worker, &request, PromptTokens::of(&request));
    let cached = truth.serve(prompt);
    let usage = TokenUsage { cached_tokens: Some(cached), output_tokens: Some(100), ..TokenUsage::default() };
    let result = AttemptResult { usage, ..AttemptResult::of(Outcome::Success) };
    index.observe(&Event::Finished(&balancer.finish(Time::ZERO, ticket, result)));
    (predicted, cached)
}

/// A cache that gives up what was not used for longest, by blocks of 100 tokens.
struct TrueCache {
    room: usize,
    /// The most recently used last.
    blocks: Vec<u64>,
}

impl TrueCache {
    fn serve(&mut self, prompt: &[u64]) -> u32 {
        let cached = prompt.iter().take_while(|block| self.blocks.contains(block)).count();
        self.blocks.retain(|block| !prompt.contains(block));
        // Its output lies there as well.
        self.blocks.extend([u64::MAX].iter().chain(prompt.iter().rev()));
        let excess = self.blocks.len().saturating_sub(self.room / 100);
        self.blocks.drain(..excess);
        100 * cached as u32
    }
}

/// Mean error of the prediction, in tokens of prompts of 1,000, and the mean of what is cached, once there was time to learn.
fn prediction_error(told: Option<u64>) -> (f64, f64) {
    let (mut index, mut balancer) = (PrefixIndex::new(None), Balancer::new(Box::new(Random), 1));
    let info = WorkerInfo { max_total_tokens: told, ..WorkerInfo::new("http://a") };
    let worker = balancer.join(Time::ZERO, info.clone());
    index.observe(&Event::Joined { worker, info: &info });
    let mut truth = TrueCache { room: 40_000, blocks: Vec::new() };
    let mut rng = Rng::seeded(5);
    let (mut error, mut cached_tokens) = (0.0, 0.0);
    for i in 0..1500 {
        // One of 100 prompts, some of them much more often than others.
        let which = (rng.below(100) * rng.below(100) / 100) as u64;
        let prompt: Vec<u64> = (0..10).map(|block| 1000 * which + block).collect();
        let (predicted, cached) = serve(&mut index, &mut balancer, &mut truth, &prompt);
        if i >= 500 {
            error += f64::from(predicted.abs_diff(cached)) / 1000.0;
            cached_tokens += f64::from(cached) / 1000.0;
        }
    }
    (error, cached_tokens)
}

#[test]
fn room_that_nobody_tells_is_learned_from_responses() {
    let (told, cached) = prediction_error(Some(40_000));
    let (learned, _) = prediction_error(None);
    let (corrected, _) = prediction_error(Some(1 << 20));
    let without = 1000.0 - cached;
    assert!(without > 200.0, "else there would be nothing to learn: {without}");
    for error in [told, learned, corrected] {
        assert!(error < 0.4 * without, "{error} of {without}");
    }
}

#[test]
fn successor_of_a_slot_starts_empty() {
    let mut index = index(1 << 16, 2);
    index.insert(worker(0), &[1, 2], 0.0);
    index.insert(worker(1), &[1], 0.0);
    index.forget(worker(0));
    index.insert(worker(0), &[1, 2, 3], 0.0);
    assert_eq!(matched(&index, &[1, 2, 3], 2)[1], 1, "a late event of a worker that left adds nothing");
    let successor = WorkerId::new(0, 2);
    index.admit(successor);
    index.forget(worker(0));
    let mut matches = PrefixMatches::default();
    index.lookup(&[1, 2], &mut matches);
    assert_eq!(index.blocks(&matches, successor), 0, "nothing passes to the successor");
    index.insert(successor, &[1, 2], 0.0);
    index.lookup(&[1, 2], &mut matches);
    assert_eq!((index.blocks(&matches, successor), index.blocks(&matches, worker(1))), (2, 1));
}

#[test]
fn holders_that_left_are_dropped() {
    let mut index = index(1 << 20, 0);
    for generation in 1..2000 {
        let id = WorkerId::new(0, generation);
        index.admit(id);
        index.insert(id, &[1, 2, 3], 0.0);
    }
    let mut matches = PrefixMatches::default();
    index.lookup(&[1, 2, 3], &mut matches);
    let holders: usize = matches.runs.iter().map(|m| index.runs.at(m.run).holders.len()).sum();
    assert!(holders < 10, "{holders}");
}

#[test]
fn session_on_one_worker_is_one_run() {
    let mut index = index(1 << 20, 2);
    let session: Vec<u64> = (0..1000).collect();
    for turn in 1..=100 {
        index.insert(worker(0), &session[..10 * turn], 0.0);
    }
    assert_eq!((index.runs.len(), index.len()), (1, 1000));
    index.insert(worker(1), &session[..500], 0.0);
    assert_eq!(matched(&index, &session, 2), [1000, 500]);
    assert_eq!(index.runs.len(), 2);
}

#[test]
fn memory_grows_with_use_up_to_its_bound() {
    let max_bytes = 1 << 20;
    let mut index = index(max_bytes, 8);
    let empty = index.memory_bytes();
    assert!(empty < max_bytes / 5, "{empty}");
    let mut rng = Rng::seeded(3);
    let mut prompt = vec![0_u64; 800];
    let mut most = 0;
    for i in 0..20_000_u32 {
        let long = if i % 100 == 0 { 800 } else { 4 };
        prompt[..long].fill_with(|| rng.next_u64());
        index.insert(worker(i % 8), &prompt[..long], 0.0);
        most = most.max(index.memory_bytes());
        assert!(matched(&index, &prompt[..long], 8).contains(&(long as u32)), "the last prompt is there");
    }
    assert!(most <= max_bytes && most > max_bytes * 9 / 10, "{most}");
    index.check();
}

#[test]
fn full_table_of_short_runs_keeps_room() {
    let mut index = index(PrefixIndex::MIN_BYTES, 1);
    for hash in 0..10_000 {
        index.insert(worker(0), &[hash * 7919], 0.0);
    }
    index.check();
    assert!(index.len() > 10 && index.memory_bytes() <= PrefixIndex::MIN_BYTES);
}

#[test]
fn least_recently_used_prompts_are_evicted() {
    let mut index = index(1 << 14, 1);
    let used: Vec<u64> = (1..20).collect();
    let unused: Vec<u64> = (21..40).collect();
    index.insert(worker(0), &used, 0.0);
    index.insert(worker(0), &unused, 0.0);
    for hash in 0..1000 {
        index.insert(worker(0), &[1_000_000 + hash], 0.0);
        index.insert(worker(0), &used[..10], 0.0);
    }
    assert_eq!(matched(&index, &unused, 1), [0]);
    assert_eq!(matched(&index, &used, 1), [19], "a part that is used keeps the run");
    index.insert(worker(0), &[1, 2, 3, 99], 0.0);
    for hash in 0..1000 {
        index.insert(worker(0), &[2_000_000 + hash], 0.0);
        index.insert(worker(0), &[1, 2, 3, 99], 0.0);
    }
    assert_eq!(matched(&index, &used, 1), [3], "the rest went once prompts had branched");
}

#[test]
fn prompt_beyond_the_bound_is_cut() {
    let mut index = index(PrefixIndex::MIN_BYTES, 1);
    let prompt: Vec<u64> = (0..5000).collect();
    index.insert(worker(0), &prompt, 0.0);
    assert!(index.memory_bytes() <= PrefixIndex::MIN_BYTES);
    assert_eq!(matched(&index, &prompt, 1), [64]);
}

#[test]
fn default_bound_follows_the_fleet() {
    let mut index = PrefixIndex::new(None);
    let mut rng = Rng::seeded(5);
    let mut bounds = Vec::new();
    for slot in 0..1024 {
        index.admit(worker(slot));
        index.insert(worker(slot), &[1, 2, rng.next_u64()], 0.0);
        bounds.push(index.max_bytes);
    }
    index.check();
    assert_eq!((bounds[0], bounds[31]), (LEAST_BYTES, LEAST_BYTES));
    assert!(bounds[1023] >= 1024 * BYTES_PER_WORKER);
    bounds.dedup();
    assert!(bounds.len() < 12, "{bounds:?}");
    assert_eq!(matched(&index, &[1, 2], 1024), vec![2; 1024]);
}

impl PrefixIndex {
    /// Checks what must always hold.
    fn check(&self) {
        let mut numbers = Vec::new();
        let mut next = self.order.oldest();
        while let Some(number) = next {
            numbers.push(number);
            next = Some(self.runs.at(number).newer).filter(|n| *n != NONE);
        }
        assert_eq!(numbers.len(), self.runs.len());
        let runs = || numbers.iter().map(|n| (*n, self.runs.at(*n)));
        assert_eq!(runs().map(|(_, run)| run.len()).sum::<usize>(), self.blocks);
        let heap = runs().map(|(_, run)| run.heap_bytes()).sum::<usize>() + tag_bytes(&self.spare);
        assert_eq!(heap, self.heap_bytes);
        for (place, (number, run)) in runs().enumerate() {
            assert_eq!(self.children.find(&self.runs, run.parent, run.first), Some(number));
            assert_eq!(runs().filter(|(_, child)| child.parent == number).count() as u32, run.children);
            assert!(run.holders.is_sorted_by_key(|holding| holding.worker));
            if run.parent != NONE {
                assert!(numbers[place..].contains(&run.parent), "a run is newer than those that continue it");
                assert!(run.holders.iter().all(|h| !self.is_valid(h) || self.holds(run.parent, h.worker)));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, Vec<u64>),
    Leave(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let prompt = prop::collection::vec(0_u64..3, 1..12);
    prop_oneof![
        8 => (0_u32..6, prompt).prop_map(|(w, p)| Step::Insert(w, p)),
        1 => (0_u32..6).prop_map(Step::Leave),
    ]
}

/// The chain of hashes of a prompt of these blocks.
fn chained(blocks: &[u64]) -> Vec<u64> {
    let mix = |hash: u64, block: &u64| {
        (hash ^ block).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    };
    let hashes = blocks.iter().scan(7_u64, |hash, block| {
        *hash = mix(*hash, block);
        Some(*hash)
    });
    hashes.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Against a list of all prompts that each worker was sent.
    #[test]
    fn matches_a_naive_index(steps in prop::collection::vec(step(), 0..60), is_large in any::<bool>()) {
        let mut index = index(1 << 20, 6);
        if is_large {
            index.admit(worker(COMPARE_ALL as u32));
        }
        let mut sent = vec![(1_u32, Vec::<Vec<u64>>::new()); 6];
        for step in steps {
            let asked = match step {
                Step::Insert(slot, blocks) => {
                    let (generation, prompts) = &mut sent[slot as usize];
                    index.insert(WorkerId::new(slot, *generation), &chained(&blocks), 0.0);
                    prompts.push(blocks.clone());
                    blocks
                }
                Step::Leave(slot) => {
                    let (generation, prompts) = &mut sent[slot as usize];
                    index.forget(WorkerId::new(slot, *generation));
                    *generation += 1;
                    index.admit(WorkerId::new(slot, *generation));
                    prompts.clear();
                    vec![0, 1, 2, 0]
                }
            };
            index.check();
            for asked in [&asked[..], &[0, 0, 1, 1, 2, 2], &[1, 0, 2]] {
                let mut matches = PrefixMatches::default();
                index.lookup(&chained(asked), &mut matches);
                for (slot, (generation, prompts)) in sent.iter().enumerate() {
                    let common = |prompt: &Vec<u64>| prompt.iter().zip(asked).take_while(|(a, b)| a == b).count();
                    let longest = prompts.iter().map(common).max().unwrap_or(0);
                    let found = index.blocks(&matches, WorkerId::new(slot as u32, *generation));
                    prop_assert_eq!(found as usize, longest);
                }
            }
        }
    }

    /// However small the index and whatever is sent.
    #[test]
    fn small_index_stays_consistent(steps in prop::collection::vec(step(), 0..300), salt in 0_u64..1000) {
        let mut index = index(PrefixIndex::MIN_BYTES, 6);
        for (i, step) in steps.into_iter().enumerate() {
            if let Step::Insert(slot, blocks) = step {
                let mut blocks = blocks;
                blocks.insert(1, salt * 1000 + i as u64 / 3);
                index.insert(worker(slot), &chained(&blocks), 0.0);
            }
            prop_assert!(index.memory_bytes() <= PrefixIndex::MIN_BYTES);
        }
        index.check();
    }
}
