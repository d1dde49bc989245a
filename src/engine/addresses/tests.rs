//! The table of addresses: against a map, under many addresses, and from several threads.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
    thread,
};

use proptest::prelude::*;

use super::*;
use crate::engine::rates::SECOND;

fn v4(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(number).into()
}

/// An address of a customer's /64.
fn v6(customer: u64, host: u64) -> IpAddr {
    Ipv6Addr::from_bits(1 << 127 | u128::from(customer) << 64 | u128::from(host)).into()
}

fn limits(connects: usize, connections_max: u64) -> AddressLimits {
    AddressLimits { connects: Rate::new(connects), connections_max }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(u32),
    Leave(usize),
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u32).prop_map(Step::Enter),
        2 => (0..20_usize).prop_map(Step::Leave),
        1 => (0..2000_u64).prop_map(Step::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_address_has_its_own_limits(
        connects in prop_oneof![Just(0), Just(1), Just(5)], most in 0..4_u64, steps in proptest::collection::vec(step(), 1..200),
    ) {
        let (table, limits) = (Table::new(), limits(connects, most));
        let (mut now, mut open) = (SECOND, Vec::new());
        // By address: connections, and the times of connects in the bucket's last second.
        let mut model: HashMap<u32, (u64, u64)> = HashMap::new();
        for step in steps {
            match step {
                Step::Pause(millis) => now += millis * 1_000_000,
                Step::Leave(number) if !open.is_empty() => {
                    let (address, ticket): (u32, Ticket) = open.swap_remove(number % open.len());
                    table.entries[ticket.0 as usize - 1].tag_and_count.fetch_sub(1, Ordering::Relaxed);
                    model.get_mut(&address).expect("it is open").0 -= 1;
                }
                Step::Leave(_) => {}
                Step::Enter(address) => {
                    let (count, full_at) = model.entry(address).or_default();
                    let entered = table.enter(v4(address), limits, now);
                    if most > 0 && *count == most {
                        prop_assert_eq!(entered, Err(TooMany::Connections));
                    } else if connects > 0 && full_at.saturating_sub(now) + SECOND / connects as u64 > SECOND {
                        prop_assert!(matches!(entered, Err(TooMany::Connects(_))));
                    } else {
                        let ticket = entered.expect("it is within its limits");
                        prop_assert!(ticket != Ticket::NONE);
                        *count += 1;
                        *full_at = (*full_at).max(now) + SECOND.checked_div(connects as u64).unwrap_or(0);
                        open.push((address, ticket));
                    }
                }
            }
        }
    }
}

#[test]
fn a_customer_of_ipv6_is_one_address_and_ipv4_in_ipv6_is_ipv4() {
    let (table, limits) = (Table::new(), limits(0, 2));
    let enter = |address| table.enter(address, limits, 0);
    assert!(enter(v6(7, 1)).is_ok() && enter(v6(7, u64::MAX)).is_ok());
    assert_eq!(enter(v6(7, 12345)), Err(TooMany::Connections));
    assert!(enter(v6(8, 1)).is_ok());
    let mapped = IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    assert!(enter(mapped).is_ok() && enter(Ipv4Addr::LOCALHOST.into()).is_ok());
    assert_eq!(enter(mapped), Err(TooMany::Connections));
    assert!(enter(IpAddr::from(Ipv6Addr::LOCALHOST)).is_ok());
}

#[test]
fn ten_thousand_addresses_do_not_change_the_limits_of_one() {
    let (table, limits) = (Table::new(), limits(2, 3));
    let own = v4(u32::MAX);
    let kept: Vec<_> = (0..2).map(|_| table.enter(own, limits, 0).expect("it is within its limits")).collect();
    assert!(kept.iter().all(|ticket| *ticket == kept[0] && *ticket != Ticket::NONE));
    for number in 0..10_000 {
        assert!(table.enter(v4(number), limits, 0).is_ok());
    }
    assert!(matches!(table.enter(own, limits, 0), Err(TooMany::Connects(_))));
    assert_eq!(table.enter(own, limits, SECOND), Ok(kept[0]));
    assert_eq!(table.enter(own, limits, 2 * SECOND), Err(TooMany::Connections));
}

#[test]
fn a_full_table_locks_nobody_out_and_forgets_nobody_with_a_connection() {
    let (table, limits) = (Table::new(), limits(0, 1));
    let own = v4(u32::MAX);
    assert!(table.enter(own, limits, 0).is_ok());
    let mut untracked = 0;
    for number in 0..4 * ADDRESSES_MAX as u32 {
        let ticket = table.enter(v4(number), limits, 0).expect("a new address is not refused");
        untracked += usize::from(ticket == Ticket::NONE);
    }
    assert!((3 * ADDRESSES_MAX..4 * ADDRESSES_MAX).contains(&untracked), "{untracked}");
    assert_eq!(table.enter(own, limits, 0), Err(TooMany::Connections), "it is still known");
}

#[test]
fn addresses_that_have_left_make_room() {
    let (table, limits) = (Table::new(), limits(1, 1));
    for number in 0..4 * ADDRESSES_MAX as u32 {
        let ticket = table.enter(v4(number), limits, 0).expect("a new address is not refused");
        assert!(ticket != Ticket::NONE, "there is always a place whose address has left");
        table.entries[ticket.0 as usize - 1].tag_and_count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn no_connection_is_lost_or_counted_twice_between_cores() {
    let (addresses, limits) = (Addresses::default(), limits(0, 100));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2_000_u32 {
                    // Few customers for all threads, many others that want their places.
                    let ticket =
                        addresses.enter(v4(round % 3), limits).expect("four threads have four connections at most");
                    let other = addresses.enter(v4(1000 + round), limits).expect("a new one");
                    addresses.release(ticket);
                    addresses.release(other);
                }
            });
        }
    });
    let table = addresses.table.get().expect("it was used");
    let counts = table.entries.iter().map(|entry| entry.tag_and_count.load(Ordering::Relaxed) & COUNT_MAX);
    assert_eq!(counts.sum::<u64>(), 0);
    addresses.release(Ticket::NONE);
}
