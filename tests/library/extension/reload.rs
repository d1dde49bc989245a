//! New options for a server that runs in this process.

use std::sync::{Mutex, mpsc};

use lhttp::{Config, ReloadError};

use crate::helpers::{Client, on_message, one_and_two_cores, start_with_cores};

#[test]
fn every_core_has_applied_a_reload_when_it_returns() {
    for cores in one_and_two_cores() {
        let (release, held) = mpsc::channel();
        let (entered, is_held) = mpsc::channel();
        let (held, entered) = (Mutex::new(held), Mutex::new(entered));
        let hold = on_message(move |_| {
            entered.lock().unwrap().send(()).unwrap();
            let _ = held.lock().unwrap().recv(); // an error means that the test has failed
        });
        let server = start_with_cores(cores, |builder| builder.processor("hold", hold));
        let release = release; // dropped before the server, which waits for its cores
        let mut client = Client::connect(server.local_addrs()[0]);
        client.say("LHTTP/1.0 hold\r\n\r\n");
        is_held.recv().unwrap();

        let reloader = server.reloader();
        let wanted = Config { subscriptions_max: 1, ..reloader.config() };
        let refused = reloader.reload(&wanted).expect_err("a core cannot take it");
        assert!(matches!(refused, ReloadError::Busy), "{refused}");
        release.send(()).unwrap();
        assert_eq!(reloader.reload(&wanted).unwrap().applied, ["max-subscriptions"]);
        // Without a wait: the core of this connection already applies the limit.
        for _ in 0..8 {
            let mut client = Client::connect(server.local_addrs()[0]);
            client.say("LHTTP/1.0 chat\r\nsubscribe:a b\r\n\r\n");
            client.expect_error(429, "too-many-subscriptions", None);
        }
    }
}
