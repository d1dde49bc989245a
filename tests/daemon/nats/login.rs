//! Each way to log in to NATS, TLS, and that no secret is ever logged.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
};

use crate::helpers::{
    self,
    client::Client,
    daemon::Daemon,
    loopback::free_address,
    message::chat,
    nats::{NatsServer, RawNats, has_nats_server},
    scratch::Scratch,
    wait_until,
};

const SECRET: &str = "hunter2-hunter2";
/// A key pair for this test alone.
const SEED: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY";
const PUBLIC: &str = "UAMMBNV2EYR65NYZZ7IAK5SIR5ODNTTERJOBOF4KJLMWI45YOXOSWULM";

/// A server with this configuration.
fn server(scratch: &Scratch, config: &str) -> NatsServer {
    NatsServer::start(&["-c", &scratch.write("nats.conf", config)])
}

/// Starts a node with full logging, and waits until it confirms a subscription. It must log no secret.
#[track_caller]
fn connects(args: &[&str]) {
    let daemon = Daemon::start(1, &[&["--log", "trace"], args].concat());
    daemon.wait_for("NATS: connected");
    let mut client = Client::connect(daemon.port());
    let mut answer = String::new();
    let is_online = wait_until(
        || {
            client.say("LHTTP/1.0 n\r\nsubscribe:room\r\nack:a\r\n\r\n");
            answer = String::from_utf8(client.recv().payload).expect("text");
            !answer.contains("offline")
        },
        helpers::PATIENCE,
    );
    assert!(is_online, "{answer}");
    assert_no_secret(&daemon);
}

#[track_caller]
fn assert_no_secret(daemon: &Daemon) {
    let log = daemon.stderr();
    let credentials = include_str!("node.creds").lines().filter(|line| line.starts_with("SU") || line.contains("eyJ"));
    for secret in credentials.chain(["hunter", SEED]) {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn a_user_logs_in_with_a_password_from_the_url_or_a_file() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let nats = server(&scratch, &format!("authorization {{ user: node, password: \"{SECRET}\" }}\n"));
    connects(&["--nats", &format!("nats://node:{SECRET}@{}", nats.address())]);
    let file = scratch.write("password", &format!("{SECRET}\n"));
    connects(&["--nats", &nats.url(), "--nats-user", "node", "--nats-password-file", &file]);
    let toml = format!("nats = \"{}\"\nnats-user = \"node\"\nnats-password-file = \"{file}\"\n", nats.url());
    connects(&["--config", &scratch.write("lhttpd.toml", &toml)]);
}

#[test]
fn a_token_logs_in() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let nats = server(&scratch, &format!("authorization {{ token: \"{SECRET}\" }}\n"));
    connects(&["--nats", &format!("nats://{SECRET}@{}", nats.address())]);
}

#[test]
fn an_nkey_logs_in() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let nats = server(&scratch, &format!("authorization {{ users: [{{ nkey: {PUBLIC} }}] }}\n"));
    connects(&["--nats", &nats.url(), "--nats-nkey", &scratch.write("seed", SEED)]);
}

#[test]
fn a_credentials_file_logs_in() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let nats = server(&scratch, include_str!("operator.conf"));
    let credentials = include_str!("node.creds");
    connects(&["--nats", &nats.url(), "--nats-creds", &scratch.write("node.creds", credentials)]);
    // Without credentials the login fails: the server is not open to everybody.
    let stranger = Daemon::start(1, &["--nats", &nats.url()]);
    stranger.wait_for("cannot connect");
}

#[test]
fn a_wrong_password_is_logged_once_and_clients_are_served() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let nats = server(&scratch, "authorization { user: node, password: right }\n");
    let daemon = Daemon::start(1, &["--log", "trace", "--nats", &format!("node:{SECRET}@{}", nats.address())]);
    daemon.wait_for("authorization violation");
    let mut client = Client::connect(daemon.port());
    client.say("LHTTP/1.0 n\r\nsubscribe:room\r\nack:a\r\n\r\n");
    client.expect_text("LHTTP/1.0 ack\r\nack:a\r\ncluster:offline\r\n\r\n");
    helpers::let_pass(std::time::Duration::from_secs(1)); // time for another attempt
    assert_eq!(daemon.stderr().matches("cannot connect").count(), 1, "{}", daemon.stderr());
    assert_no_secret(&daemon);
}

/// A server whose only user may publish only in `room.…`.
fn restricted(scratch: &Scratch) -> (NatsServer, String) {
    let permissions = "permissions: { publish: [\"room.>\"], subscribe: [\">\"] }";
    let nats = server(scratch, &format!("authorization {{ users: [{{ user: node, password: p, {permissions} }}] }}\n"));
    let url = format!("nats://node:p@{}", nats.address());
    (nats, url)
}

