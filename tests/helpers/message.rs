//! LHTTP messages that the server itself makes: errors and acknowledgements.

/// A parsed LHTTP message (PROTOCOL.md §1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) command: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Message {
    /// Parses a payload from the server. Fails the test if it is not an LHTTP message.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("the server's own messages are UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no empty line in {text:?}"));
        let mut lines = head.split("\r\n");
        let start = lines.next().expect("split gives one at least");
        let command = start.strip_prefix("LHTTP/1.0 ").unwrap_or_else(|| panic!("not LHTTP: {text:?}"));
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("header without a colon in {text:?}"));
            (name.to_owned(), value.to_owned())
        });
        Self { command: command.to_owned(), headers: headers.collect(), body: body.to_owned() }
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
    }
}

/// A chat message with these header lines (without CRLF) and this body.
pub(crate) fn chat(headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("LHTTP/1.0 chat\r\n{headers}\r\n{body}")
}
