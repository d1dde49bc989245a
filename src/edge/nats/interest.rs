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
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    engine::relay::{self, Item},
    protocol::channel::Kind,
};

use super::{Shared, inbound, lock};

/// How long a subscription outlives its last subscriber, so that a crowd that reconnects does not end and make it again.
const LINGER: Duration = Duration::from_secs(2);
/// Subscriptions that linger at once; past it the oldest ends early.
const LINGERING_MAX: usize = 4096;

/// All names that a core wants, and those that linger.
pub(super) struct Table {
    names: HashMap<Box<str>, Entry>,
    /// Names that have no subscription yet, in the order in which they were wanted.
    wanted: Vec<Box<str>>,
    lingering: VecDeque<(Instant, Box<str>)>,
    /// By core, how many of its interests have come.
    heard: Vec<u64>,
}

struct Entry {
    kind: Kind,
    /// A bit for each core that wants it; inbound reads it.
    cores: Arc<AtomicU64>,
    /// The task that receives.
    task: Option<AbortHandle>,
    lingers_until: Option<Instant>,
}

impl Table {
    pub(super) fn new(cores: usize) -> Self {
        Self { names: HashMap::new(), wanted: Vec::new(), lingering: VecDeque::new(), heard: vec![0; cores] }
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
            return;
        }
        let cores = Arc::new(AtomicU64::new(1 << core));
        self.names.insert(name.into(), Entry { kind, cores, task: None, lingers_until: None });
        self.wanted.push(name.into());
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
            && let Some(task) = entry.task
        {
            task.abort(); // which drops the subscriber, which unsubscribes
        }
    }

    fn subscriptions(&self) -> u64 {
        self.names.len() as u64
    }
}

/// Keeps the table, and subscribes.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        hear(&shared);
        let (wanted, heard) = {
            let mut table = lock(&shared.table);
            (std::mem::take(&mut table.wanted), table.heard.clone())
        };
        for name in wanted {
            subscribe(&shared, name).await;
        }
        if lock(&shared.progress).subscribed(heard) {
            shared.link.changed.notify_one();
        }
        let (is_done, next) = {
            let table = lock(&shared.table);
            (table.wanted.is_empty(), table.lingering.front().map(|(until, _)| *until))
        };
        if is_done {
            wait(&shared, next).await;
        }
    }
}

/// Waits for interest, or for the time at which something has lingered long enough.
async fn wait(shared: &Shared, next: Option<Instant>) {
    let expiry = async {
        match next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shared.interest.notified() => {}
        () = expiry => {}
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
    let subscriptions = table.subscriptions();
    drop(table);
    shared.count(|counts| counts.nats_subscriptions = subscriptions);
}

/// Subscribes to one name, if it is still wanted. While NATS does not take it, interest is still heard.
async fn subscribe(shared: &Arc<Shared>, name: Box<str>) {
    let (kind, cores) = match lock(&shared.table).names.get(&name) {
        Some(entry) if entry.task.is_none() => (entry.kind, Arc::clone(&entry.cores)),
        _ => return, // given up, or given up and wanted anew
    };
    let mut subscribing = std::pin::pin!(shared.client.subscribe(name.to_string()));
    let subscriber = loop {
        tokio::select! {
            subscriber = &mut subscribing => break subscriber,
            () = shared.interest.notified() => hear(shared),
        }
    };
    match subscriber {
        Ok(subscriber) => {
            let receive = inbound::receive(Arc::clone(shared), name.clone(), kind, Arc::clone(&cores), subscriber);
            let task = tokio::spawn(receive).abort_handle();
            match lock(&shared.table).names.get_mut(&name) {
                Some(entry) if Arc::ptr_eq(&entry.cores, &cores) => entry.task = Some(task),
                _ => task.abort(), // it was given up meanwhile
            }
        }
        Err(error) => log::error!("NATS: cannot subscribe to {name}: {error}"),
    }
}