#[test]
fn a_user_who_may_publish_to_listed_subjects_only_is_confirmed_too() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let (_nats, url) = restricted(&scratch);
    connects(&["--nats", &url]);
}

#[test]
fn a_subscriber_of_everything_does_not_disturb_nodes_that_may_not_publish_everything() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let (_nats, url) = restricted(&scratch);
    let (here, there) = (Daemon::start(1, &["--nats", &url]), Daemon::start(1, &["--nats", &url]));
    let (mut everything, mut client) = (Client::connect(here.port()), Client::connect(there.port()));
    for (client, names) in [(&mut everything, ">"), (&mut client, "room.a")] {
        let subscribe = format!("LHTTP/1.0 n\r\nsubscribe:{names}\r\nack:a\r\n\r\n");
        let is_online = || {
            client.say(&subscribe);
            !String::from_utf8(client.recv().payload).expect("text").contains("offline")
        };
        assert!(wait_until(is_online, helpers::PATIENCE));
    }
    for number in 0..3 {
        let message = chat(&["publish:room.a"], &number.to_string());
        client.say(&message);
        client.expect_text(&message);
        everything.expect_text(&message);
        client.subscribe_acked(&format!("room.{number}")); // a barrier confirms this
    }
    for node in [here, there] {
        assert!(!node.stderr().contains("does not answer"), "{}", node.stderr());
    }
}

#[test]
fn a_subscription_that_the_permissions_refuse_is_reported_to_its_client_and_in_few_log_lines() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let config = |publish: &str, subscribe: &str| {
        let permissions = format!("{{ publish: [\"{publish}\"], subscribe: [\"{subscribe}\", \"_INBOX.>\"] }}");
        format!("authorization {{ users: [{{ user: node, password: p, permissions: {permissions} }}] }}\n")
    };
    let mut nats = server(&scratch, &config("room.>", "room.>"));
    let url = format!("nats://node:p@{}", nats.address());
    let (here, there) = (Daemon::start(1, &["--nats", &url]), Daemon::start(1, &["--nats", &url]));
    let mut clients = [&here, &here, &there].map(|node| Client::connect(node.port()));
    let is_online = |client: &mut Client, names: &str| {
        client.say(&format!("LHTTP/1.0 n\r\nsubscribe:{names}\r\nack:a\r\n\r\n"));
        loop {
            let answer = String::from_utf8(client.recv().payload).expect("text");
            if answer.starts_with("LHTTP/1.0 ack\r\n") {
                return !answer.contains("cluster:offline");
            }
        }
    };
    for client in &mut clients {
        assert!(wait_until(|| is_online(client, "room.a"), helpers::PATIENCE));
    }
    let [client, second, publisher] = &mut clients;
    // A name may have everything in it but spaces, wildcards and ASCII's control characters.
    let odd = "other.\u{202e}\u{9b}x";
    assert!(!is_online(client, odd), "NATS has refused it");
    assert!(!is_online(client, &format!("room.a {odd}")) && !is_online(second, odd), "it has done so before");
    assert!(is_online(second, "room.b"));
    // More at once than the client's error queue holds.
    for number in 0..400 {
        client.say(&format!("LHTTP/1.0 n\r\nsubscribe:other.{number}.\"q\r\nack:{number}\r\n\r\n"));
    }
    for number in 0..400 {
        client.expect_text(&format!("LHTTP/1.0 ack\r\nack:{number}\r\ncluster:offline\r\n\r\n"));
    }
    // A message that must not be published to NATS still reaches clients of this node.
    let message = chat(&[&format!("publish:{odd}")], "denied");
    for _ in 0..5000 {
        client.say(&message);
        client.expect_text(&message);
    }
    here.wait_for("messages for other nodes or more were refused, for this node's user has no permission");
    let log = here.stderr();
    let escaped =
        r"subscriptions are refused, for this node's user has no permission; one of them to other.\u{202e}\u{9b}x,";
    assert!(log.contains(escaped) && !log.contains(['\u{202e}', '\u{9b}']), "{log:?}");
    assert!(log.matches("refused").count() <= 4, "{log}");

    // The next connection may have more permissions.
    nats.kill();
    scratch.write("nats.conf", &config(">", ">"));
    nats.restart();
    assert!(wait_until(|| is_online(client, odd), helpers::PATIENCE));
    assert!(wait_until(|| is_online(publisher, "room.b"), helpers::PATIENCE));
    let message = chat(&[&format!("publish:{odd}")], "allowed");
    publisher.say(&message);
    client.expect_text(&message);
}

