//! Watches the connection: tells the cores what is live and when nobody is to wait, counts what may be lost, and writes
//! the log's lines about all of it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Shared, drops::When, interest, link::Link, lock};

/// Subjects that begin so are the bridge's own; what comes on them is not for clients.
pub(super) const RESERVED: &str = "_lhttp.";
/// What the subject of a barrier begins with; its number follows. A subject with an empty token matches no subscription,
/// not even `>`, so the server itself answers a message to it: that nobody is there to take it, or, to a user whose
/// permissions list subjects (which this one can never be among), that it may not be published.
pub(super) const BARRIER: &str = "_lhttp..barrier.";
/// A server that has not answered for this long is not waited for.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(2);
/// A barrier that was not answered for this long is sent again: the client loses errors when many come at once, and to a
/// user who may not publish everything the answer is one.
const BARRIER_REPEATED_EVERY: Duration = Duration::from_millis(500);
/// A server of which nothing was confirmed for this long is asked, though nothing waits: so a node that only listens
/// learns that it is cut off.
const ASKED_EVERY: Duration = Duration::from_secs(3);
/// How often what was published is confirmed, and the log looked after.
const TICK: Duration = Duration::from_millis(500);

/// What the server has confirmed.
#[derive(Debug)]
pub(super) struct Progress {
    /// By core, the interests that NATS was asked for.
    subscribed: Vec<u64>,
    /// By core, the interests that are confirmed.
    answered: Vec<u64>,
    /// The number of the last message that is confirmed, or given up.
    confirmed: u64,
    /// The numbers of barriers behind that one: they are no messages.
    barriers: Vec<u64>,
}

impl Progress {
    pub(super) fn new(cores: usize) -> Self {
        Self { subscribed: vec![0; cores], answered: vec![0; cores], confirmed: 0, barriers: Vec::new() }
    }

    /// NATS was asked for this many interests of each core. Says whether that is news.
    pub(super) fn subscribed(&mut self, heard: Vec<u64>) -> bool {
        let is_news = heard != self.subscribed;
        self.subscribed = heard;
        is_news
    }

    /// NATS is to be asked anew for some interests: none is confirmed until it was.
    pub(super) fn retract(&mut self) {
        self.subscribed.fill(0);
    }

    /// Messages that the client has taken and the server has not confirmed.
    pub(super) fn unconfirmed(&self, link: &Link) -> u64 {
        self.unconfirmed_until(link.taken())
    }

    fn unconfirmed_until(&self, taken: u64) -> u64 {
        let barriers = self.barriers.iter().filter(|&&number| number <= taken).count() as u64;
        taken.saturating_sub(self.confirmed).saturating_sub(barriers)
    }

    fn confirm(&mut self, number: u64) {
        self.confirmed = self.confirmed.max(number);
        self.barriers.retain(|&barrier| barrier > number);
    }
}

/// How a barrier ended.
#[derive(Debug, PartialEq, Eq)]
enum Barrier {
    /// The server has taken in all that was sent before it.
    Confirmed,
    /// The server has not answered in time.
    Unanswered,
    /// The connection was lost.
    Cut,
}

/// The one who watches.
struct Watch {
    shared: Arc<Shared>,
    servers: String,
    inbox: String,
    /// What the cores were told last.
    is_online: bool,
}

/// Watches for ever.
pub(super) async fn run(shared: Arc<Shared>, servers: String, inbox: String) {
    // The command waits in the client until it is connected.
    let answers = match shared.client.subscribe(format!("{inbox}*")).await {
        Ok(answers) => answers,
        Err(error) => panic!("the NATS client does not take its own inbox: {error}"),
    };
    let hearing = hear(Arc::clone(&shared.link), inbox.clone(), answers);
    let watching = watch(shared, servers, inbox);
    tokio::select! {
        () = hearing => panic!("the NATS client has ended"),
        () = watching => {}
    }
}

async fn watch(shared: Arc<Shared>, servers: String, inbox: String) {
    let mut watch = Watch { shared, servers, inbox, is_online: false };
    loop {
        watch.wait_until_up().await;
        let epoch = watch.shared.link.epoch();
        watch.connected();
        watch.while_up(epoch).await;
        watch.disconnected();
    }
}

impl Watch {
    /// Waits for a connection, and tells why there is none: each reason once.
    async fn wait_until_up(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut told = String::new();
        while !shared.link.is_up() {
            let _ = timeout(TICK, shared.link.changed.notified()).await;
            if let Some(reason) = shared.link.failure()
                && reason != told
            {
                log::warn!("NATS: cannot connect to {}: {reason}; trying again and again", self.servers);
                told = reason;
            }
            shared.count(|_| {});
        }
        shared.link.forget_failure();
    }

    fn connected(&mut self) {
        self.shared.link.set_silent(false);
        let max_payload = self.shared.client.max_payload();
        self.shared.publish_bytes_max.store(max_payload, Ordering::Relaxed);
        self.shared.publishes.notify_one();
        match self.shared.take_publish_drops(When::Now) {
            None => log::info!("NATS: connected to {}", self.servers),
            Some((dropped, channel)) => log::warn!(
                "NATS: connected to {}; while it was away {dropped} messages for other nodes were dropped, for they did not fit nats-buffer; one of them on {channel}",
                self.servers,
            ),
        }
    }

