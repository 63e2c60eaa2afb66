//! Forecasts of output lengths: what the length of an answer will be, from those that requests of the same class got.
//!
//! A request belongs to several classes at once: those of its client, of the head of its prompt, and so on
//! ([`LengthClass`]). Each class keeps a histogram of its own, and a record of how much better it foresaw its requests than
//! all traffic does: the gain in the logarithm of the probability that each length had before it was known, which is the proper
//! score of a forecast (Good, "Rational decisions", 1952). A request is foreseen by that of its classes whose record is best.

use crate::key_table::KeyTable;
use crate::lengths::{LengthClass, LengthForecast, LengthHistogram, bucket};
use crate::{RequestFeatures, Rng};

/// Classes beside the fleet's, at most: a megabyte and a half.
const CLASSES: usize = 4096;
/// Heads of prompts that are remembered until they come again.
const HEADS: usize = 4096;
/// What is left of a response's weight with each later one, in all traffic and in a class.
const FLEET_MEMORY: f32 = 0.998;
const CLASS_MEMORY: f32 = 0.99;
/// The prior weighs as much as this many responses; so does the parent's distribution in a new class.
const PRIOR_RESPONSES: f32 = 4.0;
/// A class is believed as if it had foreseen this many responses more, no better than all traffic does.
const DOUBT_RESPONSES: f32 = 16.0;
/// How much better than all traffic a class must foresee a response, in nats of its probability.
const LEAST_GAIN: f32 = 0.15;

/// A longer output counts as one of this length: no engine makes longer ones, and one wrong number must not move the mean.
const LONGEST: u32 = 1 << 18;
/// Responses after which the forecast of all traffic is computed anew; earlier while there are few.
const REFRESH_EVERY: u32 = 64;
/// Bytes of a prompt per token, about. Only whether lengths are alike matters.
const BYTES_PER_TOKEN: f64 = 4.0;

/// Classes that a request may belong to, beside the fleet.
const KINDS: usize = LengthClass::ALL.len() - 1;

/// The keys of a request's classes; 0 where it has none of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestClasses([u64; KINDS]);

impl RequestClasses {
    /// The classes of a request.
    pub(crate) fn of(request: &RequestFeatures<'_>) -> Self {
        let tokens = request.prompt_tokens.map_or(request.prompt_bytes as f64 / BYTES_PER_TOKEN, f64::from);
        let half_doublings = bucket(tokens) as u64;
        let mut keys = [0; KINDS];
        let mut set = |kind: LengthClass, value: Option<u64>| {
            if let Some(value) = value {
                keys[kind as usize - 1] = mix(value, kind as u64);
            }
        };
        set(LengthClass::PromptLength, Some(half_doublings));
        set(LengthClass::PromptHead, request.prefix.first().copied());
        set(LengthClass::Client, request.client);
        set(LengthClass::ClientLength, request.client.map(|client| mix(client, half_doublings / 2)));
        set(LengthClass::Model, request.model);
        set(LengthClass::OutputLimit, request.max_output_tokens.map(u64::from));
        set(LengthClass::Form, Some(request.route.index() as u64 * 4 + request.form as u64));
        Self(keys)
    }

    fn iter(&self) -> impl Iterator<Item = (LengthClass, u64)> {
        LengthClass::ALL[1..].iter().copied().zip(self.0).filter(|(_, key)| *key != 0)
    }
}

/// A hash of both, never 0.
fn mix(value: u64, with: u64) -> u64 {
    Rng::seeded(value ^ Rng::seeded(with).next_u64()).next_u64().max(1)
}

/// One class of requests.
#[derive(Clone, Copy, Debug)]
struct ClassRecord {
    seen: LengthHistogram,
    /// Decayed number of responses, and how much better than all traffic it foresaw them, in nats.
    responses: f32,
    gain: f32,
}

impl ClassRecord {
    const fn new(seen: LengthHistogram) -> Self {
        Self { seen, responses: 0.0, gain: 0.0 }
    }

    /// Learns the length of a response, to which all traffic gave a probability of this logarithm.
    fn learn(&mut self, bucket: usize, tokens: f32, by_fleet: f32) {
        let by_class = self.seen.log_share(bucket);
        self.responses = CLASS_MEMORY * self.responses + 1.0;
        self.gain = CLASS_MEMORY * self.gain + by_class - by_fleet;
        self.seen.add(tokens, CLASS_MEMORY);
    }

    /// How much better than all traffic it may be expected to foresee the next response.
    fn expected_gain(&self) -> f32 {
        self.gain / (self.responses + DOUBT_RESPONSES)
    }
}

/// Learns the lengths of outputs by classes of requests, and forecasts those of new requests.
#[derive(Debug)]
pub(crate) struct LengthForecaster {
    fleet: LengthHistogram,
    /// What all traffic forecasts, and responses since it was computed.
    by_fleet: LengthForecast,
    newer_responses: u32,
    responses: u32,
    classes: KeyTable<ClassRecord>,
    /// Heads seen once, by a part of their hash: only a head that comes again gets a class.
    heads: Box<[u32]>,
}

impl Default for LengthForecaster {
    fn default() -> Self {
        let fleet = LengthHistogram::prior().weighing(PRIOR_RESPONSES);
        Self {
            fleet,
            by_fleet: LengthForecast::new(LengthClass::Fleet, &fleet),
            newer_responses: 0,
            responses: 0,
            classes: KeyTable::new(CLASSES),
            heads: vec![0; HEADS].into(),
        }
    }
}

