use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::protocol::channel::{check_subscribe, matches};

fn kind(name: &str) -> Kind {
    check_subscribe(name.as_bytes()).expect("a valid name")
}

fn subscribe(table: &mut Subscriptions, slot: Slot, name: &str) -> Subscribed {
    table.subscribe(slot, name.as_bytes(), kind(name))
}

fn unsubscribe(table: &mut Subscriptions, slot: Slot, name: &str) -> Option<Unsubscribed> {
    table.unsubscribe(slot, name.as_bytes(), kind(name))
}

fn close(table: &mut Subscriptions, slot: Slot) -> BTreeSet<String> {
    let mut ended = BTreeSet::new();
    table.close(slot, &mut |name, kind_of_it| {
        let name = String::from_utf8(name.to_vec()).expect("a name of this test");
        assert_eq!(kind_of_it, kind(&name));
        assert!(ended.insert(name), "one name was reported twice");
    });
    ended
}

/// The slots that a publish reaches, once for each matching subscription, and the peers that get it.
fn reached(table: &Subscriptions, channel: &str) -> (Vec<Slot>, u64) {
    let mut audiences = SmallVec::from_elem(AudienceId(u32::MAX), 3);
    table.find_all(table.hash(channel.as_bytes()), channel.as_bytes(), &mut audiences);
    let mut slots: Vec<Slot> =
        audiences.iter().flat_map(|&id| table.subscribers(id)).map(|subscriber| subscriber.slot()).collect();
    slots.sort_unstable();
    (slots, audiences.iter().fold(0, |peers, &id| peers | table.peers(id)))
}

fn assert_everything_is_freed(table: &Subscriptions) {
    table.invariants();
    assert_eq!((table.len(), table.audiences(), table.channels.len(), table.patterns.len()), (0, 0, 0, 0));
    assert!(table.held.iter().all(|list| list.is_empty() && !list.spilled()));
}

#[test]
fn a_subscription_costs_what_the_documentation_says() {
    assert_eq!(size_of::<HeldList>(), 24);
    assert_eq!(size_of::<Subscriber>(), 8);
    assert_eq!(size_of::<Audience>(), 64);
    assert_eq!(Slab::<Audience>::with_capacity(1).capacity(), 1);
    let mut table = Subscriptions::new(1);
    subscribe(&mut table, 0, "a");
    assert!(!table.held[0].spilled() && !table.audiences[0].subscribers.spilled());
}

#[test]
fn twice_is_once() {
    let mut table = Subscriptions::new(1);
    for name in ["a", "a.*"] {
        let one = subscribe(&mut table, 0, name);
        assert!(one.new && one.first);
        assert_eq!(subscribe(&mut table, 0, name), Subscribed { audience: one.audience, new: false, first: false });
        assert_eq!(
            subscribe(&mut table, 1, name),
            Subscribed { audience: one.audience, new: true, first: false },
            "another connection is the second subscriber"
        );
        assert_eq!(table.subscribers(one.audience).len(), 2);
    }
    assert_eq!((table.count(0), table.count(1), table.len(), table.audiences()), (2, 2, 4, 2));
    table.invariants();
}

#[test]
fn unsubscribing_without_a_subscription_has_no_effect() {
    let mut table = Subscriptions::new(1);
    subscribe(&mut table, 1, "a");
    assert_eq!(unsubscribe(&mut table, 0, "a"), None);
    assert_eq!(unsubscribe(&mut table, 7, "a"), None);
    assert_eq!(unsubscribe(&mut table, 1, "b"), None);
    assert_eq!(unsubscribe(&mut table, 1, "*"), None);
    assert_eq!(unsubscribe(&mut table, 1, "a"), Some(Unsubscribed { last: true }));
    assert_eq!(unsubscribe(&mut table, 1, "a"), None);
    assert!(close(&mut table, 9).is_empty());
    assert_everything_is_freed(&table);
}

#[test]
fn a_publish_reaches_a_connection_once_per_matching_subscription() {
    let mut table = Subscriptions::new(1);
    for name in ["a.b", "a.*", ">", "a.c"] {
        subscribe(&mut table, 3, name);
    }
    subscribe(&mut table, 1, "a.>");
    assert_eq!(reached(&table, "a.b"), (vec![1, 3, 3, 3], 0));
    assert_eq!(table.find(b"a.*"), None, "a pattern is not a channel to publish to");
    assert_eq!(table.find(b"a..b"), None);
}

