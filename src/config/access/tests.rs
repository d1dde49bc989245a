//! Origins, hosts and proxies as options name them.

use proptest::prelude::*;

use super::*;
use crate::protocol::authority::Authority;

fn access(settings: &[(&str, &str)]) -> Access {
    let mut config = Config::default();
    for (name, value) in settings {
        config.set(name, value).expect(value);
    }
    config.validate().expect("these go together");
    Access::new(&config)
}

#[test]
fn an_origin_is_allowed_if_it_is_listed_and_null_only_by_its_name() {
    let listed = access(&[("allow-origin", "https://a.com, http://b:3000")]);
    let allows = |access: &Access, text: &str| access.origin(Origin::parse(text.as_bytes())).is_some();
    for text in ["https://a.com", "https://A.com.:443", "http://b:3000"] {
        assert!(allows(&listed, text), "{text}");
    }
    for text in [
        "http://a.com",
        "https://a.com:444",
        "https://x.a.com",
        "https://a.com.evil.org",
        "http://b",
        "null",
        "",
        "junk",
    ] {
        assert!(!allows(&listed, text), "{text}");
    }
    let null = access(&[("allow-origin", "null")]);
    assert!(allows(&null, "null") && !allows(&null, "https://a.com") && !allows(&null, "junk"));
    let any = access(&[("allow-origin", "*")]);
    assert!(["https://a.com", "null", "junk"].iter().all(|text| allows(&any, text)));
    assert!(!allows(&access(&[]), "https://a.com"));
}

#[test]
fn a_host_is_allowed_with_every_port() {
    let listed = access(&[("allow-host", "a.com, [::1]")]);
    let allows = |text: &str| listed.allows_host(Authority::parse(text.as_bytes()).map(|authority| authority.host));
    assert!(allows("a.com") && allows("A.com.:1") && allows("[0::1]:2"));
    assert!(!allows("b.a.com") && !allows("a.com.b") && !allows("localhost") && !allows(""));
    assert!(access(&[("allow-host", "*")]).allows_host(None));
}

#[test]
fn what_is_no_value_is_refused_in_a_sentence_that_shows_it() {
    let mut config = Config::default();
    for (name, value) in [
        ("allow-origin", "example.com"),
        ("allow-origin", "https://a.com/"),
        ("allow-origin", "https://*.a.com"),
        ("allow-origin", ""),
        ("allow-host", "a.com:80"),
        ("allow-host", "http://a.com"),
        ("allow-host", "::1"),
        ("trust-proxy", "10.0.0.0/33"),
        ("trust-proxy", "10.0.0.1/8"),
        ("trust-proxy", "10.0.0.0/+8"),
        ("trust-proxy", "10.0.0.0/"),
        ("trust-proxy", "0.0.0.0/0"),
        ("trust-proxy", "::/0"),
        ("trust-proxy", "::ffff:10.0.0.1"),
        ("trust-proxy", "localhost"),
        ("proxy-header", "x-real-ip"),
    ] {
        let error = config.set(name, value).expect_err(value);
        assert!(error.starts_with(name) && error.contains(&format!("{value:?}")), "{error}");
    }
    assert_eq!(config, Config::default());
}

#[test]
fn options_that_say_nothing_together_are_refused() {
    for (settings, said) in [
        (&[("allow-origin", "*, https://a")][..], "allow-origin: *"),
        (&[("allow-host", "a, *")], "allow-host: *"),
        (&[("proxy-header", "forwarded")], "proxy-header: forwarded needs trust-proxy"),
    ] {
        let mut config = Config::default();
        settings.iter().for_each(|(name, value)| config.set(name, value).expect(value));
        let error = config.validate().expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_proxy_is_trusted_by_its_network_or_its_unix_socket() {
    let access = access(&[("trust-proxy", "10.0.0.0/8, 192.0.2.1, 2001:db8::/32"), ("proxy-header", "forwarded")]);
    for ip in ["10.255.0.1", "192.0.2.1", "2001:db8::5", "::ffff:10.0.0.1"] {
        assert!(access.trusts(Some(ip.parse().expect("an address"))), "{ip}");
    }
    for ip in ["11.0.0.1", "192.0.2.2", "2001:db9::5", "::1"] {
        assert!(!access.trusts(Some(ip.parse().expect("an address"))), "{ip}");
    }
    assert!(!access.trusts(None) && self::access(&[("trust-proxy", "unix")]).trusts(None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// A network has an address exactly if their first bits, written as a text, are the same.
    #[test]
    fn a_network_has_the_addresses_with_its_first_bits(v4 in any::<bool>(), net in any::<u128>(), flip in 0..128_u32, prefix in 1..=128_u32) {
        let (bits, prefix) = if v4 { (32, prefix.min(32)) } else { (128, prefix) };
        let ip = |value: u128| -> IpAddr {
            // Not in ::/16, where the IPv4 addresses are.
            if v4 { std::net::Ipv4Addr::from_bits(value as u32).into() } else { std::net::Ipv6Addr::from_bits(value | 1 << 127).into() }
        };
        let text = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => format!("{:032b}", ip.to_bits()),
            IpAddr::V6(ip) => format!("{:0128b}", ip.to_bits()),
        };
        let network = ip(net & (u128::MAX.checked_shl(bits - prefix).unwrap_or(0)));
        let proxy: TrustedProxy = format!("{network}/{prefix}").parse().expect("a network");
        prop_assert_eq!(proxy.to_string().parse::<TrustedProxy>(), Ok(proxy));
        let other = ip(net ^ (1 << (flip % bits)));
        let len = prefix as usize;
        prop_assert_eq!(proxy.is(Some(other)), text(other)[..len] == text(network)[..len]);
    }
}
