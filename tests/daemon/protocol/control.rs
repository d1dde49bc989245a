//! PROTOCOL.md §2: the effects and the order of the control headers.

use crate::helpers::{client::Client, daemon::Daemon, message::chat, on_one_and_two_cores};

on_one_and_two_cores!(
    a_subscriber_receives_what_is_published_on_every_core,
    a_connection_that_unsubscribed_receives_nothing,
    unsubscribing_what_was_never_subscribed_has_no_effect,
    a_connection_that_left_disturbs_no_publish,
    one_message_may_name_several_channels,
    a_repeated_control_header_applies_each_time,
    subscribing_twice_counts_once,
    a_subscriber_of_two_channels_of_one_publish_receives_it_twice,
    the_sender_receives_its_own_publish_only_without_no_echo,
    control_headers_apply_in_the_protocols_order_not_the_messages,
    an_acknowledgement_comes_after_the_effects,
    an_ack_token_has_64_bytes_at_most,
    nothing_is_carried_out_when_any_part_is_invalid,
);

/// So many connections that the kernel puts some of them on each core (all on one: 1 time in 2^15).
const CROWD: usize = 16;

fn crowd(daemon: &Daemon, channel: &str) -> Vec<Client> {
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Client::connect(daemon.port())).collect();
    crowd.iter_mut().for_each(|client| client.subscribe_acked(channel));
    crowd
}

/// Fails the test if an earlier publish is still in flight to `clients`, which subscribe to `sentinel`. The messages of
/// one connection come in its order.
fn expect_only_the_sentinel(publisher: &mut Client, clients: &mut [Client]) {
    let sentinel = chat(&["publish:sentinel"], "");
    publisher.say(&sentinel);
    clients.iter_mut().for_each(|client| client.expect_text(&sentinel));
}

fn a_subscriber_receives_what_is_published_on_every_core(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut crowd = crowd(&daemon, "room");
    let mut bystander = Client::connect(daemon.port());
    for speaker in 0..CROWD {
        let message = chat(&["publish:room"], &format!("from {speaker}"));
        crowd[speaker].say(&message);
        crowd.iter_mut().for_each(|client| client.expect_text(&message));
    }
    bystander.expect_nothing_before_ack();
}

fn a_connection_that_unsubscribed_receives_nothing(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut crowd = crowd(&daemon, "room sentinel");
    crowd.iter_mut().for_each(|client| client.say_acked("unsubscribe:room"));
    let mut publisher = Client::connect(daemon.port());
    publisher.say(&chat(&["publish:room"], "nobody hears this"));
    expect_only_the_sentinel(&mut publisher, &mut crowd);
    crowd[0].subscribe_acked("room");
    publisher.say(&chat(&["publish:room"], "one hears this"));
    crowd[0].expect_text(&chat(&["publish:room"], "one hears this"));
    expect_only_the_sentinel(&mut publisher, &mut crowd);
}

fn unsubscribing_what_was_never_subscribed_has_no_effect(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.say_acked("unsubscribe:never b.* c.>");
    client.subscribe_acked("room");
    client.say_acked("unsubscribe:roo room.a *");
    client.say(&chat(&["publish:room"], "hi"));
    client.expect_text(&chat(&["publish:room"], "hi"));
}

fn a_connection_that_left_disturbs_no_publish(cores: usize) {
    let mut daemon = Daemon::start(cores, &[]);
    let mut crowd = crowd(&daemon, "room r.* r.>");
    crowd.truncate(CROWD / 2);
    let mut publisher = Client::connect(daemon.port());
    for number in 0..100 {
        let message = chat(&["publish:room"], &number.to_string());
        publisher.say(&message);
        crowd.iter_mut().for_each(|client| client.expect_text(&message));
    }
    drop(crowd);
    for _ in 0..10 {
        publisher.say_acked("publish:room r.a");
    }
    daemon.assert_healthy();
}

fn one_message_may_name_several_channels(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    let mut publisher = Client::connect(daemon.port());
    client.subscribe_acked("a b c d");
    for channel in ["a", "b", "c", "d"] {
        publisher.say(&chat(&[&format!("publish:{channel}")], ""));
        client.expect_text(&chat(&[&format!("publish:{channel}")], ""));
    }
    client.say_acked("unsubscribe:a c");
    let message = chat(&["publish:a b c d"], "for b and d");
    publisher.say(&message);
    client.expect_text(&message);
    client.expect_text(&message);
    publisher.say(&chat(&["publish:d"], "last"));
    client.expect_text(&chat(&["publish:d"], "last"));
}

fn a_repeated_control_header_applies_each_time(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.say(&chat(&["subscribe:a", "x:y", "Subscribe:b", "subscribe:c", "ack:1"], ""));
    client.expect_ack("1");
    let message = chat(&["publish:a", "publish:b", "x:y", "PUBLISH:c"], "three times");
    client.say(&message);
    (0..3).for_each(|_| client.expect_text(&message));
    client.say(&chat(&["unsubscribe:a", "unsubscribe:c", "ack:2"], ""));
    client.expect_ack("2");
    client.say(&message);
    client.expect_text(&message);
    client.expect_nothing_before_ack();
}

