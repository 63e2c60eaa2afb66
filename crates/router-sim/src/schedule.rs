//! Events as users type them: `slow:0:4@30..90`, `die:2@60`, `join:t4*2@45`, `late-answers:0.5@0`.

use crate::fleet::SimulatedFleet;
use crate::scenario::{Incident, IncidentKind};
use router_core::Time;
use router_engine::FleetError;
use std::str::FromStr;
use std::time::Duration;

/// What one event of a schedule does, and when: one incident, or one at its beginning and one at its end.
///
/// | text | meaning |
/// |---|---|
/// | `slow:SERVER:FACTOR@FROM[..TO]` | every step of this server takes FACTOR times as long |
/// | `die:SERVER@AT` | this server is gone, with everything in it |
/// | `join:FLEET@AT` | these servers come up |
/// | `late-answers:SECS@FROM[..TO]` | routers hear of first tokens and ends so much later |
/// | `late-reports:SECS@FROM[..TO]` | load reports arrive so much later |
///
/// Servers are numbered from 0, times are seconds from the beginning.
#[derive(Clone, PartialEq, Debug)]
pub struct ScheduledEvent {
    /// As it was typed.
    pub text: String,
    /// What happens.
    pub incidents: Vec<Incident>,
}

/// An event that is none. One line, naming the part at fault.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScheduledEventError {
    /// The text has none of the known forms.
    #[error(
        "{0:?}: expected slow:SERVER:FACTOR@FROM[..TO], die:SERVER@AT, join:FLEET@AT, \
        late-answers:SECS@FROM[..TO] or late-reports:SECS@FROM[..TO]"
    )]
    Form(String),
    /// A part is no number, or none that makes sense here.
    #[error("{text:?} in {event:?}: expected {expected}")]
    Part {
        /// The part.
        text: String,
        /// The event it stands in.
        event: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The servers that join are no fleet.
    #[error("{event:?}: {source}")]
    Fleet {
        /// The event.
        event: String,
        /// What is wrong.
        source: FleetError,
    },
}

/// The text of one event, so that an error can show it.
#[derive(Clone, Copy)]
struct EventText<'a>(&'a str);

impl EventText<'_> {
    fn part<T: FromStr>(
        self,
        text: &str,
        makes_sense: impl Fn(&T) -> bool,
        expected: &'static str,
    ) -> Result<T, ScheduledEventError> {
        let wrong =
            || ScheduledEventError::Part { text: text.to_owned(), event: self.0.to_owned(), expected };
        text.trim().parse().ok().filter(makes_sense).ok_or_else(wrong)
    }

    fn server(self, text: &str) -> Result<usize, ScheduledEventError> {
        self.part(text, |_| true, "a server's number, from 0")
    }

    fn seconds(self, text: &str) -> Result<f64, ScheduledEventError> {
        self.part(text, |s: &f64| (0.0..=1e9).contains(s), "seconds, from 0 to 1e9")
    }
}

impl FromStr for ScheduledEvent {
    type Err = ScheduledEventError;

    fn from_str(event: &str) -> Result<Self, ScheduledEventError> {
        let text = EventText(event);
        let form = || ScheduledEventError::Form(event.to_owned());
        // From the right: the fleet of those that join may hold an `@` of its own.
        let (what, when) = event.rsplit_once('@').ok_or_else(form)?;
        let (from, to) = match when.split_once("..") {
            Some((from, to)) => (text.seconds(from)?, Some(text.seconds(to)?)),
            None => (text.seconds(when)?, None),
        };
        if let Some(to) = to.filter(|to| *to <= from) {
            let expected = "an end after the beginning";
            return Err(ScheduledEventError::Part {
                text: to.to_string(),
                event: event.to_owned(),
                expected,
            });
        }
        let (kind, rest) = what.split_once(':').ok_or_else(form)?;
        let late = || text.seconds(rest).map(Duration::from_secs_f64);
        let (begins, ends) = match (kind.trim(), to) {
            ("slow", _) => {
                let (server, factor) = rest.split_once(':').ok_or_else(form)?;
                let server = text.server(server)?;
                let factor = text.part(factor, |f: &f64| f.is_finite() && *f > 0.0, "a factor above 0")?;
                (
                    vec![IncidentKind::Slow { server, factor }],
                    Some(IncidentKind::Slow { server, factor: 1.0 }),
                )
            }
            ("die", None) => (vec![IncidentKind::Die { server: text.server(rest)? }], None),
            ("join", None) => {
                let wrong = |source| ScheduledEventError::Fleet { event: event.to_owned(), source };
                let fleet: SimulatedFleet = rest.parse().map_err(wrong)?;
                (fleet.servers.into_iter().map(IncidentKind::Join).collect(), None)
            }
            ("late-answers", _) => (
                vec![IncidentKind::DelayCompletions(late()?)],
                Some(IncidentKind::DelayCompletions(Duration::ZERO)),
            ),
            ("late-reports", _) => {
                (vec![IncidentKind::DelayReports(late()?)], Some(IncidentKind::DelayReports(Duration::ZERO)))
            }
            _ => return Err(form()),
        };
        let at = |secs, what| Incident { at: Time::from_secs_f64(secs), what };
        let mut incidents: Vec<_> = begins.into_iter().map(|what| at(from, what)).collect();
        incidents.extend(to.zip(ends).map(|(to, what)| at(to, what)));
        Ok(Self { text: event.to_owned(), incidents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in milliseconds.
    fn read(text: &str) -> Vec<(u64, IncidentKind)> {
        let scheduled: ScheduledEvent = text.parse().unwrap();
        scheduled.incidents.iter().map(|i| (i.at.as_nanos() / 1_000_000, i.what)).collect()
    }

    #[test]
    fn every_form_is_read() {
        let slow = |factor| IncidentKind::Slow { server: 2, factor };
        assert_eq!(read("slow:2:4@30..90"), [(30_000, slow(4.0)), (90_000, slow(1.0))]);
        assert_eq!(read("slow:2:4@30"), [(30_000, slow(4.0))]);
        assert_eq!(read("die:1@0.5"), [(500, IncidentKind::Die { server: 1 })]);
        assert_eq!(read("join:t4*2@0.5@7").len(), 2);
        let late = Duration::from_millis(500);
        let (late, prompt) =
            (IncidentKind::DelayCompletions(late), IncidentKind::DelayCompletions(Duration::ZERO));
        assert_eq!(read("late-answers:0.5@0..9"), [(0, late), (9000, prompt)]);
        assert_eq!(read("late-reports:2@1"), [(1000, IncidentKind::DelayReports(Duration::from_secs(2)))]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("slow:0:4", "expected slow:SERVER:FACTOR@FROM[..TO]"),
            ("explode:0@4", "expected slow:SERVER"),
            ("die:0@4..5", "expected slow:SERVER"),
            ("slow:x:4@1", "\"x\" in \"slow:x:4@1\": expected a server's number"),
            ("slow:0:-4@1", "\"-4\""),
            ("slow:0:4@9..3", "expected an end after the beginning"),
            ("late-answers:soon@1", "\"soon\""),
            ("late-answers:1e300@1", "\"1e300\""),
            ("join:warp@3", "unknown profile \"warp\""),
        ] {
            let error = text.parse::<ScheduledEvent>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
