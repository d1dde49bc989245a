//! The history of channels.

use lhttp::{Config, config::ChannelRule};

use super::series::{value, wait_for_value};
use crate::helpers::{Client, start};

#[test]
fn channels_messages_and_bytes_of_the_history_are_gauges() {
    let rule: ChannelRule = "kept.*".parse().expect("a pattern");
    let config = Config { channels: vec![rule.history(2)], ..Config::default() };
    let server = start(|builder| builder.config(config));
    let mut client = Client::connect(server.local_addrs()[0]);
    assert_eq!(value(&server, "lhttp_history_bytes"), 0.0);
    for channel in ["kept.a", "kept.a", "kept.a", "kept.b", "plain"] {
        client.say(&format!("LHTTP/1.0 c\r\npublish:{channel}\r\n\r\n"));
    }
    wait_for_value(&server, "lhttp_history_messages", 3.0);
    wait_for_value(&server, "lhttp_history_channels", 2.0);
    assert!(value(&server, "lhttp_history_bytes") > 0.0);
}
