//! Watches the connection: tells the cores what is live and when nobody is to wait, counts what may be lost, moves to
//! another server before this one closes, and writes the log's lines about all of it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{
    Shared,
    drops::When,
    inbound::Inbound,
    link::{Link, random},
    lock,
    overlap::Overlap,
    server::{Asked, Command, Server},
    table::Table,
};

/// A server that has not answered for this long is not waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that was asked nothing for this long is asked whether it is there: so a node that only listens learns that it
/// is cut off.
const ASKED_EVERY: Duration = Duration::from_secs(3);
/// How often what was published is confirmed, and the log looked after.
const TICK: Duration = Duration::from_millis(500);
/// How often a move is tried, while the server that is to be left is still there.
const MOVE_EVERY: Duration = Duration::from_secs(1);
/// How long a move may take before clients are told that other nodes are away.
const MOVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long both connections bring messages, once the new one has confirmed all subscriptions: what other servers of the
/// cluster had sent to the old one has come by then.
const OVERLAP: Duration = Duration::from_millis(250);

/// What the server has confirmed, and what the cores were told of it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// By core, the interests that the server was asked to confirm last.
    asked: Vec<u64>,
    /// By core, the interests that are confirmed.
    answered: Vec<u64>,
    /// The number of the last message that is confirmed, or given up.
    confirmed: u64,
    /// Messages that the client had taken when it was looked at last.
    taken: u64,
    /// The cores count on other nodes.
    pub(super) is_online: bool,
}

impl Progress {
    /// The server is to be asked to confirm interests. Says whether it was not asked already.
    pub(super) fn ask(&mut self, heard: &[u64]) -> bool {
        let is_news = heard != self.asked;
        self.asked = heard.to_vec();
        is_news
    }

    /// What the server was asked it has not heard.
    pub(super) fn retract(&mut self) {
        self.asked.clear();
    }

    /// Messages that the client has taken and the server has not confirmed.
    pub(super) fn unconfirmed(&self, link: &Link) -> u64 {
        link.taken().saturating_sub(self.confirmed)
    }

    /// A client begins, which counts from 0.
    pub(super) fn begin(&mut self) {
        *self = Self { answered: std::mem::take(&mut self.answered), ..Self::default() };
    }

    /// The client has ended: gives how many messages it may have lost, as far as it is known.
    pub(super) fn give_up(&mut self) -> u64 {
        let lost = self.taken.saturating_sub(self.confirmed);
        self.begin();
        lost
    }
}

impl Shared {
    /// All messages up to this one have arrived, as has what was asked.
    pub(super) fn confirmed(&self, number: u64) {
        let mut progress = lock(&self.progress);
        progress.confirmed = progress.confirmed.max(number);
        drop(progress);
        self.link.changed.notify_one();
    }

    /// Tells each core of what is live, if that is news to it.
    pub(super) fn tell_answers(&self, table: &mut Table, inbound: &mut Inbound, heard: &[u64]) {
        let mut progress = lock(&self.progress);
        if !progress.is_online {
            table.tell_refused(); // the cores have forgotten it
            inbound.tell(&table.take_untold(), &table.take_accepted());
        }
        for (core, &count) in heard.iter().enumerate() {
            if !progress.is_online || progress.answered.get(core) != Some(&count) {
                inbound.answer(core, count);
            }
        }
        progress.answered = heard.to_vec();
        progress.is_online = true;
        self.link.set_silent(false);
        self.publishes.notify_one();
        self.moved.notify_waiters();
    }

    /// Clients are told that other nodes are away.
    fn tell_offline(&self) {
        let (mut table, mut inbound) = (lock(&self.table), lock(&self.inbound));
        let mut progress = lock(&self.progress);
        progress.is_online = false;
        progress.retract();
        table.forget_told();
        inbound.be_absent();
        inbound.send();
        self.interest.notify_one();
    }
}

/// Watches for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        wait_until_up(&shared).await;
        let epoch = shared.link.epoch();
        connected(&shared);
        while_up(&shared, epoch).await;
        disconnected(&shared);
    }
}

/// Waits for a connection, and tells why there is none: each reason once.
async fn wait_until_up(shared: &Shared) {
    let (mut told, since) = (String::new(), Instant::now());
    while !shared.link.is_up() {
        let _ = timeout(TICK, shared.link.changed.notified()).await;
        if let Some(reason) = shared.link.failure()
            && reason != told
        {
            log::warn!("NATS: cannot connect to {}: {reason}; trying again and again", shared.options.shown());
            told = reason;
        }
        if since.elapsed() > MOVE_TIMEOUT && lock(&shared.progress).is_online {
            shared.link.set_moving(false);
            shared.tell_offline();
        }
        shared.count(|_| {});
    }
    shared.link.forget_failure();
}

fn connected(shared: &Shared) {
    shared.link.set_silent(false);
    shared.take_publish_bytes_max(shared.client.max_payload());
    shared.publishes.notify_one();
    let server = shared.server().map_or_else(|| shared.options.shown(), |server| server.url.clone());
    if shared.link.is_moving() {
        log::info!("NATS: moved to {server}");
        return;
    }
    match shared.take_publish_drops(When::Now) {
        None => log::info!("NATS: connected to {server}"),
        Some((dropped, channel)) => log::warn!(
            "NATS: connected to {server}; while it was away {dropped} messages for other nodes were dropped, for they did not fit nats-buffer; one of them on {channel}",
        ),
    }
}

