//! The season of a rate: how it repeats from one period to the next.

/// How many parts a period has; of a day each is five minutes.
const SLOTS: usize = 288;
/// How far a slot moves towards what it was in this period.
const GAIN: f64 = 0.3;
/// No part of a period is taken to have less than this share of the mean rate.
const LEAST_INDEX: f64 = 0.05;

/// The season as factors of the mean rate. Its first period is only watched.
#[derive(Clone, Debug)]
pub(super) struct Season {
    slot_secs: f64,
    /// The factor of each slot; in the first period the mean rate there. Empty until a rate was seen.
    index: Vec<f64>,
    is_known: bool,
    /// The present slot, counted from the start, and the rates seen in it.
    slot: u64,
    sum: f64,
    count: f64,
    /// The slot in which the watch began.
    began: Option<u64>,
}

impl Season {
    pub(super) fn new(period_secs: f64) -> Self {
        Self {
            slot_secs: (period_secs / SLOTS as f64).max(1.0),
            index: vec![0.0; SLOTS],
            is_known: false,
            slot: 0,
            sum: 0.0,
            count: 0.0,
            began: None,
        }
    }

    /// Whether one period has been seen.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known
    }

    /// The share of the first period that has been seen, 0 to 1.
    pub(super) fn seen(&self) -> f64 {
        let began = self.began.unwrap_or(self.slot);
        if self.is_known { 1.0 } else { ((self.slot - began) as f64 / SLOTS as f64).min(1.0) }
    }

    /// The factor at a time in seconds since the start, drawn straight between the middles of slots; 1 while it is not known.
    pub(super) fn factor(&self, at: f64) -> f64 {
        if !self.is_known {
            return 1.0;
        }
        let place = at / self.slot_secs - 0.5;
        let slot = place.floor();
        let after = place - slot;
        let of = |slot: f64| self.index[(slot.max(0.0) as u64 % SLOTS as u64) as usize];
        (1.0 - after) * of(slot) + after * of(slot + 1.0)
    }

    /// Learns the rate at a time; `level` is the rate without its season. Times go up.
    pub(super) fn learn(&mut self, at: f64, rate: f64, level: f64) {
        let slot = (at / self.slot_secs) as u64;
        self.began.get_or_insert(slot);
        if slot != self.slot {
            self.close_slot();
            self.slot = slot;
        }
        self.count += 1.0;
        self.sum += if self.is_known { rate / level.max(1e-9) } else { rate };
    }

    fn close_slot(&mut self) {
        let (mean, count) = (self.sum / self.count.max(1.0), self.count);
        (self.sum, self.count) = (0.0, 0.0);
        let Some(began) = self.began.filter(|_| count > 0.0) else { return };
        let index = &mut self.index[(self.slot % SLOTS as u64) as usize];
        if self.is_known {
            *index = (*index + GAIN * (mean - *index)).clamp(LEAST_INDEX, SLOTS as f64);
            return;
        }
        *index = mean;
        if self.slot + 1 >= began + SLOTS as u64 {
            self.settle();
        }
    }

    /// Makes factors of the rates of the first period, each the mean of three neighbours: one period has much noise.
    fn settle(&mut self) {
        let mean = self.index.iter().sum::<f64>() / SLOTS as f64;
        if mean <= 0.0 {
            self.began = None;
            return;
        }
        let (mut before, first) = (self.index[SLOTS - 1], self.index[0]);
        for slot in 0..SLOTS {
            let own = self.index[slot];
            let next = if slot + 1 < SLOTS { self.index[slot + 1] } else { first };
            self.index[slot] = ((before + own + next) / (3.0 * mean)).max(LEAST_INDEX);
            before = own;
        }
        self.is_known = true;
    }
}
