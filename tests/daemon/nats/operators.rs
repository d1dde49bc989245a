//! The API of `admin` at the nodes of a cluster.

use serde_json::{Value, json};

use super::history::{Cluster, publish};
use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with, get, json_of, post},
    client::Client,
    daemon::Daemon,
    nats::{NatsServer, RawNats, has_nats_server},
    on_one_and_two_cores, wait_for,
};

on_one_and_two_cores!(
    messages_are_those_of_the_cluster_also_where_nobody_is_subscribed,
    a_question_goes_to_all_nodes_and_their_answers_are_one,
    a_list_of_connections_goes_on_from_node_to_node,
    a_backend_reaches_connections_of_every_node,
    a_node_that_does_not_answer_is_named,
    strangers_at_nats_harm_no_operator,
    an_answer_that_is_too_large_for_a_message_makes_its_node_incomplete,
);

fn ids(page: &Value) -> Vec<String> {
    let messages = page["messages"].as_array().unwrap_or_else(|| panic!("no messages in {page}"));
    messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned()).collect()
}

fn messages_are_those_of_the_cluster_also_where_nobody_is_subscribed(cores: usize) {
    let Some(mut cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node_with(&ADMIN));
    let port = admin_port(&there);
    let mut writer = Client::connect(here.port());
    let mut expected = Vec::new();
    for round in 0..3 {
        for _ in 0..4 {
            expected.insert(0, publish(&mut writer, "kept.a", "text"));
            publish(&mut writer, "kept.b", "other");
        }
        assert_eq!(ids(&get(port, "/api/channels/kept.a/messages")), expected, "round {round}");
        let page = get(port, &format!("/api/channels/kept.a/messages?last=2&before={}", expected[0]));
        assert_eq!((ids(&page), &page["next"]), (expected[1..3].to_vec(), &json!(expected[2])), "round {round}");
    }
    let mut reader = Client::connect(there.port());
    super::history::subscribe(&mut reader, &["subscribe:kept.a"]);
    expected.insert(0, publish(&mut writer, "kept.a", "live"));
    super::history::next(&mut reader);
    assert_eq!(ids(&get(port, "/api/channels/kept.a/messages")), expected);
    let refused = json_of(&ask_with(port, "DELETE", "/api/channels/kept.a/messages", "", ""), 501);
    assert_eq!(refused["error"], "not-in-a-cluster");
    cluster.nats.kill();
    there.wait_for("the connection to");
    // What must be loaded is not there now; what is whole is.
    let response = ask_with(port, "GET", "/api/channels/kept.b/messages", "", "");
    json_of(&response, if response.status == 503 { 503 } else { 504 });
    assert_eq!(ids(&get(port, "/api/channels/kept.a/messages")), expected);
}

/// Nodes of a cluster. The second one has no operators of its own.
struct Nodes {
    nats: NatsServer,
    nodes: Vec<Daemon>,
    port: u16,
}

impl Nodes {
    fn start(cores: usize) -> Option<Self> {
        if !has_nats_server() {
            return None;
        }
        let nats = NatsServer::start(&[]);
        let url = nats.url();
        let node = |args: &[&str]| Daemon::start(cores, &[&["--nats", &url], args].concat());
        let nodes = vec![node(&ADMIN), node(&[]), node(&ADMIN)];
        let nodes = Self { port: admin_port(&nodes[0]), nats, nodes };
        let answered = |port| get(port, "/api/channels")["nodes"]["answered"].as_array().map(Vec::len);
        let ports = [nodes.port, admin_port(&nodes.nodes[2])];
        wait_for(|| ports.iter().all(|port| answered(*port) == Some(3)));
        Some(nodes)
    }

    /// A client of each node, subscribed to these channels.
    fn clients(&self, names: &str) -> Vec<Client> {
        let client = |node: &Daemon| {
            let mut client = Client::connect(node.port());
            client.subscribe_acked(names);
            client
        };
        self.nodes.iter().map(client).collect()
    }
}

/// The answer without the nodes, all of which must have answered.
#[track_caller]
fn of_three(mut answer: Value) -> Value {
    let nodes = answer.as_object_mut().and_then(|answer| answer.remove("nodes")).expect("the nodes");
    assert_eq!((nodes["answered"].as_array().map(Vec::len), &nodes["silent"]), (Some(3), &json!([])), "{nodes}");
    answer
}

fn connections(answer: &Value) -> Vec<String> {
    let list = answer["connections"].as_array().unwrap_or_else(|| panic!("no connections in {answer}"));
    list.iter().map(|connection| connection["id"].as_str().expect("an id").to_owned()).collect()
}

