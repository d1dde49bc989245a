//! New options for a running server: some change at once, others need a restart.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::{
    config::{ChannelRule, Config, Plan, Reload},
    engine::{
        inbox::{CoreOptions, Letter, Mailbox},
        limits::Limits,
    },
    error::{PublishError, ReloadError, StartError},
    service::SecretFiles,
    tls::{self, Acceptor},
    token::Keys,
};

use super::prepare;

/// How long all cores together may take to accept new options. A core needs longer only if it or a peer hangs.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);

/// Gives a running server new options. Made by [`Handle::reloader`](super::Handle::reloader). Its clones are for the same
/// server.
#[derive(Clone, Debug)]
pub struct Reloader {
    mailboxes: Vec<Mailbox>,
    /// The options in use. Locked during a reload, so that two reloads do not mix.
    running: Arc<Mutex<Config>>,
    /// The same and their plan, for readers that must not wait for the end of a reload.
    shown: Arc<Mutex<Arc<(Config, Plan)>>>,
    /// `outbox-max`, for the bridge.
    outbox_bytes_max: Arc<AtomicUsize>,
    /// `max-publish-channels`, for publishers of other threads.
    publish_channels_max: Arc<AtomicUsize>,
    /// The files that the services log in with.
    secret_files: Vec<Arc<dyn SecretFiles>>,
    /// The files of TLS, if an address speaks it.
    acceptor: Option<Acceptor>,
    /// The keys of tokens, if the server takes some.
    keys: Option<Weak<Keys>>,
}

/// The outcome of [`Reloader::reload`]: options by name, as the daemon spells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Options that have changed.
    pub applied: Vec<&'static str>,
    /// Options whose wanted value differs from the one in use, and that need a restart to change.
    pub needs_restart: Vec<&'static str>,
}

impl Reloader {
    pub(super) fn new(
        mailboxes: Vec<Mailbox>,
        (running, plan): (Config, Plan),
        secret_files: Vec<Arc<dyn SecretFiles>>,
        acceptor: Option<Acceptor>,
        keys: Option<Weak<Keys>>,
    ) -> Self {
        let shared = |limit: usize| Arc::new(AtomicUsize::new(limit));
        let (outbox_bytes_max, publish_channels_max) =
            (shared(running.outbox_bytes_max), shared(running.publish_channels_max));
        let shown = Arc::new(Mutex::new(Arc::new((running.clone(), plan))));
        let running = Arc::new(Mutex::new(running));
        Self { mailboxes, running, shown, outbox_bytes_max, publish_channels_max, secret_files, acceptor, keys }
    }

    /// `outbox-max` as it is now.
    pub(super) fn outbox_bytes_max(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.outbox_bytes_max)
    }

    /// `max-publish-channels` as it is now.
    pub(super) fn publish_channels_max(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.publish_channels_max)
    }

    /// The options in use: those of the start, with all changes since.
    pub fn config(&self) -> Config {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The options in use and their plan, at once: a core that waited for a reload would wait for itself.
    #[cfg(feature = "admin")]
    pub(super) fn shown(&self) -> Arc<(Config, Plan)> {
        Arc::clone(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies those of the options `wanted` that can change while the server runs. Each core takes them between two turns.
    /// The call waits at most 3 seconds for that. If it returns without an error, no core uses the old options any more.
    ///
    /// Do not call it from a processor or filter: the core's thread would wait for itself. Do not call it from a thread that
    /// a processor or filter has started either: such a thread is pinned to a CPU, so the server would seem to have only one.
    ///
    /// The bridge's login files for NATS are read again. If one has changed, [`Reloaded::applied`] names its option, and the
    /// bridge connects again with it, without a gap. The files of TLS are read again too, for the handshakes that begin
    /// after that. If one cannot be used, or has a certificate that has expired, that is an error.
    ///
    /// An option whose [`Declaration::reload`](crate::config::Declaration::reload) is [`Reload::AtOnce`] changes at once,
    /// for connections that are open too; so do the rules of channels.
    /// If this call returns without an error, nothing more is delivered to a connection that the new rules do not allow to
    /// get it: such subscriptions have ended, with an error to the client. What was delivered before may still be on its
    /// way to a slow client. The others do not: [`Reloaded::needs_restart`]
    /// names them. A connection that is over a lowered limit meets it when it next does something that the limit is
    /// about.
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
    /// [`ReloadError::Invalid`]: a server could not start with `wanted`, or this one could not run with the part of it that
    /// can change. Nothing has changed then. [`ReloadError::Busy`] and [`ReloadError::Stopped`]: not every core has taken the
    /// options. Some may have and others still may; the next reload gives the options to all cores again.
    pub fn reload(&self, wanted: &Config) -> Result<Reloaded, ReloadError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        prepare(wanted)?;
        let mut next = running.clone();
        let mut reloaded = lay_over(&mut next, wanted);
        let plan = next.resolve().map_err(|error| match (error, &reloaded.needs_restart[..]) {
            (error, []) => error,
            (error, waiting) => StartError::Config(format!(
                "{error}; these options need a restart and keep their values: {}",
                waiting.join(", ")
            )),
        })?;
        match &self.acceptor {
            Some(acceptor) => acceptor.check(&next).map_err(StartError::Config)?,
            None => _ = tls::acceptor(wanted)?, // for the restart
        }
        let options = CoreOptions {
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
        drop(taken); // so that a core that ends without taking its letter closes the channel
        for _ in &self.mailboxes {
            all_taken.recv_deadline(deadline).map_err(|error| match error {
                RecvTimeoutError::Timeout => ReloadError::Busy,
                RecvTimeoutError::Disconnected => ReloadError::Stopped,
            })?;
        }
        self.outbox_bytes_max.store(next.outbox_bytes_max, Ordering::Relaxed);
        self.publish_channels_max.store(next.publish_channels_max, Ordering::Relaxed);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new((next.clone(), plan));
        *running = next;
        for option in self.acceptor.as_ref().map_or_else(Vec::new, Acceptor::take_checked) {
            if !reloaded.applied.contains(&option) {
                reloaded.applied.push(option);
            }
        }
        for files in &self.secret_files {
            reloaded.applied.extend(files.reread().map_err(StartError::Config)?);
        }
        if let Some(keys) = self.keys.as_ref().and_then(Weak::upgrade) {
            reloaded.applied.extend(keys.reread().map_err(StartError::Config)?);
        }
        Ok(reloaded)
    }
}

/// Copies those options from `wanted` to `running` that can change while a server runs.
fn lay_over(running: &mut Config, wanted: &Config) -> Reloaded {
    let mut reloaded = Reloaded::default();
    for option in Config::OPTIONS {
        if !option.differs(running, wanted) {
            continue;
        }
        match option.reload {
            Reload::AtOnce => {
                option.copy(running, wanted);
                reloaded.applied.push(option.name);
            }
            Reload::Restart | Reload::FileReadAgain => reloaded.needs_restart.push(option.name),
        }
    }
    if running.channels != wanted.channels {
        running.channels.clone_from(&wanted.channels);
        reloaded.applied.push(ChannelRule::KEY);
    }
    reloaded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_can_change_are_taken_and_the_others_are_named() {
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

    #[test]
    fn rules_for_channels_are_taken_all_together() {
        let wanted = Config { channels: vec!["room.*".parse().unwrap()], ..Config::default() };
        let mut running = Config::default();
        assert_eq!(lay_over(&mut running, &wanted).applied, ["channel"]);
        assert_eq!(running, wanted);
    }
}
