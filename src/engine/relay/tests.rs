use super::*;

#[test]
fn a_batch_is_read_as_it_was_written() {
    let mut relays = Relays::new(0, 3);
    assert_eq!(relays.announce(b"a.b", Kind::Exact), 1);
    assert_eq!(relays.announce(b"a.>", Kind::Pattern), 2);
    relays.withdraw(b"a.b", Kind::Exact);
    relays.publish(2, [&b"x"[..], b"yy"].into_iter(), b"frame");
    relays.heard_interest(2);
    relays.heard_interest(2);
    let batch = relays.take(2).unwrap();
    let mut rest = &batch[..];
    let mut items = std::iter::from_fn(|| next(&mut rest));
    let interest = |name, kind, interested| Some(Item::Interest { name, kind, interested });
    assert_eq!(items.next(), interest(b"a.b", Kind::Exact, true));
    assert_eq!(items.next(), interest(b"a.>", Kind::Pattern, true));
    assert_eq!(items.next(), interest(b"a.b", Kind::Exact, false));
    let Some(Item::Publish { channels, frame: b"frame" }) = items.next() else { panic!("no publish") };
    assert_eq!(names(channels).collect::<Vec<_>>(), [&b"x"[..], b"yy"]);
    assert_eq!(items.next(), Some(Item::Answered(2)));
    assert_eq!(items.next(), None);
    assert!(relays.take(2).is_none() && relays.take(1).is_some() && relays.take(0).is_none());
}

#[test]
fn a_turn_for_the_bridge_is_cut_into_batches_that_hold_all_of_it_in_order() {
    let mut relays = Relays::new(0, 2);
    let bridge = relays.add_bridge();
    const COUNT: u32 = 2000;
    for number in 0..COUNT {
        let frame = [&number.to_le_bytes()[..], &vec![b'x'; number as usize % 300]].concat();
        for peer in [1, bridge] {
            relays.publish(peer, [&b"a"[..]].into_iter(), &frame);
        }
    }
    let batches: Vec<_> = std::iter::from_fn(|| relays.take(bridge)).collect();
    assert!(batches.len() > 10 && !relays.peers[bridge as usize].as_ref().is_some_and(|peer| peer.owes_answer));
    let mut expected = 0..COUNT;
    for (index, batch) in batches.iter().enumerate() {
        let is_last = index == batches.len() - 1;
        assert!(is_last || batch.len() >= BRIDGE_BATCH_BYTES, "{}", batch.len());
        assert!(batch.len() < BRIDGE_BATCH_BYTES + 400, "at most one message more: {}", batch.len());
        let mut rest = &batch[..];
        while let Some(Item::Publish { frame, .. }) = next(&mut rest) {
            assert_eq!(frame.first_chunk(), expected.next().map(u32::to_le_bytes).as_ref());
        }
    }
    assert_eq!(expected.next(), None);
    assert!(relays.take(1).is_some() && relays.take(1).is_none() && !relays.has_batches(), "a core gets one batch");
}

#[test]
fn an_interest_is_live_when_every_peer_has_answered() {
    let mut relays = Relays::new(1, 3);
    let number = relays.announce(b"a", Kind::Exact);
    relays.answered(0, number);
    assert!(relays.live() < number);
    relays.answered(2, number);
    assert!(relays.live() >= number);
    assert_eq!(Relays::new(0, 1).live(), u64::MAX, "a single core has nobody to wait for");
}

#[test]
fn a_full_link_congests_until_it_takes_its_batch() {
    let mut relays = Relays::new(0, 2);
    relays.publish(1, [&b"x"[..]].into_iter(), &vec![0; BATCH_BYTES_MAX]);
    let batch = relays.take(1).unwrap();
    relays.give_back(1, batch);
    assert_eq!(relays.congested(), 1 << 1);
    assert!(relays.take(1).is_some() && relays.congested() == 0);
}

#[test]
fn answers_do_not_make_a_waiting_batch_grow() {
    let mut relays = Relays::new(0, 2);
    relays.publish(1, [&b"x"[..]].into_iter(), b"frame");
    relays.heard_interest(1);
    let mut len = 0;
    for round in 1..100 {
        let batch = relays.take(1).expect("a batch");
        assert!(round == 1 || batch.len() == len, "{} bytes after {len}", batch.len());
        len = batch.len();
        relays.give_back(1, batch);
        relays.heard_interest(1);
    }
    relays.publish(1, [&b"y"[..]].into_iter(), b"frame");
    let batch = relays.take(1).expect("a batch");
    let mut rest = &batch[..];
    let items: Vec<_> = std::iter::from_fn(|| next(&mut rest)).collect();
    assert_eq!((items.len(), &items[1]), (3, &Item::Answered(100)));
    relays.heard_interest(1);
    assert_eq!(next(&mut &relays.take(1).expect("the next answer")[..]), Some(Item::Answered(101)));
}

#[test]
fn a_bridge_that_takes_no_interest_lets_publishes_go_on() {
    let mut relays = Relays::new(0, 1);
    let bridge = relays.add_bridge();
    relays.announce(b"a", Kind::Exact);
    let interest = relays.take_interest().expect("interest");
    relays.give_back_interest(interest);
    assert!(relays.is_congested_for_interest());
    assert_eq!(relays.links_of_publish(relays.always_interested()) & relays.congested(), 0);
    relays.publish(bridge, [&b"a"[..]].into_iter(), b"frame");
    assert!(relays.take(bridge).is_some() && relays.is_congested_for_interest());
    assert!(relays.take_interest().is_some() && !relays.is_congested_for_interest());
}

#[test]
fn peers_have_caught_up_when_each_has_heard_that_of_all_and_has_said_so() {
    let mut relays = Relays::new(0, 3);
    relays.has_caught_up(1);
    relays.has_caught_up(1); // before the other one has said anything
    assert!(!relays.have_all_caught_up(Word::First));
    relays.has_caught_up(2);
    assert!(relays.have_all_caught_up(Word::First) && !relays.have_all_caught_up(Word::Second));
    relays.has_stopped(1);
    relays.has_ended(2);
    assert!(relays.have_all_caught_up(Word::Second));
    assert!(relays.have_all_stopped(Word::First) && !relays.have_all_stopped(Word::Second));
    relays.has_stopped(1);
    assert!(relays.have_all_stopped(Word::Second));
}
