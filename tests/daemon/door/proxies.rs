//! PROTOCOL.md §9: which address a client has behind a proxy, and who can make the server believe it.

use std::{net::Ipv4Addr, os::unix::net::UnixStream};

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, handshake, publish_request},
    message::chat,
    on_one_and_two_cores,
    scratch::Scratch,
    wait_for,
};

on_one_and_two_cores!(
    the_last_untrusted_address_of_x_forwarded_for_is_the_client,
    only_the_chosen_header_is_believed,
    a_header_of_a_stranger_is_not_believed,
    each_post_of_a_proxy_counts_for_its_client,
    a_client_without_an_address_shares_the_limit_of_its_proxy,
    a_proxy_header_gives_the_client_its_address,
    a_proxy_header_may_come_in_pieces_and_the_request_right_behind_it,
    a_connection_without_its_proxy_header_is_closed,
    a_header_of_the_proxy_protocol_is_needed_from_trusted_proxies_only,
    incomplete_headers_are_bounded_in_time_and_number,
    a_proxy_may_come_over_a_unix_socket,
);

/// A handshake with these lines: a client, or the status.
fn connect(daemon: &Daemon, lines: &str) -> Result<Client, u16> {
    upgrade(Http::connect(daemon.port()), lines)
}

fn upgrade(mut http: Http, lines: &str) -> Result<Client, u16> {
    let response = http.ask(handshake("/", lines));
    if response.status == 101 { Ok(http.into_client()) } else { Err(response.status) }
}

/// A daemon where each address has one connection, and 127.0.0.1 and 10.0.0.0/8 are proxies.
fn proxied(cores: usize, header: &str) -> Daemon {
    let trusts = ["--trust-proxy", "127.0.0.1", "--trust-proxy", "10.0.0.0/8", "--proxy-header", header];
    Daemon::start(cores, &[&trusts[..], &["--address-connections", "1"]].concat())
}

fn the_last_untrusted_address_of_x_forwarded_for_is_the_client(cores: usize) {
    let mut daemon = proxied(cores, "x-forwarded-for");
    let first = connect(&daemon, "X-Forwarded-For: 192.0.2.1\r\n").expect("its first connection");
    let hops = "1.1.1.1, ".repeat(100);
    for lines in [
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n",
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-For: 192.0.2.1, 10.0.0.7\r\n",
        "X-Forwarded-For: 192.0.2.1:4711\r\n",
        "x-forwarded-for: ::ffff:192.0.2.1\r\n",
        "X-Forwarded-For: \r\nX-Forwarded-For: junk, 192.0.2.1\r\n",
        &format!("X-Forwarded-For: {hops}192.0.2.1\r\n"),
    ] {
        assert_eq!(connect(&daemon, lines).err(), Some(429), "{lines}");
    }
    for lines in ["X-Forwarded-For: 192.0.2.2\r\n", "X-Forwarded-For: 192.0.2.1, 6.6.6.6\r\n", ""] {
        assert!(connect(&daemon, lines).is_ok(), "{lines}");
    }
    // A customer of IPv6 has a /64.
    let own = connect(&daemon, "X-Forwarded-For: 2001:db8:1:2::1\r\n").expect("its first connection");
    assert_eq!(connect(&daemon, "X-Forwarded-For: [2001:db8:1:2:ffff::9]:80\r\n").err(), Some(429));
    assert!(connect(&daemon, "X-Forwarded-For: 2001:db8:1:3::1\r\n").is_ok());
    drop((first, own));
    wait_for(|| connect(&daemon, "X-Forwarded-For: 192.0.2.1\r\n").is_ok());
    daemon.assert_healthy();
}

fn only_the_chosen_header_is_believed(cores: usize) {
    let daemon = proxied(cores, "forwarded");
    let _first = connect(&daemon, "Forwarded: for=192.0.2.1\r\n").expect("its first connection");
    for lines in [
        "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=192.0.2.1\r\n",
        "Forwarded: for=6.6.6.6\r\nForwarded: For=\"192.0.2.1:99\";proto=https, for=10.0.0.1\r\n",
    ] {
        assert_eq!(connect(&daemon, lines).err(), Some(429), "{lines}");
    }
    let _other = connect(&daemon, "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n").expect("another one");
}

