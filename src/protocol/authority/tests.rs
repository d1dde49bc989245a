//! Hosts and origins: what a browser sends is read, everything else is refused.

use proptest::prelude::*;

use super::*;

fn authority(text: &str) -> Option<Authority<'_>> {
    Authority::parse(text.as_bytes())
}

fn origin(text: &str) -> Option<Origin<'_>> {
    Origin::parse(text.as_bytes())
}

#[test]
fn a_host_is_a_name_or_an_address_and_a_port() {
    for (text, host, port) in [
        ("example.com", Host::Name("example.com"), None),
        ("EXAMPLE.com.", Host::Name("example.com"), None),
        ("a_b-c.x:8081", Host::Name("a_b-c.x"), Some(8081)),
        ("x", Host::Name("x"), None),
        ("127.0.0.1:0", Host::Address([127, 0, 0, 1].into()), Some(0)),
        ("10.0.0.1.", Host::Address([10, 0, 0, 1].into()), None),
        ("[::1]:65535", Host::Address(Ipv6Addr::LOCALHOST.into()), Some(65535)),
        ("[::ffff:127.0.0.1]", Host::Address([127, 0, 0, 1].into()), None),
    ] {
        assert_eq!(authority(text), Some(Authority { host, port }), "{text}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    let long = "a".repeat(NAME_BYTES_MAX + 1);
    for text in [
        "",
        ".",
        "..",
        ":80",
        "a..b",
        ".a",
        "a:",
        "a:+80",
        "a:65536",
        "a: 80",
        "a:80:80",
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[::1]x",
        "[::1]:",
        "[::1%eth0]",
        "[127.0.0.1]",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "127.0.0.01",
        "1.2.3.4.5",
        "user@host",
        "a/b",
        "a b",
        "a%2eb",
        "ü.de",
        "a\0",
        &long,
    ] {
        assert_eq!(authority(text), None, "{text:?}");
    }
}

#[test]
fn only_names_below_localhost_and_addresses_of_loopback_are_this_machine() {
    let is_loopback = |text: &str| authority(text).is_some_and(|authority| authority.host.is_loopback());
    for text in
        ["localhost", "LocalHost.:1", "a.localhost", "127.0.0.1", "127.255.0.9:80", "[::1]:1", "[::ffff:127.0.0.1]"]
    {
        assert!(is_loopback(text), "{text}");
    }
    for text in [
        "localhost.evil.com",
        "evil-localhost",
        "localhostx",
        "127.0.0.1.evil.com",
        "10.0.0.1",
        "[::2]",
        "0.0.0.0",
        "",
        "x",
    ] {
        assert!(!is_loopback(text), "{text}");
    }
}

#[test]
fn an_origin_has_a_scheme_a_host_and_perhaps_a_port_and_nothing_else() {
    assert_eq!(origin("null"), Some(Origin::Null));
    for text in ["https://example.com", "http://[::1]:3000", "chrome-extension://abcdef", "capacitor://localhost"] {
        assert!(origin(text).is_some(), "{text}");
    }
    for text in [
        "",
        "NULL",
        "null null",
        "example.com",
        "https:example.com",
        "https://",
        "https://example.com/",
        "https://a https://b",
        "https://user@example.com",
        "https://example.com@evil.com",
        "https://example.com:443#x",
        "1a://b",
        "://b",
        "https://a,b",
        "file://",
        "https://a?b",
        "https://a\\b",
    ] {
        assert_eq!(origin(text), None, "{text:?}");
    }
}

#[test]
fn the_port_that_is_not_written_is_that_of_the_scheme() {
    let same = |one: &str, other: &str| origin(one).expect(one) == origin(other).expect(other);
    assert!(same("https://a", "HTTPS://A.:443") && same("http://a:80", "http://a") && same("x://a", "x://a"));
    assert!(!same("https://a", "http://a") && !same("https://a", "https://a:80") && !same("https://a", "https://b.a"));
    assert!(!same("https://a", "https://a.b") && !same("https://a", "null") && !same("http://1.2.3.4", "http://[::1]"));
}

#[test]
fn a_page_is_the_servers_own_if_its_host_is_that_of_the_request() {
    let is_own = |page: &str, host: &str| origin(page).expect(page).is_of(authority(host).expect(host).host);
    for (page, host) in [
        ("http://a:8081", "a:8081"),
        ("https://a", "a"),
        ("https://a", "a:443"),
        ("http://a", "A."),
        ("http://[::1]:1", "[0::1]:1"),
        ("http://a", "a:8081"),
        ("http://a:3000", "a:8081"),
        ("https://a", "a:80"),
    ] {
        assert!(is_own(page, host), "{page} at {host}");
    }
    for (page, host) in [
        ("https://a.evil.com", "a"),
        ("https://evil.com", "a"),
        ("null", "a"),
        ("capacitor://localhost", "localhost"),
        ("http://127.0.0.1", "localhost"),
    ] {
        assert!(!is_own(page, host), "{page} at {host}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The name as a resolver takes it: a name is read only if each of its bytes is a letter, digit, hyphen, underscore or
    /// dot, and never as an address unless the standard library reads that address.
    #[test]
    fn whatever_is_read_is_what_is_written(text in "[a-zA-Z0-9.:x@%/_\\[\\]-]{0,12}|[0-9]{1,3}(\\.[0-9]{1,4}){0,4}\\.?(:[0-9]{0,6})?") {
        let Some(read) = authority(&text) else { return Ok(()) };
        let written = match read.host {
            Host::Name(name) => {
                prop_assert!(name.parse::<IpAddr>().is_err() && !name.ends_with('.'));
                name.to_owned()
            }
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        let written = read.port.map_or(written.clone(), |port| format!("{written}:{port}"));
        prop_assert_eq!(authority(&written), Some(read));
        prop_assert!(!text.contains(['@', '%', '/']));
    }

    /// An origin never equals another host's, whatever stands around its name.
    #[test]
    fn no_text_around_a_host_makes_it_another(before in "[a-z.@:/-]{0,4}", after in "[a-z.@:/0-9-]{0,4}") {
        let text = format!("https://{before}example.com{after}");
        let Some(read) = origin(&text) else { return Ok(()) };
        let listed = origin("https://example.com").expect("it is one");
        let is_same = before.is_empty() && matches!(after.as_str(), "" | "." | ":443" | ".:443");
        let has_leading_zeros = after.trim_start_matches(['.', ':', '0']) == "443";
        prop_assert!(read != listed || is_same || (before.is_empty() && has_leading_zeros), "{}", text);
    }
}
