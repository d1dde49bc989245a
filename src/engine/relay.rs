//! The messages between cores: publishes, interest, and answers to interest.
//!
//! A turn's items for one peer are concatenated into one batch: one `Vec` and one channel item for each turn. Batches
//! of a link arrive in order, and none is lost. So a peer's replica of our interest equals our last announcement, and
//! the publishes of a connection reach every core in the order in which they were sent.

mod cluster;
mod history;
mod item;
mod members;
mod presence;
mod unsaid;

use std::collections::VecDeque;

use crate::{config::memory, engine::subscriptions::PEERS_MAX, protocol::channel::Kind};

#[cfg_attr(not(feature = "nats"), allow(unused_imports))] // only the bridge uses it
pub(crate) use self::cluster::put as put_cluster;
pub(crate) use self::cluster::{ClusterItem, StreamMessage, Way};
use self::history::{CREDIT_BYTES, Credit};
pub(crate) use self::history::{HistoryItem, MissedPart, Since, Store, Wish};
use self::item::{CAUGHT_UP, INTEREST, NO_INTEREST, PUBLISH, STOPPING, interest_len, put_interest, set_answered};
pub(crate) use self::item::{Item, messages, names, next, put_answered, put_short, take_name};
#[cfg_attr(not(feature = "nats"), allow(unused_imports))] // only the bridge uses these
pub(crate) use self::item::{put_absent, put_accepted, put_delivery, put_refused, put_wide};
#[cfg_attr(not(feature = "nats"), allow(unused_imports))] // only the bridge uses it
pub(crate) use self::members::put as put_member;
pub(crate) use self::members::{Member, MemberItem, OWN};
pub(crate) use self::presence::PresenceItem;
use self::unsaid::Unsaid;
pub(crate) use self::unsaid::Word;

/// A batch that the link has not taken grows up to this size, in bytes, and by the rest of a full turn. Then the link
/// is congested, and messages that need it wait.
pub(crate) const BATCH_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(BATCH_BYTES_MAX <= memory::BATCH_BYTES);

/// A batch for the bridge that has reached this size, in bytes, is complete, and another one begins. If there is no
/// room for all of them, whole batches are dropped.
pub(crate) const BRIDGE_BATCH_BYTES: usize = 16 * 1024;

/// The answer of an absent peer: everything, so that nothing waits for it.
const ALL: u64 = u64::MAX;

/// One peer, as this core sees it.
#[derive(Debug, Default)]
struct Peer {
    /// The items that it gets at the end of the turn.
    batch: Vec<u8>,
    /// The number of our interests that it has answered.
    answered: u64,
    /// The number of its interests that have reached us.
    heard: u64,
    /// Whether we still have to send it `heard`.
    owes_answer: bool,
    /// Where the answer in `batch` begins, if there is one. A later answer replaces it, so that answers do not make a
    /// batch grow that the link does not take. It then stands before later publishes, which is correct: the peer acts
    /// on an answer only after it has the whole batch.
    answer_at: Option<usize>,
    /// `answer_at` of the last batch that was taken, in case it is given back.
    given_answer_at: Option<usize>,
    /// The publishes that are handed over to be kept.
    credit: Credit,
}

/// A core's side of the links to all its peers.
#[derive(Debug)]
pub(crate) struct Relays {
    /// By the peer's number; `None` for the core itself.
    peers: Vec<Option<Peer>>,
    /// The number of interests that were sent to every peer so far.
    announced: u64,
    /// A bit for each peer whose batch is over `batch_bytes_max`, and for the bridge if it has not taken its interest.
    /// The core's own bit is set after it has announced that it is stopping.
    congested: u64,
    /// A bit for each peer that has not confirmed many bytes of publishes.
    without_credit: u64,
    own_bit: u64,
    /// The peer cores that may still publish what they were asked to before the end began.
    catching_up: Unsaid,
    /// Those that may still publish.
    publishing: Unsaid,
    /// [`BATCH_BYTES_MAX`], but for tests.
    pub(crate) batch_bytes_max: usize,
    /// [`CREDIT_BYTES`], but for tests.
    pub(crate) credit_bytes: u64,
    /// The peer that is the bridge to other nodes.
    bridge: Option<Bridge>,
    /// A bit for the bridge, if there is one: it wants every publish.
    bridge_bit: u64,
}

