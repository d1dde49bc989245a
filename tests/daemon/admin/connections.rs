//! The API of `admin`: connections and channels.

use serde_json::{Value, json};

use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with, get, json_of, post},
    client::Client,
    daemon::Daemon,
    http::Http,
    on_one_and_two_cores, wait_for,
};

on_one_and_two_cores!(
    channels_are_listed_by_name_with_the_subscribers_of_all_cores,
    a_list_goes_on_where_its_last_page_ended,
    connections_are_found_by_channel_and_address,
    a_connection_is_closed_with_a_code_and_a_reason,
    a_backend_subscribes_connections_and_ends_that,
    what_is_not_understood_is_answered_in_a_sentence,
    requests_in_a_row_are_answered_in_their_order,
);

fn start(cores: usize) -> (Daemon, u16) {
    let daemon = Daemon::start(cores, &ADMIN);
    let port = admin_port(&daemon);
    (daemon, port)
}

fn subscribed(daemon: &Daemon, names: &str) -> Client {
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked(names);
    client
}

fn names(list: &Value) -> Vec<(&str, u64)> {
    let channels = list["channels"].as_array().unwrap_or_else(|| panic!("no channels in {list}"));
    let is_shown = |channel: &'_ Value| channel["name"].as_str().is_some() && channel["subscribers"].as_u64().is_some();
    assert!(channels.iter().all(is_shown), "{list}");
    let shown = channels.iter().filter_map(|channel| channel["name"].as_str().zip(channel["subscribers"].as_u64()));
    shown.collect()
}

fn channels_are_listed_by_name_with_the_subscribers_of_all_cores(cores: usize) {
    let (daemon, port) = start(cores);
    let _clients: Vec<_> = (0..8).map(|number| subscribed(&daemon, &format!("room.{} all >", number % 2))).collect();
    let list = get(port, "/api/channels");
    assert_eq!(names(&list), [(">", 8), ("all", 8), ("room.0", 4), ("room.1", 4)]);
    assert_eq!(list["next"], Value::Null);
    assert_eq!(names(&get(port, "/api/channels?match=room.*")), [("room.0", 4), ("room.1", 4)]);
    assert_eq!(get(port, "/api/channels/all"), json!({ "name": "all", "subscribers": 8 }));
    assert_eq!(get(port, "/api/channels/%3E"), json!({ "name": ">", "subscribers": 8 }));
    assert_eq!(get(port, "/api/channels/nobody"), json!({ "name": "nobody", "subscribers": 0 }));
}

