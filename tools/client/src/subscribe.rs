//! `sub`: prints messages.

use std::{
    io::{self, BufWriter, Write},
    time::{Duration, Instant},
};

use lhttp::client::{Builder, Client, Event, Start};

use crate::{
    INBOX_MESSAGES_MAX,
    args::Sub,
    failure::{Failure, notice},
    presence::{self, Change},
    show::{self, harmless},
};

/// Without --timeout: the length of one wait for a message. Any time would do.
const FOR_EVER: Duration = Duration::from_secs(3600);

pub(crate) fn run(args: &Sub, client: Builder) -> Result<(), Failure> {
    let start = Instant::now();
    let mut client = client.connect()?;
    let since = args.since.join(" ");
    let from = if args.since.is_empty() { Start::default() } else { Start::since(&since) };
    let (channels, from) = (args.channels.join(" "), args.last.map_or(from, |last| from.or_last(last)));
    match &args.info {
        Some(info) => client.subscribe_with_info(&channels, info, from)?,
        None => client.subscribe_from(&channels, from)?,
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut printed = 0;
    while args.count.is_none_or(|count| printed < count) {
        let Some(event) = next(&mut client, &mut out, args.timeout.map(|timeout| (start, timeout)))? else {
            return match args.count {
                Some(count) => Err(Failure::TimedOut(format!("{printed} of {count} messages have come in time"))),
                None => Ok(()),
            };
        };
        if let Some(change) = Change::of(&event) {
            let form = if args.json { presence::change_json } else { presence::change_lines };
            if args.presence {
                out.write_all(form(&change).as_bytes())?;
            }
        } else if let Some(line) = print(event, args, &client)? {
            writeln!(out, "{line}")?;
            printed += 1;
        }
    }
    out.flush()?;
    // With --last the server says behind the messages what is lost.
    for _ in 0..INBOX_MESSAGES_MAX {
        match client.poll(Duration::ZERO) {
            Ok(Some(Event::MessagesLost { channel })) => notice(&show::lost_line(&channel)),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    // The server may be gone, but the work is done.
    let _ = client.close();
    Ok(())
}

/// The next event, or None when the time is over. The output is flushed before a wait, not after every line of a burst.
fn next(client: &mut Client, out: &mut impl Write, end: Option<(Instant, Duration)>) -> Result<Option<Event>, Failure> {
    loop {
        // Check the time first, because in a busy channel there is always one more message.
        let remaining = end.map_or(FOR_EVER, |(start, timeout)| timeout.saturating_sub(start.elapsed()));
        if remaining.is_zero() {
            out.flush()?;
            return Ok(None);
        }
        if let Some(event) = client.poll(Duration::ZERO)? {
            return Ok(Some(event));
        }
        out.flush()?;
        if let Some(event) = client.poll(remaining)? {
            return Ok(Some(event));
        }
    }
}

/// The line of a message. Other events go to standard error.
fn print(event: Event, args: &Sub, client: &Client) -> Result<Option<String>, Failure> {
    match event {
        Event::Message(message) if args.json => return Ok(Some(show::json(&message))),
        Event::Message(message) if args.id => return Ok(Some(show::line_with_id(&message))),
        Event::Message(message) => return Ok(Some(show::line(&message))),
        Event::Raw(payload) if args.json => return Ok(Some(show::raw_json(&payload))),
        Event::Raw(payload) if args.id => return Ok(Some(format!("- {}", show::raw_line(&payload)))),
        Event::Raw(payload) => return Ok(Some(show::raw_line(&payload))),
        Event::MessagesLost { channel } => notice(&show::lost_line(&channel)),
        Event::State(state) => notice(&show::state_line(&state)),
        Event::TokenEnding => notice(show::TOKEN_ENDING),
        Event::TokenNotRenewed(refusal) => notice(&show::not_renewed_line(&refusal)),
        Event::Refused(refusal) => notice(&format!("refused: {}", harmless(&refusal.to_string()))),
        Event::SubscriptionLost { channel, refusal } => {
            let why = format!("the server took {channel} no more: {}", harmless(&refusal.to_string()));
            if client.subscriptions().next().is_none() {
                return Err(Failure::Refused(why));
            }
            notice(&why);
        }
        _ => {}
    }
    Ok(None)
}
