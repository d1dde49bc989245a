//! Unit tests of the queue's capacity and its shares.

use std::net::Ipv4Addr;

use super::*;

fn capacity(messages_max: usize, bytes_max: usize) -> Arc<Capacity> {
    Queue::new(messages_max, bytes_max).2
}

/// Takes as many places as one connection can get.
fn take_all(capacity: &Arc<Capacity>, bytes: usize) -> (Vec<Place>, Full) {
    let share = Arc::default();
    let mut places = Vec::new();
    loop {
        match capacity.take(&share, bytes) {
            Ok(place) => places.push(place),
            Err(full) => return (places, full),
        }
    }
}

#[test]
fn room_is_bounded_in_messages_and_in_bytes_and_the_first_always_fits() {
    let capacity = capacity(3, 100);
    let take = |bytes| capacity.take(&Arc::default(), bytes);
    let huge = take(1000).expect("one over the limit, alone");
    assert_eq!(take(1).err(), Some(Full::Queue));
    drop(huge);
    let (large, _rest) = (take(60).unwrap(), take(40).unwrap());
    assert_eq!(take(1).err(), Some(Full::Queue));
    drop(large);
    let _small = (take(1).unwrap(), take(1).unwrap());
    assert_eq!(take(1).err(), Some(Full::Queue), "three messages");
    assert_eq!(capacity.waiting(), 3);
}

#[test]
fn a_connection_gets_its_share_and_others_still_get_in() {
    let capacity = capacity(1024, 16 << 20);
    let (first, full) = take_all(&capacity, 100);
    assert_eq!((first.len(), full), (205, Full::Share));
    let (second, _) = take_all(&capacity, 100);
    assert_eq!(second.len(), 164, "a fifth of the rest");
    // Many greedy ones leave a place for the next that comes.
    let greedy: Vec<_> = (0..20).map(|_| take_all(&capacity, 100)).collect();
    assert!(greedy.iter().all(|(places, full)| !places.is_empty() && *full == Full::Share));
    assert!(capacity.take(&Arc::default(), 100).is_ok());
    drop((first, second, greedy));
    assert_eq!((capacity.waiting(), capacity.all.bytes.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn a_share_is_one_of_bytes_too_and_never_less_than_one_request() {
    let capacity = capacity(1024, 1000);
    let (places, full) = take_all(&capacity, 60);
    assert_eq!((places.len(), full), (3, Full::Share));
    let (large, larger) = (take_all(&capacity, 300).0, take_all(&capacity, 300).0);
    assert_eq!((large.len(), larger.len()), (1, 1));
    assert_eq!(take_all(&capacity, 300).1, Full::Queue);
    let tiny = self::capacity(2, 1000);
    let (_one, full) = take_all(&tiny, 1);
    assert_eq!((full, take_all(&tiny, 1).0.len()), (Full::Share, 1));
}

/// Lets this many connections of an address take as many places as each can get.
fn take_from(capacity: &Arc<Capacity>, peer: [u8; 4], connections: usize) -> Vec<Place> {
    let mut places = Vec::new();
    for _ in 0..connections {
        let share = Arc::new(Share { own: Amount::default(), address: capacity.address(peer.into()) });
        places.extend(std::iter::from_fn(|| capacity.take(&share, 1).ok()));
    }
    places
}

#[test]
fn all_connections_of_an_address_get_half_of_what_others_leave_and_its_last_quarter_is_for_first_requests() {
    let capacity = capacity(1024, 16 << 20);
    let greedy = take_from(&capacity, [10, 0, 0, 1], 3);
    assert_eq!(greedy.len(), 384, "three quarters of 512");
    let more = take_from(&capacity, [10, 0, 0, 1], 1000);
    assert_eq!(greedy.len() + more.len(), 512);
    assert_eq!(more.len(), 128, "one each");
    assert_eq!(take_from(&capacity, [10, 0, 0, 2], 1000).len(), 256, "half of the rest, and given back");
    // Ten addresses with very many connections each leave a place to one that has nothing waiting.
    let addresses: Vec<_> = (2..11).map(|last| take_from(&capacity, [10, 0, 0, last], 1000)).collect();
    assert!(addresses.iter().all(|places| !places.is_empty()));
    assert_eq!(take_from(&capacity, [10, 0, 0, 99], 2).len(), 1);
    drop((greedy, more, addresses));
    assert_eq!((capacity.waiting(), capacity.all.bytes.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(take_from(&capacity, [10, 0, 0, 1], 1000).len(), 512, "its places are given back");
}

#[test]
fn an_address_has_a_share_of_the_bytes_and_one_request_in_any_case() {
    let capacity = capacity(1024, 1000);
    let take = |last: u8, bytes| {
        let address = capacity.address([10, 0, 0, last].into());
        capacity.take(&Arc::new(Share { own: Amount::default(), address }), bytes)
    };
    let (_large, _larger) = (take(1, 300).expect("the first"), take(1, 200).expect("500 of 1000"));
    assert_eq!(take(1, 1).err(), Some(Full::Share));
    let _other = take(2, 400).expect("its address has nothing waiting");
    assert_eq!(take(2, 1).err(), Some(Full::Share));
    let _third = take(3, 100).expect("its address has nothing waiting");
}

#[test]
fn the_last_quarter_of_the_queue_is_for_first_requests() {
    let capacity = capacity(1024, 16 << 20);
    // They have no address, so only the queue bounds all of them together.
    let greedy: Vec<_> = (0..30).map(|_| take_all(&capacity, 1)).collect();
    let seconds: usize = greedy.iter().map(|(places, _)| places.len() - 1).sum();
    assert!(capacity.waiting() < 768 + 30, "{} wait", capacity.waiting());
    assert_eq!(capacity.waiting(), seconds + 30);
    assert!(greedy.iter().all(|(_, full)| *full == Full::Share));
    let modest: Vec<_> =
        (capacity.waiting()..1024).map(|_| capacity.take(&Arc::default(), 1).expect("a place")).collect();
    assert_eq!(capacity.take(&Arc::default(), 1).err(), Some(Full::Queue));
    drop(modest);
}

#[test]
fn an_ipv6_network_is_one_address_and_a_peer_without_one_has_no_such_share() {
    let network = |peer: &str| super::network(peer.parse().expect("an address"));
    assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
    assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    assert_eq!((network("0.0.0.0"), network("::")), (None, None));
    assert!(network("::1").is_some());
}

#[test]
fn shares_that_nobody_needs_are_forgotten() {
    let capacity = capacity(4096, 1 << 20);
    let mut shares = Shares::default();
    let mut share = |number: u32| {
        let key = ConnectionKey { slot: 0, generation: number };
        Arc::clone(shares.of(key, Ipv4Addr::from_bits(number + 1).into(), &capacity))
    };
    let waiting: Vec<_> = (0..10).map(|number| capacity.take(&share(number), 1).unwrap()).collect();
    (10..10_000).for_each(|number| drop(capacity.take(&share(number), 1)));
    assert!((0..10).all(|number| Arc::strong_count(&share(number)) == 3), "here, in the map and in its place");
    assert!(shares.0.by_key.len() <= SHARES_KEPT, "{}", shares.0.by_key.len());
    let addresses = capacity.addresses.lock().unwrap();
    assert!(addresses.by_key.len() <= 3 * SHARES_KEPT, "{}", addresses.by_key.len());
    assert!((0..10).all(|number| addresses.by_key.contains_key(&Ipv4Addr::from_bits(number + 1).into())));
    drop(waiting);
}
