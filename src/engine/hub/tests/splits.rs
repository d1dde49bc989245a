//! The result for a connection's bytes does not depend on how they are cut, and it agrees with tungstenite.

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::{
    Error, Message,
    protocol::{
        Role, WebSocketConfig, WebSocketContext,
        frame::{
            FrameHeader,
            coding::{Control, Data, OpCode},
        },
    },
};

use super::*;
use crate::engine::{arrival, session::Incoming};

const MESSAGE_BYTES_MAX: usize = 1000;

/// Answers each message with itself, and records it.
#[derive(Default)]
struct Recorder {
    messages: Vec<(bool, Vec<u8>)>,
    published: Vec<Vec<u8>>,
    opened: usize,
    closed: usize,
}

impl Application for Recorder {
    fn on_request(&mut self, _: &mut Hub, _: Slot, head: &RequestHead<'_, '_>, _: &arrival::Arrival) -> Route<'_> {
        route(head)
    }

    fn is_served_when_full(&self, _: &RequestHead<'_, '_>) -> bool {
        false
    }

    fn on_body(&mut self, _: &mut Hub, _: Slot, _: Endpoint, body: &[u8]) -> Reply<'_> {
        self.published.push(body.to_vec());
        Reply::Now(Answer::text(200, "published"))
    }

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {
        self.opened += 1;
    }

    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) {
        self.messages.push((is_text, payload.to_vec()));
        hub.send(slot, is_text, payload);
    }

    fn on_close(&mut self, _: &mut Hub, _: Slot) {
        self.closed += 1;
    }
}

/// The complete result for some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    sent: Vec<u8>,
    messages: Vec<(bool, Vec<u8>)>,
    published: Vec<Vec<u8>>,
    calls: (usize, usize),
    /// `None` if the connection was dropped.
    phase: Option<Phase>,
    /// The kept unfinished input: bytes of a head or frame, and of a body or message.
    kept: (Vec<u8>, Vec<u8>),
    counts: (u64, u64, u64),
}

impl Outcome {
    /// The code of the close frame that was sent for a fault.
    fn fault(&self) -> Option<u16> {
        let at = self.sent.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |at| at + 4);
        let mut rest = &self.sent[at..];
        while let [first, ..] = rest {
            let len = frame::server_frame_len(rest);
            let is_first = |code: &[u8; 2]| u16::from_be_bytes(*code);
            if *first == 0x88 {
                let code = rest[2..len].first_chunk().map(is_first);
                return code.filter(|code| self.counts.1 > 0 && [1002, 1007, 1009].contains(code));
            }
            rest = &rest[len..];
        }
        None
    }
}

/// Feeds the chunks to a new connection, each in its own turn.
fn feed<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> Outcome {
    let mut hub = Hub::new(0, 1, Limits { message_bytes_max: MESSAGE_BYTES_MAX, ..limits() });
    let (mut app, mut peers) = (Recorder::default(), Peers::default());
    let key = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    peers.received.push(Vec::new());
    for chunk in chunks {
        let mut bytes = chunk.to_vec();
        let mut used = 0;
        while used < bytes.len() && hub.sessions.is_current(key) {
            used += hub.receive(&mut app, key.slot, &mut bytes[used..]);
            hub.flush(&mut app, &mut peers);
        }
        hub.reap(&mut Vec::new());
        hub.invariants();
    }
    let kept = hub.sessions.get(key.slot).and_then(|session| session.incoming.as_deref());
    let kept = match kept {
        Some(Incoming::Http(request)) => {
            (request.partial.clone(), request.body.as_ref().map_or(Vec::new(), |body| body.bytes.clone()))
        }
        Some(Incoming::WebSocket(fragments)) => (fragments.partial.clone(), fragments.message.clone()),
        None => Default::default(),
    };
    Outcome {
        phase: hub.sessions.get(key.slot).map(|session| session.phase()),
        kept,
        sent: peers.received.remove(0),
        messages: app.messages,
        published: app.published,
        calls: (app.opened, app.closed),
        counts: (hub.stats.received, hub.stats.faults, hub.stats.requests),
    }
}

