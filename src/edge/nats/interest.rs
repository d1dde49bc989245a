//! What the cores want of other nodes, and a NATS subscription for each name of it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use crate::{
    engine::relay::{self, Item},
    protocol::channel::Kind,
};

use super::{Shared, drops::Tally, inbound, lock};

/// How long a subscription outlives its last subscriber, so that a crowd that reconnects does not end and make it again.
const LINGER: Duration = Duration::from_secs(2);
/// Subscriptions that linger at once; past it the oldest ends early.
const LINGERING_MAX: usize = 4096;
/// Subscriptions that NATS was asked for since it answered last. It may refuse all of them, and the client loses errors
/// when more than 128 come at once.
const UNANSWERED_MAX: u32 = 64;

/// All names that a core wants, and those that linger.
pub(super) struct Table {
    names: HashMap<Box<str>, Entry>,
    /// Names that have no subscription yet, in the order in which they were wanted.
    wanted: Vec<Box<str>>,
    lingering: VecDeque<(Instant, Box<str>)>,
    /// By core, how many of its interests have come.
    heard: Vec<u64>,
    /// Interest in what was refused, whose core is still to be told so.
    untold: Vec<(u32, Box<str>, Kind)>,
    /// Times that NATS was to be asked anew.
    rounds: u64,
    /// How many of the names are refused.
    refused: usize,
    /// How many of the others there may be.
    names_max: usize,
    /// Names that were too many.
    pub(super) beyond: Tally,
}

struct Entry {
    kind: Kind,
    /// A bit for each core that wants it; inbound reads it.
    cores: Arc<AtomicU64>,
    /// The task that receives.
    task: Option<AbortHandle>,
    lingers_until: Option<Instant>,
    /// NATS does not let this node subscribe to it, or it was one too many: NATS is asked on the next connection.
    is_refused: bool,
}

impl Table {
    pub(super) fn new(cores: usize, names_max: usize) -> Self {
        Self {
            names: HashMap::new(),
            wanted: Vec::new(),
            lingering: VecDeque::new(),
            heard: vec![0; cores],
            untold: Vec::new(),
            rounds: 0,
            refused: 0,
            names_max,
            beyond: Tally::default(),
        }
    }

    /// Takes one core's interest in.
    fn hear(&mut self, core: u32, mut batch: &[u8], now: Instant) {
        while let Some(item) = relay::next(&mut batch) {
            let Item::Interest { name, kind, interested } = item else { continue };
            let Ok(name) = std::str::from_utf8(name) else { continue }; // heads are UTF-8
            if interested {
                self.heard[core as usize] += 1;
                self.want(core, name, kind);
            } else {
                self.leave(core, name, now);
            }
        }
    }

    fn want(&mut self, core: u32, name: &str, kind: Kind) {
        if let Some(entry) = self.names.get_mut(name) {
            entry.lingers_until = None;
            entry.cores.fetch_or(1 << core, Ordering::Relaxed);
            if entry.is_refused {
                self.untold.push((core, name.into(), kind));
            }
            return;
        }
        let cores = Arc::new(AtomicU64::new(1 << core));
        let is_refused = self.is_full();
        self.names.insert(name.into(), Entry { kind, cores, task: None, lingers_until: None, is_refused });
        if is_refused {
            self.refused += 1;
            self.beyond.add(name);
            self.untold.push((core, name.into(), kind));
        } else {
            self.wanted.push(name.into());
        }
    }

    fn leave(&mut self, core: u32, name: &str, now: Instant) {
        let Some(entry) = self.names.get_mut(name) else { return };
        if entry.cores.fetch_and(!(1 << core), Ordering::Relaxed) != 1 << core {
            return;
        }
        entry.lingers_until = Some(now + LINGER);
        self.lingering.push_back((now + LINGER, name.into()));
        if self.lingering.len() > LINGERING_MAX
            && let Some((until, name)) = self.lingering.pop_front()
        {
            self.end(&name, until);
        }
    }

