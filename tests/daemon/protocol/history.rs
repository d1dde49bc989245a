//! PROTOCOL.md §10: numbered messages, and clients that come back and get what they have missed.

use std::collections::BTreeMap;

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, publish_request},
    message::{Message, chat},
    on_one_and_two_cores,
    scratch::Scratch,
};

on_one_and_two_cores!(
    a_message_has_its_number_and_channel_behind_the_start_line,
    a_message_to_several_channels_has_no_line_of_its_clients_that_looks_like_the_servers,
    a_client_that_asks_anew_gets_a_position_in_each_acknowledgement,
    an_acknowledgement_says_the_number_and_the_position,
    a_client_that_comes_back_gets_what_it_has_missed_then_the_ack_then_new_messages,
    the_last_messages_come_before_the_ack,
    what_is_not_kept_any_more_is_lost_and_said_so,
    ids_of_other_servers_are_lost_and_a_wrong_header_is_an_error,
    a_channel_without_a_rule_is_as_before,
    without_any_rule_what_was_missed_is_lost,
    no_echo_holds_for_numbered_messages,
    a_pattern_gets_numbered_messages_and_has_no_position,
    posts_are_numbered_too,
    a_history_that_is_larger_than_the_outbox_is_fed_as_the_reader_takes_it,
    messages_of_many_publishers_come_in_the_order_of_their_numbers_without_a_gap,
);

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 100
    [[channel]]
    match = \"short\"
    history = 3
    [[channel]]
    match = \"long\"
    history = 5000
";

struct Keeper {
    daemon: Daemon,
    _scratch: Scratch,
}

impl Keeper {
    fn start(cores: usize, args: &[&str]) -> Self {
        let scratch = Scratch::new();
        let file = scratch.write("lhttpd.toml", RULES);
        Self { daemon: Daemon::start(cores, &[&["--config", &file], args].concat()), _scratch: scratch }
    }

    fn connect(&self) -> Client {
        Client::connect(self.daemon.port())
    }
}

/// The next message, which must be an acknowledgement.
#[track_caller]
fn ack(client: &mut Client) -> Message {
    let message = next(client);
    assert_eq!(message.command, "ack", "{message:?}");
    message
}

fn next(client: &mut Client) -> Message {
    Message::parse(&client.recv().payload)
}

/// Publishes these bodies to a channel, and returns the ids of the messages.
#[track_caller]
fn publish(client: &mut Client, channel: &str, bodies: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for body in bodies {
        client.say(&chat(&[&format!("publish:{channel}"), "ack:p"], body));
        ids.push(ack(client).header("message-id").expect("the number").to_owned());
    }
    ids
}

/// Subscribes with these header lines, and returns the messages before the acknowledgement, and that.
#[track_caller]
fn subscribe(client: &mut Client, headers: &[&str]) -> (Vec<Message>, Message) {
    client.say(&chat(&[headers, &["ack:s"]].concat(), ""));
    let mut messages = Vec::new();
    loop {
        let message = next(client);
        if message.command == "ack" {
            return (messages, message);
        }
        messages.push(message);
    }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| &*message.body).collect()
}

fn a_message_has_its_number_and_channel_behind_the_start_line(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let (mut reader, mut writer) = (keeper.connect(), keeper.connect());
    let (none, ack) = subscribe(&mut reader, &["subscribe:kept.a"]);
    assert_eq!(none, []);
    let position = ack.header("position").expect("a position");
    let (epoch, offset) = position.split_once('-').expect("an epoch and a number");
    let number: u64 = offset.parse().expect("a number");
    writer.say(&chat(&["Message-Id:mine", "publish:kept.a", "channel:other"], "hello"));
    reader.expect_text(&format!(
        "LHTTP/1.0 chat\r\nmessage-id:{epoch}-{}\r\nchannel:kept.a\r\npublish:kept.a\r\n\r\nhello",
        number + 1
    ));
}

fn a_message_to_several_channels_has_no_line_of_its_clients_that_looks_like_the_servers(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let (mut reader, mut writer) = (keeper.connect(), keeper.connect());
    reader.subscribe_acked("plain");
    writer.say(&chat(&["message-id:forged", "channel:kept.a", "publish:kept.a plain"], "text"));
    reader.expect_text(&chat(&["publish:kept.a plain"], "text"));
}

