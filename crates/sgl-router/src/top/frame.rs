//! The whole screen as lines: what is wrong at the top, then the panel that the keys are for, and others as far as there is room.

use super::figures::{amount, percent, time};
use super::language::Words;
use super::lines::{Look, TableLines, both_sides, flow};
use super::view::{Details, Panel, View};
use super::{decisions, fleet, problems, queue, shadows};
use ratatui_core::style::Modifier;
use ratatui_core::text::{Line, Span};

/// Fewest lines of a panel that is shown below the chosen one, its title among them.
const LEAST_PANEL: usize = 4;

/// So many rows of the chosen panel have room, if there is any, however much is wrong.
const LEAST_ROWS: usize = 6;

/// The lines of a screen of this size.
pub(super) fn lines(view: &View, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = head(view, width);
    // A low screen shows what is wrong before it shows figures.
    lines.truncate(if height < 12 || view.details.is_some() { 1 } else { 3 });
    if view.details.is_none() {
        // Besides the foot, the panel's two lines of titles and its first rows.
        let others = lines.len() + 3 + view.now.workers.len().min(LEAST_ROWS);
        let room = height.saturating_sub(others).clamp(height / 3, (height / 2).max(1)).max(1);
        lines.extend(problems::in_room(view, width, room));
    }
    let room = height.saturating_sub(lines.len() + 1);
    match &view.details {
        Some(details) => lines.extend(details_in(view, details, width, room)),
        None => lines.extend(panels(view, width, room)),
    }
    lines.truncate(height.saturating_sub(1));
    lines.resize(height.saturating_sub(1), Line::default());
    lines.push(foot(view, width));
    lines
}

/// The router and the fleet as a whole.
pub(super) fn head(view: &View, width: usize) -> Vec<Line<'static>> {
    let (words, now) = (view.words(), &view.now);
    let router = &now.router;
    let mut name = vec![
        vec![Look::Strong.text(format!("sgl-router {}", router.version))],
        vec![Span::raw(fleet::short(&view.url).to_owned())],
    ];
    name.extend((!router.is_ready).then(|| vec![Look::Critical.text(words.not_ready)]));
    name.push(vec![Span::raw(format!("{} {}", words.policy, router.policy))]);
    if router.started_at > 0.0 {
        let up = view.language.span(now.at - router.started_at);
        name.push(vec![Span::raw(format!("{} {up}", words.up))]);
    }
    let state = match view.link.lost {
        Some(_) => Look::Critical.line(words.no_connection),
        None => Look::Faint.line(format!("{} {}", words.rates_of, view.language.span(router.window_secs))),
    };
    let name = flow(name, width.saturating_sub(state.width() + 1)).into_iter().next().unwrap_or_default();
    let mut lines = vec![both_sides(name, state, width)];
    lines.extend(flow(totals(view), width));
    lines
}

fn totals(view: &View) -> Vec<Vec<Span<'static>>> {
    let (words, totals, queue) = (view.words(), &view.now.totals, &view.now.queue);
    let part = |name: &'static str, value: String, look: Look| {
        vec![Look::Faint.text(name), Span::raw(" "), look.text(value)]
    };
    let bad = |is_bad: bool| if is_bad { Look::Critical } else { Look::Strong };
    let waiting: u64 = queue.waiting.iter().map(|class| class.requests).sum();
    let ttft = format!("{} / {}", time(totals.ttft_p50), time(totals.ttft_p99));
    vec![
        part(
            words.workers,
            view.language.part(totals.healthy, totals.workers),
            bad(totals.healthy < totals.workers),
        ),
        part(words.in_flight, totals.in_flight.to_string(), Look::Strong),
        part(words.waiting, waiting.to_string(), bad(waiting > 0)),
        part(words.requests_per_sec, amount(totals.requests_per_sec), Look::Strong),
        part("TTFT p50/p99", ttft, Look::Strong),
        part(words.tokens_per_sec, amount(totals.tokens_per_sec), Look::Strong),
        part(words.cached, percent(totals.cached_share), Look::Strong),
        part(
            words.failed,
            percent(totals.failure_share),
            bad(totals.failure_share.is_some_and(|share| share >= 0.01)),
        ),
        part(words.retries_per_sec, amount(totals.retries_per_sec), Look::Strong),
    ]
}

/// The chosen panel, and those after it as far as there is room.
fn panels(view: &View, width: usize, height: usize) -> Vec<Line<'static>> {
    if height < 2 {
        return Vec::new();
    }
    let place = Panel::ALL.iter().position(|panel| *panel == view.panel).unwrap_or(0);
    let mut lines = vec![tabs(view, width)];
    lines.extend(panel(view, view.panel, width, height - 1));
    for after in &Panel::ALL[place + 1..] {
        let room = height.saturating_sub(lines.len());
        if room < LEAST_PANEL {
            break;
        }
        lines.push(bar(&[Span::raw(format!(" {} ", after.title(view.words())))], width));
        lines.extend(panel(view, *after, width, room - 1));
    }
    lines
}

