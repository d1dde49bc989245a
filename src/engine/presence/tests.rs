use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const GRACE: Duration = Duration::from_secs(5);

fn connection(number: u32) -> Connection {
    Connection { core: number % 3, key: ConnectionKey { slot: number, generation: 7 } }
}

/// Rooms whose subscribers are told, and what they were told.
struct Tested {
    presence: Presence,
    now: Duration,
    events: Vec<(Duration, Value)>,
}

impl Tested {
    fn new() -> Self {
        let mut presence = Presence::default();
        presence.set_grace(GRACE);
        Self { presence, now: Duration::ZERO, events: Vec::new() }
    }

    fn enter(&mut self, number: u32, user: &str) {
        self.presence.enter(b"room", connection(number), user, Info::Same, 1_800_000_000);
    }

    fn leave(&mut self, number: u32) {
        self.presence.leave(b"room", connection(number));
    }

    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / 32 {
            self.now += Duration::from_millis(32);
            let (now, events) = (self.now, &mut self.events);
            self.presence.expire(now, |name, body| {
                assert_eq!(name, b"room");
                if let Some(body) = body.filter(|body| !body.is_empty()) {
                    events.push((now, serde_json::from_slice(body).expect("JSON")));
                }
                true
            });
            if let Some((_, event)) = self.events.last().filter(|(at, _)| *at == now) {
                assert_eq!(event["users"], json!(self.users().len()));
            }
        }
    }

    /// Lets what is due end, in rooms whose subscribers are told nothing.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.now += Duration::from_millis(32);
            self.presence.expire(self.now, |_, _| false);
        }
    }

    fn list(&self) -> Value {
        let list = self.presence.peek(b"room", usize::MAX);
        list.map_or(json!([]), |list| serde_json::from_slice(&list.json).expect("JSON"))
    }

    fn users(&self) -> Vec<String> {
        names(&self.list())
    }
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|user| user["user"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn who_was_in_a_list_is_mentioned_when_it_leaves_before_the_next_message() {
    let mut tested = Tested::new();
    tested.presence.set_grace(Duration::ZERO);
    tested.enter(1, "mike");
    tested.pass(Duration::from_secs(1));
    tested.events.clear();
    // The next message about changes must wait a little.
    tested.enter(2, "ann");
    tested.pass(Duration::from_millis(64));
    tested.events.clear();
    tested.enter(3, "eve");
    assert_eq!(tested.users(), ["ann", "eve", "mike"]);
    tested.presence.list(b"room", usize::MAX).expect("there is a room");
    tested.leave(3);
    tested.enter(4, "bob");
    tested.leave(4);
    tested.pass(Duration::from_secs(1));
    let [(_, event)] = &tested.events[..] else { panic!("one message: {:?}", tested.events) };
    assert_eq!(*event, json!({"joined": [], "left": [{"user": "eve"}], "users": 2}));
}

#[test]
fn users_come_and_go_with_their_connections_and_a_reconnect_shows_nothing() {
    let mut tested = Tested::new();
    tested.enter(1, "mike");
    tested.enter(2, "mike");
    tested.enter(3, "eve");
    tested.pass(Duration::from_secs(1));
    assert_eq!(
        tested.list(),
        json!([
            {"user": "eve", "connections": 1, "since": 1_800_000_000_u64},
            {"user": "mike", "connections": 2, "since": 1_800_000_000_u64},
        ])
    );
    assert_eq!(tested.events.len(), 1);
    assert_eq!(
        (names(&tested.events[0].1["joined"]), &tested.events[0].1["left"]),
        (vec!["mike".into(), "eve".into()], &json!([]))
    );
    tested.leave(1);
    tested.leave(3);
    tested.pass(GRACE / 2);
    tested.enter(4, "eve");
    tested.pass(2 * GRACE);
    assert_eq!((tested.users(), tested.events.len()), (vec!["eve".into(), "mike".into()], 1));
    tested.leave(2);
    tested.leave(4);
    tested.pass(GRACE / 2);
    assert_eq!(tested.users().len(), 2, "within the grace they are there");
    tested.pass(GRACE);
    assert_eq!(tested.events.len(), 2);
    assert_eq!(tested.events[1].1, json!({"joined": [], "left": [{"user": "mike"}, {"user": "eve"}], "users": 0}));
    assert_eq!((tested.presence.len(), tested.presence.bytes()), (0, 0));
}

#[test]
fn a_connection_that_becomes_another_user_changes_its_entry_and_information_is_shown() {
    let mut tested = Tested::new();
    tested.enter(1, "anonymous");
    tested.presence.enter(b"room", connection(1), "mike", Info::Json("{\"name\":\"M\"}"), 5);
    tested.presence.enter(b"room", connection(1), "mike", Info::Same, 9);
    tested.pass(2 * GRACE);
    assert_eq!(tested.list(), json!([{"user": "mike", "connections": 1, "since": 5, "info": {"name": "M"}}]));
    tested.presence.enter(b"room", connection(1), "mike", Info::Json("\"new\""), 9);
    tested.pass(Duration::from_secs(1));
    assert_eq!(tested.list()[0]["info"], json!("new"));
    assert_eq!(tested.events.last().unwrap().1["joined"][0]["info"], json!("new"), "subscribers learn of it");
}

#[test]
fn ten_thousand_who_come_within_a_second_are_told_of_in_a_few_messages() {
    let mut tested = Tested::new();
    for number in 0..10_000 {
        tested.enter(number, &format!("user {number}"));
        if number % 100 == 0 {
            tested.pass(Duration::from_millis(32) / 3);
            tested.now += Duration::from_millis(10);
        }
    }
    let joined_at = tested.now;
    tested.pass(Duration::from_secs(8));
    assert!(tested.events.len() <= 5, "{} messages", tested.events.len());
    let told: BTreeSet<String> = tested.events.iter().flat_map(|(_, event)| names(&event["joined"])).collect();
    let more: u64 = tested.events.iter().filter_map(|(_, event)| event["more"].as_u64()).sum();
    assert!(more > 5_000 && told.len() as u64 + more == 10_000, "{} users and {more}", told.len());
    let (last_at, last) = tested.events.last().expect("some");
    assert_eq!(last["users"], json!(10_000));
    assert!(last.to_string().len() < 4 * 1024, "all copies of a message have 32 MiB: {}", last.to_string().len());
    assert!(*last_at < joined_at + Duration::from_millis(500), "{last_at:?} and {joined_at:?}");
    let longest = tested.events.iter().map(|(_, event)| event.to_string().len()).max().expect("some");
    assert!(longest < EVENT_BYTES_MAX + 200, "{longest} bytes");
    let (list, _) = tested.presence.list(b"room", 10_000).expect("a list");
    assert!(list.json.len() < 10_200 && list.listed < 200, "a list is cut where it is too long");
    assert_eq!(list.listed + list.more, 10_000);
    // Those who were only counted are known, all the same: their leave is told, or counted.
    (0..10_000).for_each(|number| tested.leave(number));
    tested.events.clear();
    tested.pass(2 * GRACE);
    let [(_, event)] = &tested.events[..] else { panic!("{} messages", tested.events.len()) };
    let left = names(&event["left"]).len() as u64;
    assert_eq!((left + event["more"].as_u64().expect("a number"), &event["users"]), (10_000, &json!(0)));
    assert_eq!((tested.presence.len(), tested.presence.bytes()), (0, 0));
}

#[test]
fn a_change_that_is_only_counted_is_not_told_later() {
    let mut tested = Tested::new();
    tested.presence.tell_at_most(1);
    tested.enter(1, "mike");
    tested.enter(2, "eve");
    tested.presence.enter(b"room", connection(3), "bob", Info::Json("1"), 7);
    tested.pass(Duration::from_secs(1));
    tested.presence.enter(b"room", connection(3), "bob", Info::Json("2"), 7);
    tested.leave(2);
    tested.pass(2 * GRACE);
    let told: Vec<_> = tested.events.iter().map(|(_, event)| event).collect();
    let [joined, shown, left] = told[..] else { panic!("{told:?}") };
    assert_eq!(
        (names(&joined["joined"]), &joined["users"], &joined["more"]),
        (vec!["mike".into()], &json!(3), &json!(2))
    );
    assert_eq!((&shown["joined"][0]["info"], &shown["users"], &shown["more"]), (&json!(2), &json!(3), &Value::Null));
    assert_eq!(*left, json!({"joined": [], "left": [{"user": "eve"}], "users": 2}));
}

#[test]
fn a_list_is_encoded_once_until_the_room_changes_or_a_second_is_over() {
    let mut tested = Tested::new();
    (0..100).for_each(|number| tested.enter(number, &format!("user {number}")));
    tested.pass(Duration::from_millis(64));
    let before = tested.presence.bytes();
    let ask = |tested: &mut Tested, bytes_max| {
        let (list, is_new) = tested.presence.list(b"room", bytes_max).expect("a list");
        (list.clone(), is_new)
    };
    let (list, is_new) = ask(&mut tested, 1000);
    assert!(is_new && list.more > 50 && tested.presence.bytes() > before + 1000);
    assert_eq!(ask(&mut tested, 1000), (list, false));
    assert!(ask(&mut tested, 2000).1, "a longer one is another one");
    tested.leave(1);
    assert_eq!(ask(&mut tested, 9000).0, tested.presence.peek(b"room", usize::MAX).expect("a list"));
    tested.enter(1, "a");
    let (list, is_new) = ask(&mut tested, 9000);
    assert_eq!((is_new, names(&serde_json::from_slice(&list.json).expect("JSON"))[0].clone()), (true, "a".to_owned()));
    assert!(tested.presence.next_deadline() <= Some(tested.now + Duration::from_secs(1)));
    tested.pass(2 * GRACE);
    assert!(ask(&mut tested, 9000).1);
    for number in 0..1000 {
        let room = format!("room {number}");
        tested.presence.enter(room.as_bytes(), connection(number), "a", Info::Same, 7);
        assert!(tested.presence.list(room.as_bytes(), 9000).is_some_and(|(_, is_new)| is_new));
    }
    assert!(!ask_room(&mut tested, 999) && ask_room(&mut tested, 0), "some are kept");
    assert_eq!(tested.presence.list(b"nobody", 9000), None);
}

fn ask_room(tested: &mut Tested, number: u32) -> bool {
    tested.presence.list(format!("room {number}").as_bytes(), 9000).expect("a list").1
}

#[test]
fn a_room_that_empties_and_fills_again_tells_it_no_sooner_than_any_other() {
    let mut tested = Tested::new();
    tested.presence.set_grace(Duration::ZERO);
    for number in 0..50 {
        tested.enter(number, "mike");
        tested.pass(Duration::from_millis(64));
        tested.leave(number);
        tested.pass(Duration::from_millis(64));
    }
    let seconds = tested.now.as_secs() as usize + 1;
    assert!(tested.events.len() <= 3 * seconds, "{} messages in {seconds} s", tested.events.len());
    tested.pass(Duration::from_secs(1));
    assert_eq!((tested.presence.len(), tested.presence.bytes()), (0, 0));
}

#[test]
fn nobody_is_told_of_a_room_without_events_and_its_users_go_all_the_same() {
    let mut tested = Tested::new();
    tested.enter(1, "mike");
    let expire = |tested: &mut Tested, seconds| {
        for _ in 0..seconds * 32 {
            tested.now += Duration::from_millis(32);
            tested.presence.expire(tested.now, |_, body| {
                assert_eq!(body, None);
                false
            });
        }
    };
    expire(&mut tested, 1);
    assert_eq!(tested.users(), ["mike"]);
    tested.leave(1);
    expire(&mut tested, 6);
    assert_eq!(tested.presence.len(), 0);
}

/// The bytes of a name in the tests of memory, and the most that a user with a connection takes beside it.
const NAME_BYTES: usize = 13;
const OVERHEAD_MAX: usize = 64;

#[test]
fn a_member_takes_little_memory_beside_its_name() {
    let mut tested = Tested::new();
    for number in 0..20_000 {
        tested.enter(number, &format!("~{number:012}"));
        if number % 97 == 96 {
            let expected = (number as usize + 1) * (NAME_BYTES + OVERHEAD_MAX) + 1024;
            tested.settle();
            assert!(tested.presence.bytes() <= expected, "{} of {} members", tested.presence.bytes(), number + 1);
        }
    }
}

#[test]
fn a_room_of_one_takes_little_memory() {
    let mut tested = Tested::new();
    for number in 0..10_000 {
        let (room, user) = (format!("room.{number:08}"), format!("~{number:012}"));
        tested.presence.enter(room.as_bytes(), connection(number), &user, Info::Same, 7);
    }
    tested.settle();
    let bytes = tested.presence.bytes() / 10_000;
    assert!(bytes <= 2 * NAME_BYTES + 384, "{bytes} bytes a room");
}

#[test]
fn a_rush_leaves_no_memory_behind() {
    for users in [1, 100, 10_000] {
        let mut tested = Tested::new();
        tested.presence.set_grace(Duration::ZERO);
        for number in 0..10_000 {
            tested.enter(number, &format!("user {}", number % users));
        }
        tested.settle();
        let full = tested.presence.bytes();
        (0..9_990).for_each(|number| tested.leave(number));
        tested.settle();
        let expected: BTreeSet<_> = (9_990..10_000).map(|number| format!("user {}", number % users)).collect();
        assert_eq!(tested.users().into_iter().collect::<BTreeSet<_>>(), expected);
        assert!(tested.presence.bytes() <= 4096, "{} of {full} bytes", tested.presence.bytes());
        (9_990..10_000).for_each(|number| tested.leave(number));
        tested.settle();
        assert_eq!((tested.presence.len(), tested.presence.bytes()), (0, 0));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u32, u8),
    Leave(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u32, 0..4_u8).prop_map(|(connection, user)| Step::Enter(connection, user)),
        3 => (0..8_u32).prop_map(Step::Leave),
        2 => (0..8_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Who follows the messages knows who is there; between two messages is the least time.
    #[test]
    fn the_messages_tell_the_list(steps in proptest::collection::vec(step(), 1..80), is_short in any::<bool>()) {
        let mut tested = Tested::new();
        if is_short {
            tested.presence.tell_at_most(70);
        }
        let mut model: BTreeMap<u32, u8> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Enter(connection, user) => {
                    tested.enter(connection, &format!("user {user}"));
                    model.insert(connection, user);
                }
                Step::Leave(connection) => {
                    tested.leave(connection);
                    model.remove(&connection);
                }
                Step::Pass(millis) => tested.pass(Duration::from_millis(millis)),
            }
            let here: BTreeSet<String> = model.values().map(|user| format!("user {user}")).collect();
            let listed: BTreeSet<String> = tested.users().into_iter().collect();
            prop_assert!(here.is_subset(&listed), "{here:?} of {listed:?}");
        }
        tested.pass(GRACE + Duration::from_secs(2));
        let here: BTreeSet<String> = model.values().map(|user| format!("user {user}")).collect();
        prop_assert_eq!(&tested.users().into_iter().collect::<BTreeSet<_>>(), &here);
        let (mut known, mut is_complete) = (BTreeSet::new(), true);
        for (_, event) in &tested.events {
            for name in names(&event["left"]) {
                prop_assert!(known.remove(&name) || !is_complete, "{name} was not known");
            }
            known.extend(names(&event["joined"]));
            is_complete &= event.get("more").is_none();
            prop_assert!(!is_complete || event["users"] == json!(known.len()), "{event} and {known:?}");
        }
        prop_assert!(known == here || !is_complete);
        prop_assert_eq!(tested.events.last().map_or(0, |(_, event)| event["users"].as_u64().expect("a number")), here.len() as u64);
        for pair in tested.events.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 >= Duration::from_millis(333));
        }
        (0..8).for_each(|connection| tested.leave(connection));
        tested.pass(GRACE + Duration::from_secs(2));
        prop_assert_eq!((tested.presence.len(), tested.presence.bytes()), (0, 0));
    }
}