fn a_question_goes_to_all_nodes_and_their_answers_are_one(cores: usize) {
    let Some(cluster) = Nodes::start(cores) else { return };
    let _clients = cluster.clients("room all");
    let mut one = Client::connect(cluster.nodes[1].port());
    one.subscribe_acked("room only.there");
    let all = json!({ "channels": [
        { "name": "all", "subscribers": 3 },
        { "name": "only.there", "subscribers": 1 },
        { "name": "room", "subscribers": 4 },
    ], "next": null });
    assert_eq!(of_three(get(cluster.port, "/api/channels")), all);
    assert_eq!(of_three(get(admin_port(&cluster.nodes[2]), "/api/channels")), all, "from another node");
    let matching = json!({ "channels": [{ "name": "only.there", "subscribers": 1 }], "next": null });
    assert_eq!(of_three(get(cluster.port, "/api/channels?match=only.*")), matching);
    let page = of_three(get(cluster.port, "/api/channels?limit=2"));
    assert_eq!((page["channels"][1]["name"].as_str(), page["next"].as_str()), (Some("only.there"), Some("only.there")));
    let rest = of_three(get(cluster.port, "/api/channels?limit=2&after=only.there"));
    assert_eq!(rest, json!({ "channels": [{ "name": "room", "subscribers": 4 }], "next": null }));
    let room = json!({ "name": "room", "subscribers": 4 });
    assert_eq!(of_three(get(cluster.port, "/api/channels/room")), room);
    let nobody = json!({ "name": "nobody", "subscribers": 0 });
    assert_eq!(of_three(get(cluster.port, "/api/channels/nobody")), nobody);
    // NATS itself brings publishes to the other nodes.
    assert_eq!(post(cluster.port, "/api/publish", &json!({ "channels": ["only.there"] })), json!({ "channels": 1 }));
    one.expect_text("LHTTP/1.0 chat\r\npublish:only.there\r\n\r\n");
    json_of(&ask_with(cluster.port, "GET", "/api/channels?limit=0", "", ""), 400);
}

fn a_list_of_connections_goes_on_from_node_to_node(cores: usize) {
    let Some(cluster) = Nodes::start(cores) else { return };
    let _clients: Vec<_> = (0..3).map(|_| cluster.clients("room")).collect();
    let all = connections(&of_three(get(cluster.port, "/api/connections?channel=room")));
    assert_eq!(all.len(), 9);
    for limit in [1, 2, 4, 9] {
        let (mut listed, mut target) = (Vec::new(), format!("/api/connections?channel=room&limit={limit}"));
        loop {
            let page = of_three(get(cluster.port, &target));
            assert!(connections(&page).len() <= limit, "{page}");
            listed.extend(connections(&page));
            let Some(next) = page["next"].as_str() else { break };
            target = format!("/api/connections?channel=room&limit={limit}&after={next}");
        }
        assert_eq!(listed, all);
    }
    for id in &all {
        let one = of_three(get(cluster.port, &format!("/api/connections/{id}")));
        assert_eq!((one["id"].as_str(), &one["channels"]), (Some(&**id), &json!(["room"])));
    }
    let (_, id) = all[0].split_once('.').expect("a node");
    for (target, status) in [
        (format!("/api/connections/{id}"), 400),
        (format!("/api/connections/0000000000000000.{id}"), 404),
        (format!("/api/connections/00.{id}"), 400),
        ("/api/connections?after=0000000000000000.x".to_owned(), 400),
    ] {
        json_of(&ask_with(cluster.port, "GET", &target, "", ""), status);
    }
}

fn a_backend_reaches_connections_of_every_node(cores: usize) {
    let Some(cluster) = Nodes::start(cores) else { return };
    let mut clients = cluster.clients("room");
    let mut others = cluster.clients("other");
    let body = json!({ "address": "127.0.0.1", "channels": ["news"] });
    assert_eq!(of_three(post(cluster.port, "/api/subscribe", &body)), json!({ "subscribed": 6 }));
    assert_eq!(of_three(get(cluster.port, "/api/channels/news"))["subscribers"], 6);
    assert_eq!(of_three(post(cluster.port, "/api/unsubscribe", &body)), json!({ "unsubscribed": 6 }));
    // Each of them by its id, asked of the first node.
    let mut ids = connections(&of_three(get(cluster.port, "/api/connections?channel=room")));
    let body = json!({ "connection": ids[1].split_once('.').map(|(_, id)| id) });
    json_of(&ask_with(cluster.port, "POST", "/api/disconnect", "", &body.to_string()), 400);
    ids.truncate(2);
    for id in &ids {
        let body = json!({ "connection": id, "code": 4000, "reason": "by id" });
        assert_eq!(of_three(post(cluster.port, "/api/disconnect", &body)), json!({ "closed": 1 }), "{id}");
    }
    let left = connections(&of_three(get(cluster.port, "/api/connections?channel=room")));
    assert!(left.len() == 1 && !ids.contains(&left[0]), "{left:?}");
    let body = json!({ "address": "127.0.0.1", "code": 4001 });
    assert_eq!(of_three(post(cluster.port, "/api/disconnect", &body)), json!({ "closed": 4 }));
    let mut codes: Vec<u16> = clients.iter_mut().map(|client| client.expect_close().0).collect();
    codes.sort_unstable();
    assert_eq!(codes, [4000, 4000, 4001]);
    others.iter_mut().for_each(|client| assert_eq!(client.expect_close().0, 4001));
}

