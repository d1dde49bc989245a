//! Rules that change, and clients with tokens: what a client may do at a time, as far as an observer can know.

use std::sync::Arc;

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::{
    attendance::Attendance,
    client::{Expected, Known, SimulatedClient, Sound},
    keeper::Keeper,
    ledger::What,
    oracle::Interval,
    versions::{Versions, in_effect},
    world::World,
};
use crate::{
    config::{ChannelRule, Config, Who},
    engine::{
        limits::Limits,
        rules::{Action, Asker, Rules},
    },
    protocol::channel,
    token::Claims,
};

const RULES: [&str; 10] = ["a", "a.b", "a.*", "a.>", "*", "*.b", "b.>", "a.{user}", "{user}", ">"];
const LISTED: [&str; 7] = ["a", "a.*", "b.>", "c", "*", "*.>", ">"];
/// The last of these is no token of a channel.
const USERS: [&str; 4] = ["a", "b", "c", "a.b"];

/// The rules of all nodes.
pub(crate) struct Guard {
    versions: Versions,
}

/// Who a client is from some time on.
#[derive(Debug)]
pub(crate) struct Standing {
    /// None for an anonymous client.
    claims: Option<Arc<Claims>>,
    /// When the client asked for it.
    asked: u64,
    /// When the server had answered.
    pub(crate) answered: Option<u64>,
    /// It was refused.
    pub(crate) is_refused: bool,
}

/// A question about a client's rights.
#[derive(Clone, Copy)]
pub(crate) struct Question<'q> {
    pub(crate) action: Action,
    pub(crate) name: &'q str,
}

impl Guard {
    /// In some worlds everyone may do everything.
    pub(super) fn new(rng: &mut StdRng) -> Option<Self> {
        rng.random_bool(0.4).then(|| Self { versions: Versions::default() })
    }

    /// The nodes get these rules.
    fn change(&mut self, rules: &Arc<Rules>, clock: u64) {
        self.versions.change(rules, clock);
    }

    /// All nodes have applied the last rules.
    pub(super) fn at_rest(&mut self, clock: u64) {
        self.versions.at_rest(clock);
    }

    /// Whether a client may do this under some rules that may be in effect between two times, and whether it may under all.
    pub(crate) fn allows(&self, standings: &[Standing], from: u64, to: u64, question: Question<'_>) -> (bool, bool) {
        let accepted = standings.iter().filter(|standing| !standing.is_refused);
        let standings = in_effect(accepted, from, to, |standing| (standing.asked, standing.answered));
        let (mut may, mut must) = (false, true);
        for rules in self.versions.in_effect(from, to) {
            for standing in &standings {
                let asker = standing.claims.as_ref().map_or(Asker::Anonymous, |claims| Asker::User(claims));
                let name = question.name.as_bytes();
                let verdict = match question.action {
                    Action::Subscribe => rules.subscribe(asker, name, channel::kind(name)),
                    Action::Publish => rules.publish(asker, name),
                };
                may |= verdict.is_allowed;
                must &= verdict.is_allowed;
            }
        }
        (may, must)
    }
}

impl SimulatedClient {
    /// Whether a post is answered with 403, as the rules may want it. Then nothing is published.
    pub(super) fn is_forbidden(&mut self, expected: &Expected, status: u16, known: Known<'_>) -> bool {
        let (Some(guard), Some(number)) = (known.guard, expected.publication) else { return false };
        let publication = &known.publications[number];
        let questions: Vec<_> = publication.channels.iter().map(|name| (Action::Publish, name.clone())).collect();
        let (may, must) = self.may(guard, publication.sent, known.clock, &questions);
        if status != 403 {
            assert!(may, "client {} has posted to {:?}", self.number, publication.channels);
            return false;
        }
        assert!(!must, "client {} may post to {:?}", self.number, publication.channels);
        self.void.push(number);
        true
    }

    /// A message is refused because the rules do not allow it: nothing of it happens.
    pub(super) fn refused(&mut self, text: &str, sound: Sound, known: Known<'_>) {
        assert!(text.contains("\r\ncode:403\r\nreason:forbidden\r\n"), "{text}");
        let guard = known.guard.unwrap_or_else(|| panic!("there are no rules: {text}"));
        let (_, must) = self.may(guard, sound.since, known.clock, &sound.questions);
        assert!(!must, "client {} may do this, {:?}: {text}", self.number, sound.questions);
        self.void.push(sound.publication);
        sound.live.into_iter().for_each(|index| self.intervals[index].is_doubtful = true);
        for index in sound.over.into_iter().chain(sound.replaced) {
            self.intervals[index].goes_on();
        }
        for wish in &sound.wishes {
            self.note(known, &wish.name, What::Refused(wish.number));
        }
        sound.standing.into_iter().for_each(|index| self.standings[index].is_refused = true);
    }

    /// The user that the client has asked to be last; `None` for an anonymous one.
    pub(super) fn last_user(&self) -> Option<&str> {
        let standing = self.standings.iter().rev().find(|standing| !standing.is_refused);
        standing.and_then(|standing| standing.claims.as_ref()).map(|claims| &*claims.user)
    }