fn a_client_that_asks_anew_gets_a_position_in_each_acknowledgement(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut client = keeper.connect();
    let ids = publish(&mut client, "kept.a", &["one", "two"]);
    for (token, wish) in [("1", "x-none:"), ("2", "last:2"), ("3", &*format!("since:{}", ids[0]))] {
        client.say(&chat(&["subscribe:kept.a", wish, &format!("ack:{token}")], ""));
    }
    let mut acks = BTreeMap::new();
    while acks.len() < 3 {
        let message = next(&mut client);
        if let (Some(token), "ack") = (message.header("ack"), &*message.command) {
            acks.insert(token.to_owned(), message.header("position").map(str::to_owned));
        }
    }
    assert!(acks.values().all(|position| position.as_ref() == Some(&ids[1])), "{acks:?}");
}

fn an_acknowledgement_says_the_number_and_the_position(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut client = keeper.connect();
    client.say(&chat(&["subscribe:kept.a plain kept.b", "publish:kept.a other kept.b", "ack:both"], "text"));
    let (mut messages, mut acks) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let message = next(&mut client);
        if message.command == "ack" { acks.push(message) } else { messages.push(message) }
    }
    let [ack] = &acks[..] else { panic!("one acknowledgement: {acks:?}") };
    let ids: Vec<&str> = ack.header("message-id").expect("numbers").split(' ').collect();
    let positions: Vec<&str> = ack.header("position").expect("positions").split(' ').collect();
    assert!(ids.len() == 3 && ids[1] == "-" && positions.len() == 3 && positions[1] == "-", "{ack:?}");
    let by_channel: BTreeMap<&str, &str> = messages
        .iter()
        .map(|message| (message.header("channel").expect("a channel"), message.header("message-id").expect("an id")))
        .collect();
    assert_eq!(by_channel, BTreeMap::from([("kept.a", ids[0]), ("kept.b", ids[2])]));
    assert_eq!((ack.header("ack"), ack.header("lost")), (Some("both"), None));
}

fn a_client_that_comes_back_gets_what_it_has_missed_then_the_ack_then_new_messages(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut writer = keeper.connect();
    let ids = publish(&mut writer, "kept.a", &["one", "two", "three"]);
    publish(&mut writer, "kept.b", &["other"]);
    let mut reader = keeper.connect();
    let (missed, ack) = subscribe(&mut reader, &["subscribe:kept.a", &format!("since:{}", ids[0])]);
    assert_eq!(bodies(&missed), ["two", "three"]);
    assert_eq!(missed[1].header("message-id"), Some(&*ids[2]));
    assert_eq!((ack.header("position"), ack.header("lost")), (Some(&*ids[2]), None));
    publish(&mut writer, "kept.a", &["four"]);
    assert_eq!(next(&mut reader).body, "four");
    // It asks again, in the same connection: its place moves back.
    let (missed, _) = subscribe(&mut reader, &["subscribe:kept.a plain", &format!("since:{} -", ids[1])]);
    assert_eq!(bodies(&missed), ["three", "four"]);
    publish(&mut writer, "kept.a", &["five"]);
    assert_eq!(next(&mut reader).body, "five");
    reader.expect_nothing_before_ack();
}

fn the_last_messages_come_before_the_ack(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut writer = keeper.connect();
    let ids = publish(&mut writer, "kept.a", &["one", "two", "three"]);
    let mut reader = keeper.connect();
    let (last, ack) = subscribe(&mut reader, &["subscribe:kept.a kept.empty", "last:2"]);
    assert_eq!(bodies(&last), ["two", "three"]);
    assert!(ack.header("position").expect("positions").starts_with(&ids[2]));
    let (all, _) = subscribe(&mut keeper.connect(), &["subscribe:kept.a", "last:1000"]);
    assert_eq!(bodies(&all), ["one", "two", "three"]);
    let since = format!("since:{}", ids[1]);
    let (missed, _) = subscribe(&mut keeper.connect(), &["subscribe:kept.a", "last:1000", &since]);
    assert_eq!(bodies(&missed), ["three"], "since could be served");
}

