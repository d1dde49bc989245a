//! Publishing: the path of a message after its parser.

use smallvec::SmallVec;

use crate::{
    engine::{
        relay,
        router::{
            Known, Router,
            unfinished::{OwnPublish, Step},
            work::MESSAGE_UNITS,
        },
        slot::{ConnectionKey, Slot},
    },
    protocol::{encoding::Encoding, frame},
};

impl Router {
    /// Publishes a payload to checked channels, here and on the peers. It is encoded once, for any number of
    /// subscribers. If its deliveries fill the turn, the rest of them is left for later: see
    /// [`crate::engine::router::Unfinished`]. `own` has the receipt of the first channel, if the numbers of the messages are
    /// asked for.
    pub(crate) fn publish<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        except: Option<ConnectionKey>,
        own: OwnPublish,
    ) {
        if self.keeps_some {
            self.publish_keeping(names, is_text, payload, except, own);
        } else {
            self.publish_to::<false>(names, is_text, payload, except, own);
        }
    }

    /// The same where channels may have a history. One check for a whole message, so that it costs nothing where none has one.
    #[inline(never)]
    fn publish_keeping<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        except: Option<ConnectionKey>,
        own: OwnPublish,
    ) {
        self.publish_to::<true>(names, is_text, payload, except, own);
    }

    /// `KEEPS` says whether channels may have a history.
    #[inline]
    fn publish_to<'n, const KEEPS: bool>(
        &mut self,
        mut names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        except: Option<ConnectionKey>,
        mut own: OwnPublish,
    ) {
        if self.unfinished.is_cut() {
            return self.leave_rest(names, is_text, payload, except, own);
        }
        let begun = self.work.done();
        let mut frame: Option<(u32, u32)> = None;
        let mut relayed: SmallVec<[(&[u8], u64); 4]> = SmallVec::new();
        let mut is_whole = true;
        for name in names.by_ref() {
            self.published += 1;
            self.sample(name);
            self.resolve(name);
            // The application has seen to a connection's message just before, with the present rules.
            let is_clean = KEEPS && own.publisher.is_some();
            if KEEPS && self.publish_kept(is_text, payload, except, &mut own, is_clean) {
                if self.has_done_piece(begun) {
                    is_whole = false;
                    break;
                }
                continue;
            }
            if !self.resolved.reaches_anyone() {
                continue;
            }
            let (start, end) = match frame {
                Some(frame) => frame,
                None => self.encode(is_text, payload),
            };
            frame = Some((start, end));
            self.deliver(start, end, except, 1);
            if self.resolved.peers != 0 {
                relayed.push((name, self.resolved.peers));
            }
            if self.has_done_piece(begun) {
                is_whole = false;
                break;
            }
        }
        if let Some((start, end)) = frame
            && !relayed.is_empty()
        {
            self.relay(&relayed, start, end);
        }
        if !is_whole {
            self.leave_rest(names, is_text, payload, except, own);
        }
    }

    /// Publishes a message of this core to the resolved channel if that has a history. Otherwise notes that the message has
    /// no number there. A message that `is_clean` has no lines that only the server writes.
    fn publish_kept(
        &mut self,
        is_text: bool,
        message: &[u8],
        except: Option<ConnectionKey>,
        own: &mut OwnPublish,
        is_clean: bool,
    ) -> bool {
        let receipt = own.take_receipt();
        if self.resolved.has_history() {
            self.publish_numbered(is_text, message, (own.publisher, except), receipt, is_clean);
            return true;
        }
        if let Some(receipt) = receipt {
            self.receipts.note(receipt, Known::default());
        }
        false
    }

    /// Appends a message to the turn, and returns its range.
    pub(super) fn encode(&mut self, is_text: bool, payload: &[u8]) -> (u32, u32) {
        let start = self.outboxes.turn_len() as u32;
        Encoding::Frame.message(self.outboxes.turn(), is_text, payload);
        (start, self.outboxes.turn_len() as u32)
    }

    /// Hands a frame to each peer that is interested in one of the channels, with the channels that concern it.
    fn relay(&mut self, channels: &[(&[u8], u64)], start: u32, end: u32) {
        let mut peers = channels.iter().fold(0, |peers, (_, interested)| peers | interested);
        while peers != 0 {
            let peer = peers.trailing_zeros();
            peers &= peers - 1;
            let names = channels.iter().filter(|(_, interested)| interested & (1 << peer) != 0).map(|(name, _)| *name);
            self.relays.publish(peer, names, self.outboxes.turn_bytes(start, end));
        }
    }

    /// Publishes a frame of a peer to the subscribers of this core.
    pub(crate) fn deliver_relayed(&mut self, channels: &[u8], frame: &[u8]) {
        self.work.add(MESSAGE_UNITS);
        let (rest, _) = self.publish_frame(channels, frame, None, None, self.work.done());
        if !rest.is_empty() {
            let (names, frame) = (rest.into(), frame.into());
            self.unfinished.put(Step::Publish { names, frame, except: None, own: None });
        }
    }

    /// Continues a publish of which these channels are left. The piece began at the work `begun`.
    pub(crate) fn publish_rest(
        &mut self,
        names: &[u8],
        frame: Box<[u8]>,
        except: Option<ConnectionKey>,
        own: Option<OwnPublish>,
        begun: u64,
    ) {
        let (rest, own) = self.publish_frame(names, &frame, except, own, begun);
        if !rest.is_empty() {
            self.unfinished.put(Step::Publish { names: rest.into(), frame, except, own });
        }
    }

    /// Appends bytes to the turn, for one connection.
    pub(crate) fn push(&mut self, slot: Slot, encode: impl FnOnce(&mut Vec<u8>)) {
        self.apply_run();
        self.work.add(MESSAGE_UNITS);
        let start = self.outboxes.turn_len() as u32;
        encode(self.outboxes.turn());
        let end = self.outboxes.turn_len() as u32;
        self.outboxes.push(slot, start, end);
    }

    /// Leaves these channels of a publish for later, if there are any.
    #[inline(never)]
    fn leave_rest<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        except: Option<ConnectionKey>,
        own: OwnPublish,
    ) {
        let mut rest = Vec::new();
        names.for_each(|name| relay::put_short(&mut rest, name));
        if !rest.is_empty() {
            let mut frame = Vec::new();
            Encoding::Frame.message(&mut frame, is_text, payload);
            let own = Some(own);
            self.unfinished.put(Step::Publish { names: rest.into(), frame: frame.into(), except, own });
        }
    }

    /// Publishes a frame to the channels of [`relay::names`], until the piece that began at this work is large enough. Also
    /// to the peers, if it is this core's. Returns the channels that are left.
    fn publish_frame<'n>(
        &mut self,
        mut names: &'n [u8],
        frame: &[u8],
        except: Option<ConnectionKey>,
        mut own: Option<OwnPublish>,
        begun: u64,
    ) -> (&'n [u8], Option<OwnPublish>) {
        let mut range: Option<(u32, u32)> = None;
        let mut relayed: SmallVec<[(&[u8], u64); 4]> = SmallVec::new();
        while let Some(name) = relay::take_name(&mut names) {
            self.resolve(name);
            let peers = if own.is_some() { self.resolved.peers } else { 0 };
            if let Some(own) = &mut own {
                self.published += 1;
                self.sample(name);
                let (is_text, message) = (frame::is_text(frame), frame::payload(frame));
                // There may be other rules than when the message came.
                if self.publish_kept(is_text, message, except, own, false) {
                    if self.has_done_piece(begun) {
                        break;
                    }
                    continue;
                }
            }
            if !self.resolved.has_subscribers() && peers == 0 {
                continue; // the last subscriber may have left while a relayed frame was in flight
            }
            let (start, end) = range.unwrap_or_else(|| self.append(frame));
            range = Some((start, end));
            self.deliver(start, end, except, 1);
            if peers != 0 {
                relayed.push((name, peers));
            }
            if self.has_done_piece(begun) {
                break;
            }
        }
        if let Some((start, end)) = range
            && !relayed.is_empty()
        {
            self.relay(&relayed, start, end);
        }
        (names, own)
    }
}
