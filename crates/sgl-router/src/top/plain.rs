//! One frame as plain text, for scripts and pipes: every part, with all workers, and nothing but text.

use super::connection::{Connection, News};
use super::frame::head;
use super::lines::Look;
use super::view::{Panel, View};
use super::{decisions, fleet, problems, queue, shadows};
use crate::error::CommandError;
use ratatui_core::text::Line;
use std::fmt::Write as _;

/// How many decisions are told.
const DECISIONS: usize = 10;

/// Takes news until rates are those of `watched` seconds.
///
/// # Errors
/// When the connection is lost or the router refuses.
pub(super) async fn watch(
    connection: &mut Connection,
    view: &mut View,
    watched: f64,
) -> Result<(), CommandError> {
    while view.now.router.window_secs < watched {
        match connection.next().await? {
            News::Snapshot(now) => view.replace(*now),
            News::Delta(delta) => view.update(*delta),
            News::Lost(cause) => return Err(lost(&view.url, &cause)),
        }
    }
    Ok(())
}

/// The stream of this router is lost, and is not begun again.
pub(super) fn lost(url: &str, cause: &str) -> CommandError {
    CommandError::runtime(format_args!("the stream of {url} is lost: {cause}"))
}

/// The frame.
pub(super) fn text(view: &View, width: usize) -> String {
    let words = view.words();
    let mut lines = head(view, width);
    lines.extend(problems::lines(view, width));
    for panel in Panel::ALL {
        lines.push(Line::default());
        lines.push(Look::Strong.line(panel.title(words)));
        lines.extend(part(view, panel, width));
    }
    let mut text = String::new();
    for line in lines {
        let line: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn part(view: &View, panel: Panel, width: usize) -> Vec<Line<'static>> {
    match panel {
        Panel::Fleet => {
            let shown = view.shown_workers();
            if shown.is_empty() {
                return vec![Look::Plain.line(fleet::no_row(view.language, &view.now))];
            }
            let mut table = fleet::table(view, &shown);
            // A curve needs half a minute.
            table.columns.pop();
            table.all_lines(width)
        }
        Panel::Decisions => {
            let mut shown = view.shown_decisions();
            if shown.is_empty() {
                return vec![Look::Plain.line(view.words().no_decision)];
            }
            shown.truncate(DECISIONS);
            decisions::table(view, &shown).all_lines(width)
        }
        Panel::Queue => queue::lines(view, width),
        Panel::Shadows => shadows::lines(view, width),
    }
}