/// Asserts that all cuts of the bytes into two parts, and into single bytes, have the same result. Returns it.
fn same_however_cut(bytes: &[u8]) -> Outcome {
    let whole = feed([bytes].into_iter());
    assert_eq!(feed(bytes.chunks(1)), whole, "byte by byte");
    for cut in 0..=bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(feed([first, second].into_iter()), whole, "cut at {cut}");
    }
    whole
}

/// What a client sends, in order.
#[derive(Clone, Debug)]
enum Piece {
    Message {
        is_text: bool,
        fragments: Vec<Vec<u8>>,
        ping: Option<Vec<u8>>,
    },
    Control(Control, Vec<u8>),
    Close(Option<(u16, Vec<u8>)>),
    /// A frame with an arbitrary first byte, and a length whose encoding may be longer than necessary.
    Odd {
        first: u8,
        is_masked: bool,
        form: u8,
        payload: Vec<u8>,
    },
}

fn piece() -> impl Strategy<Value = Piece> {
    let bytes = |most: usize| prop::collection::vec(any::<u8>(), 0..most);
    let text = prop_oneof![
        8 => prop::collection::vec(prop_oneof![Just('a'), Just('é'), Just('€'), Just('😀')], 0..40)
            .prop_map(|text| text.into_iter().collect::<String>().into_bytes()),
        1 => bytes(6),
    ];
    let payload = prop_oneof![6 => text, 2 => bytes(200), 1 => bytes(MESSAGE_BYTES_MAX + 20)];
    let message = (any::<bool>(), payload, prop::collection::vec(0usize..200, 0..4), prop::option::of(bytes(5)))
        .prop_map(|(is_text, payload, cuts, ping)| {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(payload.len())).collect();
            cuts.extend([0, payload.len()]);
            cuts.sort_unstable();
            let fragments = cuts.windows(2).map(|cut| payload[cut[0]..cut[1]].to_vec()).collect();
            Piece::Message { is_text, fragments, ping }
        });
    let code = prop_oneof![Just(1000u16), Just(1001), Just(3000), Just(4999), Just(1005), Just(999), Just(1004)];
    prop_oneof![
        12 => message,
        2 => bytes(126).prop_map(|payload| Piece::Control(Control::Ping, payload)),
        1 => bytes(126).prop_map(|payload| Piece::Control(Control::Pong, payload)),
        1 => prop::option::of((code, bytes(4))).prop_map(Piece::Close),
        1 => (any::<u8>(), prop::bool::weighted(0.8), 0u8..3, bytes(140))
            .prop_map(|(first, is_masked, form, payload)| Piece::Odd { first, is_masked, form, payload }),
    ]
}

fn push(out: &mut Vec<u8>, is_final: bool, opcode: OpCode, payload: &[u8]) {
    let mask = [0x5a, 0xa5, 0x0f, payload.len() as u8];
    let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
    header.format(payload.len() as u64, out).expect("a Vec takes it");
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

fn encode(pieces: &[Piece]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Message { is_text, fragments, ping } => {
                let mut kind = if *is_text { Data::Text } else { Data::Binary };
                for (number, fragment) in fragments.iter().enumerate() {
                    push(&mut out, number + 1 == fragments.len(), OpCode::Data(kind), fragment);
                    kind = Data::Continue;
                    if let Some(ping) = ping {
                        push(&mut out, true, OpCode::Control(Control::Ping), ping);
                    }
                }
            }
            Piece::Control(control, payload) => push(&mut out, true, OpCode::Control(*control), payload),
            Piece::Close(None) => push(&mut out, true, OpCode::Control(Control::Close), &[]),
            Piece::Close(Some((code, reason))) => {
                push(&mut out, true, OpCode::Control(Control::Close), &[&code.to_be_bytes(), &reason[..]].concat());
            }
            Piece::Odd { first, is_masked, form, payload } => {
                let mask = u8::from(*is_masked) << 7;
                out.push(*first);
                match form {
                    0 if payload.len() < 126 => out.push(mask | payload.len() as u8),
                    2 => {
                        out.push(mask | 127);
                        out.extend((payload.len() as u64).to_be_bytes());
                    }
                    _ => {
                        out.push(mask | 126);
                        out.extend((payload.len() as u16).to_be_bytes());
                    }
                }
                out.extend(if *is_masked { &[0; 4][..] } else { &[] });
                out.extend(payload);
            }
        }
    }
    out
}

