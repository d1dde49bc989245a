//! `lhttp`: LHTTP from the command line. README.md in this folder is its manual. This is a library only so that the
//! program can have two names.

mod args;
mod failure;
mod identity;
mod input;
mod interactive;
mod presence;
mod publish;
mod show;
mod subscribe;
mod token;
mod top;

use std::process::ExitCode;

use clap::Parser;
use lhttp::client::{Builder, Client};

use self::{
    args::{Args, Command},
    failure::{Failure, notice},
};

/// The most bytes that may wait to be sent: the longest body, and a head far longer than servers accept.
const OUTBOX_BYTES_MAX: usize = input::BODY_BYTES_MAX + (1 << 20);

/// The most messages that may wait to be shown.
const INBOX_MESSAGES_MAX: usize = 10_000;

/// Carries out the command line of this process, and returns the exit code.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let mut client = Client::builder(&args.url)
        .connect_timeout(args.connect_timeout)
        .outbox_bytes_max(OUTBOX_BYTES_MAX)
        .inbox_messages_max(INBOX_MESSAGES_MAX);
    if let Some(file) = &args.ca {
        client = client.ca_file(file);
    }
    match identity::with_token(client, &args).and_then(|client| run(&args, client)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.sentence().is_empty() {
                notice(failure.sentence());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: &Args, client: Builder) -> Result<(), Failure> {
    match &args.command {
        Some(Command::Sub(sub)) => subscribe::run(sub, client),
        Some(Command::Presence(presence)) => presence::run(presence, client),
        Some(Command::Pub(publish)) => publish::run(publish, client),
        Some(Command::Token(token)) => token::run(token),
        Some(Command::Top(top)) => top::run(top, args.ca.as_deref()),
        None => interactive::run(&args.url, client),
    }
}