impl LengthForecaster {
    /// What is expected of the output of a request of these classes that is cut off at `limit` tokens: by the best of its
    /// classes, or by all traffic where none is better.
    pub(crate) fn forecast(&self, classes: &RequestClasses, limit: Option<u32>) -> LengthForecast {
        let known = classes.iter().filter_map(|(class, key)| Some((class, self.classes.get(key)?)));
        let gains = known.map(|(class, record)| (record.expected_gain(), class, record));
        let best = gains.filter(|(gain, ..)| *gain > LEAST_GAIN).max_by(|a, b| a.0.total_cmp(&b.0));
        best.map_or(self.by_fleet, |(_, class, record)| LengthForecast::new(class, &record.seen)).up_to(limit)
    }

    /// Learns the length of a response.
    pub(crate) fn learn(&mut self, classes: &RequestClasses, tokens: u32) {
        let tokens = tokens.clamp(1, LONGEST) as f32;
        let b = bucket(tokens.into());
        let by_fleet = self.fleet.log_share(b);
        for (class, key) in classes.iter() {
            if let Some(record) = self.classes.renew(key) {
                record.learn(b, tokens, by_fleet);
            } else if class != LengthClass::PromptHead || self.is_known_head(key) {
                let mut record = ClassRecord::new(self.fleet.weighing(PRIOR_RESPONSES));
                record.learn(b, tokens, by_fleet);
                if self.classes.is_full() {
                    self.classes.pop_oldest();
                }
                self.classes.put(key, record);
            }
        }
        self.fleet.add(tokens, FLEET_MEMORY);
        self.responses = self.responses.saturating_add(1);
        self.newer_responses += 1;
        if self.newer_responses >= REFRESH_EVERY.min(self.responses / 4) {
            self.newer_responses = 0;
            self.by_fleet = LengthForecast::new(LengthClass::Fleet, &self.fleet);
        }
    }

    /// Whether a head was seen before; it is from now on.
    fn is_known_head(&mut self, key: u64) -> bool {
        let tag = (key >> 32) as u32 | 1;
        let place = &mut self.heads[key as usize % HEADS];
        std::mem::replace(place, tag) == tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_client(client: u64) -> RequestFeatures<'static> {
        RequestFeatures { client: Some(client), prompt_bytes: 800, ..RequestFeatures::default() }
    }

    fn forecast(of: &LengthForecaster, request: &RequestFeatures<'_>) -> LengthForecast {
        of.forecast(&RequestClasses::of(request), request.max_output_tokens)
    }

    /// Client 1 gets answers of some 10 tokens, client 2 of some 1000.
    fn two_clients() -> LengthForecaster {
        let mut forecaster = LengthForecaster::default();
        let mut rng = Rng::seeded(1);
        for _ in 0..100 {
            forecaster.learn(&RequestClasses::of(&from_client(1)), 8 + rng.below(5) as u32);
            forecaster.learn(&RequestClasses::of(&from_client(2)), 800 + rng.below(400) as u32);
        }
        forecaster
    }

    #[test]
    fn client_foretells_its_lengths() {
        let forecaster = two_clients();
        let [short, long, new] = [1, 2, 3].map(|client| forecast(&forecaster, &from_client(client)));
        assert!(short.mean() < 30.0 && short.class != LengthClass::Fleet, "{short:?}");
        assert!((800.0..1200.0).contains(&long.mean()), "{long:?}");
        assert!((400.0..600.0).contains(&new.mean()) && new.class == LengthClass::Fleet, "{new:?}");
        assert!(long.quantile(0.1) > 500.0 && new.quantile(0.1) < 20.0);
    }

    #[test]
    fn limit_of_the_request_cuts_the_forecast() {
        let limited = RequestFeatures { max_output_tokens: Some(100), ..from_client(2) };
        assert!(forecast(&two_clients(), &limited).mean() <= 100.0);
    }

    #[test]
    fn class_that_says_nothing_is_not_believed() {
        let mut forecaster = LengthForecaster::default();
        let mut rng = Rng::seeded(2);
        for _ in 0..4000 {
            let request = from_client(1 + rng.below(20) as u64);
            forecaster.learn(&RequestClasses::of(&request), 16 << rng.below(6));
        }
        let believed = (1..=20).filter(|client| {
            let class = forecast(&forecaster, &from_client(*client)).class;
            class != LengthClass::Fleet
        });
        assert_eq!(believed.count(), 0);
    }

    #[test]
    fn change_of_a_client_is_followed() {
        let mut forecaster = two_clients();
        for _ in 0..300 {
            forecaster.learn(&RequestClasses::of(&from_client(1)), 400);
        }
        let now = forecast(&forecaster, &from_client(1)).mean();
        assert!((300.0..450.0).contains(&now), "{now}");
    }

    #[test]
    fn prompts_of_which_each_is_new_take_no_room() {
        let mut forecaster = LengthForecaster::default();
        let mut learn = |head: u64| {
            let request = RequestFeatures { prefix: &[head], ..RequestFeatures::default() };
            forecaster.learn(&RequestClasses::of(&request), 100);
            forecaster.classes.len()
        };
        let first = learn(1);
        for head in 2..2000 {
            learn(head);
        }
        let last = learn(2000);
        assert!(last < first + 20, "{first} classes, then {last}");
        assert_eq!(learn(2000), last + 1, "a head that comes again gets a class");
        for head in 0..40_000 {
            learn((1 << 40) + head / 2);
        }
        assert!(learn(1) <= CLASSES);
    }
}
