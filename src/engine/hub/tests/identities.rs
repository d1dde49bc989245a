//! Tokens that run out, and rules that change, with many connections.

use super::*;
use crate::{
    config::{ChannelRule, Who},
    engine::{grants::Identity, wall_clock::WallClock},
    protocol::channel,
    token::Claims,
};

/// The time of day at the core's start, in Unix seconds.
const START: u64 = 1_800_000_000;

fn rules(list: &[(&str, Who)]) -> Limits {
    let rule = |&(pattern, who): &(&str, Who)| pattern.parse::<ChannelRule>().unwrap().subscribe(who).publish(who);
    let channels = list.iter().map(rule).collect();
    let config = Config { channels, token_key: Some("key".into()), ..Config::default() };
    Limits { idle_timeout: 0, ping_interval: 0, ..Limits::new(&config, 1 << 30, 1) }
}

fn hub(list: &[(&str, Who)]) -> Hub {
    let mut hub = Hub::new(0, 1, rules(list));
    hub.wall_clock = WallClock::Virtual(Duration::from_secs(START));
    hub
}

/// The identity of a token that is valid for so many seconds from the core's start on.
fn user(name: &str, seconds: u64) -> Identity {
    let (subscribe, publish) = (Box::default(), Box::default());
    Identity::User(Arc::new(Claims { user: name.into(), subscribe, publish, info: None, expires: START + seconds }))
}

fn open_as(hub: &mut Hub, peers: &mut Peers, identity: Identity, channels: &[&str]) -> Slot {
    let slot = open(hub, peers);
    assert!(hub.identify(slot, identity));
    for name in channels {
        let kind = channel::kind(name.as_bytes());
        hub.may_subscribe(slot, None, name.as_bytes(), kind).expect(name);
        hub.subscribe(slot, name.as_bytes(), kind);
    }
    end_turn(hub, peers);
    peers.received[slot as usize].clear();
    slot
}

/// One turn without input.
fn turn(hub: &mut Hub, peers: &mut Peers, millis: u64) {
    hub.set_now(Duration::from_millis(millis));
    hub.go_on(1 << 20);
    hub.expire(&mut Plain);
    end_turn(hub, peers);
    hub.invariants();
}

/// All turns until this time, as the timers require.
fn run_until(hub: &mut Hub, peers: &mut Peers, millis: u64) {
    while let Some(next) = hub.next_deadline().filter(|next| *next < Duration::from_millis(millis)) {
        turn(hub, peers, next.as_millis() as u64 + 1);
    }
    turn(hub, peers, millis);
}

/// What a connection has got since the last call.
fn take(peers: &mut Peers, slot: Slot) -> String {
    String::from_utf8_lossy(&std::mem::take(&mut peers.received[slot as usize])).into_owned()
}

fn publish(hub: &mut Hub, peers: &mut Peers, channel: &str) {
    hub.publish([channel.as_bytes()].into_iter(), true, format!("<{channel}>").as_bytes(), None);
    end_turn(hub, peers);
}

fn close_all(hub: &mut Hub, peers: &mut Peers) {
    hub.sessions.slots().into_iter().for_each(|slot| hub.lost(&mut Plain, slot));
    end_turn(hub, peers);
    hub.assert_empty();
}

const OPEN: &[(&str, Who)] = &[("all.>", Who::Anyone), ("own.>", Who::User)];

