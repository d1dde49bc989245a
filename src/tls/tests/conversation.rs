//! Random conversations between rustls' client and our record layer: each side's record layer must agree with the other's
//! whatever is written, however the bytes are cut, and whatever the socket refuses.
//!
//! This is also the proof that a nonce is used once. rustls opens the bytes that have left one after the other, with the
//! numbers 0, 1, 2 … of each key, and checks the tag over each whole record. So for each number, all bytes that have
//! left are those of one record.

use proptest::prelude::*;

use super::*;
use crate::tls::record::{OUT_BYTES_MIN, RECORD_BYTES_MAX};

/// More would exhaust what rustls allows, or what we allow.
const KEY_UPDATES_MAX: usize = 25;

#[derive(Clone, Debug)]
enum Step {
    ClientWrites(usize),
    ClientUpdatesItsKey,
    /// So many bytes arrive here.
    Arrive(usize),
    ServerWrites(usize),
    /// A write of at most so much ciphertext, from slices of this size, of which the socket takes this share.
    Flush {
        out_max: usize,
        slice: usize,
        taken: f64,
    },
    /// Plaintext that is not sent is dropped, except for an open record's.
    Truncate,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..200_usize, 1 => 16_380..16_390_usize, 1 => 0..70_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    let taken = prop_oneof![2 => Just(1.0), 3 => 0.0..1.0, 1 => Just(0.0)];
    let out_max = prop_oneof![2 => Just(OUT_BYTES_MAX), 1 => 0..40_000_usize];
    let slice = prop_oneof![1 => Just(usize::MAX), 1 => 1..20_000_usize];
    prop_oneof![
        3 => len().prop_map(Step::ClientWrites),
        1 => Just(Step::ClientUpdatesItsKey),
        3 => len().prop_map(Step::Arrive),
        3 => len().prop_map(Step::ServerWrites),
        5 => (out_max, slice, taken).prop_map(|(out_max, slice, taken)| Step::Flush { out_max, slice, taken }),
        1 => Just(Step::Truncate),
    ]
}

/// Both ends, and what each has written and received.
struct World {
    pair: Pair,
    client_wrote: Vec<u8>,
    server_got: Vec<u8>,
    /// An unfinished record.
    input: Vec<u8>,
    key_updates: usize,
    /// Plaintext of the server's: sent for good, and not yet; `open` bytes of it are the open record's.
    sent: Vec<u8>,
    pending: Vec<u8>,
    open: usize,
    server_wrote: usize,
}

impl World {
    fn new(suite: SupportedCipherSuite) -> Self {
        Self {
            pair: Pair::new(suite),
            client_wrote: Vec::new(),
            server_got: Vec::new(),
            input: Vec::new(),
            key_updates: 0,
            sent: Vec::new(),
            pending: Vec::new(),
            open: 0,
            server_wrote: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::ClientWrites(len) => {
                let written = plaintext(len, self.client_wrote.len());
                self.pair.client_writes(&written);
                self.client_wrote.extend_from_slice(&written);
            }
            Step::ClientUpdatesItsKey => {
                if self.key_updates < KEY_UPDATES_MAX && self.pair.client.refresh_traffic_keys().is_ok() {
                    self.key_updates += 1;
                    self.pair.client_writes(b"");
                }
            }
            Step::Arrive(len) => self.arrive(len),
            Step::ServerWrites(len) => {
                self.pending.extend_from_slice(&plaintext(len, self.server_wrote));
                self.server_wrote += len;
            }
            Step::Flush { out_max, slice, taken } => {
                self.flush(out_max, slice, taken);
            }
            Step::Truncate => self.pending.truncate(self.open.max(self.pending.len() / 2)),
        }
    }

    fn arrive(&mut self, len: usize) {
        let len = len.min(self.pair.to_server.len());
        self.input.extend(self.pair.to_server.drain(..len));
        let opened = self.pair.server.open(&mut self.input).expect("honest records");
        assert!(opened.plaintext <= opened.used && !opened.is_closed);
        self.server_got.extend_from_slice(&self.input[..opened.plaintext]);
        self.input.drain(..opened.used);
        assert!(self.input.len() < RECORD_BYTES_MAX);
    }

