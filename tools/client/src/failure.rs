//! How the program ends after a failure: a sentence for people and an exit code for scripts.

use std::io::{self, Write};

use lhttp::{Refusal, client::ClientError};

use crate::show::harmless;

/// A failure with its exit code; `--help` lists them.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: the server refused the message.
    Refused(String),
    /// 2: the command line, a command or a file is wrong.
    Usage(String),
    /// 3: there was no connection, or it was lost before the answer.
    Connection(String),
    /// 4: timed out.
    TimedOut(String),
    /// 141: nobody reads the output, or it cannot be written. A sentence would reach nobody.
    Output,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Connection(_) => 3,
            Self::TimedOut(_) => 4,
            // The code that a shell reports for a program that SIGPIPE has ended.
            Self::Output => 141,
        }
    }

    /// The sentence; empty if there is nothing to say.
    pub(crate) fn sentence(&self) -> &str {
        match self {
            Self::Refused(why) | Self::Usage(why) | Self::Connection(why) | Self::TimedOut(why) => why,
            Self::Output => "",
        }
    }

    /// The same failure without a sentence, because the sentence has been printed.
    pub(crate) fn said(self) -> Self {
        match self {
            Self::Refused(_) => Self::Refused(String::new()),
            Self::Usage(_) => Self::Usage(String::new()),
            Self::Connection(_) => Self::Connection(String::new()),
            Self::TimedOut(_) => Self::TimedOut(String::new()),
            Self::Output => Self::Output,
        }
    }

    /// The same failure, with its place in front of the sentence.
    pub(crate) fn at(self, place: &str) -> Self {
        let said = |why: String| format!("{place}: {why}");
        match self {
            Self::Refused(why) => Self::Refused(said(why)),
            Self::Usage(why) => Self::Usage(said(why)),
            Self::Connection(why) => Self::Connection(said(why)),
            Self::TimedOut(why) => Self::TimedOut(said(why)),
            Self::Output => Self::Output,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        // The server's text comes from the network.
        let why = harmless(&error.to_string());
        match error {
            ClientError::Refused(_) => Self::Refused(format!("the server refused it: {why}")),
            ClientError::TimedOut => Self::TimedOut(format!("{why}; whether the server has done it is not known")),
            ClientError::Lost(_) => Self::Connection(format!("{why}; whether the server has done it is not known")),
            ClientError::Config(_) | ClientError::Invalid(_) => Self::Usage(why),
            _ => Self::Connection(why),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::from(ClientError::Invalid(refusal))
    }
}

/// Writing to standard output failed.
impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Output
    }
}

/// Prints a line to standard error, which may be closed.
pub(crate) fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "lhttp: {text}");
}