    /// A subscription has ended because the rules do not allow it any more.
    pub(super) fn subscription_ended(&mut self, name: &str, known: Known<'_>) {
        self.unfollow(name);
        let guard = known.guard.expect("there are rules");
        let of_name = self.intervals.iter().filter(|interval| interval.name == name);
        let from = of_name.map(Interval::asked).min().expect("it has asked for it");
        let (_, must) = self.may(guard, from, known.clock, &[(Action::Subscribe, name.to_owned())]);
        assert!(!must, "client {} may have {name}", self.number);
        let of_name = self.intervals.iter_mut().filter(|interval| interval.name == name);
        of_name.for_each(|interval| interval.is_doubtful = true);
        self.note(known, name, What::Ended);
    }

    /// Whether the client's message may be carried out, and whether it must be, when it was sent at `from` and answered by
    /// `to`.
    pub(crate) fn may(&self, guard: &Guard, from: u64, to: u64, questions: &[(Action, String)]) -> (bool, bool) {
        let answers = questions
            .iter()
            .map(|(action, name)| guard.allows(&self.standings, from, to, Question { action: *action, name }));
        answers.fold((true, true), |sum, (may, must)| (sum.0 && may, sum.1 && must))
    }
}

impl World {
    /// The token of a new client, if it has one, for its URL.
    pub(super) fn first_token(&mut self, index: usize) -> Option<String> {
        self.guard.as_ref()?;
        let user = *USERS.choose(&mut self.rng).expect("some");
        let claims = self.rng.random_bool(0.7).then(|| self.claims(user));
        let token = claims.as_ref().map(write);
        let claims = claims.map(Arc::new);
        let (asked, answered) = (0, Some(0)); // it is nobody else before
        self.clients[index].standings.push(Standing { claims, asked, answered, is_refused: false });
        token
    }

    /// A new token for a client, which a message brings.
    pub(super) fn next_token(&mut self, index: usize) -> Option<String> {
        self.guard.as_ref()?;
        // Where it is known who is present, more of those that nobody knows become somebody.
        let is_nobody = self.attendance.is_some() && self.clients[index].last_user().is_none();
        if self.rng.random_bool(if is_nobody { 0.6 } else { 0.9 }) {
            return None;
        }
        let users = self.clients[index].standings.iter().filter_map(|standing| standing.claims.as_ref());
        let user = users.map(|claims| claims.user.to_string()).next().unwrap_or_else(|| "b".to_owned());
        let claims = self.claims(&user);
        let token = write(&claims);
        let asked = self.clock;
        let standing = Standing { claims: Some(Arc::new(claims)), asked, answered: None, is_refused: false };
        self.clients[index].standings.push(standing);
        Some(token)
    }

    fn claims(&mut self, user: &str) -> Claims {
        let mut list = || {
            let count = self.rng.random_range(0..3);
            LISTED.sample(&mut self.rng, count).map(|&name| Box::from(name)).collect()
        };
        Claims { user: user.into(), subscribe: list(), publish: list(), info: None, expires: u64::MAX / 4_000 }
    }

    /// What clients have published against the rules reaches nobody; where the rules leave it open, nobody must get it.
    pub(super) fn void_what_the_rules_forbid(&mut self) {
        let Some(guard) = &self.guard else { return };
        for publication in &mut self.publications {
            let Some(client) = self.clients.get(publication.publisher) else { continue };
            let questions: Vec<_> = publication.channels.iter().map(|name| (Action::Publish, name.clone())).collect();
            let (may, must) = client.may(guard, publication.sent, publication.settled, &questions);
            publication.is_unsound |= !may;
            publication.is_certain &= must;
        }
    }
}

/// Makes new rules for all nodes, and puts them into the limits.
pub(super) fn make_rules(
    rng: &mut StdRng,
    limits: &mut Limits,
    clock: u64,
    guard: Option<&mut Guard>,
    keeper: Option<&mut Keeper>,
    attendance: Option<&mut Attendance>,
) {
    let mut config = config(rng, guard.is_some(), keeper.is_some());
    if attendance.is_some() {
        Attendance::add_to(rng, &mut config.channels);
    }
    let rules = Arc::new(Rules::new(&config));
    limits.rules = Arc::clone(&rules);
    guard.into_iter().for_each(|guard| guard.change(&rules, clock));
    keeper.into_iter().for_each(|keeper| keeper.change(&rules, clock));
    attendance.into_iter().for_each(|attendance| attendance.change(&rules, clock));
}

/// Rules for some channels, in any order.
fn config(rng: &mut StdRng, is_guarded: bool, keeps: bool) -> Config {
    let mut who = || *[Who::Anyone, Who::Anyone, Who::User, Who::Token, Who::Nobody].choose(rng).expect("some");
    let both = [(); RULES.len()].map(|()| (who(), who()));
    let count = rng.random_range(0..5);
    let numbers: Vec<usize> = (0..RULES.len()).collect();
    let rule = |&number: &usize| {
        let rule: ChannelRule = RULES[number].parse().expect("it is a pattern");
        if is_guarded { rule.subscribe(both[number].0).publish(both[number].1) } else { rule }
    };
    let mut channels: Vec<_> = numbers.sample(rng, count).map(rule).collect();
    if keeps {
        Keeper::add_to(rng, &mut channels);
    }
    Config { channels, token_key: is_guarded.then(|| "key".into()), ..Config::default() }
}

fn write(claims: &Claims) -> String {
    let list = |names: &[Box<str>]| names.join(",");
    format!("{}/{}/{}/{}", claims.user, claims.expires, list(&claims.subscribe), list(&claims.publish))
}