/// The bridge takes its publishes from [`Peer::batch`] as other peers do. It may lose some of them, but no interest.
#[derive(Debug)]
struct Bridge {
    number: u32,
    /// Batches of this turn that have reached [`BRIDGE_BATCH_BYTES`], oldest first. [`Peer::batch`] comes after them.
    full: VecDeque<Vec<u8>>,
    interest: Vec<u8>,
}

impl Relays {
    /// The links of core `own` among `cores`.
    ///
    /// # Panics
    /// If there are more than [`PEERS_MAX`].
    pub(crate) fn new(own: u32, cores: u32) -> Self {
        assert!(cores <= PEERS_MAX, "{cores} cores, at most {PEERS_MAX}");
        let peers = (0..cores).map(|peer| (peer != own).then(Peer::default)).collect();
        let publishing = (0..cores).filter(|&peer| peer != own).fold(0, |bits, peer| bits | 1 << peer);
        Self {
            peers,
            announced: 0,
            congested: 0,
            without_credit: 0,
            own_bit: 1 << own,
            catching_up: Unsaid::new(publishing),
            publishing: Unsaid::new(publishing),
            batch_bytes_max: BATCH_BYTES_MAX,
            credit_bytes: CREDIT_BYTES,
            bridge: None,
            bridge_bit: 0,
        }
    }

    /// Adds the bridge as one more peer, absent at first. Returns its number.
    ///
    /// # Panics
    /// If there are [`PEERS_MAX`] already.
    pub(crate) fn add_bridge(&mut self) -> u32 {
        let number = self.peers.len() as u32;
        assert!(number < PEERS_MAX && self.bridge.is_none(), "a bridge beside {number} peers");
        self.peers.push(Some(Peer { answered: ALL, ..Peer::default() }));
        self.bridge = Some(Bridge { number, full: VecDeque::new(), interest: Vec::new() });
        self.bridge_bit = 1 << number;
        number
    }

    /// Whether there is a peer to which interest must be announced.
    pub(crate) fn has_peers(&self) -> bool {
        self.peers.len() > 1
    }

    /// A bit for each peer that wants every publish: the bridge's, or none.
    pub(crate) fn always_interested(&self) -> u64 {
        self.bridge_bit
    }

    /// Whether there are other nodes, and the bridge has lost them.
    pub(crate) fn is_offline(&self) -> bool {
        let bridge = self.bridge.as_ref().and_then(|bridge| self.peers[bridge.number as usize].as_ref());
        bridge.is_some_and(|peer| peer.answered == ALL)
    }

    /// Takes the interest for the bridge at the end of a turn, if there is any.
    pub(crate) fn take_interest(&mut self) -> Option<Vec<u8>> {
        let interest = &mut self.bridge.as_mut()?.interest;
        self.congested &= !self.bridge_bit;
        (!interest.is_empty()).then(|| std::mem::take(interest))
    }

    /// Takes back interest that the bridge cannot take yet. It goes on growing.
    pub(crate) fn give_back_interest(&mut self, interest: Vec<u8>) {
        let Some(bridge) = &mut self.bridge else { return };
        bridge.interest = interest;
        self.congested |= self.bridge_bit;
    }

    /// The bytes of an interest in each batch.
    pub(crate) fn interest_len(&self, name: &[u8]) -> usize {
        if self.has_peers() { interest_len(name) } else { 0 }
    }

