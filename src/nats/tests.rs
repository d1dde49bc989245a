//! The table with a simulated server of a few lines: whatever happens, each message comes to each name once.

mod sequences;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use mio::{Poll, Token};
use tokio::time::{Duration, Instant};

use crate::{
    config::Config,
    engine::{bridge_link::link_bridge, relay::Relays, wake::waker},
    protocol::channel,
    seeds::{Seed, seeds},
};

use super::{
    audience::{Audience, Target},
    lasting::{Ends, Lasting},
    stop::Stop,
    table::{News, State, Table},
    thread::{Bridge, Lent, live, runtime},
};

const CORES: u32 = 2;
const NAMES: [&str; 16] =
    ["a.0", "a.1", "a.2", "a.3", "a.4", "a.x.1", "a.*", "a.>", "a.*.1", "b.0", "c.0", "d.0", "*.0", ">", "solo", "*"];
const SUBJECTS: [&str; 12] =
    ["a.0", "a.1", "a.4", "a.9", "a.x.1", "b.0", "c.0", "d.0", "e.0", "solo", "other", "$SYS.x"];

#[derive(Debug)]
enum Command {
    Subscribe(u64, String),
    Unsubscribe(u64),
    Dissolve(Vec<u64>),
    Interest(Vec<u64>),
}

/// The table and its server. Commands are carried out one after the other, each with its answer, as it is on a connection.
struct World {
    table: Table,
    commands: VecDeque<Command>,
    subscribed: BTreeMap<u64, String>,
    denied: BTreeSet<String>,
    /// By core, the names that it wants, with the number of the interest.
    wanted: [BTreeMap<&'static str, u64>; CORES as usize],
    /// By core, the interests that the server was asked to confirm.
    asked: Vec<u64>,
    /// By core, the interests that the server has confirmed: clients count on them.
    answered: Vec<u64>,
    /// By core, the names of which it knows that nothing comes for them.
    told: [BTreeSet<String>; CORES as usize],
    is_online: bool,
    now: Instant,
    seed: u64,
}

impl World {
    fn new(seed: u64, names_max: usize) -> Self {
        let (table, now) = (Table::new(CORES as usize, names_max), Instant::now());
        let (commands, subscribed, denied) = (VecDeque::new(), BTreeMap::new(), BTreeSet::new());
        let (asked, answered) = (Vec::new(), vec![0; CORES as usize]);
        let (wanted, told) = (Default::default(), Default::default());
        Self { table, commands, subscribed, denied, wanted, asked, answered, told, is_online: false, now, seed }
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as usize % below
    }

    fn change_interest(&mut self) {
        let (core, name) = (self.random(CORES as usize), NAMES[self.random(NAMES.len())]);
        let is_wanted = !self.wanted[core].contains_key(name);
        self.set_interest(core, name, is_wanted);
        self.ask();
    }

    /// A core begins to want a name, or no longer wants it.
    fn set_interest(&mut self, core: usize, name: &'static str, is_wanted: bool) {
        let mut relays = Relays::new(0, 1);
        relays.add_bridge();
        let kind = channel::kind(name.as_bytes());
        if is_wanted {
            relays.announce(name.as_bytes(), kind);
        } else {
            relays.withdraw(name.as_bytes(), kind);
            self.wanted[core].remove(name);
            self.told[core].remove(name);
        }
        self.table.hear(core as u32, &relays.take_interest().expect("interest"), self.now);
        if is_wanted {
            self.wanted[core].insert(name, self.table.heard()[core]);
        }
    }

    /// The server has closed the connection. The cores no longer count on other nodes.
    fn go_offline(&mut self) {
        self.cut();
        self.is_online = false;
        self.table.forget_told();
        self.told = Default::default();
    }

    fn cut(&mut self) {
        self.commands.clear();
        self.subscribed.clear();
        self.asked.clear();
        self.answered.fill(0);
    }