/// A socket with these bytes and then `WouldBlock`.
struct Dry<'b>(Cursor<&'b [u8]>);

impl Read for Dry<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Dry<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The messages that tungstenite finds in a stream, and whether it reports a fault.
fn oracle(bytes: &[u8]) -> (Vec<(bool, Vec<u8>)>, bool) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(4096);
    let mut socket = Dry(Cursor::new(bytes));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut messages = Vec::new();
    loop {
        match context.read(&mut socket) {
            Ok(Message::Text(text)) => messages.push((true, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => messages.push((false, bytes.to_vec())),
            // It reports no fault for a code that must not be sent, but answers with this.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                return (messages, true);
            }
            Ok(Message::Close(_)) => return (messages, false),
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (messages, false),
            Err(_) => return (messages, true),
        }
    }
}

/// Whether the server's close frame reports a length that was not in its shortest form, which tungstenite accepts. For
/// a control frame the report is that the frame is too long.
fn is_about_length(outcome: &Outcome) -> bool {
    let says = |text: &[u8]| outcome.sent.windows(text.len()).any(|bytes| bytes == text);
    says(b"not in its shortest form") || says(b"highest bit set") || says(b"control frame is too long")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_cut_of_frames_has_the_same_result(
        pieces in prop::collection::vec(piece(), 0..6),
        cut_off in 0usize..30,
    ) {
        let mut bytes = [KEY.as_bytes(), &encode(&pieces)].concat();
        bytes.truncate(bytes.len() - if cut_off < 15 { 0 } else { cut_off });
        bytes.truncate(800); // there are as many cuts as bytes
        same_however_cut(&bytes);
    }

    #[test]
    fn every_cut_of_requests_has_the_same_result(
        requests in prop::collection::vec((0usize..9, 0usize..30), 0..5),
        flip in prop::option::weighted(0.4, (0usize..600, any::<u8>())),
    ) {
        let mut bytes: Vec<u8> = requests.iter().flat_map(|&(kind, len)| request(kind, len)).collect();
        if let Some((at, byte)) = flip
            && let Some(place) = bytes.get_mut(at)
        {
            *place = byte;
        }
        bytes.truncate(700);
        // A head is checked at its empty line, or earlier when enough has come. Here the last head gets its empty line.
        bytes.extend_from_slice(b"\r\n\r\n");
        same_however_cut(&bytes);
    }
}

fn request(kind: usize, len: usize) -> Vec<u8> {
    let body = vec![b'x'; len];
    match kind {
        0 => b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        1 => b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        2 => KEY.as_bytes().to_vec(),
        3 => b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n".to_vec(),
        4 => b"POST /publish HTTP/1.0\r\nContent-Length: 1\r\n\r\nx".to_vec(),
        5 => {
            let head = "POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
            [head.as_bytes(), format!("{len:x};a=b\r\n").as_bytes(), &body, b"\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"]
                .concat()
        }
        _ => [format!("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n").as_bytes(), &body].concat(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn streams_are_valid_or_not_in_agreement_with_tungstenite(
        pieces in prop::collection::vec(piece(), 0..6),
        flip in prop::option::weighted(0.3, (0usize..400, any::<u8>())),
        chunk in 1usize..300,
    ) {
        let mut bytes = encode(&pieces);
        if let Some((at, byte)) = flip
            && let Some(place) = bytes.get_mut(at)
        {
            *place = byte;
        }
        let ours = feed(std::iter::once(KEY.as_bytes()).chain(bytes.chunks(chunk)));
        let (messages, is_fault) = oracle(&bytes);
        if is_about_length(&ours) {
            prop_assert!(messages.starts_with(&ours.messages));
            return Ok(());
        }
        prop_assert_eq!(&ours.messages, &messages);
        // We report a fault as soon as it is in the bytes, tungstenite only when the frame is complete.
        let is_fault = is_fault || (ours.fault().is_some() && oracle(&[&bytes[..], &[0; 2000]].concat()).1);
        prop_assert_eq!(ours.fault().is_some(), is_fault, "{:?}", ours);
        prop_assert_eq!(ours.counts.1 > 0, is_fault);
    }
}
