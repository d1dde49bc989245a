//! `presence`: many members join a channel within a second. Each must get few messages about it, the list must be right two
//! seconds later, and a member must cost little memory.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpStream,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::rate;
use crate::{
    bench::Bench,
    dialect::{Dialect, Role, websocket},
    failure::Failure,
    load::Load,
    report::Outcome,
    servers::Scratch,
};

/// How long after the last one has joined the list is asked for, and then again until it is right.
const LIST_AFTER: Duration = Duration::from_secs(2);
/// If no message came for this long, the last one has come.
const QUIET: Duration = Duration::from_secs(1);
/// How long the messages about the members may take in all.
const MESSAGES_MAX: Duration = Duration::from_secs(120);

/// The arguments of `presence`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct PresenceArgs {
    /// How many members
    #[arg(short, default_value_t = 10_000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// The time in which all of them join
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = rate::seconds)]
    pub(crate) secs: f64,
}

/// What the server knows about the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    None,
    Presence,
    Events,
}

impl Rule {
    fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Presence => "[[channel]]\nmatch = \"room\"\npresence = true\n",
            Self::Events => "[[channel]]\nmatch = \"room\"\npresence = \"events\"\n",
        }
    }
}

/// How the members joined.
struct Joined {
    /// The time from the first to the last.
    time: Duration,
    /// Resident memory of each member, beside that of its connection.
    bytes_per_member: Option<f64>,
    /// Messages about members to each member: the most, and of all.
    events_most: u64,
    events: u64,
    /// The time from the first join to the last of these messages.
    events_time: Duration,
    listed: Option<Listed>,
    cpu_ms: Option<f64>,
    rss_peak: Option<u64>,
}

/// The answer to a question who is there.
struct Listed {
    users: usize,
    /// Users that are left out of a long list.
    more: usize,
    /// From the last join to the answer.
    time: Duration,
}

/// Runs `presence`.
pub(crate) fn run(bench: &Bench, args: PresenceArgs) -> Result<Outcome, Failure> {
    bench.check_descriptors(args.n + 1)?;
    let plain = join(bench, args, Rule::None)?;
    let known = join(bench, args, Rule::Presence)?;
    let told = join(bench, args, Rule::Events)?;
    let settings = [("members", json!(args.n)), ("secs", json!(args.secs))];
    let mut outcome = Outcome::new("presence", "lhttpd", &settings);
    outcome.set_known("plain_bytes_per_member", plain.bytes_per_member);
    outcome.set_known("bytes_per_member", known.bytes_per_member);
    let overhead = known.bytes_per_member.zip(plain.bytes_per_member).map(|(with, without)| with - without);
    outcome.set_known("overhead_bytes", overhead);
    outcome.set("joined_ms", told.time.as_secs_f64() * 1e3);
    outcome.set("events_most", told.events_most as f64);
    outcome.set("events", told.events as f64);
    outcome.set("events_after_ms", told.events_time.as_secs_f64() * 1e3);
    outcome.set_known("plain_cpu_ms", plain.cpu_ms);
    outcome.set_known("cpu_ms", known.cpu_ms);
    outcome.set_known("events_cpu_ms", told.cpu_ms);
    outcome.set_known("events_rss_peak_bytes", told.rss_peak.map(|bytes| bytes as f64));
    for (name, more, time, of) in [
        ("listed", "listed_more", "listed_after_ms", &known.listed),
        ("events_listed", "events_listed_more", "events_listed_after_ms", &told.listed),
    ] {
        let of = of.as_ref().ok_or_else(|| Failure::Server("it said nothing about who is there".into()))?;
        outcome.set(name, of.users as f64);
        outcome.set(more, of.more as f64);
        outcome.set(time, of.time.as_secs_f64() * 1e3);
    }
    text(&mut outcome, args);
    Ok(outcome)
}

fn text(outcome: &mut Outcome, args: PresenceArgs) {
    outcome.text = format!(
        "lhttpd: {} members join within {}\na subscription takes {} without presence and {} with: {} more, of which a \
         member's name is 13 B\nthe list is right {} after the last one has joined: {} users, and {} that are left out where it is \
         cut; with events {}: {} and {}\nevents: at most {} messages to each member, {} to all, the last one {} after the first \
         join\nserver CPU: {} without presence, {} with, {} with events; resident with events at most {}",
        args.n,
        outcome.show("joined_ms"),
        outcome.show("plain_bytes_per_member"),
        outcome.show("bytes_per_member"),
        outcome.show("overhead_bytes"),
        outcome.show("listed_after_ms"),
        outcome.show("listed"),
        outcome.show("listed_more"),
        outcome.show("events_listed_after_ms"),
        outcome.show("events_listed"),
        outcome.show("events_listed_more"),
        outcome.show("events_most"),
        outcome.show("events"),
        outcome.show("events_after_ms"),
        outcome.show("plain_cpu_ms"),
        outcome.show("cpu_ms"),
        outcome.show("events_cpu_ms"),
        outcome.show("events_rss_peak_bytes"),
    );
}

