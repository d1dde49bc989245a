//! PROTOCOL.md §9: which pages may open a WebSocket or post, and under which names the server answers.

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, Response, handshake, publish_request},
    message::chat,
    on_one_and_two_cores,
    scratch::Scratch,
    wait_for,
};

on_one_and_two_cores!(
    a_page_of_another_server_is_refused_before_the_upgrade,
    a_page_that_is_listed_may_post_and_read_the_answers,
    a_name_that_a_stranger_gave_this_machine_is_refused,
    a_list_of_hosts_holds_on_every_listener,
    a_reload_changes_who_may_come,
    what_is_refused_is_counted_and_logged_with_the_address,
);

fn ask(daemon: &Daemon, request: impl AsRef<[u8]>) -> Response {
    Http::connect(daemon.port()).ask(request)
}

/// The status of a handshake with these lines. An accepted one must be a working WebSocket.
fn upgrade(daemon: &Daemon, lines: &str) -> u16 {
    let mut http = Http::connect(daemon.port());
    http.send(handshake("/", lines));
    let response = http.response_head();
    if response.status == 101 {
        http.into_client().subscribe_acked("room");
    }
    response.status
}

fn post(daemon: &Daemon, lines: &str) -> Response {
    ask(daemon, publish_request(chat(&["publish:room"], "hi"), lines))
}

/// What a browser asks before it sends a post of another page.
fn preflight(daemon: &Daemon, lines: &str) -> Response {
    let asks = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n";
    let mut http = Http::connect(daemon.port());
    http.send(format!("OPTIONS /publish HTTP/1.1\r\nHost: localhost\r\n{lines}{asks}\r\n"));
    http.response_head()
}

fn a_page_of_another_server_is_refused_before_the_upgrade(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--allow-origin", "https://app.example", "--allow-origin", "null"]);
    for (origin, is_accepted) in [
        ("https://app.example", true),
        ("https://APP.example.:443", true),
        ("null", true),
        ("http://localhost", true),
        ("http://localhost:3000", true),
        ("http://app.example", false),
        ("https://app.example.evil.org", false),
        ("https://app.example@evil.org", false),
        ("https://evil.org", false),
        ("https://evil.org, https://app.example", false),
        ("", false),
    ] {
        let lines = format!("Origin: {origin}\r\n");
        assert_eq!(upgrade(&daemon, &lines), if is_accepted { 101 } else { 403 }, "{origin:?}");
        assert_eq!(post(&daemon, &lines).status, if is_accepted { 200 } else { 403 }, "{origin:?}");
    }
    let twice = "Origin: null\r\nOrigin: https://app.example\r\n";
    assert_eq!((upgrade(&daemon, twice), post(&daemon, twice).status), (403, 403));
    assert_eq!((upgrade(&daemon, ""), post(&daemon, "").status), (101, 200), "a program sends no origin");
    daemon.assert_healthy();
}

fn a_page_that_is_listed_may_post_and_read_the_answers(cores: usize) {
    let page = "https://app.example";
    let daemon = Daemon::start(cores, &["--allow-origin", page, "--publish-key", "s3cret"]);
    let from = format!("Origin: {page}\r\n");
    let answer = preflight(&daemon, &from);
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert!(answer.header("access-control-allow-headers").is_some_and(|names| names.contains("Authorization")));
    assert_eq!((answer.header("content-length"), answer.header("content-type")), (None, None), "RFC 9110 §8.6");
    let key = "Authorization: Bearer s3cret\r\n";
    let too_big = format!("POST /publish HTTP/1.1\r\nHost: localhost\r\n{from}{key}Content-Length: 1000000\r\n\r\n");
    let no_length = format!("POST /publish HTTP/1.1\r\nHost: localhost\r\n{from}{key}\r\n");
    for (answer, status) in [
        (answer, 204),
        (post(&daemon, &format!("{from}{key}")), 200),
        (post(&daemon, &from), 401),
        (post(&daemon, &format!("{from}Authorization: Bearer wrong\r\n")), 403),
        (ask(&daemon, publish_request("no message", &format!("{from}{key}"))), 400),
        (ask(&daemon, too_big), 413),
        (ask(&daemon, no_length), 411),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(page), "the page learns why: {answer:?}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{answer:?}");
    }
    let body = chat(&["publish:room"], "in pieces");
    let mut http = Http::connect(daemon.port());
    publish_request(&body, &format!("{from}{key}")).chunks(30).for_each(|piece| http.send(piece));
    assert_eq!(http.response().header("access-control-allow-origin"), Some(page));
    for other in ["Origin: https://evil.org\r\n", "Origin: null\r\n"] {
        let (asked, posted) = (preflight(&daemon, other), post(&daemon, &format!("{other}{key}")));
        for answer in [asked, posted] {
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{answer:?}");
        }
    }
    assert_eq!(post(&daemon, key).header("access-control-allow-origin"), None, "no page asked");
    let open = Daemon::start(cores, &["--allow-origin", "*"]);
    assert_eq!(post(&open, "Origin: https://any.example\r\n").header("access-control-allow-origin"), Some("*"));
}

