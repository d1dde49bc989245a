use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 8192, headers_max: 64 };

fn parse(payload: &[u8]) -> Result<Head, &'static str> {
    let mut head = Head::default();
    match head.parse(payload, false, LIMITS) {
        Ok(()) => Ok(head),
        Err(refusal) => Err(match refusal.reason() {
            "bad-start-line" => "bad-start-line",
            "bad-header" => "bad-header",
            "head-too-big" => "head-too-big",
            "bad-channel" => "bad-channel",
            other => panic!("{other}"),
        }),
    }
}

#[test]
fn a_complete_message_is_read_as_written() {
    let payload = b"LHTTP/1.0 chat\r\nContent-Type:json\r\nPUBLISH: \t a b \r\nx:y:z\r\n\r\nbody\r\n\r\nmore";
    let head = parse(payload).unwrap();
    assert_eq!(head.command(payload), b"chat");
    assert_eq!(head.body(payload), b"body\r\n\r\nmore");
    let headers: Vec<_> = head.headers(payload).collect();
    assert_eq!(headers, [(&b"Content-Type"[..], &b"json"[..]), (b"PUBLISH", b"a b"), (b"x", b"y:z")]);
    assert!(head.has(Control::Publish) && !head.has(Control::Subscribe));
    assert_eq!(head.values(payload, Control::Publish).collect::<Vec<_>>(), [b"a b"]);
    assert_eq!(head.names(payload, Control::Publish).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(head.names(payload, Control::Subscribe).count(), 0);
}

#[test]
fn each_fault_of_a_head_has_its_word() {
    let long_command = [b"LHTTP/1.0 ".as_slice(), &[b'c'; 65], b"\r\n\r\n"].concat();
    let long_name = [b"LHTTP/1.0 c\r\n".as_slice(), &[b'n'; 65], b":v\r\n\r\n"].concat();
    let many = [b"LHTTP/1.0 c\r\n".as_slice(), &b"n:v\r\n".repeat(65), b"\r\n"].concat();
    let big = [b"LHTTP/1.0 c\r\nn:".as_slice(), &[b'v'; 9000], b"\r\n\r\n"].concat();
    for (payload, word) in [
        (&b"LHTTP/1.0"[..], "bad-start-line"),
        (b"LHTTP/1.0 ", "bad-start-line"),
        (b"LHTTP/1.0 chat", "bad-start-line"),
        (b"LHTTP/1.0 chat\r", "bad-start-line"),
        (b"LHTTP/1.0\r\n\r\n", "bad-start-line"),
        (b"LHTTP/1.0 \r\n\r\n", "bad-start-line"),
        (b"LHTTP/1.0  chat\r\n\r\n", "bad-start-line"),
        (b"LHTTP/1.0 chat \r\n\r\n", "bad-start-line"),
        (b"LHTTP/1.0 chat\n\n", "bad-start-line"),
        (b"LHTTP/1.01 chat\r\n\r\n", "bad-start-line"),
        (&long_command, "bad-start-line"),
        (b"LHTTP/1.0 chat\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\n\r", "bad-header"),
        (b"LHTTP/1.0 chat\r\na:b", "bad-header"),
        (b"LHTTP/1.0 chat\r\na:b\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\na:b\n\r\n\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\na:b\rc\r\n\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\na:\x01\r\n\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\n:b\r\n\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\na b:c\r\n\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\nnocolon\r\n\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\na:\xff\r\n\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\nack:\r\n\r\n", "bad-header"),
        (b"LHTTP/1.0 chat\r\npublish: \t\r\n\r\n", "bad-channel"),
        (&long_name, "bad-header"),
        (&many, "head-too-big"),
        (&big, "head-too-big"),
    ] {
        assert_eq!(parse(payload).err(), Some(word), "{}", payload.escape_ascii());
    }
}

#[test]
fn a_head_exactly_at_its_limits_is_accepted() {
    let many = [b"LHTTP/1.0 c\r\n".as_slice(), &b"n:v\r\n".repeat(64), b"\r\n"].concat();
    assert!(parse(&many).is_ok());
    let frame = b"LHTTP/1.0 c\r\nn:\r\n\r\n".len();
    let full = [b"LHTTP/1.0 c\r\nn:".as_slice(), &vec![b'v'; 8192 - frame], b"\r\n\r\nbody"].concat();
    assert!(parse(&full).is_ok());
    let over = [b"LHTTP/1.0 c\r\nn:".as_slice(), &vec![b'v'; 8193 - frame], b"\r\n\r\nbody"].concat();
    assert_eq!(parse(&over).err(), Some("head-too-big"));
}

#[test]
fn the_ack_of_a_broken_head_is_found() {
    let find = |payload| find_ack(payload, LIMITS);
    assert_eq!(find(b"LHTTP/1.0 c\r\nbroken\r\nACK: 7 \r\n\r\nack:no"), Some(&b"7"[..]));
    assert_eq!(find(b"LHTTP/1.0 c\r\nack:8"), Some(&b"8"[..]));
    assert_eq!(find(b"LHTTP/1.0 c\r\nx:y\r\n\r\n\r\nack:8"), None);
    assert_eq!(find(b"LHTTP/1.0 c\r\nack:\x01\r\n\r\n"), None);
}

/// Command, headers, body.
type Whole = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

/// The rules of PROTOCOL.md §1, applied one by one without regard to speed.
fn oracle(payload: &[u8]) -> Option<Whole> {
    let end = payload.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&payload[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let command = lines.next()?.strip_prefix("LHTTP/1.0 ")?;
    if !crate::protocol::message::is_command(command.as_bytes()) {
        return None;
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim_matches([' ', '\t']);
        if !crate::protocol::message::is_name(name.as_bytes()) || value.bytes().any(|b| !is_value_byte(b)) {
            return None;
        }
        if name.eq_ignore_ascii_case("publish") && value.is_empty() {
            return None;
        }
        if name.eq_ignore_ascii_case("ack") && (value.is_empty() || value.len() > 64) {
            return None;
        }
        headers.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    }
    (headers.len() <= 64).then(|| (command.into(), headers, payload[end + 4..].to_vec()))
}

proptest! {
    #[test]
    fn heads_are_read_as_the_rules_read(tail in proptest::collection::vec(prop_oneof![
        Just(b"\r\n".to_vec()), Just(b"ack:".to_vec()), Just(b"a:b".to_vec()), Just(b":".to_vec()),
        Just(b" ".to_vec()), Just(b"publish".to_vec()), Just("é".as_bytes().to_vec()), Just(b"\r".to_vec()),
        Just(b"\r\n\r\n".to_vec()), any::<u8>().prop_map(|byte| vec![byte]),
    ], 0..12)) {
        let payload = [b"LHTTP/1.0 c".to_vec(), tail.concat()].concat();
        let ours = parse(&payload).ok().map(|head| {
            let headers = head.headers(&payload).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            (head.command(&payload).to_vec(), headers, head.body(&payload).to_vec())
        });
        prop_assert_eq!(ours, oracle(&payload), "{}", payload.escape_ascii());
    }
}

#[test]
fn a_control_header_whose_values_do_not_add_up_may_occur_once() {
    for name in ["upstream", "multipart", "ack", "no-echo", "upstream-reply"] {
        let twice = format!("LHTTP/1.0 c\r\n{name}:1\r\nx:y\r\n{}:1\r\n\r\n", name.to_uppercase());
        let head = parse(twice.as_bytes()).expect("it parses, because some callers only pass it on");
        assert_eq!(head.check_repeated().map_err(|refusal| refusal.reason().to_owned()), Err("bad-header".to_owned()));
        let once = format!("LHTTP/1.0 c\r\n{name}:1\r\nsubscribe:a\r\nsubscribe:b\r\n\r\n");
        assert_eq!(parse(once.as_bytes()).unwrap().check_repeated(), Ok(()), "{name}");
    }
    let several = b"LHTTP/1.0 c\r\npublish:a\r\npublish:b\r\nunsubscribe:a\r\nx:y\r\nunsubscribe:b\r\nx:y\r\n\r\n";
    let mut head = parse(b"LHTTP/1.0 c\r\nack:1\r\nack:2\r\n\r\n").unwrap();
    assert_eq!(head.parse(several, false, LIMITS), Ok(()));
    assert_eq!(head.check_repeated(), Ok(()), "a head does not remember the one before");
}

#[test]
fn of_several_acks_an_error_carries_the_first_that_can_be_one() {
    let long = "t".repeat(65);
    let payload = format!("LHTTP/1.0 c\r\nack:{long}\r\nxack:0\r\nAck:1\r\nack:2\r\n\r\n");
    assert_eq!(find_ack(payload.as_bytes(), LIMITS), Some(&b"1"[..]));
}

/// Values of headers that name channels: none to many, from few different names or from as many as a head can have.
fn named() -> impl Strategy<Value = Vec<(Control, Vec<String>)>> {
    let control = prop::sample::select(&[Control::Publish, Control::Subscribe, Control::Unsubscribe][..]);
    let names = prop_oneof![
        prop::collection::vec("[ab]", 1..4),
        prop::collection::vec("[abc]{1,3}", 1..60),
        prop::collection::vec("[ab]x{4,9}", 1..20)
    ];
    prop::collection::vec((control, names), 0..8)
}

proptest! {
    #[test]
    fn each_name_counts_once_where_it_occurs_first(lines in named(), more in "(x:y\r\n)?", body in "x{0,9}") {
        let mut payload = "LHTTP/1.0 c\r\n".to_owned();
        for (control, names) in &lines {
            payload += &format!("{control:?}:{}\r\n{more}", names.join(" "));
        }
        payload += &format!("\r\n{body}");
        let head = parse(payload.as_bytes()).unwrap();
        for control in [Control::Publish, Control::Subscribe, Control::Unsubscribe] {
            let mut expected: Vec<&str> = Vec::new();
            for name in lines.iter().filter(|line| line.0 == control).flat_map(|line| &line.1) {
                if !expected.contains(&&**name) {
                    expected.push(name);
                }
            }
            let names: Vec<_> = head.names(payload.as_bytes(), control).map(|name| name.escape_ascii().to_string()).collect();
            prop_assert_eq!(names, expected);
        }
    }

    /// The lines between the first and the first empty one, read without regard to speed.
    #[test]
    fn the_ack_of_any_head_is_found_as_a_naive_reader_finds_it(tail in prop::collection::vec(prop_oneof![
        Just("\r\n"), Just("\r\n\r\n"), Just("\r"), Just("\n"), Just("ack:"), Just("Ack: "), Just("xack:"), Just("7"),
        Just("8"), Just("\u{1}"), Just(":"), Just("é"), Just("tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"),
    ], 0..14)) {
        let payload = format!("LHTTP/1.0 c{}", tail.concat());
        let head = payload.split("\r\n\r\n").next().unwrap_or_default();
        let expected = head.split("\r\n").skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = value.trim_matches([' ', '\t']);
            let is_sound = (1..=64).contains(&value.len()) && !value.contains(|c: char| c.is_ascii_control());
            (name.eq_ignore_ascii_case("ack") && is_sound).then_some(value.as_bytes())
        });
        prop_assert_eq!(find_ack(payload.as_bytes(), LIMITS), expected);
    }
}
