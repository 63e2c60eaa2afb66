//! Forecasts of output lengths: what the length of an answer will be, from those that requests of the same class got.
//!
//! A request belongs to several classes at once: those of its client, of the head of its prompt, and so on
//! ([`LengthClass`]). Each class keeps a histogram of its own, and a record of how much better it foresaw its requests than
//! all traffic does: the gain in the logarithm of the probability that each length had before it was known, which is the proper
//! score of a forecast (Good, "Rational decisions", 1952). A request is foreseen by that of its classes whose record is best,
//! unless its caller states a length and is believed ([`StatedLengths`]).

use crate::features::{BYTES_PER_TOKEN, LONGEST_OUTPUT};
use crate::key_table::KeyTable;
use crate::lengths::{LengthClass, LengthForecast, LengthHistogram, bucket};
use crate::stated_lengths::{StatedLength, StatedLengths};
use crate::{RequestFeatures, Rng};
use std::ops::RangeInclusive;

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
/// Responses after which the forecast of all traffic is computed anew; earlier while there are few.
const REFRESH_EVERY: u32 = 64;

/// The length that stands for the limit where lengths are shares of it: the middle of a bucket, so that rounding changes nothing.
const AT_LIMIT: f32 = 19_484.0;
/// The buckets of a 64th of that to all of it.
const LIMIT_SHARES: RangeInclusive<usize> = 16..=28;

/// Classes that learn lengths, beside the fleet: what is stated, the last kind, needs no learning.
const KINDS: usize = LengthClass::ALL.len() - 2;

/// What the length of a request is foreseen and learned by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestClasses {
    /// The keys of its classes; 0 where it has none of a kind.
    keys: [u64; KINDS],
    /// The length that its caller states, and where its output is cut off; 0 where there is none. Tickets hold this, so it is small.
    stated: u32,
    limit: u32,
}

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
        let any_client = request.client.unwrap_or(1);
        set(
            LengthClass::LimitShare,
            request.max_output_tokens.filter(|limit| *limit > 0).map(|_| any_client),
        );
        set(LengthClass::Form, Some(request.route.index() as u64 * 4 + request.form as u64));
        let stated = request.stated_output_tokens.map_or(0, |tokens| tokens.clamp(1, LONGEST_OUTPUT));
        Self { keys, stated, limit: request.max_output_tokens.unwrap_or(0) }
    }

    /// What its caller states.
    fn stated(&self) -> Option<StatedLength> {
        let client = self.keys[LengthClass::Client as usize - 1];
        let limit = (self.limit > 0).then_some(self.limit);
        (self.stated > 0).then_some(StatedLength { client, tokens: self.stated, limit })
    }

    /// By what a class multiplies lengths before it learns them.
    fn scale(&self, class: LengthClass) -> f32 {
        if class == LengthClass::LimitShare { AT_LIMIT / self.limit as f32 } else { 1.0 }
    }

    fn iter(&self) -> impl Iterator<Item = (LengthClass, u64)> {
        LengthClass::ALL[1..].iter().copied().zip(self.keys).filter(|(_, key)| *key != 0)
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
    fn learn(&mut self, tokens: f32, by_fleet: f32) {
        let by_class = self.seen.log_share(bucket(tokens.into()));
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
    stated: StatedLengths,
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
            stated: StatedLengths::default(),
        }
    }
}

impl LengthForecaster {
    /// What is expected of the output of a request of these classes that is cut off at `limit` tokens: what its caller states, if
    /// that is believed, or what its classes forecast.
    pub(crate) fn forecast(&self, classes: &RequestClasses, limit: Option<u32>) -> LengthForecast {
        let stated = classes.stated().filter(|stated| self.stated.believes(stated));
        stated.map_or_else(|| self.by_classes(classes), |s| LengthForecast::stated(s.tokens)).up_to(limit)
    }

    /// What the best of its classes forecasts, or all traffic where none is better.
    fn by_classes(&self, classes: &RequestClasses) -> LengthForecast {
        let known = classes.iter().filter_map(|(class, key)| Some((class, self.classes.get(key)?)));
        let gains = known.map(|(class, record)| (record.expected_gain(), class, record));
        let best = gains.filter(|(gain, ..)| *gain > LEAST_GAIN).max_by(|a, b| a.0.total_cmp(&b.0));
        best.map_or(self.by_fleet, |(_, class, record)| {
            LengthForecast::new(class, &record.seen).times(1.0 / classes.scale(class))
        })
    }

