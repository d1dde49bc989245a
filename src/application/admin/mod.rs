//! The windows for operators and backends: metrics, a page and an API, on listeners of `admin` (docs/ADMIN.md).
//!
//! One core serves them. A question that concerns all cores goes to each as a letter. The request waits until all have
//! answered, or two seconds have passed; the answer then names the cores that did not.

mod access;
mod asked;
mod cluster;
mod configuration;
mod few;
mod figures;
mod gathering;
mod kept;
mod nodes;
mod page;
mod publishing;
mod query;
mod remembered;
mod said;
mod status;
mod wanted;

use std::{cmp::Ordering, sync::Arc, time::Duration};

use crate::{
    engine::{
        application::{Answer, BodyRoute, Reply, Route},
        arrival::Arrival,
        hub::Hub,
        inbox::{Letter, Mailbox},
        log_limit::LogLimit,
        node_link::NodeLink,
        session::Endpoint,
        slot::{ConnectionKey, Slot},
        survey::{Answered, Question},
    },
    protocol::http::RequestHead,
};

use self::{
    asked::Asked,
    cluster::Cluster,
    gathering::{Asker, Gathering, Kind},
    nodes::{Asking, Heard, Nodes},
    query::Query,
    remembered::Remembered,
    said::Said,
};
pub(crate) use self::{
    figures::{Figures, Process},
    gathering::Gathered,
};

/// The one path that needs no key.
const HEALTH: &str = "/healthz";
/// How long the cores may take for their answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The most bytes of a request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The same of one that goes to all nodes.
const NODES_BODY_BYTES_MAX: usize = 128 * 1024;
/// The most questions of other nodes that wait for the cores.
const OF_NODES_MAX: usize = 64;
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
    /// The other nodes of a cluster.
    nodes: Option<Nodes>,
}