    /// Announces our interest to every peer. It is live when [`Relays::live`] has reached the returned number.
    pub(crate) fn announce(&mut self, name: &[u8], kind: Kind) -> u64 {
        self.tell_interest(INTEREST, name, kind);
        self.announced += 1;
        self.announced
    }

    /// Tells every peer that our last subscriber is gone. Returns the bytes that this takes in each batch.
    pub(crate) fn withdraw(&mut self, name: &[u8], kind: Kind) -> usize {
        self.tell_interest(NO_INTEREST, name, kind);
        self.interest_len(name)
    }

    fn tell_interest(&mut self, tag: u8, name: &[u8], kind: Kind) {
        let cores = self.cores();
        for peer in self.peers[..cores].iter_mut().flatten() {
            put_interest(&mut peer.batch, tag, name, kind);
        }
        if let Some(bridge) = &mut self.bridge {
            put_interest(&mut bridge.interest, tag, name, kind);
        }
    }

    /// The number of cores, including this one. The bridge has the next number.
    pub(crate) fn cores(&self) -> usize {
        self.bridge.as_ref().map_or(self.peers.len(), |bridge| bridge.number as usize)
    }

    /// The number up to which all interests are in the tables of the other cores, whether the bridge has answered or
    /// not.
    pub(crate) fn known(&self) -> u64 {
        self.peers[..self.cores()].iter().flatten().map(|peer| peer.answered).min().unwrap_or(ALL)
    }