/// A line in reverse over the whole width.
fn bar(text: &[Span<'static>], width: usize) -> Line<'static> {
    let mut line = Line::from(text.to_vec());
    let room = width.saturating_sub(line.width());
    line.spans.push(Span::raw(" ".repeat(room)));
    line.patch_style(Look::Bar.style())
}

/// The titles of the panels, and the order and the filter of the fleet.
fn tabs(view: &View, width: usize) -> Line<'static> {
    let words = view.words();
    let mut spans: Vec<Span<'static>> = Vec::new();
    for (place, panel) in Panel::ALL.into_iter().enumerate() {
        let look = if panel == view.panel { Look::Chosen } else { Look::Plain };
        spans.push(Span::raw(" "));
        spans.push(look.text(format!("{} {}", place + 1, panel.title(words))));
        spans.push(Span::raw(" "));
    }
    if view.panel == Panel::Fleet {
        spans.push(Span::raw(format!("  {}", order_and_filter(view, words))));
    }
    bar(&spans, width)
}

fn order_and_filter(view: &View, words: &Words) -> String {
    let mut text = format!("{} {}", words.sorted_by, fleet::sorted_title(view));
    if view.order.is_reversed {
        text = format!("{text}, {}", words.reversed);
    }
    if view.filter.is_open || !view.filter.text.is_empty() {
        let shown = view.language.part(view.shown_workers().len(), view.now.workers.len());
        text = format!("{} '{}': {shown}  {text}", words.filter, view.filter.text);
    }
    text
}

/// The lines of a panel in at most `height` lines.
fn panel(view: &View, panel: Panel, width: usize, height: usize) -> Vec<Line<'static>> {
    let is_chosen = panel == view.panel;
    match panel {
        Panel::Fleet => {
            let shown = view.shown_workers();
            if shown.is_empty() {
                return vec![Look::Plain.line(fleet::no_row(view.language, &view.now))];
            }
            let place = view.worker_place(&shown);
            let table = fleet::table(view, &shown).lines(width, Some(view.order.column.place()));
            list(table, is_chosen.then_some(place), height)
        }
        Panel::Decisions => {
            let shown = view.shown_decisions();
            if shown.is_empty() {
                return vec![Look::Plain.line(view.words().no_decision)];
            }
            let place = view.decision_place(&shown);
            let table = decisions::table(view, &shown).lines(width, None);
            list(table, is_chosen.then_some(place), height)
        }
        Panel::Queue => scrolled(view, queue::lines(view, width), is_chosen, height),
        Panel::Shadows => scrolled(view, shadows::lines(view, width), is_chosen, height),
    }
}

/// The titles, and the rows around the selected one.
fn list(table: TableLines, selected: Option<usize>, height: usize) -> Vec<Line<'static>> {
    let TableLines { head, mut rows } = table;
    let room = height.saturating_sub(1);
    if let Some(row) = selected.and_then(|place| rows.get_mut(place)) {
        *row = std::mem::take(row).patch_style(Modifier::REVERSED);
    }
    let place = selected.unwrap_or(0);
    let first = place.saturating_sub(room / 2).min(rows.len().saturating_sub(room));
    std::iter::once(head).chain(rows.into_iter().skip(first).take(room)).collect()
}

/// The lines from the scrolled place on, but always the last ones.
fn scrolled(view: &View, lines: Vec<Line<'static>>, is_chosen: bool, height: usize) -> Vec<Line<'static>> {
    let most = lines.len().saturating_sub(height);
    let mut first = 0;
    if is_chosen {
        view.most_scrolled.set(most);
        first = view.scroll.min(most);
    }
    lines.into_iter().skip(first).take(height).collect()
}

/// Details in place of the panels.
fn details_in(view: &View, details: &Details, width: usize, height: usize) -> Vec<Line<'static>> {
    let words = view.words();
    let (title, lines) = match details {
        Details::Help => (words.help, help(words)),
        Details::Problems => (words.problems, problems::lines(view, width)),
        Details::Worker(id) => (words.worker, fleet::details(view, id, width)),
        Details::Decision(row) => (words.decisions, decisions::details(view, row, width)),
    };
    let mut all = vec![bar(&[Span::raw(format!(" {title} "))], width)];
    all.extend(scrolled(view, lines, true, height.saturating_sub(1)));
    all
}

/// The keys and the columns, explained.
fn help(words: &Words) -> Vec<Line<'static>> {
    let rows = words.help_text.lines().map(|line| line.split_once('\t').unwrap_or(("", line)));
    let width = rows.clone().map(|(key, _)| crate::terminal::columns(key)).max().unwrap_or(0) + 2;
    let row = |(key, text): (&str, &str)| {
        if key.is_empty() {
            return Line::from(text.to_owned());
        }
        Line::from(vec![Look::Strong.text(super::lines::left(key, width)), Span::raw(text.to_owned())])
    };
    rows.map(row).collect()
}

/// The keys, as many as have room.
fn foot(view: &View, width: usize) -> Line<'static> {
    let words = view.words();
    if view.filter.is_open {
        let typed = Look::Strong.text(format!("/{}_", view.filter.text));
        return Line::from(vec![typed, Look::Faint.text(format!("   {}", words.keys_of_filter))]);
    }
    let keys = if view.details.is_some() { words.keys_of_details } else { words.keys };
    let parts = keys.split("  ").map(|key| vec![Look::Faint.text(key)]).collect();
    flow(parts, width).into_iter().next().unwrap_or_default()
}
