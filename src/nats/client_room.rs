//! How much the client keeps of the batches that it was given, and whether it has room for more.

use std::collections::VecDeque;

use crate::config::memory;

/// The most bytes of batches that the client keeps beside what waits in the uplink. The client limits messages only by
/// their number; few of them reach this.
const CLIENT_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(CLIENT_BYTES_MAX <= memory::NATS_CLIENT_BYTES);

/// The batches that the client may still keep a part of, oldest first.
#[derive(Debug, Default)]
pub(super) struct WithClient {
    /// Messages that were given to the client.
    pub(super) handed: u64,
    /// For each batch the number of its last message, and its cost.
    batches: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl WithClient {
    /// All messages of a batch were given to the client.
    pub(super) fn add(&mut self, cost: usize) {
        self.batches.push_back((self.handed, cost));
        self.bytes += cost;
    }

    /// Whether the client, which has taken this many messages, may be given more.
    pub(super) fn has_room(&mut self, taken: u64) -> bool {
        while let Some(&(last, cost)) = self.batches.front()
            && last <= taken
        {
            self.batches.pop_front();
            self.bytes -= cost;
        }
        self.bytes < CLIENT_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_given_no_more_than_its_share_until_it_has_taken_some() {
        let mut with_client = WithClient::default();
        let batch = CLIENT_BYTES_MAX / 4;
        for _ in 0..4 {
            assert!(with_client.has_room(0));
            with_client.handed += 2; // two messages a batch
            with_client.add(batch);
        }
        assert!(!with_client.has_room(0));
        assert!(!with_client.has_room(1), "half a batch keeps all of its bytes");
        assert!(with_client.has_room(2));
        assert!(with_client.has_room(8) && with_client.bytes == 0 && with_client.batches.is_empty());
    }
}