fn a_header_of_a_stranger_is_not_believed(cores: usize) {
    let args = ["--trust-proxy", "10.0.0.1", "--address-connections", "1"];
    let daemon = Daemon::start(cores, &args);
    let _own = connect(&daemon, "X-Forwarded-For: 192.0.2.1\r\n").expect("its first connection");
    assert_eq!(connect(&daemon, "X-Forwarded-For: 192.0.2.2\r\n").err(), Some(429), "it is 127.0.0.1");
}

fn each_post_of_a_proxy_counts_for_its_client(cores: usize) {
    let args = ["--trust-proxy", "127.0.0.1", "--connect-rate", "2", "--message-rate", "1"];
    let daemon = Daemon::start(cores, &args);
    let mut http = Http::connect(daemon.port());
    let post =
        |number: u8| publish_request(chat(&["publish:room"], "hi"), &format!("X-Forwarded-For: 192.0.2.{number}\r\n"));
    // All at once: half a second later the first client may post again.
    http.send([1, 1, 2, 3, 1, 4].map(post).concat());
    let answers = [(); 6].map(|()| http.response());
    let statuses = answers.each_ref().map(|answer| answer.status);
    assert_eq!(statuses, [200, 200, 200, 200, 429, 200], "the connection of a proxy has no rate of its own");
    assert_eq!(answers[4].header("retry-after"), Some("1"), "{answers:?}");
}

fn a_client_without_an_address_shares_the_limit_of_its_proxy(cores: usize) {
    let daemon = proxied(cores, "forwarded");
    let _one = connect(&daemon, "Forwarded: for=unknown\r\n").expect("the first");
    for lines in ["Forwarded: for=_hidden\r\n", "Forwarded: for=\"192.0.2.1\r\n", "Forwarded: proto=http\r\n"] {
        assert_eq!(connect(&daemon, lines).err(), Some(429), "{lines}");
    }
    assert!(connect(&daemon, "Forwarded: for=192.0.2.1\r\n").is_ok());
}

/// A header of version 2 for a client with this last number.
fn binary(client: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, client, 127, 0, 0, 1, 0, 99, 0, 80];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
}

fn greeted(daemon: &Daemon, header: impl AsRef<[u8]>) -> Result<Client, u16> {
    let mut http = Http::connect(daemon.port());
    http.send(header);
    upgrade(http, "")
}

