//! PROTOCOL.md §5: the request to an upstream server, and the reply made of its answer.

use lhttp::{Builder, Config, Filter, Handle, Refusal};

use crate::helpers::{
    self, Client, Log,
    backend::{Backend, answer, ok},
    on_message, one_and_two_cores, start_with_cores, wait_for,
};

/// A server that may fetch any URL of this backend.
fn server(cores: usize, backend: &Backend, build: impl FnOnce(Builder) -> Builder) -> Handle {
    let config = Config { upstream_allow: vec![backend.url("/")], ..Config::default() };
    start_with_cores(cores, |builder| build(builder.config(config)))
}

fn connect(handle: &Handle) -> Client {
    Client::connect(handle.local_addrs()[0])
}

#[test]
fn the_whole_message_is_the_body_and_its_command_and_type_are_headers() {
    for cores in one_and_two_cores() {
        let backend = Backend::answering();
        let handle = server(cores, &backend, |builder| builder);
        let (mut jack, mut mike) = (connect(&handle), connect(&handle));
        mike.subscribe("mike");
        let url = backend.url("/record?room=a%20b&x=%C3%A4");
        let text = format!(
            "LHTTP/1.0 chat\r\nupstream:POST {url}\r\npublish:mike\r\nContent-Type: json ä\r\n\r\nhello mike, I am jack ✓\r\n\r\n"
        );
        jack.say(&text);
        mike.expect(&text);
        let binary = [text.as_bytes(), &[0, 0xff, b'\r', b'\n']].concat();
        jack.say_binary(&binary);
        mike.expect_binary(&binary);
        let requests = backend.wait_for(2);
        assert_eq!((&requests[0].body[..], &requests[1].body), (text.as_bytes(), &binary));
        for request in &requests {
            assert_eq!((&request.method[..], &request.target[..]), ("POST", "/record?room=a%20b&x=%C3%A4"));
            for (name, value) in [
                ("host", backend.address().to_string().as_str()),
                ("content-type", "application/lhttp"),
                ("content-length", &request.body.len().to_string()),
                ("x-lhttp-command", "chat"),
                ("x-lhttp-content-type", "json ä"),
                ("user-agent", concat!("lhttp/", env!("CARGO_PKG_VERSION"))),
            ] {
                assert_eq!(request.header(name), Some(value), "{name} of {request:?}");
            }
            for name in ["accept-encoding", "expect", "transfer-encoding", "authorization", "cookie"] {
                assert_eq!(request.header(name), None, "{name}");
            }
        }
        jack.expect_nothing(); // success is silent unless a reply is wanted
        wait_for(|| handle.stats().upstream_waiting == 0);
        assert_eq!((handle.stats().upstream_requests, handle.stats().upstream_answered), (2, 2), "{}", handle.stats());
    }
}

#[test]
fn get_and_head_have_no_body_and_every_other_method_has_one() {
    let backend = Backend::start(|request| match request.method.as_str() {
        "HEAD" => helpers::backend::Action::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()),
        _ => ok(&request.method),
    });
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN"];
    let allow = format!("{} {}", methods.join(","), backend.url("/"));
    let config = Config { upstream_allow: vec![allow], ..Config::default() };
    let handle = start_with_cores(1, |builder| builder.config(config));
    let mut client = connect(&handle);
    for (number, method) in methods.iter().enumerate() {
        let url = backend.url("/?q");
        let message =
            format!("LHTTP/1.0 c\r\nupstream:{method} {url}\r\nupstream-reply:true\r\nack:{number}\r\n\r\nbody");
        client.say(&message);
        client.expect(&format!("LHTTP/1.0 ack\r\nack:{number}\r\n\r\n"));
        let body = if *method == "HEAD" { "" } else { method };
        client.expect(&format!("LHTTP/1.0 c\r\nupstream-status:200\r\nack:{number}\r\n\r\n{body}"));
        let request = &backend.wait_for(number + 1)[number];
        assert_eq!((&request.method[..], &request.target[..]), (*method, "/?q"));
        assert_eq!(request.header("x-lhttp-content-type"), None);
        if ["GET", "HEAD"].contains(method) {
            assert_eq!((request.body_text(), request.header("content-type")), ("", None), "{request:?}");
            assert_eq!(request.header("content-length"), None, "{request:?}");
        } else {
            assert_eq!(
                (request.body_text(), request.header("content-type")),
                (&message[..], Some("application/lhttp"))
            );
        }
    }
    for method in ["CONNECT", "TRACE", "trace"] {
        client.say(&format!("LHTTP/1.0 c\r\nupstream:{method} {}\r\n\r\n", backend.url("/")));
        client.expect_error(400, "bad-upstream", None);
    }
}

