//! Text of a stranger as a part of one line.

use std::fmt::{self, Display, Write};

/// Shows a text on one line, for a log or a terminal. Line breaks and other control characters (C0, DEL, C1), characters
/// that change the direction of the text, line and paragraph separators and all other invisible characters are written
/// as escapes: `\n`, `\r`, `\t`, `\0`, or `\u{202e}`. So a text can neither begin another line, nor command a terminal, nor
/// look like another one. Quotes and backslashes stay as they are, and so do visible letters of all languages.
///
/// The log of `lhttpd` writes each message through this, and so does `lhttp_log`. A program with a logger of its own wraps
/// the messages of this library: they have names of channels, users and servers in them.
///
/// ```
/// use lhttp::OneLine;
///
/// assert_eq!(OneLine("grüße\r\n\u{1b}[2J\u{202e}").to_string(), r"grüße\r\n\u{1b}[2J\u{202e}");
/// assert_eq!(OneLine(format_args!("{:?}", "a\n")).to_string(), r#""a\n""#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OneLine<T>(pub T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes what is written to it.
struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| match char {
            ' '..='~' => self.0.write_char(char),
            _ => write!(self.0, "{}", char.escape_debug()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_and_commands_no_terminal() {
        for (text, line) in [
            ("plain \"text\" it's C:\\x", "plain \"text\" it's C:\\x"),
            ("grüße ✓ Привет こんにちは", "grüße ✓ Привет こんにちは"),
            ("a\n[forged\r\nline\t", "a\\n[forged\\r\\nline\\t"),
            ("\u{1b}[2Jgone\u{7}\0\u{7f}", "\\u{1b}[2Jgone\\u{7}\\0\\u{7f}"),
            ("\u{85}\u{9b}31m", "\\u{85}\\u{9b}31m"),
        ] {
            assert_eq!(OneLine(text).to_string(), line);
        }
    }

    #[test]
    fn no_control_character_and_none_that_is_invisible_or_changes_the_direction_is_shown_as_it_is() {
        let others = ['\u{61c}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
        let others =
            others.into_iter().chain('\u{202a}'..='\u{202e}').chain('\u{2060}'..='\u{2069}').chain(['\u{feff}']);
        let controls = ('\0'..=char::MAX).filter(|char| char.is_control());
        for char in controls.chain(others) {
            let line = OneLine(char).to_string();
            assert!(line.starts_with('\\') && line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{char:?}: {line}");
            let is_short = matches!(char, '\n' | '\r' | '\t' | '\0');
            assert!(is_short || line == format!("\\u{{{:x}}}", u32::from(char)), "{char:?}: {line}");
        }
    }
}
