//! `sub` on channels with a history, from a real `lhttpd`.

mod common;
#[path = "../../c/tests/common/lhttpd.rs"]
mod lhttpd;
#[allow(dead_code, reason = "tests/library uses the rest")]
#[path = "../../../tests/helpers/proxy.rs"]
mod proxy;

use std::{
    fs::{self, File},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use common::{Folder, PATIENCE, Running, expect_code, program, run};
use lhttp::{Message, client::Client};
use lhttpd::Lhttpd;
use proxy::CuttableProxy;

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 100
    [[channel]]
    match = \"short\"
    history = 3
";

struct Keeper {
    daemon: Lhttpd,
    folder: Folder,
}

impl Keeper {
    fn start() -> Self {
        let folder = Folder::new();
        Self { daemon: Lhttpd::start(&folder.0, RULES), folder }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.daemon.address)
    }

    fn writer(&self) -> Client {
        Client::builder(self.url()).timeout(PATIENCE).connect().expect("the daemon listens")
    }

    fn sub(&self, args: &[&str]) -> Output {
        run(sub(&self.url(), args), b"")
    }
}

fn sub(url: &str, args: &[&str]) -> Command {
    let mut command = program();
    command.args([url, "sub"]).args(args);
    command
}

/// Publishes these bodies, and returns the ids of the messages.
fn publish(client: &mut Client, channel: &str, bodies: &[&str]) -> Vec<String> {
    let message = |body: &str| Message::new("chat").expect("a command").body(body);
    let publish = |body: &&str| client.publish(channel, message(body)).expect("it is taken");
    bodies.iter().map(publish).map(|ack| ack.message_id().unwrap_or("-").to_owned()).collect()
}

/// Waits until a file has this text, and returns all of it.
fn wait_for_text(file: &str, text: &str) -> String {
    let start = Instant::now();
    loop {
        let content = fs::read_to_string(file).expect("the file is there");
        if content.contains(text) {
            return content;
        }
        assert!(start.elapsed() < PATIENCE, "no {text:?} in {content:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sub_begins_with_the_last_messages_or_behind_an_id() {
    let keeper = Keeper::start();
    let mut writer = keeper.writer();
    let ids = publish(&mut writer, "kept.a", &["one", "two", "three"]);
    let (out, err) = expect_code(&keeper.sub(&["kept.a", "--last", "2", "--count", "2"]), 0);
    assert_eq!((&*out, &*err), ("[kept.a] two\n[kept.a] three\n", ""));
    let args = ["kept.a", "plain", "--since", &ids[1], "--since", "-", "--id", "--count", "1"];
    let (out, err) = expect_code(&keeper.sub(&args), 0);
    assert_eq!((out, &*err), (format!("{} [kept.a] three\n", ids[2]), ""));
    let (out, _) = expect_code(&keeper.sub(&["kept.a", "--since", &ids[1], "--json", "--count", "1"]), 0);
    assert!(out.contains(&format!(r#"["message-id","{}"],["channel","kept.a"]"#, ids[2])), "{out}");
    let (out, err) = expect_code(&keeper.sub(&["kept.a", "--since", &ids[2], "--timeout", "100ms"]), 0);
    assert_eq!((&*out, &*err), ("", ""));
}

#[test]
fn sub_says_what_is_lost() {
    let keeper = Keeper::start();
    let mut writer = keeper.writer();
    let ids = publish(&mut writer, "short", &["one", "two", "three", "four", "five"]);
    const LOST: &str = "lhttp: messages of short are lost: the server has not kept all of them\n";
    let (out, err) = expect_code(&keeper.sub(&["short", "--since", &ids[0], "--timeout", "100ms"]), 0);
    assert_eq!((&*out, &*err), ("", LOST));
    let (out, err) = expect_code(&keeper.sub(&["short", "--since", &ids[0], "--last", "2", "--count", "2"]), 0);
    assert_eq!((&*out, &*err), ("[short] four\n[short] five\n", LOST));
}

#[test]
fn what_no_server_takes_is_a_wrong_command_line() {
    let keeper = Keeper::start();
    for (args, sentence) in [
        (&["kept.a", "--last", "0"][..], "--last"),
        (&["kept.a", "--last", "1001"], "--last"),
        (&["kept.a", "kept.b", "--since", "a-1"], "since has 1 ids for 2 names"),
        (&["kept.a", "--since", "a_1"], "no id of a message"),
        (&["kept.a", "--id", "--json"], "--json"),
    ] {
        let (out, err) = expect_code(&keeper.sub(args), 2);
        assert!(out.is_empty() && err.contains(sentence), "{sentence}: {err}");
    }
}

#[test]
fn sub_goes_on_where_it_was_after_its_connection_was_lost() {
    let keeper = Keeper::start();
    let mut writer = keeper.writer();
    let proxy = CuttableProxy::to(keeper.daemon.address);
    let said = keeper.folder.file("stderr", b"");
    let ids = publish(&mut writer, "kept.a", &["one"]);
    let args = ["kept.a", "short", "--last", "1", "--id", "--count", "4"];
    let stderr = File::create(&said).expect("the file can be written to");
    let mut running = Running::start_with(sub(&format!("ws://127.0.0.1:{}", proxy.port()), &args), stderr);
    assert_eq!(running.line(), format!("{} [kept.a] one", ids[0]));
    proxy.cut();
    let ids = publish(&mut writer, "kept.a", &["two", "three"]);
    publish(&mut writer, "short", &["1", "2", "3", "4"]);
    proxy.restore();
    assert_eq!(running.line(), format!("{} [kept.a] two", ids[0]));
    assert_eq!(running.line(), format!("{} [kept.a] three", ids[1]));
    let said = wait_for_text(&said, "connected again");
    assert!(said.contains("messages of short are lost"), "{said}");
    let ids = publish(&mut writer, "short", &["five"]);
    assert_eq!(running.line(), format!("{} [short] five", ids[0]));
    assert_eq!(running.wait(), Some(0));
}
