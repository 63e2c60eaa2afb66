//! The share of responses that missed the SLO, by how loaded the pool was when their requests came.

/// Width of a level of load, and how many there are; the last has all that is above.
const WIDTH: f64 = 0.05;
const LEVELS: usize = 32;
/// Responses as which the model counts at each level.
const PRIOR_WEIGHT: f64 = 60.0;
/// What is left of a response after one more step: after two hours a half, so that a limit that some unlucky minutes set is tried
/// again.
const MEMORY: f64 = 0.999;

/// Below this load responses do not miss for want of workers, and as many of them must have been seen to say so.
const LOW_LOAD: f64 = 0.25;
const LOW_RESPONSES: f64 = 100.0;

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    seen: f64,
    missed: f64,
}

/// Misses by load.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadLevels {
    levels: [Level; LEVELS],
}

impl LoadLevels {
    /// Learns that of `seen` responses at a load `missed` missed the SLO; both may be weighted.
    pub(super) fn learn(&mut self, load: f64, seen: f64, missed: f64) {
        let level = &mut self.levels[place(load)];
        level.seen += seen;
        level.missed += missed;
    }

    /// One more step is over.
    pub(super) fn fade(&mut self) {
        for level in &mut self.levels {
            level.seen *= MEMORY;
            level.missed *= MEMORY;
        }
    }

    /// The share of responses that misses at each load, where `foreseen` tells what the model expects at a load. Misses are taken
    /// to become no fewer when the load grows (isotonic regression by pooling adjacent violators; Ayer et al. 1955).
    pub(super) fn curve(&self, foreseen: impl Fn(f64) -> f64) -> MissCurve {
        let mut pools = [(0.0, 0.0, 0_usize); LEVELS];
        let mut count = 0_usize;
        for (place, level) in self.levels.iter().enumerate() {
            let weight = level.seen + PRIOR_WEIGHT;
            let mut pool = (level.missed + PRIOR_WEIGHT * foreseen(middle(place)), weight, 1);
            while let Some((missed, seen, places)) =
                count.checked_sub(1).map(|last| pools[last]).filter(|p| p.0 * pool.1 >= pool.0 * p.1)
            {
                pool = (pool.0 + missed, pool.1 + seen, pool.2 + places);
                count -= 1;
            }
            pools[count] = pool;
            count += 1;
        }
        let mut shares = [0.0; LEVELS];
        let mut places = shares.iter_mut();
        for (missed, seen, width) in &pools[..count] {
            places.by_ref().take(*width).for_each(|share| *share = missed / seen);
        }
        // What misses at a low load, too, does not miss for want of workers.
        let always = self.always_missed();
        shares.iter_mut().for_each(|share| *share = ((*share - always) / (1.0 - always)).max(0.0));
        MissCurve { shares }
    }

    /// The share of responses that missed at low loads, once enough came there.
    fn always_missed(&self) -> f64 {
        let low = &self.levels[..place(LOW_LOAD)];
        let seen: f64 = low.iter().map(|level| level.seen).sum();
        let missed: f64 = low.iter().map(|level| level.missed).sum();
        if seen >= LOW_RESPONSES { (missed / seen).min(0.99) } else { 0.0 }
    }

    /// Responses that were seen at about this load.
    pub(super) fn responses_near(&self, load: f64) -> f64 {
        let around = place(load).min(LEVELS - 2);
        self.levels[around].seen + self.levels[around + 1].seen
    }
}

/// The share of misses at each level of load: it never falls.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct MissCurve {
    shares: [f64; LEVELS],
}

impl MissCurve {
    /// The share at a load, drawn straight between the middles of levels.
    pub(super) fn at(&self, load: f64) -> f64 {
        let at = (load / WIDTH - 0.5).clamp(0.0, (LEVELS - 1) as f64);
        let below = at as usize;
        let above = (below + 1).min(LEVELS - 1);
        let part = at - below as f64;
        (1.0 - part) * self.shares[below] + part * self.shares[above]
    }

    /// The highest load at which at most a share `objective` misses.
    pub(super) fn limit(&self, objective: f64) -> f64 {
        let Some(above) = self.shares.iter().position(|share| *share > objective) else {
            return WIDTH * LEVELS as f64;
        };
        let Some(below) = above.checked_sub(1) else { return WIDTH };
        let (held, missed) = (self.shares[below], self.shares[above]);
        middle(below) + WIDTH * (objective - held) / (missed - held)
    }
}

fn place(load: f64) -> usize {
    ((load / WIDTH).max(0.0) as usize).min(LEVELS - 1)
}

fn middle(place: usize) -> f64 {
    WIDTH * (place as f64 + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(load: f64) -> f64 {
        if load > 0.8 { 1.0 } else { 0.0 }
    }

    #[test]
    fn model_decides_until_responses_do() {
        let mut levels = LoadLevels::default();
        let before = levels.curve(model).limit(0.01);
        assert!((0.75..0.85).contains(&before), "{before}");
        // Measured: at 0.62 one in five misses.
        levels.learn(0.57, 500.0, 0.0);
        levels.learn(0.62, 500.0, 100.0);
        let after = levels.curve(model).limit(0.01);
        assert!((0.55..0.63).contains(&after), "{after}");
        assert!(levels.responses_near(after) > 900.0);
        // And above the model's limit none does.
        let mut levels = LoadLevels::default();
        (0..24).for_each(|place| levels.learn(middle(place), 20_000.0, 20.0));
        assert!(levels.curve(model).limit(0.01) > 1.1);
    }

    #[test]
    fn chance_misses_at_a_low_load_do_not_limit_a_higher_one() {
        let mut levels = LoadLevels::default();
        levels.learn(0.12, 10.0, 1.0);
        levels.learn(0.42, 5000.0, 5.0);
        assert!(levels.curve(model).limit(0.01) > 0.5);
    }

    #[test]
    fn misses_that_no_load_avoids_do_not_limit_it() {
        let mut levels = LoadLevels::default();
        (0..12).for_each(|place| levels.learn(middle(place), 1000.0, 40.0));
        (12..LEVELS).for_each(|place| levels.learn(middle(place), 1000.0, 900.0));
        let limit = levels.curve(model).limit(0.01);
        assert!((0.5..0.65).contains(&limit), "{limit}");
    }

    #[test]
    fn limit_is_never_zero() {
        let mut levels = LoadLevels::default();
        (0..LEVELS).for_each(|place| levels.learn(middle(place), 100.0, 100.0));
        assert!(levels.curve(model).limit(0.01) >= WIDTH);
    }
}
