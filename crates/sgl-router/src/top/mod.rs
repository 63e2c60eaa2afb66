//! `sgl-router top`: what a running router and its fleet do now, and what is wrong, in a terminal.
//!
//! It reads the stream of `GET /v1/live` and changes nothing.
//!
//! ```text
//! screen  plain                      the terminal; one frame as text
//!   keys  frame                      what keys do; the whole screen as lines
//!     problems fleet queue           one part each
//!       decisions shadows
//!       view                         what is shown, and what is chosen of it
//!         order  history             which workers, in which order; curves
//!         figures  lines  language   numbers; columns and looks; words
//! connection  events                 the stream
//! ```

mod connection;
mod decisions;
mod events;
mod figures;
mod fleet;
mod frame;
mod history;
mod keys;
mod language;
mod lines;
mod order;
mod plain;
mod problems;
mod queue;
mod screen;
mod shadows;
#[cfg(test)]
mod tests;
mod view;

use crate::error::CommandError;
use crate::router_client::{RouterArgs, RouterClient, RouterClientError};
use crate::runtime::block_on_one;
use crate::terminal::{COLUMNS, say};
use clap::Args;
use connection::{Connection, News};
use language::Language;
use screen::Colours;
use std::io::IsTerminal as _;
use view::View;

/// The flags of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    router: RouterArgs,

    /// Print one frame as plain text and end; so it does, too, where the output is no terminal
    #[arg(long)]
    once: bool,

    /// With --once: watch for so long first; rates and times to the first token are those of that time, or of the last minute where
    /// somebody else has watched for longer
    #[arg(long, value_name = "SECS", default_value_t = 5.0, value_parser = watched_secs)]
    watch_secs: f64,

    /// With --once: columns of the frame. Default: those of the terminal, or 80
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(40..))]
    width: Option<u16>,

    /// Language. Default: that of LC_ALL, LC_MESSAGES or LANG
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Option<Language>,

    /// Show no colours; so it does, too, where NO_COLOR is set
    #[arg(long)]
    no_color: bool,
}

/// The longest time that rates are of.
const WINDOW_SECS: f64 = 60.0;

fn watched_secs(text: &str) -> Result<f64, String> {
    let secs: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if (0.0..=WINDOW_SECS).contains(&secs) { Ok(secs) } else { Err(format!("expected 0 to {WINDOW_SECS}")) }
}

pub(crate) fn run(args: &TopArgs) -> Result<(), CommandError> {
    let client = RouterClient::new(&args.router)?;
    let url = client.url();
    let language = args.lang.unwrap_or_else(|| Language::of_environment(variable));
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let colours = if args.no_color || is_set("NO_COLOR") { Colours::Left } else { Colours::Shown };
    let is_dumb = variable("TERM").is_some_and(|terminal| terminal == "dumb");
    let is_once = args.once || is_dumb || !std::io::stdout().is_terminal();
    block_on_one(async {
        let mut connection = Connection::open(client).await.map_err(explained)?;
        let first = match connection.next().await.map_err(explained)? {
            News::Snapshot(now) => *now,
            News::Delta(_) => return Err(CommandError::runtime("the stream began without a snapshot")),
            News::Lost(cause) => return Err(plain::lost(&url, &cause)),
        };
        let mut view = View::new(url, language, first);
        if is_once {
            plain::watch(&mut connection, &mut view, args.watch_secs).await?;
            say(plain::text(&view, width(args)));
            return Ok(());
        }
        screen::run(connection, view, colours).await
    })
}

/// What the environment says of the terminal: its language, its kind, and whether it shall have colours.
#[allow(
    clippy::disallowed_methods,
    reason = "this is how terminals are described; the router is not configured by it"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The columns of a frame of plain text.
fn width(args: &TopArgs) -> usize {
    let of_terminal = || {
        let size = crossterm::terminal::size().ok().filter(|_| std::io::stdout().is_terminal());
        size.map(|(columns, _)| columns).filter(|columns| *columns > 0)
    };
    args.width.or_else(of_terminal).map_or(COLUMNS, usize::from)
}

/// With what may be the matter where the router has no such stream.
fn explained(error: RouterClientError) -> CommandError {
    if error.is_not_found() {
        return CommandError::runtime(format_args!(
            "{error}; `top` needs a router of this version, started without --no-dashboard"
        ));
    }
    error.into()
}
