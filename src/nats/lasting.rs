//! The bridge's state that outlives a client: if the client ends, the next one begins with this state.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    config::Config,
    engine::{
        bridge_link::{Downlink, Uplink},
        history::Retention,
        hub::Hub,
        inbox::Mailbox,
        node_link::NodeLink,
        relay::{self, ClusterItem, Item},
        router::Homes,
        stats::{SharedStats, Stats},
        storing::{StoreEnd, StoreLink, WAITING_BYTES_MAX, link_store},
        wake::Wake,
    },
    error::StartError,
    service::Store,
};

use super::{
    access::Access,
    candidates::Candidates,
    commands::Commands,
    duplicates::Duplicates,
    loads::Job,
    member_lines::{MESSAGE_BYTES_MAX, Subjects},
    members::{Members, Out},
    operators::Operators,
    progress::Progress,
    publish::Publisher,
    random::random,
    refusals::Refusals,
    stream::Stream,
    stream_api::Names,
    table::Table,
    tally::Tally,
    to_cores::ToCores,
};

/// The largest message that clients of this node may always send each other, even if a NATS server takes less.
const PUBLISH_BYTES_MIN: usize = 1024;
/// NATS is asked for one name per so many bytes of `memory-budget`, and for wider ones past it. A name takes 250 bytes here,
/// and more of nats-server.
const BUDGET_BYTES_PER_NAME: u64 = 2 * 1024;
/// Publishes of a core that wait for the stream: `nats-buffer`, but at least and at most these bytes.
const WAITING_BYTES_MIN: usize = 64 * 1024;
/// The most bytes of an answer of the stream beside a message.
const ANSWER_BYTES: usize = 16 * 1024;

/// The parts of [`Lasting`], with the cores' link to the bridge.
pub(crate) struct Prepared {
    /// For a reload, which makes the bridge read the files again.
    pub(crate) access: Arc<Access>,
    pub(crate) uplink: Uplink,
    /// The way of operators' questions.
    pub(super) nodes: NodeLink,
    pub(super) wake: Arc<Notify>,
    /// Stands before a channel's name in a subject, with a dot at its end.
    prefix: Option<String>,
    names_max: usize,
    /// What rules keep at most of a channel.
    wanted: Option<Retention>,
    waiting_bytes_max: usize,
    /// The ends of the cores' ways to the stream, and how the cores share the channels.
    ends: Vec<StoreEnd>,
    homes: Option<Homes>,
}

/// The bridge's links to the rest of the server.
pub(crate) struct Ends {
    pub(crate) downlinks: Vec<Downlink>,
    /// The core that answers operators of other nodes.
    pub(crate) operators: Option<Mailbox>,
    pub(crate) stats: Arc<SharedStats>,
    /// The largest message that may be published; the bridge sets it.
    pub(crate) publish_bytes_max: Arc<AtomicUsize>,
    /// `outbox-max`, which a reload changes.
    pub(crate) outbox_bytes_max: Arc<AtomicUsize>,
}

/// The state that outlives a client. One task owns it.
pub(super) struct Lasting {
    pub(super) access: Arc<Access>,
    /// Stands before a channel's name in a subject, with a dot at its end.
    pub(super) prefix: Option<String>,
    pub(super) candidates: Candidates,
    pub(super) uplink: Uplink,
    /// Wakes the task: other threads have sent something, or ask it to stop.
    pub(super) wake: Arc<Notify>,
    pub(super) publisher: Publisher,
    pub(super) table: Table,
    pub(super) to_cores: ToCores,
    /// The history of channels.
    pub(super) stream: Stream,
    /// Who is present on other nodes.
    pub(super) members: Members,
    /// Operators and other nodes.
    pub(super) operators: Operators,
    /// Subscriptions have twins, for the stream's live messages.
    has_twins: bool,
    /// Set while one connection takes over from another.
    pub(super) duplicates: Option<Duplicates>,
    pub(super) progress: Progress,
    pub(super) refusals: Refusals,
    /// Messages for other nodes that were dropped; the uplink counts them.
    pub(super) publish_drops: Tally,
    pub(super) counts: Stats,
    /// The counts, for other threads.
    stats: Arc<SharedStats>,
    publish_bytes_max: Arc<AtomicUsize>,
}

