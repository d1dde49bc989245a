use std::sync::Arc;

use mio::{Poll, Token};

use super::*;
use crate::{
    engine::{
        bridge_link::{BridgeLink, Uplink, link_bridge},
        relay::{self, Item},
        wake::waker,
    },
    nats::member_lines::next_member,
};

struct Tested {
    members: Members,
    commands: Commands,
    is_connected: bool,
    message_bytes_max: usize,
    to_cores: ToCores,
    link: BridgeLink,
    now: Instant,
    _poll: Poll,
}

impl Tested {
    fn new() -> Self {
        let poll = Poll::new().expect("a poll");
        let wake = waker(poll.registry(), Token(0)).expect("a waker");
        let (downlink, link) = link_bridge(&Uplink::new(0, || {}), 1, wake);
        let to_cores = ToCores::new(vec![downlink], Arc::new((1 << 20).into()));
        let now = Instant::now();
        Self {
            members: Members::new(Subjects::new(None, 7), 1, now),
            commands: Commands::default(),
            is_connected: true,
            message_bytes_max: 1 << 20,
            to_cores,
            link,
            now,
            _poll: poll,
        }
    }

    fn hear(&mut self, items: &[MemberItem<'_>]) {
        let commands = self.is_connected.then_some(&mut self.commands);
        let mut out = Out { commands, message_bytes_max: self.message_bytes_max };
        items.iter().for_each(|item| self.members.hear(0, item, &mut out, self.now));
        self.members.heard(0, &mut out);
    }

    fn act(&mut self, pass: Duration) {
        self.now += pass;
        let commands = self.is_connected.then_some(&mut self.commands);
        self.members.act(commands, &mut self.to_cores, self.now);
    }

    /// The items that the core has got.
    fn items(&mut self) -> Vec<String> {
        let mut items = Vec::new();
        while let Some(batch) = self.link.take() {
            let mut rest = &batch[..];
            while let Some(Item::Members(item)) = relay::next(&mut rest) {
                items.push(format!("{item:?}"));
            }
        }
        items
    }

    /// What the server gets, without our `PING`s.
    fn written(&mut self) -> Vec<u8> {
        let (mut all, mut part) = (Vec::new(), Vec::new());
        while !self.commands.is_empty() {
            self.commands.write(0, &mut part);
            all.append(&mut part);
        }
        all
    }

    /// The messages that the server gets: their lengths, numbers and users.
    fn messages(&mut self) -> Vec<(usize, u64, Vec<String>)> {
        let (written, mut messages) = (self.written(), Vec::new());
        let mut rest = &written[..];
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&rest[..at]).expect("text").trim_end();
            rest = &rest[at + 1..];
            let Some(line) = line.strip_prefix("PUB _LHTTP.presence.0000000000000007 ") else { continue };
            let len = line.parse().expect("a length");
            let (payload, others) = rest.split_at(len);
            rest = &others[2..];
            if let Some((0, MemberLine::Changes { number, mut members })) = read(payload) {
                let users = std::iter::from_fn(|| Some(next_member(&mut members)?.user.to_owned()));
                messages.push((len, number, users.collect()));
            }
        }
        messages
    }
}

fn member(user: &str) -> MemberItem<'_> {
    MemberItem::Member(OWN, Member { name: b"room", user, connections: 1, since: 0, info: None })
}

#[test]
fn a_node_without_presence_says_and_hears_nothing() {
    let mut tested = Tested::new();
    tested.members.connected(tested.now);
    tested.act(Duration::from_secs(60));
    assert!(tested.commands.is_empty() && tested.items().is_empty());
    assert_eq!(tested.members.due_at(), None);
    tested.members.say_goodbye(&mut tested.commands);
    assert!(tested.commands.is_empty());
}

