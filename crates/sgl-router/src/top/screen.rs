//! The terminal: it is taken, drawn to, and given back on every way out.

use super::connection::{Connection, News};
use super::frame;
use super::keys::{AfterKey, press};
use super::lines::without_colours;
use super::view::View;
use crate::error::CommandError;
use crate::router_client::RouterClientError;
use crate::runtime::{asked_to_stop, hang_ups};
use crossterm::cursor::{Hide, Show};
use crossterm::event::{Event, EventStream};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use futures_util::StreamExt as _;
use ratatui_core::terminal::{Frame, Terminal};
use ratatui_crossterm::CrosstermBackend;
use std::fmt::Display;
use std::io::{Stdout, stdout};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Ages are counted on so often while nothing comes.
const TICK: Duration = Duration::from_secs(1);

/// Whether the screen has colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colours {
    Shown,
    Left,
}

/// The terminal, which is given back when this is dropped.
struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    fn take() -> Result<Self, CommandError> {
        give_back_on_panic();
        enable_raw_mode().map_err(unusable)?;
        // From here on dropping it gives the terminal back.
        let mut screen = Self(Terminal::new(CrosstermBackend::new(stdout())).map_err(unusable)?);
        execute!(screen.0.backend_mut(), EnterAlternateScreen, Hide).map_err(unusable)?;
        Ok(screen)
    }

    fn draw(&mut self, view: &View, colours: Colours) -> Result<(), CommandError> {
        self.0.draw(|to| draw(to, view, colours)).map(|_| ()).map_err(unusable)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back. A failure cannot be told, because the terminal is gone.
fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// A panic gives the terminal back before it is told, or nobody would see what it says.
fn give_back_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        tell(panic);
    }));
}

fn unusable(error: impl Display) -> CommandError {
    CommandError::runtime(format_args!("the terminal cannot be used: {error}; --once needs none"))
}

/// Draws the view.
pub(super) fn draw(to: &mut Frame<'_>, view: &View, colours: Colours) {
    let area = to.area();
    let lines = frame::lines(view, area.width.into(), area.height.into());
    for (y, line) in (area.y..area.bottom()).zip(lines) {
        let line = if colours == Colours::Shown { line } else { without_colours(line) };
        to.buffer_mut().set_line(area.x, y, &line, area.width);
    }
}

/// Shows the view until the reader quits, the program is asked to stop, or the router refuses for good.
pub(super) async fn run(
    connection: Connection,
    mut view: View,
    colours: Colours,
) -> Result<(), CommandError> {
    let (tell, mut news) = mpsc::channel(1);
    let reader = tokio::spawn(read(connection, tell));
    let mut screen = Screen::take()?;
    let end = follow(&mut screen, &mut view, colours, &mut news).await;
    reader.abort();
    drop(screen);
    end
}

type ToldNews = Result<News, RouterClientError>;

/// Reads the stream on a task of its own, so that a key that is pressed interrupts nothing.
async fn read(mut connection: Connection, tell: mpsc::Sender<ToldNews>) {
    loop {
        let news = connection.next().await;
        let is_last = news.is_err();
        if tell.send(news).await.is_err() || is_last {
            return;
        }
    }
}

async fn follow(
    screen: &mut Screen,
    view: &mut View,
    colours: Colours,
    news: &mut mpsc::Receiver<ToldNews>,
) -> Result<(), CommandError> {
    let mut keys = EventStream::new();
    let mut hang_up = hang_ups()?;
    let stop = asked_to_stop();
    tokio::pin!(stop);
    let mut heard = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    loop {
        view.link.age_secs = heard.elapsed().as_secs_f64();
        screen.draw(view, colours)?;
        tokio::select! {
            told = news.recv() => match told {
                Some(Ok(News::Snapshot(now))) => {
                    view.replace(*now);
                    heard = Instant::now();
                }
                Some(Ok(News::Delta(delta))) => {
                    view.update(*delta);
                    heard = Instant::now();
                }
                Some(Ok(News::Lost(cause))) => view.link.lost = Some(cause),
                Some(Err(refused)) => return Err(refused.into()),
                None => return Err(CommandError::runtime("the stream is read no more")),
            },
            key = keys.next() => match key {
                Some(Ok(Event::Key(key))) => match press(view, key) {
                    AfterKey::Draw => {}
                    AfterKey::DrawAll => screen.0.clear().map_err(unusable)?,
                    AfterKey::Quit => return Ok(()),
                },
                // Drawing takes the new size.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(unusable(error)),
                None => return Ok(()),
            },
            _ = tick.tick() => {}
            _ = hang_up.recv() => return Ok(()),
            stopped = &mut stop => return stopped,
        }
    }
}
