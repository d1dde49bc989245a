//! From the configuration to the client's options. What is secret in them is read here and given to the client alone.

use std::{fs, path::Path, sync::Arc, time::Duration};

use async_nats::{Client, ClientError, ConnectError, ConnectOptions, Event, Server, ServerAddr, ServerError};

use crate::config::{Config, Login, NatsServer, Secret};

use super::{
    link::{Link, random},
    lock,
    refusal::Refusal,
    sever::Sever,
};

/// Commands on their way to the client's own task.
const CLIENT_CAPACITY: usize = 256;
/// Messages that the client keeps for one subscription; it takes memory only as they come. The client may read 8 MiB
/// before anybody else runs, which is fewer messages than this.
const SUBSCRIPTION_CAPACITY: usize = 256 * 1024;
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection of which nothing was heard for two to three times as long is dead.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// What the bridge needs of the configuration.
pub(crate) struct Options {
    addresses: Vec<ServerAddr>,
    connect: ConnectOptions,
}

impl Options {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// One sentence that names the option and the file, and no secret.
    pub(super) fn read(config: &Config) -> Result<Self, String> {
        let servers = config.nats_servers()?;
        let mut connect = ConnectOptions::new();
        if let Some(login) = config.nats_login()? {
            connect = log_in(connect, &login)?;
        }
        if let Some(path) = &config.nats_tls_ca {
            let text = read("nats-tls-ca", path)?;
            if !text.contains("-----BEGIN CERTIFICATE-----") {
                return Err(format!("nats-tls-ca: there is no certificate in {}", path.display()));
            }
            connect = connect.add_root_certificates(path.clone());
        }
        // Of all servers, for the client takes those that a server tells it of to be without.
        connect = connect.require_tls(config.nats_tls_ca.is_some() || servers.iter().any(|server| server.is_tls));
        let scheme = |is_tls: bool| if is_tls { "tls" } else { "nats" };
        let address = |server: &NatsServer| {
            let url = format!("{}://{}", scheme(server.is_tls), server.address);
            url.parse::<ServerAddr>().map_err(|_| format!("nats: {} is not an address", server.address))
        };
        let addresses = servers.iter().map(address).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { addresses, connect })
    }

    /// The servers, for the log.
    pub(super) fn shown(&self) -> String {
        self.addresses.iter().map(ServerAddr::as_url_str).collect::<Vec<_>>().join(", ")
    }

    /// Makes the client, which goes on to connect by itself.
    ///
    /// # Errors
    /// An address that the client cannot parse.
    pub(super) async fn connect(&self, link: &Arc<Link>) -> Result<Client, ConnectError> {
        let (of_attempts, of_servers, of_events) = (Arc::clone(link), Arc::clone(link), Arc::clone(link));
        let sever = Sever::find().inspect_err(|error| {
            log::warn!("NATS: {error}; when packets vanish for a while, messages may come late and out of order");
        });
        let options = self
            .connect
            .clone()
            .name("lhttpd")
            .no_echo()
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .client_capacity(CLIENT_CAPACITY)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .retain_servers_order()
            .reconnect_delay_callback(move |attempt| {
                if attempt == 1
                    && let Ok(sever) = &sever
                    && let Err(error) = sever.reset_all()
                {
                    log::warn!("NATS: the broken connection is not reset: {error}");
                }
                of_attempts.attempt(attempt)
            })
            .reconnect_to_server_callback(move |servers, _| {
                // It chooses none; it is only shown what became of the last attempts.
                failed(&of_servers, &servers);
                std::future::ready(None)
            })
            .event_callback(move |event| {
                note(&of_events, event);
                std::future::ready(())
            });
        options.connect(shuffled(self.addresses.clone())).await
    }
}

/// In an order of this node's own, so that nodes spread over the servers. The client would shuffle them itself, but in a
/// static binary its random numbers come from `/dev/urandom`, and where there is none its task would panic.
fn shuffled(mut addresses: Vec<ServerAddr>) -> Vec<ServerAddr> {
    for last in (1..addresses.len()).rev() {
        addresses.swap(last, (random() % (last as u64 + 1)) as usize);
    }
    addresses
}

/// Events are only a hint of when to look, and the words of errors.
fn note(link: &Link, event: Event) {
    match event {
        Event::ClientError(ClientError::Other(reason)) => link.failed_somehow(reason),
        Event::SlowConsumer(_) => link.overflow(),
        Event::ServerError(ServerError::Other(text)) => refused(link, &text),
        Event::ServerError(error) => refused(link, &error.to_string()),
        _ => link.changed.notify_one(),
    }
}

/// Why the client is not connected, in the words of the system and of TLS: its event says "IO error" of all that.
fn failed(link: &Link, servers: &[Server]) {
    if link.is_up() {
        return; // this outage begins: what failed did so before the last connection
    }
    let reason = |server: &Server| {
        let error = server.last_error.as_deref()?;
        Some(if servers.len() == 1 { error.to_owned() } else { format!("{}: {error}", server.addr.as_url_str()) })
    };
    let reasons: Vec<String> = servers.iter().filter_map(reason).collect();
    if !reasons.is_empty() {
        link.failed(reasons.join(", "));
    }
}

fn refused(link: &Link, text: &str) {
    let mut refusals = lock(&link.refusals);
    match Refusal::parse(text) {
        Some(Refusal::Barrier(number)) => return link.barrier_answered(number),
        Some(Refusal::Publish(subject)) => refusals.publishes.add(&subject),
        Some(Refusal::Subscription(name)) => {
            refusals.subscriptions.add(&name);
            refusals.names.push(name);
        }
        None => refusals.others.add(text),
    }
    link.changed.notify_one();
}

fn log_in(connect: ConnectOptions, login: &Login) -> Result<ConnectOptions, String> {
    let secret = |secret: &Secret| secret.expose().to_owned();
    Ok(match login {
        Login::Password(user, password) => connect.user_and_password(user.clone(), secret(password)),
        Login::Token(token) => connect.token(secret(token)),
        Login::PasswordFile(user, path) => {
            connect.user_and_password(user.clone(), first_line("nats-password-file", path)?)
        }
        Login::Credentials(path) => connect
            .credentials(&read("nats-creds", path)?)
            .map_err(|_| format!("nats-creds: {} is not a credentials file", path.display()))?,
        Login::Nkey(path) => {
            let seed = first_line("nats-nkey", path)?;
            if nkeys_seed_is_sound(&seed) {
                connect.nkey(seed)
            } else {
                return Err(format!("nats-nkey: {} does not hold a seed, which begins with SU", path.display()));
            }
        }
    })
}

fn nkeys_seed_is_sound(seed: &str) -> bool {
    seed.len() == 58 && seed.starts_with("SU") && seed.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
}

fn read(option: &str, path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{option}: cannot read {}: {error}", path.display()))
}

fn first_line(option: &str, path: &Path) -> Result<String, String> {
    let text = read(option, path)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{option}: {} is empty", path.display())),
    }
}