fn a_proxy_header_gives_the_client_its_address(cores: usize) {
    let mut daemon = proxied(cores, "proxy-protocol");
    let line = |client: &str| format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n");
    let mut first = greeted(&daemon, line("192.0.2.1")).expect("its first connection");
    first.subscribe_acked("room");
    assert_eq!(greeted(&daemon, line("192.0.2.1")).err(), Some(429));
    assert_eq!(greeted(&daemon, binary(1)).err(), Some(429));
    assert!(greeted(&daemon, binary(2)).is_ok());
    assert!(greeted(&daemon, "PROXY TCP6 2001:db8::1 ::1 1 2\r\n").is_ok());
    for _ in 0..3 {
        // The proxy itself, as in its health checks, has no limit.
        assert!(greeted(&daemon, "PROXY UNKNOWN\r\n").is_ok());
        assert!(greeted(&daemon, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").is_ok());
    }
    let spoofed = "X-Forwarded-For: 6.6.6.6\r\n";
    let mut http = Http::connect(daemon.port());
    http.send(line("192.0.2.1"));
    assert_eq!(upgrade(http, spoofed).err(), Some(429), "the headers of requests are not believed");
    drop(first);
    wait_for(|| greeted(&daemon, binary(1)).is_ok());
    daemon.assert_healthy();
}

fn a_proxy_header_may_come_in_pieces_and_the_request_right_behind_it(cores: usize) {
    let daemon = Daemon::start(cores, &["--trust-proxy", "127.0.0.1", "--proxy-header", "proxy-protocol"]);
    for header in [binary(3), b"PROXY TCP4 192.0.2.3 127.0.0.1 4711 80\r\n".to_vec()] {
        for cut in 1..header.len() {
            let mut http = Http::connect(daemon.port());
            http.send(&header[..cut]);
            // Another connection is served before the rest comes, so the first piece was looked at by itself on one core.
            greeted(&daemon, "PROXY UNKNOWN\r\n").expect("another one").subscribe_acked("room");
            let rest = [&header[cut..], b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat();
            assert_eq!(http.ask(rest).status, 200, "cut at {cut}");
        }
    }
}

fn a_connection_without_its_proxy_header_is_closed(cores: usize) {
    let mut daemon =
        Daemon::start(cores, &["--trust-proxy", "127.0.0.1", "--proxy-header", "proxy-protocol", "--log", "debug"]);
    let wrong = [
        &b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 127.0.0.1 4711\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        b"\x16\x03\x01",
    ];
    for bytes in wrong {
        let mut http = Http::connect(daemon.port());
        http.send(bytes);
        http.expect_end();
    }
    for at_once in [true, false] {
        let mut gone = Http::connect(daemon.port());
        gone.send("PROXY ");
        if !at_once {
            greeted(&daemon, "PROXY UNKNOWN\r\n").expect("another one").subscribe_acked("room");
        }
        gone.wire().finish_sending();
        gone.expect_end();
    }
    daemon.wait_for("a connection of the proxy 127.0.0.1 is closed: no header of the PROXY protocol");
    greeted(&daemon, "PROXY UNKNOWN\r\n").expect("it still serves").subscribe_acked("room");
    daemon.terminate();
    daemon.wait_for("6 connections of proxies closed for their PROXY header (proxies_refused)");
    daemon.exit_within(crate::helpers::PATIENCE).expect("it ends");
}

fn a_header_of_the_proxy_protocol_is_needed_from_trusted_proxies_only(cores: usize) {
    let args = ["--trust-proxy", "127.0.0.5", "--proxy-header", "proxy-protocol", "--address-connections", "1"];
    let daemon = Daemon::start(cores, &args);
    let from = |last: u8| Http::connect_from(Ipv4Addr::new(127, 0, 0, last), daemon.port());
    let mut stranger = from(6);
    assert_eq!(
        stranger.ask([&binary(1)[..], handshake("/", "").as_bytes()].concat()).status,
        400,
        "it is not believed"
    );
    let _client = upgrade(from(7), "").expect("a client without a proxy");
    let mut proxy = from(5);
    proxy.send(binary(1));
    let _client = upgrade(proxy, "").expect("a client with a proxy");
}

fn incomplete_headers_are_bounded_in_time_and_number(cores: usize) {
    let trusts = ["--trust-proxy", "127.0.0.1", "--proxy-header", "proxy-protocol"];
    let daemon = Daemon::start(cores, &[&trusts[..], &["--handshake-timeout", "300ms"]].concat());
    let mut slow = Http::connect(daemon.port());
    slow.send("PROXY TCP4 192.0.2.1");
    slow.expect_end();
    let daemon = Daemon::start(cores, &trusts);
    let before = daemon.open_files();
    let mut silent: Vec<_> = (0..400).map(|_| Http::connect(daemon.port())).collect();
    greeted(&daemon, "PROXY UNKNOWN\r\n").expect("others are served").subscribe_acked("room");
    wait_for(|| daemon.open_files() <= before + 64 * cores + 2);
    // The newest may still greet.
    let newest = silent.pop().map(|mut http| {
        http.send("PROXY UNKNOWN\r\n");
        upgrade(http, "")
    });
    assert!(newest.is_some_and(|newest| newest.is_ok()));
}

fn a_proxy_may_come_over_a_unix_socket(cores: usize) {
    use std::io::{Read, Write};

    let scratch = Scratch::new();
    let path = scratch.path().join("lhttpd.sock");
    let listen = format!("unix:{}", path.display());
    let daemon = Daemon::start(cores, &["--listen", &listen, "--trust-proxy", "unix", "--address-connections", "1"]);
    let connect = |lines: &str| {
        let mut stream = UnixStream::connect(&path).expect("it accepts");
        stream.write_all(handshake("/", lines).as_bytes()).expect("it reads");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("it answers");
        (stream, String::from_utf8_lossy(&status[9..]).into_owned())
    };
    let first = connect("X-Forwarded-For: 192.0.2.1\r\n");
    let second = connect("X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!((first.1.as_str(), second.1.as_str()), ("101", "429"));
    assert_eq!(connect("X-Forwarded-For: 192.0.2.2\r\n").1, "101");
    let (unknown, again) = (connect("X-Forwarded-For: junk\r\n"), connect("X-Forwarded-For: junk\r\n"));
    assert_eq!((unknown.1.as_str(), again.1.as_str()), ("101", "429"), "a name that is no address is one address");
    drop(daemon);
}
