//! PROTOCOL.md §5: upstream servers that are slow, broken, unreachable, or redirect elsewhere. Each costs only its own
//! request.

use std::{net::TcpListener, time::Duration};

use lhttp::{Config, Handle};

use crate::helpers::{
    self, Client, PATIENCE,
    backend::{Action, Backend, answer, ok},
    start, wait_for,
};

fn server(allow: &[String], change: impl FnOnce(Config) -> Config) -> Handle {
    let config = Config { upstream_allow: allow.to_vec(), upstream_timeout: PATIENCE, ..Config::default() };
    start(|builder| builder.config(change(config)))
}

fn connect(handle: &Handle) -> Client {
    Client::connect(handle.local_addrs()[0])
}

/// Asks for this URL with a token, and reads the acknowledgement but not the answer.
fn ask(client: &mut Client, request: &str) {
    client.say(&format!("LHTTP/1.0 c\r\nupstream:{request}\r\nupstream-reply:true\r\nack:t\r\n\r\nbody"));
    client.expect("LHTTP/1.0 ack\r\nack:t\r\n\r\n");
}

/// The text of a reply with this status and body.
fn reply(status: u16, body: &str) -> String {
    format!("LHTTP/1.0 c\r\nupstream-status:{status}\r\nack:t\r\n\r\n{body}")
}

#[test]
fn an_upstream_that_is_away_or_broken_is_error_502_with_the_token() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/closes" => Action::Break(Vec::new()),
        "/garbage" => Action::Break(b"\x16\x03\x01 what is this\r\n\r\n".to_vec()),
        "/cut-head" => Action::Break(b"HTTP/1.1 200 OK\r\nContent-".to_vec()),
        "/cut-body" => Action::Break(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()),
        "/cut-chunk" => Action::Break(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_vec()),
        "/bad-chunk" => {
            Action::Break(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n".to_vec())
        }
        "/bad-length" => Action::Break(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab".to_vec()),
        "/big-head" => Action::Break(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000)).into_bytes()),
        "/big" => answer("200 OK", "", "x".repeat(1001)),
        "/big-chunks" => {
            let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            Action::Answer(format!("{head}{chunk}{chunk}0\r\n\r\n").into_bytes())
        }
        _ => ok("x".repeat(1000)),
    });
    // A port without a listener, for as long as this socket is bound and does not listen.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let refusing = format!("http://{}/", silent.local_addr().unwrap().as_socket().unwrap());
    let allow = [backend.url("/"), refusing.clone(), "http://no-such-host.invalid/".to_owned()];
    let handle = server(&allow, |config| Config { upstream_response_bytes_max: 1000, ..config });
    let mut client = connect(&handle);
    let paths = [
        "/closes",
        "/garbage",
        "/cut-head",
        "/cut-body",
        "/cut-chunk",
        "/bad-chunk",
        "/bad-length",
        "/big-head",
        "/big",
        "/big-chunks",
    ];
    let urls = paths.iter().map(|path| backend.url(path)).chain([refusing, "http://no-such-host.invalid/".to_owned()]);
    let urls: Vec<String> = urls.collect();
    for url in &urls {
        for method in ["GET", "POST"] {
            ask(&mut client, &format!("{method} {url}"));
            let sentence = client.expect_error(502, "upstream-failed", Some("t"));
            assert!(!sentence.is_empty() && !sentence.contains(['\r', '\n']), "{url}: {sentence:?}");
            assert!(!url.contains("/big") || url.contains("head") || sentence.contains("1000"), "{url}: {sentence}");
        }
    }
    assert_eq!(handle.stats().upstream_failed, 2 * urls.len() as u64);
    assert_eq!(backend.count(), 2 * paths.len(), "each was asked once, however the connection ended");
    // The largest reply that fits comes complete, without bytes of earlier ones.
    ask(&mut client, &format!("GET {}", backend.url("/")));
    client.expect(&reply(200, &"x".repeat(1000)));
    assert_eq!(handle.stats().upstream_answered, 1);
    // A kept connection breaks with the next request. That request may have had its effect, so it is not repeated.
    let (before, connections) = (backend.count(), backend.connections());
    for method in ["GET", "POST"] {
        ask(&mut client, &format!("{method} {}", backend.url("/")));
        client.expect(&reply(200, &"x".repeat(1000)));
        ask(&mut client, &format!("{method} {}", backend.url("/closes")));
        client.expect_error(502, "upstream-failed", Some("t"));
    }
    assert_eq!(backend.count(), before + 4);
    assert_eq!(backend.connections(), connections + 1, "they were kept");
}

