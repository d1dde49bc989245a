//! Picks the next request. Flows take turns, round robin: after each of its requests a flow waits for the other flows of its
//! server. Servers take turns too, and none takes so many workers that another server has to wait for one.

use std::collections::{HashMap, VecDeque};

use super::fetch::{Fetch, Flow};

/// If there is more than one server, each may use 1/`PART_OF_WORKERS` of the workers, rounded up.
const PART_OF_WORKERS: usize = 2;

/// The requests that wait or are under way, by server and flow.
#[derive(Debug)]
pub(super) struct Schedule {
    workers: usize,
    /// Workers with a request.
    busy: usize,
    servers: Vec<Server>,
    /// The server whose turn is next.
    next_server: usize,
    flows: HashMap<Flow, FlowQueue>,
}

#[derive(Debug, Default)]
struct Server {
    under_way: usize,
    /// Flows with a waiting request and none under way, in the order of their turns.
    ready: VecDeque<Flow>,
}

/// The waiting requests of one flow. A flow with neither a waiting request nor one under way is removed.
#[derive(Debug, Default)]
struct FlowQueue {
    is_under_way: bool,
    requests: VecDeque<Box<Fetch>>,
}

impl Schedule {
    /// A schedule for this many workers and servers.
    pub(super) fn new(workers: usize, servers: usize) -> Self {
        let servers = (0..servers).map(|_| Server::default()).collect();
        Self { workers, busy: 0, servers, next_server: 0, flows: HashMap::new() }
    }

    /// Adds a request.
    pub(super) fn enter(&mut self, fetch: Box<Fetch>) {
        let flow = fetch.flow();
        let waiting = self.flows.entry(flow).or_default();
        waiting.requests.push_back(fetch);
        if !waiting.is_under_way && waiting.requests.len() == 1 {
            self.servers[flow.server].ready.push_back(flow);
        }
    }

    /// Takes the next request that may begin, if there is one. The worker calls [`Schedule::done`] after it.
    pub(super) fn begin(&mut self) -> Option<Box<Fetch>> {
        let servers = self.servers.len();
        let number =
            (0..servers).map(|step| (self.next_server + step) % servers).find(|&number| self.may_begin(number))?;
        self.next_server = (number + 1) % servers;
        let server = &mut self.servers[number];
        let waiting = self.flows.get_mut(&server.ready.pop_front()?)?;
        let fetch = waiting.requests.pop_front()?;
        waiting.is_under_way = true;
        server.under_way += 1;
        self.busy += 1;
        Some(fetch)
    }

    /// True if a request may begin.
    pub(super) fn can_begin(&self) -> bool {
        (0..self.servers.len()).any(|number| self.may_begin(number))
    }

    /// Ends the request of a flow that is under way, and frees its worker. This lets at most one other request begin.
    pub(super) fn done(&mut self, flow: Flow) {
        self.busy -= 1;
        self.servers[flow.server].under_way -= 1;
        let Some(waiting) = self.flows.get_mut(&flow) else { return };
        waiting.is_under_way = false;
        if waiting.requests.is_empty() {
            self.flows.remove(&flow);
        } else {
            self.servers[flow.server].ready.push_back(flow);
        }
    }

