//! New options for a server that runs: what can change while it does, and what waits for a restart.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::{
    config::Config,
    edge::nats,
    engine::{
        hub::Limits,
        inbox::{Letter, Mailbox, Options},
    },
    error::{PublishError, ReloadError, StartError},
};

use super::prepare;

/// How long the cores have to take the new options, all together. A core takes longer only when it or a peer of it hangs.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);

/// Gives a running server new options. Made by [`Handle::reloader`](super::Handle::reloader); its
/// clones speak of the same server.
#[derive(Clone, Debug)]
pub struct Reloader {
    mailboxes: Vec<Mailbox>,
    /// What the server runs with. Held for as long as a reload takes, so that two of them do not mix.
    running: Arc<Mutex<Config>>,
    /// `outbox-max`, for the bridge.
    outbox_bytes_max: Arc<AtomicUsize>,
    /// `max-publish-channels`, for publishers of other threads.
    publish_channels_max: Arc<AtomicUsize>,
    /// The files that the bridge logs in with.
    nats: Option<Arc<nats::Access>>,
}

/// What came of a [`Reloader::reload`]: options by their names, as the daemon spells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// These have changed.
    pub applied: Vec<&'static str>,
    /// These are wanted otherwise than the server runs, which takes a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Reloader {
    pub(super) fn new(mailboxes: Vec<Mailbox>, running: Config, nats: Option<Arc<nats::Access>>) -> Self {
        let shared = |limit: usize| Arc::new(AtomicUsize::new(limit));
        let (outbox_bytes_max, publish_channels_max) =
            (shared(running.outbox_bytes_max), shared(running.publish_channels_max));
        Self { mailboxes, running: Arc::new(Mutex::new(running)), outbox_bytes_max, publish_channels_max, nats }
    }

    /// `outbox-max` as it is now.
    pub(super) fn outbox_bytes_max(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.outbox_bytes_max)
    }

    /// `max-publish-channels` as it is now.
    pub(super) fn publish_channels_max(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.publish_channels_max)
    }

    /// What the server runs with: the configuration that it was started with, and over it what was reloaded since.
    pub fn config(&self) -> Config {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lays `wanted` over the running server. Each core takes it between two turns; 3 seconds at most are waited for that, and
    /// when this returns without an error nothing goes by the old options any more.
    ///
    /// Call it from a thread of the program's own: a core's thread, which runs processors and filters, would wait for
    /// itself, and it is pinned to a CPU, as are threads that it starts, so that the server would seem to have only that one.
    ///
    /// The files with which the bridge logs in to NATS are read again: if one has changed, it is named in
    /// [`Reloaded::applied`], and the bridge connects anew with it, without a gap.
    ///
    /// The limits of messages and connections, the times, the publish key and the drain time change at once, for
    /// connections that are open too. `listen`, `cores`, `cpu-list`, `max-message`, `send-buffer`, `receive-buffer` and all of `nats` and
    /// `upstream` do not:
    /// they are named in [`Reloaded::needs_restart`]. A connection that is over a lowered limit meets it when it next does
    /// something that the limit is about.
    ///
    /// ```
    /// use lhttp::{Server, config::Config};
    ///
    /// let config = Config { listen: vec!["127.0.0.1:0".parse()?], ..Config::default() };
    /// let handle = Server::builder().config(config.clone()).start()?;
    /// let wanted = Config { subscriptions_max: 10, cores: Some(1), ..config };
    /// let reloaded = handle.reloader().reload(&wanted)?;
    /// assert_eq!(reloaded.applied, ["max-subscriptions"]);
    /// assert_eq!(reloaded.needs_restart, ["cores"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReloadError::Invalid`] if a server could not start with `wanted`, or could not go on with the part of it that
    /// can change: nothing has changed then. [`ReloadError::Busy`] and [`ReloadError::Stopped`] if not every core has
    /// taken it: some may have, others still will, and the next reload gives it to all of them again.
    pub fn reload(&self, wanted: &Config) -> Result<Reloaded, ReloadError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        prepare(wanted)?;
        let mut next = running.clone();
        let mut reloaded = lay_over(&mut next, wanted);
        let plan = next.resolve().map_err(|error| match (error, &reloaded.needs_restart[..]) {
            (error, []) => error,
            (error, waiting) => {
                StartError::Config(format!("{error}; what waits for a restart is as before: {}", waiting.join(", ")))
            }
        })?;
        let options = Options {
            limits: Limits::new(&next, plan.memory_budget_bytes, self.mailboxes.len()),
            connections_max: plan.connections_max,
            busy_poll: next.busy_poll,
            coalesce: next.coalesce,
        };
        let deadline = Instant::now() + TAKEN_WITHIN;
        let (taken, all_taken) = bounded(self.mailboxes.len());
        for mailbox in &self.mailboxes {
            let letter = Letter::Options(Box::new(options.clone()), taken.clone());
            mailbox.post_by(deadline, letter).map_err(|error| match error {
                PublishError::Stopped => ReloadError::Stopped,
                PublishError::Full | PublishError::Invalid(_) => ReloadError::Busy,
            })?;
        }
        drop(taken); // a core that ends without taking its letter drops the other end
        for _ in &self.mailboxes {
            all_taken.recv_deadline(deadline).map_err(|error| match error {
                RecvTimeoutError::Timeout => ReloadError::Busy,
                RecvTimeoutError::Disconnected => ReloadError::Stopped,
            })?;
        }
        self.outbox_bytes_max.store(next.outbox_bytes_max, Ordering::Relaxed);
        self.publish_channels_max.store(next.publish_channels_max, Ordering::Relaxed);
        *running = next;
        if let Some(nats) = &self.nats {
            reloaded.applied.extend(nats.reread().map_err(StartError::Config)?);
        }
        Ok(reloaded)
    }
}