#[test]
fn only_the_methods_that_a_prefix_names_are_allowed() {
    let backend = Backend::answering();
    let allow = vec![backend.url("/plain"), format!("PUT,PURGE {}", backend.url("/put"))];
    let config = Config { upstream_allow: allow, ..Config::default() };
    let handle = start_with_cores(1, |builder| builder.config(config));
    let mut client = connect(&handle);
    let allowed = ["GET /plain", "HEAD /plain/x", "POST /plain", "PUT /put", "PURGE /put/x"];
    let refused = ["PUT /plain", "DELETE /plain", "OPTIONS /plain", "get /plain", "GET /put", "POST /put", "put /put"];
    for (number, request) in allowed.iter().chain(&refused).enumerate() {
        let (method, path) = request.split_once(' ').unwrap();
        client.say(&format!("LHTTP/1.0 c\r\nupstream:{method} {}\r\nack:{number}\r\n\r\n", backend.url(path)));
        if number < allowed.len() {
            client.expect(&format!("LHTTP/1.0 ack\r\nack:{number}\r\n\r\n"));
        } else {
            let sentence = client.expect_error(403, "forbidden", Some(&number.to_string()));
            assert!(sentence.contains("method") && sentence.contains("--upstream-allow"), "{sentence}");
        }
    }
    let asked = backend.wait_for(allowed.len());
    wait_for(|| handle.stats().upstream_answered == allowed.len() as u64);
    let asked: Vec<_> = asked.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    assert_eq!(asked, allowed);
}

#[test]
fn a_redirect_does_not_lead_to_a_method_that_is_not_allowed() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/in/end" => ok("end"),
        _ => answer("303 See Other", "Location: /in/end\r\n", ""),
    });
    let allow = vec![format!("POST {}", backend.url("/in"))];
    let config = Config { upstream_allow: allow, ..Config::default() };
    let handle = start_with_cores(1, |builder| builder.config(config));
    let mut client = connect(&handle);
    client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\n\r\n", backend.url("/in/form")));
    assert!(client.expect_error(502, "upstream-failed", None).contains("--upstream-allow"));
    assert_eq!(backend.count(), 1);
}

#[test]
fn the_backend_is_told_the_client_and_no_client_can_forge_that() {
    let seen = Log::default();
    let record = seen.clone();
    for cores in one_and_two_cores() {
        let backend = Backend::answering();
        let record = record.clone();
        let whoami = on_message(move |context| record.push(context.connection_id().to_string()));
        let handle = server(cores, &backend, |builder| builder.processor("c", whoami));
        let mut clients: Vec<Client> = (0..4).map(|_| connect(&handle)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.say(&format!(
                "LHTTP/1.0 c\r\nx-forwarded-for: 10.0.0.1\r\nX-Forwarded-For:10.0.0.2\r\nx-lhttp-connection:1-2-3\r\n\
                 x-lhttp-command:other\r\nforwarded:for=10.0.0.1\r\nhost:evil\r\ncookie:a=b\r\nauthorization:x\r\n\
                 content-type:text/plain\r\nupstream:POST {}\r\nupstream-reply:true\r\n\r\n",
                backend.url("/")
            ));
            client.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nok");
            let request = &backend.wait_for(number + 1)[number];
            let values = |name: &str| -> Vec<String> {
                let named = request.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
                named.map(|(_, value)| value.clone()).collect()
            };
            assert_eq!(values("x-forwarded-for"), ["127.0.0.1"]);
            assert_eq!(values("x-lhttp-connection"), seen.lines().split_off(seen.lines().len() - 1));
            assert_eq!(values("x-lhttp-command"), ["c"]);
            assert_eq!(values("host"), [backend.address().to_string()]);
            for name in ["forwarded", "cookie", "authorization"] {
                assert!(values(name).is_empty(), "{name}");
            }
        }
    }
}