    /// Hands a frame to one peer for its subscribers of these channels.
    pub(crate) fn publish<'n>(&mut self, peer: u32, channels: impl Iterator<Item = &'n [u8]>, frame: &[u8]) {
        let Some(entry) = &mut self.peers[peer as usize] else { return };
        let batch = &mut entry.batch;
        batch.push(PUBLISH);
        let at = batch.len();
        batch.extend_from_slice(&[0; 4]);
        channels.for_each(|name| put_short(batch, name));
        let len = (batch.len() - at - 4) as u32;
        batch[at..at + 4].copy_from_slice(&len.to_le_bytes());
        batch.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        batch.extend_from_slice(frame);
        if batch.len() >= BRIDGE_BATCH_BYTES
            && let Some(bridge) = &mut self.bridge
            && bridge.number == peer
        {
            // The next batch will be as large, so it gets its capacity at once.
            bridge.full.push_back(std::mem::replace(batch, Vec::with_capacity(BRIDGE_BATCH_BYTES + frame.len())));
        }
    }

    /// Notes that a peer's interest has reached our replica. The turn's end answers it.
    pub(crate) fn heard_interest(&mut self, peer: u32) {
        if let Some(peer) = &mut self.peers[peer as usize] {
            peer.heard += 1;
            peer.owes_answer = true;
        }
    }

    /// Notes a peer's answer.
    pub(crate) fn answered(&mut self, peer: u32, count: u64) {
        if let Some(peer) = &mut self.peers[peer as usize] {
            peer.answered = count;
        }
    }

    /// Lets nothing wait for a peer until it answers again.
    pub(crate) fn absent(&mut self, peer: u32) {
        self.answered(peer, ALL);
    }

    /// The number up to which all interests are live: every peer has answered them.
    pub(crate) fn live(&self) -> u64 {
        self.peers.iter().flatten().map(|peer| peer.answered).min().unwrap_or(ALL)
    }

    /// Takes the batch for a peer at the end of a turn, if there is one. If the link is full, give the batch back. For
    /// the bridge there may be more than one batch.
    pub(crate) fn take(&mut self, peer: u32) -> Option<Vec<u8>> {
        if let Some(bridge) = &mut self.bridge
            && bridge.number == peer
            && let Some(full) = bridge.full.pop_front()
        {
            return Some(full);
        }
        self.tell_credit(peer);
        let entry = self.peers[peer as usize].as_mut()?;
        if std::mem::take(&mut entry.owes_answer) {
            match entry.answer_at {
                Some(at) => set_answered(&mut entry.batch[at..], entry.heard),
                None => {
                    entry.answer_at = Some(entry.batch.len());
                    put_answered(&mut entry.batch, entry.heard);
                }
            }
        }
        self.congested &= !(1 << peer) | self.bridge_bit;
        entry.given_answer_at = entry.answer_at.take();
        (!entry.batch.is_empty()).then(|| std::mem::take(&mut entry.batch))
    }

    /// Takes back a batch that did not fit into its link. It goes on growing.
    pub(crate) fn give_back(&mut self, peer: u32, batch: Vec<u8>) {
        let Some(entry) = &mut self.peers[peer as usize] else { return };
        if batch.len() > self.batch_bytes_max {
            self.congested |= 1 << peer;
        }
        entry.batch = batch;
        entry.answer_at = entry.given_answer_at.take();
    }

    /// Announces to the other cores that this core has carried out what it was asked to before the end began; again when all
    /// of them have announced it.
    pub(crate) fn tell_caught_up(&mut self) {
        self.tell_cores(CAUGHT_UP);
    }

    /// Notes that a peer core has announced this.
    pub(crate) fn has_caught_up(&mut self, peer: u32) {
        self.catching_up.has_said(peer);
    }

    /// Whether all other cores have announced it.
    pub(crate) fn have_all_caught_up(&self, word: Word) -> bool {
        self.catching_up.is_over(word)
    }

    /// Announces to the other cores that this core publishes nothing more; again when all of them have announced it.
    /// Publishers must wait until [`Relays::let_go`].
    pub(crate) fn tell_stopping(&mut self) {
        self.congested |= self.own_bit;
        self.tell_cores(STOPPING);
    }

    fn tell_cores(&mut self, tag: u8) {
        let cores = self.cores();
        self.peers[..cores].iter_mut().flatten().for_each(|peer| peer.batch.push(tag));
    }

    /// Ends the wait of publishers on a stopping core.
    pub(crate) fn let_go(&mut self) {
        self.congested &= !self.own_bit;
    }

    /// Notes that a peer core publishes nothing any more.
    pub(crate) fn has_stopped(&mut self, peer: u32) {
        self.publishing.has_said(peer);
    }

    /// Notes that a peer core has ended, perhaps without a word.
    pub(crate) fn has_ended(&mut self, peer: u32) {
        self.publishing.has_ended(peer);
        self.catching_up.has_ended(peer);
    }

    /// Whether all other cores have stopped publishing.
    pub(crate) fn have_all_stopped(&self, word: Word) -> bool {
        self.publishing.is_over(word)
    }

    /// A bit for each congested link: messages that need it must wait.
    pub(crate) fn congested(&self) -> u64 {
        self.congested | self.without_credit
    }

    /// The links that a publish to these peers needs. The bridge never makes a publish wait. The core's own bit makes
    /// all publishes wait while it is stopping.
    pub(crate) fn links_of_publish(&self, peers: u64) -> u64 {
        (peers & !self.bridge_bit) | self.own_bit
    }

    /// The links that new interest needs: all of them.
    pub(crate) fn links_of_interest(&self) -> u64 {
        !self.own_bit
    }

    /// Whether new interest, or its end, must wait.
    pub(crate) fn is_congested_for_interest(&self) -> bool {
        self.congested() & self.links_of_interest() != 0
    }

    /// Whether a peer still has to get a batch or an answer.
    pub(crate) fn has_batches(&self) -> bool {
        let owes = |peer: &Peer| peer.owes_answer || !peer.batch.is_empty() || peer.credit.is_owed(self.credit_bytes);
        self.peers.iter().flatten().any(owes)
            || self.bridge.as_ref().is_some_and(|bridge| !bridge.interest.is_empty() || !bridge.full.is_empty())
    }
}

#[cfg(test)]
mod tests;
