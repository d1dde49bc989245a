//! The loop of the bridge's task: it waits for an event, changes its state, and does the work that is due.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::{unconstrained, yield_now},
    time::{Duration, Instant, Sleep, sleep_until},
};

use super::{
    connection::{Activity, Connection},
    dial::{Dialed, Failures},
    gate::{Gate, Login},
    lasting::Lasting,
    reconnect::{ClientEvent, start_client},
    stop::Stop,
    tally::When,
    task::Task,
};

/// The most time that a stopping bridge goes on sending while it is connected.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// The least time, for the messages that the cores hand over when they end; a server that answers needs less.
const STOP_TIME_MIN: Duration = Duration::from_millis(100);
/// How often a stopping bridge looks whether everything is sent.
const STOP_TICK: Duration = Duration::from_millis(2);
/// A pause after the system has refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Reads from servers before the client's own task has its turn.
const READS_PER_TURN: usize = 16;

/// The events of the task.
enum Event {
    Client(Option<ClientEvent>),
    Accepted(io::Result<TcpStream>),
    LoggedIn(Option<Login>),
    Dialed(Option<(Result<Box<Dialed>, String>, Failures)>),
    /// Other threads have sent something, or ask the task to stop.
    Woken,
    /// All batches that could be published were published.
    Published,
    /// The connection at this place was active.
    Active(usize, Activity),
    /// Something is due.
    Time,
}

/// The bridge is stopping.
struct Stopping {
    until: Instant,
    look_at: Instant,
}

/// Runs the bridge with one client, to the client's end.
///
/// # Errors
/// The reason why the client has ended. None if the bridge was asked to stop.
pub(super) async fn run(lasting: &mut Lasting, stop: &Stop) -> Result<(), String> {
    let gate = Gate::open().await.map_err(|error| format!("there is no port for the bridge's own use: {error}"))?;
    let url = gate.url().map_err(|error| error.to_string())?;
    let started = start_client(&lasting.access, url, gate.token()).await;
    let (client, client_state, mut client_events) = started.map_err(|error| error.to_string())?;
    let mut task = Task::new(lasting, client, client_state, gate.token().clone(), Instant::now());
    let (mut stopping, mut accept_at, mut reads) = (None::<Stopping>, None::<Instant>, 0);
    let mut sleep = pin!(sleep_until(Instant::now()));
    loop {
        let now = Instant::now();
        let has_more = task.act(now);
        if task.lasting.stream.is_hopeless {
            break;
        }
        if let Some(by) = stop.by() {
            // Nothing can be sent while NATS is away.
            let longest = if task.client_state.is_up() { STOP_TIME_MAX } else { Duration::ZERO };
            let until = by.max(now + STOP_TIME_MIN).min(now + longest);
            let stopping = stopping.get_or_insert(Stopping { until, look_at: now });
            if task.is_sent(stopping, now) {
                break;
            }
        }
        accept_at = accept_at.filter(|at| *at > now);
        if has_more || reads >= READS_PER_TURN {
            reads = 0;
            yield_now().await;
        }
        let due_at = [Some(task.due_at(now)), accept_at, stopping.as_ref().map(|stopping| stopping.look_at)];
        let due_at = due_at.into_iter().flatten().min().unwrap_or(now);
        let gate = accept_at.is_none().then_some(&gate);
        if sleep.deadline() != due_at {
            sleep.as_mut().reset(due_at);
        }
        match next_event(&mut task, gate, &mut client_events, sleep.as_mut()).await {
            Event::Client(None) if stopping.is_some() => break,
            Event::Client(None) => return Err("its task has ended".to_owned()),
            Event::Client(Some(event)) => task.client_event(event),
            Event::Accepted(Ok(client)) => task.accept(client),
            Event::Accepted(Err(error)) => {
                log::warn!("NATS: the bridge cannot accept its own client: {error}");
                accept_at = Some(now + ACCEPT_PAUSE);
            }
            Event::LoggedIn(login) => _ = login.map(|login| task.logged_in(login)),
            Event::Dialed(dialed) => _ = dialed.map(|(dialed, failures)| task.dialed(dialed, failures)),
            Event::Woken => {
                task.lasting.publisher.wake();
                task.hearing.has_news |= task.lasting.uplink.has_interest();
            }
            Event::Published => task.lasting.show_counts(),
            Event::Active(at, activity) => {
                reads += usize::from(matches!(activity, Activity::Received));
                task.active(at, activity);
            }
            Event::Time => {}
        }
    }
    task.finish();
    Ok(())
}

