//! The requests of one connection cost the others nothing: shares of a turn, and messages that take several turns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::helpers::{Client, one_and_two_cores, start_with_cores, wait_for};

/// An expensive message, for a connection that sends it again and again.
fn names(count: usize, word: &str) -> String {
    (0..count).map(|number| format!("{word}.{number}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_room_gets_all_its_messages_beside_connections_that_do_as_much_as_they_can() {
    for cores in one_and_two_cores() {
        let server = start_with_cores(cores, |builder| builder);
        let address = server.local_addrs()[0];
        let is_over = Arc::new(AtomicBool::new(false));
        let attack = |number: usize| {
            let (mut client, is_over) = (Client::connect(address), Arc::clone(&is_over));
            thread::spawn(move || {
                let names = names(100, &format!("attacker.{number}.*"));
                while !is_over.load(Ordering::Relaxed) {
                    for _ in 0..10 {
                        client.say(&format!("LHTTP/1.0 n\r\nsubscribe:{names}\r\nunsubscribe:{names}\r\n\r\n"));
                    }
                    client.expect_nothing();
                }
            })
        };
        let attackers: Vec<_> = (0..4).map(attack).collect();
        let mut room: Vec<Client> = (0..3).map(|_| Client::connect(address)).collect();
        room.iter_mut().for_each(|client| client.subscribe("room"));
        wait_for(|| server.stats().put_behind > 10);
        for number in 0..50 {
            let text = format!("LHTTP/1.0 n\r\npublish:room\r\n\r\n{number}");
            room[number % 3].say(&text);
            room.iter_mut().for_each(|client| client.expect(&text));
        }
        is_over.store(true, Ordering::Relaxed);
        attackers.into_iter().for_each(|attacker| attacker.join().expect("it is served as well as the others"));
        assert_eq!(server.stats().slow_consumers, 0);
    }
}

#[test]
fn a_message_to_many_channels_of_many_readers_takes_several_turns_and_reaches_all_in_order() {
    const READERS: usize = 64;
    const CHANNELS: usize = 32;
    for cores in one_and_two_cores() {
        let server = start_with_cores(cores, |builder| builder);
        let address = server.local_addrs()[0];
        let mut readers: Vec<Client> = (0..READERS * cores).map(|_| Client::connect(address)).collect();
        readers.iter_mut().for_each(|client| client.subscribe("many.*"));
        let mut publisher = Client::connect(address);
        let long = format!("LHTTP/1.0 n\r\npublish:{}\r\n\r\n{}", names(CHANNELS, "many"), "x".repeat(8000));
        let short = "LHTTP/1.0 n\r\npublish:many.0\r\n\r\nlast";
        publisher.say(&long);
        publisher.say(short);
        for client in &mut readers {
            (0..CHANNELS).for_each(|_| client.expect(&long));
            client.expect(short);
        }
        assert!(server.stats().cut > 0, "{}", server.stats());
        publisher.expect_nothing();
    }
}
