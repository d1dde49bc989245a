//! `hold`: connections that another program opens and closes by commands, for `tools/deploy/one-gb`.

use std::{
    io::{self, BufRead, Write},
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};

use super::at_least_one;
use crate::{
    bench::{Bench, Target},
    connection::PORTS_PER_ADDRESS,
    dialect::Role,
    failure::Failure,
    load::Load,
    opening::Rush,
};

/// How long a turn waits for events, and so a command for its answer.
const TURN: Duration = Duration::from_millis(20);
/// Processes whose source addresses do not overlap.
const PROCESSES_MAX: usize = 16;

/// The arguments of `hold`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct HoldArgs {
    /// How many connections
    #[arg(short, default_value_t = 10_000, value_name = "N", value_parser = at_least_one)]
    pub(crate) n: usize,
    /// How many of them share a channel
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = at_least_one)]
    pub(crate) per_channel: usize,
    /// How many open at the same time
    #[arg(long, default_value_t = 3000, value_name = "N", value_parser = at_least_one)]
    pub(crate) at_once: usize,
    /// The number of this process among those that hold connections to the same server, for its channels and source
    /// addresses
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u8).range(..PROCESSES_MAX as i64))]
    pub(crate) index: u8,
}

/// Runs `hold` until stdin ends.
pub(crate) fn run(bench: &Bench, target: &Target, args: HoldArgs) -> Result<(), Failure> {
    bench.check_descriptors(args.n)?;
    let commands = commands();
    let mut holder = Holder { bench, target, args, load: bench.load(target)?, rounds: 0 };
    loop {
        match commands.try_recv() {
            Ok(command) => {
                let answer = match command.trim() {
                    "open" => holder.open()?,
                    "close" => holder.close()?,
                    "status" => json!({"lost": holder.load.lost}),
                    other => return Err(Failure::Usage(format!("{other:?} is not open, close or status"))),
                };
                let written = writeln!(io::stdout(), "{answer}").and_then(|()| io::stdout().flush());
                written.map_err(Failure::io("stdout"))?;
            }
            Err(TryRecvError::Empty) => holder.load.turn(Some(TURN), None)?,
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

/// The lines of stdin. The thread ends with them.
fn commands() -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Holder<'a> {
    bench: &'a Bench,
    target: &'a Target,
    args: HoldArgs,
    load: Load,
    rounds: usize,
}

impl Holder<'_> {
    /// Opens all. A connection that the server refuses tries again.
    fn open(&mut self) -> Result<Value, Failure> {
        let args = self.args;
        let mut load = self.bench.load(self.target)?;
        // The ports of the addresses before are not free at once.
        let addresses = args.n.div_ceil(PORTS_PER_ADDRESS);
        let share = (self.rounds * PROCESSES_MAX + usize::from(args.index)) * addresses;
        load.source = share * PORTS_PER_ADDRESS;
        load.refused = Some(Vec::new());
        self.rounds += 1;
        let role = |number: usize| Role::subscriber(&format!("idle{}-{}", args.index, number / args.per_channel));
        let roles: Vec<Role> = (0..args.n).map(role).collect();
        let rush = Rush { at_once: args.at_once, starts: args.at_once, patience: TURN };
        let start = Instant::now();
        load.rush(&roles, 0, rush, |_| Ok(()))?;
        let seconds = start.elapsed().as_secs_f64();
        let answer = json!({"live": load.opened - load.lost, "refused": load.refusals, "seconds": seconds});
        self.load = load;
        Ok(answer)
    }

    fn close(&mut self) -> Result<Value, Failure> {
        self.load = self.bench.load(self.target)?;
        Ok(json!({}))
    }
}
