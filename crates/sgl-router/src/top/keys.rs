//! What keys do. None of them changes anything at the router.

use super::view::{Details, Filter, Panel, View};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Rows of a page.
const PAGE: isize = 10;

/// Far enough for every list.
const END: isize = isize::MAX;

/// Most letters of a filter.
const MOST_LETTERS: usize = 60;

/// What is to be done after a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterKey {
    Draw,
    /// Draw everything again, because the terminal shows something else.
    DrawAll,
    Quit,
}

/// Does what a key means.
pub(super) fn press(view: &mut View, key: KeyEvent) -> AfterKey {
    if key.kind == KeyEventKind::Release {
        return AfterKey::Draw;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => AfterKey::Quit,
            KeyCode::Char('l') => AfterKey::DrawAll,
            _ => AfterKey::Draw,
        };
    }
    if view.filter.is_open {
        write_filter(&mut view.filter, key.code);
        return AfterKey::Draw;
    }
    if key.code == KeyCode::Char('q') {
        return AfterKey::Quit;
    }
    if !moves(view, key.code) && !opens(view, key.code) {
        chooses(view, key.code);
    }
    AfterKey::Draw
}

fn write_filter(filter: &mut Filter, key: KeyCode) {
    match key {
        KeyCode::Enter => filter.is_open = false,
        KeyCode::Esc => *filter = Filter::default(),
        KeyCode::Backspace => {
            filter.text.pop();
        }
        KeyCode::Char(c) if filter.text.chars().count() < MOST_LETTERS => filter.text.push(c),
        _ => {}
    }
}

/// Whether the key moves in the list or in the details.
fn moves(view: &mut View, key: KeyCode) -> bool {
    let by = match key {
        KeyCode::Down | KeyCode::Char('j') => 1,
        KeyCode::Up | KeyCode::Char('k') => -1,
        KeyCode::PageDown | KeyCode::Char(' ') => PAGE,
        KeyCode::PageUp => -PAGE,
        KeyCode::End | KeyCode::Char('G') => END,
        KeyCode::Home | KeyCode::Char('g') => -END,
        _ => return false,
    };
    view.go(by);
    true
}

/// Whether the key opens or closes details.
fn opens(view: &mut View, key: KeyCode) -> bool {
    match (key, &view.details) {
        (KeyCode::Esc | KeyCode::Enter, Some(_)) => view.show(None),
        (KeyCode::Esc, None) => view.filter = Filter::default(),
        (KeyCode::Enter, None) => {
            let selected = view.selected();
            view.show(selected);
        }
        (KeyCode::Char('?'), Some(Details::Help)) | (KeyCode::Char('p'), Some(Details::Problems)) => {
            view.show(None);
        }
        (KeyCode::Char('?'), _) => view.show(Some(Details::Help)),
        (KeyCode::Char('p'), _) => view.show(Some(Details::Problems)),
        _ => return false,
    }
    true
}

/// Chooses the panel, or which workers it has and in which order.
fn chooses(view: &mut View, key: KeyCode) {
    let panels = Panel::ALL.len();
    let place = Panel::ALL.iter().position(|panel| *panel == view.panel).unwrap_or(0);
    let wanted = match key {
        KeyCode::Tab | KeyCode::Right => Some((place + 1) % panels),
        KeyCode::BackTab | KeyCode::Left => Some((place + panels - 1) % panels),
        KeyCode::Char(digit @ '1'..='4') => digit.to_digit(10).map(|digit| digit as usize - 1),
        _ => None,
    };
    if let Some(panel) = wanted.and_then(|place| Panel::ALL.get(place)) {
        view.show(None);
        view.turn_to(*panel);
        return;
    }
    if view.details.is_some() {
        return;
    }
    match key {
        KeyCode::Char('/') => {
            view.turn_to(Panel::Fleet);
            view.filter.is_open = true;
        }
        KeyCode::Char('s') => view.order.column = view.order.column.neighbour(1),
        KeyCode::Char('S') => view.order.column = view.order.column.neighbour(-1),
        KeyCode::Char('r') => view.order.is_reversed = !view.order.is_reversed,
        _ => {}
    }
}
