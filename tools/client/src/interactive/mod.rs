//! The chat: reads lines from a person at a terminal or from a script, and carries them out.
//!
//! It has two threads: this one reads lines, and the other one owns the connection (`network`). A bounded channel
//! connects them.

mod command;
mod network;
mod terminal;

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
};

use lhttp::client::{Builder, Client};

use self::{
    command::{ChatCommand, HELP, LineReader, ParsedLine},
    network::Network,
};
use crate::{
    failure::{Failure, notice},
    input::lines,
};

/// Commands that wait for the server. When the queue is full, a script waits, and a person gets a message.
const COMMANDS_MAX: usize = 64;

/// The output for the user: messages, and remarks of the program itself.
pub(crate) trait Screen: Send {
    /// A message from the server.
    ///
    /// # Errors
    /// Nobody reads the output any more.
    fn message(&mut self, line: &str) -> io::Result<()>;

    /// The result of a command, or a change of the connection.
    ///
    /// # Errors
    /// Nobody reads the output any more.
    fn remark(&mut self, line: &str) -> io::Result<()>;
}

pub(crate) fn run(url: &str, client: Builder) -> Result<(), Failure> {
    let client = client.connect()?;
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        terminal::run(url, client)
    } else {
        run_script(client)
    }
}

/// Messages go to standard output, remarks to standard error.
struct Plain;

impl Screen for Plain {
    fn message(&mut self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    fn remark(&mut self, line: &str) -> io::Result<()> {
        notice(line);
        Ok(())
    }
}

/// Carries out the lines of standard input, one after the other. Goes on after a line that fails, and ends with the
/// first failure.
fn run_script(client: Client) -> Result<(), Failure> {
    let (commands, received) = mpsc::sync_channel(COMMANDS_MAX);
    // Reading blocks, so this thread is the one that is left behind when nobody reads the output any more.
    thread::spawn(move || read_script(&commands));
    Network::new(client, Plain, Arc::new(AtomicBool::new(true))).run(&received)
}

fn read_script(commands: &SyncSender<Result<ChatCommand, Failure>>) {
    let mut reader = LineReader::default();
    for (number, line) in (1_u64..).zip(lines()) {
        let wish = line.and_then(|line| {
            let line = String::from_utf8(line).map_err(|_| Failure::Usage("it is not UTF-8".to_owned()))?;
            reader.read(line.trim_end_matches('\r')).map_err(Failure::Usage)
        });
        let command = match wish {
            Ok(ParsedLine::Nothing) => continue,
            Ok(ParsedLine::Quit) => return,
            Ok(ParsedLine::Help) => {
                let _ = io::stderr().write_all(HELP.as_bytes());
                continue;
            }
            Ok(ParsedLine::Command(command)) => Ok(command),
            Err(failure) => Err(failure.at(&format!("line {number}"))),
        };
        if commands.send(command).is_err() {
            return;
        }
    }
}

/// Whether the connection is open, for the prompt.
fn is_open(open: &AtomicBool) -> bool {
    open.load(Ordering::Relaxed)
}
