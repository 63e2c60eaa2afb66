//! Frames of a real fleet: five workers under load, one of them slow, one not there, and one that drains.

use super::connection::parsed;
use super::keys::{AfterKey, press};
use super::language::Language;
use super::plain;
use super::screen::{Colours, draw};
use super::view::View;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui_core::backend::TestBackend;
use ratatui_core::style::{Color, Modifier};
use ratatui_core::terminal::Terminal;
use router_live::Snapshot;

/// The data of an event `snapshot` of `sgl-router launch`.
const SNAPSHOT: &str = include_str!("../../tests/data/live_snapshot.json");

fn view(language: Language) -> View {
    View::new("http://127.0.0.1:30000".to_owned(), language, parsed::<Snapshot>(SNAPSHOT).unwrap())
}

fn terminal(view: &View, (width, height): (u16, u16), colours: Colours) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|to| draw(to, view, colours)).unwrap();
    terminal
}

/// The lines of a screen.
fn screen(view: &View, size: (u16, u16)) -> Vec<String> {
    let terminal = terminal(view, size, Colours::Shown);
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..size.1).map(|y| line(y).trim_end().to_owned()).collect()
}

fn type_keys(view: &mut View, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(press(view, KeyEvent::from(*key)), AfterKey::Draw);
    }
}

fn has(lines: &[String], words: &str) -> bool {
    lines.iter().any(|line| line.contains(words))
}

#[test]
fn what_is_wrong_is_at_the_top_of_every_screen() {
    for size in [(120, 40), (80, 24), (60, 20)] {
        let lines = screen(&view(Language::En), size);
        let top = lines[..12].join("\n");
        // Of six problems the last one has no room on the smallest screen.
        let last = if size.0 > 60 { "INFO     DRAINING is draining" } else { "1 more: press p" };
        for words in ["CRITICAL DEAD is down", "WARNING  SLOW is ", "times slower", last] {
            let named = words.replace("DEAD", DEAD).replace("SLOW", SLOW).replace("DRAINING", DRAINING);
            assert!(top.contains(&named), "'{named}' is not at the top\n{}", lines.join("\n"));
        }
        // The worst is the first row, too.
        let head = lines.iter().position(|line| line.starts_with("WORKER")).unwrap();
        for (row, (worker, state)) in
            [(DEAD, "unhealthy"), (SLOW, "slow"), (DRAINING, "draining")].iter().enumerate()
        {
            let line = &lines[head + 1 + row];
            assert!(line.starts_with(worker) && line.contains(state), "{size:?}\n{}", lines.join("\n"));
        }
        assert!(lines.last().unwrap().starts_with("q quit   ? help"), "{}", lines.join("\n"));
    }
}

#[test]
fn small_screens_keep_what_matters() {
    for size in [(40, 10), (30, 6), (20, 4)] {
        let lines = screen(&view(Language::En), size);
        assert!(has(&lines, "CRITICAL"), "{size:?}\n{}", lines.join("\n"));
    }
    for size in [(10, 2), (3, 1), (1, 1)] {
        screen(&view(Language::En), size);
    }
}

#[test]
fn large_screen_has_the_other_parts_below() {
    let lines = screen(&view(Language::En), (120, 40));
    for words in [" Queue", " Decisions", "lowest_cost", "No request waits."] {
        assert!(has(&lines, words), "'{words}' is not in\n{}", lines.join("\n"));
    }
}

#[test]
fn chinese_is_measured() {
    let view = view(Language::Zh);
    let lines = screen(&view, (80, 24));
    let shown = lines.join("\n").replace(' ', "");
    for words in ["不可用", "正在排空", "状态", "决策", "退出"] {
        assert!(shown.contains(words), "'{words}' is not in\n{}", lines.join("\n"));
    }
    for line in plain::text(&view, 80).lines() {
        assert!(crate::terminal::columns(line) <= 80, "{line}");
    }
}

#[test]
fn nothing_from_outside_reaches_the_terminal_as_a_command() {
    let hostile = SNAPSHOT.replace(DEAD, "\\u001b]0;x\\u0007\\u009b2J\\u202e");
    let mut view = view(Language::En);
    view.replace(parsed(&hostile).unwrap());
    let text = plain::text(&view, 200) + &screen(&view, (120, 40)).join("\n");
    assert!(text.contains('\u{fffd}'), "{text}");
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
}

