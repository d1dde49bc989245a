//! Messages that an operator deletes.

use super::*;

#[test]
fn messages_up_to_a_number_are_dropped_in_steps_and_their_numbers_are_not_given_again() {
    let mut tested = Tested::new(usize::MAX);
    (0..10).for_each(|_| {
        tested.publish("room", ALWAYS, "text");
    });
    let id = tested.history.find(b"room").unwrap();
    let steps = [(6, 5, 5), (6, 5, 1), (6, 5, 0), (u64::MAX, 3, 3), (u64::MAX, 3, 1)];
    for (last, most, dropped) in steps {
        assert_eq!(tested.history.drop_up_to(id, last, most, &mut tested.arena), dropped);
        tested.invariants();
    }
    assert_eq!(tested.history.extent(id), Extent { dropped: 10, newest: 10 });
    assert_eq!(tested.publish("room", ALWAYS, "text"), 11);
}