#[test]
fn interest_of_peers_keeps_an_audience_without_local_subscribers() {
    let mut table = Subscriptions::new(1);
    for name in ["a", "*"] {
        table.set_interest(1, name.as_bytes(), kind(name), true);
        table.set_interest(63, name.as_bytes(), kind(name), true);
        assert!(subscribe(&mut table, 0, name).first, "peers do not count as local");
    }
    let id = table.find(b"a").expect("it has interest");
    table.set_live_at(id, 17);
    assert_eq!(table.live_at(id), 17);
    assert_eq!(reached(&table, "a"), (vec![0, 0], 1 << 1 | 1 << 63));
    assert_eq!(table.local().count(), 2);
    assert_eq!(close(&mut table, 0).len(), 2);
    assert_eq!((table.local().count(), table.audiences()), (0, 2));
    table.set_interest(1, b"a", Kind::Exact, false);
    table.set_interest(5, b"a", Kind::Exact, false);
    table.set_interest(5, b"nobody", Kind::Exact, false);
    assert_eq!(reached(&table, "a"), (vec![], 1 << 1 | 1 << 63));
    for name in ["a", "*"] {
        table.set_interest(63, name.as_bytes(), kind(name), false);
    }
    assert_eq!((reached(&table, "a"), table.audiences()), ((vec![], 1 << 1), 1));
    table.set_interest(1, b"*", Kind::Pattern, false);
    assert_everything_is_freed(&table);
}

#[test]
fn a_big_room_that_empties_gives_its_memory_back() {
    let mut table = Subscriptions::new(1);
    let room = subscribe(&mut table, 0, "room").audience;
    (1..10_000).for_each(|slot| assert!(!subscribe(&mut table, slot, "room").first));
    assert!(table.audiences[0].subscribers.capacity() >= 10_000);
    for slot in 0..9_999 {
        assert_eq!(unsubscribe(&mut table, slot, "room"), Some(Unsubscribed { last: false }));
        let list = &table.audiences[0].subscribers;
        assert!(list.capacity() <= 4 * list.len().max(1), "{} of {}", list.len(), list.capacity());
    }
    assert_eq!(table.subscribers(room).len(), 1);
    assert!(!table.audiences[0].subscribers.spilled());
    table.invariants();
}

#[test]
fn a_connection_with_one_subscription_left_of_many_has_no_allocation() {
    let mut table = Subscriptions::new(1);
    (0..1_000).for_each(|n| assert!(subscribe(&mut table, 0, &format!("c{n}")).first));
    (0..999).for_each(|n| assert!(unsubscribe(&mut table, 0, &format!("c{n}")).is_some()));
    assert!(!table.held[0].spilled());
    assert_eq!(close(&mut table, 0), BTreeSet::from(["c999".to_owned()]));
    assert_everything_is_freed(&table);
}

#[test]
fn a_hundred_thousand_channels_come_and_go() {
    let mut table = Subscriptions::new(1);
    for n in 0..100_000u32 {
        subscribe(&mut table, n % 1_000, &format!("room.{n}"));
    }
    for n in 0..100_000u32 {
        assert_eq!(reached(&table, &format!("room.{n}")).0, [n % 1_000]);
    }
    let full = table.audiences.capacity();
    (0..1_000).for_each(|slot| assert_eq!(close(&mut table, slot).len(), 100));
    assert_everything_is_freed(&table);
    assert!(table.audiences.capacity() < full / 100, "{} of {full}", table.audiences.capacity());
}