#[test]
fn a_reply_has_the_command_the_status_the_type_the_token_and_the_body() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/text" => answer("200 OK", "Content-Type: text/plain; charset=utf-8\r\nX-More: no\r\n", "grüße\r\n\r\nend"),
        "/bytes" => answer("201 Created", "Content-Type: image/png\r\n", b"\xff\0\xfe"),
        "/none" => helpers::backend::Action::Answer(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        "/chunks" => helpers::backend::Action::Answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec(),
        ),
        "/odd-type" => answer("200 OK", "Content-Type: \u{fffd}\r\n", "x"),
        "/long-type" => answer("200 OK", &format!("Content-Type: {}\r\n", "t".repeat(300)), "x"),
        _ => answer("404 Not Found", "Content-Type: text/html\r\n", "not there"),
    });
    let handle = server(1, &backend, |builder| builder);
    let mut client = connect(&handle);
    let mut ask = |path: &str, headers: &str| {
        let url = backend.url(path);
        client.say(&format!("LHTTP/1.0 fetch\r\nupstream:GET {url}\r\nupstream-reply:true\r\n{headers}\r\nbody"));
        if headers.contains("ack") {
            client.expect("LHTTP/1.0 ack\r\nack:t 1\r\n\r\n");
        }
        client.recv()
    };
    let text = "LHTTP/1.0 fetch\r\nupstream-status:200\r\ncontent-type:text/plain; charset=utf-8\r\nack:t 1\r\n\r\ngrüße\r\n\r\nend";
    assert_eq!(ask("/text", "ack: t 1\r\n"), tungstenite::Message::text(text));
    let bytes = b"LHTTP/1.0 fetch\r\nupstream-status:201\r\ncontent-type:image/png\r\n\r\n\xff\0\xfe";
    assert_eq!(ask("/bytes", ""), tungstenite::Message::binary(bytes.to_vec()));
    for (path, expected) in [
        ("/none", "LHTTP/1.0 fetch\r\nupstream-status:204\r\n\r\n"),
        ("/chunks", "LHTTP/1.0 fetch\r\nupstream-status:200\r\n\r\nabcde"),
        ("/odd-type", "LHTTP/1.0 fetch\r\nupstream-status:200\r\n\r\nx"),
        ("/long-type", "LHTTP/1.0 fetch\r\nupstream-status:200\r\n\r\nx"),
        ("/other", "LHTTP/1.0 fetch\r\nupstream-status:404\r\ncontent-type:text/html\r\n\r\nnot there"),
    ] {
        assert_eq!(ask(path, ""), tungstenite::Message::text(expected), "{path}");
    }
}

#[test]
fn without_a_reply_a_status_that_is_a_failure_comes_as_an_error() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/400" => answer("400 Bad Request", "", "no"),
        "/503" => answer("503 Service Unavailable", "", "later"),
        _ => answer("304 Not Modified", "", ""),
    });
    let handle = server(1, &backend, |builder| builder);
    let mut client = connect(&handle);
    for (path, shown) in [("/400", "400 Bad Request"), ("/503", "503 Service Unavailable")] {
        client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nack:t\r\n\r\n", backend.url(path)));
        client.expect("LHTTP/1.0 ack\r\nack:t\r\n\r\n");
        let sentence = client.expect_error(502, "upstream-failed", Some("t"));
        assert!(sentence.contains(shown), "{sentence}");
    }
    client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\nupstream-reply:false\r\n\r\n", backend.url("/304")));
    wait_for(|| handle.stats().upstream_answered == 3);
    client.expect_nothing();
}

