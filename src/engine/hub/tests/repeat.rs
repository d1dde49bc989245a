//! The short path for messages that repeat a head has the same effects as the general one.

use proptest::prelude::*;

use super::*;
use crate::{
    config::{ChannelRule, Who},
    engine::{grants::Identity, relay::Relays},
    protocol::message::Span,
    token::Claims,
};

const HEADS: [&str; 6] = [
    "LHTTP/1.0 chat\r\npublish:a\r\n\r\n",
    "LHTTP/1.0 talk\r\npublish:a\r\n\r\n", // of the same length, with the same end
    "LHTTP/1.0 chat\r\npublish:b\r\n\r\n",
    "LHTTP/1.0 chat\r\nno-echo:true\r\npublish:a\r\n\r\n",
    "LHTTP/1.0 c\r\npublish:c\r\n\r\n", // only the bridge gets this one
    "LHTTP/1.0 chat\r\npublish:d.e\r\n\r\n",
];

/// Publishes each message to the one channel that its head names.
struct Publishing {
    /// Keeps the head of each publish, so that further messages may repeat it.
    expects_repeats: bool,
    /// The number of messages that took the general path.
    seen: usize,
}

impl Application for Publishing {
    only_websockets!();

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {}

    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) {
        self.seen += 1;
        let Some(head) = HEADS.iter().find(|head| payload.starts_with(head.as_bytes())) else { return };
        let start = head.rfind("publish:").expect("a channel") + "publish:".len();
        let name = head[start..].trim_end();
        let no_echo = head.contains("no-echo");
        hub.publish([name.as_bytes()].into_iter(), is_text, payload, no_echo.then_some(slot));
        if self.expects_repeats {
            hub.keep_head(slot, head.as_bytes(), [Span::new(start, start + name.len())].into_iter(), no_echo);
        }
    }

    fn on_close(&mut self, _: &mut Hub, _: Slot) {}
}

fn rule(pattern: &str) -> ChannelRule {
    pattern.parse().expect(pattern)
}

/// An action of a client.
#[derive(Clone, Debug)]
enum Step {
    /// Sends a message with one of the heads.
    Say {
        head: usize,
        is_text: bool,
        mask: [u8; 4],
        body: Vec<u8>,
    },
    /// Sends a ping.
    Ping,
    /// Another connection comes or goes as a subscriber of `a`.
    Subscribe,
    Unsubscribe,
    /// The turn ends.
    EndTurn,
}

fn step() -> impl Strategy<Value = Step> {
    let body = prop_oneof![
        8 => proptest::collection::vec(b' '..0x7f, 0..140),
        1 => any::<String>().prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => Just(vec![b'x'; 2_000]), // over the limit
    ];
    let head = prop_oneof![6 => Just(0), 1 => 0..HEADS.len()];
    prop_oneof![
        30 => (head, proptest::bool::weighted(0.9), any::<[u8; 4]>(), body)
            .prop_map(|(head, is_text, mask, body)| Step::Say { head, is_text, mask, body }),
        1 => Just(Step::Ping),
        1 => Just(Step::Subscribe),
        1 => Just(Step::Unsubscribe),
        2 => Just(Step::EndTurn),
    ]
}

