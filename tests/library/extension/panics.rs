//! A panic in user code closes its connection with 1011 and is counted. No other connection notices.

use std::panic;

use lhttp::{Context, Filter, Processor, Refusal};

use crate::helpers::{self, Client, Log, start, wait_for};

/// The payload of an intended panic.
const ON_PURPOSE: &str = "on purpose";

/// Suppresses the message of panics with [`ON_PURPOSE`]; all other panics are printed.
fn silence_panics_on_purpose() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&ON_PURPOSE) {
                print(info);
            }
        }));
    });
}

/// Panics in the hook with this name.
struct Panics(&'static str);

impl Panics {
    fn at(&self, hook: &str, context: &Context<'_>) {
        if self.0 == hook {
            context.send("no");
            context.publish(&["room"], "no", &[], "").unwrap();
            panic::panic_any(ON_PURPOSE);
        }
    }
}

impl Processor for Panics {
    fn on_open(&self, context: &mut Context<'_>) {
        self.at("processor open", context);
    }

    fn on_message(&self, context: &mut Context<'_>) {
        self.at("processor message", context);
    }

    fn on_close(&self, context: &mut Context<'_>) {
        self.at("processor close", context);
    }
}

impl Filter for Panics {
    fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        // The test's other clients must survive.
        if context.path() == "/panic" {
            self.at("filter open", context);
        }
        Ok(())
    }

    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        if context.command() == "panic" {
            self.at("filter before", context);
        }
        Ok(())
    }

    fn after_request(&self, context: &mut Context<'_>) {
        if context.command() == "panic" {
            self.at("filter after", context);
        }
    }

    fn on_close(&self, context: &mut Context<'_>) {
        if context.path() == "/panic" {
            self.at("filter close", context);
        }
    }
}

#[test]
fn a_panic_closes_its_connection_alone_and_nothing_of_the_message_happens() {
    silence_panics_on_purpose();
    for hook in ["processor open", "processor message", "filter before", "raw"] {
        let raw = move |context: &mut Context<'_>| Panics(hook).at("raw", context);
        let server = start(|builder| builder.filter(Panics(hook)).processor("panic", Panics(hook)).raw(raw));
        let mut other = Client::connect(server.local_addrs()[0]);
        other.subscribe("room");
        let mut client = Client::connect(server.local_addrs()[0]);
        client.say("LHTTP/1.0 x\r\nsubscribe:mine\r\n\r\n");
        client.say(if hook == "raw" { "raw" } else { "LHTTP/1.0 panic\r\npublish:room\r\nack:7\r\n\r\n" });
        assert_eq!(client.expect_close(1011), "internal error", "{hook}");
        other.expect_nothing();
        wait_for(|| server.stats().connections == 1);
        let stats = server.stats();
        assert_eq!((stats.panics, stats.ended_panicked, stats.subscriptions), (1, 1, 1), "{hook}");
    }
}

#[test]
fn a_panic_in_on_open_rejects_the_connection() {
    silence_panics_on_purpose();
    let server = start(|builder| builder.filter(Panics("filter open")));
    let mut other = Client::connect(server.local_addrs()[0]);
    other.subscribe("room");
    let mut client = Client::connect_to(server.local_addrs()[0], "/panic", &[]);
    client.expect_close(1011);
    other.expect_nothing();
    assert_eq!(server.stats().panics, 1);
}

#[test]
fn a_panic_after_the_message_was_carried_out_undoes_only_its_own_requests() {
    silence_panics_on_purpose();
    let server = start(|builder| builder.filter(Panics("filter after")));
    let mut other = Client::connect(server.local_addrs()[0]);
    other.subscribe("room");
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 panic\r\npublish:room\r\n\r\n");
    client.expect_close(1011);
    other.expect("LHTTP/1.0 panic\r\npublish:room\r\n\r\n");
    other.expect_nothing();
    assert_eq!(server.stats().panics, 1);
}

#[test]
fn a_panic_in_on_close_undoes_its_own_requests_and_the_others_still_learn_of_the_close() {
    silence_panics_on_purpose();
    for hook in ["processor close", "filter close"] {
        let log = Log::default();
        let recorder = || helpers::Recorder::new("ok", &log);
        let server = start(|builder| {
            let builder = builder.filter(Panics(hook)).filter(recorder());
            builder.processor("panic", Panics(hook)).processor("ok", recorder())
        });
        let mut other = Client::connect(server.local_addrs()[0]);
        other.subscribe("room");
        let mut client = Client::connect_to(server.local_addrs()[0], "/panic", &[]);
        client.say("LHTTP/1.0 panic\r\n\r\n");
        client.say("LHTTP/1.0 ok\r\n\r\n");
        client.expect_nothing();
        client.close();
        other.expect_nothing();
        assert_eq!(log.lines().iter().filter(|line| *line == "ok close").count(), 2, "{hook}: {:?}", log.lines());
        assert_eq!(server.stats().panics, 1, "{hook}");
    }
}

#[test]
fn a_panic_in_the_destructor_of_a_kept_value_harms_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic::panic_any(ON_PURPOSE);
        }
    }
    silence_panics_on_purpose();
    let arm = helpers::on_message(|context| context.set_user(Bomb));
    let server = start(|builder| builder.processor("arm", arm));
    let mut other = Client::connect(server.local_addrs()[0]);
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 arm\r\n\r\n");
    client.expect_nothing();
    client.close();
    other.expect_nothing();
    wait_for(|| server.stats().panics == 1);
    // Replacing the value drops it during the call, which costs the connection.
    other.say("LHTTP/1.0 arm\r\n\r\n");
    other.say("LHTTP/1.0 arm\r\n\r\n");
    other.expect_close(1011);
    Client::connect(server.local_addrs()[0]).expect_nothing();
}
