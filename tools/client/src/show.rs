//! The form of messages: a line for people, or JSON.

use lhttp::{
    Message, Refusal,
    client::{Payload, State},
};
use serde_json::{Map, Value, json};

/// The text without anything that a terminal would obey or that would hide the text. It escapes control characters (C0
/// and C1), line and paragraph separators, and marks that change the direction of writing. A tab stays.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// All of these are below U+10000.
fn is_harmful(c: char) -> bool {
    let turns = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c != '\t' && (c.is_control() || turns)
}

/// A message as one line.
pub(crate) fn line(message: &Message) -> String {
    let channels: Vec<_> = message.channels().collect();
    let mut line = match message.header_value("upstream-status") {
        _ if !channels.is_empty() => format!("[{}] ", harmless(&channels.join(" "))),
        Some(status) => format!("({} {}) ", harmless(message.command()), harmless(status)),
        None => format!("({}) ", harmless(message.command())),
    };
    let parts: Option<Vec<_>> = message.parts().map(Result::ok).collect();
    match parts {
        Some(parts) if !parts.is_empty() => {
            let shown = parts.iter().map(|part| match part.header("filename") {
                Some(name) => format!("{} ({})", harmless(name), size(part.body())),
                None => body(part.body()),
            });
            line.push_str(&shown.collect::<Vec<_>>().join(", "));
        }
        _ => line.push_str(&body(message.body_bytes())),
    }
    line
}

/// The same with the message's id in front of it, or `-` if no server can have given it one.
pub(crate) fn line_with_id(message: &Message) -> String {
    let is_id = |id: &&str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let id = message.header_value("message-id").filter(is_id).unwrap_or("-");
    format!("{id} {}", line(message))
}

/// That messages of a channel are lost.
pub(crate) fn lost_line(channel: &str) -> String {
    format!("messages of {} are lost: the server has not kept all of them", harmless(channel))
}

/// A payload that is not LHTTP, as one line.
pub(crate) fn raw_line(payload: &Payload) -> String {
    format!("(raw) {}", body(payload.as_bytes()))
}

/// The state of the connection, as one line.
pub(crate) fn state_line(state: &State) -> String {
    match state {
        State::Open => "connected again".to_owned(),
        State::Waiting { retry_in, why, .. } => {
            format!("not connected: {}; trying again in {:.1} s", harmless(why), retry_in.as_secs_f64())
        }
        State::Closed { why } => format!("closed: {}", harmless(why)),
        _ => "the connection is in a state that this program does not know".to_owned(),
    }
}

/// That the token ends, which comes only with a fixed one.
pub(crate) const TOKEN_ENDING: &str =
    "the token runs out soon; with --token-file the program reads another one by itself";

/// That there is no new token, as one line.
pub(crate) fn not_renewed_line(refusal: &Refusal) -> String {
    format!("no new token: {}", harmless(&refusal.to_string()))
}

fn body(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => harmless(text),
        Err(_) => format!("({})", size(bytes)),
    }
}

fn size(bytes: &[u8]) -> String {
    match bytes.len() {
        1 => "1 byte".to_owned(),
        length => format!("{length} bytes"),
    }
}

/// A message as one JSON object.
pub(crate) fn json(message: &Message) -> String {
    let mut object = Map::new();
    object.insert("channels".into(), message.channels().map(|channel| json!(channel)).collect());
    object.insert("command".into(), json!(message.command()));
    object.insert("headers".into(), message.headers().map(|header| json!(header)).collect());
    let parts: Option<Vec<_>> = message.parts().map(Result::ok).collect();
    if let Some(parts) = parts.filter(|parts| !parts.is_empty()) {
        let part = |part: &lhttp::Part<'_>| {
            let mut object = Map::new();
            object.insert("headers".into(), part.headers().map(|header| json!(header)).collect());
            insert_body(&mut object, part.body());
            Value::Object(object)
        };
        object.insert("parts".into(), parts.iter().map(part).collect());
    }
    insert_body(&mut object, message.body_bytes());
    harmless_json(&Value::Object(object).to_string())
}

/// A payload that is not LHTTP, as one JSON object without a command.
pub(crate) fn raw_json(payload: &Payload) -> String {
    let mut object = Map::new();
    insert_body(&mut object, payload.as_bytes());
    harmless_json(&Value::Object(object).to_string())
}

/// JSON in which all characters that [`harmless`] escapes are `\u` and four hexadecimal digits. In JSON without blanks they can
/// occur only in strings, where the escape has the same meaning.
pub(crate) fn harmless_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn insert_body(object: &mut Map<String, Value>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert("body".into(), json!(text)),
        Err(_) => object.insert("body_base64".into(), json!(data_encoding::BASE64.encode(bytes))),
    };
}

