//! The rules for channels in the form that a core evaluates: who may subscribe and publish where (PROTOCOL.md §9).
//!
//! The first rule that matches a channel decides. A core asks once for a subscription, and once for a grant and a head; it
//! never asks for a message that repeats a head.

mod coverage;

use std::borrow::Cow;

use crate::{
    config::{ChannelRule, Config, Presence, RULE_USER, Who},
    engine::history::Retention,
    protocol::channel::{self, Kind, tokens},
    token::Claims,
};

use self::coverage::{Pattern, Piece};

/// The rules of a server. All cores share them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    list: Box<[Rule]>,
    /// Who may do everything that no rule is about.
    otherwise: Who,
    /// Every client may do everything: nothing needs to be checked.
    is_open: bool,
    /// Some channels have a history.
    has_history: bool,
    /// Of some channels it is known who is subscribed.
    has_presence: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    pattern: Box<[Token]>,
    subscribe: Who,
    publish: Who,
    stamps: bool,
    retention: Option<Retention>,
    presence: Option<Presence>,
}

/// A token of a rule's pattern.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Piece(Piece<'static>),
    /// The name of the user who asks.
    User,
}

/// The client that asks for something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker<'a> {
    /// A client without a token.
    Anonymous,
    /// The holder of the publish key, who may publish everywhere and subscribe nowhere.
    Key,
    /// A client with a valid token.
    User(&'a Claims),
}

/// The action that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Subscribe,
    Publish,
}

/// The answer of the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) is_allowed: bool,
    /// The message carries the name of its user.
    pub(crate) stamps: bool,
    /// The work: patterns that were compared.
    pub(crate) steps: u64,
}

impl<'a> Asker<'a> {
    /// The name of the user as a token of a channel. A name that is not one token stands for no channel: a user named `>` or
    /// `a.b` must not reach the channels of others.
    fn user_token(self) -> Option<&'a [u8]> {
        let Self::User(claims) = self else { return None };
        let name = claims.user.as_bytes();
        let is_token = !name.contains(&b'.') && matches!(channel::check_subscribe(name), Ok(Kind::Exact));
        is_token.then_some(name)
    }

    /// Whether `who` includes this client for every channel; `None` if the lists of its token decide.
    fn is_in(self, who: Who) -> Option<bool> {
        match (who, self) {
            (Who::Anyone, _) | (Who::User, Self::User(_)) => Some(true),
            (Who::Token, Self::User(_)) => None,
            (Who::User | Who::Token, _) | (Who::Nobody, _) => Some(false),
        }
    }

    /// The channels and patterns that the token lists for an action.
    fn listed(self, action: Action) -> &'a [Box<str>] {
        match (self, action) {
            (Self::User(claims), Action::Subscribe) => &claims.subscribe,
            (Self::User(claims), Action::Publish) => &claims.publish,
            (Self::Anonymous | Self::Key, _) => &[],
        }
    }
}

