//! Deliveries that are done piece by piece: what of a message is done at once, and what is left for later.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::{
    engine::{
        hub::{Hub, acks::data, publish::Run, unfinished::Step},
        relay,
        slot::{ConnectionKey, Slot},
        subscriptions::AudienceId,
    },
    protocol::{channel::Kind, frame},
};

impl Hub {
    /// Leaves these channels of a publish for later, if there are any.
    #[inline(never)]
    pub(super) fn leave_rest<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        except: Option<Slot>,
    ) {
        let mut rest = Vec::new();
        names.for_each(|name| relay::put_short(&mut rest, name));
        if !rest.is_empty() {
            let mut frame = Vec::new();
            frame::encode(&mut frame, data(is_text), payload);
            let except = except.map(|slot| self.key(slot));
            self.put_step(Step::Publish { names: rest.into(), frame: frame.into(), except, is_relayed: true });
        }
    }

    /// Publishes a frame to the channels of [`relay::names`], to the peers too if `is_relayed`, until the piece that has
    /// begun at this work is large enough. Gives the channels that are left.
    pub(super) fn publish_frame<'n>(
        &mut self,
        mut names: &'n [u8],
        frame: &[u8],
        except: Option<Slot>,
        is_relayed: bool,
        begun: u64,
    ) -> &'n [u8] {
        let mut range: Option<(u32, u32)> = None;
        let mut relayed: SmallVec<[(&[u8], u64); 4]> = SmallVec::new();
        while let Some(name) = relay::take_name(&mut names) {
            self.resolve(name);
            let peers = if is_relayed { self.resolved.peers } else { 0 };
            self.stats.published += u64::from(is_relayed);
            if !self.resolved.has_subscribers() && peers == 0 {
                continue; // of a relayed one, the last subscriber left while the frame was on its way
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
        names
    }

    /// Gives one frame to all audiences of the resolved channel; what would make the turn too full is left for later.
    pub(super) fn deliver_to_audiences(&mut self, (start, end): (u32, u32), except: Option<Slot>) {
        let audiences = std::mem::take(&mut self.resolved.audiences);
        for (index, &audience) in audiences.iter().enumerate() {
            if index > 0 && self.outboxes.has_long_chain() {
                let name = |&audience: &AudienceId| {
                    let (name, kind) = self.subscriptions.name(audience);
                    (name.into(), kind)
                };
                let names = audiences[index..].iter().map(name).collect();
                let frame = self.outboxes.turn_bytes(start, end).into();
                self.put_step(Step::Deliver { names, frame, except: except.map(|slot| self.key(slot)) });
                break;
            }
            self.give(audience, Run { start, end, except, frames: 1 });
        }
        self.resolved.audiences = audiences;
    }

    /// Delivers a frame to the subscribers of these very names, as long as the turn is not full.
    pub(super) fn deliver_to_names(
        &mut self,
        mut names: VecDeque<(Box<[u8]>, Kind)>,
        frame: Box<[u8]>,
        except: Option<ConnectionKey>,
    ) {
        self.apply_run();
        let slot = except.filter(|&key| self.is_current(key)).map(|key| key.slot);
        let mut range = None;
        while let Some((name, kind)) = names.pop_front() {
            let Some(audience) = self.subscriptions.find_name(&name, kind) else { continue };
            let (start, end) = *range.get_or_insert_with(|| self.append(&frame));
            self.has_given(self.subscriptions.subscribers(audience).len(), end - start);
            self.give(audience, Run { start, end, except: slot, frames: 1 });
            if self.is_full() && !names.is_empty() {
                return self.put_step(Step::Deliver { names, frame, except });
            }
        }
    }
}
