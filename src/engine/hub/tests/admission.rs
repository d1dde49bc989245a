//! The limits of subscriptions: those of one connection, and those of all.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;
use crate::{
    engine::{
        patterns::Shape,
        relay::{self, Item},
        router::LINGER_MILLIS,
        subscriptions::Demand,
    },
    protocol::channel::{self, TOKENS_MAX},
};

/// Subscribes a connection if its limits allow that.
fn subscribe(hub: &mut Hub, slot: Slot, name: &str) -> Result<(), Refusal> {
    let kind = channel::check_subscribe(name.as_bytes())?;
    let mut demand = Demand::default();
    hub.router.add_demand(slot, name.as_bytes(), kind, &mut demand);
    hub.check_subscriptions(slot, &demand)?;
    hub.subscribe(slot, name.as_bytes(), kind);
    Ok(())
}

/// The sentence of the refusal of a subscription.
fn refusal(hub: &mut Hub, slot: Slot, name: &str) -> String {
    let refusal = subscribe(hub, slot, name).expect_err("refused");
    assert_eq!((refusal.code(), refusal.reason()), (429, "too-many-subscriptions"));
    refusal.sentence().to_owned()
}

/// Waits until names without subscribers are withdrawn.
fn pass_lingering(hub: &mut Hub) {
    hub.set_now(Duration::from_millis(hub.sessions.now() + LINGER_MILLIS + 2));
    while hub.expire(&mut Plain) {}
}

/// Exchanges all batches between the hubs of one server.
fn exchange(hubs: &mut [Hub]) {
    loop {
        let cores = 0..hubs.len();
        let links =
            cores.clone().flat_map(|from| cores.clone().map(move |to| (from, to))).filter(|(from, to)| from != to);
        let mut is_quiet = true;
        for (from, to) in links {
            while let Some(batch) = hubs[from].router.relays.take(to as u32) {
                is_quiet = false;
                assert_eq!(hubs[to].relayed(from as u32, &batch), batch.len());
            }
        }
        if is_quiet {
            return;
        }
    }
}

#[test]
fn a_connection_is_charged_for_its_names_on_every_core_and_refused_past_its_limit() {
    for cores in [1, 8] {
        let (mut hub, mut peers) = (Hub::new(0, cores, limits()), Peers::default());
        let slot = open(&mut hub, &mut peers);
        let name = |number: usize| format!("{number:0255}");
        let charge = 24 + cores as usize * (96 + 255);
        let count = (256 << 10) / charge;
        (0..count).for_each(|number| subscribe(&mut hub, slot, &name(number)).expect("within the limit"));
        assert_eq!(hub.router.subscriptions.charged(slot), count * charge);
        assert_eq!(hub.router.subscriptions.bytes(), count * (24 + 96 + 255));
        assert!(refusal(&mut hub, slot, &name(count)).contains("262144 bytes"));
        subscribe(&mut hub, slot, &name(0)).expect("the connection has it already");
        hub.unsubscribe(slot, name(7).as_bytes(), Kind::Exact);
        subscribe(&mut hub, slot, &name(count)).expect("there is room again");
        hub.invariants();
        hub.lost(&mut Plain, slot);
        assert_eq!(end_turn(&mut hub, &mut peers), [slot]);
        assert_eq!(hub.router.subscriptions.charged(slot), 0);
        pass_lingering(&mut hub);
        assert_eq!(hub.router.subscriptions.bytes(), 0);
    }
}