#[test]
fn colours_can_be_left_out_and_nothing_is_told_by_them_alone() {
    let shown = terminal(&view(Language::En), (80, 24), Colours::Shown);
    let left = terminal(&view(Language::En), (80, 24), Colours::Left);
    let cells = |terminal: &Terminal<TestBackend>| terminal.backend().buffer().content().to_vec();
    assert!(cells(&shown).iter().any(|cell| cell.fg == Color::LightRed));
    assert!(cells(&left).iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
    assert!(cells(&left).iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    let symbols = |terminal| cells(terminal).iter().map(|cell| cell.symbol().to_owned()).collect::<String>();
    assert_eq!(symbols(&shown), symbols(&left));
}

#[test]
fn router_that_is_away_is_told_with_the_age_of_what_is_shown() {
    let mut view = view(Language::En);
    view.link.lost = Some("connection refused".to_owned());
    view.link.age_secs = 42.0;
    let lines = screen(&view, (80, 24));
    assert!(lines[0].ends_with("NO CONNECTION"), "{}", lines[0]);
    let told = "NO CONNECTION Trying again. What follows is 42 s old. connection refused";
    assert!(has(&lines, told), "{}", lines.join("\n"));
    view.replace(parsed(SNAPSHOT).unwrap());
    assert!(!has(&screen(&view, (80, 24)), "NO CONNECTION"));
}

#[test]
fn another_process_has_other_workers_under_the_same_ids() {
    let mut view = view(Language::En);
    let columns = |view: &View| view.history.curve("0.1").trim_start().chars().count();
    let before = columns(&view);
    let mut restarted: Snapshot = parsed(SNAPSHOT).unwrap();
    restarted.router.started_at += 1.0;
    for _ in 0..20 {
        view.replace(view.now.clone());
    }
    assert_eq!((before, columns(&view)), (1, 5));
    view.replace(restarted);
    assert_eq!(columns(&view), 1);
}

#[test]
fn workers_are_filtered_sorted_and_shown_in_full() {
    let mut view = view(Language::En);
    let rows = |view: &View| -> Vec<String> {
        let shown = view.shown_workers();
        shown.iter().map(|row| row.name.replace("http://", "")).collect()
    };
    assert_eq!(rows(&view)[..3], [DEAD, SLOW, DRAINING]);
    type_keys(&mut view, &[KeyCode::Char('r')]);
    assert_eq!(rows(&view)[2..], [DRAINING, SLOW, DEAD]);
    type_keys(&mut view, &[KeyCode::Char('r'), KeyCode::Char('S')]);
    let mut names = rows(&view);
    names.sort();
    assert_eq!(rows(&view), names);
    type_keys(&mut view, &[KeyCode::Char('/')]);
    let filter: Vec<_> = SLOW[SLOW.len() - 5..].chars().map(KeyCode::Char).collect();
    type_keys(&mut view, &filter);
    assert!(has(&screen(&view, (80, 24)), &format!("/{}_", &SLOW[SLOW.len() - 5..])));
    type_keys(&mut view, &[KeyCode::Enter]);
    assert_eq!(rows(&view), [SLOW]);
    type_keys(&mut view, &[KeyCode::Enter]);
    let details = screen(&view, (80, 40));
    for words in [SLOW, "times slower than the others", "of the fleet's median", "healthy, slow", "weight"] {
        assert!(has(&details, words), "'{words}' is not in\n{}", details.join("\n"));
    }
    type_keys(&mut view, &[KeyCode::Esc, KeyCode::Esc]);
    assert_eq!(rows(&view).len(), 5);
    // A worker stays selected when others join before it.
    type_keys(&mut view, &[KeyCode::Char('j'), KeyCode::Char('j')]);
    let selected = view.worker.clone();
    view.order.is_reversed = true;
    let shown = view.shown_workers();
    assert_eq!(Some(&shown[view.worker_place(&shown)].id), selected.as_ref());
    type_keys(&mut view, &[KeyCode::Char('/'), KeyCode::Char('~')]);
    assert!(has(&screen(&view, (80, 24)), "No worker matches the filter."));
}

#[test]
fn decision_is_shown_with_the_cost_of_each_candidate() {
    let mut view = view(Language::En);
    type_keys(&mut view, &[KeyCode::Char('3'), KeyCode::Down, KeyCode::Down]);
    let newest: Vec<_> = view.now.decisions.iter().rev().cloned().collect();
    type_keys(&mut view, &[KeyCode::Enter]);
    let lines = screen(&view, (100, 40));
    for cost in &newest[2].costs {
        assert!(has(&lines, cost.worker.trim_start_matches("http://")), "{}", lines.join("\n"));
    }
    for words in
        [newest[2].request_id.as_str(), "chosen", "lowest cost", "predicted duration of this request"]
    {
        assert!(has(&lines, words), "'{words}' is not in\n{}", lines.join("\n"));
    }
    // The selected decision stays selected while new ones come.
    type_keys(&mut view, &[KeyCode::Esc]);
    view.now.decisions.remove(0);
    view.now.decisions.push(newest[0].clone());
    let shown = view.shown_decisions();
    assert_eq!(view.decision_place(&shown), 3);
}

#[test]
fn keys_open_close_and_quit() {
    let mut view = view(Language::En);
    type_keys(&mut view, &[KeyCode::Char('?')]);
    assert!(has(&screen(&view, (80, 24)), "Ctrl-C"));
    // What is scrolled to its end goes back with the next key.
    screen(&view, (80, 10));
    type_keys(&mut view, &[KeyCode::Char('G')]);
    let end = screen(&view, (80, 10));
    assert!(has(&end, "sgl-router workers"), "{}", end.join("\n"));
    type_keys(&mut view, &[KeyCode::Char('k')]);
    assert_ne!(screen(&view, (80, 10)), end);
    type_keys(&mut view, &[KeyCode::Esc, KeyCode::Char('p')]);
    assert!(has(&screen(&view, (80, 24)), " What is wrong"));
    type_keys(&mut view, &[KeyCode::Tab]);
    assert!(has(&screen(&view, (80, 24)), "SATURATION"));
    type_keys(&mut view, &[KeyCode::BackTab, KeyCode::BackTab]);
    assert!(
        has(&screen(&view, (80, 24)), "(--shadow-policies)") || has(&screen(&view, (80, 24)), "MEAN LATENCY")
    );
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(press(&mut view, control_c), AfterKey::Quit);
    assert_eq!(press(&mut view, KeyEvent::from(KeyCode::Char('q'))), AfterKey::Quit);
    type_keys(&mut view, &[KeyCode::Char('/'), KeyCode::Char('q')]);
    assert_eq!(view.filter.text, "q");
    assert_eq!(press(&mut view, control_c), AfterKey::Quit);
}

/// The workers of [`SNAPSHOT`].
const DEAD: &str = "127.0.0.1:30005";
const SLOW: &str = "127.0.0.1:30004";
const DRAINING: &str = "127.0.0.1:30003";
