//! Why the demo's best policy is the best: what it has learned of the workers.

use super::PolicyRound;
use crate::terminal::{COLUMNS, wrap};
use std::fmt::Write as _;

/// The term of a score that is the time of one more request on a worker, in seconds.
const LATENCY_TERM: &str = "own_latency";

/// The time of one more request on each worker in the order of `urls`, read from the router's metrics; empty when the
/// policy's score has no such term.
pub(super) fn learned(metrics: &str, urls: &[String]) -> Vec<f64> {
    let terms = metrics.lines().filter(|line| line.starts_with("sgl_router_policy_term{"));
    let terms: Vec<_> = terms.filter(|line| line.contains(&format!("term=\"{LATENCY_TERM}\""))).collect();
    let of = |url: &String| {
        let worker = format!("worker=\"{url}\"");
        let line = terms.iter().find(|line| line.contains(&worker))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    urls.iter().map(of).collect::<Option<_>>().unwrap_or_default()
}

/// Which policy has the lowest mean, and what the learned times have to do with it.
pub(super) fn render(rounds: &[PolicyRound], workers: &[String]) -> String {
    let mean = |round: &PolicyRound| round.summary.latency.mean().unwrap_or(f64::INFINITY);
    let (Some(best), Some(first)) =
        (rounds.iter().min_by(|a, b| mean(a).total_cmp(&mean(b))), rounds.first())
    else {
        return String::new();
    };
    let mut text = String::new();
    if best.policy != first.policy && mean(first).is_finite() {
        let ratio = mean(best) / mean(first);
        let _ = write!(text, "{} has the lowest mean, {ratio:.2} of that of {}. ", best.policy, first.policy);
    }
    for round in rounds.iter().filter(|round| round.learned.len() == workers.len()) {
        text.push_str(&sentence(round, workers));
    }
    if text.is_empty() { text } else { format!("\n{}", wrap(&text, COLUMNS, "")) }
}

/// What one policy has learned, and what it did with it.
fn sentence(round: &PolicyRound, workers: &[String]) -> String {
    let mut times: Vec<(&str, Vec<String>)> = Vec::new();
    for (label, secs) in workers.iter().zip(&round.learned) {
        let secs = format!("{secs:.2}");
        match times.iter_mut().find(|(known, _)| known == label) {
            Some((_, all)) => all.push(secs),
            None => times.push((label, vec![secs])),
        }
    }
    let times: Vec<_> =
        times.iter().map(|(label, secs)| format!("{} s on {label}", secs.join(" or "))).collect();
    let all = round.learned.iter().zip(workers).zip(&round.shares);
    let fastest = all.min_by(|((a, _), _), ((b, _), _)| a.total_cmp(b));
    let share = fastest.map_or_else(String::new, |((_, label), count)| {
        format!(
            " It sent {:.0} % of the requests to {label}, and the others elsewhere: at first to learn, later when one \
             more on {label} would have cost more time in all.",
            round.percent(*count)
        )
    });
    format!(
        "From the responses alone, {} has learned that a request takes {} when nothing else runs there.{share} ",
        round.policy,
        times.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::tests::{labels, round};

    #[test]
    fn learned_times_come_from_the_term() {
        let urls = ["http://a:1".to_owned(), "http://a:10".to_owned()];
        let line = |url: &str, term: &str, value: f64| {
            format!("sgl_router_policy_term{{policy=\"p\",worker=\"{url}\",term=\"{term}\"}} {value}\n")
        };
        let other = line("http://a:1", "ttft", 9.0);
        let both = other.clone()
            + &line("http://a:10", "own_latency", 1.5)
            + &line("http://a:1", "own_latency", 0.5);
        assert_eq!(learned(&both, &urls), [0.5, 1.5]);
        let half = other + &line("http://a:10", "own_latency", 1.5);
        assert!(learned(&half, &urls).is_empty());
    }

    #[test]
    fn explanation_names_learned_times_and_share() {
        let mut knows = round("marginal_cost", &[9, 1]);
        knows.learned = vec![0.6, 1.7];
        let text = render(&[round("round_robin", &[5, 5]), knows], &labels(&["h200", "rtx4090@0.4"]));
        let text = text.replace('\n', " ");
        for part in ["0.60 s on h200", "1.70 s on rtx4090@0.4", "90 % of the requests to h200"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(render(&[round("round_robin", &[5, 5])], &labels(&["h200", "t4"])), "");
    }
}