#[test]
fn at_the_budget_connections_that_hold_much_are_refused_first_and_no_connection_is_closed() {
    let mut limits = limits();
    (limits.kept_bytes_max, limits.table_bytes_max) = (2 << 20, 1 << 20);
    let (mut hub, mut peers) = (Hub::new(0, 1, limits), Peers::default());
    let much: Vec<_> = (0..8).map(|_| open(&mut hub, &mut peers)).collect();
    for (connection, &slot) in much.iter().enumerate() {
        (0..2_000).for_each(|number| drop(subscribe(&mut hub, slot, &format!("{connection}.{number}"))));
    }
    let bytes = hub.router.subscriptions.bytes();
    // Three quarters, and the first 8 KiB of each.
    assert!((768 << 10..832 << 10).contains(&bytes), "{bytes} bytes");
    assert!(refusal(&mut hub, much[7], "one.more").contains("memory for subscriptions"));
    // The rest is for connections that hold little.
    let mut little = 0;
    while hub.router.subscriptions.bytes() < (1 << 20) - 200 {
        let slot = open(&mut hub, &mut peers);
        (0..20).for_each(|number| drop(subscribe(&mut hub, slot, &format!("little.{slot}.{number}"))));
        assert!(hub.router.subscriptions.count(slot) > 0, "{} bytes", hub.router.subscriptions.bytes());
        little += 1;
    }
    assert!(little > 50, "{little} connections");
    assert!(hub.router.subscriptions.bytes() <= 1 << 20);
    // Publishes go on, and no connection that reads is closed.
    subscribe(&mut hub, much[0], "0.0").expect("the connection has it already");
    hub.publish([&b"0.0"[..]].into_iter(), true, b"still here", None);
    assert_eq!(end_turn(&mut hub, &mut peers), [0; 0]);
    assert!(peers.received[much[0] as usize].ends_with(b"still here") && hub.stats.over_budget == 0);
    hub.invariants();
}

#[test]
fn cores_that_learn_of_each_others_names_too_late_fill_no_table_over_its_limit() {
    const CORES: u32 = 4;
    const TABLE: usize = 256 << 10;
    let mut limits = limits();
    limits.table_bytes_max = TABLE;
    let mut hubs: Vec<_> = (0..CORES).map(|own| Hub::new(own, CORES, limits.clone())).collect();
    for round in 0..20 {
        for (own, hub) in hubs.iter_mut().enumerate() {
            let slot = open(hub, &mut Peers::default());
            for number in 0.. {
                if subscribe(hub, slot, &format!("{own}.{round}.{number}")).is_err() {
                    break;
                }
            }
        }
        exchange(&mut hubs);
        for hub in &hubs {
            assert!(
                hub.router.subscriptions.bytes() <= TABLE,
                "{} bytes in round {round}",
                hub.router.subscriptions.bytes()
            );
        }
    }
    // A core's own subscriptions cost 24 bytes each that are not in the other tables.
    assert!(hubs.iter().all(|hub| hub.router.subscriptions.bytes() > TABLE / 2), "the free memory is used");
    assert!(hubs.iter().all(|hub| hub.router.in_flight_bytes() == 0));
}

/// A pattern of eleven tokens with two stars: each number below 55 has another shape.
fn deep(shape: usize, text: usize) -> String {
    let pairs = (0..11).flat_map(|first| (first + 1..11).map(move |second| (first, second)));
    let (first, second) = pairs.clone().nth(shape % pairs.count()).expect("a pair");
    let tokens = (0..11).map(|at| if at == first || at == second { "*".to_owned() } else { text.to_string() });
    tokens.collect::<Vec<String>>().join(".") + [".x", ".>", ".x.y", ".x.>"][shape / 55]
}

