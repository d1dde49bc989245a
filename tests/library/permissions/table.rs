//! Who may do what: every rule with every token at every door (PROTOCOL.md §9).

use lhttp::{
    Config, Handle,
    config::{ChannelRule, Who},
};

use crate::helpers::{
    Client,
    http::{Http, publish_request},
    message::{Message, chat},
    on_message, one_and_two_cores, start_with_cores,
    token::{KeyFile, token},
};

/// Who may do what, by the first token of a channel. `free` has no rule.
const WHO: [(&str, Option<Who>); 5] = [
    ("anyone", Some(Who::Anyone)),
    ("user", Some(Who::User)),
    ("token", Some(Who::Token)),
    ("nobody", Some(Who::Nobody)),
    ("free", None),
];

/// The tokens of the table, by name.
const TOKENS: [&str; 4] = ["none", "bare", "listed", "all"];

/// The last token of a channel, and whether a token that lists some channels lists it.
const CHANNELS: [(&str, bool); 2] = [("a", true), ("b", false)];

fn token_of(name: &str) -> Option<String> {
    match name {
        "none" => None,
        "bare" => Some(token("mike", &[], &[])),
        "listed" => Some(token("mike", &["*.a"], &["*.a"])),
        "all" => Some(token("mike", &[">"], &[">"])),
        other => panic!("no token {other}"),
    }
}

/// Whether a client with this token may do what a rule allows to `who`, in channels that the token lists or not.
fn is_allowed(who: Option<Who>, token: &str, is_listed: bool) -> bool {
    match who.unwrap_or(Who::Token) {
        Who::Anyone => true,
        Who::User => token != "none",
        Who::Token => token == "all" || (token == "listed" && is_listed),
        Who::Nobody => false,
    }
}

fn rules() -> Vec<ChannelRule> {
    let rule = |(name, who): (&str, Option<Who>)| {
        let rule: ChannelRule = format!("{name}.*").parse().unwrap();
        who.map(|who| rule.subscribe(who).publish(who))
    };
    WHO.into_iter().filter_map(rule).collect()
}

/// All channels of the table, each with what allows it.
fn channels() -> impl Iterator<Item = (String, Option<Who>, bool)> {
    WHO.into_iter()
        .flat_map(|(first, who)| CHANNELS.map(|(last, is_listed)| (format!("{first}.{last}"), who, is_listed)))
}

fn config(key: &KeyFile, channels: Vec<ChannelRule>) -> Config {
    Config { token_key: Some(key.path()), channels, ..Config::default() }
}

/// A server whose processor `listen` subscribes its client to what the body says, and whose processor `speak` publishes there.
fn start(cores: usize, config: Config) -> Handle {
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    start_with_cores(cores, |builder| {
        let listen = on_message(move |context| {
            text(context.body()).split(' ').for_each(|name| context.subscribe(name).unwrap());
        });
        let speak = on_message(move |context| {
            context.publish(&[&text(context.body())], "spoken", &[], "").unwrap();
        });
        builder.config(config).processor("listen", listen).processor("speak", speak)
    })
}