/// Whether a request is served although the places of operators are full: strangers without the key may have them.
pub(super) fn is_operators(hub: &Hub, head: &RequestHead<'_, '_>) -> bool {
    head.path == HEALTH || access::has_key(hub, head)
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
            nodes: None,
        }
    }

    /// The same for a node of a cluster. `asks`: it has operators of its own.
    pub(crate) fn with_nodes(self, link: Option<NodeLink>, asks: bool) -> Self {
        Self { nodes: link.map(|link| Nodes::new(link, asks)), ..self }
    }

    /// Decides how a request goes on.
    pub(super) fn on_request(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        arrival: &Arrival,
    ) -> Route<'_> {
        if head.path == HEALTH {
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
                let (method, target) = (head.method.to_owned(), head.target.to_owned());
                let asking = Asking { method, target, body: String::new() };
                let asker = Asker::Connection(hub.sessions.key(slot));
                match self.ask(hub, asker, (question, kind), Some(asking)) {
                    Ok(()) => Route::Later,
                    Err(said) => {
                        self.said = said;
                        Route::Answer(self.said.answer())
                    }
                }
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
        let asked = wanted::of_body(endpoint, body).and_then(|asked| {
            let (method, target) = ("POST".to_owned(), wanted::path_of(endpoint).to_owned());
            let asking = Asking { method, target, body: String::from_utf8_lossy(body).into_owned() };
            self.ask(hub, Asker::Connection(hub.sessions.key(slot)), asked, Some(asking))
        });
        match asked {
            Ok(()) => Reply::Later,
            Err(said) => {
                self.said = said;
                Reply::Now(self.said.answer())
            }
        }
    }

    /// Asks all cores, or the home of the channel that the question is about; and other nodes with `asking`.
    ///
    /// # Errors
    /// The answer to a question that cannot be asked. Nothing has happened then.
    fn ask(
        &mut self,
        hub: &Hub,
        asker: Asker,
        (question, kind): (Question, Kind),
        asking: Option<Asking>,
    ) -> Result<(), Said> {
        self.asked = self.asked.wrapping_add(1);
        let (id, own) = (self.asked, self.nodes.as_ref().map(Nodes::own));
        let question = local(question, own)?;
        let cluster = match (&self.nodes, asking.filter(|_| question.is_for_nodes())) {
            (Some(nodes), Some(asking)) => {
                if asking.body.len() > NODES_BODY_BYTES_MAX {
                    return Err(Said::error(413, "too-big", "a body for all nodes has at most 128 KiB"));
                }
                if !nodes.ask(id, &asking) {
                    let sentence = "too much waits for the other nodes: send the request again";
                    return Err(Said::error(503, "busy", sentence).header("Retry-After", "1"));
                }
                Some(Cluster::new(nodes.own(), nodes.known()))
            }
            _ => None,
        };
        let question = Arc::new(question);
        let mailbox = &self.mailboxes[self.own as usize];
        let home = question.of_home().map(|name| hub.router.homes().of(name));
        let cores = home.map_or(0..self.mailboxes.len() as u32, |home| home..home + 1);
        let page_bytes_max = hub.limits.answer_bytes();
        let deadline = hub.ran() + ANSWER_WITHIN;
        let mut gathering = Gathering::new((id, asker), (kind, own), deadline, cores.clone(), page_bytes_max);
        if let Some(cluster) = cluster {
            gathering.of_cluster(cluster);
        }
        for core in cores {
            let letter = Letter::Ask { id, question: Arc::clone(&question), asker: mailbox.clone() };
            if self.mailboxes[core as usize].post(letter).is_err() {
                gathering.gives_up(core);
            }
        }
        self.gatherings.push(gathering);
        Ok(())
    }

    /// Takes a message of another node. Gives the answer to a request that waited for it alone.
    pub(super) fn on_node(&mut self, hub: &Hub, message: &[u8]) -> Option<Gathered> {
        match self.nodes.as_mut()?.hear(hub.ran(), message) {
            Heard::Nothing => None,
            Heard::Answer { node, id, status, body } => {
                let index = self.gatherings.iter().position(|gathering| gathering.id == id)?;
                let is_whole = self.gatherings[index].take_of_node(node, status, &body);
                is_whole.then(|| self.gatherings.swap_remove(index).finish())
            }
            Heard::Question { node, id, asking } => {
                let of_nodes = |gathering: &&Gathering| matches!(gathering.asker, Asker::Node(..));
                if self.gatherings.iter().filter(of_nodes).count() >= OF_NODES_MAX {
                    static LIMIT: LogLimit = LogLimit::new();
                    LIMIT.say(|more| log::warn!("admin: other nodes ask too much at once{more}"));
                    return None;
                }
                let asked = of_node(&asking).and_then(|asked| self.ask(hub, Asker::Node(node, id), asked, None));
                asked.err().map(|said| Gathered { asker: Asker::Node(node, id), said })
            }
        }
    }

    /// Sends an answer to another node, or gives that for a connection here.
    pub(super) fn settle(&self, Gathered { asker, said }: Gathered) -> Option<(ConnectionKey, Said)> {
        match (asker, &self.nodes) {
            (Asker::Connection(key), _) => return Some((key, said)),
            (Asker::Node(node, id), Some(nodes)) => nodes.answer(node, id, &said),
            (Asker::Node(..), None) => {}
        }
        None
    }

    /// Says hello to other nodes if that is due.
    pub(super) fn say_hello(&mut self, now: Duration) {
        if let Some(nodes) = &mut self.nodes {
            nodes.say_hello(now);
        }
    }

    /// Takes a core's answer. Gives the answer to the request if it was the last one.
    pub(super) fn on_told(&mut self, id: u32, core: u32, answer: Answered) -> Option<Gathered> {
        let index = self.gatherings.iter().position(|gathering| gathering.id == id)?;
        self.gatherings[index].take(core, answer).then(|| self.gatherings.swap_remove(index).finish())
    }

    /// When the oldest question is late, or other nodes are greeted.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let hello = self.nodes.as_ref().and_then(Nodes::next_hello);
        self.gatherings.iter().map(|gathering| gathering.deadline).chain(hello).min()
    }

    /// The answer to a request that some core did not answer in time.
    pub(super) fn take_late(&mut self, now: Duration) -> Option<Gathered> {
        let index = self.gatherings.iter().position(|gathering| gathering.deadline <= now)?;
        Some(self.gatherings.swap_remove(index).finish())
    }
}

/// What another node asks for, as far as its operators may ask that of all nodes.
///
/// # Errors
/// The answer to another request.
fn of_node(asking: &Asking) -> Result<(Question, Kind), Said> {
    let Asking { method, target, body } = asking;
    let path = target.split('?').next().unwrap_or_default();
    let asked = match wanted::of_request(method, path, target)? {
        Asked::Question(question, kind) => Some((question, kind)),
        Asked::Metrics | Asked::Status | Asked::Configuration => None,
        Asked::Body(wanted::PUBLISH | wanted::BATCH) => None,
        Asked::Body(endpoint) => Some(wanted::of_body(endpoint, body.as_bytes())?),
    };
    let asked = asked.filter(|(question, _)| question.is_for_nodes());
    asked.ok_or_else(|| Said::bad("this is not for all nodes"))
}

/// The question for this node: connections of others are none of its own.
///
/// # Errors
/// An id does not say of which node it is.
fn local(mut question: Question, own: Option<u64>) -> Result<Question, Said> {
    const NO_CORE: u32 = u32::MAX;
    if let Question::Connections { whose, .. } | Question::Close { whose, .. } | Question::Subscribe { whose, .. } =
        &mut question
        && let Some((core, _)) = &mut whose.connection
    {
        match (own, whose.node) {
            (Some(_), None) => return Err(Said::bad("in a cluster an id of a connection begins with its node")),
            (own, node) if own != node => *core = NO_CORE,
            _ => {}
        }
    }
    if let Question::Connections { from, from_node: Some(node), .. } = &mut question {
        match own.cmp(&Some(*node)) {
            Ordering::Less => *from = (NO_CORE, 0),
            Ordering::Equal => {}
            Ordering::Greater => *from = (0, 0),
        }
    }
    Ok(question)
}
