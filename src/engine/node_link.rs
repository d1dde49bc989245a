//! The way of operators' questions from this node to the others of a cluster, and of the answers.

// Without the bridge, or without `admin`, an end is never used.
#![cfg_attr(not(all(feature = "nats", feature = "admin")), allow(dead_code))]

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::memory;

/// The most frames that wait for the bridge, and the most bytes of them.
const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// The largest frame, in bytes.
pub(crate) const FRAME_BYTES_MAX: usize = 512 * 1024;

const _: () = assert!(BYTES_MAX <= memory::NODES_BYTES);

/// A message for other nodes.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The node that it is for; `None` for all others.
    pub(crate) to: Option<u64>,
    pub(crate) bytes: Vec<u8>,
}

/// Both ends of the way.
#[derive(Clone)]
pub(crate) struct NodeLink {
    /// This node, by a number of its own for each start.
    node: u64,
    frames: Sender<Frame>,
    out: Receiver<Frame>,
    bytes: Arc<AtomicUsize>,
    /// Wakes the bridge.
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl NodeLink {
    pub(crate) fn new(node: u64, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (frames, out) = bounded(FRAMES_MAX);
        Self { node, frames, out, bytes: Arc::default(), wake: Arc::new(wake) }
    }

    /// This node.
    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    /// Hands a message to the bridge. A message that is too large, or too much, is lost: who asks does not wait for ever.
    pub(crate) fn send(&self, frame: Frame) -> bool {
        let len = frame.bytes.len();
        let before = self.bytes.fetch_add(len, Ordering::Relaxed);
        let is_sent = len <= FRAME_BYTES_MAX && before + len <= BYTES_MAX && self.frames.try_send(frame).is_ok();
        if is_sent {
            (self.wake)();
        } else {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
        }
        is_sent
    }

    /// The next message for other nodes.
    pub(crate) fn take(&self) -> Option<Frame> {
        let frame = self.out.try_recv().ok()?;
        self.bytes.fetch_sub(frame.bytes.len(), Ordering::Relaxed);
        Some(frame)
    }
}

impl fmt::Debug for NodeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLink").field("node", &self.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_past_the_limits_are_lost_and_those_that_are_taken_make_room() {
        let link = NodeLink::new(1, || {});
        let frame = |len| Frame { to: None, bytes: vec![0; len] };
        assert!(!link.send(frame(FRAME_BYTES_MAX + 1)));
        for _ in 0..BYTES_MAX / FRAME_BYTES_MAX {
            assert!(link.send(frame(FRAME_BYTES_MAX)));
        }
        assert!(!link.send(frame(1)));
        assert!(link.take().is_some() && link.send(frame(1)));
        while link.take().is_some() {}
        let sent = (0..2 * FRAMES_MAX).filter(|_| link.send(frame(1))).count();
        assert_eq!((sent, link.bytes.load(Ordering::Relaxed)), (FRAMES_MAX, FRAMES_MAX));
    }
}