    /// Counts what may be lost with the connection.
    fn disconnected(&mut self) {
        let lost = {
            let mut progress = lock(&self.shared.progress);
            let taken = self.shared.link.taken_at_cut();
            let lost = progress.unconfirmed_until(taken);
            progress.confirm(taken);
            lost
        };
        self.shared.count(|counts| {
            counts.nats_disconnects += 1;
            counts.nats_possibly_lost += lost;
        });
        self.tell_offline();
        if lock(&self.shared.table).ask_anew() {
            lock(&self.shared.progress).retract();
            self.shared.interest.notify_one();
        }
        log::warn!(
            "NATS: the connection is lost; {lost} messages were on their way and may not have arrived, the next ones wait in nats-buffer"
        );
    }

    /// Sends barriers when there is something to confirm, until the connection is lost.
    async fn while_up(&mut self, epoch: u64) {
        let shared = Arc::clone(&self.shared);
        let is_here = || shared.link.epoch() == epoch && shared.link.is_up();
        let mut confirmed_at = Instant::now();
        while is_here() {
            if !self.is_online
                || self.has_unanswered()
                || shared.link.wants_barrier()
                || lock(&shared.progress).unconfirmed(&shared.link) > 0
                || confirmed_at.elapsed() >= ASKED_EVERY
            {
                match self.barrier(epoch).await {
                    Barrier::Confirmed => confirmed_at = Instant::now(),
                    Barrier::Unanswered => self.unanswered(),
                    Barrier::Cut => return,
                }
            }
            interest::take_refusals(&shared);
            if is_here() && !self.has_unanswered() && !shared.link.wants_barrier() {
                let _ = timeout(TICK, shared.link.changed.notified()).await;
            }
            shared.log_drops(When::Due);
            shared.count(|_| {});
        }
    }

    /// Whether interest waits for its answer.
    fn has_unanswered(&self) -> bool {
        let progress = lock(&self.shared.progress);
        self.is_online && progress.subscribed != progress.answered
    }

    async fn barrier(&mut self, epoch: u64) -> Barrier {
        let shared = Arc::clone(&self.shared);
        let sent = tokio::select! {
            sent = timeout(BARRIER_TIMEOUT, self.send_barrier()) => sent,
            () = shared.link.wait_for_cut(epoch) => return Barrier::Cut,
        };
        let Ok(barrier) = sent else { return Barrier::Unanswered };
        // What holds at the moment at which the barrier has its place in the client's queue.
        let number = shared.link.hand();
        let subscribed = {
            let mut progress = lock(&shared.progress);
            progress.barriers.push(number);
            progress.subscribed.clone()
        };
        let deadline = Instant::now() + BARRIER_TIMEOUT;
        loop {
            match timeout(BARRIER_REPEATED_EVERY, shared.link.wait_for_barrier(barrier, epoch)).await {
                Ok(true) => {
                    lock(&shared.progress).confirm(number);
                    self.tell_answers(subscribed);
                    return Barrier::Confirmed;
                }
                // What was sent before the cut may be lost, though this be answered after it.
                Ok(false) => return Barrier::Cut,
                Err(_) if Instant::now() >= deadline => return Barrier::Unanswered,
                // The answer to a later one answers the first, too.
                Err(_) => {
                    if timeout_at(deadline, self.send_barrier()).await.is_ok() {
                        lock(&shared.progress).barriers.push(shared.link.hand());
                    }
                }
            }
        }
    }

    /// Gives the barrier's number.
    async fn send_barrier(&self) -> u64 {
        let number = self.shared.link.next_barrier();
        let (subject, reply) = (format!("{BARRIER}{number}"), format!("{}{number}", self.inbox));
        if let Err(error) = self.shared.client.publish_with_reply(subject, reply, Bytes::new()).await {
            log::debug!("NATS: a barrier is not taken: {error}");
        }
        number
    }

    /// The server has not answered although it is there: stopped, or overloaded.
    fn unanswered(&mut self) {
        if self.is_online {
            log::warn!("NATS: the server does not answer; until it does, what is published waits in nats-buffer");
            self.shared.link.set_silent(true);
            self.tell_offline();
        }
    }

    fn tell_offline(&mut self) {
        self.is_online = false;
        lock(&self.shared.inbound).be_absent();
        self.shared.deliveries.notify_one();
    }

    /// Tells each core of what is live, if that is news to it.
    fn tell_answers(&mut self, subscribed: Vec<u64>) {
        interest::take_refusals(&self.shared);
        if !self.is_online {
            interest::tell_refused(&self.shared); // the cores have forgotten it
        }
        let mut progress = lock(&self.shared.progress);
        let mut inbound = lock(&self.shared.inbound);
        for (core, &count) in subscribed.iter().enumerate() {
            if !self.is_online || progress.answered[core] != count {
                inbound.answer(core, count);
            }
        }
        drop(inbound);
        progress.answered = subscribed;
        if !self.is_online {
            self.is_online = true;
            self.shared.link.set_silent(false);
            self.shared.publishes.notify_one();
        }
        self.shared.deliveries.notify_one();
    }
}

/// Hears the answers to barriers, for as long as there is a client.
async fn hear(link: Arc<Link>, inbox: String, mut answers: Subscriber) {
    while let Some(answer) = answers.next().await {
        if let Some(Ok(number)) = answer.subject.strip_prefix(&inbox).map(str::parse) {
            link.barrier_answered(number);
        }
    }
}