    /// What is expected of the output of any request.
    pub(crate) const fn by_fleet(&self) -> &LengthForecast {
        &self.by_fleet
    }

    /// Learns the length of a response.
    pub(crate) fn learn(&mut self, classes: &RequestClasses, tokens: u32) {
        if let Some(stated) = &classes.stated() {
            let by_classes = self.by_classes(classes).quantile(0.5);
            self.stated.learn(stated, by_classes, tokens);
        }
        let tokens = tokens.max(1) as f32;
        let by_fleet = self.fleet.log_share(bucket(tokens.into()));
        for (class, key) in classes.iter() {
            let scaled = tokens * classes.scale(class);
            if let Some(record) = self.classes.renew(key) {
                record.learn(scaled, by_fleet);
            } else if class != LengthClass::PromptHead || self.is_known_head(key) {
                let mut record = ClassRecord::new(self.parent(class).weighing(PRIOR_RESPONSES));
                record.learn(scaled, by_fleet);
                self.classes.put_for_oldest(key, record);
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

    /// What a new class of this kind begins with.
    fn parent(&self, class: LengthClass) -> LengthHistogram {
        if class == LengthClass::LimitShare { LengthHistogram::even(LIMIT_SHARES) } else { self.fleet }
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
    fn limit_that_is_the_length_foretells_it() {
        let named =
            |tokens| RequestFeatures { max_output_tokens: Some(tokens), ..RequestFeatures::default() };
        let mut forecaster = LengthForecaster::default();
        let mut rng = Rng::seeded(4);
        for _ in 0..60 {
            let tokens = 20 + rng.below(1000) as u32;
            forecaster.learn(&RequestClasses::of(&named(tokens)), tokens);
        }
        for tokens in [3, 777, 9000] {
            let expected = forecast(&forecaster, &named(tokens));
            assert_eq!(expected.class, LengthClass::LimitShare);
            assert!((expected.mean() / f64::from(tokens) - 1.0).abs() < 0.1, "{tokens}: {}", expected.mean());
        }
        // A limit that is never reached tells nothing.
        for _ in 0..400 {
            let length = 20 + rng.below(1000) as u32;
            forecaster.learn(&RequestClasses::of(&named(2000 + rng.below(9000) as u32)), length);
        }
        let expected = forecast(&forecaster, &named(4000));
        assert!((300.0..900.0).contains(&expected.mean()), "{expected:?}");
    }

    #[test]
    fn stated_length_is_believed_while_it_beats_the_classes() {
        let mut forecaster = two_clients();
        let stating = |tokens| RequestFeatures {
            stated_output_tokens: Some(tokens),
            max_output_tokens: Some(5000),
            ..from_client(2)
        };
        let first = forecast(&forecaster, &stating(300));
        assert_eq!((first.class, first.mean().round()), (LengthClass::Stated, 300.0));
        assert_eq!(forecast(&forecaster, &stating(9000)).mean().round(), 5000.0, "max_tokens still caps");
        // The client gets about 1000 tokens, as it always did.
        for _ in 0..20 {
            forecaster.learn(&RequestClasses::of(&stating(300)), 1000);
        }
        let doubted = forecast(&forecaster, &stating(300));
        assert!(doubted.class != LengthClass::Stated && doubted.mean() > 800.0, "{doubted:?}");
        let other = RequestFeatures { stated_output_tokens: Some(10), ..from_client(1) };
        forecaster.learn(&RequestClasses::of(&other), 10);
        assert_eq!(forecast(&forecaster, &other).class, LengthClass::Stated, "each client has a record");
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

    #[test]
    fn one_wrong_length_barely_moves_the_forecast() {
        let mut forecaster = LengthForecaster::default();
        let mut learn = |tokens| forecaster.learn(&RequestClasses::of(&from_client(1)), tokens);
        (0..100).for_each(|i| learn(80 + i % 40));
        learn(200_000);
        (0..10).for_each(|i| learn(80 + i % 40));
        let mean = forecaster.by_fleet().mean();
        assert!(mean < 150.0, "{mean}");
        // Should the clients really want such lengths, they are believed.
        (0..200).for_each(|_| forecaster.learn(&RequestClasses::of(&from_client(1)), 20_000));
        let mean = forecast(&forecaster, &from_client(1)).mean();
        assert!(mean > 5000.0, "{mean}");
    }
}
