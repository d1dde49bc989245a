//! The windows for operators and backends: metrics and an API, on listeners of `admin` (docs/ADMIN.md).
//!
//! One core serves them. A question that concerns all cores goes to each as a letter. The request waits until all have
//! answered, or two seconds have passed; the answer then names the cores that did not.

mod access;
mod asked;
mod configuration;
mod few;
mod figures;
mod gathering;
mod kept;
mod page;
mod publishing;
mod query;
mod remembered;
mod said;
mod status;
mod wanted;

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        application::{Answer, BodyRoute, Reply, Route},
        arrival::Arrival,
        hub::Hub,
        inbox::{Letter, Mailbox},
        session::Endpoint,
        slot::Slot,
        survey::{Answered, Question},
    },
    protocol::http::RequestHead,
};

use self::{
    asked::Asked,
    gathering::{Gathering, Kind},
    query::Query,
    remembered::Remembered,
    said::Said,
};
pub(crate) use self::{
    figures::{Figures, Process},
    gathering::Gathered,
};

/// How long the cores may take for their answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The most bytes of a request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const TOO_BIG: &str = "{\"error\":\"too-big\",\"message\":\"the body is over 1 MiB\"}";

/// What the listeners of `admin` serve.
pub(crate) struct Admin {
    /// The ways to all cores, by number; this core's too.
    mailboxes: Vec<Mailbox>,
    own: u32,
    figures: Arc<dyn Figures>,
    gatherings: Vec<Gathering>,
    /// The number of questions so far.
    asked: u32,
    /// The last answer that was not asked of other cores.
    said: Said,
    /// The answers to publishes with an idempotency key.
    remembered: Remembered,
}

impl Admin {
    /// For core number `own`; `mailboxes` lead to all cores.
    pub(crate) fn new(own: u32, mailboxes: Vec<Mailbox>, figures: Arc<dyn Figures>) -> Self {
        Self {
            mailboxes,
            own,
            figures,
            gatherings: Vec::new(),
            asked: 0,
            said: Said::default(),
            remembered: Remembered::default(),
        }
    }

    /// Decides how a request goes on.
    pub(super) fn on_request(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        arrival: &Arrival,
    ) -> Route<'_> {
        if head.path == "/healthz" {
            return Route::Answer(Answer::text(200, "ok"));
        }
        if let Err(refused) = access::check(hub, head, arrival) {
            return Route::Answer(refused);
        }
        if let Some(part) = page::part(head) {
            return Route::Answer(part);
        }
        match wanted::of(head) {
            Ok(Asked::Metrics) => {
                let (content_type, text) = self.figures.metrics(wanted::takes_openmetrics(head));
                self.said = Said::text(content_type, text);
                Route::Answer(self.said.answer())
            }
            Ok(Asked::Status) => {
                self.said = Said::json(&status::of(&*self.figures));
                Route::Answer(self.said.answer())
            }
            Ok(Asked::Configuration) => {
                self.said = Said::json(&configuration::of(&self.figures.running()));
                Route::Answer(self.said.answer())
            }
            Ok(Asked::Question(question, kind)) => {
                self.ask(hub, slot, question, kind);
                Route::Later
            }
            Ok(Asked::Body(endpoint)) => {
                Route::Body(BodyRoute { endpoint, bytes_max: BODY_BYTES_MAX, too_big: TOO_BIG, is_limited: false })
            }
            Err(said) => {
                self.said = said;
                Route::Answer(self.said.answer())
            }
        }
    }

    /// Takes the body of a request.
    pub(super) fn on_body(&mut self, hub: &mut Hub, slot: Slot, endpoint: Endpoint, body: &[u8]) -> Reply<'_> {
        if matches!(endpoint, wanted::PUBLISH | wanted::BATCH) {
            self.said = self.publish(hub, endpoint == wanted::BATCH, body);
            return Reply::Now(self.said.answer());
        }
        match wanted::of_body(endpoint, body) {
            Ok((question, kind)) => {
                self.ask(hub, slot, question, kind);
                Reply::Later
            }
            Err(said) => {
                self.said = said;
                Reply::Now(self.said.answer())
            }
        }
    }

    /// Asks all cores, or the home of the channel that the question is about.
    fn ask(&mut self, hub: &Hub, slot: Slot, question: Question, kind: Kind) {
        self.asked = self.asked.wrapping_add(1);
        let (id, key) = (self.asked, hub.sessions.key(slot));
        let question = Arc::new(question);
        let asker = &self.mailboxes[self.own as usize];
        let home = question.of_home().map(|name| hub.router.homes().of(name));
        let cores = home.map_or(0..self.mailboxes.len() as u32, |home| home..home + 1);
        let page_bytes_max = hub.limits.answer_bytes();
        let mut gathering = Gathering::new((id, key), kind, hub.ran() + ANSWER_WITHIN, cores.clone(), page_bytes_max);
        for core in cores {
            let letter = Letter::Ask { id, question: Arc::clone(&question), asker: asker.clone() };
            if self.mailboxes[core as usize].post(letter).is_err() {
                gathering.gives_up(core);
            }
        }
        self.gatherings.push(gathering);
    }

    /// Takes a core's answer. Gives the answer to the request if it was the last one.
    pub(super) fn on_told(&mut self, id: u32, core: u32, answer: Answered) -> Option<Gathered> {
        let index = self.gatherings.iter().position(|gathering| gathering.id == id)?;
        self.gatherings[index].take(core, answer).then(|| self.gatherings.swap_remove(index).finish())
    }

    /// When the oldest question is late.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.gatherings.iter().map(|gathering| gathering.deadline).min()
    }

    /// The answer to a request that some core did not answer in time.
    pub(super) fn take_late(&mut self, now: Duration) -> Option<Gathered> {
        let index = self.gatherings.iter().position(|gathering| gathering.deadline <= now)?;
        Some(self.gatherings.swap_remove(index).finish())
    }
}
