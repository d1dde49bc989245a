//! A context's data about its connection, the value that users keep with the connection, and answers from other
//! threads.

use std::{io::Write, net::TcpStream, sync::mpsc, thread, time::Duration};

use lhttp::{Config, Context, Filter, Message, Processor, PublishError, Refusal, Replier};

use crate::helpers::{self, Client, Log, on_message, start, start_with_cores, wait_for};

#[test]
fn the_handshake_and_the_peer_are_known_from_on_open_on() {
    struct Look(Log);
    impl Look {
        fn look(&self, context: &Context<'_>) {
            let mut names: Vec<_> = context.handshake_headers().filter(|(name, _)| name.starts_with("x-")).collect();
            names.sort_by_key(|(name, _)| *name); // the client's library reorders names, but not the values of one name
            let (path, query) = (context.path(), context.query());
            let peer = context.peer_addr().expect("it has come over TCP");
            self.0.push(format!("{path} {query:?} {peer} {:?} {names:?}", context.handshake_header("X-One")));
        }
    }
    impl Filter for Look {
        fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
            self.look(context);
            Ok(())
        }

        fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
            self.look(context);
            Ok(())
        }

        fn on_close(&self, context: &mut Context<'_>) {
            self.look(context);
        }
    }
    let log = Log::default();
    let server = start(|builder| builder.filter(Look(log.clone())));
    let headers = [("x-one", "1"), ("x-two", "a: b"), ("x-one", "again")];
    for (target, path, query) in
        [("/a/b?c=d%20e?f", "/a/b", r#"Some("c=d%20e?f")"#), ("/", "/", "None"), ("/?", "/", r#"Some("")"#)]
    {
        let before = log.lines().len();
        let mut client = Client::connect_to(server.local_addrs()[0], target, &headers);
        let peer = client.local_addr();
        client.expect_nothing();
        client.close();
        wait_for(|| log.lines().len() == before + 3);
        let seen = r#"[("x-one", "1"), ("x-one", "again"), ("x-two", "a: b")]"#;
        let expected = format!(r#"{path} {query} {peer} Some("1") {seen}"#);
        assert_eq!(log.lines()[before..], [&*expected, &expected, &expected]);
    }
}

#[test]
fn behind_a_trusted_proxy_the_peer_is_the_client_that_it_names() {
    let tell = || on_message(|context| context.send(format!("{:?}", context.peer_addr())));
    let trusting = |header: &str| {
        let mut config = Config::default();
        config.set("trust-proxy", "127.0.0.1").expect("an option");
        config.set("proxy-header", header).expect("an option");
        start(move |builder| builder.config(config).processor("peer", tell()))
    };
    let ask = |mut client: Client| {
        client.say("LHTTP/1.0 peer\r\n\r\n");
        let said = client.recv().into_text().expect("text").to_string();
        said.rsplit("\r\n").next().unwrap_or_default().to_owned()
    };
    let server = trusting("x-forwarded-for");
    let address = server.local_addrs()[0];
    let headers = [("x-forwarded-for", "6.6.6.6, 192.0.2.1"), ("forwarded", "for=6.6.6.6")];
    assert_eq!(ask(Client::connect_to(address, "/", &headers)), "Some(192.0.2.1:0)");
    let direct = Client::connect(address);
    let own = direct.local_addr();
    assert_eq!(ask(direct), format!("Some({own})"));
    let server = trusting("proxy-protocol");
    let address = server.local_addrs()[0];
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.write_all(b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n").expect("it reads");
    assert_eq!(ask(Client::upgrade(stream, address, "/", &headers)), "Some([2001:db8::1]:4711)");
}

#[test]
fn each_connection_has_an_id_of_its_own() {
    for cores in helpers::one_and_two_cores() {
        let tell = on_message(|context| context.send(context.connection_id().to_string()));
        let server = start_with_cores(cores, |builder| builder.processor("id", tell));
        let mut ids = Vec::new();
        let mut open = Vec::new();
        for number in 0..20 {
            let mut client = Client::connect(server.local_addrs()[0]);
            let mut ask = || {
                client.say("LHTTP/1.0 id\r\n\r\n");
                client.recv()
            };
            let id = ask();
            assert_eq!(ask(), id);
            ids.push(id.into_text().unwrap().to_string());
            // Every other connection makes room for the next, whose id must differ from the old one.
            if number % 2 == 0 { client.close() } else { open.push(client) }
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20, "{ids:?}");
    }
}

#[test]
fn a_connection_keeps_one_value_per_type_until_after_the_last_on_close() {
    struct Count(u32, Log);
    impl Drop for Count {
        fn drop(&mut self) {
            self.1.push(format!("drop {}", self.0));
        }
    }
    struct Counter(Log);
    impl Processor for Counter {
        fn on_open(&self, context: &mut Context<'_>) {
            assert!(context.user::<Count>().is_none() && context.user_mut::<Count>().is_none());
            context.set_user(Count(0, self.0.clone()));
        }

        fn on_message(&self, context: &mut Context<'_>) {
            if context.body() == b"reset" {
                context.set_user(Count(100, self.0.clone()));
            }
            context.user_mut::<Count>().unwrap().0 += 1;
            assert!(context.user::<u32>().is_none() && context.user_mut::<u32>().is_none());
            context.send(context.user::<Count>().unwrap().0.to_string());
        }

        fn on_close(&self, context: &mut Context<'_>) {
            self.0.push(format!("close {}", context.user::<Count>().unwrap().0));
        }
    }
    let log = Log::default();
    let server = start(|builder| builder.processor("count", Counter(log.clone())));
    let mut one = Client::connect(server.local_addrs()[0]);
    let mut two = Client::connect(server.local_addrs()[0]);
    let count = |client: &mut Client, body: &str, expected: u32| {
        client.say(&format!("LHTTP/1.0 count\r\n\r\n{body}"));
        client.expect(&format!("LHTTP/1.0 count\r\n\r\n{expected}"));
    };
    count(&mut one, "", 1);
    count(&mut one, "", 2);
    count(&mut two, "", 1);
    assert!(log.lines().is_empty());
    count(&mut one, "reset", 101);
    assert_eq!(log.lines(), ["drop 2"]);
    one.close();
    log.wait_for(&["drop 2", "close 101", "drop 101"]);
    count(&mut two, "", 2);
}

/// Passes the repliers of its messages to the test.
fn hand_over(sender: mpsc::SyncSender<Replier>) -> impl Processor + 'static {
    on_message(move |context| {
        context.set_command("answer").unwrap();
        sender.send(context.replier()).unwrap();
        context.set_command("changed-later").unwrap();
    })
}

#[test]
fn a_replier_answers_its_connection_from_another_thread() {
    for cores in helpers::one_and_two_cores() {
        let (sender, repliers) = mpsc::sync_channel(10);
        let server = start_with_cores(cores, |builder| builder.processor("ask", hand_over(sender)));
        let mut client = Client::connect(server.local_addrs()[0]);
        let mut other = Client::connect(server.local_addrs()[0]);
        client.say("LHTTP/1.0 ask\r\nid:7\r\n\r\nquestion");
        let replier = repliers.recv().unwrap();
        thread::spawn(move || {
            replier.send("1").unwrap();
            replier.clone().send([0xff]).unwrap();
            replier.reply(&Message::new("other").unwrap().body("2")).unwrap();
            replier.close(4000, "done").unwrap();
            replier.send("nobody hears this").unwrap();
        })
        .join()
        .unwrap();
        client.expect("LHTTP/1.0 answer\r\nid:7\r\n\r\n1");
        client.expect_binary(b"LHTTP/1.0 answer\r\nid:7\r\n\r\n\xff");
        client.expect("LHTTP/1.0 other\r\n\r\n2");
        assert_eq!(client.expect_close(4000), "done");
        other.expect_nothing();
    }
}

#[test]
fn a_replier_of_a_raw_message_answers_with_the_body_alone() {
    let (sender, repliers) = mpsc::sync_channel(1);
    let server = start(|builder| builder.raw(move |context| sender.send(context.replier()).unwrap()));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say_binary(b"raw");
    repliers.recv().unwrap().send("answer").unwrap();
    client.expect_binary(b"answer");
}

#[test]
fn a_replier_of_a_closed_connection_reaches_nobody_and_reports_a_stopped_server() {
    let (sender, repliers) = mpsc::sync_channel(10);
    let server = start(|builder| builder.processor("ask", hand_over(sender)));
    let mut gone = Client::connect(server.local_addrs()[0]);
    gone.say("LHTTP/1.0 ask\r\n\r\n");
    let of_gone = repliers.recv().unwrap();
    gone.close();
    wait_for(|| server.stats().connections == 0);
    // This connection gets the same slot.
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 ask\r\n\r\n");
    let replier = repliers.recv().unwrap();
    assert_ne!(of_gone.connection_id(), replier.connection_id());
    of_gone.send("too late").unwrap();
    of_gone.close(4000, "too late").unwrap();
    replier.send("in time").unwrap();
    client.expect("LHTTP/1.0 answer\r\n\r\nin time");
    client.expect_nothing();
    drop(server);
    assert_eq!(replier.send("nobody is there"), Err(PublishError::Stopped));
    assert_eq!(replier.close(1000, ""), Err(PublishError::Stopped));
}

#[test]
fn a_raw_message_is_all_body_and_cannot_be_changed() {
    let raw = |context: &mut Context<'_>| {
        let errors = [context.set_command("a"), context.add_header("a", "b"), context.set_body("")];
        assert!(errors.iter().all(|result| result.as_ref().is_err_and(|refusal| refusal.reason() == "not-lhttp")));
        assert!(!context.remove_header("a") && context.header("a").is_none() && context.headers().next().is_none());
        assert_eq!((context.command(), context.parts().count()), ("", 0));
        match context.body() {
            b"refuse" => context.refuse(Refusal::new(418, "teapot", "no coffee")),
            body => context.send(body),
        }
    };
    let server = start(|builder| builder.raw(raw));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.1 x\r\n\r\n");
    client.expect("LHTTP/1.1 x\r\n\r\n");
    client.say("refuse");
    assert_eq!(client.expect_error(418, "teapot", None), "no coffee");
    client.expect_nothing();

    let server = start(|builder| builder);
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("raw");
    client.expect_error(400, "not-lhttp", None);
    client.expect_nothing();
}

#[test]
fn kept_handshakes_count_in_the_memory_budget_and_the_largest_are_closed_first() {
    struct Nothing;
    impl Filter for Nothing {}
    const BUDGET: u64 = 1 << 20;
    let config = Config { memory_budget_bytes: Some(BUDGET), idle_timeout: Duration::ZERO, ..Config::default() };
    let server = start(|builder| builder.config(config).filter(Nothing));
    let address = server.local_addrs()[0];
    let mut small: Vec<_> = (0..20).map(|_| Client::connect(address)).collect();
    let large = "x".repeat(6_000);
    let large: Vec<_> = (0..300).map(|_| Client::connect_to(address, "/", &[("x-large", &large)])).collect();
    wait_for(|| server.stats().accepted == 320);
    assert!(server.stats().kept_bytes <= BUDGET, "{}", server.stats());
    assert!(server.stats().over_budget > 100, "{}", server.stats());
    small.iter_mut().for_each(Client::expect_nothing);
    drop((small, large));
    wait_for(|| server.stats().connections == 0 && server.stats().kept_bytes == 0);
    server.stop(Duration::ZERO);
}

#[test]
fn a_client_of_a_unix_socket_has_no_address() {
    let log = Log::default();
    let seen = log.clone();
    let tell = on_message(move |context| seen.push(format!("{:?}", context.peer_addr())));
    let path = std::env::temp_dir().join(format!("lhttp-test-peer-{}.sock", std::process::id()));
    let listen = format!("unix:{}", path.display()).parse().unwrap();
    let server = start(|builder| builder.listen_on(listen).processor("tell", tell));
    assert_eq!((server.listening().len(), server.local_addrs().len()), (2, 1));
    let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let (mut client, _) = tungstenite::client("ws://localhost/", stream).unwrap();
    client.send(tungstenite::Message::text("LHTTP/1.0 tell\r\n\r\n")).unwrap();
    log.wait_for(&["None"]);
    drop(server);
    assert!(!path.exists());
}