    /// True if a server has a waiting request and may use one more worker. It gets its first worker at once; more only up to
    /// its part of them, and only if enough workers stay free for every server without one.
    fn may_begin(&self, number: usize) -> bool {
        let server = &self.servers[number];
        if server.ready.is_empty() || self.busy >= self.workers {
            return false;
        }
        let idle_servers = self.servers.iter().filter(|server| server.under_way == 0).count();
        let part = if self.servers.len() == 1 { self.workers } else { self.workers.div_ceil(PART_OF_WORKERS) };
        let left = self.workers - self.busy - 1;
        server.under_way == 0 || (server.under_way < part && left >= idle_servers)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ureq::http::{Method, Uri};

    use super::*;
    use crate::{config::parse_url, engine::slot::ConnectionKey, upstream::fetch::Target};

    /// A request of a connection to a server, with a number as its command.
    fn fetch(connection: u32, server: usize, number: usize) -> Box<Fetch> {
        let url = parse_url("http://h/").expect("a URL");
        Box::new(Fetch {
            core: 0,
            key: ConnectionKey { slot: connection, generation: 0 },
            peer: Ipv4Addr::LOCALHOST.into(),
            target: Target { method: Method::GET, uri: Uri::from_static("http://h/"), url, server },
            command: number.to_string().into_bytes().into(),
            content_type: None,
            ack: None,
            wants_reply: false,
            body: Box::default(),
            place: None,
        })
    }

    fn name(fetch: &Fetch) -> (u32, usize, String) {
        (fetch.key.slot, fetch.target.server, String::from_utf8_lossy(&fetch.command).into_owned())
    }

    /// Begins all requests that may begin, and gives them.
    fn begin_all(schedule: &mut Schedule) -> Vec<Fetch> {
        std::iter::from_fn(|| schedule.begin().map(|fetch| *fetch)).collect()
    }

    #[test]
    fn a_flow_goes_behind_the_others_after_each_request() {
        let mut schedule = Schedule::new(1, 1);
        (0..100).for_each(|number| schedule.enter(fetch(0, 0, number)));
        schedule.enter(fetch(1, 0, 0));
        schedule.enter(fetch(1, 0, 1));
        schedule.enter(fetch(2, 0, 0));
        let mut order = Vec::new();
        while let Some(fetch) = schedule.begin() {
            assert!(schedule.begin().is_none(), "there is one worker");
            order.push(name(&fetch));
            schedule.done(fetch.flow());
        }
        let expected: Vec<_> = [(0, "0"), (1, "0"), (2, "0"), (0, "1"), (1, "1"), (0, "2"), (0, "3")]
            .map(|(connection, number)| (connection, 0, number.to_owned()))
            .to_vec();
        assert_eq!(order[..7], expected);
        assert_eq!(order.len(), 103);
        assert!(schedule.flows.is_empty() && schedule.busy == 0);
    }

    #[test]
    fn a_flow_has_one_request_under_way_and_its_server_may_have_many() {
        let mut schedule = Schedule::new(16, 1);
        for connection in 0..20 {
            (0..3).for_each(|number| schedule.enter(fetch(connection, 0, number)));
        }
        let begun = begin_all(&mut schedule);
        assert_eq!(begun.len(), 16, "the only server may have every worker");
        let mut connections: Vec<_> = begun.iter().map(|fetch| fetch.key.slot).collect();
        connections.dedup();
        assert_eq!(connections, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn a_server_that_hangs_leaves_workers_to_all_the_others() {
        for workers in 1..=20 {
            for servers in 2..=5 {
                let mut schedule = Schedule::new(workers, servers);
                (0..100).for_each(|connection| schedule.enter(fetch(connection, 0, 0)));
                let hanging = begin_all(&mut schedule).len();
                assert!((1..=workers.div_ceil(2)).contains(&hanging), "{hanging} of {workers}");
                // Requests to the other servers follow, one server after the other, and hang too.
                for server in 1..servers.min(workers) {
                    (0..100).for_each(|connection| schedule.enter(fetch(connection, server, 0)));
                    let begun = begin_all(&mut schedule);
                    assert!(!begun.is_empty(), "server {server} of {servers} with {workers} workers");
                    assert!(begun.iter().all(|fetch| fetch.target.server == server));
                }
                assert!(schedule.busy <= workers);
            }
        }
    }

    /// Therefore an idle worker can end once no more requests will come: the busy ones do the rest.
    #[test]
    fn the_end_of_a_request_lets_at_most_one_begin() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..300 {
            let (workers, servers) = (1 + random(8), 1 + random(5));
            let mut schedule = Schedule::new(workers, servers);
            let mut under_way = Vec::new();
            let (mut entered, mut done) = (0, 0);
            for step in 0..200 {
                if step < 100 && random(2) == 0 {
                    schedule.enter(fetch(random(6) as u32, random(servers), step));
                    entered += 1;
                    under_way.extend(begin_all(&mut schedule));
                } else if !under_way.is_empty() {
                    let fetch = under_way.swap_remove(random(under_way.len()));
                    schedule.done(fetch.flow());
                    done += 1;
                    under_way.extend(schedule.begin().map(|fetch| *fetch));
                    assert!(!schedule.can_begin() && schedule.begin().is_none(), "a second one could have begun");
                }
                assert!(under_way.len() <= workers);
            }
            while let Some(fetch) = under_way.pop() {
                schedule.done(fetch.flow());
                done += 1;
                under_way.extend(schedule.begin().map(|fetch| *fetch));
            }
            assert_eq!((entered, schedule.flows.len(), schedule.busy), (done, 0, 0), "nothing is left behind");
        }
    }
}