fn subscribing_twice_counts_once(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    let message = chat(&["publish:room.a"], "once for the channel and once for the pattern");
    client.subscribe_acked("room.a room.a room.*");
    client.subscribe_acked("room.a room.*");
    client.say(&message);
    client.expect_text(&message);
    client.expect_text(&message);
    client.expect_nothing_before_ack();
    client.say_acked("unsubscribe:room.a");
    client.say(&message);
    client.expect_text(&message);
    client.expect_nothing_before_ack();
}

fn a_subscriber_of_two_channels_of_one_publish_receives_it_twice(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut both = crowd(&daemon, "a b sentinel");
    let mut publisher = Client::connect(daemon.port());
    let message = chat(&["publish:a b"], "twice");
    publisher.say(&message);
    for client in &mut both {
        client.expect_text(&message);
        client.expect_text(&message);
    }
    expect_only_the_sentinel(&mut publisher, &mut both);
}

fn the_sender_receives_its_own_publish_only_without_no_echo(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut others = crowd(&daemon, "room room.* room.>");
    let mut sender = Client::connect(daemon.port());
    sender.subscribe_acked("room room.*");
    for (headers, echoed) in [
        (&["publish:room"][..], true),
        (&["publish:room", "no-echo:true"], false),
        (&["No-Echo: true", "publish:room"], false),
        (&["publish:room", "no-echo:false"], true),
    ] {
        let message = chat(headers, "hi");
        sender.say(&message);
        if echoed {
            sender.expect_text(&message);
        }
        sender.expect_nothing_before_ack();
        others.iter_mut().for_each(|client| client.expect_text(&message));
    }
    // Also through patterns: nothing for the sender, one for each matching subscription of the others.
    let message = chat(&["publish:room.a", "no-echo:true"], "hi");
    sender.say(&message);
    sender.expect_nothing_before_ack();
    for client in &mut others {
        client.expect_text(&message);
        client.expect_text(&message);
    }
}

fn control_headers_apply_in_the_protocols_order_not_the_messages(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    for round in 0..20 {
        let channel = format!("room-{round}");
        let [subscribe, publish, unsubscribe] =
            ["subscribe", "publish", "unsubscribe"].map(|name| format!("{name}:{channel}"));
        // The client is subscribed, so it gets its own publish; then it is unsubscribed, so it gets nothing more.
        let message = chat(&["ack:t", &unsubscribe, &publish, &subscribe], "subscribe, publish, unsubscribe");
        client.say(&message);
        client.expect_text(&message);
        client.expect_ack("t");
        client.say(&chat(&[&publish], "too late"));
        client.expect_nothing_before_ack();
    }
}

fn an_acknowledgement_comes_after_the_effects(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    for (round, token) in ["1", "a b", "zwölf", "~!@", &"t".repeat(64)].into_iter().enumerate() {
        let message = chat(&[&format!("ack:{token}"), "subscribe:room", "publish:room"], "mine");
        client.say(&message);
        client.expect_text(&message);
        client.expect_ack(token);
        client.say(&chat(&[&format!("ack:{round}")], "an ack alone"));
        client.expect_ack(&round.to_string());
    }
}

fn an_ack_token_has_64_bytes_at_most(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    client.say(&chat(&["publish:room", &format!("ack:{}", "t".repeat(65))], ""));
    let error = client.any_error();
    assert_eq!((error.header("code"), error.header("reason")), (Some("400"), Some("bad-header")), "{error:?}");
    client.expect_nothing_before_ack();
}

fn nothing_is_carried_out_when_any_part_is_invalid(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut witness = Client::connect(daemon.port());
    witness.subscribe_acked("heard probe");
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("kept");
    for (bad, code, reason) in [
        ("subscribe:good a..b", 400, "bad-channel"),
        ("unsubscribe:kept a..b", 400, "bad-channel"),
        ("publish:heard a..b", 400, "bad-channel"),
        ("publish:heard *", 400, "bad-channel"),
        ("publish:heard a.>", 400, "bad-channel"),
        ("multipart:9", 400, "bad-multipart"),
        ("multipart:x", 400, "bad-multipart"),
        ("upstream:nonsense", 400, "bad-upstream"),
        ("upstream:GET http://127.0.0.1:1/", 403, "forbidden"),
    ] {
        client.say(&chat(&["subscribe:new", "publish:heard", "unsubscribe:kept", "ack:t", bad], ""));
        client.expect_error(code, reason, Some("t"));
        client.say(&chat(&[bad, "ack:u", "subscribe:new", "publish:heard", "unsubscribe:kept"], ""));
        client.expect_error(code, reason, Some("u"));

        client.say(&chat(&["publish:probe"], ""));
        witness.expect_text(&chat(&["publish:probe"], ""));
        client.say(&chat(&["publish:new good"], ""));
        client.expect_nothing_before_ack();
        client.say(&chat(&["publish:kept"], ""));
        client.expect_text(&chat(&["publish:kept"], ""));
    }
}
