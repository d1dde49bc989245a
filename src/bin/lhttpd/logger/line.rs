//! A line of the log, as text or as a JSON object.

use std::{
    fmt::{self, Display, Write},
    time::SystemTime,
};

use clap::ValueEnum;
use lhttp::OneLine;
use log::Level;
use serde::{Serialize, Serializer, ser::SerializeMap};

/// A longer message is cut.
pub(super) const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// The end of a message that is cut.
const CUT: &str = "... (cut)";

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// `[2026-08-01T12:00:00Z INFO  lhttpd] stopped`
    #[default]
    Text,
    /// `{"time":"2026-08-01T12:00:00.000Z","level":"info","target":"lhttpd","message":"stopped"}`
    Json,
}

/// A line of the log.
pub(super) struct Line<'a> {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) target: &'a str,
    /// What happened, in words. Names of strangers may be in it.
    pub(super) message: &'a dyn Display,
    /// The numbers in the message, by name.
    pub(super) counters: &'a [(&'static str, u64)],
}

impl Line<'_> {
    /// The line, with the line feed at its end.
    pub(super) fn bytes(&self, format: Format) -> Vec<u8> {
        let line = match format {
            Format::Text => self.text(),
            // A map of texts and numbers is JSON.
            Format::Json => serde_json::to_string(self).unwrap_or_default(),
        };
        (line + "\n").into_bytes()
    }

    fn text(&self) -> String {
        let (time, target) = (humantime::format_rfc3339_seconds(self.time), OneLine(self.target));
        format!("[{time} {:<5} {target}] {}", self.level, one_line(self.message))
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("time", &humantime::format_rfc3339_millis(self.time).to_string())?;
        object.serialize_entry("level", &self.level.as_str().to_ascii_lowercase())?;
        object.serialize_entry("target", &one_line(&self.target))?;
        object.serialize_entry("message", &one_line(self.message))?;
        if !self.counters.is_empty() {
            object.serialize_entry("counters", &Counters(self.counters))?;
        }
        object.end()
    }
}

/// An object of numbers.
struct Counters<'a>(&'a [(&'static str, u64)]);

impl Serialize for Counters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// The text on one line, cut if it is long. [`OneLine`] escapes what strangers have put into it.
pub(super) fn one_line(text: &dyn Display) -> String {
    let mut short = Short(String::new());
    if write!(short, "{}", OneLine(text)).is_err() {
        short.0.push_str(CUT);
    }
    short.0
}

/// Takes so much text, and then fails.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MESSAGE_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    fn line<'a>(message: &'a dyn Display, counters: &'a [(&'static str, u64)]) -> Line<'a> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_785_585_600_042);
        Line { time, level: Level::Info, target: "lhttpd::summary", message, counters }
    }

    fn written(line: &Line<'_>, format: Format) -> String {
        let bytes = line.bytes(format);
        let text = String::from_utf8(bytes).expect("a line is UTF-8");
        let text = text.strip_suffix('\n').expect("it ends").to_owned();
        assert!(!text.contains('\n'), "{text:?}");
        text
    }

    #[test]
    fn a_line_is_text_or_one_json_object() {
        let line = line(&"2 \"quoted\" C:\\x", &[("refused", 2), ("log_dropped", u64::MAX)]);
        let text = "[2026-08-01T12:00:00Z INFO  lhttpd::summary] 2 \"quoted\" C:\\x";
        assert_eq!(written(&line, Format::Text), text);
        let json = "{\"time\":\"2026-08-01T12:00:00.042Z\",\"level\":\"info\",\"target\":\"lhttpd::summary\",\
            \"message\":\"2 \\\"quoted\\\" C:\\\\x\",\"counters\":{\"refused\":2,\"log_dropped\":18446744073709551615}}";
        assert_eq!(written(&line, Format::Json), json);
        assert!(!written(&self::line(&"", &[]), Format::Json).contains("counters"));
    }

    #[test]
    fn a_line_of_json_is_valid_and_escaped_with_every_character() {
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        for some in all.chunks(512) {
            let message: String = some.iter().collect();
            let text = written(&line(&message, &[]), Format::Json);
            assert!(
                !text.chars().any(|char| char.is_control() || "\u{2028}\u{202e}\u{feff}".contains(char)),
                "{text:?}"
            );
            let read: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(read["message"], OneLine(&message).to_string());
        }
    }

    #[test]
    fn a_long_message_is_cut_and_its_line_is_still_valid() {
        let long = "\n\"é\u{202e}".repeat(10 * MESSAGE_BYTES_MAX);
        for format in [Format::Text, Format::Json] {
            let text = written(&line(&long, &[]), format);
            assert!(text.len() < 2 * MESSAGE_BYTES_MAX + 256 && text.contains(CUT), "{}", text.len());
        }
        let read: Value = serde_json::from_str(&written(&line(&long, &[]), Format::Json)).expect("JSON");
        let message = read["message"].as_str().expect("a text");
        assert!(message.ends_with(CUT) && message.len() <= MESSAGE_BYTES_MAX + CUT.len(), "{}", message.len());
    }
}