#[test]
fn requests_of_a_connection_stay_in_order_behind_one_that_fails_or_times_out() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/closes" => Action::Break(Vec::new()),
        "/hangs" => Action::Hang,
        target => ok(target),
    });
    let timeout = Duration::from_millis(1500);
    let handle = server(&[backend.url("/")], |config| Config { upstream_timeout: timeout, ..config });
    let mut client = connect(&handle);
    let paths = ["/0", "/closes", "/1", "/2", "/hangs", "/3", "/closes", "/hangs", "/4"];
    for path in paths {
        let url = backend.url(path);
        client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {url}\r\nupstream-reply:true\r\n\r\n"));
    }
    for path in paths {
        match path {
            "/closes" => drop(client.expect_error(502, "upstream-failed", None)),
            "/hangs" => drop(client.expect_error(504, "upstream-timeout", None)),
            path => client.expect(&format!("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\n{path}")),
        }
    }
    let asked: Vec<String> = backend.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(asked, paths, "one after the other, each once");
}

#[test]
fn five_redirects_are_followed_and_a_sixth_is_not() {
    let backend = Backend::start(|request| match request.target.trim_start_matches('/').parse::<u32>() {
        Ok(0) => ok("the end"),
        Ok(left) => answer("307 Temporary Redirect", &format!("Location: /{}\r\n", left - 1), ""),
        Err(_) => answer("400 Bad Request", "", ""),
    });
    let handle = server(&[backend.url("/")], |config| config);
    let mut client = connect(&handle);
    ask(&mut client, &format!("GET {}", backend.url("/5")));
    client.expect(&reply(200, "the end"));
    assert_eq!(backend.count(), 6);
    ask(&mut client, &format!("GET {}", backend.url("/6")));
    assert!(client.expect_error(502, "upstream-failed", Some("t")).contains("more than 5 times"));
    assert_eq!(backend.count(), 6 + 6, "the target of the sixth redirect is never requested");
}

#[test]
fn an_upstream_that_takes_too_long_is_error_504_and_the_next_request_is_made() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/hangs" => Action::Hang,
        "/drips-head" => Action::Drip(b"HTTP/1.1 200 OK\r\nX: ".to_vec()),
        "/drips-body" => Action::Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec()),
        "/redirects" => answer("302 Found", "Location: /hangs\r\n", ""),
        _ => ok("ok"),
    });
    let timeout = Duration::from_millis(1500);
    let handle = server(&[backend.url("/")], |config| Config { upstream_timeout: timeout, ..config });
    let mut client = connect(&handle);
    let paths = ["/hangs", "/drips-head", "/drips-body", "/redirects"];
    for path in paths {
        ask(&mut client, &format!("POST {}", backend.url(path)));
        let sentence = client.expect_error(504, "upstream-timeout", Some("t"));
        assert!(sentence.contains("1s 500ms"), "{sentence}");
    }
    assert_eq!((handle.stats().upstream_timed_out, handle.stats().upstream_failed), (4, 0));
    // Without a reply only the head matters, and a body that comes byte by byte behind it is no failure.
    client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\n\r\n", backend.url("/drips-body")));
    ask(&mut client, &format!("GET {}", backend.url("/")));
    client.expect(&reply(200, "ok"));
    assert_eq!((handle.stats().upstream_timed_out, handle.stats().upstream_answered), (4, 2));
}

