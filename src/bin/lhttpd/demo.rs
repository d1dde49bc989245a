//! The chat room of `--demo`: its page and the JavaScript SDK, built in, on an address of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lhttp::{
    Page,
    config::{ChannelRule, Config, Listen, Presence},
    server::Builder,
};

/// The mark in index.html for the server's address, which only the running server knows.
const SERVER_MARK: &str = "SERVER_ADDRESS";
/// The mark in index.html for what the server keeps, so that the page tells people the truth.
const HISTORY_MARK: &str = "SERVER_HISTORY";

/// The channels of the rooms; chat.js makes them from the names.
const ROOMS: &str = "chat.*";
/// The messages of each room that are kept, for [`ChannelRule::HISTORY_AGE`]. chat.js asks for as many, and index.html says so.
const KEPT: u32 = 100;

/// The files: path, content type, content.
const FILES: [(&str, &str, &str); 6] = [
    ("/style.css", "text/css; charset=utf-8", include_str!("../../../sdk/javascript/demo/style.css")),
    ("/chat.js", "text/javascript; charset=utf-8", include_str!("../../../sdk/javascript/demo/chat.js")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("../../../sdk/javascript/demo/page.js")),
    ("/people.js", "text/javascript; charset=utf-8", include_str!("../../../sdk/javascript/demo/people.js")),
    ("/icon.svg", "image/svg+xml; charset=utf-8", include_str!("../../../sdk/javascript/demo/icon.svg")),
    ("/lhttp.mjs", "text/javascript; charset=utf-8", include_str!("../../../sdk/javascript/dist/lhttp.mjs")),
];

const INDEX: &str = include_str!("../../../sdk/javascript/demo/index.html");

/// Lets the server keep the last messages of the rooms and tell who is there, if its configuration leaves that open: the
/// rule comes behind all others. It cannot come behind one that matches all rooms. The nodes of a cluster keep nothing without
/// a rule of their own: their servers of NATS may not have JetStream.
pub(crate) fn keep_messages(config: &mut Config) {
    let Some(rule) = rule().filter(|_| config.nats.is_none()) else { return };
    let mut with_rule = config.clone();
    with_rule.channels.push(rule);
    if with_rule.validate().is_ok() {
        *config = with_rule;
    }
}

/// The rule for the rooms; its pattern is always one.
fn rule() -> Option<ChannelRule> {
    Some(ROOMS.parse::<ChannelRule>().ok()?.history(KEPT).presence(Presence::Events))
}

/// What the page says about old messages, and about who is there: a word for its style.
fn history(config: &Config) -> &'static str {
    match config.channels.last() {
        None => "none",
        last if last == rule().as_ref() => "kept",
        Some(_) => "ruled",
    }
}

/// Adds the chat room to a server, on `address`.
///
/// # Errors
/// One sentence for people.
pub(crate) fn add_to(server: Builder, config: &Config, address: SocketAddr) -> Result<Builder, String> {
    if !config.listen.iter().any(|listen| matches!(listen, Listen::Tcp(_))) {
        return Err("demo: its page needs an IP address in listen, without tls://".to_owned());
    }
    // The page is not https, so a browser may not know the certificate's authority.
    let is_tls: Vec<bool> = config.listen.iter().filter(|at| at.tcp().is_some()).map(Listen::is_tls).collect();
    let history = history(config);
    let mut server = server.pages_on(address).page_with(move |listening| {
        let plain = listening.iter().zip(&is_tls).filter(|(_, is_tls)| !**is_tls).map(|(address, _)| *address);
        index(address, &plain.collect::<Vec<_>>(), history)
    });
    for (path, content_type, content) in FILES {
        server = server.page(Page::new(path, content_type, content.as_bytes()));
    }
    Ok(server)
}

/// The page of a demo on `address`, with the server that listens on `listening` and keeps what `history` says.
fn index(address: SocketAddr, listening: &[SocketAddr], history: &str) -> Page {
    let (host, port) = reach(address, listening);
    let index = INDEX.replace(SERVER_MARK, &format!("{}:{port}", host.map_or_else(String::new, shown)));
    let index = index.replace(HISTORY_MARK, history);
    // A policy cannot name an IPv6 address, nor "the page's own host", with another port.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src ws://*:{port}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Page::new("/", "text/html; charset=utf-8", index.into_bytes()).policy(policy)
}

/// The URL for a browser on this machine: no browser can open 0.0.0.0.
pub(crate) fn url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}/")
}

/// The server's address for the page at `demo`: a port, and a host unless it is the page's own.
fn reach(demo: SocketAddr, listening: &[SocketAddr]) -> (Option<IpAddr>, u16) {
    let covers = |address: &&SocketAddr| address.ip() == demo.ip() || address.ip().is_unspecified();
    // Prefer an address of the same family: a browser that has opened [::1] does not find 0.0.0.0 there.
    let own = listening.iter().filter(covers).max_by_key(|address| address.is_ipv4() == demo.is_ipv4());
    match own.or(listening.first()) {
        Some(address) if own.is_some() => (None, address.port()),
        // The page can be opened at any of the machine's addresses, this one among them.
        Some(address) if demo.ip().is_unspecified() && address.ip().is_loopback() => (None, address.port()),
        Some(address) => (Some(address.ip()), address.port()),
        None => (None, lhttp::config::PORT),
    }
}

