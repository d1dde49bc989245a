//! `lhttpd --demo`: the pages of its port, and that the server's own port is unchanged.

use std::{fs, time::Duration};

use crate::helpers::{
    self,
    client::Client,
    daemon::Daemon,
    http::{Http, Response, handshake, publish_request},
    let_pass,
    message::{Message, chat},
    on_one_and_two_cores, wait_until,
};

on_one_and_two_cores!(
    the_demos_port_speaks_no_lhttp,
    the_demo_does_not_change_the_servers_own_port,
    the_last_messages_of_the_demos_rooms_are_kept_and_no_others,
    it_is_known_who_is_in_the_demos_rooms_and_in_no_others,
    a_crowd_on_the_demos_port_takes_nothing_from_the_servers_clients,
    a_full_server_still_serves_its_demo,
);

/// Every file of the page.
const FILES: [(&str, &str); 7] = [
    ("/", "text/html; charset=utf-8"),
    ("/style.css", "text/css; charset=utf-8"),
    ("/chat.js", "text/javascript; charset=utf-8"),
    ("/page.js", "text/javascript; charset=utf-8"),
    ("/people.js", "text/javascript; charset=utf-8"),
    ("/lhttp.mjs", "text/javascript; charset=utf-8"),
    ("/icon.svg", "image/svg+xml; charset=utf-8"),
];

