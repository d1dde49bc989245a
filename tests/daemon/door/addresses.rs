//! PROTOCOL.md §9: how often one address may connect, and how many connections it may have.

use std::{net::Ipv4Addr, time::Duration};

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, handshake},
    let_pass, on_one_and_two_cores,
    scratch::Scratch,
    wait_for,
};

on_one_and_two_cores!(
    an_address_that_connects_too_often_gets_429_and_others_do_not,
    an_address_has_so_many_connections_and_a_closed_one_makes_room,
    a_flood_of_one_address_takes_no_place_of_another,
    a_reload_changes_the_limits_of_addresses,
    what_is_refused_is_counted_and_logged_with_the_address,
);

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn source(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, number)
}

/// A client from this address, or the status of its refusal.
fn connect(daemon: &Daemon, number: u8) -> Result<Client, u16> {
    let mut http = Http::connect_from(source(number), daemon.port());
    let response = http.ask(handshake("/", ""));
    match response.status {
        101 => Ok(http.into_client()),
        status => {
            assert!(response.header("retry-after").is_some(), "{response:?}");
            http.expect_end();
            Err(status)
        }
    }
}

fn an_address_that_connects_too_often_gets_429_and_others_do_not(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--connect-rate", "4"]);
    for _ in 0..4 {
        connect(&daemon, 2).expect("it is within the rate");
    }
    // The rate allows for another one after each quarter of a second.
    wait_for(|| connect(&daemon, 2).err() == Some(429));
    connect(&daemon, 3).expect("another address").subscribe_acked("room");
    let_pass(Duration::from_secs(1));
    connect(&daemon, 2).expect("a second later").subscribe_acked("room");
    assert_eq!(Http::connect(daemon.port()).ask(HEALTH).status, 200);
    daemon.assert_healthy();
}

fn an_address_has_so_many_connections_and_a_closed_one_makes_room(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--address-connections", "3"]);
    let mut clients: Vec<_> = (0..3).map(|_| connect(&daemon, 2).expect("it is within the limit")).collect();
    assert_eq!(connect(&daemon, 2).err(), Some(429));
    assert!(connect(&daemon, 3).is_ok());
    drop(clients.pop());
    wait_for(|| connect(&daemon, 2).map(|client| clients.push(client)).is_ok());
    assert_eq!(connect(&daemon, 2).err(), Some(429));
    clients.iter_mut().for_each(|client| client.subscribe_acked("room"));
    daemon.assert_healthy();
}

fn a_flood_of_one_address_takes_no_place_of_another(cores: usize) {
    let daemon = Daemon::start(cores, &["--address-connections", "2", "--max-connections", "4"]);
    let before = daemon.open_files();
    let mut refused = 0;
    let mut clients = Vec::new();
    for _ in 0..200 {
        match connect(&daemon, 2) {
            Ok(client) => clients.push(client),
            Err(status) => {
                assert_eq!(status, 429);
                refused += 1;
            }
        }
    }
    assert_eq!((clients.len(), refused), (2, 198));
    let mut others: Vec<_> = (3..5).map(|number| connect(&daemon, number).expect("places are left")).collect();
    wait_for(|| daemon.open_files() <= before + 4);
    clients.iter_mut().chain(&mut others).for_each(|client| client.subscribe_acked("room"));
}

fn a_reload_changes_the_limits_of_addresses(cores: usize) {
    let scratch = Scratch::new();
    let write =
        |connections: usize| scratch.write("lhttpd.toml", &format!("[rates]\naddress-connections = {connections}\n"));
    let path = write(0);
    let daemon = Daemon::start(cores, &["--config", &path]);
    let before: Vec<_> = (0..3).map(|_| connect(&daemon, 2).expect("there is no limit")).collect();
    write(1);
    daemon.signal("HUP");
    let mut counted = Vec::new();
    wait_for(|| match connect(&daemon, 2) {
        Ok(client) => {
            counted.push(client);
            false
        }
        Err(status) => status == 429,
    });
    write(0);
    daemon.signal("HUP");
    wait_for(|| (0..5).all(|_| connect(&daemon, 2).is_ok()));
    drop((before, counted));
    write(2);
    daemon.signal("HUP");
    wait_for(|| {
        let clients: Vec<_> = (0..3).map(|_| connect(&daemon, 2)).collect();
        clients.iter().map(Result::is_ok).eq([true, true, false])
    });
}

fn what_is_refused_is_counted_and_logged_with_the_address(cores: usize) {
    let args = ["--log", "debug", "--address-connections", "1", "--connect-rate", "100"];
    let mut daemon = Daemon::start(cores, &args);
    let client = connect(&daemon, 7);
    assert_eq!(connect(&daemon, 7).err(), Some(429));
    daemon.wait_for("127.0.0.7 has too many connections, or connects too often");
    daemon.terminate();
    daemon.wait_for("1 connections refused, their address has too many (addresses_full)");
    drop(client);
    daemon.exit_within(crate::helpers::PATIENCE).expect("it ends");
}