#[test]
fn a_redirect_is_followed_inside_the_prefix_and_nowhere_else() {
    let other = Backend::answering();
    let elsewhere = other.url("/");
    let backend = Backend::start(move |request| {
        let to = |status: &str, location: &str| answer(status, &format!("Location: {location}\r\n"), "moved");
        match request.target.as_str() {
            "/in/301" => to("301 Moved Permanently", "/in/end"),
            "/in/302" => to("302 Found", "end?query"),
            "/in/303" => to("303 See Other", "./x/../end"),
            "/in/307" => to("307 Temporary Redirect", "/in/end"),
            "/in/308" => to("308 Permanent Redirect", "/in/end"),
            "/in/twice" => to("307 Temporary Redirect", "302"),
            "/in/loop" => to("302 Found", "/in/loop"),
            "/in/300" => to("300 Multiple Choices", "/in/end"),
            "/in/no-location" => answer("302 Found", "", "where?"),
            "/in/out" => to("302 Found", "/out"),
            "/in/parent" => to("302 Found", "../out"),
            "/in/encoded" => to("307 Temporary Redirect", "/in/%2e%2e/out"),
            "/in/double" => to("307 Temporary Redirect", "/in/%252e%252e/out"),
            "/in/backslash" => to("302 Found", "/in\\..\\out"),
            "/in/semicolon" => to("302 Found", "/in/..;/out"),
            "/in/host" => to("302 Found", &elsewhere),
            "/in/relative-host" => to("302 Found", &elsewhere["http:".len()..]),
            "/in/user" => to("302 Found", &format!("http://u@{}/in/end", request.header("host").unwrap())),
            "/in/scheme" => to("302 Found", "file:///etc/passwd"),
            "/in/https" => to("302 Found", &format!("https://{}/in/end", request.header("host").unwrap())),
            "/in/nonsense" => to("302 Found", "http://[::1"),
            _ => ok(format!("{} {} {}", request.method, request.target, request.body.len())),
        }
    });
    let handle = server(&[backend.url("/in")], |config| config);
    let mut client = connect(&handle);
    let length = |path: &str| {
        format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nupstream-reply:true\r\nack:t\r\n\r\nbody", backend.url(path)).len()
    };
    for (path, status, expected) in [
        ("/in/301", 200, "GET /in/end 0".to_owned()),
        ("/in/302", 200, "GET /in/end?query 0".to_owned()),
        ("/in/303", 200, "GET /in/end 0".to_owned()),
        ("/in/307", 200, format!("POST /in/end {}", length("/in/307"))),
        ("/in/308", 200, format!("POST /in/end {}", length("/in/308"))),
        ("/in/twice", 200, "GET /in/end?query 0".to_owned()),
        ("/in/300", 300, "moved".to_owned()),
        ("/in/no-location", 302, "where?".to_owned()),
    ] {
        ask(&mut client, &format!("POST {}", backend.url(path)));
        client.expect(&reply(status, &expected));
    }
    assert_eq!(backend.connections(), 1, "connections are kept over redirects");
    ask(&mut client, &format!("HEAD {}", backend.url("/in/loop")));
    assert!(client.expect_error(502, "upstream-failed", Some("t")).contains("redirects"));
    for path in [
        "out",
        "parent",
        "encoded",
        "double",
        "backslash",
        "semicolon",
        "host",
        "relative-host",
        "user",
        "scheme",
        "https",
        "nonsense",
    ] {
        ask(&mut client, &format!("POST {}", backend.url(&format!("/in/{path}"))));
        let sentence = client.expect_error(502, "upstream-failed", Some("t"));
        assert!(sentence.contains("--upstream-allow"), "{path}: {sentence}");
    }
    assert_eq!(other.connections(), 0, "nothing went to another server");
    assert!(backend.requests().iter().all(|request| request.target.starts_with("/in/")), "nothing left the prefix");
}