impl Prepared {
    /// Reads the files that the configuration names, and makes the cores' link to the bridge.
    ///
    /// # Errors
    /// [`StartError::Config`]: a file that cannot be read or used.
    pub(super) fn new(config: &Config, memory_budget_bytes: u64) -> Result<Self, StartError> {
        let access = Arc::new(Access::read(config).map_err(StartError::Config)?);
        let wake = Arc::new(Notify::new());
        let (of_cores, of_nodes) = (Arc::clone(&wake), Arc::clone(&wake));
        Ok(Self {
            access,
            nodes: NodeLink::new(random(), move || of_nodes.notify_one()),
            uplink: Uplink::new(config.nats_buffer_bytes, move || of_cores.notify_one()),
            wake,
            prefix: config.nats_prefix.as_ref().map(|prefix| format!("{prefix}.")),
            names_max: usize::try_from(memory_budget_bytes / BUDGET_BYTES_PER_NAME).unwrap_or(usize::MAX),
            wanted: config.channels.iter().filter_map(Retention::of).reduce(Retention::wider),
            waiting_bytes_max: config.nats_buffer_bytes.clamp(WAITING_BYTES_MIN, WAITING_BYTES_MAX),
            ends: Vec::new(),
            homes: None,
        })
    }
}

impl Store for Prepared {
    fn attach(&mut self, hub: &mut Hub, wake: Arc<Wake>) -> Result<StoreLink, StartError> {
        let of_core = Arc::clone(&self.wake);
        let (link, end) = link_store(wake, Arc::new(AtomicBool::new(true)));
        self.ends.push(end);
        self.homes = Some(hub.router.homes());
        hub.join_cluster(link.availability(), self.waiting_bytes_max);
        Ok(link.telling(move || of_core.notify_one()))
    }
}

impl Lasting {
    pub(super) fn new(prepared: Prepared, ends: Ends) -> Self {
        let Ends { downlinks, operators, stats, publish_bytes_max, outbox_bytes_max } = ends;
        let Prepared { access, uplink, nodes, wake, prefix, names_max, wanted, ends, homes, .. } = prepared;
        let names = Names::new(prefix.as_deref(), random());
        let members = Members::new(Subjects::new(prefix.as_deref(), nodes.node()), downlinks.len(), Instant::now());
        let homes = homes.unwrap_or_else(|| Homes::new(0, downlinks.len() as u32, 0));
        Self {
            operators: Operators::new(prefix.as_deref(), nodes, operators),
            candidates: Candidates::new(&access.addresses, access.is_tls),
            access,
            publisher: Publisher::new(uplink.clone(), prefix.clone()),
            prefix,
            uplink,
            wake,
            table: Table::new(downlinks.len(), names_max),
            to_cores: ToCores::new(downlinks, outbox_bytes_max),
            stream: Stream::new(names, homes, ends, wanted),
            members,
            has_twins: wanted.is_some(),
            duplicates: None,
            progress: Progress::default(),
            refusals: Refusals::default(),
            publish_drops: Tally::default(),
            counts: Stats::default(),
            stats,
            publish_bytes_max,
        }
    }

    /// The server takes messages of at most this size: cores refuse larger ones. A message within [`PUBLISH_BYTES_MIN`]
    /// that is too large for the server is lost for other nodes only.
    pub(super) fn set_publish_bytes_max(&self, max_payload: usize) {
        self.publish_bytes_max.store(max_payload.max(PUBLISH_BYTES_MIN), Ordering::Relaxed);
    }

    /// The subject of a name.
    pub(super) fn subject(&self, name: &str) -> String {
        format!("{}{name}", self.prefix.as_deref().unwrap_or_default())
    }

