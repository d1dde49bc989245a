//! A core's links to the other cores, and to the NATS bridge.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};

use crate::engine::{
    bridge_link::BridgeLink,
    storing::{Batch, StoreLink},
    turn::{Links, Taken},
    wake::Wake,
};

/// Both directions of the link between two cores.
pub(crate) struct Link {
    /// The peer's number.
    pub(crate) peer: u32,
    pub(crate) batches_in: Receiver<Vec<u8>>,
    pub(crate) batches_out: Sender<Vec<u8>>,
    pub(crate) wake: Arc<Wake>,
}

/// All links of a core.
pub(crate) struct CoreLinks {
    /// The core's number.
    pub(crate) number: u32,
    pub(crate) peers: Vec<Link>,
    /// The link to the bridge, if there are other nodes.
    pub(crate) bridge: Option<BridgeLink>,
    /// The link to the store, if there is one.
    pub(crate) store: Option<StoreLink>,
}

impl Links for CoreLinks {
    fn count(&self) -> usize {
        self.peers.len()
    }

    fn peer(&self, link: usize) -> u32 {
        self.peers[link].peer
    }

    fn take(&mut self, link: usize) -> Taken {
        match self.peers[link].batches_in.try_recv() {
            Ok(batch) => Taken::Batch(batch),
            Err(TryRecvError::Empty) => Taken::Nothing,
            Err(TryRecvError::Disconnected) => Taken::Ended,
        }
    }

    fn send(&mut self, link: usize, batch: Vec<u8>) -> Result<(), Vec<u8>> {
        let Link { batches_out, wake, .. } = &self.peers[link];
        match batches_out.try_send(batch) {
            Ok(()) => wake.notify(),
            Err(TrySendError::Full(batch)) => return Err(batch),
            Err(TrySendError::Disconnected(_)) => {} // the peer has stopped; this core will, too
        }
        Ok(())
    }

    fn has_batches_in(&self) -> bool {
        self.peers.iter().any(|link| !link.batches_in.is_empty())
            || self.waiting_of_bridge() > 0
            || self.store.as_ref().is_some_and(StoreLink::has_batches)
    }

    fn bridge(&self) -> Option<u32> {
        self.bridge.as_ref().map(|bridge| bridge.peer)
    }

    fn waiting_of_bridge(&self) -> usize {
        self.bridge.as_ref().map_or(0, BridgeLink::waiting)
    }

    fn take_of_bridge(&mut self) -> Option<Vec<u8>> {
        self.bridge.as_ref()?.take()
    }

    fn is_bridge_full(&self) -> bool {
        self.bridge.as_ref().is_some_and(|bridge| bridge.uplink.is_full_of_interest())
    }

    fn send_to_bridge(&mut self, interest: Option<Vec<u8>>, publishes: impl Iterator<Item = Vec<u8>>) {
        if let Some(bridge) = &self.bridge {
            bridge.uplink.send(self.number, interest, publishes);
        }
    }

    fn take_of_store(&mut self) -> Option<Batch> {
        self.store.as_mut()?.take()
    }

    fn send_to_store(&mut self, batch: Batch) -> Result<(), Batch> {
        match &mut self.store {
            Some(store) => store.send(batch),
            None => Err(batch),
        }
    }
}