    /// Ends what has lingered long enough.
    fn expire(&mut self, now: Instant) {
        while self.lingering.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((until, name)) = self.lingering.pop_front() {
                self.end(&name, until);
            }
        }
    }

    /// Ends a subscription, unless it was wanted again since it began to linger.
    fn end(&mut self, name: &str, until: Instant) {
        if self.names.get(name).is_some_and(|entry| entry.lingers_until == Some(until))
            && let Some(entry) = self.names.remove(name)
        {
            self.refused -= usize::from(entry.is_refused);
            if let Some(task) = entry.task {
                task.abort(); // which drops the subscriber, which unsubscribes
            }
        }
    }

    /// Gives the cores that are to be told of it.
    fn refuse(&mut self, name: &str) -> Option<(u64, Kind)> {
        let entry = self.names.get_mut(name)?;
        self.refused += usize::from(!std::mem::replace(&mut entry.is_refused, true));
        if let Some(task) = entry.task.take() {
            task.abort();
        }
        Some((entry.cores.load(Ordering::Relaxed), entry.kind))
    }

    /// NATS is asked once more for what it has refused. Says whether there is anything.
    pub(super) fn ask_anew(&mut self) -> bool {
        let room = self.names_max.saturating_sub(self.names.len() - self.refused).min(self.refused);
        self.refused -= room;
        for (name, entry) in self.names.iter_mut().filter(|(_, entry)| entry.is_refused).take(room) {
            entry.is_refused = false;
            self.wanted.push(name.clone());
        }
        self.rounds += u64::from(room > 0);
        room > 0
    }

    fn subscriptions(&self) -> u64 {
        (self.names.len() - self.refused) as u64
    }

    /// No more names are asked of NATS: each takes memory.
    fn is_full(&self) -> bool {
        self.names.len() - self.refused >= self.names_max
    }
}

/// Keeps the table, and subscribes.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut unanswered = 0;
    let mut receivers = JoinSet::new();
    loop {
        hear(&shared);
        let (wanted, heard, round) = {
            let mut table = lock(&shared.table);
            (std::mem::take(&mut table.wanted), table.heard.clone(), table.rounds)
        };
        for name in wanted {
            if unanswered == UNANSWERED_MAX {
                hear_until(&shared, shared.link.wait_until_taken()).await;
                unanswered = 0;
            }
            subscribe(&shared, &mut receivers, name).await;
            unanswered += 1;
        }
        let is_asked = lock(&shared.table).rounds == round;
        if is_asked && lock(&shared.progress).subscribed(heard) {
            shared.link.changed.notify_one();
        }
        let (is_done, next) = {
            let table = lock(&shared.table);
            (table.wanted.is_empty(), table.lingering.front().map(|(until, _)| *until))
        };
        if is_done {
            wait(&shared, &mut receivers, next).await;
        }
    }
}

/// Waits for interest, or for the time at which something has lingered long enough.
async fn wait(shared: &Shared, receivers: &mut JoinSet<()>, next: Option<Instant>) {
    while let Some(ended) = receivers.try_join_next() {
        check(ended);
    }
    let expiry = async {
        match next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shared.interest.notified() => {}
        () = expiry => {}
        Some(ended) = receivers.join_next() => check(ended),
    }
}

/// A receiver ends when it is aborted. If it ends otherwise its name would be dead without anybody's notice: so the bridge
/// ends, and with it the server, which whoever watches over it can start again.
fn check(ended: Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_cancelled() => {}
        Err(error) => panic!("what receives from NATS has ended: {error}"),
        Ok(()) => panic!("the NATS client has ended"),
    }
}