#[test]
fn every_file_of_the_page_is_served_with_its_type_and_no_more_trust_than_it_needs() {
    let (_daemon, mut http) = demo(1, &[]);
    for (path, content_type) in FILES {
        let response = ask(&mut http, "GET", path);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert_eq!(response.header("content-type"), Some(content_type), "{path}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(response.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert!(response.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
        assert!(response.body.len() > 100, "{path} is whole");

        let head = ask(&mut http, "HEAD", path);
        assert_eq!((head.status, head.header("content-type")), (200, Some(content_type)), "{path}");
        assert_eq!(head.header("content-length"), Some(response.body.len().to_string().as_str()), "{path}");
    }
    let again = ask(&mut http, "GET", "/?a=b");
    assert_eq!(again.status, 200, "a query is no other page");
}

#[test]
fn the_page_is_told_where_the_server_is_and_may_connect_only_there() {
    let (daemon, http) = demo(1, &[]);
    expect_told(&daemon, http);
}

#[test]
#[cfg(feature = "tls")]
fn the_page_is_told_the_address_without_tls() {
    let certifier = helpers::certificates::Certifier::new("ca");
    let certified = certifier.certify("a", &["a.example"]);
    let (daemon, http) = demo(1, &[&["--listen", "tls://127.0.0.1:0"], &certified.flags()[..]].concat());
    expect_told(&daemon, http);
}

#[track_caller]
fn expect_told(daemon: &Daemon, mut http: Http) {
    let response = ask(&mut http, "GET", "/");
    let server = format!("<meta name=\"lhttp-server\" content=\":{}\" />", daemon.port());
    assert!(response.body_text().contains(&server), "no {server} in {}", response.body_text());
    let policy = response.header("content-security-policy").expect("a policy");
    let connect = policy.split("; ").find(|part| part.starts_with("connect-src"));
    assert_eq!(connect, Some(format!("connect-src ws://*:{}", daemon.port()).as_str()));
    assert!(!["-inline", "-eval", "data:"].iter().any(|lax| policy.contains(lax)), "{policy}");
}

#[test]
fn an_unknown_path_gets_404_and_a_writing_method_405() {
    let (_daemon, mut http) = demo(1, &[]);
    for path in ["/favicon.ico", "/healthz", "/publish", "/../Cargo.toml", "//", "/style.css/", "/STYLE.CSS"] {
        assert_eq!(ask(&mut http, "GET", path).status, 404, "{path}");
        assert_eq!(ask(&mut http, "HEAD", path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let response = ask(&mut http, method, "/");
        assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

fn the_demos_port_speaks_no_lhttp(cores: usize) {
    let (daemon, mut http) = demo(cores, &[]);
    assert_eq!(http.ask(handshake("/", "")).status, 200, "an upgrade is ignored, it is the page");
    assert_eq!(http.ask(publish_request(chat(&["publish:room"], "hi"), "")).status, 404);
    http.expect_end();
    let mut other = Http::connect(demo_port(&daemon));
    assert_eq!(other.ask(publish_request("", "").as_slice()).status, 404);
}

fn the_demo_does_not_change_the_servers_own_port(cores: usize) {
    let (daemon, _http) = demo(cores, &[]);
    let mut own = Http::connect(daemon.port());
    for path in ["/style.css", "/chat.js", "/index.html"] {
        assert_eq!(ask(&mut own, "GET", path).status, 404, "{path}");
    }
    assert_eq!(ask(&mut own, "GET", "/").status, 426);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    client.say(&chat(&["publish:room"], "hi"));
    client.expect_text(&chat(&["publish:room"], "hi"));
}

fn the_last_messages_of_the_demos_rooms_are_kept_and_no_others(cores: usize) {
    let (daemon, _http) = demo(cores, &[]);
    let plain = Daemon::start(cores, &[]);
    for (daemon, channel, kept) in
        [(&daemon, "chat.lobby", 100), (&daemon, "lobby", 0), (&daemon, "chat.a.b", 0), (&plain, "chat.lobby", 0)]
    {
        let mut client = Client::connect(daemon.port());
        for number in 0..=100 {
            client.say(&chat(&[&format!("publish:{channel}"), &format!("number:{number}")], ""));
        }
        client.say(&chat(&[&format!("subscribe:{channel}"), "last:1000", "ack:s"], ""));
        let messages: Vec<Message> = std::iter::repeat_with(|| Message::parse(&client.recv().payload))
            .filter(|message| message.command != "presence-change") // it comes before the acknowledgement, or behind it
            .take_while(|message| message.command != "ack")
            .collect();
        assert_eq!(messages.len(), kept, "{channel}");
        if let Some(oldest) = messages.first() {
            assert_eq!(oldest.header("number"), Some("1"));
        }
    }
}

fn it_is_known_who_is_in_the_demos_rooms_and_in_no_others(cores: usize) {
    let (daemon, _http) = demo(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.say(&chat(&["subscribe:chat.lobby typing.lobby", "presence-info:Ada"], ""));
    let change = Message::parse(&client.recv().payload);
    assert_eq!((&*change.command, change.header("channel")), ("presence-change", Some("chat.lobby")));
    assert!(change.body.contains("\"info\":\"Ada\""), "{change:?}");
    client.say(&chat(&["presence:typing.lobby", "ack:x"], ""));
    client.expect_error(404, "no-presence", Some("x"));
}

fn a_crowd_on_the_demos_port_takes_nothing_from_the_servers_clients(cores: usize) {
    let (daemon, first) = demo(cores, &["--max-connections", "4"]);
    // As many as the demo accepts. It refuses the next one by its own limit.
    let mut crowd = vec![first];
    crowd.resize_with(32, || Http::connect(demo_port(&daemon)));
    for http in &mut crowd {
        assert_eq!(ask(http, "GET", "/icon.svg").status, 200);
    }
    assert_eq!(Http::connect(demo_port(&daemon)).response().status, 503);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(daemon.port())).collect();
    for client in &mut clients {
        client.subscribe_acked("room");
    }
}

fn a_full_server_still_serves_its_demo(cores: usize) {
    let (daemon, mut http) = demo(cores, &["--max-connections", "1"]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    assert_eq!(ask(&mut Http::connect(daemon.port()), "GET", "/").status, 503, "the server is full");
    assert_eq!(ask(&mut http, "GET", "/").status, 200);
    assert_eq!(ask(&mut Http::connect(demo_port(&daemon)), "GET", "/").status, 200);
}

#[test]
fn a_demo_takes_no_thread_and_a_crowd_there_a_bounded_number_of_descriptors() {
    let threads = |daemon: &Daemon| fs::read_dir(format!("/proc/{}/task", daemon.id())).expect("it runs").count();
    let without = Daemon::start(1, &[]);
    let (daemon, mut first) = demo(1, &[]);
    assert_eq!(ask(&mut first, "GET", "/").status, 200);
    let are_equal = || threads(&daemon) == threads(&without);
    assert!(wait_until(are_equal, helpers::PATIENCE), "{} and {} threads", threads(&daemon), threads(&without));
    let before = daemon.open_files();
    let _crowd: Vec<_> = (0..300).map(|_| Http::connect(demo_port(&daemon))).collect();
    assert_eq!(ask(&mut first, "GET", "/").status, 200);
    // 32 at most, one of which was there before, and places on which the others are told 503.
    let most = before + 31 + 8 * 5 / 4;
    assert!(daemon.open_files() <= most, "{} files, {most} at most", daemon.open_files());
}

#[test]
fn an_unused_demo_uses_no_cpu_time() {
    let (daemon, http) = demo(1, &[]);
    drop(http);
    let_pass(Duration::from_millis(300));
    let before = daemon.cpu_time();
    let_pass(Duration::from_secs(2));
    let used = daemon.cpu_time() - before;
    assert!(used <= Duration::from_millis(20), "{used:?} in 2 s");
}

#[test]
fn the_demo_ends_with_the_server_although_browsers_stay_connected() {
    let (mut daemon, mut http) = demo(1, &[]);
    assert_eq!(ask(&mut http, "GET", "/").status, 200);
    daemon.terminate();
    let status = daemon.exit_within(Duration::from_secs(8)).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_readme_shows_chat_js_unchanged() {
    let read = |path: &str| fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).expect(path);
    let code = format!("```js\n{}```\n", read("sdk/javascript/demo/chat.js"));
    assert!(read("README.md").contains(&code), "README's chat.js is another one");
}

#[test]
fn the_page_has_fewer_than_300_lines_of_code_and_chat_js_at_most_50() {
    let lines = |file: &str| {
        let text =
            fs::read_to_string(format!("{}/sdk/javascript/demo/{file}", env!("CARGO_MANIFEST_DIR"))).expect(file);
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        text.lines().filter(is_code).count()
    };
    let (heart, looks, people) = (lines("chat.js"), lines("page.js"), lines("people.js"));
    assert!(heart <= 50 && heart + looks + people < 300, "{heart}, {looks} and {people} lines");
}

/// A daemon with a demo, and a connection to the demo.
fn demo(cores: usize, args: &[&str]) -> (Daemon, Http) {
    let daemon = Daemon::start(cores, &[&["--demo", "127.0.0.1:0"], args].concat());
    let http = Http::connect(demo_port(&daemon));
    (daemon, http)
}

fn demo_port(daemon: &Daemon) -> u16 {
    let port = || daemon.stderr().split_once("demo: open http://127.0.0.1:")?.1.split_once('/')?.0.parse().ok();
    assert!(wait_until(|| port().is_some(), helpers::PATIENCE), "no demo in {}", daemon.stderr());
    port().expect("it was there")
}

fn ask(http: &mut Http, method: &str, path: &str) -> Response {
    http.ask(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}