    /// True if the socket took something.
    fn flush(&mut self, out_max: usize, slice: usize, taken: f64) -> bool {
        let slices: Vec<IoSlice<'_>> = self.pending.chunks(slice).map(IoSlice::new).collect();
        let mut out = Vec::new();
        self.pair.server.seal(&slices, &mut out, out_max).expect("the open plaintext is the same");
        assert!(self.open > 0 || out.len() <= out_max.max(OUT_BYTES_MIN), "{} of {out_max}", out.len());
        let taken = (out.len() as f64 * taken) as usize;
        feed(&mut self.pair.client, &out[..taken], &mut self.pair.got).expect("honest records");
        let Sent { plaintext, open } = self.pair.server.sent(&out, taken);
        self.sent.extend(self.pending.drain(..plaintext));
        self.open = open;
        assert!(self.open <= self.pending.len());
        assert_eq!(self.pair.got, self.sent);
        taken > 0
    }

    /// Lets all that is under way arrive, then closes both ways.
    fn end(mut self) {
        self.arrive(usize::MAX);
        assert_eq!(self.server_got, self.client_wrote);
        while !self.pending.is_empty() || self.pair.server.has_output() {
            assert!(self.flush(OUT_BYTES_MAX, usize::MAX, 1.0), "nothing is sent");
        }
        let mut out = Vec::new();
        self.pair.server.close_notify(&mut out);
        let state = feed(&mut self.pair.client, &out, &mut self.pair.got).expect("an honest alert");
        assert!(state.peer_has_closed());
        assert_eq!(self.pair.got, self.sent);
        // The other direction may still be open: RFC 8446 §6.1.
        self.pair.client.send_close_notify();
        self.pair.client_writes(b"");
        let mut input = std::mem::take(&mut self.pair.to_server);
        input.extend_from_slice(b"nothing behind it is read");
        let opened = self.pair.server.open(&mut input).expect("an honest alert");
        assert!(opened.is_closed && opened.plaintext == 0 && opened.used == input.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_side_gets_what_the_other_wrote(suite in 0..SUITES.len(), steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(SUITES[suite]);
        steps.iter().for_each(|step| world.step(step));
        world.end();
    }

    #[test]
    fn a_changed_byte_is_found_and_no_plaintext_of_its_record_is_given(
        suite in 0..SUITES.len(),
        lens in proptest::collection::vec(0..300_usize, 1..5),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut pair = Pair::new(SUITES[suite]);
        let (mut wrote, mut ends) = (Vec::new(), vec![(0, 0)]);
        for len in lens {
            let text = plaintext(len, wrote.len());
            pair.client_writes(&text);
            wrote.extend_from_slice(&text);
            ends.push((pair.to_server.len(), wrote.len()));
        }
        prop_assume!(!pair.to_server.is_empty());
        let at = at.index(pair.to_server.len());
        pair.to_server[at] ^= 1 << bit;
        // A changed length may leave a record unfinished. Then the rest never comes.
        let wire = pair.to_server.clone();
        let result = pair.server.open(&mut pair.to_server);
        let good = ends.iter().rev().find(|(end, _)| *end <= at).copied().unwrap_or_default();
        match result {
            Ok(opened) => {
                prop_assert!((3..5).contains(&(at - good.0)), "{at} of {wire:?}");
                prop_assert_eq!((opened.used, opened.plaintext), good);
                prop_assert_eq!(&pair.to_server[..good.1], &wrote[..good.1]);
            }
            Err(failure) => {
                let alert = feed(&mut pair.client, failure.alert(), &mut Vec::new()).unwrap_err();
                prop_assert!(matches!(alert, rustls::Error::AlertReceived(_)), "{alert}");
                prop_assert!(pair.server.open(&mut wire.clone()).is_err(), "it goes on after a failure");
            }
        }
    }
}
