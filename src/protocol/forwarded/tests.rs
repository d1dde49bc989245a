//! Who can make the server believe what.

use proptest::prelude::*;

use super::*;

/// The trusted proxies are 10.0.0.0/8 and ::1.
fn is_trusted(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10,
        IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST,
    }
}

fn x_forwarded_for(lines: &[&str]) -> Option<String> {
    of_x_forwarded_for(lines.iter().map(|line| line.as_bytes()), is_trusted).map(|client| client.to_string())
}

fn forwarded(lines: &[&str]) -> Option<String> {
    of_forwarded(lines.iter().map(|line| line.as_bytes()), is_trusted).map(|client| client.to_string())
}

#[test]
fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
    for (lines, client) in [
        (&["192.0.2.1"][..], Some("192.0.2.1:0")),
        (&["6.6.6.6, 192.0.2.1"], Some("192.0.2.1:0")),
        (&["6.6.6.6, 192.0.2.1, 10.0.0.1,10.0.0.2"], Some("192.0.2.1:0")),
        (&["6.6.6.6", "192.0.2.1", "10.0.0.1"], Some("192.0.2.1:0")),
        (&["10.1.0.1, 10.0.0.2"], Some("10.1.0.1:0")),
        (&["192.0.2.1:1234"], Some("192.0.2.1:1234")),
        (&["[2001:db8::1]:1234"], Some("[2001:db8::1]:1234")),
        (&["[2001:db8::1]"], Some("[2001:db8::1]:0")),
        (&["2001:db8::1, ::1"], Some("[2001:db8::1]:0")),
        (&["::ffff:192.0.2.1, ::ffff:10.0.0.1"], Some("192.0.2.1:0")),
        (&["192.0.2.1, ,"], Some("192.0.2.1:0")),
        (&["6.6.6.6, unknown"], None),
        (&["6.6.6.6, unknown, 10.0.0.1"], None),
        (&["6.6.6.6, 1.2.3"], None),
        (&["garbage, 192.0.2.1"], Some("192.0.2.1:0")),
        (&[""], None),
        (&[], None),
    ] {
        assert_eq!(x_forwarded_for(lines).as_deref(), client, "{lines:?}");
    }
    let hops = format!("{}192.0.2.1", "6.6.6.6, ".repeat(100));
    assert_eq!(x_forwarded_for(&[&hops]).as_deref(), Some("192.0.2.1:0"));
}

#[test]
fn a_quote_that_a_client_leaves_open_swallows_no_address_of_the_proxy() {
    for claim in ["for=9.9.9.9;x=\"", "for=\"[v6", "for=9.9.9.9;x=\"\\\""] {
        let joined = format!("{claim}, for=203.0.113.7");
        assert_eq!(of_forwarded([joined.as_bytes()].into_iter(), |_| false), None, "{joined}");
        let apart = [claim.as_bytes(), b"for=203.0.113.7"].into_iter();
        assert_eq!(of_forwarded(apart, |_| false), Some("203.0.113.7:0".parse().unwrap()), "{claim}");
    }
}

#[test]
fn forwarded_names_it_in_its_for_and_commas_in_quotes_divide_nothing() {
    for (lines, client) in [
        (&["for=192.0.2.1"][..], Some("192.0.2.1:0")),
        (&["For=6.6.6.6;proto=http, FOR=\"192.0.2.1:47\" ; by=x , for=10.0.0.1"], Some("192.0.2.1:47")),
        (&["for=\"[2001:db8:cafe::17]:4711\""], Some("[2001:db8:cafe::17]:4711")),
        (&["for=\"[2001:db8:cafe::17]\""], Some("[2001:db8:cafe::17]:0")),
        (&["for=6.6.6.6", "by=10.0.0.1;for=192.0.2.1"], Some("192.0.2.1:0")),
        (&["host=\"a,for=6.6.6.6\";for=192.0.2.1"], Some("192.0.2.1:0")),
        (&["for=192.0.2.1;host=\"a\\\",for=6.6.6.6\""], Some("192.0.2.1:0")),
        (&["for=6.6.6.6, proto=https"], None),
        (&["for=6.6.6.6, for=_hidden"], None),
        (&["for=6.6.6.6, for=unknown"], None),
        (&["for=6.6.6.6, for=192.0.2.1;for=6.6.6.6"], None),
        (&["for=6.6.6.6, for=\"192.0.2.1"], None),
        (&[""], None),
    ] {
        assert_eq!(forwarded(lines).as_deref(), client, "{lines:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing that the client writes changes what the proxies behind it have appended, in whatever lines it comes.
    #[test]
    fn a_client_cannot_choose_its_address(
        claim in proptest::collection::vec("[0-9a-f.:, \"=;\\\\\\[\\]for]{0,30}", 0..4), proxies in 0..3_usize, is_joined in any::<bool>(),
    ) {
        let appended = format!("192.0.2.1{}", ", 10.0.0.1".repeat(proxies));
        let mut lines = claim.clone();
        match lines.last_mut() {
            Some(last) if is_joined => *last = format!("{last}, {appended}"),
            _ => lines.push(appended),
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        prop_assert_eq!(x_forwarded_for(&lines), Some("192.0.2.1:0".to_owned()), "{:?}", lines);
        // A proxy that appends to the line of a client must check its quotes. Lines of its own need no check.
        let appended = format!("for=192.0.2.1{}", ", for=10.0.0.1".repeat(proxies));
        let lines: Vec<&str> = claim.iter().map(String::as_str).chain([appended.as_str()]).collect();
        prop_assert_eq!(forwarded(&lines), Some("192.0.2.1:0".to_owned()), "{:?}", lines);
    }
}