/// Takes in all interest that has come.
fn hear(shared: &Shared) {
    let mut table = lock(&shared.table);
    let now = Instant::now();
    while let Some((core, batch)) = shared.uplink.take_interest() {
        table.hear(core, &batch, now);
    }
    table.expire(now);
    let (subscriptions, refused) = (table.subscriptions(), table.refused as u64);
    let untold = std::mem::take(&mut table.untold);
    drop(table);
    tell(shared, untold.iter().map(|(core, name, kind)| (1 << core, &**name, *kind)));
    shared.count(|counts| {
        counts.nats_subscriptions = subscriptions;
        counts.nats_subscriptions_refused = refused;
    });
}

/// Tells cores that nothing will come for a name, before their interest in it is answered.
fn tell<'n>(shared: &Shared, refused: impl Iterator<Item = (u64, &'n str, Kind)>) {
    let mut inbound = lock(&shared.inbound);
    refused.for_each(|(cores, name, kind)| inbound.refuse(cores, name, kind));
    drop(inbound);
    shared.deliveries.notify_one();
}

/// Takes in what NATS has refused.
pub(super) fn take_refusals(shared: &Shared) {
    let names = std::mem::take(&mut lock(&shared.link.refusals).names);
    for name in names {
        refuse(shared, &name);
    }
}

fn refuse(shared: &Shared, name: &str) {
    let (told, refused) = {
        let mut table = lock(&shared.table);
        (table.refuse(name), table.refused as u64)
    };
    shared.count(|counts| counts.nats_subscriptions_refused = refused);
    if let Some((cores, kind)) = told {
        tell(shared, std::iter::once((cores, name, kind)));
    }
}

/// Tells the cores of all that is refused.
pub(super) fn tell_refused(shared: &Shared) {
    let table = lock(&shared.table);
    if table.refused == 0 {
        return;
    }
    let refused = table.names.iter().filter(|(_, entry)| entry.is_refused);
    tell(shared, refused.map(|(name, entry)| (entry.cores.load(Ordering::Relaxed), &**name, entry.kind)));
}

/// Waits for something. Meanwhile interest is still heard.
async fn hear_until<T>(shared: &Shared, waited_for: impl Future<Output = T>) -> T {
    let mut waited_for = std::pin::pin!(waited_for);
    loop {
        tokio::select! {
            value = &mut waited_for => return value,
            () = shared.interest.notified() => hear(shared),
        }
    }
}

/// Subscribes to one name, if it is still wanted. While NATS does not take it, interest is still heard.
async fn subscribe(shared: &Arc<Shared>, receivers: &mut JoinSet<()>, name: Box<str>) {
    let (kind, cores) = match lock(&shared.table).names.get(&name) {
        Some(entry) if entry.task.is_none() && !entry.is_refused => (entry.kind, Arc::clone(&entry.cores)),
        _ => return, // given up, or given up and wanted anew
    };
    match hear_until(shared, shared.client.subscribe(name.to_string())).await {
        Ok(subscriber) => {
            let receive = inbound::receive(Arc::clone(shared), name.clone(), kind, Arc::clone(&cores), subscriber);
            let task = receivers.spawn(receive);
            match lock(&shared.table).names.get_mut(&name) {
                Some(entry) if Arc::ptr_eq(&entry.cores, &cores) && !entry.is_refused => entry.task = Some(task),
                _ => task.abort(), // it was given up meanwhile, or refused
            }
        }
        // If it is the client that has ended, the watch notices.
        Err(error) => {
            log::error!("NATS: cannot subscribe to {name}: {error}");
            refuse(shared, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_ends_by_itself_ends_the_bridge() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ends = |receiver: fn() -> JoinSet<()>| {
            let watched = async move { check(receiver().join_next().await.expect("a task")) };
            runtime.block_on(async { tokio::spawn(watched).await.is_err() })
        };
        assert!(ends(|| JoinSet::from_iter([async { panic!("as it must not") }])), "it has panicked");
        assert!(ends(|| JoinSet::from_iter([async {}])), "it has nothing to receive any more");
        let aborted = || {
            let mut receivers = JoinSet::from_iter([std::future::pending()]);
            receivers.abort_all();
            receivers
        };
        assert!(!ends(aborted), "its name is given up");
    }
}
