//! The message that a program builds or changes.

use std::collections::HashSet;

use crate::{
    error::{Reason, Refusal},
    protocol::{
        message::{Head, HeadLimits, VERSION, is_command, is_lhttp, is_name, is_value_byte},
        multipart::{self, Part},
    },
};

/// An LHTTP message (PROTOCOL.md §1): one that a program builds to answer or publish, or one that a client receives.
///
/// Every setter refuses invalid content, so a `Message` can always be sent.
///
/// ```
/// # fn main() -> Result<(), lhttp::Refusal> {
/// let message = lhttp::Message::new("chat")?.header("content-type", "json")?.body("{}");
/// assert_eq!(message.encode(), b"LHTTP/1.0 chat\r\ncontent-type:json\r\n\r\n{}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    command: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    /// A message with this command, no headers and an empty body.
    ///
    /// # Errors
    /// `bad-start-line` when the command is not 1 to 64 visible ASCII characters.
    pub fn new(command: impl Into<String>) -> Result<Self, Refusal> {
        let mut message = Self { command: String::new(), headers: Vec::new(), body: Vec::new() };
        message.set_command(command)?;
        Ok(message)
    }

    /// Parses a message from its bytes on the wire. Costs an allocation for each header.
    ///
    /// ```
    /// # fn main() -> Result<(), lhttp::Refusal> {
    /// let message = lhttp::Message::parse(b"LHTTP/1.0 chat\r\npublish:room\r\n\r\nhi")?;
    /// assert_eq!((message.command(), message.header_value("Publish"), message.body_bytes()), ("chat", Some("room"), &b"hi"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `not-lhttp`, `bad-start-line`, `bad-header`: PROTOCOL.md §1. The only limit is the number of bytes given.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if !is_lhttp(bytes) {
            return Err(Refusal::because(Reason::NotLhttp, "the message does not start with \"LHTTP/1.0\""));
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err(Refusal::because(Reason::MessageTooBig, "a message has less than 4 GiB"));
        }
        let mut head = Head::default();
        head.parse(bytes, false, HeadLimits { head_bytes_max: bytes.len(), headers_max: usize::MAX })?;
        // The head is UTF-8, so this replaces nothing.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self {
            command: text(head.command(bytes)),
            headers: head.headers(bytes).map(|(name, value)| (text(name), text(value))).collect(),
            body: head.body(bytes).to_vec(),
        })
    }

    /// The same message with one more header.
    ///
    /// # Errors
    /// `bad-header`, see [`Message::add_header`].
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self, Refusal> {
        self.add_header(name, value)?;
        Ok(self)
    }

    /// The same message with this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.set_body(body);
        self
    }

    /// Replaces the command.
    ///
    /// # Errors
    /// `bad-start-line` when it is not 1 to 64 visible ASCII characters. The old command stays.
    pub fn set_command(&mut self, command: impl Into<String>) -> Result<(), Refusal> {
        let command = command.into();
        if !is_command(command.as_bytes()) {
            return Err(Refusal::because(Reason::BadStartLine, "a command is 1 to 64 visible ASCII characters"));
        }
        self.command = command;
        Ok(())
    }

    /// Adds a header behind the others.
    ///
    /// # Errors
    /// `bad-header` when the name is not 1 to 64 token characters (RFC 9110 §5.6.2) or the value has a control
    /// character.
    pub fn add_header(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<(), Refusal> {
        let (name, value) = (name.into(), value.into());
        if !is_name(name.as_bytes()) {
            return Err(Refusal::because(Reason::BadHeader, "a header's name is 1 to 64 token characters"));
        }
        if !value.bytes().all(is_value_byte) {
            return Err(Refusal::because(Reason::BadHeader, "a header's value has a control character"));
        }
        self.headers.push((name, value));
        Ok(())
    }

    /// Replaces the first header of this name, in any case, and removes all others of the name. Without such a header,
    /// adds it.
    ///
    /// # Errors
    /// `bad-header`, see [`Message::add_header`]; then nothing changes.
    pub fn set_header(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<(), Refusal> {
        self.add_header(name, value)?;
        let added = self.headers.pop().expect("it was just added");
        match self.headers.iter().position(|(name, _)| name.eq_ignore_ascii_case(&added.0)) {
            Some(first) => {
                let mut at = 0;
                self.headers.retain(|(name, _)| {
                    at += 1;
                    at <= first + 1 || !name.eq_ignore_ascii_case(&added.0)
                });
                self.headers[first] = added;
            }
            None => self.headers.push(added),
        }
        Ok(())
    }

    /// Removes all headers of this name, in any case. Returns whether there was one.
    pub fn remove_header(&mut self, name: &str) -> bool {
        let before = self.headers.len();
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.len() < before
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl Into<Vec<u8>>) {
        self.body = body.into();
    }

    /// The message as it goes over the wire, without the WebSocket frame around it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_to(&mut out);
        out
    }

    /// The length of the result of [`Message::encode`], in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + 3).sum::<usize>();
        VERSION.len() + 1 + self.command.len() + 4 + headers + self.body.len()
    }

    /// The command.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// The headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of the first header of this name, in any case.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The channels that the message is published to: those of all its `publish` headers, each once, in order.
    ///
    /// ```
    /// # fn main() -> Result<(), lhttp::Refusal> {
    /// let message = lhttp::Message::parse(b"LHTTP/1.0 chat\r\npublish:room logs\r\npublish:news room\r\n\r\nhi")?;
    /// assert_eq!(message.channels().collect::<Vec<_>>(), ["room", "logs", "news"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        let mut seen = HashSet::new();
        let names = self.header_values("publish").flat_map(|value| value.split([' ', '\t']));
        names.filter(move |name| !name.is_empty() && seen.insert(*name))
    }

    /// The values of all headers of this name, in any case.
    fn header_values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Appends a part to a multipart body (PROTOCOL.md §4), and its offset to the `multipart` header. The first part
    /// adds that header. Earlier content of the body stays in front of the parts.
    ///
    /// ```
    /// # fn main() -> Result<(), lhttp::Refusal> {
    /// let mut message = lhttp::Message::new("upload")?;
    /// message.add_part(&[("filename", "a.txt")], b"one")?;
    /// message.add_part(&[], b"two")?;
    /// assert_eq!(message.encode(), b"LHTTP/1.0 upload\r\nmultipart:0 21\r\n\r\nfilename:a.txt\r\n\r\none\r\ntwo");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `bad-header`, see [`Message::add_header`]; then nothing changes.
    pub fn add_part(&mut self, headers: &[(&str, &str)], body: &[u8]) -> Result<(), Refusal> {
        // A message with these headers and no start line is a part.
        let mut part = Self::new("part")?;
        for &(name, value) in headers {
            part.add_header(name, value)?;
        }
        let start = self.body.len();
        let offsets = match self.header_value("multipart") {
            Some(offsets) => format!("{offsets} {start}"),
            None => start.to_string(),
        };
        self.set_header("multipart", offsets)?;
        part.encode_lines_to(&mut self.body);
        self.body.extend_from_slice(body);
        Ok(())
    }

    /// The parts of a multipart body (PROTOCOL.md §4), cut at the offsets of the first `multipart` header. Without the
    /// header there are none. The iterator ends behind the first invalid part; the server refuses messages with such a
    /// part, so it can only come from a peer that did not check.
    pub fn parts(&self) -> impl Iterator<Item = Result<Part<'_>, Refusal>> {
        let offsets = self.header_value("multipart").into_iter();
        offsets.flat_map(|offsets| multipart::parts(offsets.as_bytes(), &self.body))
    }

    /// The body.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) {
        self.encode_head_to(out);
        out.extend_from_slice(&self.body);
    }

    /// Appends all but the body.
    pub(crate) fn encode_head_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(VERSION);
        out.push(b' ');
        out.extend_from_slice(self.command.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.encode_lines_to(out);
    }

    /// Appends the headers and the empty line.
    fn encode_lines_to(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_repeated_headers_add_up_and_of_multipart_the_first_counts() {
        let head = "LHTTP/1.0 c\r\npublish: a  b a\r\nMultipart:5 9\r\nPublish:\tc b\r\nmultipart:0\r\n\r\n";
        let message = Message::parse(format!("{head}\r\none\r\n2\r\n").as_bytes()).unwrap();
        assert_eq!(message.channels().collect::<Vec<_>>(), ["a", "b", "c"]);
        let bodies: Vec<_> = message.parts().map(|part| part.ok().map(|part| part.body().to_vec())).collect();
        assert_eq!(bodies, [Some(b"2\r".to_vec()), None]);
    }

    fn names(message: &Message) -> Vec<(&str, &str)> {
        message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn setting_a_header_replaces_all_of_its_name_in_place() {
        let mut message = Message::new("c").unwrap();
        for (name, value) in [("a", "1"), ("B", "2"), ("b", "3"), ("c", "4"), ("b", "5")] {
            message.add_header(name, value).unwrap();
        }
        message.set_header("b", "new").unwrap();
        assert_eq!(names(&message), [("a", "1"), ("b", "new"), ("c", "4")]);
        message.set_header("d", "6").unwrap();
        assert!(message.remove_header("A") && !message.remove_header("A"));
        assert_eq!(names(&message), [("b", "new"), ("c", "4"), ("d", "6")]);
    }

    #[test]
    fn nothing_can_be_put_in_that_would_add_a_line() {
        let mut message = Message::new("c").unwrap();
        assert_eq!(Message::new("a b").unwrap_err().reason(), "bad-start-line");
        assert_eq!(message.set_command("a\r\nx:y").unwrap_err().reason(), "bad-start-line");
        assert_eq!(message.add_header("a:b", "c").unwrap_err().reason(), "bad-header");
        assert_eq!(message.add_header("a", "b\r\nc:d").unwrap_err().reason(), "bad-header");
        assert_eq!(message.set_header("a", "b\n").unwrap_err().reason(), "bad-header");
        assert_eq!(message.encode(), b"LHTTP/1.0 c\r\n\r\n");
    }
}