impl Task<'_> {
    /// Does the work that is due. True if more interest waits: take it in after the client's own task has had its turn.
    fn act(&mut self, now: Instant) -> bool {
        self.close_old(now);
        if self.look_at <= now {
            self.look(now);
        }
        let has_more = self.hear_at(now) <= now && self.hear(now);
        self.act_for_stream(now);
        self.act_for_members(now);
        self.act_for_operators();
        if self.may_publish() {
            self.lasting.publisher.load(self.client_state.taken(), now);
        }
        has_more
    }

    fn act_for_stream(&mut self, now: Instant) {
        let (current, message_bytes_max) = (self.current_index(), self.client.max_payload());
        let commands = current.map(|at| &mut self.connections[at].commands);
        self.lasting.act_for_stream(commands, message_bytes_max, now);
    }

    fn act_for_operators(&mut self) {
        let (current, message_bytes_max) = (self.current_index(), self.client.max_payload());
        let commands = current.map(|at| &mut self.connections[at].commands);
        self.lasting.operators.act(commands, message_bytes_max);
    }

    fn act_for_members(&mut self, now: Instant) {
        let commands = self.current_index().map(|at| &mut self.connections[at].commands);
        let Lasting { members, to_cores, .. } = &mut *self.lasting;
        members.act(commands, to_cores, now);
    }

    /// When something is due at the latest.
    fn due_at(&self, now: Instant) -> Instant {
        let retry_at = self.lasting.publisher.retry_at().filter(|_| self.may_publish());
        let duplicates_end_at = self.lasting.duplicates.as_ref().and_then(|duplicates| duplicates.ends_at);
        let close_at = self.connections.iter().filter_map(|connection| connection.close_at).min();
        let stream_at = self.lasting.stream.due_at(now);
        let members_at = self.lasting.members.due_at();
        let own = [Some(self.look_at), Some(self.hear_at(now)), retry_at, duplicates_end_at, close_at];
        let all = own.into_iter().chain([stream_at, members_at]);
        all.flatten().min().unwrap_or(now)
    }

    /// A connection has sent or received something, or has ended.
    fn active(&mut self, at: usize, activity: Activity) {
        match activity {
            Activity::Sent => {}
            Activity::Received => self.receive(at),
            Activity::Left => self.close(at, None),
            Activity::Broken(error) => self.close(at, Some(error.to_string())),
        }
        // Another connection is polled first.
        let others = self.connections.len().min(1);
        self.connections.rotate_left(others);
    }

    /// True if the server has confirmed everything, or the time for that is over. Asks the server now and then.
    fn is_sent(&mut self, stopping: &mut Stopping, now: Instant) -> bool {
        let has_said_goodbye = self.has_said_goodbye();
        let is_idle = self.lasting.uplink.is_empty() && self.lasting.stream.is_idle() && has_said_goodbye;
        if now >= stopping.until || (is_idle && !self.has_unconfirmed()) {
            return true;
        }
        if now >= stopping.look_at {
            stopping.look_at = now + STOP_TICK;
            if let Some(connection) = self.current() {
                connection.commands.ask_for_arrival();
            }
        }
        false
    }

    /// Tells other nodes that this one ends, and its users with it. True if they know, or cannot be told.
    fn has_said_goodbye(&mut self) -> bool {
        let Some(at) = self.current_index() else { return true };
        let (members, commands) = (&mut self.lasting.members, &mut self.connections[at].commands);
        if !members.is_wanted() || members.has_ended && commands.is_empty() && commands.owes_since().is_none() {
            return true;
        }
        members.say_goodbye(commands);
        false
    }

    /// Gives up the messages that could not be sent, and logs them.
    fn finish(&mut self) {
        let taken = self.client_state.taken();
        let unsent = self.lasting.publisher.give_up_waiting() + self.lasting.publisher.unsent(taken);
        let unconfirmed = self.lasting.progress.unconfirmed(taken) + self.lasting.stream.waiting() as u64;
        if unsent + unconfirmed > 0 {
            log::warn!(
                "NATS: {unsent} messages for other nodes were not sent, {unconfirmed} more may not have arrived"
            );
        }
        self.lasting.log_drops(When::Now);
        self.lasting.show_counts();
    }
}

/// Waits for the next event. The sources are polled in random order, so that none holds up the others for long.
async fn next_event(
    task: &mut Task<'_>,
    gate: Option<&Gate>,
    client_events: &mut mpsc::Receiver<ClientEvent>,
    sleep: Pin<&mut Sleep>,
) -> Event {
    let Task { lasting, client, client_state, logins, dials, connections, .. } = task;
    let Lasting { publisher, wake, .. } = &mut **lasting;
    let is_publishing = publisher.has_batch();
    tokio::select! {
        event = client_events.recv() => Event::Client(event),
        Some(login) = logins.join_next(), if !logins.is_empty() => Event::LoggedIn(login.ok()),
        Some(dialed) = dials.join_next(), if !dials.is_empty() => Event::Dialed(dialed.ok()),
        Some(client) = wait_for(gate.map(Gate::accept)) => Event::Accepted(client),
        () = wake.notified() => Event::Woken,
        // The client's queue ends the task's turn; the runtime would end it after each 128 messages.
        () = unconstrained(publisher.publish(client, client_state)), if is_publishing => Event::Published,
        (at, activity) = poll_fn(|cx| poll(connections, cx)) => Event::Active(at, activity),
        () = sleep => Event::Time,
    }
}

/// Waits for a future, if there is one.
async fn wait_for<F: Future>(future: Option<F>) -> Option<F::Output> {
    match future {
        Some(future) => Some(future.await),
        None => None,
    }
}

/// Lets connections send and receive, until one of them has done so.
fn poll(connections: &mut [Connection], cx: &mut Context<'_>) -> Poll<(usize, Activity)> {
    for (at, connection) in connections.iter_mut().enumerate() {
        if let Poll::Ready(activity) = connection.poll(cx) {
            return Poll::Ready((at, activity));
        }
    }
    Poll::Pending
}