fn client_frame(opcode: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len => bytes.extend([&[0xfe], &(len as u16).to_be_bytes()[..]].concat()),
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Returns the output of each connection, the bridge's batches with what is kept, the statistics, and the number of messages
/// that took the general path.
fn run(
    steps: &[Step],
    cuts: &[usize],
    expects_repeats: bool,
    channels: &[ChannelRule],
) -> (Vec<Vec<u8>>, Vec<u8>, Vec<u64>, usize) {
    let config = Config { channels: channels.to_vec(), message_bytes_max: 1_000, ..Config::default() };
    let mut hub = Hub::new(0, 1, Limits::new(&config, 1 << 30, 1));
    let bridge = hub.router.relays.add_bridge();
    let (mut peers, mut app) = (Peers::default(), Publishing { expects_repeats, seen: 0 });
    let slots: Vec<Slot> = (0..4).map(|_| open(&mut hub, &mut peers)).collect();
    for (slot, name, kind) in
        [(0, "a", Kind::Exact), (1, "a", Kind::Exact), (1, "b", Kind::Exact), (2, "d.*", Kind::Pattern)]
    {
        hub.subscribe(slots[slot], name.as_bytes(), kind);
    }
    hub.subscribe(slots[2], b"d.e", Kind::Exact);
    let (mut relayed, mut pending, mut cuts) = (Vec::new(), Vec::new(), cuts.iter().cycle());
    let mut give = |hub: &mut Hub, pending: &mut Vec<u8>, app: &mut Publishing, peers: &mut Peers| {
        while !pending.is_empty() && hub.sessions.is_open(slots[0]) {
            let len = pending.len().min(*cuts.next().expect("it goes round"));
            let mut piece: Vec<u8> = pending.drain(..len).collect();
            let mut used = 0;
            while used < len {
                used += hub.receive(app, slots[0], &mut piece[used..]);
                if hub.router.is_full() {
                    hub.flush(app, peers);
                }
            }
        }
    };
    for step in steps {
        match step {
            Step::Say { head, is_text, mask, body } => {
                let payload = [HEADS[*head].as_bytes(), body].concat();
                pending.extend(client_frame(if *is_text { 1 } else { 2 }, *mask, &payload));
                continue;
            }
            Step::Ping => {
                pending.extend(client_frame(9, [1, 2, 3, 4], b"?"));
                continue;
            }
            Step::Subscribe | Step::Unsubscribe | Step::EndTurn => {}
        }
        give(&mut hub, &mut pending, &mut app, &mut peers);
        match step {
            Step::Subscribe => drop(hub.subscribe(slots[3], b"a", Kind::Exact)),
            Step::Unsubscribe => hub.unsubscribe(slots[3], b"a", Kind::Exact),
            _ => {
                take_batches(&mut hub, bridge, &mut relayed);
                hub.flush(&mut app, &mut peers);
                hub.invariants();
            }
        }
    }
    give(&mut hub, &mut pending, &mut app, &mut peers);
    take_batches(&mut hub, bridge, &mut relayed);
    hub.flush(&mut app, &mut peers);
    let stats = &hub.stats;
    let kept = hub.router.history.messages() as u64;
    for name in ["a", "d.e"] {
        let mut ranges = Vec::new();
        let id = hub.router.history.find(name.as_bytes());
        id.map(|id| hub.router.history.read(id, 0, usize::MAX, &mut ranges));
        relayed.push(b'|');
        ranges.iter().for_each(|&range| relayed.extend_from_slice(hub.router.outboxes.arena().bytes(range)));
    }
    let counted = vec![stats.received, stats.published, stats.delivered, stats.faults, kept];
    (peers.received, relayed, counted, app.seen)
}

/// Takes all batches for the bridge: a long turn has several.
fn take_batches(hub: &mut Hub, bridge: u32, relayed: &mut Vec<u8>) {
    while let Some(batch) = hub.router.relays.take(bridge) {
        relayed.extend(batch);
    }
}

proptest! {
    #[test]
    fn messages_that_repeat_a_head_have_the_same_effects_as_without_the_short_path(
        steps in proptest::collection::vec(step(), 0..120),
        cuts in proptest::collection::vec(prop_oneof![3 => 1usize..3_000, 1 => 1usize..20], 1..8),
        has_history: bool,
    ) {
        // Without a history, and with one for some of the channels.
        let channels = [rule("a").history(7), rule("d.*").history(2)];
        let channels = if has_history { &channels[..] } else { &[] };
        let (short, long) = (run(&steps, &cuts, true, channels), run(&steps, &cuts, false, channels));
        prop_assert_eq!(&short.0, &long.0, "what the connections got");
        prop_assert_eq!(&short.1, &long.1, "what the bridge got, and what is kept");
        prop_assert_eq!(&short.2, &long.2, "received, published, delivered, faults, kept");
        prop_assert!(short.3 <= long.3);
    }
}

#[test]
fn messages_that_only_peers_get_fill_a_turn_too() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let bridge = hub.router.relays.add_bridge();
    let mut peer = Relays::new(1, 2);
    peer.announce(b"a", Kind::Exact);
    hub.relayed(1, &peer.take(0).expect("the interest"));
    let publisher = open(&mut hub, &mut peers);
    let mut app = Publishing { expects_repeats: true, seen: 0 };
    let say = client_frame(1, [1, 2, 3, 4], &[HEADS[0].as_bytes(), &[b'x'; 1000]].concat());
    let mut relayed = [0, 0];
    for _ in 0..50 {
        let mut read = say.repeat(50); // about as much as one read
        let mut used = 0;
        while used < read.len() {
            used += hub.receive(&mut app, publisher, &mut read[used..]);
            if hub.router.is_full() || used == read.len() {
                assert!(hub.router.outboxes.turn_len() < 100_000, "there is no subscriber here");
            }
            if hub.router.is_full() {
                let of_peer = hub.router.relays.take(1).expect("a batch").len();
                let of_bridge =
                    std::iter::from_fn(|| hub.router.relays.take(bridge)).map(|batch| batch.len()).sum::<usize>();
                assert!(of_peer.max(of_bridge) < TURN_BYTES_MAX + 2 * read.len(), "{of_peer} and {of_bridge} bytes");
                relayed = [relayed[0] + of_peer, relayed[1] + of_bridge];
                hub.flush(&mut app, &mut peers);
                assert!(!hub.router.is_full());
            }
        }
    }
    assert_eq!(app.seen, 1, "all but the first take the short path");
    assert!(relayed.iter().all(|&bytes| bytes > 2_000_000), "{relayed:?} of 2.5 MB in one turn");
}