#[test]
fn a_connection_uses_eight_deep_shapes_and_all_of_them_64() {
    const CORES: u32 = 2;
    let mut hubs: Vec<_> = (0..CORES).map(|own| Hub::new(own, CORES, limits())).collect();
    let mut peers = Peers::default();
    let first = open(&mut hubs[0], &mut peers);
    for shape in 0..8 {
        (0..3).for_each(|text| subscribe(&mut hubs[0], first, &deep(shape, text)).expect("within the limit"));
    }
    assert!(refusal(&mut hubs[0], first, &deep(8, 0)).contains("8 ways"));
    subscribe(&mut hubs[0], first, "a.*.b.*.c.>").expect("it is not deep");
    // Both cores add shapes before either learns of the other's. Each connection uses all that it may.
    for round in 0..20 {
        for hub in &mut hubs {
            let slot = open(hub, &mut peers);
            let shapes = 0..220;
            shapes.for_each(|shape| drop(subscribe(hub, slot, &deep((shape + 97 * round) % 220, 0))));
            assert!(hub.router.subscriptions.deep_held(slot) <= 8);
        }
        exchange(&mut hubs);
        hubs.iter().for_each(Hub::invariants);
        assert!(hubs.iter().all(|hub| hub.router.subscriptions.deep_shapes(&[]).0 <= 64));
    }
    // The last quarter is for connections that use none yet. A shape that is already in use costs nothing.
    let slot = open(&mut hubs[0], &mut peers);
    let new = |hub: &Hub, number| {
        let is_new =
            |shape: &usize| hub.router.subscriptions.deep_shapes(&[Shape::of(deep(*shape, 0).as_bytes())]).1 == 1;
        (0..220).filter(is_new).nth(number).map(|shape| deep(shape, 0)).expect("a new shape")
    };
    let (one, two) = (new(&hubs[0], 0), new(&hubs[0], 1));
    subscribe(&mut hubs[0], slot, &one).expect("its first");
    assert!(refusal(&mut hubs[0], slot, &two).contains("long patterns"));
    for shape in 0..220 {
        let hub = &mut hubs[shape % 2];
        let slot = open(hub, &mut peers);
        let _ = subscribe(hub, slot, &deep(shape, 1));
        exchange(&mut hubs);
    }
    let shapes = hubs[0].router.subscriptions.deep_shapes(&[]).0;
    assert!((62..=64).contains(&shapes), "{shapes} shapes");
    let slot = open(&mut hubs[1], &mut peers);
    subscribe(&mut hubs[1], slot, &deep(0, 5)).expect("this shape is in use on the other core");
    let two = new(&hubs[1], 0);
    assert!(refusal(&mut hubs[1], slot, &two).contains("long patterns"));
    exchange(&mut hubs);
    // The end of a shape's last pattern makes room for another shape.
    for hub in &mut hubs {
        let slots: Vec<Slot> = hub.sessions.iter().map(|(slot, _)| slot as Slot).collect();
        slots.into_iter().for_each(|slot| hub.lost(&mut Plain, slot));
        end_turn(hub, &mut peers);
        pass_lingering(hub);
    }
    exchange(&mut hubs);
    assert!(hubs.iter().all(|hub| hub.router.subscriptions.deep_shapes(&[]).0 == 0));
}

#[test]
fn sixty_five_thousand_patterns_of_seventy_connections_give_no_channel_more_than_185_audiences() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let mut stored = 0;
    for _ in 0..70 {
        let slot = open(&mut hub, &mut peers);
        for _ in 0..930 {
            let tokens = *[2, 3, 5, 6, 7, 8, 12, 20, TOKENS_MAX].choose(&mut rng).expect("some");
            let mut name = vec!["a"; tokens];
            (0..rng.random_range(1..=4)).for_each(|_| name[rng.random_range(0..tokens)] = "*");
            if rng.random_bool(0.5) {
                name[tokens - 1] = ">";
            }
            stored += usize::from(subscribe(&mut hub, slot, &name.join(".")).is_ok());
        }
    }
    let mut most = 0;
    for tokens in 1..=TOKENS_MAX {
        hub.publish([vec!["a"; tokens].join(".").as_bytes()].into_iter(), true, b"x", None);
        most = most.max(hub.router.resolved_audiences());
        hub.flush(&mut Plain, &mut peers);
    }
    println!("{stored} stored of 65,100; {most} audiences at most");
    assert!(stored > 10_000 && most > 100 && most <= 120 + 64 + 1, "{stored} stored, {most} audiences");
}

#[test]
fn a_name_is_in_flight_until_the_other_cores_have_answered() {
    let mut hubs: Vec<_> = (0..2).map(|own| Hub::new(own, 2, limits())).collect();
    let slot = open(&mut hubs[0], &mut Peers::default());
    subscribe(&mut hubs[0], slot, "a").expect("within the limit");
    assert_eq!(hubs[0].router.in_flight_bytes(), 24 + 96 + 1);
    let batch = hubs[0].router.relays.take(1).expect("interest");
    assert!(matches!(relay::next(&mut &batch[..]), Some(Item::Interest { name: b"a", .. })));
    hubs[1].relayed(0, &batch);
    assert_eq!(hubs[1].router.subscriptions.bytes(), 96 + 1);
    exchange(&mut hubs);
    assert_eq!(hubs[0].router.in_flight_bytes(), 0);
}
