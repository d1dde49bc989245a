//! `--history-file`: what was acknowledged is there after a restart. `lhttp-bench crash`, and its test, show it for crashes.

use std::{path::Path, process::Command};

use crate::helpers::{
    PATIENCE,
    client::Client,
    daemon::Daemon,
    message::{Message, chat},
    on_one_and_two_cores,
    scratch::Scratch,
    wait_until,
};

on_one_and_two_cores!(clients_go_on_after_a_restart, subscribers_get_a_message_after_it_is_on_the_disk,);

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 20000
    [[channel]]
    match = \"short\"
    history = 3
";

struct Keeper {
    scratch: Scratch,
    cores: usize,
}

impl Keeper {
    fn new(cores: usize) -> Self {
        let scratch = Scratch::new();
        scratch.write("lhttpd.toml", RULES);
        Self { scratch, cores }
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn start(&self) -> Daemon {
        Daemon::start(self.cores, &["--config", &self.path("lhttpd.toml"), "--history-file", &self.path("chat.db")])
    }
}

fn next(client: &mut Client) -> Message {
    Message::parse(&client.recv().payload)
}

/// Publishes to a channel, and returns the id.
#[track_caller]
fn publish(client: &mut Client, channel: &str, body: &str) -> String {
    client.say(&chat(&[&format!("publish:{channel}"), "ack:p"], body));
    let ack = next(client);
    ack.header("message-id").unwrap_or_else(|| panic!("no id in {ack:?}")).to_owned()
}

/// Subscribes with these header lines, and returns the bodies of the messages before the acknowledgement, and that.
#[track_caller]
fn subscribe(client: &mut Client, headers: &[&str]) -> (Vec<String>, Message) {
    client.say(&chat(&[headers, &["ack:s"]].concat(), ""));
    let mut bodies = Vec::new();
    loop {
        let message = next(client);
        if message.command == "ack" {
            return (bodies, message);
        }
        bodies.push(message.body);
    }
}

fn clients_go_on_after_a_restart(cores: usize) {
    let keeper = Keeper::new(cores);
    let mut daemon = keeper.start();
    let mut writer = Client::connect(daemon.port());
    let first = publish(&mut writer, "kept.a", "one");
    publish(&mut writer, "kept.a", "two");
    writer.send_binary(b"LHTTP/1.0 chat\r\npublish:kept.b\r\nack:p\r\n\r\n\xff");
    next(&mut writer);
    for body in ["1", "2", "3", "4", "5"] {
        publish(&mut writer, "short", body);
    }
    daemon.terminate();
    assert!(daemon.exit_within(PATIENCE).is_some_and(|status| status.success()));
    let daemon = keeper.start();
    let mut reader = Client::connect(daemon.port());
    let (missed, ack) = subscribe(&mut reader, &["subscribe:kept.a", &format!("since:{first}")]);
    assert_eq!((missed, ack.header("lost")), (vec!["two".to_owned()], None));
    let mut writer = Client::connect(daemon.port());
    let third = publish(&mut writer, "kept.a", "three");
    assert_eq!(next(&mut reader).header("message-id"), Some(&*third));
    assert_eq!(first.replace("-1", "-3"), third, "the numbers go on in the same epoch");
    let (last, _) = subscribe(&mut Client::connect(daemon.port()), &["subscribe:short", "last:100"]);
    assert_eq!(last, ["3", "4", "5"]);
    let mut binary = Client::connect(daemon.port());
    binary.say(&chat(&["subscribe:kept.b", "last:1"], ""));
    assert!(binary.recv().payload.ends_with(b"\r\n\r\n\xff"));
}

fn subscribers_get_a_message_after_it_is_on_the_disk(cores: usize) {
    let keeper = Keeper::new(cores);
    let daemon = keeper.start();
    let mut reader = Client::connect(daemon.port());
    subscribe(&mut reader, &["subscribe:kept.a"]);
    let mut writer = Client::connect(daemon.port());
    for number in 0..10 {
        writer.say(&chat(&["publish:kept.a"], &number.to_string()));
        assert_eq!(next(&mut reader).body, number.to_string());
        daemon.signal("STOP");
        let kept = sqlite(&keeper.scratch.path().join("chat.db"), "SELECT count(*) FROM messages");
        daemon.signal("CONT");
        assert_eq!(kept.trim(), (number + 1).to_string());
    }
}

#[test]
fn while_the_disk_is_full_publishes_are_refused_and_then_it_goes_on_by_itself() {
    const FILE_BLOCKS: u32 = 512; // of 512 bytes
    let keeper = Keeper::new(1);
    let mut daemon = Daemon::start_with_file_limit(
        FILE_BLOCKS,
        &["--config", &keeper.path("lhttpd.toml"), "--history-file", &keeper.path("chat.db")],
    );
    let (mut writer, body) = (Client::connect(daemon.port()), "x".repeat(10_000));
    writer.subscribe_acked("plain");
    let mut kept = 0;
    // The write-ahead log is full before the database is.
    let refused = loop {
        writer.say(&chat(&["publish:kept.a", "ack:p"], &body));
        let answer = next(&mut writer);
        if answer.command != "ack" {
            break answer;
        }
        kept += 1;
        assert!(kept < 1_000, "the file does not become full");
    };
    assert_eq!((refused.header("code"), refused.header("reason")), (Some("503"), Some("history-unavailable")));
    assert_eq!(refused.header("ack"), Some("p"));
    writer.say(&chat(&["publish:plain kept.a"], "without an ack, and nothing of it happens"));
    writer.expect_error(503, "history-unavailable", None);
    let other = chat(&["publish:plain"], "everything else goes on");
    writer.say(&other);
    writer.expect_text(&other);
    daemon.lift_file_limit();
    let goes_on = || {
        writer.say(&chat(&["publish:kept.a", "ack:p"], "again"));
        next(&mut writer).command == "ack"
    };
    assert!(wait_until(goes_on, PATIENCE), "it does not come back");
    let (bodies, _) = subscribe(&mut Client::connect(daemon.port()), &["subscribe:kept.a", "last:1000"]);
    assert_eq!((bodies.len(), &*bodies[kept]), (kept + 1, "again"));
    assert!(bodies[..kept].iter().all(|one| *one == body));
    daemon.terminate();
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
    daemon.wait_for("(history_refused)");
}

/// What the program `sqlite3` says, or Python's module of that name.
fn sqlite(database: &Path, query: &str) -> String {
    let program = "import sqlite3, sys\n\
        for row in sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True).execute(sys.argv[2]):\n    print(*row, sep='|')";
    let output = Command::new("python3").args(["-c", program]).arg(database).arg(query).output().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn anybody_can_query_the_file_while_the_server_runs() {
    let keeper = Keeper::new(1);
    let daemon = keeper.start();
    publish(&mut Client::connect(daemon.port()), "kept.a", "hello");
    let rows = sqlite(&keeper.scratch.path().join("chat.db"), "SELECT channel, number, message FROM history");
    assert_eq!(rows, "kept.a|1|LHTTP/1.0 chat\r\npublish:kept.a\r\nack:p\r\n\r\nhello\n");
}

#[test]
fn a_second_server_does_not_start_with_the_same_file_and_check_names_a_foreign_one() {
    let keeper = Keeper::new(1);
    let _daemon = keeper.start();
    let (rules, database) = (keeper.path("lhttpd.toml"), keeper.path("chat.db"));
    let fails = |file: &str, check: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lhttpd"));
        command.args(["--listen", "127.0.0.1:0", "--config", &rules, "--history-file", file]);
        command.args(check.then_some("--check"));
        let output = command.output().expect("lhttpd runs");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    assert!(fails(&database, false).contains("another server uses this history"));
    let foreign =
        keeper.scratch.write("foreign.db", "this is no database, although it is long enough to be read as one...");
    let said = fails(&foreign, true);
    assert!(said.contains("history-file") && said.contains("foreign.db: file is not a database"), "{said}");
    let other = keeper.path("other.db");
    let program = "import sqlite3, sys\nsqlite3.connect(sys.argv[1]).executescript('CREATE TABLE t (a); INSERT INTO t VALUES (1);')";
    assert!(Command::new("python3").args(["-c", program, &other]).status().expect("Python").success());
    let said = fails(&other, true);
    assert!(said.contains("it is the database of another program"), "{said}");
    let said = fails("/nowhere/chat.db", true);
    assert!(said.contains("/nowhere"), "{said}");
}