#[test]
fn the_names_of_two_hundred_connections_leave_no_memory_behind() {
    const NAMES: u32 = 300;
    let mut table = Subscriptions::new(8);
    subscribe(&mut table, 0, "room");
    for slot in 1..=200 {
        for number in 0..NAMES {
            // Long and short names, patterns of several shapes, and deep ones.
            let text = format!("{slot}.{number}.x{}", "x".repeat(number as usize % 200));
            let name = [".a", ".*", ".>", ".*.a.b.c.*", ".a.>"][number as usize % 5];
            subscribe(&mut table, slot, &(text + name));
        }
    }
    table.invariants();
    let (bytes, full) = (table.bytes(), table.audiences.capacity());
    assert!(bytes > 200 * NAMES as usize * (24 + 96 + 80));
    for slot in 1..=200 {
        assert_eq!(close(&mut table, slot).len(), NAMES as usize);
        assert_eq!(table.charged(slot), 0);
    }
    table.invariants();
    assert_eq!(table.bytes(), 24 + 96 + 4);
    assert!(table.audiences.capacity() < full / 100, "{} of {full}", table.audiences.capacity());
    assert!(table.channels.capacity() < 100 && table.patterns.capacity() < 100 && table.charged.capacity() < 100);
    assert!(table.deep_held.is_empty() && table.held.iter().skip(1).all(|list| !list.spilled()));
}

#[test]
fn a_connection_is_charged_for_a_name_on_each_core() {
    let mut table = Subscriptions::new(3);
    let charge = |name: &str| 24 + 3 * (96 + name.len());
    let names = ["a", "bb", "c.*", "dd.>", "a.*.b.*.c.*.d", "eeeeee"];
    for (index, name) in names.into_iter().enumerate() {
        subscribe(&mut table, 2, name);
        subscribe(&mut table, 2, name);
        assert_eq!(table.charged(2), names[..=index].iter().map(|name| charge(name)).sum::<usize>());
        table.invariants();
    }
    assert_eq!((table.deep_held(2), table.deep_held(1), table.charged(1)), (1, 0, 0));
    for name in names {
        let before = table.charged(2);
        unsubscribe(&mut table, 2, name);
        assert_eq!(before - table.charged(2), charge(name));
        table.invariants();
    }
    assert_everything_is_freed(&table);
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(Slot, String),
    SubscribePending(Slot, String),
    Join(Slot, String),
    Unsubscribe(Slot, String),
    Close(Slot),
    Interest(u32, String, bool),
    ClearPeer(u32),
}

/// Names over so few tokens that they are often equal and match each other.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&["a", "b", "*", ">"][..]), 1..4)
        .prop_map(|tokens| tokens.join("."))
        .prop_filter("a valid name", |name| check_subscribe(name.as_bytes()).is_ok())
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..6u32;
    prop_oneof![
        6 => (slot(), name()).prop_map(|(slot, name)| Step::Subscribe(slot, name)),
        3 => (slot(), name()).prop_map(|(slot, name)| Step::SubscribePending(slot, name)),
        3 => (slot(), name()).prop_map(|(slot, name)| Step::Join(slot, name)),
        4 => (slot(), name()).prop_map(|(slot, name)| Step::Unsubscribe(slot, name)),
        1 => slot().prop_map(Step::Close),
        2 => (0..3u32, name(), any::<bool>()).prop_map(|(peer, name, on)| Step::Interest(peer, name, on)),
        1 => (0..3u32).prop_map(Step::ClearPeer),
    ]
}

/// The oracle: sets of pairs. Each query visits all of them.
#[derive(Default)]
struct Model {
    subscriptions: BTreeSet<(Slot, String)>,
    /// Those of them that get nothing yet.
    pending: BTreeSet<(Slot, String)>,
    interest: BTreeSet<(u32, String)>,
}

impl Model {
    fn local(&self) -> BTreeSet<&str> {
        self.subscriptions.iter().map(|(_, name)| &**name).collect()
    }

    fn reached(&self, channel: &str) -> (Vec<Slot>, u64) {
        let hit = |name: &str| matches(name.as_bytes(), channel.as_bytes());
        let joined = self.subscriptions.difference(&self.pending);
        let slots = joined.filter(|(_, name)| hit(name)).map(|&(slot, _)| slot).collect();
        let peers = self.interest.iter().filter(|(_, name)| hit(name)).fold(0, |peers, &(peer, _)| peers | 1 << peer);
        (slots, peers)
    }

