//! Parses the lines of the chat.

use std::{path::PathBuf, time::Duration};

use lhttp::config::parse_duration;

use crate::show::unescape;

pub(super) const HELP: &str = "\
TEXT                  publishes TEXT to the current room; //TEXT publishes /TEXT
/sub ROOM…            subscribes to rooms or patterns such as logs.>; the last
                      room that is no pattern becomes the current one
/unsub [ROOM…]        ends subscriptions; without ROOM that of the current room
/who [ROOM]           shows who is in ROOM, or in the current room
/pub ROOM TEXT        publishes TEXT to ROOM
/upload FILE…         publishes files to the current room: one multipart message
                      with a part for each
/upstream METHOD URL  lets the server send an HTTP request; shows the answer
/raw TEXT             sends TEXT as it is, as one WebSocket message, in which
                      \\r \\n \\t \\0 \\\\ \\xHH stand for bytes
/wait TIME            shows messages for so long before the next command; for
                      scripts
/help                 shows this
/quit                 ends, as the end of the input does
";

/// A command for the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChatCommand {
    Subscribe(String),
    Unsubscribe(String),
    Who(String),
    Publish { room: String, text: String },
    Upload { room: String, files: Vec<PathBuf> },
    Upstream(String),
    Raw(Vec<u8>),
    Wait(Duration),
}

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ParsedLine {
    Command(ChatCommand),
    Help,
    Quit,
    /// An empty line.
    Nothing,
}

/// Reads lines, and remembers the current room.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    room: Option<String>,
}

impl LineReader {
    /// The room of plain lines.
    pub(super) fn room(&self) -> Option<&str> {
        self.room.as_deref()
    }

    /// # Errors
    /// One sentence about the error in the line.
    pub(super) fn read(&mut self, line: &str) -> Result<ParsedLine, String> {
        let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
            let text = line.strip_prefix('/').unwrap_or(line);
            if text.trim().is_empty() {
                return Ok(ParsedLine::Nothing);
            }
            let room = self.current()?;
            return Ok(ParsedLine::Command(ChatCommand::Publish { room, text: text.to_owned() }));
        };
        let (word, rest) = command.split_once([' ', '\t']).unwrap_or((command, ""));
        let rest = rest.trim();
        let command = match word {
            "help" => return Ok(ParsedLine::Help),
            "quit" => return Ok(ParsedLine::Quit),
            "sub" => self.subscribe(rest)?,
            "who" if rest.is_empty() => ChatCommand::Who(self.current()?),
            "who" => ChatCommand::Who(rest.to_owned()),
            "unsub" => self.unsubscribe(rest)?,
            "pub" => match rest.split_once([' ', '\t']) {
                Some((room, text)) => {
                    ChatCommand::Publish { room: room.to_owned(), text: text.trim_start().to_owned() }
                }
                None => return Err("write /pub ROOM TEXT".to_owned()),
            },
            "upload" => ChatCommand::Upload { room: self.current()?, files: files(rest)? },
            "upstream" if rest.split_whitespace().count() == 2 => ChatCommand::Upstream(rest.to_owned()),
            "upstream" => return Err("write /upstream METHOD URL, such as /upstream GET http://127.0.0.1/".to_owned()),
            "raw" => ChatCommand::Raw(unescape(rest)?),
            "wait" => ChatCommand::Wait(parse_duration(rest)?),
            _ => return Err(format!("there is no /{word}; /help lists what there is")),
        };
        Ok(ParsedLine::Command(command))
    }

    fn current(&self) -> Result<String, String> {
        self.room.clone().ok_or_else(|| "there is no current room yet: write /sub ROOM first".to_owned())
    }

    fn subscribe(&mut self, rooms: &str) -> Result<ChatCommand, String> {
        // A pattern cannot be published to.
        let is_room = |name: &&str| !name.split('.').any(|token| token == "*" || token == ">");
        if rooms.is_empty() {
            return Err("write /sub ROOM".to_owned());
        }
        if let Some(room) = rooms.split_whitespace().rfind(is_room) {
            self.room = Some(room.to_owned());
        }
        Ok(ChatCommand::Subscribe(rooms.to_owned()))
    }

    fn unsubscribe(&mut self, rooms: &str) -> Result<ChatCommand, String> {
        let rooms = if rooms.is_empty() { self.current()? } else { rooms.to_owned() };
        if self.room.as_ref().is_some_and(|room| rooms.split_whitespace().any(|name| name == room)) {
            self.room = None;
        }
        Ok(ChatCommand::Unsubscribe(rooms))
    }
}

