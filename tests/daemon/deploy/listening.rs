//! Where the daemon listens: addresses of both families, unix sockets, and by default only this machine.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    process::{Command, Output},
    sync::atomic::{AtomicU16, Ordering},
};

use tungstenite::{Message, WebSocket, client};

use crate::helpers::{
    PATIENCE, client::Client, daemon::Daemon, http::Http, message::chat, namespace::in_namespace, on_one_and_two_cores,
    scratch::Scratch, wait_until,
};

on_one_and_two_cores!(
    a_unix_socket_serves_as_an_address_does,
    a_unix_socket_is_shared_by_all_cores_and_takes_a_crowd,
    a_unix_socket_is_for_its_user_and_group_and_is_removed_at_the_end,
    a_socket_that_a_killed_server_has_left_is_replaced,
    a_socket_in_use_and_a_file_that_is_no_socket_are_left_alone,
    ipv4_and_ipv6_are_served_on_one_port,
);

/// A daemon with a unix socket and an address.
fn start(cores: usize, path: &str) -> Daemon {
    Daemon::start(cores, &["--listen", &format!("unix:{path}")])
}

fn socket_in(scratch: &Scratch) -> String {
    scratch.path().join("lhttpd.sock").to_str().expect("the path is UTF-8").to_owned()
}

fn connect(path: &str) -> WebSocket<UnixStream> {
    let stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client("ws://localhost/", stream).expect("a handshake").0
}

#[track_caller]
fn expect(socket: &mut WebSocket<UnixStream>, text: &str) {
    assert_eq!(socket.read().expect("a message comes").to_text().expect("it is text"), text);
}

fn a_unix_socket_serves_as_an_address_does(cores: usize) {
    let scratch = Scratch::new();
    let path = socket_in(&scratch);
    let mut daemon = start(cores, &path);
    let (mut local, mut remote) = (connect(&path), Client::connect(daemon.port()));
    local.send(Message::text(chat(&["subscribe:room", "ack:1"], ""))).expect("it is open");
    expect(&mut local, "LHTTP/1.0 ack\r\nack:1\r\n\r\n");
    remote.subscribe_acked("room");
    let large = chat(&["publish:room"], &"x".repeat(60_000));
    for message in [&chat(&["publish:room"], "hello"), &large] {
        local.send(Message::text(message.as_str())).expect("it is open");
        expect(&mut local, message);
        remote.expect_text(message);
    }
    local.close(None).expect("it is open");
    while local.read().is_ok() {}
    daemon.assert_healthy();
}

fn a_unix_socket_is_shared_by_all_cores_and_takes_a_crowd(cores: usize) {
    let scratch = Scratch::new();
    let path = socket_in(&scratch);
    let mut daemon = start(cores, &path);
    let mut crowd: Vec<_> = (0..200).map(|_| connect(&path)).collect();
    for socket in &mut crowd {
        socket.send(Message::text(chat(&["subscribe:room", "ack:1"], ""))).expect("it is open");
        expect(socket, "LHTTP/1.0 ack\r\nack:1\r\n\r\n");
    }
    let message = chat(&["publish:room"], "to all");
    crowd[0].send(Message::text(message.as_str())).expect("it is open");
    crowd.iter_mut().for_each(|socket| expect(socket, &message));
    daemon.assert_healthy();
}