    /// Applies a step to both, and compares the table's result.
    fn step(&mut self, table: &mut Subscriptions, step: Step) {
        let before: BTreeSet<String> = self.local().into_iter().map(str::to_owned).collect();
        match step {
            Step::Subscribe(slot, name) => {
                let Subscribed { audience, new, first } = subscribe(table, slot, &name);
                let has_joined = !self.pending.contains(&(slot, name.clone()));
                let is_among = table.subscribers(audience).iter().any(|subscriber| subscriber.slot() == slot);
                assert_eq!(is_among, has_joined, "a pending subscriber stays pending");
                assert_eq!(first, !before.contains(&name));
                assert_eq!(new, self.subscriptions.insert((slot, name)));
            }
            Step::SubscribePending(slot, name) => {
                let Subscribed { new, first, .. } = table.subscribe_pending(slot, name.as_bytes(), kind(&name));
                assert_eq!(first, !before.contains(&name));
                assert_eq!(new, self.subscriptions.insert((slot, name.clone())));
                self.pending.insert((slot, name));
            }
            Step::Join(slot, name) => {
                let was = self.pending.remove(&(slot, name.clone()));
                assert_eq!(table.is_pending(slot, name.as_bytes(), kind(&name)), was);
                assert_eq!(table.join(slot, name.as_bytes(), kind(&name)), was);
            }
            Step::Unsubscribe(slot, name) => {
                self.pending.remove(&(slot, name.clone()));
                let was = self.subscriptions.remove(&(slot, name.clone()));
                let last = !self.local().contains(&*name);
                assert_eq!(unsubscribe(table, slot, &name), was.then_some(Unsubscribed { last }));
            }
            Step::Close(slot) => {
                self.subscriptions.retain(|(other, _)| *other != slot);
                self.pending.retain(|(other, _)| *other != slot);
                let after = self.local().into_iter().map(str::to_owned).collect();
                assert_eq!(close(table, slot), before.difference(&after).cloned().collect());
            }
            Step::Interest(peer, name, interested) => {
                table.set_interest(peer, name.as_bytes(), kind(&name), interested);
                if interested {
                    self.interest.insert((peer, name));
                } else {
                    self.interest.remove(&(peer, name));
                }
            }
            Step::ClearPeer(peer) => {
                let theirs = |(other, name): &(u32, String)| (*other == peer).then(|| name.clone());
                for name in self.interest.iter().filter_map(theirs).collect::<Vec<_>>() {
                    table.set_interest(peer, name.as_bytes(), kind(&name), false);
                    self.interest.remove(&(peer, name));
                }
            }
        }
    }

    fn compare(&self, table: &Subscriptions) {
        let names: BTreeSet<&str> = self.subscriptions.iter().chain(&self.interest).map(|(_, name)| &**name).collect();
        assert_eq!((table.len(), table.audiences()), (self.subscriptions.len(), names.len()));
        let local: HashMap<&[u8], Kind> = table.local().collect();
        assert_eq!(local, self.local().into_iter().map(|name| (name.as_bytes(), kind(name))).collect());
        for slot in 0..7 {
            assert_eq!(table.count(slot), self.subscriptions.iter().filter(|(other, _)| *other == slot).count());
            for &name in &names {
                let subscribed = self.subscriptions.contains(&(slot, name.to_owned()));
                assert_eq!(table.is_subscribed(slot, name.as_bytes(), kind(name)), subscribed);
            }
        }
        for channel in ["a", "b", "c", "a.a", "a.b", "b.a", "b.b", "a.c", "a.b.a", "b.b.b", "a.a.b", "a.b.c.d"] {
            assert_eq!(reached(table, channel), self.reached(channel), "{channel}");
            let exact = names.contains(channel);
            assert_eq!(table.find(channel.as_bytes()).is_some(), exact);
        }
    }
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_set_of_pairs(steps in prop::collection::vec(step(), 1..120)) {
        let (mut table, mut model) = (Subscriptions::new(1), Model::default());
        for step in steps {
            model.step(&mut table, step);
            table.invariants();
            model.compare(&table);
        }
        (0..6).for_each(|slot| model.step(&mut table, Step::Close(slot)));
        (0..3).for_each(|peer| model.step(&mut table, Step::ClearPeer(peer)));
        assert_everything_is_freed(&table);
    }
}