    /// The server has closed the connection, and another begins.
    fn connect(&mut self) {
        self.cut();
        self.table.connected();
        self.ask();
    }

    /// Does the task's part of keeping the table.
    fn ask(&mut self) {
        self.table.expire(self.now);
        let leaving = self.table.narrow_again();
        while let Some((sid, name)) = self.table.ask() {
            self.commands.push_back(Command::Subscribe(sid, name.to_string()));
        }
        if !leaving.is_empty() {
            self.commands.push_back(Command::Dissolve(leaving));
        }
        self.end();
        if self.asked != self.table.heard() {
            self.asked = self.table.heard().to_vec();
            self.commands.push_back(Command::Interest(self.asked.clone()));
        }
        self.tell_news();
    }

    fn end(&mut self) {
        self.commands.extend(std::mem::take(&mut self.table.ended).into_iter().map(Command::Unsubscribe));
    }

    fn carry_out(&mut self) -> bool {
        match self.commands.pop_front() {
            None => return false,
            Some(Command::Subscribe(sid, name)) if self.denied.contains(&name) => {
                self.table.refuse_asked(sid);
                self.ask();
            }
            Some(Command::Subscribe(sid, name)) => {
                self.subscribed.insert(sid, name);
                self.table.confirm(sid);
            }
            Some(Command::Unsubscribe(sid)) => _ = self.subscribed.remove(&sid),
            Some(Command::Dissolve(wides)) => self.table.dissolve(&wides),
            Some(Command::Interest(heard)) => self.answer(heard),
        }
        self.end();
        self.tell_news();
        true
    }

    fn answer(&mut self, heard: Vec<u64>) {
        if !std::mem::replace(&mut self.is_online, true) {
            self.table.tell_refused();
        }
        self.answered = heard;
    }

    fn tell_news(&mut self) {
        let (untold, accepted) = (self.table.take_untold(), self.table.take_accepted());
        for core in 0..CORES as usize {
            let is_for = |(cores, ..): &&News| cores & (1 << core) != 0;
            self.told[core].extend(untold.iter().filter(is_for).map(|(_, name, _)| name.to_string()));
            accepted.iter().filter(is_for).for_each(|(_, name, _)| _ = self.told[core].remove(&**name));
        }
    }

    /// How often a message comes to each name of each core.
    fn copies(&self, subject: &str) -> BTreeMap<(usize, &'static str), usize> {
        let mut copies = BTreeMap::new();
        let matches = |name: &str| channel::matches(name.as_bytes(), subject.as_bytes());
        for (&sid, _) in self.subscribed.iter().filter(|(_, name)| matches(name)) {
            let Target::Cores(cores, audience) = self.table.target(sid, subject.as_bytes(), false) else { continue };
            for core in (0..CORES as usize).filter(|core| cores & (1 << core) != 0) {
                for &name in self.wanted[core].keys() {
                    let is_for = match audience {
                        Audience::Name(of, _) => of == name,
                        Audience::Channel(_, is_all) => {
                            let is_wild = channel::begins_with_wildcard(name.as_bytes());
                            matches(name) && (is_all || !is_wild)
                        }
                    };
                    *copies.entry((core, name)).or_default() += usize::from(is_for);
                }
            }
        }
        copies
    }

    fn check(&self, is_settled: bool) {
        for subject in SUBJECTS {
            let copies = self.copies(subject);
            for core in 0..CORES as usize {
                for (&name, &number) in &self.wanted[core] {
                    let count = copies.get(&(core, name)).copied().unwrap_or(0);
                    let is_due = channel::matches(name.as_bytes(), subject.as_bytes()) && !subject.starts_with('$');
                    assert!(count <= usize::from(is_due), "{subject} comes {count} times for {name}");
                    let state = self.table.find(name).expect("it is wanted").state;
                    if is_settled && is_due && state != State::Refused {
                        assert_eq!(count, 1, "{subject} for {name}, which is {state:?}");
                    }
                    if matches!(state, State::Live | State::Returned) && is_due {
                        assert_eq!(count, 1, "{subject} for {name}, which is confirmed");
                    }
                    if number <= self.answered[core] && !self.told[core].contains(name) && is_due {
                        assert_eq!(count, 1, "{subject} for {name}, whose subscribers count on it");
                    }
                }
            }
        }
    }