/// The statuses of a handshake, a post and a health check under this name.
fn under(daemon: &Daemon, host: &str) -> [u16; 3] {
    let named = |request: String| request.replace("Host: localhost\r\n", &format!("Host: {host}\r\n"));
    let post = String::from_utf8(publish_request(chat(&["publish:room"], "hi"), "")).expect("UTF-8");
    let mut http = Http::connect(daemon.port());
    http.send(named(handshake("/", "")));
    let upgraded = http.response_head().status;
    let health = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    [upgraded, ask(daemon, named(post)).status, ask(daemon, health).status]
}

fn a_name_that_a_stranger_gave_this_machine_is_refused(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--allow-host", "chat.example"]);
    for host in
        ["localhost", "localhost:8081", "LOCALHOST.", "127.0.0.1:1", "[::1]", "chat.example", "Chat.Example:443"]
    {
        assert_eq!(under(&daemon, host), [101, 200, 200], "{host}");
    }
    for host in ["localhost.evil.com", "evil.com", "127.0.0.1.evil.com", "x.chat.example", "127.1", ""] {
        assert_eq!(under(&daemon, host), [403, 403, 200], "{host}");
    }
    assert_eq!(under(&Daemon::start(cores, &["--allow-host", "*"]), "evil.com"), [101, 200, 200]);
    daemon.assert_healthy();
}

fn a_list_of_hosts_holds_on_every_listener(cores: usize) {
    let to_all = |args: &[&str]| Daemon::start(cores, &[&["--listen", "0.0.0.0:0"], args].concat());
    let listed = to_all(&["--allow-host", "chat.example"]);
    let other = |daemon: &Daemon| {
        let log = daemon.stderr();
        let (_, port) = log.split_once(", 0.0.0.0:").expect("it says where it listens");
        let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u16>().expect("a port")
    };
    let ask = |daemon: &Daemon, host: &str| {
        let request = handshake("/", "").replace("Host: localhost", &format!("Host: {host}"));
        let mut http = Http::connect(other(daemon));
        http.send(request);
        http.response_head().status
    };
    assert_eq!(["chat.example", "localhost", "evil.com"].map(|host| ask(&listed, host)), [101, 403, 403]);
    let open = to_all(&[]);
    assert_eq!(["chat.example", "localhost", "evil.com"].map(|host| ask(&open, host)), [101; 3]);
}

fn a_reload_changes_who_may_come(cores: usize) {
    let scratch = Scratch::new();
    let file = |origin: &str| scratch.write("lhttpd.toml", &format!("[access]\nallow-origin = \"{origin}\"\n"));
    let path = file("https://one.example");
    let daemon = Daemon::start(cores, &["--config", &path]);
    let (one, two) = ("Origin: https://one.example\r\n", "Origin: https://two.example\r\n");
    assert_eq!((upgrade(&daemon, one), upgrade(&daemon, two)), (101, 403));
    file("https://two.example");
    daemon.signal("HUP");
    wait_for(|| upgrade(&daemon, two) == 101);
    wait_for(|| (0..4).all(|_| upgrade(&daemon, one) == 403));
}

fn what_is_refused_is_counted_and_logged_with_the_address(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--log", "debug"]);
    assert_eq!(upgrade(&daemon, "Origin: https://evil.org\r\n"), 403);
    daemon.wait_for("a request of 127.0.0.1 with Origin https://evil.org is refused");
    assert_eq!(under(&daemon, "evil.com")[0], 403);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    daemon.terminate();
    daemon.wait_for(
        "1 requests of other pages refused (origins_refused), 2 requests for other hosts refused (hosts_refused)",
    );
    drop(client);
    daemon.exit_within(crate::helpers::PATIENCE).expect("it ends");
}