/// Counts what may be lost with the connection.
fn disconnected(shared: &Shared) {
    let lost = {
        let mut progress = lock(&shared.progress);
        let taken = shared.link.taken_at_cut();
        let lost = taken.saturating_sub(progress.confirmed);
        progress.confirmed = progress.confirmed.max(taken);
        progress.retract();
        lost
    };
    if shared.link.is_moving() && lost == 0 {
        return; // this was wanted
    }
    shared.link.set_moving(false);
    shared.count(|counts| {
        counts.nats_disconnects += 1;
        counts.nats_possibly_lost += lost;
    });
    shared.tell_offline();
    let (server, why) = shared.last_end();
    log::warn!(
        "NATS: the connection to {server} is lost ({why}); {lost} messages were on their way and may not have arrived, the next ones wait in nats-buffer"
    );
}

/// Asks the server when there is something to confirm, until the connection is lost.
async fn while_up(shared: &Arc<Shared>, epoch: u64) {
    let is_here = || shared.link.epoch() == epoch && shared.link.is_up();
    let (mut asked_at, mut moved_at) = (Instant::now(), None::<Instant>);
    while is_here() {
        let Some(server) = shared.server() else {
            let _ = timeout(TICK, shared.link.changed.notified()).await;
            continue;
        };
        if lock(&shared.progress).unconfirmed(&shared.link) > 0 || asked_at.elapsed() >= ASKED_EVERY {
            server.ask();
            asked_at = Instant::now();
        }
        lock(&shared.progress).taken = shared.link.taken();
        match server.owes_since() {
            Some(since) if since.elapsed() >= ANSWER_TIMEOUT => silent(shared),
            _ if shared.link.is_silent() => {
                // It answers again: the cores are told so when it has confirmed their interest.
                lock(&shared.progress).retract();
                shared.interest.notify_one();
            }
            _ => {}
        }
        let is_due = moved_at.is_none_or(|at| at.elapsed() >= MOVE_EVERY);
        if (server.is_lame.load(Ordering::Relaxed) || shared.options.is_rotated()) && is_due {
            let is_first = moved_at.replace(Instant::now()).is_none();
            move_on(shared, &server, is_first).await;
        }
        shared.log_drops(When::Due);
        shared.count(|_| {});
        let wait = if server.owes_since().is_some() { TICK / 4 } else { TICK };
        let _ = timeout(wait, shared.link.changed.notified()).await;
    }
}

/// The server has not answered although it is there: stopped, or overloaded.
fn silent(shared: &Shared) {
    if lock(&shared.progress).is_online {
        log::warn!("NATS: the server does not answer; until it does, what is published waits in nats-buffer");
        shared.link.set_silent(true);
        shared.tell_offline();
    }
}

/// Has the client connect to another server, or once more with other credentials. What it is given from now on waits; the
/// old connection goes on bringing messages until the new one does.
async fn move_on(shared: &Arc<Shared>, server: &Arc<Server>, is_first: bool) {
    let is_lame = server.is_lame.load(Ordering::Relaxed);
    let except = is_lame.then_some(server.url.as_str());
    match shared.dialer.prepare(&shared.options, except).await {
        Ok(()) if is_lame => log::info!("NATS: {} is about to close its connections", server.url),
        Ok(()) => log::info!("NATS: credentials have changed: connecting again"),
        Err(reason) => {
            if is_first {
                log::warn!("NATS: {} is to be left, but there is no other server: {reason}", server.url);
            }
            return;
        }
    }
    shared.link.set_moving(true);
    let arrived = async {
        while lock(&shared.progress).unconfirmed(&shared.link) > 0 || shared.link.unsent() > 0 {
            server.ask();
            let _ = timeout(TICK / 100, shared.link.changed.notified()).await;
        }
    };
    let _ = timeout(MOVE_TIMEOUT, arrived).await;
    server.is_leaving.store(true, Ordering::Relaxed);
    let of = random();
    lock(&shared.inbound).overlap = Some(Overlap::new(of));
    server.leave.notify_one();
    let (shared, server) = (Arc::clone(shared), Arc::clone(server));
    tokio::spawn(async move {
        shared.moved.notified().await;
        shared.link.set_moving(false);
        shared.publishes.notify_one();
        wait(OVERLAP).await;
        server.ended.notify_one();
        // The new one still brings what the old one has brought last.
        wait(OVERLAP).await;
        let overlap = &mut lock(&shared.inbound).overlap;
        if overlap.as_ref().is_some_and(|overlap| overlap.of == of) {
            *overlap = None;
        }
    });
}

async fn wait(duration: Duration) {
    let _ = timeout(duration, std::future::pending::<()>()).await;
}

/// Asks the server to confirm what the cores want, behind all that was asked before.
pub(super) fn ask_for_interest(shared: &Shared, server: &Server, heard: &[u64]) {
    if lock(&shared.progress).ask(heard) {
        server.command(Command::Ask(Asked::Interest(heard.to_vec())));
    }
}
