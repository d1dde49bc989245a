//! The cores of a server: their ends, the links between them, and their threads.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use core_affinity::CoreId;
use crossbeam_channel::{Sender, bounded};
use mio::Poll;

use crate::{
    config::memory,
    engine::{
        bridge_link::{self, Downlink, Uplink},
        core::{Core, Link},
        inbox::{Inbox, Mailbox, inbox},
        reactor::WAKER,
        stats::SharedNumbers,
        wake::{Wake, waker},
    },
};

use super::Stopper;

/// Batches that wait on the link from one core to another. If the link is full, the peer collects a larger batch, and then its
/// publishers wait.
const BATCHES_PER_LINK: usize = 4;

const _: () = assert!(BATCHES_PER_LINK < memory::LINK_BATCHES); // and one batch that is being collected

/// The ends by which a core is reached, before the core is put together.
pub(super) struct End {
    pub(super) poll: Poll,
    pub(super) wake: Arc<Wake>,
    pub(super) mailbox: Mailbox,
    pub(super) inbox: Inbox,
    pub(super) numbers: Arc<SharedNumbers>,
}

impl End {
    pub(super) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let wake = waker(poll.registry(), WAKER)?;
        let (mailbox, inbox) = inbox(Arc::clone(&wake));
        Ok(Self { poll, wake, mailbox, inbox, numbers: Arc::default() })
    }
}

/// By core, its links to all other cores.
pub(super) fn link(wakes: &[Arc<Wake>]) -> Vec<Vec<Link>> {
    let mut links: Vec<Vec<Link>> = wakes.iter().map(|_| Vec::new()).collect();
    for one in 0..wakes.len() {
        for other in one + 1..wakes.len() {
            let (to_other, from_one) = bounded(BATCHES_PER_LINK);
            let (to_one, from_other) = bounded(BATCHES_PER_LINK);
            let wake = |core: usize| Arc::clone(&wakes[core]);
            links[one].push(Link {
                peer: other as u32,
                batches_in: from_other,
                batches_out: to_other,
                wake: wake(other),
            });
            links[other].push(Link { peer: one as u32, batches_in: from_one, batches_out: to_one, wake: wake(one) });
        }
    }
    links
}

/// Links each core to the bridge, and gives the bridge's ends by core.
pub(super) fn link_bridge(cores: &mut [Core], uplink: &Uplink) -> Vec<Downlink> {
    let link = |core: &mut Core| {
        let turn = &mut core.turn;
        let (downlink, link) =
            bridge_link::link_bridge(uplink, turn.hub.router.relays.add_bridge(), turn.inbox.shared_wake());
        turn.links.bridge = Some(link);
        downlink
    };
    cores.iter_mut().map(link).collect()
}

/// Starts a core's thread. It drops `alive` when the core has ended, also after a panic.
pub(super) fn spawn(
    number: usize,
    core: Core,
    cpu: Option<usize>,
    stopper: Stopper,
    alive: Sender<()>,
) -> io::Result<JoinHandle<()>> {
    let run = move || {
        let _alive = alive;
        let guard = StopWithCore(stopper);
        if let Some(id) = cpu
            && !core_affinity::set_for_current(CoreId { id })
        {
            log::warn!("core {number} cannot be pinned to CPU {id}, the system places it");
        }
        if let Err(error) = core.run() {
            log::error!("core {number} has ended: {error}");
            guard.0.stop(Duration::ZERO);
        }
    };
    thread::Builder::new().name(format!("lhttp-core-{number}")).spawn(run)
}

/// Stops the server if this core panics. Otherwise the server would go on without some of its connections; a stopped one is
/// started again by its supervisor.
struct StopWithCore(Stopper);

impl Drop for StopWithCore {
    fn drop(&mut self) {
        // Not after a normal end: the other cores may not know yet how long they may drain.
        if thread::panicking() {
            self.0.stop(Duration::ZERO);
        }
    }
}