fn what_is_not_kept_any_more_is_lost_and_said_so(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut writer = keeper.connect();
    let ids = publish(&mut writer, "short", &["one", "two", "three", "four", "five"]);
    let since = |id: &str| format!("since:{id}");
    let (missed, ack) = subscribe(&mut keeper.connect(), &["subscribe:short", &since(&ids[1])]);
    assert_eq!((bodies(&missed), ack.header("lost")), (vec!["three", "four", "five"], None), "just in time");
    let mut reader = keeper.connect();
    let (missed, ack) = subscribe(&mut reader, &["subscribe:kept.a short", &format!("since:- {}", ids[0])]);
    assert_eq!((bodies(&missed), ack.header("lost")), (vec![], Some("short")));
    assert!(ack.header("position").expect("positions").ends_with(&ids[4]));
    let (left, ack) = subscribe(&mut keeper.connect(), &["subscribe:short", &since(&ids[0]), "last:2"]);
    assert_eq!((bodies(&left), ack.header("lost")), (vec!["four", "five"], Some("short")));
    publish(&mut writer, "short", &["six"]);
    assert_eq!(next(&mut reader).body, "six");
}

fn ids_of_other_servers_are_lost_and_a_wrong_header_is_an_error(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut client = keeper.connect();
    let ids = publish(&mut client, "kept.a", &["one"]);
    let (epoch, number) = ids[0].split_once('-').expect("an epoch");
    let future = format!("{epoch}-{}", number.parse::<u64>().expect("a number") + 1);
    for other in ["somebody-elses", "000000000000-1", &future] {
        let (missed, ack) = subscribe(&mut client, &["subscribe:kept.a", &format!("since:{other}")]);
        assert_eq!((bodies(&missed), ack.header("lost")), (vec![], Some("kept.a")), "{other}");
    }
    let long = "x".repeat(65);
    for header in ["since:a b", "since:", &format!("since:{long}"), "last:0", "last:1001", "last:-1", "last:x", "last:"]
    {
        client.say(&chat(&["subscribe:kept.a", header, "ack:e"], ""));
        client.expect_error(400, "bad-header", Some("e"));
    }
    for twice in ["since", "last"] {
        client.say(&chat(&["subscribe:kept.a", &format!("{twice}:1"), &format!("{twice}:1")], ""));
        client.expect_error(400, "bad-header", None);
    }
}

fn a_channel_without_a_rule_is_as_before(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut client = keeper.connect();
    client.subscribe_acked("plain");
    // Without subscribe, since and last are headers like any other.
    let message =
        chat(&["publish:plain", "message-id:mine", "channel:mine", "since:x y", "last:none", "last:2"], "text");
    client.say(&message);
    client.expect_text(&message);
    client.say_acked("publish:nobody");
    let (missed, ack) = subscribe(&mut client, &["subscribe:plain", "since:x", "last:5"]);
    assert_eq!((bodies(&missed), ack.header("position"), ack.header("lost")), (vec![], None, Some("plain")));
}

fn without_any_rule_what_was_missed_is_lost(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    let (_, ack) = subscribe(&mut client, &["subscribe:a b", "since:- x"]);
    assert_eq!((ack.header("position"), ack.header("lost")), (None, Some("b")));
}

fn no_echo_holds_for_numbered_messages(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let (mut client, mut other) = (keeper.connect(), keeper.connect());
    for channel in ["kept.a", "kept.b", "kept.c", "kept.d"] {
        subscribe(&mut client, &[&format!("subscribe:{channel}")]);
        subscribe(&mut other, &[&format!("subscribe:{channel}")]);
        client.say(&chat(&[&format!("publish:{channel}"), "no-echo:true", "ack:p"], "for others"));
        assert!(ack(&mut client).header("message-id").is_some());
        assert_eq!(next(&mut other).body, "for others");
        let (missed, _) = subscribe(&mut client, &[&format!("subscribe:{channel}"), "last:5"]);
        assert_eq!(bodies(&missed), ["for others"], "it asks for it");
    }
}