    /// The largest payload that is read from NATS, in bytes. The stream answers in base64, also with messages that are too
    /// large for this node: only the answer tells which ones follow.
    pub(super) fn payload_bytes_max(&self) -> usize {
        let of_members = if self.members.is_wanted() { MESSAGE_BYTES_MAX } else { 0 };
        let max = self.to_cores.payload_bytes_max().max(of_members).max(self.operators.payload_bytes_max());
        if !self.stream.is_wanted() {
            return max;
        }
        max.max(self.publish_bytes_max.load(Ordering::Relaxed)) / 3 * 4 + ANSWER_BYTES
    }

    /// Takes in what a core wants to load, what its new rules keep, and the members that it tells of.
    pub(super) fn hear_items(&mut self, core: u32, mut batch: &[u8], mut out: Out<'_>, now: Instant) {
        while let Some(item) = relay::next(&mut batch) {
            match item {
                Item::Cluster(ClusterItem::Load { name, retention, load }) => {
                    if let Ok(name) = std::str::from_utf8(name) {
                        self.stream.want(Job::new(core as usize, name, retention, load, now));
                    }
                }
                Item::Cluster(ClusterItem::Keep { retention }) => self.stream.widen(retention),
                Item::Members(item) => self.members.hear(core, &item, &mut out, now),
                _ => {}
            }
        }
        self.members.heard(core, &mut out);
    }

    /// Does the stream's work that is due, on the connection that subscribes, if there is one.
    pub(super) fn act_for_stream(&mut self, commands: Option<&mut Commands>, message_bytes_max: usize, now: Instant) {
        let Self { stream, table, to_cores, .. } = self;
        stream.act(commands, to_cores, message_bytes_max, |name| table.is_heard(name), now);
        if stream.is_wanted() && !std::mem::replace(&mut self.has_twins, true) {
            self.table.connected(); // all names are asked for again, with their twins
            self.progress.retract();
        }
    }

    /// A new client begins.
    pub(super) fn client_begins(&mut self) {
        self.progress.begin();
        self.publisher.begin();
    }

    /// The client has ended. Subscribers must not wait, because no client brings them anything.
    pub(super) fn client_has_ended(&mut self) {
        self.table.forget_told();
        self.duplicates = None;
        self.to_cores.be_absent();
        self.to_cores.send();
        self.counts.nats_restarts += 1;
        self.counts.nats_possibly_lost += self.progress.give_up() + self.publisher.client_has_ended();
        self.show_counts();
    }

    /// Tells clients that other nodes are away.
    pub(super) fn go_offline(&mut self) {
        self.progress.go_offline();
        self.table.forget_told();
        self.to_cores.be_absent();
        self.to_cores.send();
    }

    /// Sends the cores the refusals and acceptances that they do not know. They must know them before their interest is
    /// answered.
    pub(super) fn tell_news(&mut self) {
        self.to_cores.tell(&self.table.take_untold(), &self.table.take_accepted());
    }

    /// The server has confirmed the cores' interests up to these numbers.
    pub(super) fn answer_interest(&mut self, heard: &[u64]) {
        if !self.progress.is_online {
            self.table.tell_refused(); // the cores have forgotten the refusals
        }
        self.tell_news();
        for (core, count) in self.progress.answer(heard) {
            self.to_cores.answer(core, count);
        }
    }

    /// Shows the counts to other threads.
    pub(super) fn show_counts(&mut self) {
        let counts = &mut self.counts;
        counts.nats_published = self.publisher.published();
        counts.nats_received = self.to_cores.received;
        counts.nats_receive_dropped = self.to_cores.dropped();
        counts.nats_unwanted = self.to_cores.unwanted;
        counts.nats_subscriptions = self.table.subscriptions();
        counts.nats_subscriptions_refused = self.table.refused as u64;
        counts.nats_publish_dropped = self.uplink.dropped() + self.refusals.publishes.count();
        counts.nats_connected = u64::from(self.progress.is_online);
        counts.nats_waiting_bytes = self.uplink.bytes() as u64;
        self.stats.store(counts);
    }
}