    fn settle(&mut self) {
        while self.carry_out() {}
        self.ask();
        while self.carry_out() {}
    }
}

#[test]
fn each_message_comes_once_to_each_name_however_subscriptions_widen_and_narrow() {
    let first = u64::from(rand::random::<u32>());
    for seed in seeds(first..first + 10) {
        let _seed = Seed(seed);
        let mut world = World::new(seed, 2 + (seed % 10) as usize);
        for _ in 0..250 {
            match world.random(12) {
                0..=5 => world.change_interest(),
                6..=8 => _ = world.carry_out(),
                9 => {
                    world.now += Duration::from_millis(700);
                    world.ask();
                }
                10 => {
                    let name = [NAMES[world.random(NAMES.len())], "a.>", "*", ">"][world.random(4)].to_owned();
                    if !world.denied.remove(&name) && world.denied.len() < 3 {
                        world.denied.insert(name);
                    }
                    world.table.retry();
                    world.ask();
                }
                _ if world.random(8) == 0 => {
                    if world.random(2) == 0 {
                        world.go_offline();
                        let (core, name) = (world.random(CORES as usize), NAMES[world.random(NAMES.len())]);
                        let is_wanted = !world.wanted[core].contains_key(name);
                        world.set_interest(core, name, is_wanted);
                    }
                    world.connect();
                }
                _ => world.settle(),
            }
            world.check(world.commands.is_empty());
        }
        let live = |world: &World| world.table.entries.values().filter(|entry| entry.state.is_narrow()).count();
        assert_eq!(world.table.narrow, live(&world), "the count is right");
        // All cores unsubscribe, and nothing is left at the server.
        for core in 0..CORES as usize {
            for name in world.wanted[core].clone().into_keys() {
                world.set_interest(core, name, false);
            }
        }
        world.now += Duration::from_secs(3);
        world.settle();
        assert!(world.table.entries.is_empty() && world.table.names.is_empty());
        assert_eq!((world.table.narrow, world.table.refused), (0, 0));
        world.settle();
        assert_eq!(world.subscribed, BTreeMap::new());
    }
}

#[test]
fn a_client_that_ends_or_panics_is_followed_by_another_until_the_bridge_stops() {
    let config = Config { nats: Some("127.0.0.1:1".into()), ..Config::default() };
    let prepared = Bridge::prepare(&config, 1 << 30).expect("it is sound");
    let poll = Poll::new().expect("a poll");
    let wake = waker(poll.registry(), Token(0)).expect("a waker");
    let (downlink, core) = link_bridge(&prepared.uplink, 1, wake);
    let ends = Ends {
        downlinks: vec![downlink],
        operators: None,
        stats: Arc::default(),
        publish_bytes_max: Arc::default(),
        outbox_bytes_max: Arc::default(),
    };
    let lasting = Box::new(Lasting::new(prepared, ends));
    let begun = std::cell::Cell::new(0);
    let run = |lent: Lent, _: Arc<Stop>| {
        begun.set(begun.get() + 1);
        let number = begun.get();
        async move {
            let _lent = lent;
            match number {
                1 => panic!("as a parser may"),
                2 => Err("it has ended".to_owned()),
                _ => Ok(()),
            }
        }
    };
    let lasting = live(runtime().expect("a runtime"), lasting, &Arc::default(), run);
    assert_eq!((begun.get(), lasting.counts.nats_restarts), (3, 2));
    assert_eq!(core.waiting(), 2, "the core was told each time that there is no other node");
}