fn a_node_that_does_not_answer_is_named(cores: usize) {
    let Some(mut cluster) = Nodes::start(cores) else { return };
    let nodes = get(cluster.port, "/api/channels")["nodes"]["answered"].clone();
    cluster.nodes.remove(1);
    let answer = get(cluster.port, "/api/channels");
    let (answered, silent) = (&answer["nodes"]["answered"], &answer["nodes"]["silent"]);
    let lists = [answered, silent].map(|list| list.as_array().expect("a list").len());
    assert_eq!(lists, [2, 1], "{answer}");
    assert!(nodes.as_array().is_some_and(|nodes| nodes.contains(&silent[0])), "{answer}");
    // Without NATS a node answers for itself.
    cluster.nats.kill();
    let answer = get(cluster.port, "/api/channels/room");
    assert_eq!((&answer["subscribers"], &answer["nodes"]["answered"].as_array().map(Vec::len)), (&json!(0), &Some(1)));
}

fn an_answer_that_is_too_large_for_a_message_makes_its_node_incomplete(cores: usize) {
    let Some(cluster) = Nodes::start(cores) else { return };
    // JSON writes a quote with two bytes: a thousand of these names are longer than a message between nodes.
    let _clients = [0, 1, 2].map(|client| {
        let mut subscriber = Client::connect(cluster.nodes[1].port());
        for number in 0..349 {
            subscriber.subscribe_acked(&format!("{client}{number:03}{}", "\"".repeat(251)));
        }
        subscriber.subscribe_acked(&format!("last.{client}"));
        subscriber
    });
    let answer = get(cluster.port, "/api/channels?limit=1000");
    let lists = ["answered", "silent", "incomplete"].map(|name| answer["nodes"][name].as_array().map_or(0, Vec::len));
    assert_eq!(lists, [3, 0, 1], "{}", answer["nodes"]);
    let said = "admin: an answer to an operator of another node is too large";
    wait_for(|| cluster.nodes[1].stderr().contains(said));
    let fewer = get(cluster.port, "/api/channels?limit=500");
    assert_eq!(fewer["channels"].as_array().map(Vec::len), Some(500));
    assert!(fewer["nodes"]["incomplete"].is_null(), "{}", fewer["nodes"]);
}

fn strangers_at_nats_harm_no_operator(cores: usize) {
    let Some(mut cluster) = Nodes::start(cores) else { return };
    let _clients = cluster.clients("room");
    let mut raw = RawNats::connect(&cluster.nats);
    let nodes = get(cluster.port, "/api/channels")["nodes"]["answered"].clone();
    let subjects: Vec<String> = nodes
        .as_array()
        .expect("a list")
        .iter()
        .map(|node| format!("_LHTTP.admin.{}", node.as_str().expect("a name")))
        .chain(["_LHTTP.admin".to_owned()])
        .collect();
    let own = nodes[0].as_str().expect("a name");
    let line = |from: &str, more: &str| format!(r#"{{"version":1,"from":"{from}",{more}}}"#);
    let mut messages = vec![
        String::new(),
        "null".to_owned(),
        "[".repeat(200_000),
        line("x", r#""id":1"#),
        line(own, r#""hello":true"#),
        line("00000000000000ff", r#""id":99999999999999"#),
        line("00000000000000ff", r#""question":{"method":"DELETE","target":"/api/channels/room/messages"},"id":1"#),
        line("00000000000000ff", r#""question":{"method":"POST","target":"/api/publish","body":"{}"},"id":1"#),
        line("00000000000000ff", r#""question":{"method":"GET","target":"%%%?&&=&limit=-1"},"id":1"#),
        line("00000000000000ff", r#""question":{"method":"","target":"","body":"\u0000"},"id":1"#),
        format!(r#"{{"version":2,"from":"{own}","hello":true}}"#),
    ];
    for id in 0..64 {
        let forged = [
            r#"{"channels":[{"name":"room","subscribers":18446744073709551615}],"name":"room","subscribers":-1}"#,
            r#"{"connections":[{"id":"00000000000000ff.9-9-9"},{"id":1},{"id":"00000000000000ff.9-99999999999-9"}]}"#,
            r#"{"closed":18446744073709551615,"nodes":1,"unanswered_cores":[]}"#,
            "1e999",
        ];
        for body in forged {
            messages.push(line("00000000000000ff", &format!(r#""id":{id},"answer":{{"status":200,"body":{body}}}"#)));
        }
        messages.push(line(&format!("{:016x}", 1000 + id), r#""hello":true"#));
    }
    for message in &messages {
        subjects.iter().for_each(|subject| raw.publish(subject, message.as_bytes()));
    }
    raw.publish(&subjects[0], &vec![b'x'; 900_000]);
    raw.flush();
    // Nodes that are not there are named as silent, and the answer is that of those that are.
    wait_for(|| {
        let answer = get(cluster.port, "/api/channels/room");
        assert_eq!(answer["subscribers"], 3, "{answer}");
        let silent = answer["nodes"]["silent"].as_array().map_or(0, Vec::len);
        assert!(silent <= 64, "{answer}");
        silent > 0
    });
    cluster.nodes.iter_mut().for_each(Daemon::assert_healthy);
}
