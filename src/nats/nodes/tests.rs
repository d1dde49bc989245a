use std::sync::Arc;

use mio::{Poll, Token};

use super::*;
use crate::{
    engine::{
        bridge_link::{BridgeLink, Uplink, link_bridge},
        relay::{self, Item, Member},
        wake::waker,
    },
    nats::member_lines::put_member,
};

const NODE: u64 = 7;

struct Tested {
    nodes: Nodes,
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
        Self { nodes: Nodes::default(), to_cores, link, now: Instant::now(), _poll: poll }
    }

    fn take(&mut self, node: u64, line: &MemberLine<'_>) -> bool {
        self.nodes.take((node, 0), line, &mut self.to_cores, Homes::new(0, 1, 0), self.now)
    }

    /// Takes message `number`, which has one member.
    fn change(&mut self, number: u64, user: &str) {
        let mut members = Vec::new();
        put_member(&mut members, &Member { name: b"room", user, connections: 1, since: 0, info: None });
        self.take(NODE, &MemberLine::Changes { number, members: &members });
    }

    fn digest(&mut self, number: u64, sum: u64) {
        self.take(NODE, &MemberLine::Digest { number, sum, is_hello: false });
    }

    /// The items that the core has got, in words.
    fn items(&mut self) -> Vec<String> {
        self.to_cores.send();
        let mut items = Vec::new();
        while let Some(batch) = self.link.take() {
            let mut rest = &batch[..];
            while let Some(Item::Members(item)) = relay::next(&mut rest) {
                items.push(match item {
                    MemberItem::Member(source, member) => format!("{source}: {}", member.user),
                    item => format!("{item:?}"),
                });
            }
        }
        items
    }

    fn is_stale(&mut self) -> bool {
        self.now += ASK_PAUSE;
        !self.nodes.take_stale(self.now).is_empty()
    }

    /// A node whose state has come, up to message 2.
    fn loaded() -> Self {
        let mut tested = Self::new();
        tested.take(NODE, &MemberLine::Begin { number: 1 });
        tested.take(NODE, &MemberLine::End { number: 2 });
        assert!(!tested.is_stale());
        tested.items();
        tested
    }

    /// Lets the core answer the check of its sum.
    fn answer(&mut self, sum: Option<u64>) {
        let items = self.items();
        let id = self.nodes.last_check;
        assert_eq!(items, [format!("Ask {{ source: 1, id: {id} }}")]);
        self.nodes.take_sum(0, (1, id), sum);
    }
}

#[test]
fn a_node_that_is_new_or_has_sent_more_than_has_come_is_asked_once_a_second() {
    let mut tested = Tested::new();
    tested.change(5, "mike");
    assert_eq!(tested.items(), ["1: mike"], "what has come is taken all the same");
    assert_eq!(tested.nodes.take_stale(tested.now), [(NODE, 0)]);
    assert_eq!(tested.nodes.take_stale(tested.now), [], "it was just asked");
    assert!(tested.is_stale());
    tested.take(NODE, &MemberLine::Begin { number: 6 });
    tested.change(7, "eve");
    tested.take(NODE, &MemberLine::End { number: 8 });
    assert_eq!(tested.items(), ["Begin(1)", "1: eve", "End(1)"]);
    assert!(!tested.is_stale());
    tested.change(8, "again");
    tested.change(7, "again");
    assert_eq!(tested.items(), Vec::<String>::new(), "these have come before");
    assert!(!tested.is_stale());
    tested.change(10, "late");
    assert!(tested.is_stale() && tested.items() == ["1: late"]);
}

#[test]
fn a_state_with_a_gap_removes_nobody() {
    let mut tested = Tested::loaded();
    tested.take(NODE, &MemberLine::Begin { number: 3 });
    tested.take(NODE, &MemberLine::End { number: 5 });
    assert_eq!(tested.items(), ["Begin(1)"]);
    assert!(tested.is_stale());
}

#[test]
fn a_digest_with_another_number_or_sum_shows_that_something_is_missing() {
    let mut tested = Tested::loaded();
    for number in [3, 1] {
        tested.digest(number, 0);
        assert!(tested.is_stale() && tested.items().is_empty(), "number {number}");
        tested.take(NODE, &MemberLine::Begin { number: number + 1 });
        tested.take(NODE, &MemberLine::End { number: number + 2 });
        tested.items();
    }
    tested.digest(3, 99);
    tested.answer(Some(99));
    assert!(!tested.is_stale());
    tested.digest(3, 99);
    tested.answer(None);
    assert!(!tested.is_stale(), "the core is about to change it");
    tested.digest(3, 99);
    tested.answer(Some(98));
    assert!(tested.is_stale());
}

#[test]
fn a_node_whose_sum_is_always_another_is_asked_more_and_more_rarely() {
    let mut tested = Tested::loaded();
    let (mut number, mut asked) = (2, Vec::new());
    for digest in 0..100 {
        tested.digest(number, 99);
        if !tested.items().is_empty() {
            tested.nodes.take_sum(0, (1, tested.nodes.last_check), Some(0));
            assert!(tested.is_stale());
            asked.push(digest);
            tested.take(NODE, &MemberLine::Begin { number: number + 1 });
            tested.take(NODE, &MemberLine::End { number: number + 2 });
            number += 2;
            tested.items();
        }
    }
    assert_eq!(asked, [0, 1, 4, 11, 26, 55, 84]);
}

#[test]
fn a_node_that_is_silent_or_says_goodbye_is_gone() {
    let mut tested = Tested::loaded();
    tested.now += SILENCE_MAX - Duration::from_secs(2);
    tested.digest(2, 0);
    tested.answer(Some(0));
    tested.now += SILENCE_MAX - Duration::from_secs(2);
    tested.nodes.expire(&mut tested.to_cores, tested.now);
    assert_eq!(tested.items(), Vec::<String>::new());
    tested.now += Duration::from_secs(2);
    tested.nodes.expire(&mut tested.to_cores, tested.now);
    assert_eq!(tested.items(), ["Gone(1)"]);
    tested.change(3, "mike");
    assert_eq!(tested.items(), ["2: mike"], "it is a new source");
    tested.take(NODE, &MemberLine::Goodbye);
    assert_eq!(tested.items(), ["Gone(2)"]);
    tested.take(NODE, &MemberLine::Goodbye);
    assert_eq!(tested.nodes.due_at(true, tested.now), None);
}

#[test]
fn a_bounded_number_of_nodes_is_known_and_one_that_says_hello_is_answered() {
    let mut tested = Tested::new();
    for node in 0..1000 {
        let is_answered = tested.take(node, &MemberLine::Digest { number: 1, sum: 0, is_hello: true });
        assert_eq!(is_answered, node < NODES_MAX as u64);
    }
    assert_eq!(tested.nodes.by_id.len(), NODES_MAX);
    assert_eq!(tested.nodes.take_stale(tested.now).len(), NODES_MAX);
}

#[test]
fn a_core_that_is_behind_gets_the_whole_state_later() {
    let mut tested = Tested::loaded();
    let mut number = 2;
    while !tested.is_stale() {
        for _ in 0..1000 {
            number += 1;
            tested.change(number, "mike");
        }
        assert!(number < 1_000_000, "a core that takes nothing gets everything");
    }
    tested.items();
    tested.take(NODE, &MemberLine::Begin { number: number + 1 });
    tested.take(NODE, &MemberLine::End { number: number + 2 });
    assert_eq!(tested.items(), ["Begin(1)", "End(1)"]);
}