fn connect(server: &Handle, token: &str) -> Client {
    let bearer = token_of(token).map(|token| format!("Bearer {token}"));
    let headers: Vec<(&'static str, &str)> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
    Client::connect_to(server.local_addrs()[0], "/", &headers)
}

/// A client of the server's code, which no rule binds.
fn listener(server: &Handle) -> Client {
    let mut listener = connect(server, "none");
    let names: Vec<_> = channels().map(|(name, ..)| name).collect();
    listener.say(&format!("LHTTP/1.0 listen\r\nack:1\r\n\r\n{}", names.join(" ")));
    listener.expect("LHTTP/1.0 ack\r\nack:1\r\n\r\n");
    listener
}

/// Sends a message with this header, and gives whether it was carried out. A refusal must be 403 `forbidden`.
#[track_caller]
fn is_carried_out(client: &mut Client, header: &str) -> bool {
    client.say(&format!("LHTTP/1.0 chat\r\n{header}\r\nack:1\r\n\r\n"));
    let answer = client.recv().into_text().unwrap();
    let is_refused = answer.starts_with("LHTTP/1.0 error\r\ncode:403\r\nreason:forbidden\r\nack:1\r\n\r\n");
    assert!(is_refused || answer == "LHTTP/1.0 ack\r\nack:1\r\n\r\n", "{answer}");
    !is_refused
}

#[test]
fn every_rule_holds_for_every_token_at_every_door() {
    let key = KeyFile::new();
    for cores in one_and_two_cores() {
        let server = start(cores, config(&key, rules()));
        let mut listener = listener(&server);
        for token in TOKENS {
            for (name, who, is_listed) in channels() {
                let expected = is_allowed(who, token, is_listed);
                let cell = format!("{name} with token {token}");
                let mut client = connect(&server, token);

                assert_eq!(is_carried_out(&mut client, &format!("subscribe:{name}")), expected, "subscribe: {cell}");
                if expected {
                    client.unsubscribe(&name);
                }
                assert_eq!(is_carried_out(&mut client, &format!("publish:{name}")), expected, "publish: {cell}");
                if expected {
                    listener.expect(&format!("LHTTP/1.0 chat\r\npublish:{name}\r\nack:1\r\n\r\n"));
                }
                // A message that names one forbidden channel has no effect at all.
                let both = is_carried_out(
                    &mut client,
                    &format!("publish:anyone.a {name}\r\nsubscribe:anyone.a\r\nno-echo:true"),
                );
                assert_eq!(both, expected, "publish to two: {cell}");
                let copies = if !expected {
                    0
                } else if name == "anyone.a" {
                    1
                } else {
                    2
                };
                for _ in 0..copies {
                    listener.recv();
                }
                listener.expect_nothing();

                // The rules bind clients, not the server's own code.
                client.say(&format!("LHTTP/1.0 listen\r\nack:2\r\n\r\n{name}"));
                client.expect("LHTTP/1.0 ack\r\nack:2\r\n\r\n");
                client.say(&format!("LHTTP/1.0 speak\r\n\r\n{name}"));
                let spoken = format!("LHTTP/1.0 spoken\r\npublish:{name}\r\n\r\n");
                client.expect(&spoken);
                listener.expect(&spoken);

                assert_eq!(post(&server, token, &name), if expected { 200 } else { 403 }, "post: {cell}");
                if expected {
                    listener.expect(&chat(&[&format!("publish:{name}")], "posted"));
                }
                listener.expect_nothing();
            }
        }
    }
}

/// The status of a post with this token.
fn post(server: &Handle, token: &str, name: &str) -> u16 {
    let bearer = token_of(token).map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let message = chat(&[&format!("publish:{name}")], "posted");
    Http::connect(server.local_addrs()[0].port()).ask(publish_request(message, &bearer)).status
}

#[test]
fn the_publish_key_posts_to_every_channel() {
    let key = KeyFile::new();
    let server = start(1, Config { publish_key: Some("s3cret".into()), ..config(&key, rules()) });
    let mut listener = listener(&server);
    for (name, who, is_listed) in channels() {
        let with_token = if is_allowed(who, "listed", is_listed) { 200 } else { 403 };
        assert_eq!((post(&server, "none", &name), post(&server, "listed", &name)), (401, with_token), "{name}");
        if with_token == 200 {
            listener.expect(&chat(&[&format!("publish:{name}")], "posted"));
        }
        let message = chat(&[&format!("publish:{name}")], "posted");
        let request = publish_request(&message, "Authorization: Bearer s3cret\r\n");
        assert_eq!(Http::connect(server.local_addrs()[0].port()).ask(request).status, 200, "{name}");
        listener.expect(&message);
    }
    let system = publish_request(chat(&["publish:$SYS.a"], ""), "Authorization: Bearer s3cret\r\n");
    assert_eq!(Http::connect(server.local_addrs()[0].port()).ask(system).status, 403);
    listener.expect_nothing();
}

#[test]
fn a_pattern_is_allowed_if_all_of_its_channels_are() {
    let key = KeyFile::new();
    for cores in one_and_two_cores() {
        let server = start(cores, config(&key, rules()));
        for token in TOKENS {
            let mut client = connect(&server, token);
            for (first, who) in WHO {
                // The second token may be anything, so it is listed only if the token lists everything.
                let expected = is_allowed(who, token, false);
                assert_eq!(is_carried_out(&mut client, &format!("subscribe:{first}.*")), expected, "{first}.* {token}");
                // No rule is about longer channels.
                let expected = expected && is_allowed(None, token, false);
                assert_eq!(is_carried_out(&mut client, &format!("subscribe:{first}.>")), expected, "{first}.> {token}");
            }
            assert!(!is_carried_out(&mut client, "subscribe:>"), "nobody may subscribe to nobody.*: {token}");
            assert!(!is_carried_out(&mut client, "subscribe:*.a"), "{token}");
            let listed = is_carried_out(&mut client, "subscribe:free.a");
            assert_eq!(listed, is_allowed(None, token, true), "{token}");
        }
    }
}

#[test]
fn a_reload_ends_the_subscriptions_that_the_new_rules_forbid_and_names_them() {
    let key = KeyFile::new();
    for cores in one_and_two_cores() {
        let open: ChannelRule = ">".parse().unwrap();
        let open = config(&key, vec![open.subscribe(Who::Anyone).publish(Who::Anyone)]);
        let server = start(cores, open);
        let publisher = server.publisher();
        let all: Vec<_> = channels().map(|(name, ..)| name).collect();
        let mut clients: Vec<_> = TOKENS.into_iter().map(|token| (token, connect(&server, token))).collect();
        for (_, client) in &mut clients {
            client.subscribe(&all.join(" "));
            client.subscribe("*.b");
        }
        let mut listener = listener(&server);

        let wanted = Config { channels: rules(), ..server.reloader().config() };
        assert!(server.reloader().reload(&wanted).unwrap().applied.contains(&"channel"));
        for name in &all {
            publisher.publish(&[name], "after", &[], "").unwrap();
        }
        for (token, client) in &mut clients {
            let mut ended: Vec<String> = Vec::new();
            let allowed: Vec<_> =
                channels().filter(|(_, who, is_listed)| is_allowed(*who, token, *is_listed)).collect();
            for _ in 0..all.len() + 1 - allowed.len() {
                let error = Message::parse(client.recv().into_text().unwrap().as_bytes());
                assert_eq!(
                    (error.header("code"), error.header("reason")),
                    (Some("403"), Some("forbidden")),
                    "{error:?}"
                );
                ended.push(error.header("channel").expect("the error names it").to_owned());
            }
            let mut expected: Vec<_> = channels()
                .filter(|(_, who, is_listed)| !is_allowed(*who, token, *is_listed))
                .map(|(name, ..)| name)
                .collect();
            expected.push("*.b".to_owned()); // it matches nobody.b
            expected.sort();
            ended.sort();
            assert_eq!(ended, expected, "{token}");
            for (name, ..) in allowed {
                client.expect(&format!("LHTTP/1.0 after\r\npublish:{name}\r\n\r\n"));
            }
            client.expect_nothing();
        }
        for name in &all {
            listener.expect(&format!("LHTTP/1.0 after\r\npublish:{name}\r\n\r\n"));
        }

        // What was kept for a head is not used after the reload.
        let mut client = connect(&server, "bare");
        let publish = chat(&["publish:user.a"], "");
        for _ in 0..3 {
            client.say(&publish);
            listener.expect(&publish);
        }
        let closed: ChannelRule = ">".parse().unwrap();
        let wanted = Config { channels: vec![closed.publish(Who::Nobody)], ..server.reloader().config() };
        server.reloader().reload(&wanted).unwrap();
        client.say(&publish);
        client.expect_error(403, "forbidden", None);
        listener.expect_nothing();
    }
}