/// Names of files, separated as in a shell: `"a b"` and `a\ b` are one.
fn files(text: &str) -> Result<Vec<PathBuf>, String> {
    match shlex::split(text) {
        Some(names) if !names.is_empty() => Ok(names.into_iter().map(PathBuf::from).collect()),
        Some(_) => Err("write /upload FILE…".to_owned()),
        None => Err("a quotation mark is not closed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(room: &str, text: &str) -> Result<ParsedLine, String> {
        Ok(ParsedLine::Command(ChatCommand::Publish { room: room.to_owned(), text: text.to_owned() }))
    }

    #[test]
    fn plain_lines_go_to_the_last_room_that_was_subscribed_to() {
        let mut reader = LineReader::default();
        assert!(reader.read("hello").unwrap_err().contains("/sub"));
        let subscribed = reader.read("/sub a  b logs.>").unwrap();
        assert_eq!(subscribed, ParsedLine::Command(ChatCommand::Subscribe("a  b logs.>".to_owned())));
        assert_eq!(reader.read(" hello "), publish("b", " hello "));
        assert_eq!(reader.read("//etc"), publish("b", "/etc"));
        assert_eq!(reader.read("/who"), Ok(ParsedLine::Command(ChatCommand::Who("b".to_owned()))));
        assert_eq!(reader.read("/who a "), Ok(ParsedLine::Command(ChatCommand::Who("a".to_owned()))));
        assert_eq!(reader.read("/sub *"), Ok(ParsedLine::Command(ChatCommand::Subscribe("*".to_owned()))));
        assert_eq!(reader.read("/pub c  x y "), publish("c", "x y"));
        assert_eq!(reader.room(), Some("b"));
        assert_eq!(reader.read("/unsub"), Ok(ParsedLine::Command(ChatCommand::Unsubscribe("b".to_owned()))));
        assert!(reader.read("hello").is_err() && reader.read("/unsub").is_err());
    }

    #[test]
    fn errors_are_reported() {
        let mut reader = LineReader::default();
        for line in [
            "/sub",
            "/who",
            "/pub",
            "/pub a",
            "/upload",
            "/upload a",
            "/upstream GET",
            "/raw \\q",
            "/wait x",
            "/x",
            "/",
        ] {
            assert!(reader.read(line).is_err(), "{line}");
        }
        assert_eq!([reader.read(""), reader.read("  ")], [Ok(ParsedLine::Nothing), Ok(ParsedLine::Nothing)]);
        assert_eq!([reader.read("/help"), reader.read("/quit")], [Ok(ParsedLine::Help), Ok(ParsedLine::Quit)]);
    }

    #[test]
    fn files_are_named_as_in_a_shell() {
        let names = |text| files(text).unwrap();
        assert_eq!(names(r#"a "b c"  d\ e 'f"g'"#), ["a", "b c", "d e", "f\"g"].map(PathBuf::from));
        assert!(files("  ").is_err() && files("a \"b").is_err());
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert_eq!(HELP.lines().find(|line| line.chars().count() > 80), None);
    }

    #[test]
    fn the_help_lists_every_command() {
        for word in ["/sub", "/unsub", "/who", "/pub", "/upload", "/upstream", "/raw", "/wait", "/help", "/quit"] {
            assert!(HELP.lines().any(|line| line.starts_with(&format!("{word} "))), "{word}");
        }
    }
}
