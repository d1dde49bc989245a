//! Where clients come from: headers of the PROXY protocol, forwarded addresses, hosts and origins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::dice::Dice;
use crate::protocol::{
    authority::{Authority, Host, Origin},
    forwarded::{of_forwarded, of_x_forwarded_for},
    proxy::{self, HEADER_BYTES_MAX, NoHeader},
};

const PROXY_WORDS: [&[u8]; 24] = [
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"\r\n",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x20\0\0\0",
    b"\x21\x31\0\xd8",
    b"1.2.3.4 ",
    b"::1 ",
    b"65535",
    b"0",
    b" ",
    b"\r",
    b"\n",
    b"aaaaaaaaaaaaaaaaaaaaaaaa",
    b"\xff",
    b"\0",
    b"65536",
    b"2001:db8:1111:2222:3333:4444:5555:6666 ",
    b"\x21\x11\xff\xff",
];

/// A header's verdict is final, does not depend on what is behind it, and more bytes are only awaited up to the limit.
pub fn proxy(bytes: &[u8]) {
    let text = Dice::new(bytes).text(&PROXY_WORDS);
    let whole = proxy::parse(&text);
    for cut in 0..text.len() {
        match proxy::parse(&text[..cut]) {
            Ok(None) => assert!(cut < HEADER_BYTES_MAX, "{cut} bytes are awaited on"),
            Ok(Some(header)) => {
                assert!(header.bytes == cut || proxy::parse(&text[..header.bytes]) == Ok(Some(header)));
                assert_eq!(whole, Ok(Some(header)), "bytes behind it change it");
            }
            Err(NoHeader) => assert_eq!(whole, Err(NoHeader), "bytes behind a fault mend it"),
        }
    }
    if let Ok(Some(header)) = whole {
        assert!(header.bytes <= HEADER_BYTES_MAX && header.bytes <= text.len());
    }
}

const HOP_WORDS: [&[u8]; 28] = [
    b"1.2.3.4",
    b"10.0.0.1",
    b", ",
    b",",
    b"for=",
    b"For=\"",
    b"\"",
    b";",
    b"\\",
    b"[2001:db8::1]",
    b":80",
    b"unknown",
    b"_x",
    b"proto=https",
    b" ",
    b"=",
    b"\t",
    b"::ffff:10.0.0.1",
    b"\xff",
    b"for=1.2.3.4",
    b"for=10.0.0.1",
    b"null",
    b"https://",
    b"a.b",
    b".",
    b"@",
    b"/",
    b"localhost",
];

/// What a client writes is never taken for what its proxy has written behind it, and every text that is read as a host is
/// read again as it is written.
pub fn origins(bytes: &[u8]) {
    let text = Dice::new(bytes).text(&HOP_WORDS);
    let is_trusted = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
    let client = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 9), 0));
    for trusted in 0..3 {
        let hops = format!("192.0.2.9{}", ", 10.9.9.9".repeat(trusted));
        let lines = || [&text[..], hops.as_bytes()].into_iter();
        assert_eq!(of_x_forwarded_for(lines(), is_trusted), Some(client), "a line of its own");
        let joined = [&text[..], b",", hops.as_bytes()].concat();
        assert_eq!(of_x_forwarded_for([&joined[..]].into_iter(), is_trusted), Some(client), "the same line");
        let elements = format!("for=192.0.2.9{}", ", for=10.9.9.9".repeat(trusted));
        let lines = [&text[..], elements.as_bytes()].into_iter();
        assert_eq!(of_forwarded(lines, is_trusted), Some(client));
    }
    for found in
        [of_x_forwarded_for([&text[..]].into_iter(), is_trusted), of_forwarded([&text[..]].into_iter(), is_trusted)]
    {
        assert!(found.is_none_or(|found| found.ip() == found.ip().to_canonical()));
    }
    if let Some(authority) = Authority::parse(&text) {
        let host = match authority.host {
            Host::Name(name) => name.to_owned(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Address(address) => address.to_string(),
        };
        assert_eq!(Host::parse(&host), Some(authority.host));
        assert!(!text.contains(&b'@') && !text.contains(&b'/') && !text.contains(&b' '));
        let page = [b"https://", &text[..]].concat();
        let origin = Origin::parse(&page).expect("a host with a scheme is an origin");
        assert!(
            origin.is_of(authority.host) && !origin.is_of(Host::Name("another"))
                || host.eq_ignore_ascii_case("another")
        );
    }
}
