//! The API of `admin` at the nodes of a cluster.

use serde_json::{Value, json};

use super::history::{Cluster, publish};
use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with, get, json_of},
    client::Client,
    on_one_and_two_cores,
};

on_one_and_two_cores!(messages_are_those_of_the_cluster_also_where_nobody_is_subscribed,);

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
