//! Servers that keep the messages of channels, and the numbered messages for them.

use std::{fs, net::TcpStream, ops::Range, path::Path, sync::Arc};

use tungstenite::{Message, WebSocket};

use crate::{
    bench::{Bench, Target},
    dialect::{Dialect, Role, counter::STAMP_BYTES, nats},
    failure::Failure,
    load::{Flow, Load},
    servers::Scratch,
};

/// The most messages of a channel that a rule of lhttpd keeps.
pub(crate) const KEPT_MAX: usize = 100_000;
/// The servers that keep messages.
pub(crate) const KEEPERS: [Dialect; 3] = [Dialect::Lhttp, Dialect::JetStream, Dialect::Nchan];

/// A server that keeps the newest messages of each channel `kept.*`.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) target: Target,
    _files: Scratch,
}

/// The name of a channel whose messages are kept; all names have the same length.
pub(crate) fn channel(number: usize) -> String {
    format!("kept.{number:06}")
}

/// A configuration of lhttpd that keeps the newest `messages` of the channels that match.
pub(crate) fn rule(channels: &str, messages: usize) -> String {
    format!("[[channel]]\nmatch = \"{channels}\"\nhistory = {messages}\n")
}

impl Bench {
    /// Starts a server that keeps the newest `messages` of each channel; lhttpd in `file`, if there is one.
    pub(crate) fn start_keeping(
        &self,
        dialect: Dialect,
        messages: usize,
        file: Option<&Path>,
        tls: bool,
    ) -> Result<Keeper, Failure> {
        let files = Scratch::make()?;
        if file.is_some() && dialect != Dialect::Lhttp {
            return Err(Failure::Usage(format!("{dialect} is measured with its memory only")));
        }
        let target = match dialect {
            Dialect::Lhttp => {
                let rules = files.path().join("rules.toml");
                fs::write(&rules, rule("kept.*", messages)).map_err(Failure::io("cannot write rules"))?;
                let rules = rules.display().to_string();
                let file = file.map(|file| file.display().to_string());
                let mut arguments = vec!["--config", &rules];
                arguments.extend(file.iter().flat_map(|file| ["--history-file", file]));
                self.start_tls(dialect, &arguments, tls)?
            }
            Dialect::JetStream => {
                let target = self.start_tls(dialect, &[], tls)?;
                if tls {
                    return Err(Failure::Usage("JetStream is measured without TLS".into()));
                }
                make_stream(&mut target.client()?, messages)?;
                target
            }
            Dialect::Nchan => self.start_nchan(messages, tls)?,
            _ => return Err(Failure::Usage(format!("{dialect} keeps no messages"))),
        };
        Ok(Keeper { target, _files: files })
    }
}

/// Makes JetStream keep messages, and waits for its answer.
fn make_stream(client: &mut WebSocket<TcpStream>, messages: usize) -> Result<(), Failure> {
    let broken = |error: tungstenite::Error| Failure::Server(format!("JetStream does not answer: {error}"));
    client.send(Message::binary(nats::stream(messages))).map_err(broken)?;
    let mut said = String::new();
    while !said.contains("stream_create_response") || !said.ends_with('\n') {
        said += &String::from_utf8_lossy(&client.read().map_err(broken)?.into_data());
    }
    if said.contains("\"error\"") { Err(Failure::Server(format!("JetStream answered {said:?}"))) } else { Ok(()) }
}

/// The publishes of a connection to a channel: a message for each number, which its body begins with. Each is confirmed.
pub(crate) fn numbered(
    dialect: Dialect,
    channel: &str,
    connection: usize,
    body_bytes: usize,
    numbers: Range<u64>,
) -> Flow {
    let mut message =
        dialect.publish_confirmed(channel, &vec![b'x'; body_bytes.max(STAMP_BYTES)], [0x2b, 0x9e, 0x4d, 0x71]);
    let (frame_bytes, frames) = (message.bytes.len(), (numbers.end - numbers.start) as usize);
    let mut block = Vec::with_capacity(frames * frame_bytes);
    for number in numbers {
        message.stamp(number);
        block.extend_from_slice(&message.bytes);
    }
    Flow { connection, block: block.into(), frame_bytes, frames, one_each: false }
}

/// Where clients of the first `channels` channels go on after what was published so far: `published` messages in each.
pub(crate) fn places(load: &mut Load, channels: usize, published: u64) -> Result<Vec<Arc<str>>, Failure> {
    match load.dialect {
        Dialect::Lhttp => {
            let scouts: Vec<Role> = (0..channels).map(|number| Role::subscriber(&channel(number))).collect();
            let first = load.open(&scouts, 0, |_| {})?;
            load.connections[first..].iter().map(|scout| position(&scout.answer)).collect()
        }
        // One stream has the messages of all channels, and JetStream counts from 1.
        Dialect::JetStream => Ok(vec![(channels as u64 * published + 1).to_string().into(); channels]),
        _ => Ok(vec!["".into(); channels]),
    }
}

/// The id in the `position` of an acknowledgement (PROTOCOL.md §10).
fn position(frame: &[u8]) -> Result<Arc<str>, Failure> {
    let text = String::from_utf8_lossy(frame);
    let id = text.lines().find_map(|line| line.strip_prefix("position:")).filter(|id| *id != "-");
    id.map(Into::into).ok_or_else(|| Failure::Server(format!("it acknowledged without a position: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_from_an_acknowledgement_and_its_absence_is_an_error() {
        let frame = b"\x81\x30LHTTP/1.0 ack\r\nposition:abc-7\r\nack:1\r\n\r\n";
        assert_eq!(&*position(frame).expect("an id"), "abc-7");
        assert!(position(b"LHTTP/1.0 ack\r\nposition:-\r\nack:1\r\n\r\n").is_err(), "no history");
        assert!(position(b"LHTTP/1.0 ack\r\nack:1\r\n\r\n").is_err());
    }

    #[test]
    fn numbered_frames_differ_in_their_numbers_alone() {
        for dialect in KEEPERS {
            let flow = numbered(dialect, &channel(3), 0, 20, 5..8);
            assert_eq!((flow.frames, flow.block.len()), (3, 3 * flow.frame_bytes), "{dialect}");
            let mut expected = dialect.publish_confirmed(&channel(3), &[b'x'; 20], [0x2b, 0x9e, 0x4d, 0x71]);
            expected.stamp(6);
            assert_eq!(flow.block[flow.frame_bytes..2 * flow.frame_bytes], expected.bytes, "{dialect}");
        }
    }
}