/// The text with `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` replaced by the bytes they stand for.
///
/// # Errors
/// A sentence about the first backslash that begins none of these.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    // A number may begin with a sign, but an escape must not.
    let is_hex = |hex: &&str| hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let hex = escape.strip_prefix('x').and_then(|hex| hex.get(..2)).filter(is_hex);
        let byte = match escape.bytes().next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or_else(|| bad_escape(escape))?,
            _ => return Err(bad_escape(escape)),
        };
        out.push(byte);
        rest = &escape[if hex.is_some() { 3 } else { 1 }..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn bad_escape(escape: &str) -> String {
    let shown: String = escape.chars().take(3).collect();
    format!("\\{shown} is none of \\r \\n \\t \\0 \\\\ \\xHH")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &[u8]) -> Message {
        Message::parse(text).expect("a message")
    }

    #[test]
    fn nothing_from_the_network_reaches_a_terminal_as_a_command() {
        let hostile = "a\x1b[2Jb\u{9b}31m\x07\r\nc\td\u{202e}e\u{2028}\x7f\0";
        let shown = harmless(hostile);
        assert_eq!(shown, "a\\u{1b}[2Jb\\u{9b}31m\\u{7}\\r\\nc\td\\u{202e}e\\u{2028}\\u{7f}\\u{0}");
        assert_eq!(harmless("Zürich ☂ 東京"), "Zürich ☂ 東京");
        for c in (0..=0x10ffff).filter_map(char::from_u32).filter(|c| c.is_control() && *c != '\t') {
            assert!(!harmless(&c.to_string()).contains(c));
        }
    }

    #[test]
    fn a_line_shows_the_channels_and_the_body() {
        for (text, expected) in [
            (&b"LHTTP/1.0 chat\r\npublish:room\r\n\r\nhi\nyou"[..], "[room] hi\\nyou"),
            (b"LHTTP/1.0 chat\r\npublish:a\r\nPublish:b  c\r\n\r\nhi", "[a b c] hi"),
            (b"LHTTP/1.0 echo\r\n\r\nhi", "(echo) hi"),
            (b"LHTTP/1.0 chat\r\npublish:a b\r\n\r\n\xff\x00", "[a b] (2 bytes)"),
            (b"LHTTP/1.0 get\r\nupstream-status:200\r\n\r\nok", "(get 200) ok"),
            (b"LHTTP/1.0 up\r\npublish:r\r\nmultipart:0 14\r\n\r\nfilename:a\r\n\r\n\r\nb", "[r] a (0 bytes), b"),
            // Offsets that no server would accept.
            (b"LHTTP/1.0 up\r\npublish:r\r\nmultipart:9\r\n\r\nab", "[r] ab"),
        ] {
            assert_eq!(line(&message(text)), expected);
        }
    }

    #[test]
    fn an_id_is_one_word() {
        for (header, id) in
            [("message-id:a-1\r\n", "a-1"), ("", "-"), ("message-id:a b\r\n", "-"), ("message-id:\r\n", "-")]
        {
            let text = format!("LHTTP/1.0 chat\r\n{header}publish:room\r\n\r\nhi");
            assert_eq!(line_with_id(&message(text.as_bytes())), format!("{id} [room] hi"));
        }
    }

    #[test]
    fn json_keeps_everything() {
        let text = json(&message(b"LHTTP/1.0 c\r\npublish:a b\r\nx:1\r\nX:2\r\nmultipart:0\r\n\r\nf:g\r\n\r\n\xff"));
        let expected = r#"{"body_base64":"ZjpnDQoNCv8=","channels":["a","b"],"command":"c","#.to_owned()
            + r#""headers":[["publish","a b"],["x","1"],["X","2"],["multipart","0"]],"#
            + r#""parts":[{"body_base64":"/w==","headers":[["f","g"]]}]}"#;
        assert_eq!(text, expected);
        assert_eq!(
            json(&message(b"LHTTP/1.0 c\r\n\r\nhi\n")),
            r#"{"body":"hi\n","channels":[],"command":"c","headers":[]}"#
        );
        assert_eq!(raw_json(&Payload::Text("x".into())), r#"{"body":"x"}"#);
    }

    #[test]
    fn json_escapes_the_same_characters_and_keeps_its_meaning() {
        let hostile = "a\x1b\u{9b}31m\u{202e}\u{2028}\x7f\0\t\\ ☂ 🦀";
        let text = raw_json(&Payload::Text(hostile.into()));
        assert_eq!(harmless(&text), text);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "body": hostile }));
        let message = message("LHTTP/1.0 c\r\nx:\u{202e}\r\n\r\n".as_bytes());
        assert_eq!(json(&message), r#"{"body":"","channels":[],"command":"c","headers":[["x","\u202e"]]}"#);
    }

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(unescape(r"a\r\n\\\t\0\x1bz").unwrap(), b"a\r\n\\\t\0\x1bz");
        for wrong in [r"\", r"\q", r"\x", r"\x1", r"\xzz", r"\x+1", "\\xé"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }
}