fn a_pattern_gets_numbered_messages_and_has_no_position(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut client = keeper.connect();
    let (none, ack) = subscribe(&mut client, &["subscribe:kept.* kept.b", "last:5"]);
    let positions: Vec<_> = ack.header("position").expect("positions").split(' ').collect();
    assert!(none.is_empty() && positions[0] == "-" && positions[1] != "-", "{ack:?}");
    publish(&mut keeper.connect(), "kept.a", &["text"]);
    let message = next(&mut client);
    assert_eq!((message.header("channel"), &*message.body), (Some("kept.a"), "text"));
}

fn posts_are_numbered_too(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut http = Http::connect(keeper.daemon.port());
    assert_eq!(http.ask(publish_request(chat(&["publish:kept.a plain kept.b"], "posted"), "")).status, 200);
    for channel in ["kept.a", "kept.b"] {
        // The home of the channel may be another core than the one of the post.
        let mut client = keeper.connect();
        let posted = std::iter::repeat_with(|| subscribe(&mut client, &[&format!("subscribe:{channel}"), "last:5"]).0);
        let posted = posted.take(10_000).find(|messages| !messages.is_empty()).expect("it comes");
        assert_eq!(bodies(&posted), ["posted"]);
    }
}

fn a_history_that_is_larger_than_the_outbox_is_fed_as_the_reader_takes_it(cores: usize) {
    const MESSAGES: usize = 3000;
    let keeper = Keeper::start(cores, &["--outbox-max", "256KiB", "--send-buffer", "16KiB"]);
    let (mut writer, body) = (keeper.connect(), "x".repeat(1000));
    for number in 0..MESSAGES {
        writer.say(&chat(&["publish:long"], &format!("{number} {body}")));
    }
    publish(&mut writer, "long", &["end"]);
    let mut reader = Client::connect_with_small_window(keeper.daemon.port());
    reader.say(&chat(&["subscribe:long", "since:unknown", "last:1000", "ack:s"], ""));
    // The subscription is carried out before the next publish.
    let mut numbers = vec![next(&mut reader).body];
    // The other one has all of it while this one does not read.
    let (last, _) = subscribe(&mut keeper.connect(), &["subscribe:long", "last:1000"]);
    assert_eq!(last.len(), 1000);
    let other = publish(&mut writer, "long", &["new"]);
    loop {
        let message = next(&mut reader);
        match &*message.command {
            "ack" => assert_eq!(message.header("lost"), Some("long")),
            _ if message.body == "new" => {
                assert_eq!(message.header("message-id"), Some(&*other[0]));
                break;
            }
            _ => numbers.push(message.body),
        }
    }
    assert_eq!(numbers.len(), 1000, "all but the new one, each once");
    assert!(numbers[0].starts_with(&format!("{} ", MESSAGES - 999)) && numbers[999] == "end");
}

fn messages_of_many_publishers_come_in_the_order_of_their_numbers_without_a_gap(cores: usize) {
    const EACH: usize = 500;
    let keeper = Keeper::start(cores, &[]);
    let mut readers: Vec<Client> = (0..4).map(|_| keeper.connect()).collect();
    let mut last: Vec<u64> =
        readers.iter_mut().map(|reader| number(&subscribe(reader, &["subscribe:long"]).1, "position")).collect();
    std::thread::scope(|scope| {
        for publisher in 0..4 {
            let mut writer = keeper.connect();
            scope.spawn(move || {
                for count in 0..EACH {
                    writer.say(&chat(&["publish:long"], &format!("{publisher} {count}")));
                }
                writer.expect_nothing_before_ack();
            });
        }
        for (reader, last) in readers.iter_mut().zip(&mut last) {
            let mut counts = [0; 4];
            for _ in 0..4 * EACH {
                let message = next(reader);
                *last += 1;
                assert_eq!(number(&message, "message-id"), *last);
                let (publisher, count) = message.body.split_once(' ').expect("a publisher");
                let of_publisher = &mut counts[publisher.parse::<usize>().expect("a number")];
                assert_eq!(count.parse(), Ok(*of_publisher), "the messages of a publisher keep their order");
                *of_publisher += 1;
            }
        }
    });
}

fn number(message: &Message, header: &str) -> u64 {
    let id = message.header(header).unwrap_or_else(|| panic!("no {header} in {message:?}"));
    id.split_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or_else(|| panic!("{id} has no number"))
}
