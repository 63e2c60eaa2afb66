//! Lengths that callers state, and whether to believe them.
//!
//! A statement is believed until those of its client were worse than what would have been forecast without them. The record of a
//! client is how much closer its statements came to the lengths than the forecasts of classes did: the difference of the absolute
//! logarithmic errors, summed over its responses, each of which counts a little less with every later one. Statements are compared
//! whether or not they are believed, so belief comes back when they become true.

use crate::key_table::KeyTable;

/// Clients whose statements have a record, at most.
const CLIENTS: usize = 4096;
/// What is left of a response's weight with each later one.
const MEMORY: f32 = 0.99;
/// By how much the statements of a client may be worse than the classes, in nats over its last hundred responses or so: 3 % each,
/// or four that are off by twice the length.
const TRUST: f32 = 3.0;
/// One response counts at most this much, for or against: a client is judged by more than one.
const MOST: f32 = 2.5;

/// What is stated of a request, as far as it is compared later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StatedLength {
    /// The client, 0 where it is not known.
    pub(crate) client: u64,
    /// The stated length.
    pub(crate) tokens: u32,
    /// Where the output is cut off.
    pub(crate) limit: Option<u32>,
}

/// How statements compare with the forecasts of classes.
#[derive(Debug)]
pub(crate) struct StatedLengths {
    /// Sums of by how much the errors of the classes exceeded those of the statements, decayed: of all statements, and by client.
    all: f32,
    clients: KeyTable<f32>,
}

impl Default for StatedLengths {
    fn default() -> Self {
        Self { all: 0.0, clients: KeyTable::new(CLIENTS) }
    }
}

impl StatedLengths {
    /// Whether a statement is to be believed.
    pub(crate) fn believes(&self, stated: &StatedLength) -> bool {
        self.record(stated.client) > -TRUST
    }

    /// Compares a statement with the length that came, and with the length that classes forecast.
    pub(crate) fn learn(&mut self, stated: &StatedLength, by_classes: f64, tokens: u32) {
        let cut = stated.limit.map_or(f64::INFINITY, f64::from);
        let error = |length: f64| (length.min(cut).max(1.0) / f64::from(tokens.max(1))).ln().abs() as f32;
        let gain = (error(by_classes) - error(f64::from(stated.tokens))).clamp(-MOST, MOST);
        if stated.client != 0 {
            let record = MEMORY * self.record(stated.client) + gain;
            self.clients.put_for_oldest(stated.client, record);
        }
        self.all = MEMORY * self.all + gain;
    }

    /// The record of a client. Of a new one that of all clients is assumed, as far as it is bad, but any true statement is enough
    /// to be believed then.
    fn record(&self, client: u64) -> f32 {
        let known = self.clients.get(client).copied();
        known.unwrap_or(if client == 0 { self.all } else { self.all.clamp(-TRUST, 0.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(client: u64, tokens: u32) -> StatedLength {
        StatedLength { client, tokens, limit: None }
    }

    #[test]
    fn client_that_lies_loses_its_belief_and_can_win_it_back() {
        let mut lengths = StatedLengths::default();
        let [liar, honest] = [by(1, 1000), by(2, 100)];
        assert!(lengths.believes(&liar), "trust comes first");
        for _ in 0..4 {
            lengths.learn(&honest, 300.0, 100);
            lengths.learn(&liar, 300.0, 100);
        }
        assert_eq!([liar, honest].map(|stated| lengths.believes(&stated)), [false, true]);
        (0..200).for_each(|_| lengths.learn(&by(1, 100), 300.0, 100));
        assert!(lengths.believes(&by(1, 100)));
    }

    #[test]
    fn lies_of_others_make_a_new_client_prove_itself_once() {
        let mut lengths = StatedLengths::default();
        (0..100).for_each(|_| lengths.learn(&by(1, 1000), 300.0, 100));
        let new = by(3, 100);
        assert!(!lengths.believes(&new) && !lengths.believes(&by(0, 100)));
        lengths.learn(&new, 300.0, 100);
        assert!(lengths.believes(&new));
    }

    #[test]
    fn statement_is_compared_up_to_the_limit() {
        let mut lengths = StatedLengths::default();
        let far = StatedLength { limit: Some(100), ..by(1, 100_000) };
        (0..20).for_each(|_| lengths.learn(&far, 5000.0, 100));
        assert!(lengths.believes(&far), "both foresaw the cut");
    }
}