/// Takes from `wanted` what can change while a server runs.
fn lay_over(running: &mut Config, wanted: &Config) -> Reloaded {
    // Every field is named here, so that whoever adds an option must decide which of the two it is.
    let Config {
        listen,
        cores,
        cpu_list,
        message_bytes_max,
        head_bytes_max,
        headers_max,
        publish_channels_max,
        http_head_bytes_max,
        connections_max,
        outbox_bytes_max,
        memory_budget_bytes,
        subscriptions_max,
        subscription_bytes_max,
        idle_timeout,
        ping_interval,
        handshake_timeout,
        message_timeout,
        http_keep_alive,
        drain_timeout,
        busy_poll,
        coalesce,
        send_buffer_bytes,
        receive_buffer_bytes,
        publish_key,
        nats,
        nats_creds,
        nats_nkey,
        nats_user,
        nats_password_file,
        nats_tls_ca,
        nats_tls_cert,
        nats_tls_key,
        nats_tls_first,
        nats_prefix,
        nats_buffer_bytes,
        upstream_allow,
        upstream_workers,
        upstream_queue_max,
        upstream_timeout,
        upstream_response_bytes_max,
    } = wanted;
    let mut reloaded = Reloaded::default();
    let needs_restart = [
        ("listen", running.listen != *listen),
        ("cores", running.cores != *cores),
        ("cpu-list", running.cpu_list != *cpu_list),
        // Publishers of other threads hold a copy of it.
        ("max-message", running.message_bytes_max != *message_bytes_max),
        // Accepted sockets inherit them from the listener's.
        ("send-buffer", running.send_buffer_bytes != *send_buffer_bytes),
        ("receive-buffer", running.receive_buffer_bytes != *receive_buffer_bytes),
        // The bridge would have to leave one cluster for another under its subscribers.
        ("nats", running.nats != *nats),
        ("nats-creds", running.nats_creds != *nats_creds),
        ("nats-nkey", running.nats_nkey != *nats_nkey),
        ("nats-user", running.nats_user != *nats_user),
        ("nats-password-file", running.nats_password_file != *nats_password_file),
        ("nats-tls-ca", running.nats_tls_ca != *nats_tls_ca),
        ("nats-tls-cert", running.nats_tls_cert != *nats_tls_cert),
        ("nats-tls-key", running.nats_tls_key != *nats_tls_key),
        ("nats-tls-first", running.nats_tls_first != *nats_tls_first),
        ("nats-prefix", running.nats_prefix != *nats_prefix),
        ("nats-buffer", running.nats_buffer_bytes != *nats_buffer_bytes),
        // What waits for the workers was checked against these.
        ("upstream-allow", running.upstream_allow != *upstream_allow),
        ("upstream-workers", running.upstream_workers != *upstream_workers),
        ("upstream-queue", running.upstream_queue_max != *upstream_queue_max),
        ("upstream-timeout", running.upstream_timeout != *upstream_timeout),
        ("upstream-response-max", running.upstream_response_bytes_max != *upstream_response_bytes_max),
    ];
    reloaded.needs_restart = needs_restart.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    reloaded.apply("max-head", &mut running.head_bytes_max, head_bytes_max);
    reloaded.apply("max-headers", &mut running.headers_max, headers_max);
    reloaded.apply("max-publish-channels", &mut running.publish_channels_max, publish_channels_max);
    reloaded.apply("max-http-head", &mut running.http_head_bytes_max, http_head_bytes_max);
    reloaded.apply("max-connections", &mut running.connections_max, connections_max);
    reloaded.apply("outbox-max", &mut running.outbox_bytes_max, outbox_bytes_max);
    reloaded.apply("memory-budget", &mut running.memory_budget_bytes, memory_budget_bytes);
    reloaded.apply("max-subscriptions", &mut running.subscriptions_max, subscriptions_max);
    reloaded.apply("subscription-bytes", &mut running.subscription_bytes_max, subscription_bytes_max);
    reloaded.apply("idle-timeout", &mut running.idle_timeout, idle_timeout);
    reloaded.apply("ping-interval", &mut running.ping_interval, ping_interval);
    reloaded.apply("handshake-timeout", &mut running.handshake_timeout, handshake_timeout);
    reloaded.apply("message-timeout", &mut running.message_timeout, message_timeout);
    reloaded.apply("http-keep-alive", &mut running.http_keep_alive, http_keep_alive);
    reloaded.apply("drain", &mut running.drain_timeout, drain_timeout);
    reloaded.apply("busy-poll", &mut running.busy_poll, busy_poll);
    reloaded.apply("coalesce", &mut running.coalesce, coalesce);
    reloaded.apply("publish-key", &mut running.publish_key, publish_key);
    reloaded
}

impl Reloaded {
    fn apply<T: Clone + PartialEq>(&mut self, name: &'static str, running: &mut T, wanted: &T) {
        if running != wanted {
            running.clone_from(wanted);
            self.applied.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_change_is_taken_and_what_cannot_is_named() {
        let start = Config::default();
        let wanted = Config {
            message_bytes_max: 1 << 10,
            head_bytes_max: 512,
            idle_timeout: Duration::from_secs(90),
            publish_key: Some("hunter2".into()),
            ..Config::default()
        };
        let mut running = start.clone();
        let reloaded = lay_over(&mut running, &wanted);
        assert_eq!(reloaded.applied, ["max-head", "idle-timeout", "publish-key"]);
        assert_eq!(reloaded.needs_restart, ["max-message"]);
        assert_eq!(running, Config { message_bytes_max: start.message_bytes_max, ..wanted.clone() });
        assert_eq!(lay_over(&mut running, &wanted).applied, [""; 0], "the second time there is nothing new");
        assert_eq!(lay_over(&mut running, &wanted).needs_restart, ["max-message"], "it still waits for the restart");
    }
}
