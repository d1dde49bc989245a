//! What the server's own code sees of a client's token, and what rules do to its subscriptions: nothing.

use lhttp::{
    Config,
    config::{ChannelRule, Who},
};

use crate::helpers::{
    Client, Log, Recorder, on_message, start,
    token::{KeyFile, now, token, token_until},
};

fn rule(pattern: &str, who: Who) -> ChannelRule {
    pattern.parse::<ChannelRule>().unwrap().subscribe(who).publish(who)
}

fn config(key: &KeyFile, channels: Vec<ChannelRule>) -> Config {
    Config { token_key: Some(key.path()), channels, ..Config::default() }
}

#[test]
fn neither_processors_nor_filters_see_a_token_and_both_see_its_user() {
    let (key, log) = (KeyFile::new(), Log::default());
    let config = config(&key, vec![rule(">", Who::Anyone)]);
    let seen = log.clone();
    let look = on_message(move |context| {
        let token = context.header("token").is_some();
        let text = String::from_utf8_lossy(context.body()).into_owned();
        seen.push(format!("{text}: token {token}, user {:?}", context.token_user()));
        context.send("looked");
    });
    let filter_log = Log::default();
    let filter = Recorder::new("filter", &filter_log);
    let server = start(|builder| builder.config(config).processor("look", look).filter(filter));
    let mut client = Client::connect(server.local_addrs()[0]);
    let mike = token("mike", &[], &[]);
    for (lines, body) in
        [(String::new(), "first"), (format!("token:{mike}\r\nx:1\r\n"), "second"), ("x:1\r\n".to_owned(), "third")]
    {
        client.say(&format!("LHTTP/1.0 look\r\n{lines}ack:1\r\npublish:elsewhere\r\n\r\n{body}"));
        let x = if lines.is_empty() { "" } else { "x:1\r\n" };
        client.expect(&format!("LHTTP/1.0 look\r\n{x}ack:1\r\npublish:elsewhere\r\n\r\nlooked"));
        let ack = client.recv().into_text().unwrap();
        assert_eq!(ack.contains("\r\nexpires-in:"), body == "second", "{ack}");
    }
    // The processor runs before the headers are carried out, and so before the new token counts.
    log.wait_for(&[
        "first: token false, user None",
        "second: token false, user None",
        "third: token false, user Some(\"mike\")",
    ]);
    assert!(filter_log.lines().iter().any(|line| line.contains("second")), "{:?}", filter_log.lines());
}

#[test]
fn a_processor_cannot_make_its_client_another_user() {
    let key = KeyFile::new();
    let eve = token("eve", &[">"], &[">"]);
    let change = on_message(move |context| context.add_header("token", &eve).unwrap());
    let server = start(|builder| builder.config(config(&key, Vec::new())).processor("change", change));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 change\r\nack:1\r\n\r\n");
    client.expect_error(400, "bad-header", Some("1"));
    client.say("LHTTP/1.0 chat\r\nack:2\r\nsubscribe:a\r\n\r\n");
    client.expect_error(403, "forbidden", Some("2"));
}

#[test]
fn the_subscriptions_of_the_servers_code_outlive_rules_and_tokens() {
    let key = KeyFile::new();
    let enlist = on_message(|context| {
        ["both", "server", "$system"].iter().for_each(|name| context.subscribe(name).unwrap());
    });
    let config = config(&key, vec![rule(">", Who::User)]);
    let server = start(|builder| builder.config(config).processor("enlist", enlist));
    let publisher = server.publisher();
    // Two seconds are left: a token counts for 30 s more than it says.
    let headers = format!("Bearer {}", token_until(now() - 28, "mike", &[], &[]));
    let mut client = Client::connect_to(server.local_addrs()[0], "/", &[("authorization", &headers)]);
    client.subscribe("both client");
    client.say("LHTTP/1.0 enlist\r\nack:1\r\n\r\n");
    client.expect("LHTTP/1.0 ack\r\nack:1\r\n\r\n");

    let publish = |client: &mut Client| {
        for name in ["client", "both", "server", "$system"] {
            publisher.publish(&[name], "news", &[], "").unwrap();
        }
        for name in ["both", "server", "$system"] {
            client.expect(&format!("LHTTP/1.0 news\r\npublish:{name}\r\n\r\n"));
        }
    };
    client.expect_error(401, "token-expired", None);
    publish(&mut client);

    let closed = Config { channels: vec![rule(">", Who::Nobody)], ..server.reloader().config() };
    server.reloader().reload(&closed).unwrap();
    publish(&mut client);
}