#[test]
fn a_url_outside_the_prefix_causes_no_connection() {
    let (backend, other) = (Backend::answering(), Backend::answering());
    let handle = server(&[backend.url("/in")], |config| config);
    let mut client = connect(&handle);
    let (ours, port) = (backend.address(), backend.address().port());
    for (url, code) in [
        (format!("http://{ours}/"), 403),
        (format!("http://{ours}/inside"), 403),
        (format!("http://{ours}/in/../x"), 403),
        (format!("http://{ours}/in/%2e%2e/x"), 403),
        (format!("http://{ours}/in/%252e%252e/x"), 403),
        (format!("http://{ours}/in\\..\\x"), 403),
        (format!("http://{ours}/in/..;/x"), 403),
        (format!("http://{ours}/IN/x"), 403),
        (format!("http://{ours}@{}/in", other.address()), 400),
        (format!("http://{}/in", other.address()), 403),
        (format!("https://{ours}/in"), 403),
        (format!("http://localhost:{port}/in"), 403),
        (format!("http://[::ffff:127.0.0.1]:{port}/in"), 403),
        (format!("http://127.0.0.1:{}/in", u32::from(port) + 65536), 400),
        ("http://127.0.0.1/in".to_owned(), 403),
    ] {
        client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {url}\r\nack:t\r\n\r\n"));
        client.expect_error(code, if code == 400 { "bad-upstream" } else { "forbidden" }, Some("t"));
    }
    assert_eq!((backend.connections(), other.connections()), (0, 0));
    // Other spellings of an allowed URL arrive in canonical form.
    for (number, url) in [
        format!("HTTP://127.0.0.1:{port}/in/a"),
        format!("http://127.1:0{port}/in/a"),
        format!("http://2130706433:{port}/x/../in/./a"),
        format!("http://0x7f.0.0.01:{port}/in\\a"),
    ]
    .iter()
    .enumerate()
    {
        client.say(&format!("LHTTP/1.0 c\r\nupstream:GET {url}\r\n\r\n"));
        let request = &backend.wait_for(number + 1)[number];
        assert_eq!((&request.target[..], request.header("host")), ("/in/a", Some(ours.to_string().as_str())), "{url}");
    }
    wait_for(|| handle.stats().upstream_answered == 4);
    assert_eq!(other.connections(), 0);
}

#[test]
fn an_answer_to_a_client_that_has_left_costs_nothing() {
    let barrier = helpers::backend::Barrier::default();
    let gate = barrier.clone();
    let backend = Backend::start(move |_| {
        gate.pass();
        ok("late")
    });
    let handle = server(&[backend.url("/")], |config| config);
    let mut gone = connect(&handle);
    for number in 0..10 {
        gone.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nupstream-reply:true\r\n\r\n{number}", backend.url("/")));
    }
    backend.wait_for(1);
    gone.close();
    wait_for(|| handle.stats().connections == 0);
    // The next connection in its slot must receive nothing of it.
    let mut next = connect(&handle);
    barrier.open();
    wait_for(|| handle.stats().upstream_answered == 10);
    next.expect_nothing();
    let requests = backend.requests();
    assert!(requests.iter().enumerate().all(|(number, request)| request.body_text().ends_with(&format!("\n{number}"))));
    assert_eq!((handle.stats().upstream_dropped, handle.stats().refused), (0, 0), "{}", handle.stats());
}

#[test]
fn an_idle_connection_that_the_upstream_has_closed_is_not_used() {
    let backend = Backend::start(|_| Action::Break(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()));
    let handle = server(&[backend.url("/")], |config| config);
    let mut client = connect(&handle);
    for number in 1..=5 {
        ask(&mut client, &format!("POST {}", backend.url("/")));
        client.expect(&reply(200, "ok"));
        wait_for(|| backend.connections() == number);
        wait_for(|| is_closed_by_peer(backend.address().port()));
    }
}

/// Whether no connection to this port is established any more, as the kernel sees it.
fn is_closed_by_peer(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
    let to = format!(":{port:04X} 01 "); // the port as the remote one, and the state ESTABLISHED
    !table.lines().any(|line| line.contains(&to))
}

#[test]
fn a_port_that_accepts_and_never_speaks_is_a_timeout_for_each_client_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let timeout = Duration::from_millis(200);
    let handle = server(std::slice::from_ref(&url), |config| Config { upstream_timeout: timeout, ..config });
    let mut clients: Vec<Client> = (0..8).map(|_| connect(&handle)).collect();
    clients.iter_mut().for_each(|client| ask(client, &format!("POST {url}")));
    for client in &mut clients {
        client.expect_error(504, "upstream-timeout", Some("t"));
    }
    wait_for(|| handle.stats().upstream_waiting == 0);
    assert_eq!(handle.stats().upstream_timed_out, 8);
}
