//! As in `engine/core/reading.rs`, step by step.

use std::collections::VecDeque;

use super::Node;
use crate::engine::{lanes::Next, session::ConnectionKey};

/// As there.
const READS_PER_TURN: usize = 4;
/// Less than there, so that it matters.
const CONGESTED_READ_BYTES: usize = 64;
/// Less than there.
const FINISH_UNITS: u64 = 1000;

impl Node {
    pub(super) fn read_connections(&mut self, buffer: &mut [u8]) {
        let mut resumed = Vec::new();
        self.hub.take_resumed(&mut resumed);
        resumed.retain(|&key| !self.is_ready(key));
        let ready = [resumed, std::mem::take(&mut self.ready)].concat();
        self.lanes.begin(&self.hub, self.last_turn, ready.len());
        let mut ready = VecDeque::from(ready);
        while !self.lanes.is_over_for_ready(&self.hub)
            && let Some(key) = ready.pop_front()
        {
            self.read_unless_behind(key, buffer);
        }
        let left = self.lanes.left_over();
        self.lanes.leave_over(ready.into_iter());
        for number in 0..left {
            if number > 0 && self.lanes.is_over(&self.hub) {
                break;
            }
            let Some(key) = self.lanes.next_left_over() else { break };
            self.read_unless_behind(key, buffer);
        }
        self.hub.go_on(FINISH_UNITS);
        self.flush_if_full();
        if self.lanes.behind() > 0 {
            self.flush();
        }
        for number in 0..self.lanes.behind() {
            if number > 0 && self.lanes.is_over(&self.hub) {
                break;
            }
            let Some(key) = self.lanes.next_behind() else { break };
            if self.hub.is_current(key) {
                self.read(key, buffer);
            }
        }
    }

    fn read_unless_behind(&mut self, key: ConnectionKey, buffer: &mut [u8]) {
        if self.hub.is_current(key) && !self.lanes.puts_behind(&self.hub, key) {
            self.read(key, buffer);
        }
    }

    /// Whether a connection is to be read.
    pub(super) fn is_ready(&self, key: ConnectionKey) -> bool {
        self.ready.contains(&key) || self.lanes.is_waiting(key)
    }

    fn read(&mut self, key: ConnectionKey, buffer: &mut [u8]) {
        let begun = self.lanes.reads(&mut self.hub, key);
        let has_more = self.read_share(key, buffer);
        let estimated = self.hub.work() - begun;
        if self.lanes.has_read(&mut self.hub, key, (begun, estimated), has_more) == Next::Ready {
            self.make_ready(key);
        }
    }

    fn read_share(&mut self, key: ConnectionKey, buffer: &mut [u8]) -> bool {
        while self.hub.may_read(key.slot) && self.hub.has_kept(key.slot) {
            self.hub.take_kept(&mut self.app, key.slot);
            self.flush_if_full();
            if self.hub.is_at_limit() {
                return true;
            }
        }
        for _ in 0..READS_PER_TURN {
            if !self.hub.may_read(key.slot) {
                return false;
            }
            let id = self.sockets.by_slot[key.slot as usize].expect("a current connection has a socket");
            let socket = &mut self.sockets.all[id];
            if socket.is_reset {
                self.hub.lost(&mut self.app, key.slot);
                return false;
            }
            if socket.inbound.is_empty() {
                if socket.is_finished {
                    self.hub.end_of_input(&mut self.app, key.slot);
                }
                return false;
            }
            let room = if self.hub.is_congested() { CONGESTED_READ_BYTES.min(buffer.len()) } else { buffer.len() };
            let len = socket.inbound.len().min(room);
            buffer[..len].copy_from_slice(&socket.inbound[..len]);
            socket.inbound.drain(..len);
            let is_finished = socket.is_finished;
            self.lanes.has_heard(key, self.last_turn);
            let mut used = 0;
            while used < len {
                used += self.hub.receive(&mut self.app, key.slot, &mut buffer[used..len]);
                self.flush_if_full();
                if used < len && self.hub.is_at_limit() {
                    self.hub.keep(key.slot, &buffer[used..len]);
                    return true;
                }
            }
            if len < room && !is_finished {
                return false;
            }
            if self.hub.is_at_limit() {
                return true;
            }
        }
        true
    }
}
