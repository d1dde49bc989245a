//! Headers of the PROXY protocol, whole, cut and wrong.

use proptest::prelude::*;

use super::*;

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a short one").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn client(bytes: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    let header = parse(bytes)?.expect("it is whole");
    assert_eq!(header.bytes, bytes.len());
    Ok(header.client)
}

#[test]
fn both_versions_tell_the_clients_address() {
    let known = |text: &str| Ok(Some(text.parse().expect("an address")));
    assert_eq!(client(b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n"), known("192.0.2.1:56324"));
    assert_eq!(client(b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"), known("[2001:db8::1]:0"));
    let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
    assert_eq!(client(&binary(0x21, 0x11, &v4)), known("192.0.2.1:56324"));
    assert_eq!(
        client(&binary(0x21, 0x11, &[&v4[..], b"\x04\0\x03abc"].concat())),
        known("192.0.2.1:56324"),
        "with more facts"
    );
    let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &Ipv6Addr::UNSPECIFIED.octets(), &[0, 7, 0, 8]].concat();
    assert_eq!(client(&binary(0x21, 0x21, &v6)), known("[::1]:7"));
}

#[test]
fn a_proxy_that_speaks_for_itself_or_does_not_know_tells_no_address() {
    for bytes in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN ffff::1 whatever it is\r\n",
        &binary(0x20, 0x00, b""),
        &binary(0x20, 0x11, &[1; 12]),
        &binary(0x21, 0x00, b"\x04\0\0"),
        &binary(0x21, 0x31, &[0; 216]),
    ] {
        assert_eq!(client(bytes), Ok(None), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    let long = format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX));
    for bytes in [
        &b"G"[..],
        b"GET / HTTP/1.1\r\n",
        b"PROXY\t",
        b"proxy TCP4 ",
        b"\x16\x03\x01",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n",
        b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP6 ::1%1 ::1 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY \r\n",
        b"PROXY \xff\r\n",
        long.as_bytes(),
        &binary(0x11, 0x11, &[0; 12])[..13],
        &binary(0x22, 0x11, &[0; 12])[..13],
        &binary(0x21, 0x12, &[0; 12])[..14],
        &binary(0x21, 0x11, &[0; 11])[..16],
        &binary(0x21, 0x21, &[0; 35])[..16],
        &binary(0x21, 0x31, &[0; 215])[..16],
        &binary(0x21, 0x11, &[0; HEADER_BYTES_MAX])[..16],
    ] {
        assert_eq!(parse(bytes), Err(NoHeader), "{}", bytes.escape_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_address_that_is_written_is_read_however_the_header_comes(
        v4 in any::<bool>(), ip in any::<[u8; 16]>(), port in any::<u16>(), is_binary in any::<bool>(), more in any::<[u8; 4]>(),
    ) {
        let ip = if v4 { IpAddr::from(*ip.first_chunk::<4>().expect("16")) } else { IpAddr::from(ip) };
        let octets = match ip { IpAddr::V4(ip) => ip.octets().to_vec(), IpAddr::V6(ip) => ip.octets().to_vec() };
        let header = if is_binary {
            let rest = [&octets[..], &octets, &port.to_be_bytes(), &[0, 0], &more].concat();
            binary(0x21, if v4 { 0x11 } else { 0x21 }, &rest)
        } else {
            format!("PROXY {} {ip} {ip} {port} 1\r\n", if v4 { "TCP4" } else { "TCP6" }).into_bytes()
        };
        for cut in 0..header.len() {
            prop_assert_eq!(parse(&header[..cut]), Ok(None));
        }
        let client = Some(SocketAddr::new(ip, port));
        let expected = Ok(Some(ProxyHeader { bytes: header.len(), client }));
        prop_assert_eq!(parse(&header), expected);
        prop_assert_eq!(parse(&[&header[..], &more].concat()), expected, "bytes behind it change nothing");
    }
}
