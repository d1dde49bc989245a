//! How a core reads its connections: in which order, and how much of each.

use std::io;

use crate::engine::{
    lanes::Next,
    slot::ConnectionKey,
    stats::Why,
    turn::{Got, Links, Sockets, Turn},
};

/// The most reads of one connection in one turn. The rest waits for the next turn, so that one publisher does not
/// starve others.
const READS_PER_TURN: usize = 4;

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Reads ready connections, then those that were left over, then those that have had their share or are new, until
    /// the turn has done enough.
    pub(super) fn read_connections(&mut self, buffer: &mut [u8]) {
        self.put_resumed_first();
        // Connections that are put back go to the other list, which the next turn reads.
        let mut ready = self.ready.take();
        self.lanes.begin(&self.hub, self.now, ready.len());
        self.began = self.sockets.clock();
        let mut taken = 0;
        while taken < ready.len() && !self.lanes.is_over_for_ready(&self.hub) {
            self.read_unless_behind(ready[taken], buffer);
            taken += 1;
        }
        // A connection that becomes ready next must not wait for all of a crowd that came at once.
        let left = self.lanes.left_over();
        self.lanes.leave_over(ready.drain(taken..));
        self.ready.give_back(ready);
        for number in 0..left {
            if number > 0 && self.lanes.is_over(&self.hub) {
                break;
            }
            let Some(key) = self.lanes.next_left_over() else { break };
            self.read_unless_behind(key, buffer);
        }
        self.hub.go_on(self.sizes.finish_units);
        self.flush_if_full();
        if self.lanes.behind() > 0 {
            self.flush(); // messages of light connections do not wait for the heavy ones
        }
        self.lanes.begin_behind(&self.hub);
        // Read at least one: otherwise many light connections could keep the heavy ones waiting for ever.
        for number in 0..self.lanes.behind() {
            if number > 0 && self.lanes.is_over(&self.hub) {
                break;
            }
            let Some(key) = self.lanes.next_behind() else { break };
            if self.hub.sessions.is_current(key) {
                self.read(key, buffer);
            }
        }
    }

    /// Reads a connection if it is still open, set up, and does not go behind the others.
    fn read_unless_behind(&mut self, key: ConnectionKey, buffer: &mut [u8]) {
        if !self.hub.sessions.is_current(key) {
            return;
        }
        if self.sockets.is_shaking(key.slot) {
            self.handshakes.add(key);
        } else if !self.lanes.puts_behind(&self.hub, key) {
            self.read(key, buffer);
        }
    }

    /// Puts connections first that have waited for a link, see [`crate::engine::hub::Hub::take_resumed`].
    fn put_resumed_first(&mut self) {
        self.hub.take_resumed(&mut self.resumed);
        self.ready.add_first(&mut self.resumed);
    }

    /// Reads a connection until it has no more input, or its share is used up.
    fn read(&mut self, key: ConnectionKey, buffer: &mut [u8]) {
        self.ready.set(key.slot, false);
        let begun = self.lanes.reads(&mut self.hub, key);
        let has_more = self.read_share(key, buffer);
        // A message's cost was estimated before the message was carried out. Now the real cost is known, including the
        // user's code.
        let estimated = self.hub.router.work.done() - begun;
        let ended = self.sockets.clock();
        self.hub.router.work.has_worked_until(begun + ended.saturating_sub(self.began).as_nanos() as u64);
        self.began = ended;
        match self.lanes.has_read(&mut self.hub, key, (begun, estimated), has_more) {
            Next::Wait => {}
            Next::Ready => self.ready.add(key),
            Next::Behind => _ = self.ready.set(key.slot, true),
        }
    }

    /// Reads a share, and returns whether the connection may have more input.
    fn read_share(&mut self, key: ConnectionKey, buffer: &mut [u8]) -> bool {
        let slot = key.slot;
        while self.hub.sessions.may_read(slot) && self.hub.sessions.has_kept(slot) {
            self.hub.take_kept(&mut *self.app, slot);
            self.flush_if_full();
            if self.hub.router.work.is_at_limit() {
                return true;
            }
        }
        for _ in 0..READS_PER_TURN {
            if !self.hub.sessions.may_read(slot) {
                return false; // it is read when it resumes
            }
            let room = if self.hub.router.is_congested() { self.sizes.congested_read_bytes } else { usize::MAX };
            let Got { bytes: len, may_have_more, is_end } =
                match self.sockets.read(slot, buffer, room.min(buffer.len())) {
                    Ok(got) => got,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    Err(error) => {
                        self.hub.drop_for(&mut *self.app, slot, Why::Lost, format_args!("{error}"));
                        return false;
                    }
                };
            if self.sockets.kept_by(slot) > 0 {
                self.hub.sessions.keeps(slot);
            }
            if is_end {
                self.hub.end_of_input(&mut *self.app, slot);
                return false;
            }
            self.lanes.has_heard(key, self.now);
            let mut used = 0;
            while used < len {
                used += self.hub.receive(&mut *self.app, slot, &mut buffer[used..len]);
                self.flush_if_full();
                if used < len && self.hub.router.work.is_at_limit() {
                    self.hub.keep(slot, &buffer[used..len]);
                    return true;
                }
            }
            if !may_have_more && !self.ready.is_read_closed(slot) {
                return false;
            }
            if self.hub.router.work.is_at_limit() {
                return true;
            }
        }
        true
    }
}