#[test]
fn a_burst_with_one_head_takes_the_general_path_once() {
    let say = Step::Say { head: 0, is_text: true, mask: [9, 8, 7, 6], body: b"hello".to_vec() };
    let say = vec![say; 100];
    assert_eq!(run(&say, &[usize::MAX], true, &[]).3, 1);
    let numbered = run(&say, &[usize::MAX], true, &[rule("a").history(10)]);
    assert_eq!((numbered.3, numbered.2[4]), (1, 10), "a channel with a history is no exception");
}

#[test]
fn a_head_that_was_checked_for_one_grant_is_used_for_another_only_if_the_rules_allow_that() {
    let message = text(format!("{}hello", HEADS[0]).as_bytes());
    let (rule, key) = (rule("a").subscribe(Who::User).publish(Who::User), Some("key".into()));
    let config = Config { channels: vec![rule.clone()], token_key: key.clone(), ..Config::default() };
    let (mut hub, mut peers) = (Hub::new(0, 1, Limits::new(&config, 1 << 30, 1)), Peers::default());
    let slots: Vec<Slot> = (0..4).map(|_| open(&mut hub, &mut peers)).collect();
    for (&slot, name) in slots.iter().zip(["mike", "eve", "bob"]) {
        let (subscribe, publish) = (Box::default(), Box::default());
        let claims = Claims { user: name.into(), subscribe, publish, info: None, expires: u64::MAX / 4_000 };
        assert!(hub.identify(slot, Identity::User(Arc::new(claims))));
    }
    let mut app = Publishing { expects_repeats: true, seen: 0 };
    let mut say = |hub: &mut Hub, senders: &[usize]| -> Vec<usize> {
        let seen = senders.iter().map(|&sender| {
            hub.receive(&mut app, slots[sender], &mut message.clone());
            app.seen
        });
        seen.collect()
    };
    let seen = say(&mut hub, &[0, 0, 1, 2, 2, 0, 3, 0, 3, 3]);
    assert_eq!(seen, [1, 1, 1, 1, 1, 1, 2, 2, 3, 3], "the fourth client has no token: the application must look at it");

    // A message that must be stamped is another one for each user.
    let stamping = Config { channels: vec![rule.stamp(true)], token_key: key, ..Config::default() };
    hub.set_limits(Limits::new(&stamping, 1 << 30, 1));
    assert_eq!(say(&mut hub, &[0, 1, 2]), [4, 5, 6]);
    assert_eq!(hub.router.counts().0, 13);
}