fn shown(host: IpAddr) -> String {
    match host {
        IpAddr::V4(host) => host.to_string(),
        IpAddr::V6(host) => format!("[{host}]"),
    }
}

#[cfg(test)]
mod tests {
    use lhttp::Server;

    use super::*;

    fn reached(demo: &str, listening: &[&str]) -> String {
        let listening: Vec<SocketAddr> = listening.iter().map(|address| address.parse().unwrap()).collect();
        let (host, port) = reach(demo.parse().unwrap(), &listening);
        format!("{}:{port}", host.map_or_else(String::new, shown))
    }

    #[test]
    fn the_page_talks_to_its_own_host_when_the_server_is_there() {
        for (demo, listening, expected) in [
            ("127.0.0.1:9090", &["0.0.0.0:8081"][..], ":8081"),
            ("127.0.0.1:9090", &["127.0.0.1:8081"], ":8081"),
            ("127.0.0.1:9090", &["[::1]:8082", "127.0.0.1:8081"], ":8081"),
            ("[::1]:9090", &["0.0.0.0:8081", "[::]:8082"], ":8082"),
            ("10.0.0.5:9090", &["127.0.0.1:8081", "10.0.0.5:8082"], ":8082"),
            ("0.0.0.0:9090", &["127.0.0.1:8081"], ":8081"),
        ] {
            assert_eq!(reached(demo, listening), expected, "{demo} {listening:?}");
        }
    }

    #[test]
    fn the_page_is_told_the_host_of_a_server_on_another_interface() {
        assert_eq!(reached("127.0.0.1:9090", &["10.0.0.5:8081"]), "10.0.0.5:8081");
        assert_eq!(reached("127.0.0.1:9090", &["[fd00::5]:8081"]), "[fd00::5]:8081");
        assert_eq!(reached("0.0.0.0:9090", &["10.0.0.5:8081"]), "10.0.0.5:8081");
    }

    #[test]
    fn the_url_is_one_that_a_browser_can_open() {
        for (address, expected) in [
            ("127.0.0.1:9090", "http://127.0.0.1:9090/"),
            ("0.0.0.0:9090", "http://127.0.0.1:9090/"),
            ("[::]:9090", "http://[::1]:9090/"),
            ("10.0.0.5:80", "http://10.0.0.5:80/"),
        ] {
            assert_eq!(url(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn the_page_has_one_place_for_each_mark() {
        assert_eq!((INDEX.matches(SERVER_MARK).count(), INDEX.matches(HISTORY_MARK).count()), (1, 1));
    }

    #[test]
    fn the_rule_for_the_rooms_comes_behind_the_operators_and_the_page_says_whether_it_counts() {
        for (patterns, expected) in [(&[][..], "kept"), (&["a", "chat.lobby"], "kept"), (&[">"], "ruled")] {
            let rules: Vec<ChannelRule> = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
            let mut config = Config { channels: rules.clone(), ..Config::default() };
            keep_messages(&mut config);
            assert_eq!((history(&config), &config.channels[..rules.len()]), (expected, &rules[..]));
            config.validate().unwrap();
        }
        assert_eq!(history(&Config::default()), "none");
    }

    #[test]
    #[cfg(feature = "nats")]
    fn the_nodes_of_a_cluster_keep_nothing() {
        let mut config = Config::default();
        config.set("nats", "nats://127.0.0.1:4222").unwrap();
        keep_messages(&mut config);
        assert_eq!((config.channels.len(), history(&config)), (0, "none"));
    }

    #[test]
    fn the_page_asks_for_the_messages_of_the_rule_and_names_their_number() {
        assert!(INDEX.contains(&format!("the last {KEPT} messages")));
        let chat = include_str!("../../../sdk/javascript/demo/chat.js");
        assert!(chat.contains(&format!("last: {KEPT}")) && chat.contains(&ROOMS.replace('*', "${room}")));
    }

    #[test]
    fn the_rule_does_not_keep_who_is_writing() {
        let people = include_str!("../../../sdk/javascript/demo/people.js");
        let channels: Vec<&str> = people.split('`').filter(|text| text.ends_with(".${room}")).collect();
        assert_eq!(channels, ["typing.${room}"; 2], "and {ROOMS} does not match it");
    }

    #[test]
    fn what_the_page_loads_is_served() {
        let scripts = FILES.iter().filter(|(path, ..)| path.ends_with(".js")).map(|(.., text)| *text);
        for part in scripts.chain([INDEX]).flat_map(|text| text.split(['"'])).filter(|part| part.starts_with("./")) {
            assert!(FILES.iter().any(|(path, ..)| *path == &part[1..]), "{part} is not served");
        }
        let address = "127.0.0.1:0".parse().unwrap();
        add_to(Server::builder(), &Config::default(), address).unwrap().check().unwrap();
    }
}