fn a_list_goes_on_where_its_last_page_ended(cores: usize) {
    let (daemon, port) = start(cores);
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(daemon.port())).collect();
    let all: Vec<String> = (0..700).map(|number| format!("channel.{number:04}")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        all[70 * number..70 * (number + 1)].chunks(35).for_each(|some| client.subscribe_acked(&some.join(" ")));
    }
    let (mut listed, mut target) = (Vec::new(), "/api/channels?limit=300".to_owned());
    loop {
        let page = get(port, &target);
        listed.extend(names(&page).into_iter().map(|(name, _)| name.to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/api/channels?limit=300&after={next}");
    }
    assert_eq!(listed, all);
    let (mut ids, mut target) = (Vec::new(), "/api/connections?limit=3".to_owned());
    loop {
        let page = get(port, &target);
        let connections = page["connections"].as_array().expect("a list");
        assert!(connections.len() <= 3);
        ids.extend(connections.iter().map(|connection| connection["id"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/api/connections?limit=3&after={next}");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10);
}

fn connections_are_found_by_channel_and_address(cores: usize) {
    let (daemon, port) = start(cores);
    let _one = subscribed(&daemon, "room other");
    let _two = subscribed(&daemon, "other");
    let list = get(port, "/api/connections?channel=room");
    let found = list["connections"].as_array().expect("a list");
    assert_eq!(found.len(), 1, "{list}");
    assert_eq!((&found[0]["transport"], &found[0]["subscriptions"]), (&json!("websocket"), &json!(2)));
    assert!(found[0]["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{list}");
    let id = found[0]["id"].as_str().expect("an id");
    let one = get(port, &format!("/api/connections/{id}"));
    assert_eq!(one["channels"], json!(["room", "other"]));
    assert_eq!(get(port, "/api/connections?address=127.0.0.1")["connections"].as_array().map(Vec::len), Some(2));
    assert_eq!(get(port, "/api/connections?address=127.0.0.2")["connections"], json!([]));
    assert_eq!(get(port, "/api/connections?user=nobody")["connections"], json!([]));
    json_of(&ask_with(port, "GET", "/api/connections/0-999-0", "", ""), 404);
}

fn a_connection_is_closed_with_a_code_and_a_reason(cores: usize) {
    let (daemon, port) = start(cores);
    let (mut one, mut two) = (subscribed(&daemon, "one"), subscribed(&daemon, "two"));
    let list = get(port, "/api/connections?channel=one");
    let body = json!({ "connection": list["connections"][0]["id"], "code": 4001, "reason": "kicked" });
    assert_eq!(post(port, "/api/disconnect", &body), json!({ "closed": 1 }));
    assert_eq!(one.expect_close(), (4001, "kicked".to_owned()));
    two.subscribe_acked("three");
    assert_eq!(post(port, "/api/disconnect", &json!({ "address": "127.0.0.1" })), json!({ "closed": 1 }));
    assert_eq!(two.expect_close(), (1008, String::new()));
    assert_eq!(post(port, "/api/disconnect", &body), json!({ "closed": 0 }));
}

fn a_backend_subscribes_connections_and_ends_that(cores: usize) {
    let (daemon, port) = start(cores);
    let mut client = subscribed(&daemon, "own");
    let mut publisher = Client::connect(daemon.port());
    let id = &get(port, "/api/connections?channel=own")["connections"][0]["id"];
    let body = json!({ "connection": id, "channels": ["news", "alerts.>"] });
    assert_eq!(post(port, "/api/subscribe", &body), json!({ "subscribed": 1 }));
    publisher.say("LHTTP/1.0 chat\r\npublish:news\r\n\r\nhello");
    client.expect_text("LHTTP/1.0 chat\r\npublish:news\r\n\r\nhello");
    assert_eq!(post(port, "/api/unsubscribe", &body), json!({ "unsubscribed": 1 }));
    wait_for(|| get(port, "/api/channels/news")["subscribers"] == 0);
    publisher.say("LHTTP/1.0 chat\r\npublish:news own\r\n\r\nagain");
    client.expect_text("LHTTP/1.0 chat\r\npublish:news own\r\n\r\nagain");
    client.expect_nothing_before_ack();
}

fn what_is_not_understood_is_answered_in_a_sentence(cores: usize) {
    let (_daemon, port) = start(cores);
    for (method, target, body, status, said) in [
        ("GET", "/api/channels?limit=0", "", 400, "limit is a number"),
        ("GET", "/api/channels?limit=1001", "", 400, "limit is a number"),
        ("GET", "/api/channels?mtach=x", "", 400, "no parameter \"mtach\""),
        ("GET", "/api/channels?match=%ff", "", 400, "UTF-8"),
        ("GET", "/api/channels/a%20b", "", 400, "channel"),
        ("GET", "/api/connections?after=x", "", 400, "`next`"),
        ("GET", "/api/connections?address=localhost", "", 400, "IP address"),
        ("GET", "/api/connections/1-2", "", 400, "looks like"),
        ("GET", "/api/nothing", "", 404, "docs/ADMIN.md"),
        ("POST", "/api/channels", "{}", 405, "GET"),
        ("GET", "/api/disconnect", "", 405, "POST"),
        ("POST", "/api/disconnect", "{", 400, "the body: "),
        ("POST", "/api/disconnect", "{}", 400, "name one of"),
        ("POST", "/api/disconnect", r#"{"user":"a","address":"::1"}"#, 400, "name one of"),
        ("POST", "/api/disconnect", r#"{"usr":"a"}"#, 400, "usr"),
        ("POST", "/api/disconnect", r#"{"user":"a","code":1005}"#, 400, "close code"),
        ("POST", "/api/disconnect", r#"{"user":"a","channels":["x"]}"#, 400, "channels"),
        ("POST", "/api/subscribe", r#"{"user":"a"}"#, 400, "name 1 to 100"),
        ("POST", "/api/subscribe", r#"{"user":"a","channels":["a b"]}"#, 400, "channel"),
        ("POST", "/api/subscribe", r#"{"user":"a","code":1000}"#, 400, "code and reason"),
    ] {
        let response = ask_with(port, method, target, "", body);
        let answer = json_of(&response, status);
        let message = answer["message"].as_str().expect("a sentence");
        assert!(message.contains(said), "{method} {target} {body}: {message}");
    }
}

fn requests_in_a_row_are_answered_in_their_order(cores: usize) {
    let (_daemon, port) = start(cores);
    let mut http = Http::connect(port);
    let request = |name: &str| format!("GET /api/channels/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    http.send((0..20).map(|number| request(&format!("c{number}"))).collect::<String>());
    for number in 0..20 {
        assert_eq!(json_of(&http.response(), 200)["name"], format!("c{number}"));
    }
}
