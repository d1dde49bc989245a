//! Pages, hosts and listeners: who is accepted, cell by cell.

use super::*;
use crate::{
    config::Config,
    engine::limits::Limits,
    protocol::http::{HeaderSlots, parse_head},
};

fn hub(settings: &[(&str, &str)]) -> Hub {
    let mut config = Config::default();
    settings.iter().for_each(|(name, value)| config.set(name, value).expect(value));
    Hub::new(0, 1, Limits::new(&config, 1 << 30, 1))
}

/// The parts of a request that decide.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    host: &'a str,
    origin: Option<&'a str>,
    is_loopback: bool,
}

/// The requests that are guarded, with these lines.
fn guarded(lines: &str) -> [String; 3] {
    [
        format!("GET / HTTP/1.1\r\n{lines}Upgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        format!("POST /publish?x HTTP/1.1\r\n{lines}Content-Length: 1\r\n\r\n"),
        format!("OPTIONS /publish HTTP/1.1\r\n{lines}\r\n"),
    ]
}

/// Whether each guarded request is accepted; all must have the same outcome.
fn accepts(hub: &mut Hub, asked: Asked<'_>) -> bool {
    let origin = asked.origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
    let lines = format!("Host: {}\r\n{origin}", asked.host);
    let arrival = Arrival { is_loopback: asked.is_loopback, ..Arrival::default() };
    let outcomes = guarded(&lines).map(|request| accepts_request(hub, &request, &arrival));
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{asked:?}: {outcomes:?}");
    outcomes[0]
}

fn accepts_request(hub: &mut Hub, request: &str, arrival: &Arrival) -> bool {
    let mut slots = HeaderSlots::new();
    let (head, _) = parse_head(request.as_bytes(), 8192, &mut slots).expect("it is sound").expect("it is whole");
    let before = hub.stats.hosts_refused + hub.stats.origins_refused;
    let refusal = refusal(hub, &head, arrival);
    let counted = hub.stats.hosts_refused + hub.stats.origins_refused - before;
    assert_eq!(counted, u64::from(refusal.is_some()), "each refusal counts once");
    assert!(refusal.is_none_or(|refusal| refusal.status == 403 && refusal.closes));
    refusal.is_none()
}

#[test]
fn a_page_is_accepted_from_its_own_server_and_from_those_that_are_listed() {
    let mut closed = hub(&[]);
    let mut listed = hub(&[("allow-origin", "https://app.example, null")]);
    let mut open = hub(&[("allow-origin", "*")]);
    for (host, origin, by_default, by_list) in [
        ("chat.example", None, true, true),
        ("chat.example", Some("https://chat.example"), true, true),
        ("chat.example:8081", Some("http://chat.example:8081"), true, true),
        ("chat.example:8081", Some("http://chat.example:9090"), true, true),
        ("[2001:db8::1]:8081", Some("http://[2001:DB8:0::1]:8081"), true, true),
        ("chat.example:8081", Some("http://chat.example"), true, true),
        ("chat.example:8081", Some("https://CHAT.example."), true, true),
        ("chat.example", Some("app://chat.example"), false, false),
        ("chat.example", Some("https://app.example"), false, true),
        ("chat.example", Some("https://app.example:443"), false, true),
        ("chat.example", Some("http://app.example"), false, false),
        ("chat.example", Some("https://evil.example"), false, false),
        ("chat.example", Some("https://chat.example.evil.example"), false, false),
        ("chat.example", Some("https://chat.example@evil.example"), false, false),
        ("chat.example", Some("https://evil.example/https://chat.example"), false, false),
        ("chat.example", Some("https://app.example, https://chat.example"), false, false),
        ("chat.example", Some("null"), false, true),
        ("chat.example", Some(""), false, false),
        ("", Some("http://"), false, false),
        ("%", Some("http://%"), false, false),
    ] {
        let asked = Asked { host, origin, is_loopback: false };
        assert_eq!(accepts(&mut closed, asked), by_default, "{asked:?}");
        assert_eq!(accepts(&mut listed, asked), by_list, "{asked:?} with a list");
        assert!(accepts(&mut open, asked), "{asked:?} with *");
    }
}

#[test]
fn two_origins_are_none() {
    let both = "Host: a\r\nOrigin: http://a\r\nOrigin: http://b\r\n";
    for hub in [&mut hub(&[]), &mut hub(&[("allow-origin", "http://a, http://b")]), &mut hub(&[("allow-origin", "*")])]
    {
        assert!(guarded(both).iter().all(|request| !accepts_request(hub, request, &Arrival::default())));
    }
}

#[test]
fn a_loopback_listener_answers_to_no_name_that_a_stranger_can_give_it() {
    let (mut plain, mut listed) = (hub(&[]), hub(&[("allow-host", "chat.example, 10.0.0.1")]));
    let mut open = hub(&[("allow-host", "*")]);
    for (host, at_loopback, listed_at_loopback, listed_elsewhere) in [
        ("localhost:8081", true, true, false),
        ("LOCALHOST.", true, true, false),
        ("127.0.0.1", true, true, false),
        ("[::1]:8081", true, true, false),
        ("a.localhost", true, true, false),
        ("chat.example:443", false, true, true),
        ("10.0.0.1", false, true, true),
        ("x", true, false, false), // a program that takes any name
        ("localhost.evil.com", false, false, false),
        ("127.0.0.1.evil.com", false, false, false),
        ("evil.com", false, false, false),
        ("2130706433", false, false, false),
        ("0.0.0.0", false, false, false),
        ("", false, false, false),
    ] {
        let asked = |is_loopback| Asked { host, origin: None, is_loopback };
        assert_eq!(accepts(&mut plain, asked(true)), at_loopback, "{host}");
        assert!(accepts(&mut plain, asked(false)), "{host} elsewhere");
        assert_eq!(accepts(&mut listed, asked(true)), listed_at_loopback, "{host} with a list");
        assert_eq!(accepts(&mut listed, asked(false)), listed_elsewhere, "{host} with a list, elsewhere");
        assert!(accepts(&mut open, asked(true)) && accepts(&mut open, asked(false)), "{host} with *");
    }
    // A page that has pointed its own name to this machine is at home there, but the name is not this machine's.
    let rebound = Asked { host: "evil.com:8081", origin: Some("http://evil.com:8081"), is_loopback: true };
    assert!(!accepts(&mut plain, rebound));
    let named = Asked { host: "x", origin: Some("http://x"), is_loopback: true };
    assert!(!accepts(&mut plain, named), "a browser that has another name for this machine");
}

#[test]
fn what_no_page_can_misuse_is_served_under_every_name_to_every_page() {
    let arrival = Arrival { is_loopback: true, ..Arrival::default() };
    for request in ["GET /healthz HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "GET /publishing HTTP/1.1\r\n"] {
        let request = format!("{request}Host: evil.com\r\nOrigin: http://evil.com\r\n\r\n");
        assert!(accepts_request(&mut hub(&[]), &request, &arrival), "{request}");
    }
    assert!(accepts_request(&mut hub(&[]), "POST /publish HTTP/1.0\r\n\r\n", &arrival), "no browser sends no Host");
}

#[test]
fn a_page_that_may_post_may_read_the_answers() {
    let reads = |settings: &[(&str, &str)], path: &str, lines: &str| {
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut slots = HeaderSlots::new();
        let (head, _) = parse_head(request.as_bytes(), 8192, &mut slots).expect("it is sound").expect("it is whole");
        reader(&hub(settings), &head).map(|page| page.to_string())
    };
    let listed = &[("allow-origin", "https://app.example,null")];
    assert_eq!(
        reads(listed, "/publish", "Origin: https://APP.example:443\r\n").as_deref(),
        Some("https://app.example")
    );
    assert_eq!(reads(listed, "/publish", "Origin: null\r\n").as_deref(), Some("null"));
    assert_eq!(reads(&[("allow-origin", "*")], "/publish", "Origin: https://b\r\n").as_deref(), Some("*"));
    assert_eq!(reads(&[], "/publish", "Origin: http://a:3000\r\n").as_deref(), Some("http://a:3000"));
    for lines in ["", "Origin: https://b\r\n", "Origin: app://a\r\n", "Origin: null\r\nOrigin: null\r\n"] {
        assert_eq!(reads(listed, "/publish", lines), None, "{lines}");
    }
    assert_eq!(reads(listed, "/healthz", "Origin: null\r\n"), None);
    assert_eq!(reads(&[], "/publish", "Origin: null\r\n"), None);
}
