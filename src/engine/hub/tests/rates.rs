//! Rates: the path for runs of messages admits exactly those that are admitted one by one.

use proptest::prelude::*;

use super::*;
use crate::{
    engine::{
        addresses::{Ticket, TooMany},
        arrival::Arrival,
        rates::{Buckets, Rates, SECOND},
    },
    protocol::message::Span,
};

const HEAD: &str = "LHTTP/1.0 chat\r\npublish:echo\r\n\r\n";

/// Publishes each message to `echo`, and lets further ones repeat its head.
struct Publishing;

impl Application for Publishing {
    only_websockets!();

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {}

    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) {
        hub.publish([&b"echo"[..]].into_iter(), is_text, payload, None);
        let start = HEAD.find("echo").expect("it is there");
        hub.keep_head(slot, HEAD.as_bytes(), [Span::new(start, start + 4)].into_iter(), false);
    }

    fn on_close(&mut self, _: &mut Hub, _: Slot) {}
}

fn limited(settings: &[(&str, usize)]) -> Limits {
    let mut config = Config::default();
    settings.iter().for_each(|(name, rate)| config.set(name, &rate.to_string()).expect("an option"));
    Limits::new(&config, 1 << 30, 1)
}

#[test]
fn a_connection_whose_address_has_no_place_in_the_table_is_counted() {
    let mut hub = Hub::new(0, 1, limited(&[("address-connections", 1)]));
    for address in 0..1 << 20 {
        let arrival = Arrival::from(SocketAddr::from((Ipv4Addr::from_bits(address), 1)));
        let ticket = hub.admit_address(&arrival).expect("a new address is not refused");
        assert_eq!(hub.stats.addresses_untracked, u64::from(ticket == Ticket::NONE));
        if ticket == Ticket::NONE {
            return;
        }
    }
    panic!("the table takes everything");
}

/// A pause in milliseconds, then messages with bodies of these sizes.
fn burst() -> impl Strategy<Value = (u64, Vec<usize>)> {
    (0..1500_u64, proptest::collection::vec(0..80_usize, 0..120))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_of_messages_is_admitted_as_far_as_they_are_one_by_one(
        messages in prop_oneof![Just(0), 20..200_usize], bytes in prop_oneof![Just(0), 1000..9000_usize],
        bursts in proptest::collection::vec(burst(), 1..8), cut in 1..400_usize,
    ) {
        let settings = [("message-rate", messages), ("byte-rate", bytes)];
        let (mut hub, mut peers) = (Hub::new(0, 1, limited(&settings)), Peers::default());
        let (sender, listener) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
        hub.subscribe(listener, b"echo", Kind::Exact);
        let (rates, mut buckets) = (hub.limits.rates, Buckets::default());
        let (mut millis, mut admitted) = (0, 0);
        for (pause, sizes) in bursts {
            millis += pause & !1; // a session's time is even
            hub.set_now(Duration::from_millis(millis));
            let now = millis * (SECOND / 1000);
            let mut stream = Vec::new();
            for size in sizes {
                let payload = format!("{HEAD}{}", "x".repeat(size));
                stream.extend(text(payload.as_bytes()));
                if !Rates::is_flood(&buckets, now) && rates.admit(&mut buckets, now, payload.len() as u64).is_ok() {
                    admitted += 1;
                }
            }
            for piece in stream.chunks_mut(cut) {
                let mut used = 0;
                while used < piece.len() {
                    used += hub.receive(&mut Publishing, sender, &mut piece[used..]);
                    hub.flush(&mut Publishing, &mut peers);
                }
            }
            prop_assert_eq!(hub.router.counts().0, admitted);
            prop_assert_eq!(hub.sessions.is_open(sender), !Rates::is_flood(&buckets, now));
            if !hub.sessions.is_open(sender) {
                prop_assert_eq!(hub.stats.floods, 1);
                break;
            }
        }
        hub.invariants();
    }
}

#[test]
fn without_rates_nothing_is_kept_and_a_slot_begins_with_full_buckets() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    receive(&mut hub, slot, &text(b"hi").repeat(50));
    assert_eq!((hub.stats.rate_limited, hub.router.counts().0), (0, 50));
    hub.set_limits(limited(&[("message-rate", 5)]));
    receive(&mut hub, slot, &text(b"hi").repeat(20));
    assert_eq!((hub.stats.rate_limited, hub.router.counts().0), (15, 55));
    hub.end_of_input(&mut Plain, slot);
    end_turn(&mut hub, &mut peers);
    let next = open(&mut hub, &mut peers);
    assert_eq!(next, slot, "the slot is used again");
    receive(&mut hub, next, &text(b"hi").repeat(20));
    assert_eq!((hub.stats.rate_limited, hub.router.counts().0), (30, 60));
    hub.set_limits(limits());
    receive(&mut hub, next, &text(b"hi").repeat(20));
    assert_eq!((hub.stats.rate_limited, hub.router.counts().0), (30, 80));
}

#[test]
fn a_connection_holds_its_place_until_it_is_reaped_on_whatever_core_it_is() {
    let limits = limited(&[("address-connections", 1)]);
    let mut cores = [Hub::new(0, 2, limits.clone()), Hub::new(1, 2, limits)];
    let mut peers = Peers::default();
    let arrival = Arrival::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let ticket = cores[0].admit_address(&arrival).expect("the first");
    let slot = cores[0].open(arrival).slot;
    cores[0].hold(slot, ticket);
    for hub in &mut cores {
        assert_eq!(hub.admit_address(&arrival), Err(TooMany::Connections), "the cores share the table");
        hub.set_limits(limited(&[("address-connections", 1)]));
        assert_eq!(hub.admit_address(&arrival), Err(TooMany::Connections), "also after a reload");
        assert_eq!(hub.stats.addresses_full, 2);
    }
    let proxy = Arrival { is_proxy: true, ..arrival };
    let pages = Arrival { role: Role::Pages, ..arrival };
    let unix = Arrival { peer: None, ..arrival };
    assert!([proxy, pages, unix].iter().all(|other| cores[0].admit_address(other) == Ok(Ticket::NONE)));
    cores[0].lost(&mut Plain, slot);
    end_turn(&mut cores[0], &mut peers);
    assert!(cores[1].admit_address(&arrival).is_ok());
    assert_eq!(cores[0].admit_address(&arrival), Err(TooMany::Connections));
}
