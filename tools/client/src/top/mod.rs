//! `top`: the figures of a server's page for operators, in a terminal.

mod ask;
mod figures;
mod screen;
mod terminal;

use std::{
    env,
    io::{self, IsTerminal, Write},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use self::{ask::Asker, figures::Figures, terminal::Terminal};
use crate::{args::Top, failure::Failure, show::harmless_json};

/// The environment variable with the key of the server.
const ADMIN_KEY: &str = "LHTTP_ADMIN_KEY";
/// The time between two looks, of which rates are made.
const EVERY: Duration = Duration::from_secs(1);
/// The size of a terminal that does not tell its own.
const SIZE: (usize, usize) = (80, 24);

pub(crate) fn run(args: &Top, ca: Option<&std::path::Path>) -> Result<(), Failure> {
    let key = match env::var(ADMIN_KEY) {
        Ok(key) => Some(key),
        Err(env::VarError::NotPresent) => None,
        Err(env::VarError::NotUnicode(_)) => return Err(Failure::Usage(format!("{ADMIN_KEY} is not UTF-8"))),
    };
    let asker = Asker::new(&args.url, key.as_deref(), ca)?;
    let first = asker.status()?;
    if args.json || args.once || !io::stdout().is_terminal() {
        return print(args, &asker, first);
    }
    watch(&asker, first)
}

/// Prints one look, or one after the other as lines of JSON.
fn print(args: &Top, asker: &Asker, mut last: Value) -> Result<(), Failure> {
    loop {
        wait_until(Instant::now() + EVERY);
        let (next, top) = (asker.status()?, asker.top()?);
        let figures = Figures::between(&last, &next, &top).map_err(Failure::Connection)?;
        let mut out = io::stdout().lock();
        if args.json {
            writeln!(out, "{}", harmless_json(&figures.json().to_string()))?;
        } else {
            // Not for a screen: it may be as long as it is.
            let lines = screen::lines(&figures, asker.place(), (SIZE.0, usize::MAX));
            lines.iter().try_for_each(|line| writeln!(out, "{}", line.text()))?;
        }
        out.flush()?;
        if args.once || !args.json {
            return Ok(());
        }
        last = next;
    }
}

/// Shows the figures until the user has seen enough.
fn watch(asker: &Asker, mut last: Value) -> Result<(), Failure> {
    let mut terminal = Terminal::open()?;
    let mut shown = vec![screen::Line::plain(format!("{}: one moment…", asker.place()))];
    loop {
        terminal.show(&shown)?;
        if terminal.wait_for_end(EVERY)? {
            return Ok(());
        }
        let size = terminal.size().unwrap_or(SIZE);
        let looked = asker.status().and_then(|next| Ok((asker.top()?, next)));
        match looked.and_then(|(top, next)| {
            let figures = Figures::between(&last, &next, &top).map_err(Failure::Connection)?;
            Ok((figures, next))
        }) {
            Ok((figures, next)) => {
                shown = screen::lines(&figures, asker.place(), size);
                last = next;
            }
            // The server may come back.
            Err(failure) => shown[0] = screen::Line::loud(failure.sentence().to_owned()),
        }
    }
}

fn wait_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}
