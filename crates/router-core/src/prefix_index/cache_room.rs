//! How many tokens a worker's cache has room for: as the worker tells it, corrected by what it reports of its responses.
//!
//! A prompt that was sent before is found in the cache if few tokens came since, and not if many did. The room is the limit
//! between the two that agrees with most of what was seen; of several such limits the one nearest to what was believed before.
//! A cache with a second tier in host memory so turns out larger than the worker tells, and one that is switched off empty.

/// Fewer tokens than this say nothing: the prompt that was sent first may still be waiting. Also the smallest room.
const LEAST_TOKENS: u32 = 1 << LEAST_LOG2;
const LEAST_LOG2: u32 = 12;
/// Steps per doubling.
const STEPS_PER_DOUBLING: u32 = 4;
/// Steps up to the end of the clock.
const STEPS: usize = ((u32::BITS - LEAST_LOG2) * STEPS_PER_DOUBLING) as usize;
/// Another room is believed if it agrees with so many more of the responses.
const MARGIN: f32 = 8.0;
/// With so many responses seen, all count half.
const MEMORY: f32 = 512.0;

/// No limit is known.
pub(super) const UNLIMITED: u32 = u32::MAX;

/// The room of one cache.
#[derive(Clone, Debug)]
pub(super) struct CacheRoom {
    told: u32,
    tokens: u32,
    /// Beside the rest, which each lookup reads.
    responses: Box<ResponsesByAge>,
}

/// Responses by the tokens that came to the worker since it was sent the same before.
#[derive(Clone, Debug)]
struct ResponsesByAge {
    found: [f32; STEPS],
    missing: [f32; STEPS],
    all: f32,
}

impl CacheRoom {
    pub(super) fn new() -> Self {
        Self::told(UNLIMITED)
    }

    fn told(tokens: u32) -> Self {
        let responses = ResponsesByAge { found: [0.0; STEPS], missing: [0.0; STEPS], all: 0.0 };
        Self { told: tokens, tokens, responses: Box::new(responses) }
    }

    /// Sets what the worker tells. What was learned stays, unless that is new.
    pub(super) fn set_told(&mut self, tokens: Option<u64>) {
        let told = tokens.map_or(UNLIMITED, |tokens| u32::try_from(tokens).unwrap_or(UNLIMITED));
        if told != self.told {
            *self = Self::told(told);
        }
    }

    /// The tokens that it has room for.
    pub(super) const fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Learns whether a prompt was found that had been sent `age` tokens before.
    pub(super) fn learn(&mut self, age: u32, is_found: bool) {
        if age < LEAST_TOKENS {
            return;
        }
        let ResponsesByAge { found, missing, all } = &mut *self.responses;
        let side = if is_found { &mut *found } else { &mut *missing };
        side[step(age)] += 1.0;
        *all += 1.0;
        if *all >= MEMORY {
            found.iter_mut().chain(missing).for_each(|count| *count *= 0.5);
            *all *= 0.5;
        }
        // Only what contradicts the present room can lead to another.
        if is_found != (age < self.tokens) {
            self.revise();
        }
    }

    fn revise(&mut self) {
        let present = if self.tokens == UNLIMITED { STEPS } else { step(self.tokens) };
        let is_within_step = self.tokens > first_of(present);
        // With the limit at the first step all would have to be missing; each step that lies below it turns that around.
        let ResponsesByAge { found, missing, .. } = &*self.responses;
        let mut agreeing: f32 = missing.iter().sum();
        let (mut best, mut best_agreeing, mut present_agreeing) = (0_usize, agreeing, agreeing);
        for limit in 1..=STEPS {
            agreeing += found[limit - 1] - missing[limit - 1];
            let is_nearer = agreeing == best_agreeing && limit.abs_diff(present) < best.abs_diff(present);
            if agreeing > best_agreeing || is_nearer {
                (best, best_agreeing) = (limit, agreeing);
            }
            if limit == present {
                present_agreeing = agreeing;
            } else if limit == present + 1 && is_within_step {
                present_agreeing = present_agreeing.max(agreeing);
            }
        }
        if best_agreeing >= present_agreeing + MARGIN {
            self.tokens = first_of(best);
        }
    }
}

/// The step of an age.
fn step(age: u32) -> usize {
    let doublings = f64::from(age.max(LEAST_TOKENS)).log2() - f64::from(LEAST_LOG2);
    ((doublings * f64::from(STEPS_PER_DOUBLING)) as usize).min(STEPS - 1)
}

/// The least age of a step.
fn first_of(step: usize) -> u32 {
    let doublings = step as f64 / f64::from(STEPS_PER_DOUBLING) + f64::from(LEAST_LOG2);
    doublings.exp2().ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Responses of a cache with room for `room` tokens, of ages that are spread over all sizes.
    fn respond(cache: &mut CacheRoom, room: u32, responses: u32) {
        for i in 0..responses {
            let age = 1 << (LEAST_LOG2 + i % 16);
            let age = age + age / 16 * (i / 16 % 16);
            cache.learn(age, age < room);
        }
    }

    #[test]
    fn untold_room_is_learned() {
        for room in [20_000, 100_000, 450_000] {
            let mut cache = CacheRoom::new();
            respond(&mut cache, room, 400);
            let ratio = f64::from(cache.tokens()) / f64::from(room);
            assert!((0.6..1.5).contains(&ratio), "{room}: {}", cache.tokens());
        }
    }

    #[test]
    fn told_room_stays_while_responses_agree() {
        let mut cache = CacheRoom::new();
        cache.set_told(Some(123_456));
        respond(&mut cache, 123_456, 4000);
        assert_eq!(cache.tokens(), 123_456);
    }

    #[test]
    fn larger_room_than_told_is_learned_and_forgotten() {
        let mut cache = CacheRoom::new();
        cache.set_told(Some(100_000));
        respond(&mut cache, 1_000_000, 800);
        assert!((600_000..1_500_000).contains(&cache.tokens()), "{}", cache.tokens());
        respond(&mut cache, 100_000, 1600);
        assert!((60_000..150_000).contains(&cache.tokens()), "{}", cache.tokens());
        cache.set_told(Some(50_000));
        assert_eq!(cache.tokens(), 50_000);
    }

    #[test]
    fn cache_that_never_has_anything_has_no_room() {
        let mut cache = CacheRoom::new();
        cache.set_told(Some(100_000));
        for _ in 0..40 {
            cache.learn(30_000, false);
            cache.learn(4_100, false);
        }
        assert_eq!(cache.tokens(), LEAST_TOKENS);
    }

    #[test]
    fn few_responses_and_young_ones_change_nothing() {
        let mut cache = CacheRoom::new();
        (0..100).for_each(|_| cache.learn(LEAST_TOKENS - 1, false));
        (0..7).for_each(|_| cache.learn(1 << 20, false));
        assert_eq!(cache.tokens(), UNLIMITED);
        cache.learn(1 << 20, false);
        assert!(cache.tokens() <= 1 << 20);
    }

    #[test]
    fn steps_cover_the_clock() {
        assert_eq!((step(0), step(LEAST_TOKENS), step(u32::MAX)), (0, 0, STEPS - 1));
        for limit in 0..STEPS {
            assert_eq!(step(first_of(limit)), limit, "{limit}");
        }
        assert_eq!(first_of(STEPS), UNLIMITED);
    }
}