impl Rules {
    /// The rules of a configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let otherwise = if config.has_tokens() { Who::Token } else { Who::Anyone };
        let list: Box<[Rule]> = config.channels.iter().map(|rule| Rule::new(rule, otherwise)).collect();
        let allows_all = |rule: &Rule| rule.subscribe == Who::Anyone && rule.publish == Who::Anyone && !rule.stamps;
        let is_open = otherwise == Who::Anyone && list.iter().all(allows_all);
        let has_history = list.iter().any(|rule| rule.retention.is_some());
        let has_presence = list.iter().any(|rule| rule.presence.is_some());
        Self { list, otherwise, is_open, has_history, has_presence }
    }

    /// Whether there are channels with presence.
    pub(crate) fn has_presence(&self) -> bool {
        self.has_presence
    }

    /// Who learns who is subscribed to a channel; nobody if `None`.
    pub(crate) fn presence(&self, name: &[u8]) -> Option<Presence> {
        self.of_channel(name)?.presence
    }

    /// Whether there are channels with a history.
    pub(crate) fn has_history(&self) -> bool {
        self.has_history
    }

    /// As much as each rule keeps of a channel; `None` if none keeps anything.
    pub(crate) fn widest_retention(&self) -> Option<Retention> {
        self.list.iter().filter_map(|rule| rule.retention).reduce(Retention::wider)
    }

    /// How much of a channel is kept.
    pub(crate) fn retention(&self, name: &[u8]) -> Option<Retention> {
        self.of_channel(name)?.retention
    }

    /// The rule for what is the same for every client of a channel: `{user}` stands for any token there.
    fn of_channel(&self, name: &[u8]) -> Option<&Rule> {
        self.list.iter().find(|rule| rule.is_about(name, |_| true))
    }

    /// Whether every client may do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether a client may publish to a channel.
    pub(crate) fn publish(&self, asker: Asker<'_>, name: &[u8]) -> Verdict {
        let mut verdict = self.exact(asker, Action::Publish, name);
        verdict.is_allowed |= matches!(asker, Asker::Key);
        verdict
    }

    /// Whether a client may subscribe to a channel, or to every channel that a pattern matches.
    pub(crate) fn subscribe<'a>(&'a self, asker: Asker<'a>, name: &'a [u8], kind: Kind) -> Verdict {
        match kind {
            _ if self.is_open => Verdict { is_allowed: true, ..Verdict::default() },
            Kind::Exact => self.exact(asker, Action::Subscribe, name),
            Kind::Pattern => self.pattern(asker, name),
        }
    }

    /// Evaluates the first rule that matches one channel.
    fn exact(&self, asker: Asker<'_>, action: Action, name: &[u8]) -> Verdict {
        let user = asker.user_token();
        let found = self.list.iter().position(|rule| rule.matches(name, user));
        let rule = found.map(|index| &self.list[index]);
        let who = rule.map_or(self.otherwise, |rule| rule.who(action));
        let is_listed = |listed: &[Box<str>]| listed.iter().any(|one| channel::matches(one.as_bytes(), name));
        let is_allowed = asker.is_in(who).unwrap_or_else(|| is_listed(asker.listed(action)));
        let steps = found.unwrap_or(self.list.len()) + asker.listed(action).len();
        Verdict { is_allowed, stamps: rule.is_some_and(|rule| rule.stamps), steps: steps as u64 }
    }

    /// Whether a client may subscribe to every channel that a pattern matches.
    ///
    /// Each rule decides the channels that it and the pattern both match, without those that an earlier rule matches. If the
    /// rule does not allow them all, none may be left: earlier rules must match all of them, or the client's token must list
    /// them. The channels that no rule matches are the default's, in the same way.
    fn pattern<'a>(&'a self, asker: Asker<'a>, name: &'a [u8]) -> Verdict {
        let user = asker.user_token();
        let rules: Vec<Option<Pattern<'_>>> = self.list.iter().map(|rule| rule.resolve(user)).collect();
        let listed = asker.listed(Action::Subscribe).iter().map(|one| Pattern::new(one.as_bytes()));
        let listed: Vec<Pattern<'_>> = listed.collect();
        let asked = Pattern::new(name);
        let mut steps = (rules.len() + listed.len()) as u64;
        let mut is_covered = |part: &Pattern<'a>, before: usize, who: Who| {
            let listed = if asker.is_in(who).is_none() { &listed[..] } else { &[] };
            part.is_covered(listed.iter().chain(rules[..before].iter().flatten()), &mut steps)
        };
        let mut is_allowed = true;
        for (index, (rule, pattern)) in self.list.iter().zip(&rules).enumerate() {
            let Some(pattern) = pattern else { continue };
            let allows_all = asker.is_in(rule.subscribe) == Some(true);
            if !allows_all
                && let Some(part) = asked.intersection(pattern)
                && !is_covered(&part, index, rule.subscribe)
            {
                is_allowed = false;
                break;
            }
        }
        if is_allowed && asker.is_in(self.otherwise) != Some(true) {
            is_allowed = is_covered(&asked, rules.len(), self.otherwise);
        }
        Verdict { is_allowed, stamps: false, steps }
    }
}

impl Rule {
    fn new(rule: &ChannelRule, otherwise: Who) -> Self {
        let token = |token: &[u8]| match token {
            RULE_USER => Token::User,
            b"*" => Token::Piece(Piece::One),
            b">" => Token::Piece(Piece::Rest),
            text => Token::Piece(Piece::Text(Cow::Owned(text.to_owned()))),
        };
        Self {
            pattern: tokens(rule.pattern().as_bytes()).map(token).collect(),
            subscribe: rule.subscribe.unwrap_or(otherwise),
            publish: rule.publish.unwrap_or(otherwise),
            stamps: rule.stamp,
            retention: Retention::of(rule),
            presence: rule.presence,
        }
    }

    fn who(&self, action: Action) -> Who {
        match action {
            Action::Subscribe => self.subscribe,
            Action::Publish => self.publish,
        }
    }

    /// Whether the rule is about this channel.
    fn matches(&self, name: &[u8], user: Option<&[u8]>) -> bool {
        self.is_about(name, |token| user == Some(token))
    }

    /// The same, if `is_user` says whether a token is the name of the user.
    fn is_about(&self, name: &[u8], is_user: impl Fn(&[u8]) -> bool) -> bool {
        if channel::is_system(name) && matches!(self.pattern.first(), Some(Token::Piece(Piece::One | Piece::Rest))) {
            return false;
        }
        let mut names = tokens(name);
        for token in &self.pattern {
            let Some(name) = names.next() else { return false };
            match token {
                Token::Piece(Piece::Rest) => return true,
                Token::Piece(Piece::One) => {}
                Token::Piece(Piece::Text(text)) if **text == *name => {}
                Token::User if is_user(name) => {}
                Token::Piece(Piece::Text(_)) | Token::User => return false,
            }
        }
        names.next().is_none()
    }

    /// The pattern with the name of the user in its place; `None` if the rule matches nothing for this client.
    fn resolve<'a>(&'a self, user: Option<&'a [u8]>) -> Option<Pattern<'a>> {
        let pieces = self.pattern.iter().map(|token| match token {
            Token::User => user.map(|name| Piece::Text(Cow::Borrowed(name))),
            Token::Piece(Piece::Text(text)) => Some(Piece::Text(Cow::Borrowed(text))),
            Token::Piece(Piece::One) => Some(Piece::One),
            Token::Piece(Piece::Rest) => Some(Piece::Rest),
        });
        pieces.collect()
    }
}

#[cfg(test)]
mod tests;