fn a_unix_socket_is_for_its_user_and_group_and_is_removed_at_the_end(cores: usize) {
    let scratch = Scratch::new();
    let path = socket_in(&scratch);
    let mut daemon = start(cores, &path);
    let metadata = fs::symlink_metadata(&path).expect("the socket is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    assert!(daemon.stderr().contains(&format!(", unix:{path}: ")), "{}", daemon.stderr());
    daemon.terminate();
    assert!(daemon.exit_within(PATIENCE).is_some_and(|status| status.success()));
    assert!(!fs::exists(&path).expect("the folder can be read"));
}

fn a_socket_that_a_killed_server_has_left_is_replaced(cores: usize) {
    let scratch = Scratch::new();
    let path = socket_in(&scratch);
    drop(start(cores, &path)); // it is killed
    assert!(fs::exists(&path).expect("the folder can be read"), "a killed server removes nothing");
    let daemon = start(cores, &path);
    connect(&path);
    // A server does not remove a file that another program has put in place of its socket.
    fs::remove_file(&path).expect("the folder can be written to");
    scratch.write("lhttpd.sock", "another's");
    daemon.terminate();
    assert!(wait_until(|| TcpStream::connect(("127.0.0.1", daemon.port())).is_err(), PATIENCE));
    drop(daemon);
    assert_eq!(fs::read(&path).expect("the file is there"), b"another's");
}

/// The output of a daemon that cannot listen there.
fn refusal(cores: usize, path: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lhttpd"));
    command.args(["--listen", &format!("unix:{path}"), "--cores", &cores.to_string()]);
    command.output().expect("lhttpd runs")
}

#[track_caller]
fn assert_refused(cores: usize, path: &str, reason: &str) {
    let output = refusal(cores, path);
    let said = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("unix:{path}: ")) && said.contains(reason), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

fn a_socket_in_use_and_a_file_that_is_no_socket_are_left_alone(cores: usize) {
    let scratch = Scratch::new();
    let path = socket_in(&scratch);
    let _first = start(cores, &path);
    assert_refused(cores, &path, "another server listens there");
    connect(&path);
    let file = scratch.write("file", "precious");
    assert_refused(cores, &file, "not a socket");
    assert_eq!(fs::read(&file).expect("the file is there"), b"precious");
    assert_refused(cores, &format!("{}/no/such/folder", scratch.path().display()), "No such file");
}

/// A port that is free on all addresses and outside the range from which the system assigns ports.
fn quiet_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 4000;
    let is_free = |&port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    let ports = std::iter::repeat_with(|| 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    ports.take(10_000).find(is_free).expect("a free port below those that the system gives away")
}

fn ipv4_and_ipv6_are_served_on_one_port(cores: usize) {
    for order in [["[::]", "0.0.0.0"], ["0.0.0.0", "[::]"], ["[::]", "127.0.0.1"]] {
        let port = quiet_port();
        let [one, two] = order.map(|host| format!("{host}:{port}"));
        let daemon = Daemon::start(cores, &["--listen", &one, "--listen", &two]);
        for host in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))] {
            TcpStream::connect(host).unwrap_or_else(|error| panic!("{host} of {order:?}: {error}"));
        }
        assert!(daemon.stderr().contains(&format!(", {one}, {two}: ")), "{}", daemon.stderr());
    }
    #[cfg(feature = "tls")]
    {
        let certifier = crate::helpers::certificates::Certifier::new("ca");
        let (certified, port) = (certifier.certify("a", &["a.example"]), quiet_port());
        let [one, two] = ["[::]", "0.0.0.0"].map(|host| format!("tls://{host}:{port}"));
        let listen = ["--listen", &one, "--listen", &two];
        let daemon = Daemon::start(cores, &[&listen[..], &certified.flags()].concat());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("with TLS, too");
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("with TLS, too");
        drop(daemon);
    }
    // Alone it serves both families, with the system's default setting.
    let port = quiet_port();
    let daemon = Daemon::start(cores, &["--listen", &format!("[::]:{port}")]);
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("its own family");
    let is_v6_only = fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() != "0");
    assert_eq!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), is_v6_only);
    drop(daemon);
}

#[test]
fn without_an_address_the_server_listens_on_this_machine_only_and_says_how_to_open_it() {
    in_namespace(
        concat!(module_path!(), "::without_an_address_the_server_listens_on_this_machine_only_and_says_how_to_open_it"),
        || {
            let daemon = Daemon::start_bare(&["--cores", "1"]);
            assert_eq!(daemon.port(), 8081);
            let first = daemon.stderr().lines().next().expect("it says something").to_owned();
            let access = "open to this machine alone (--listen 0.0.0.0:8081 opens it to others), without TLS, from pages of \
                the same host, for anyone to subscribe and publish; 1 core";
            assert!(first.contains(&format!("listening on 127.0.0.1:8081: {access}")), "{first}");
            let listens: Vec<_> = ["tcp", "tcp6"].into_iter().flat_map(listening).collect();
            assert_eq!(listens, ["0100007F:1F91"], "on 127.0.0.1:8081 and nowhere else");
            assert_eq!(Http::connect(8081).ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
        },
    );
    let daemon = Daemon::start(1, &[]);
    assert!(!daemon.stderr().contains("opens it to others"), "the address was given: {}", daemon.stderr());
}

/// The addresses of the listening sockets in this network namespace, as the kernel writes them.
fn listening(table: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|fields| fields[3] == "0A").map(|fields| fields[1].to_owned()).collect()
}