#[test]
fn a_node_speaks_tls_only_with_servers_that_the_given_authority_certifies() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let Some(tls) = tls(&scratch) else { return };
    let path = |name: &str| path(&scratch, name);
    let nats = server(&scratch, &tls);
    connects(&["--nats", &nats.url(), "--nats-tls-ca", &path("ca.pem")]);
    connects(&["--nats", &format!("tls://{}", nats.address()), "--nats-tls-ca", &path("ca.pem")]);
    // A certificate of another authority does not count.
    let stranger = Daemon::start(1, &["--nats", &nats.url(), "--nats-tls-ca", &path("other.pem")]);
    stranger.wait_for("invalid peer certificate");
    // The node does not accept a server without TLS either.
    let plain = NatsServer::start(&[]);
    let careful = Daemon::start(1, &["--nats", &plain.url(), "--nats-tls-ca", &path("ca.pem")]);
    careful.wait_for("cannot connect");
    let nobody = Daemon::start(1, &["--nats", &free_address().to_string()]);
    nobody.wait_for("onnection refused");
    RawNats::connect(&plain).flush();
}

#[test]
fn no_password_is_sent_in_the_clear_when_the_url_asks_for_tls() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let Some(tls) = tls(&scratch) else { return };
    let login = format!("authorization {{ user: node, password: \"{SECRET}\" }}");
    let route = free_address();
    let cluster = format!("cluster {{ name: c, listen: \"{route}\" }}");
    let mut nats = server(&scratch, &format!("{tls}{login}\n{cluster}\n"));
    // A second server directs its clients to a port without TLS, and the first one advertises the second.
    let other = TcpListener::bind(free_address()).expect("a free port");
    let advertised = other.local_addr().expect("an address").to_string();
    let _second = NatsServer::start(&[
        "--cluster_name",
        "c",
        "--cluster",
        &format!("nats://{}", free_address()),
        "--routes",
        &format!("nats://{route}"),
        "--client_advertise",
        &advertised,
    ]);
    let info = || {
        let mut line = String::new();
        let stream = TcpStream::connect(nats.address()).expect("it listens");
        BufReader::new(stream).read_line(&mut line).expect("it says who it is");
        line
    };
    assert!(wait_until(|| info().contains(&advertised), helpers::PATIENCE), "{}", info());
    let daemon = Daemon::start_with_variable(
        1,
        "SSL_CERT_FILE",
        &path(&scratch, "ca.pem"), // without nats-tls-ca, which would ask for TLS as well
        &["--nats", &format!("tls://node:{SECRET}@{}", nats.address())],
    );
    daemon.wait_for("NATS: connected");
    nats.kill();
    other.set_nonblocking(true).expect("not blocking");
    let mut accepted = None;
    let comes = wait_until(
        || {
            accepted = other.accept().ok();
            accepted.is_some()
        },
        helpers::PATIENCE,
    );
    assert!(comes, "it does not try the other server: {}", daemon.stderr());
    let (mut stream, _) = accepted.expect("it is there");
    stream.set_nonblocking(false).expect("blocking");
    stream.set_read_timeout(Some(helpers::PATIENCE)).expect("a read timeout");
    let info = "INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"proto\":1,\"max_payload\":1048576,\"auth_required\":true}\r\n";
    stream.write_all(info.as_bytes()).expect("it listens");
    let mut said = [0; 512];
    let len = stream.read(&mut said).unwrap_or(0);
    assert!(!String::from_utf8_lossy(&said[..len]).contains(SECRET), "{:?}", String::from_utf8_lossy(&said[..len]));
    assert!(len == 0 || said[0] == 0x16, "no handshake of TLS: {:?}", &said[..len]);
}

fn path(scratch: &Scratch, name: &str) -> String {
    scratch.path().join(name).to_str().expect("a UTF-8 path").to_owned()
}

/// The TLS section of a server's configuration, with the files `ca.pem` and `other.pem`; None if the machine cannot
/// make certificates.
fn tls(scratch: &Scratch) -> Option<String> {
    if !make_certificates(scratch, free_address()) {
        eprintln!("SKIPPED: there is no openssl to make certificates with");
        return None;
    }
    let (certificate, key) = (path(scratch, "server.pem"), path(scratch, "server.key"));
    Some(format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}\n"))
}

/// Makes two authorities, and a certificate of the first one for this address.
fn make_certificates(scratch: &Scratch, address: SocketAddr) -> bool {
    let script = "set -e; cd \"$0\"
        for ca in ca other; do
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.pem \
                -addext basicConstraints=critical,CA:TRUE
        done
        openssl req -newkey rsa:2048 -nodes -subj /CN=nats -keyout server.key -out server.csr
        printf \"subjectAltName=IP:$1\\nbasicConstraints=CA:FALSE\\n\" > server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem -extfile server.ext";
    let openssl = Command::new("openssl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if openssl.is_err() {
        return false;
    }
    let made = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(scratch.path())
        .arg(address.ip().to_string())
        .output()
        .expect("sh runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    true
}
