//! What is wrong, in words.

use super::lines::{Look, left};
use super::view::View;
use crate::terminal::{columns, wrap};
use ratatui_core::text::Line;
use router_live::Severity;

/// Every problem, the worst first.
pub(super) fn lines(view: &View, width: usize) -> Vec<Line<'static>> {
    each(view, width).into_iter().flatten().collect()
}

/// The problems that have room in so many lines, and how many have none.
pub(super) fn in_room(view: &View, width: usize, height: usize) -> Vec<Line<'static>> {
    let all = each(view, width);
    if all.iter().map(Vec::len).sum::<usize>() <= height {
        return all.into_iter().flatten().collect();
    }
    let (mut lines, count, mut shown) = (Vec::new(), all.len(), 0);
    for problem in all {
        // One line is for the number of the others, and the worst one is shown as far as there is room.
        if lines.len() + problem.len() >= height && shown > 0 {
            break;
        }
        lines.extend(problem);
        shown += 1;
    }
    lines.truncate(height.saturating_sub(1).max(1));
    if shown < count && height > 1 {
        lines.push(Look::Faint.line(format!("  {}", view.language.more_problems(count - shown))));
    }
    lines
}

/// The lines of each problem.
fn each(view: &View, width: usize) -> Vec<Vec<Line<'static>>> {
    let mut all = Vec::new();
    if let Some(cause) = &view.link.lost {
        let words = view.language.away(view.link.age_secs, cause);
        all.push(said(view.words().no_connection, &words, Look::Critical, width));
    }
    let problems = &view.now.problems;
    if problems.is_empty() && all.is_empty() {
        return vec![vec![Look::Good.line(view.words().nothing_wrong)]];
    }
    let severities = [Severity::Critical, Severity::Warning, Severity::Info];
    let mark = severities.map(|severity| columns(view.language.severity(severity))).into_iter().max();
    for problem in problems {
        let mut words = view.language.sentence(problem).to_owned();
        if let Some(since) = problem.since {
            words = view.language.with_aside(&words, &view.language.lasting(view.now.at - since));
        }
        let name = left(view.language.severity(problem.severity), mark.unwrap_or(0));
        all.push(said(&name, &words, Look::of(problem.severity), width));
    }
    all
}

/// A mark, and words beside it in as many lines as they need.
fn said(mark: &str, words: &str, look: Look, width: usize) -> Vec<Line<'static>> {
    let indent = columns(mark) + 1;
    let text = wrap(words, width.saturating_sub(indent).max(10), "");
    let begin = std::iter::once(mark.to_owned()).chain(std::iter::repeat(" ".repeat(indent - 1)));
    begin.zip(text.lines()).map(|(begin, line)| look.line(format!("{begin} {line}"))).collect()
}
