//! Who is present (PROTOCOL.md §11): connections that enter and leave channels are told to the homes of these, which answer
//! questions and tell subscribers.

use std::{borrow::Cow, hash::BuildHasher, time::Duration};

use foldhash::quality::FixedState;

use crate::{
    config::Presence as Shown,
    engine::{
        hub::Hub,
        presence::{Connection, Info, List},
        relay::PresenceItem,
        router::{Move, Place},
        slot::{ConnectionKey, Slot},
        survey::Answered,
    },
    error::Refusal,
    protocol::message::{presence_change, presence_list},
};

/// Work for a move, and for each user who is looked at for a list.
const MOVE_UNITS: u64 = 256;
const LISTED_UNITS: u64 = 64;
/// Letters of the name of a user without a token.
const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

impl Hub {
    /// Tells the homes of channels which connections have entered and left them. Call this while the identities of these
    /// connections are what they were.
    #[inline]
    pub(super) fn tell_moves(&mut self) {
        if self.router.has_moves() {
            self.tell_all_moves();
        }
    }

    #[inline(never)]
    fn tell_all_moves(&mut self) {
        for Move { slot, name, has_entered, info } in self.router.take_moves() {
            self.router.work.add(MOVE_UNITS);
            let key = self.sessions.key(slot);
            let place = self.router.place(&name);
            if !has_entered {
                match place {
                    Place::Here => self.router.presence.leave(&name, self.own(key)),
                    Place::Away(home) => self.router.put_presence(home, &PresenceItem::Left { key, name: &name }),
                }
                continue;
            }
            let (user, since) = (self.user_of(slot).into_owned(), self.unix_millis() / 1000);
            let of_token = self.claims(slot).and_then(|claims| claims.info.clone());
            let info = of_token.or(info).filter(|_| self.has_room_for_info());
            match place {
                Place::Here => {
                    let info = info.as_deref().map_or(Info::Same, Info::Json);
                    self.router.presence.enter(&name, self.own(key), &user, info, since);
                }
                Place::Away(home) => {
                    let (user, info) = (user.as_bytes(), info.as_deref().map(str::as_bytes));
                    let item = PresenceItem::Entered { key, name: &name, user, info, since };
                    self.router.put_presence(home, &item);
                }
            }
        }
    }

    /// Whether the memory for presence allows more than names.
    pub(super) fn has_room_for_info(&self) -> bool {
        self.router.presence.bytes() < self.limits.kept_bytes_max / 4
    }

    fn own(&self, key: ConnectionKey) -> Connection {
        Connection { core: self.router.own(), key }
    }

    /// The name of a connection's user. Without a token it is a name that nobody else has on this server.
    pub(crate) fn user_of(&self, slot: Slot) -> Cow<'_, str> {
        if let Some(claims) = self.claims(slot) {
            return Cow::Borrowed(&claims.user);
        }
        let hash = FixedState::with_seed(self.router.seed()).hash_one(self.own(self.sessions.key(slot)));
        let letter = |index: u32| char::from(LETTERS[(hash >> (5 * index)) as usize % LETTERS.len()]);
        Cow::Owned(format!("~{}", (0..12).map(letter).collect::<String>()))
    }

    /// Answers a client that asks who is in a channel. `token` is its ack token; empty for none.
    pub(crate) fn ask_presence(&mut self, slot: Slot, name: &[u8], token: &[u8]) {
        self.tell_moves();
        let (key, bytes_max) = (self.sessions.key(slot), self.limits.outbox_bytes_max / 4);
        match self.router.place(name) {
            Place::Here => {
                let message = self.list(name, token, bytes_max);
                self.send(slot, true, &message);
            }
            Place::Away(home) => {
                let item = PresenceItem::Ask { key, name, token, bytes_max: bytes_max as u64 };
                self.router.put_presence(home, &item);
            }
        }
    }

    fn list(&mut self, name: &[u8], token: &[u8], bytes_max: usize) -> Vec<u8> {
        let Some((list, is_new)) = self.router.presence.list(name, bytes_max) else {
            return presence_list(name, token, 0, b"[]");
        };
        let looks = if is_new { list.listed + list.more } else { 0 };
        self.router.work.add(LISTED_UNITS * looks as u64 + list.json.len() as u64 / 4);
        presence_list(name, token, list.more, &list.json)
    }

    /// Answers an operator who asks this home who is in a channel. No client has seen that, so nobody must be told of changes.
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    pub(crate) fn users_for_operator(&mut self, name: &[u8]) -> Answered {
        if self.limits.rules.presence(name).is_none() {
            return Answered::Refused(Refusal::new(404, "no-presence", "no rule counts who is in this channel"));
        }
        self.tell_moves();
        let list = self.router.presence.peek(name, self.limits.answer_bytes());
        let Some(List { json, listed, more }) = list else {
            return Answered::Users { list: b"[]".to_vec(), more: 0 };
        };
        self.router.work.add(LISTED_UNITS * (listed + more) as u64 + json.len() as u64 / 4);
        Answered::Users { list: json, more }
    }

    /// Takes an item of another core.
    pub(super) fn relayed_presence(&mut self, peer: u32, item: PresenceItem<'_>) {
        self.router.work.add(MOVE_UNITS);
        match item {
            PresenceItem::Entered { key, name, user, info, since } => {
                let connection = Connection { core: peer, key };
                let info = info.and_then(|info| std::str::from_utf8(info).ok()).map_or(Info::Same, Info::Json);
                let user = String::from_utf8_lossy(user);
                if self.limits.rules.presence(name).is_some() {
                    self.router.presence.enter(name, connection, &user, info, since);
                }
            }
            PresenceItem::Left { key, name } => {
                self.router.presence.leave(name, Connection { core: peer, key });
            }
            PresenceItem::Ask { key, name, token, bytes_max } => {
                let message = self.list(name, token, bytes_max as usize);
                self.router.put_presence(peer, &PresenceItem::List { key, message: &message });
            }
            PresenceItem::Recount => self.tell_who_is_present_again(),
            PresenceItem::List { key, message } => {
                if self.sessions.is_current(key) {
                    self.send(key.slot, true, message);
                    self.message_done(None);
                }
            }
        }
    }

    /// Tells subscribers who has come and gone, where that is due. Returns whether there was work.
    pub(super) fn expire_presence(&mut self) -> bool {
        let (router, rules, mut told) = (&mut self.router, &self.limits.rules, Vec::new());
        let had_any = router.presence.expire(self.ran, |name, body| {
            if let Some(body) = body.filter(|body| !body.is_empty()) {
                told.push((Box::<[u8]>::from(name), presence_change(name, body)));
            }
            rules.presence(name) == Some(Shown::Events)
        });
        for (name, message) in told {
            self.router.tell(&name, &message);
            self.message_done(None);
        }
        had_any | self.share_members()
    }

    /// Takes new rules, and the time of grace.
    pub(super) fn set_presence(&mut self, grace: Duration, has_new_rules: bool) {
        self.router.presence.set_grace(grace);
        if has_new_rules {
            let rules = &self.limits.rules;
            self.router.presence.retain(|name| rules.presence(name).is_some());
            if rules.has_presence() {
                self.router.ask_who_is_present();
            }
        }
    }
}