#[test]
fn a_node_subscribes_and_says_its_sum_every_ten_seconds_at_first_with_a_hello() {
    let mut tested = Tested::new();
    tested.members.connected(tested.now);
    tested.hear(&[MemberItem::Rules]);
    tested.act(Duration::ZERO);
    let written = String::from_utf8(tested.written()).expect("text");
    for (sid, subject) in [(1, "_LHTTP.presence.*"), (2, "_LHTTP.presence-ask.0000000000000007")] {
        assert!(written.contains(&format!("SUB {subject} {}\r\n", (1_u64 << 51) + sid)), "{written}");
    }
    for is_hello in [true, false] {
        assert_eq!(tested.items(), ["Ask { source: 0, id: 0 }"]);
        tested.hear(&[MemberItem::Sum { source: OWN, id: 0, sum: Some(9) }]);
        let line = MemberLine::Digest { number: 0, sum: 9, is_hello };
        assert_eq!(tested.written(), tested.members.subjects.publish(&write(0, &line)));
        tested.act(DIGEST_EVERY - Duration::from_secs(1));
        assert!(tested.items().is_empty());
        tested.act(Duration::from_secs(1));
    }
    // The hello of another node is answered at once, but not more often than once a second.
    tested.items();
    let hello = write(0, &MemberLine::Digest { number: 0, sum: 0, is_hello: true });
    for _ in 0..5 {
        tested.act(Duration::from_millis(500));
        let (now, homes) = (tested.now, Homes::new(0, 1, 0));
        tested.members.message(b"_LHTTP.presence.0000000000000008", &hello, &mut tested.to_cores, homes, now);
    }
    tested.act(Duration::ZERO);
    let asked = tested.items().iter().filter(|item| *item == "Ask { source: 0, id: 0 }").count();
    assert_eq!(asked, 2);
}

#[test]
fn members_go_in_numbered_messages_that_the_server_takes() {
    let mut tested = Tested::new();
    let users: Vec<String> = (0..1000).map(|number| format!("user {number}")).collect();
    let items: Vec<_> = users.iter().map(|user| member(user)).collect();
    tested.hear(&items);
    let messages = tested.messages();
    assert!(messages.len() <= 3 && messages.iter().all(|(len, ..)| *len <= MESSAGE_BYTES_MAX), "{messages:?}");
    let sent: Vec<String> = messages.iter().flat_map(|(.., users)| users.clone()).collect();
    assert_eq!(sent, users);
    let first = messages.len() as u64 + 1;
    tested.message_bytes_max = 64;
    let info = "9".repeat(100);
    let big = Member { name: b"room", user: "big", connections: 1, since: 0, info: Some((&info, 0)) };
    let huge = "x".repeat(100);
    tested.hear(&[member("a"), MemberItem::Member(OWN, big), member(&huge), member("b")]);
    let messages = tested.messages();
    assert!(messages.iter().all(|(len, ..)| *len <= 64), "{messages:?}");
    let numbers: Vec<u64> = messages.iter().map(|(_, number, _)| *number).collect();
    let sent: Vec<String> = messages.into_iter().flat_map(|(.., users)| users).collect();
    assert_eq!((sent, numbers), (["a", "big", "b"].map(str::to_owned).to_vec(), (first..first + 3).collect()));
}

#[test]
fn messages_that_cannot_be_sent_have_numbers_so_that_others_miss_them() {
    let mut tested = Tested::new();
    tested.is_connected = false;
    tested.hear(&[member("lost")]);
    tested.is_connected = true;
    tested.hear(&[member("sent")]);
    assert_eq!(tested.messages().iter().map(|(_, number, _)| *number).collect::<Vec<_>>(), [2]);
    // A server that takes nothing does not fill the memory.
    let user = "x".repeat(128);
    let items = vec![member(&user); 100];
    (0..1000).for_each(|_| tested.hear(&items));
    assert!((WAITING_BYTES_MAX..2 * WAITING_BYTES_MAX).contains(&tested.commands.waiting_bytes()));
    tested.written();
    assert_eq!(tested.commands.waiting_bytes(), 0);
}

#[test]
fn a_flood_of_questions_costs_one_state_at_a_time() {
    let mut tested = Tested::new();
    tested.members.connected(tested.now);
    tested.hear(&[MemberItem::Rules]);
    tested.act(Duration::ZERO);
    let mut states = 0;
    for _ in 0..300 {
        tested.act(Duration::from_millis(10));
        (0..100).for_each(|_| tested.members.asked(&[1, 0], tested.now));
        tested.members.asked(&[1, 200], tested.now);
        let asked = tested.items().iter().filter(|item| *item == "State").count();
        states += asked;
        assert!(asked <= 1);
        if asked == 1 {
            tested.act(Duration::from_millis(10));
            assert!(tested.items().iter().all(|item| item != "State"), "one is coming");
            tested.hear(&[MemberItem::Begin(OWN), member("mike"), MemberItem::End(OWN)]);
        }
    }
    assert!((3..=4).contains(&states), "{states} in 3 s");
}

#[test]
fn the_end_is_said_once_and_nothing_after_it() {
    let mut tested = Tested::new();
    tested.hear(&[MemberItem::Rules]);
    tested.members.say_goodbye(&mut tested.commands);
    tested.hear(&[member("late")]);
    tested.members.say_goodbye(&mut tested.commands);
    let goodbye = tested.members.subjects.publish(&write(0, &MemberLine::Goodbye));
    assert_eq!(tested.written(), [&goodbye[..], b"PING\r\n"].concat());
}
