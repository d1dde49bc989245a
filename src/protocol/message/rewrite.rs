//! A message with another head: without a token, or with the name of the user who sends it (PROTOCOL.md §8, §9).

use super::Parsed;

/// The header with the name of the user who has published a message.
pub(crate) const FROM_USER: &str = "from-user";

impl Parsed<'_> {
    /// The message without the header lines of this name, in any case. All else stays byte for byte.
    pub(crate) fn without(self, name: &str) -> Vec<u8> {
        self.rewritten(name, None)
    }

    /// The message with the name of the user who publishes it, right behind the start line, and without such headers of the
    /// client's. An anonymous client has no name.
    pub(crate) fn stamped(self, user: Option<&str>) -> Vec<u8> {
        self.rewritten(FROM_USER, user)
    }

    fn rewritten(self, name: &str, value: Option<&str>) -> Vec<u8> {
        let Self { head, payload, .. } = self;
        let added = value.map_or(0, |value| name.len() + value.len() + ":\r\n".len());
        let mut message = Vec::with_capacity(payload.len() + added);
        message.extend_from_slice(head.start_line_bytes(payload));
        if let Some(value) = value {
            [name, ":", value, "\r\n"].iter().for_each(|part| message.extend_from_slice(part.as_bytes()));
        }
        let kept = head.raw_lines(payload).filter(|(other, _)| !other.eq_ignore_ascii_case(name.as_bytes()));
        kept.for_each(|(_, line)| message.extend_from_slice(line));
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(self.body());
        message
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::message::{Head, HeadLimits};

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1 << 20, headers_max: 100 };

    fn parsed(payload: &str) -> Head {
        let mut head = Head::default();
        head.parse(payload.as_bytes(), true, LIMITS).expect(payload);
        head
    }

    #[test]
    fn a_stamp_stands_behind_the_start_line_and_the_clients_own_is_gone() {
        let message = "LHTTP/1.0 c\r\nFrom-User: eve\r\npublish: a  b\r\nfrom-user:eve\r\n\r\nfrom-user:x\r\n";
        let head = parsed(message);
        let of = Parsed { head: &head, payload: message.as_bytes(), is_text: true };
        let expected = "LHTTP/1.0 c\r\nfrom-user:mike\r\npublish: a  b\r\n\r\nfrom-user:x\r\n";
        assert_eq!(of.stamped(Some("mike")), expected.as_bytes());
        assert_eq!(of.stamped(None), expected.replacen("from-user:mike\r\n", "", 1).as_bytes());
        let bare = "LHTTP/1.0 c\r\n\r\n";
        let head = parsed(bare);
        let of = Parsed { head: &head, payload: bare.as_bytes(), is_text: true };
        assert_eq!(of.stamped(Some("mike")), b"LHTTP/1.0 c\r\nfrom-user:mike\r\n\r\n");
        assert_eq!(of.without("token"), bare.as_bytes());
    }

    proptest! {
        #[test]
        fn every_other_line_stays_as_it_was(
            lines in prop::collection::vec(("(token|TOKEN|a|b|publish)", "[ a-z:.]{0,5}[a-z]"), 0..6),
            body in "[ -~\r\n]{0,20}",
        ) {
            let text = |lines: Vec<&(String, String)>| {
                let lines: String = lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
                format!("LHTTP/1.0 c\r\n{lines}\r\n{body}")
            };
            let message = text(lines.iter().collect());
            let kept = text(lines.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("token")).collect());
            let mut head = Head::default();
            prop_assert!(head.parse(message.as_bytes(), true, LIMITS).is_ok());
            let of = Parsed { head: &head, payload: message.as_bytes(), is_text: true };
            prop_assert_eq!(String::from_utf8(of.without("token")).unwrap(), kept);
        }
    }
}