#[test]
fn connections_to_an_upstream_are_kept_and_used_again() {
    let backend = Backend::answering();
    let handle = server(1, &backend, |builder| builder);
    let mut client = connect(&handle);
    for number in 0..50 {
        let reply = if number % 2 == 0 { "upstream-reply:true\r\n" } else { "" };
        client.say(&format!("LHTTP/1.0 c\r\nupstream:POST {}\r\n{reply}\r\n{number}", backend.url("/")));
    }
    for _ in 0..25 {
        client.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nok");
    }
    wait_for(|| handle.stats().upstream_answered == 50);
    assert_eq!((backend.count(), backend.connections()), (50, 1));
}

#[test]
fn a_message_is_refused_whole_if_its_upstream_is() {
    let backend = Backend::answering();
    let handle = server(1, &backend, |builder| builder);
    let mut client = connect(&handle);
    client.subscribe("room");
    let good = format!("upstream:POST {}", backend.url("/good"));
    for (upstream, code, reason) in [
        ("upstream:GET nonsense", 400, "bad-upstream"),
        ("upstream:GET http://user@127.0.0.1/", 400, "bad-upstream"),
        ("upstream:GET http://127.0.0.1:1/", 403, "forbidden"),
        (&format!("{good}\r\nupstream-reply:true\r\n{good}"), 400, "bad-header"),
    ] {
        client.say(&format!("LHTTP/1.0 c\r\n{upstream}\r\npublish:room\r\nsubscribe:new\r\nack:t\r\n\r\n"));
        let sentence = client.expect_error(code, reason, Some("t"));
        assert!(code != 403 || sentence.contains("--upstream-allow"), "{sentence}");
        client.expect_nothing();
    }
    // The first one to arrive is the valid one after them.
    client.say(&format!("LHTTP/1.0 c\r\n{good}?sound\r\nupstream-reply:true\r\n\r\n"));
    client.expect("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nok");
    let asked: Vec<_> = backend.requests().into_iter().map(|request| (request.method, request.target)).collect();
    assert_eq!(asked, [("POST".to_owned(), "/good?sound".to_owned())]);
    assert_eq!(handle.stats().upstream_requests, 1);
}

/// A filter that adds an upstream request to a message, whatever its sender wants.
struct Recording(String);

impl Filter for Recording {
    fn before_request(&self, context: &mut lhttp::Context<'_>) -> Result<(), Refusal> {
        context.add_header("upstream", &self.0)
    }
}

#[test]
fn filters_and_processors_see_the_message_first_and_their_changes_are_sent() {
    let backend = Backend::answering();
    let change = on_message(|context| context.set_body("changed").expect("a sound body"));
    let record = Recording(format!("POST {}", backend.url("/record")));
    let handle = server(1, &backend, |builder| builder.filter(record).processor("change", change));
    let mut client = connect(&handle);
    client.say("LHTTP/1.0 change\r\nx:y\r\n\r\nbody");
    let request = &backend.wait_for(1)[0];
    let expected = format!("LHTTP/1.0 change\r\nx:y\r\nupstream:POST {}\r\n\r\nchanged", backend.url("/record"));
    assert_eq!(request.body_text(), expected);
}

#[test]
fn a_publish_over_http_fetches_nothing() {
    let backend = Backend::answering();
    let handle = server(1, &backend, |builder| builder);
    let message = format!("LHTTP/1.0 c\r\nupstream:POST {}\r\npublish:room\r\n\r\n", backend.url("/"));
    let url = format!("http://{}/publish", handle.local_addrs()[0]);
    let agent = ureq::Agent::from(ureq::Agent::config_builder().proxy(None).build());
    let mut response = agent.post(&url).send(&message[..]).expect("the server answers");
    assert_eq!(response.body_mut().read_to_string().unwrap().trim(), "{\"channels\":1}");
    assert_eq!((handle.stats().upstream_requests, backend.connections()), (0, 0));
}
