//! What once went wrong with the table, step by step.

use std::collections::BTreeSet;

use tokio::time::Duration;

use super::{Command, State, World};

/// A world in which core 0 has wanted these names, and has asked for them.
fn world_of(names: &[&'static str], names_max: usize) -> World {
    let mut world = World::new(1, names_max);
    for name in names {
        world.set_interest(0, name, true);
        world.ask();
    }
    world
}

#[test]
fn a_name_that_is_wanted_while_a_wide_subscription_ends_waits_for_its_own() {
    let mut world = world_of(&["a.0", "a.1", "a.2", "a.3", "a.4"], 4);
    world.settle();
    assert_eq!(world.subscribed.values().collect::<Vec<_>>(), ["a.>"]);
    for name in ["a.0", "a.1", "a.2", "a.3"] {
        world.set_interest(0, name, false);
    }
    world.now += Duration::from_secs(3);
    world.ask();
    for name in ["a.9", "a.*"] {
        world.set_interest(1, name, true);
        world.ask();
    }
    while !matches!(world.commands.front(), Some(Command::Dissolve(_))) {
        assert!(world.carry_out(), "the wide subscription is to end");
        world.check(false);
    }
    assert!(world.carry_out());
    let state = |world: &World, name| world.table.find(name).expect("it is wanted").state;
    let states = ["a.4", "a.9", "a.*"].map(|name| state(&world, name));
    assert_eq!(states, [State::Live, State::Asked, State::Asked]);
    world.check(false);
    world.settle();
    assert_eq!(state(&world, "a.9"), State::Live);
    world.check(true);
}

#[test]
fn nobody_counts_on_a_name_whose_wide_subscription_was_refused_until_the_next_one_is_confirmed() {
    // `a.>` is asked for with a.4, and `>` with b.0.
    let mut world = world_of(&["a.0", "a.1", "a.2", "a.3", "a.4", "b.0"], 4);
    world.denied.insert("a.>".to_owned());
    while world.answered[0] < 5 {
        assert!(world.carry_out());
        world.check(false);
    }
    assert_eq!(world.table.groups.by_wide(7), None, "`>` is not confirmed");
    assert!(world.told[0].contains("a.4"), "{:?}", world.told);
    world.settle();
    assert!(world.told[0].is_empty(), "{:?}", world.told);
    world.check(true);
}

#[test]
fn each_core_that_wants_a_refused_name_knows_of_the_refusal_whenever_it_began_to_want_it() {
    let mut world = world_of(&["a.0"], 4);
    world.denied.insert("a.0".to_owned());
    world.settle();
    world.table.retry();
    world.ask();
    world.set_interest(1, "a.0", true); // NATS has not answered yet
    world.ask();
    world.settle();
    world.check(true);
    assert!(world.told.iter().all(|told| told.contains("a.0")), "{:?}", world.told);
    // The cores forget the refusal, and one of them begins to want the name again before there is a connection.
    world.set_interest(1, "a.0", false);
    world.go_offline();
    world.set_interest(1, "a.0", true);
    world.connect();
    world.settle();
    assert!(world.told.iter().all(|told| told.contains("a.0")), "{:?}", world.told);
    world.denied.clear();
    world.table.retry();
    world.ask();
    world.settle();
    assert!(world.told.iter().all(BTreeSet::is_empty), "{:?}", world.told);
    world.check(true);
}

#[test]
fn what_is_refused_for_want_of_room_is_told_and_has_its_turn_later() {
    let mut world = World::new(1, 2);
    world.denied.extend(["a.>".to_owned(), ">".to_owned()]);
    for name in ["a.0", "a.1", "a.2", "a.3"] {
        world.set_interest(0, name, true);
        world.ask();
        world.settle();
    }
    assert!(world.told[0].contains("a.3"), "{:?}", world.told);
    assert!(world.table.refused > 0 && world.table.narrow <= 3);
    world.denied.clear();
    world.connect();
    world.settle();
    assert_eq!(world.table.refused, 0);
    world.check(true);
}
