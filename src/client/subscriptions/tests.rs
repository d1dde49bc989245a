//! Places in channels, without a connection.

use super::*;

fn message(headers: &str) -> Message {
    Message::parse(format!("LHTTP/1.0 chat\r\n{headers}\r\n").as_bytes()).unwrap()
}

/// A message of `room` with this id.
fn room(id: &str) -> Message {
    message(&format!("message-id:{id}\r\nchannel:room\r\npublish:room\r\n"))
}

fn ack(headers: &str) -> Ack {
    Ack::from(&message(headers))
}

fn names(names: &str) -> Vec<String> {
    names.split(' ').map(str::to_owned).collect()
}

/// Subscribed to `room other`, the first with a history.
fn subscribed() -> Subscriptions {
    let mut subscriptions = Subscriptions::default();
    let both = names("room other");
    subscriptions.begin(&both, Start::default(), true);
    assert_eq!(subscriptions.request(&both), [None, None]);
    assert_eq!(subscriptions.complete(&both, &ack("position:a-1 -\r\n")), [""; 0]);
    assert_eq!((subscriptions.newest("room"), subscriptions.newest("other")), (Some("a-1"), None));
    subscriptions
}

#[test]
fn each_message_moves_the_place_and_counts_once() {
    let mut subscriptions = subscribed();
    assert_eq!(subscriptions.take(&room("a-2")), Arrival::Next);
    assert_eq!(subscriptions.take(&room("a-2")), Arrival::Repeated);
    assert_eq!(subscriptions.newest("room"), Some("a-2"));
    // The place does not depend on what ids are made of.
    assert_eq!(subscriptions.take(&room("z")), Arrival::Next);
    assert_eq!(subscriptions.take(&room("a-1")), Arrival::Next);
}

#[test]
fn an_answer_behind_new_messages_does_not_move_the_place_back() {
    let mut subscriptions = subscribed();
    subscriptions.renew(["room"].into_iter());
    assert_eq!(subscriptions.take(&room("a-2")), Arrival::Awaited);
    assert_eq!(subscriptions.answered(["room"].into_iter(), &ack("position:a-1\r\nlost:room gone\r\n")), ["room"]);
    assert_eq!(subscriptions.newest("room"), Some("a-2"));
    subscriptions.renew(["room"].into_iter());
    subscriptions.answered(["room"].into_iter(), &ack("position:b-7\r\n"));
    assert_eq!(subscriptions.newest("room"), Some("b-7"), "a new life of the channel");
    subscriptions.answered(["room"].into_iter(), &ack(""));
    assert_eq!(subscriptions.newest("room"), None, "it has no history any more");
}

#[test]
fn the_answer_to_a_request_that_was_cut_short_says_nothing() {
    let mut subscriptions = subscribed();
    subscriptions.renew(["room"].into_iter());
    subscriptions.end(["room"].into_iter());
    subscriptions.answered(["room"].into_iter(), &ack(""));
    assert_eq!(subscriptions.newest("room"), Some("a-1"));
    // The answer may also come behind the next request.
    subscriptions.renew(["room"].into_iter());
    subscriptions.end(["room"].into_iter());
    subscriptions.renew(["room"].into_iter());
    subscriptions.answered(["room"].into_iter(), &ack(""));
    assert_eq!(subscriptions.newest("room"), Some("a-1"));
    subscriptions.answered(["room"].into_iter(), &ack("position:a-5\r\n"));
    assert_eq!(subscriptions.newest("room"), Some("a-5"));
    // Nor does a refusal leave anything to wait for.
    subscriptions.renew(["room"].into_iter());
    subscriptions.refused(["room"].into_iter());
    // On the next connection there is one answer to wait for.
    subscriptions.renew(["room"].into_iter());
    subscriptions.disconnect();
    subscriptions.renew(["room"].into_iter());
    subscriptions.answered(["room"].into_iter(), &ack("position:a-6\r\n"));
    assert_eq!(subscriptions.newest("room"), Some("a-6"));
}

#[test]
fn nobody_moves_the_place_in_one_channel_with_a_message_in_another() {
    let mut subscriptions = subscribed();
    for headers in [
        "message-id:x\r\nchannel:room\r\npublish:other\r\n",
        "message-id:x\r\nchannel:other\r\npublish:other\r\n",
        "message-id:x\r\nchannel:unknown\r\npublish:unknown\r\n",
        "message-id:x y\r\nchannel:room\r\npublish:room\r\n",
        "message-id:-\r\nchannel:room\r\npublish:room\r\n",
        "message-id:x\r\npublish:room\r\n",
        "channel:room\r\npublish:room\r\n",
    ] {
        assert_eq!(subscriptions.take(&message(headers)), Arrival::Next, "{headers:?}");
    }
    assert_eq!((subscriptions.newest("room"), subscriptions.newest("other")), (Some("a-1"), None));
    // From another node, whose clients do not speak LHTTP.
    assert_eq!(subscriptions.take(&message("message-id:a-2\r\nchannel:room\r\n")), Arrival::Next);
}

#[test]
fn a_call_that_asks_again_goes_on_behind_what_has_come() {
    let mut subscriptions = Subscriptions::default();
    let wanted = names("room");
    subscriptions.begin(&wanted, Start::since("a-1"), true);
    assert_eq!(subscriptions.request(&wanted), [Some("a-1".to_owned())]);
    assert_eq!(subscriptions.request(&wanted), [Some("a-1".to_owned())], "nothing has come");
    assert_eq!(subscriptions.take(&room("a-2")), Arrival::Awaited);
    assert_eq!(subscriptions.request(&wanted), [Some("a-2".to_owned())]);
    subscriptions.adopt(&wanted);
    assert_eq!(subscriptions.newest("room"), Some("a-2"), "also if it does not wait for the answer");
}

#[test]
fn a_subscription_that_is_made_again_goes_on_where_it_is() {
    let mut subscriptions = subscribed();
    let both = names("room other");
    subscriptions.begin(&both, Start::default(), true);
    assert_eq!(subscriptions.in_flight().collect::<Vec<_>>(), ["room"]);
    assert_eq!(subscriptions.take(&room("a-2")), Arrival::Next, "in flight");
    assert_eq!(subscriptions.request(&both), [Some("a-2".to_owned()), None]);
    subscriptions.give_up();
    assert_eq!(subscriptions.newest("room"), Some("a-2"), "the call has failed, the subscription is there");
    subscriptions.begin(&both, Start::default(), false);
    assert_eq!((subscriptions.in_flight().count(), subscriptions.request(&both)), (0, vec![None, None]));
    subscriptions.give_up();
    // The program wants these once more.
    subscriptions.begin(&both, Start::last(1), true);
    assert_eq!((subscriptions.in_flight().count(), subscriptions.request(&both)), (0, vec![None, None]));
    assert_eq!(subscriptions.take(&room("a-2")), Arrival::Awaited);
}

#[test]
fn messages_over_a_pattern_do_not_say_how_far_a_call_is() {
    let mut subscriptions = Subscriptions::default();
    subscriptions.begin(&names("*"), Start::default(), true);
    subscriptions.complete(&names("*"), &ack("position:-\r\n"));
    subscriptions.begin(&names("room"), Start::since("a-1"), true);
    subscriptions.request(&names("room"));
    subscriptions.take(&room("a-9"));
    assert_eq!(subscriptions.request(&names("room")), [Some("a-1".to_owned())]);
    subscriptions.complete(&names("room"), &ack("position:a-9\r\n"));
    assert!(subscriptions.overlaps("*") && !subscriptions.overlaps("room") && !subscriptions.overlaps("other.*"));
}
