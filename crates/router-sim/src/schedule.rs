//! Scheduled events as users type them: `slow:0:4@30..90`, `die:2@60`, `join:t4*2@45`, `late-answers:0.5@0`.

use crate::fleet::SimulatedFleet;
use crate::scenario::{Incident, IncidentKind};
use router_core::Time;
use router_engine::FleetError;
use std::str::FromStr;
use std::time::Duration;

/// A scheduled event: one incident, or one at its start and one at its end.
///
/// | text | meaning |
/// |---|---|
/// | `slow:SERVER:FACTOR@FROM[..TO]` | every step of this server takes FACTOR times as long |
/// | `die:SERVER@AT` | this server dies and loses its requests |
/// | `join:FLEET@AT` | these servers join |
/// | `late-answers:SECS@FROM[..TO]` | routers learn of first tokens and completions SECS later |
/// | `late-reports:SECS@FROM[..TO]` | load reports arrive SECS later |
///
/// Servers are numbered from 0; times are seconds since the start.
#[derive(Clone, PartialEq, Debug)]
pub struct ScheduledEvent {
    /// The text as it was typed.
    pub text: String,
    /// The incidents that it stands for.
    pub incidents: Vec<Incident>,
}

/// The text is not a scheduled event. The message is one line that names the invalid part.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScheduledEventError {
    /// The text has an unknown form.
    #[error(
        "{0:?}: expected slow:SERVER:FACTOR@FROM[..TO], die:SERVER@AT, join:FLEET@AT, \
        late-answers:SECS@FROM[..TO] or late-reports:SECS@FROM[..TO]"
    )]
    Form(String),
    /// A part is not a number, or is outside its range.
    #[error("{text:?} in {event:?}: expected {expected}")]
    Part {
        /// The part.
        text: String,
        /// The event that contains it.
        event: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The servers that join are not a valid fleet.
    #[error("{event:?}: {source}")]
    Fleet {
        /// The event.
        event: String,
        /// Why the fleet is invalid.
        source: FleetError,
    },
}

/// The text of one event, for error messages.
#[derive(Clone, Copy)]
struct EventText<'a>(&'a str);

impl EventText<'_> {
    fn part<T: FromStr>(
        self,
        text: &str,
        is_valid: impl Fn(&T) -> bool,
        expected: &'static str,
    ) -> Result<T, ScheduledEventError> {
        let wrong =
            || ScheduledEventError::Part { text: text.to_owned(), event: self.0.to_owned(), expected };
        text.trim().parse().ok().filter(is_valid).ok_or_else(wrong)
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
        // From the right: a fleet that joins may contain an `@` itself.
        let (what, when) = event.rsplit_once('@').ok_or_else(form)?;
        let (from, to) = match when.split_once("..") {
            Some((from, to)) => (text.seconds(from)?, Some(text.seconds(to)?)),
            None => (text.seconds(when)?, None),
        };
        if let Some(to) = to.filter(|to| *to <= from) {
            let expected = "an end after the start";
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
        let at = |secs, kind| Incident { at: Time::from_secs_f64(secs), kind };
        let mut incidents: Vec<_> = begins.into_iter().map(|kind| at(from, kind)).collect();
        incidents.extend(to.zip(ends).map(|(to, kind)| at(to, kind)));
        Ok(Self { text: event.to_owned(), incidents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in milliseconds.
    fn read(text: &str) -> Vec<(u64, IncidentKind)> {
        let scheduled: ScheduledEvent = text.parse().unwrap();
        scheduled.incidents.iter().map(|i| (i.at.as_nanos() / 1_000_000, i.kind)).collect()
    }

    #[test]
    fn all_forms_parse() {
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
    fn errors_name_the_mistake() {
        for (text, part) in [
            ("slow:0:4", "expected slow:SERVER:FACTOR@FROM[..TO]"),
            ("explode:0@4", "expected slow:SERVER"),
            ("die:0@4..5", "expected slow:SERVER"),
            ("slow:x:4@1", "\"x\" in \"slow:x:4@1\": expected a server's number"),
            ("slow:0:-4@1", "\"-4\""),
            ("slow:0:4@9..3", "expected an end after the start"),
            ("late-answers:soon@1", "\"soon\""),
            ("late-answers:1e300@1", "\"1e300\""),
            ("join:warp@3", "unknown profile \"warp\""),
        ] {
            let error = text.parse::<ScheduledEvent>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
