//! `pub`: publishes a text, a file, or lines.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use lhttp::{
    Message,
    client::{Builder, Client, Event},
};

use crate::{
    args::Pub,
    failure::{Failure, notice},
    input, show,
};

/// Lines that are read ahead of the acknowledgements.
const LINES_AHEAD_MAX: usize = 16;

/// How often the client answers the server's pings while no line comes. lhttpd pings after 25 s.
const PING_ANSWER_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &Pub, client: Builder) -> Result<(), Failure> {
    let mut message = Message::new(&args.command)?;
    for (name, value) in &args.header {
        message.add_header(name, value)?;
    }
    let body = match (&args.text, &args.file) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(file)) if file.as_os_str() == "-" => Some(input::read_stdin()?),
        (None, Some(file)) => Some(input::read_file(file)?),
        (None, None) => None,
    };
    let mut client = client.timeout(args.timeout).connect()?;
    match body {
        Some(body) => drop(client.publish(&args.channel, message.body(body))?),
        None => publish_lines(&mut client, &args.channel, &message)?,
    }
    // Everything was acknowledged, so the way in which the connection ends does not matter.
    let _ = client.close();
    Ok(())
}

fn publish_lines(client: &mut Client, channel: &str, message: &Message) -> Result<(), Failure> {
    let (sender, lines) = mpsc::sync_channel(LINES_AHEAD_MAX);
    // The thread ends with standard input, or with the process.
    thread::spawn(move || input::lines().all(|line| sender.send(line).is_ok()));
    let mut number = 0_u64;
    while let Some(line) = next_line(client, &lines)? {
        number += 1;
        let published = line.and_then(|line| Ok(client.publish(channel, message.clone().body(line))?));
        published.map_err(|failure| failure.at(&format!("line {number}")))?;
    }
    Ok(())
}

/// The next line, once it comes. Until then this function keeps the connection alive.
fn next_line(client: &mut Client, lines: &Receiver<Line>) -> Result<Option<Line>, Failure> {
    loop {
        // A refusal here belongs to no message of this program, and other events do not matter; but they must not fill
        // the inbox.
        while let Some(event) = client.poll(Duration::ZERO)? {
            match event {
                Event::State(state) => notice(&show::state_line(&state)),
                Event::TokenEnding => notice(show::TOKEN_ENDING),
                Event::TokenNotRenewed(refusal) => notice(&show::not_renewed_line(&refusal)),
                _ => {}
            }
        }
        match lines.recv_timeout(PING_ANSWER_INTERVAL) {
            Ok(line) => return Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// A line without its end, or the reason why it cannot be read.
type Line = Result<Vec<u8>, Failure>;
