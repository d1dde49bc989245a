//! `top`, of a real `lhttpd`.

mod common;
#[path = "../../c/tests/common/lhttpd.rs"]
mod lhttpd;

use std::{
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use common::{Folder, PATIENCE, Running, expect_code, program, run};
use lhttp::{Message, client::Client};
use lhttpd::Lhttpd;
use rexpect::{
    process::{Signal, WaitStatus},
    session::{PtySession, spawn_command},
};
use serde_json::Value;

const ADMIN: &str = "admin = \"127.0.0.1:0\"\n";

struct Server {
    daemon: Lhttpd,
    admin: String,
    _folder: Folder,
}

impl Server {
    fn start(config: &str) -> Self {
        let folder = Folder::new();
        let mut daemon = Lhttpd::start(&folder.0, &format!("{ADMIN}{config}"));
        let admin = format!("http://{}", daemon.admin());
        Self { daemon, admin, _folder: folder }
    }

    fn top(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.env_remove("LHTTP_ADMIN_KEY").args(["top", &self.admin]).args(args);
        command
    }

    fn once(&self, args: &[&str]) -> Output {
        run(self.top(args), b"")
    }

    fn client(&self) -> Client {
        Client::builder(format!("ws://{}", self.daemon.address)).timeout(PATIENCE).connect().expect("it listens")
    }

    /// Publishes all the time.
    fn talk(&self, channel: &str) -> Talk {
        let (mut client, is_over, channel) = (self.client(), Arc::new(AtomicBool::new(false)), channel.to_owned());
        let ends = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let message = Message::new("chat").expect("a command").body("hello");
                client.publish(&channel, message).expect("the server takes it");
            }
        });
        Talk { is_over, thread: Some(thread) }
    }
}

struct Talk {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let result = self.thread.take().expect("it runs").join();
        assert!(thread::panicking() || result.is_ok(), "nobody published");
    }
}

#[test]
fn a_script_gets_one_object() {
    let server = Server::start("");
    let mut subscriber = server.client();
    subscriber.subscribe("room").expect("the server takes it");
    let _talk = server.talk("room");
    let (out, _) = expect_code(&server.once(&["--once", "--json"]), 0);
    assert_eq!(out.lines().count(), 1, "{out}");
    let figures: Value = serde_json::from_str(&out).expect("JSON");
    assert!(figures["connections"].as_u64() >= Some(2), "{out}");
    for name in ["messages_in_per_second", "deliveries_per_second", "written_bytes_per_second"] {
        assert!(figures[name].as_f64() > Some(1.0), "{name}: {out}");
    }
    assert!(figures["delivery_seconds"]["p99"].as_f64() > Some(0.0), "{out}");
    assert_eq!(figures["cores"].as_array().map(Vec::len), Some(2));
    assert_eq!(figures["busiest"][0]["name"], "room");
}

#[test]
fn json_goes_on_line_by_line_until_nobody_reads() {
    let server = Server::start("");
    let mut running = Running::start(server.top(&["--json"]));
    let uptimes = [running.line(), running.line()].map(|line| {
        let figures: Value = serde_json::from_str(&line).expect("JSON");
        figures["uptime"].as_f64().expect("a number")
    });
    assert!(uptimes[0] < uptimes[1]);
    assert_eq!(running.stop_reading(), Some(141));
}

#[test]
fn a_page_of_text_fits_80_columns_and_shows_what_strangers_wrote_without_harm() {
    let server = Server::start("");
    let name = format!("evil\u{202e}{}", "x".repeat(200));
    let mut subscriber = server.client();
    subscriber.subscribe("room").expect("the server takes it");
    let _talk = server.talk(&name);
    let (out, _) = expect_code(&server.once(&["--once"]), 0);
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    assert!(out.contains("evil\\u{202e}xxx") && !out.contains('\u{202e}'), "{out}");
    for heading in ["connections", "CORE", "BUSIEST CHANNELS", "SLOWEST READERS", "ENDS AND REFUSALS"] {
        assert!(out.contains(heading), "{heading}: {out}");
    }
}

#[test]
fn the_key_comes_from_the_environment() {
    let server = Server::start("admin-key = \"hunter2\"\n");
    let (_, err) = expect_code(&server.once(&["--once"]), 1);
    assert!(err.contains("LHTTP_ADMIN_KEY"), "{err}");
    let mut command = server.top(&["--once", "--json"]);
    command.env("LHTTP_ADMIN_KEY", "hunter2");
    expect_code(&run(command, b""), 0);
}

#[test]
fn what_is_no_server_for_operators_is_said_in_a_sentence() {
    let server = Server::start("");
    let ask = |url: &str| {
        let mut command = program();
        command.args(["top", url, "--once"]);
        run(command, b"")
    };
    let (_, err) = expect_code(&ask(&format!("http://{}", server.daemon.address)), 3);
    assert!(err.contains("is this the address of --admin?"), "{err}");
    let (_, err) = expect_code(&ask("127.0.0.1:9091"), 2);
    assert!(err.contains("is not a URL"), "{err}");
    let (_, err) = expect_code(&ask("http://127.0.0.1:1"), 3);
    assert!(err.contains("http://127.0.0.1:1/api/status"), "{err}");
}

fn watch(server: &Server) -> PtySession {
    let session = spawn_command(server.top(&[]), Some(PATIENCE.as_millis() as u64)).expect("a pseudo-terminal");
    let mut session = session;
    session.exp_string("\x1b[?1049h").expect("another screen");
    session
}

#[test]
fn a_terminal_is_refreshed_until_q_and_gets_back_what_it_had() {
    let server = Server::start("");
    let _talk = server.talk("room");
    for end in ["q", "\x03"] {
        let mut session = watch(&server);
        for _ in 0..2 {
            session.exp_string("connections").expect("figures");
            session.exp_string("BUSIEST CHANNELS").expect("figures");
        }
        session.send(end).unwrap();
        session.flush().unwrap();
        session.exp_string("\x1b[?1049l").expect("the screen of before");
        session.exp_eof().unwrap();
    }
}

#[test]
fn a_signal_ends_it_and_the_terminal_gets_back_what_it_had() {
    let server = Server::start("");
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut session = watch(&server);
        session.exp_string("connections").expect("figures");
        session.process_mut().signal(signal).expect("it runs");
        session.exp_string("\x1b[?1049l").expect("the screen of before");
        assert!(matches!(session.process().wait(), Ok(WaitStatus::Signaled(_, by, _)) if by == signal), "{signal}");
    }
}

#[test]
fn a_server_that_goes_is_told_on_the_screen() {
    let server = Server::start("");
    let mut session = watch(&server);
    session.exp_string("connections").expect("figures");
    drop(server);
    session.exp_string("/api/status: ").expect("why there is no answer");
    session.send("q").unwrap();
    session.flush().unwrap();
    session.exp_eof().unwrap();
}