#[test]
fn a_client_whose_token_has_run_out_is_told_and_closed_half_a_minute_later() {
    let (mut hub, mut peers) = (hub(OPEN), Peers::default());
    let slot = open_as(&mut hub, &mut peers, user("mike", 100), &["all.a", "own.a", "own.>"]);
    let server = [&b"own.s"[..], b"$s"];
    server.iter().for_each(|name| hub.subscribe_for_server(slot, name, Kind::Exact));
    run_until(&mut hub, &mut peers, 129_900);
    assert_eq!(take(&mut peers, slot), "", "it is valid for 30 s more than it says");
    run_until(&mut hub, &mut peers, 130_200);
    let said = take(&mut peers, slot);
    assert!(said.contains("code:401\r\nreason:token-expired\r\n\r\n"), "{said}");
    assert_eq!(said.matches("LHTTP").count(), 1, "{said}");
    assert!(hub.has_run_out(slot));
    assert_eq!((hub.stats.tokens_run_out, hub.stats.refused_token_expired), (1, 1));
    for name in ["own.a", "all.a", "own.s", "$s"] {
        publish(&mut hub, &mut peers, name);
    }
    let got = take(&mut peers, slot);
    assert!(!got.contains("<own.a>"), "{got}");
    for kept in ["<all.a>", "<own.s>", "<$s>"] {
        assert!(got.contains(kept), "no {kept} in {got}");
    }
    run_until(&mut hub, &mut peers, 159_900);
    assert!(hub.sessions.is_open(slot));
    run_until(&mut hub, &mut peers, 160_300);
    assert!(!hub.sessions.is_open(slot));
    assert!(take(&mut peers, slot).contains("token-expired"));
    close_all(&mut hub, &mut peers);
}

#[test]
fn a_new_token_in_time_lets_the_connection_go_on() {
    let (mut hub, mut peers) = (hub(OPEN), Peers::default());
    let slot = open_as(&mut hub, &mut peers, user("mike", 100), &["own.a"]);
    run_until(&mut hub, &mut peers, 90_000);
    assert!(hub.identify(slot, user("mike", 1_000)));
    run_until(&mut hub, &mut peers, 900_000);
    assert_eq!(take(&mut peers, slot), "");
    run_until(&mut hub, &mut peers, 1_031_000);
    assert!(take(&mut peers, slot).contains("token-expired"));
    assert!(hub.identify(slot, user("mike", 2_000)), "also after the end of the last one");
    assert!(!hub.has_run_out(slot));
    run_until(&mut hub, &mut peers, 1_500_000);
    assert!(hub.sessions.is_open(slot));
    run_until(&mut hub, &mut peers, 2_031_000);
    assert!(take(&mut peers, slot).contains("token-expired"), "the client is told once for each token");
    close_all(&mut hub, &mut peers);
}

#[test]
fn the_ends_of_many_tokens_in_the_same_second_take_several_turns() {
    let (mut hub, mut peers) = (hub(OPEN), Peers::default());
    let slots: Vec<Slot> = (0..3_000)
        .map(|number| open_as(&mut hub, &mut peers, user(&format!("u{number}"), 100), &["own.a", "own.b"]))
        .collect();
    run_until(&mut hub, &mut peers, 129_900);
    assert_eq!(hub.stats.tokens_run_out, 0);
    let (mut turns, mut before) = (0, 0);
    while hub.stats.tokens_run_out < 3_000 {
        turn(&mut hub, &mut peers, 130_200 + turns);
        let told = hub.stats.tokens_run_out - before;
        assert!(told <= 1_024, "{told} connections in one turn");
        before = hub.stats.tokens_run_out;
        turns += 1;
        assert!(turns < 100, "{before} were told");
    }
    assert!(turns >= 3);
    slots.iter().for_each(|&slot| assert!(take(&mut peers, slot).contains("token-expired")));
    assert_eq!(hub.router.subscriptions.len(), 0);
    close_all(&mut hub, &mut peers);
}

#[test]
fn a_token_that_runs_out_while_the_core_stands_still_ends_when_it_goes_on() {
    let (mut hub, mut peers) = (hub(OPEN), Peers::default());
    let slot = open_as(&mut hub, &mut peers, user("mike", 100), &["own.a"]);
    run_until(&mut hub, &mut peers, 50_000);
    // The timers do not count this time: they are still at the 50th second.
    hub.begin_turn(Duration::from_secs(3_600), Duration::from_millis(50_100));
    hub.go_on(1 << 20);
    end_turn(&mut hub, &mut peers);
    for extra in 1..40 {
        turn(&mut hub, &mut peers, 3_600_000 + 10 * extra);
    }
    assert!(take(&mut peers, slot).contains("token-expired"));
    assert!(hub.sessions.is_open(slot), "it still has half a minute for a new one");
    close_all(&mut hub, &mut peers);
}