/// All members connect, and then join at an even pace.
fn join(bench: &Bench, args: PresenceArgs, rule: Rule) -> Result<Joined, Failure> {
    let files = Scratch::make()?;
    let rules = files.path().join("rules.toml");
    fs::write(&rules, rule.text()).map_err(Failure::io("cannot write rules"))?;
    let target = bench.start(Dialect::Lhttp, &["--config", &rules.display().to_string()])?;
    let mut load = bench.load(&target)?;
    load.open(&vec![Role::told(); args.n], 0, |open| bench.progress.show(&format!("presence: {open} of {}", args.n)))?;
    let before = target.rest();
    target.restart_rss_peak();
    let (start, time) = subscribe(&mut load, args)?;
    let mut last = (start.elapsed(), load.deliveries);
    let (mut listed, mut asker, mut resident) = (None, None, None);
    while last.0 + QUIET.max(LIST_AFTER) > start.elapsed() || (listed.is_none() && rule != Rule::None) {
        if resident.is_none() && start.elapsed() > time + LIST_AFTER {
            resident = Some(target.rss_bytes()); // the answer takes memory, too
        }
        if rule != Rule::None && listed.is_none() && start.elapsed() > time + LIST_AFTER {
            asker.get_or_insert_with(|| target.client().map(|client| thread::spawn(move || ask(client))));
        }
        if asker.as_ref().is_some_and(|asker| asker.as_ref().map_or(true, JoinHandle::is_finished)) {
            let answer = asker.take().expect("there is one")?.join().expect("the asker does not panic")?;
            listed = Some(Listed { time: start.elapsed() - time, ..answer }).filter(|listed| listed.is_right(args.n));
        }
        load.turn(Some(Duration::from_millis(5)), None)?;
        if load.lost > 0 {
            return Err(load.missing(load.deliveries, load.deliveries + 1));
        }
        if load.deliveries != last.1 {
            last = (start.elapsed(), load.deliveries);
        }
        if start.elapsed() > MESSAGES_MAX {
            let why = format!("its list is wrong, or it still sends messages about members, after {MESSAGES_MAX:?}");
            return Err(Failure::Server(why));
        }
    }
    let after = target.rest();
    let spent = before.zip(after);
    let growth = before.zip(resident.unwrap_or_else(|| target.rss_bytes()));
    let growth = growth.map(|(before, rss)| rss.saturating_sub(before.rss_bytes) as f64 / args.n as f64);
    Ok(Joined {
        time,
        bytes_per_member: growth,
        events_most: load.connections[..args.n].iter().map(|member| member.counter.messages).max().unwrap_or_default(),
        events: load.deliveries,
        events_time: last.0,
        listed,
        cpu_ms: spent.map(|(before, after)| after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e6),
        rss_peak: target.rss_peak_bytes(),
    })
}

/// Each member subscribes when it is due. Returns when the first one did, and the time until the last one had.
fn subscribe(load: &mut Load, args: PresenceArgs) -> Result<(Instant, Duration), Failure> {
    let message = b"LHTTP/1.0 chat\r\nsubscribe:room\r\nack:1\r\n\r\n";
    let message = websocket::masked(websocket::TEXT, message, [0x37, 0xfa, 0x21, 0x3d]).bytes;
    let start = Instant::now();
    for member in 0..args.n {
        let due = Duration::from_secs_f64(args.secs * member as f64 / args.n as f64);
        while start.elapsed() < due {
            load.turn(Some(Duration::ZERO), None)?;
        }
        load.write(member, &message, None)?;
    }
    Ok((start, start.elapsed()))
}

/// Asks who is there, on a thread, so that the members still read.
fn ask(mut client: WebSocket<TcpStream>) -> Result<Listed, Failure> {
    let broken = |error: tungstenite::Error| Failure::Server(format!("it does not say who is there: {error}"));
    client.send(Message::text("LHTTP/1.0 chat\r\npresence:room\r\nack:1\r\n\r\n")).map_err(broken)?;
    let answer = client.read().map_err(broken)?.into_data();
    Listed::parse(&String::from_utf8_lossy(&answer))
}

impl Listed {
    fn parse(answer: &str) -> Result<Self, Failure> {
        let wrong = || Failure::Server(format!("it answered {:?}", answer.chars().take(300).collect::<String>()));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
        if !head.starts_with("LHTTP/1.0 presence\r\n") {
            return Err(wrong());
        }
        let more = head.lines().find_map(|line| line.strip_prefix("more:"));
        let more = more.map_or(Ok(0), str::parse).map_err(|_| wrong())?;
        let entries: Vec<Value> = serde_json::from_str(body).map_err(|_| wrong())?;
        let alone = entries.iter().filter(|entry| entry["connections"] == 1);
        let users: BTreeSet<&str> = alone.filter_map(|entry| entry["user"].as_str()).collect();
        if users.len() != entries.len() {
            return Err(wrong());
        }
        Ok(Self { users: users.len(), more, time: Duration::ZERO })
    }

    /// Every member is in the list, or counted where it is cut.
    fn is_right(&self, members: usize) -> bool {
        self.users + self.more == members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(answer: &str) -> Result<(usize, usize), Failure> {
        Listed::parse(answer).map(|listed| (listed.users, listed.more))
    }

    #[test]
    fn a_list_has_each_user_once_and_says_how_many_are_left_out() {
        let head = "LHTTP/1.0 presence\r\nchannel:room\r\n";
        let users = r#"[{"user":"a","connections":1,"since":1},{"user":"b","connections":1,"since":1}]"#;
        assert_eq!(list(&format!("{head}\r\n{users}")).ok(), Some((2, 0)));
        assert_eq!(list(&format!("{head}more:7\r\n\r\n{users}")).ok(), Some((2, 7)));
        assert!(list(&format!("{head}\r\n{}", users.replace('b', "a"))).is_err(), "a user twice");
        assert!(list("LHTTP/1.0 error\r\ncode:404\r\n\r\n[]").is_err());
        let of_two = Listed::parse(&format!("{head}\r\n{users}")).expect("a list");
        assert!(of_two.is_right(2) && !of_two.is_right(3));
    }
}