#[test]
fn new_rules_are_applied_in_pieces_and_are_done_when_the_sweep_is() {
    let (mut hub, mut peers) = (hub(OPEN), Peers::default());
    let slots: Vec<Slot> = (0..500)
        .map(|number| open_as(&mut hub, &mut peers, user(&format!("u{}", number % 50), 1_000), &["own.a", "all.>"]))
        .collect();
    assert_eq!(hub.refresh_stats().identities, 500, "these tokens differ, although some have the same user");
    hub.set_limits(rules(&[("own.a", Who::Nobody), ("all.>", Who::Anyone)]));
    assert!(
        hub.may_subscribe(slots[0], None, b"own.a", Kind::Exact).is_err(),
        "new requests see the new rules at once"
    );
    let mut turns = 0;
    while hub.is_sweeping() {
        hub.set_now(Duration::from_millis(turns));
        hub.go_on(2_000);
        end_turn(&mut hub, &mut peers);
        hub.invariants();
        turns += 1;
        assert!(hub.wants_turn() || !hub.is_sweeping(), "nothing wakes the core for the rest");
    }
    assert!(turns > 10, "{turns} turns");
    assert_eq!(hub.stats.subscriptions_ended, 500);
    publish(&mut hub, &mut peers, "own.a");
    publish(&mut hub, &mut peers, "all.b");
    for slot in slots {
        let got = take(&mut peers, slot);
        assert!(got.contains("code:403\r\nreason:forbidden\r\nchannel:own.a\r\n\r\n"), "{got}");
        assert!(!got.contains("<own.a>") && got.contains("<all.b>"), "{got}");
    }
    close_all(&mut hub, &mut peers);
}

#[test]
fn limits_with_the_same_rules_visit_nobody() {
    let mut hub = hub(OPEN);
    hub.set_limits(rules(OPEN));
    assert!(!hub.is_sweeping());
    hub.set_limits(rules(&[]));
    assert!(hub.is_sweeping());
}

#[test]
fn identities_count_in_the_memory_budget_until_their_last_connection_ends() {
    let (mut hub, mut peers) = (hub(OPEN), Peers::default());
    let before = hub.kept_bytes();
    let mike = user(&"m".repeat(100), 1_000);
    let slots: Vec<Slot> = (0..4).map(|_| open_as(&mut hub, &mut peers, mike.clone(), &[])).collect();
    let kept = hub.kept_bytes() - before;
    assert!((200..400).contains(&kept), "{kept} bytes for one token of four connections");
    hub.lost(&mut Plain, slots[0]);
    end_turn(&mut hub, &mut peers);
    assert_eq!(hub.kept_bytes() - before, kept);
    close_all(&mut hub, &mut peers);
    assert_eq!(hub.kept_bytes(), before);
}

#[test]
fn a_head_that_one_user_may_use_is_not_kept_for_the_next_with_the_same_number() {
    let (mut hub, mut peers) = (hub(OPEN), Peers::default());
    let mike = open_as(&mut hub, &mut peers, user("mike", 1_000), &[]);
    let head = b"LHTTP/1.0 c\r\npublish:own.a\r\n\r\n";
    hub.keep_head(mike, head, [protocol_span(head)].into_iter(), false);
    let grant = hub.sessions[mike].grant();
    assert!(hub.router.repeats(grant, head));
    hub.lost(&mut Plain, mike);
    end_turn(&mut hub, &mut peers);
    let eve = open_as(&mut hub, &mut peers, user("eve", 1_000), &[]);
    assert_eq!(hub.sessions[eve].grant(), grant, "the number is used again");
    assert!(!hub.router.repeats(grant, head));
    close_all(&mut hub, &mut peers);
}

fn protocol_span(head: &[u8]) -> crate::protocol::message::Span {
    let start = head.windows(6).position(|bytes| bytes == b"own.a\r").unwrap_or_default();
    crate::protocol::message::Span::new(start, start + 5)
}
