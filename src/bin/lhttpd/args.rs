//! The flags. Each is optional, so that what is not given comes from the file, and then from the defaults.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use lhttp::config::{Config, Listen, Secret, parse_bytes, parse_cpu_list, parse_duration, parse_micros};
use log::LevelFilter;

// clap's help text is these comments: each says what it does, its unit, and its default.

/// A publish/subscribe server for LHTTP over WebSocket, with one event loop per core.
///
/// Sizes are bytes or such as 64KiB, times are seconds or such as 500ms, 25s, 2m.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "lhttpd",
    version,
    after_help = "Each flag but those of one run (--config, --check, --health) is also a key of the TOML file, without the dashes in front (listen = \"127.0.0.1:8081\").\n\
        A flag wins over LHTTP_PUBLISH_KEY, that over the file, and the file over the default.\n\
        SIGTERM and SIGINT stop the server gracefully; a second one ends it at once. SIGHUP reads the file again and\n\
        takes from it what can change while the server runs; the log names what needs a restart."
)]
pub(crate) struct Args {
    /// Listen on this address, IP:PORT, or this unix socket, unix:/path; may be given several times; port 0 takes a free
    /// one. The default is for this machine alone: 0.0.0.0:8081 is for all [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<Listen>,

    /// Run this many cores, a thread with an event loop each [default: as many as this process may use]
    #[arg(long, value_name = "N")]
    cores: Option<usize>,

    /// Run one core pinned to each of these CPUs, such as 0,2 or 0-3, instead of --cores
    #[arg(long, value_name = "CPUS", value_parser = cpu_list, conflicts_with = "cores")]
    cpu_list: Option<CpuList>,

    /// Read options from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Check the options, say what they come to on this machine, and exit
    #[arg(long)]
    pub(crate) check: bool,

    /// Ask a running server at this URL, such as http://127.0.0.1:8081/healthz, and exit with 0 if it says 200, else with
    /// 1; at most 3 s, for the health check of a container
    #[arg(long, value_name = "URL", exclusive = true)]
    pub(crate) health: Option<String>,

    /// Most bytes of one message, head and body; past it the connection is closed with 1009 [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_message: Option<usize>,

    /// Most bytes of a message's head; past it the message is refused [default: 8KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_head: Option<usize>,

    /// Most headers of one message; past it the message is refused [default: 64]
    #[arg(long, value_name = "N")]
    max_headers: Option<usize>,

    /// Most channels in publish of one message; past it the message is refused [default: 32]
    #[arg(long, value_name = "N")]
    max_publish_channels: Option<usize>,

    /// Most bytes of an HTTP request's head, a handshake's too; past it, or past 128 lines, it gets 431 [default: 32KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_http_head: Option<usize>,

    /// Most connections at once; past it new ones get 503, but for /healthz and POST /publish [default: what open files and memory allow]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,

    /// Most bytes that wait for one connection's peer to read; past it the connection is closed with 1013 [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    outbox_max: Option<usize>,

    /// Most bytes that wait in the whole process, and of subscriptions, which are half of it at most; past it the worst
    /// connections are closed with 1013, and subscribes are refused [default: a quarter of the memory allowed]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory_budget: Option<u64>,

    /// Most channels and patterns that one connection subscribes to; past it a subscribe is refused [default: 1000]
    #[arg(long, value_name = "N")]
    max_subscriptions: Option<usize>,

    /// Most bytes that one connection's subscriptions take, each name counted on every core; past it a subscribe is refused
    /// [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    subscription_bytes: Option<usize>,

    /// Close a connection that is silent for this long; 0 never does [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    idle_timeout: Option<Duration>,

    /// Ping a connection that is silent for this long; 0 never does [default: 25s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ping_interval: Option<Duration>,

    /// Close a new connection whose first request is not whole after this long [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    handshake_timeout: Option<Duration>,

    /// Close a connection whose message is not whole this long after its first byte; 0 never does [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    message_timeout: Option<Duration>,
    /// Close an HTTP connection that has had an answer and begins no other request for this long; 0 never does [default:
    /// 75s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    http_keep_alive: Option<Duration>,

    /// When stopping, go on sending what waits for at most this long [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    drain: Option<Duration>,

    /// After something happened, look for more for this many microseconds before sleeping: answers come sooner, for CPU
    /// time [default: 0]
    #[arg(long, value_name = "MICROS", value_parser = parse_micros)]
    busy_poll: Option<Duration>,

    /// While messages come one by one in close succession, rest for this many microseconds between turns, so that several
    /// share a read and a write; 0 never does [default: 50]
    #[arg(long, value_name = "MICROS", value_parser = parse_micros)]
    coalesce: Option<Duration>,

    /// Bytes that the kernel keeps for one connection whose peer does not read; 0 lets it decide [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    send_buffer: Option<usize>,

    /// Bytes that the kernel keeps for one connection that sends more than is read; 0 lets it decide [default: 512KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    receive_buffer: Option<usize>,

    /// Let POST /publish in only with `Authorization: Bearer KEY`. It guards nothing else: WebSocket clients publish without
    /// it. Others on this machine can see flags, so prefer the environment variable LHTTP_PUBLISH_KEY or the file [default:
    /// everyone may publish]
    #[arg(long, value_name = "KEY")]
    publish_key: Option<Secret>,

    /// Connect to other nodes through one of these NATS servers, nats://host:port or tls://host:port, with user:password@
    /// or token@ before the host; others on this machine can see flags, so a password is better kept in a file [default: this node is alone]
    #[arg(long, value_name = "URL[,URL...]")]
    nats: Option<Secret>,

    /// Log in to NATS with this credentials file
    #[arg(long, value_name = "FILE")]
    nats_creds: Option<PathBuf>,

    /// Log in to NATS with the NKey seed in this file
    #[arg(long, value_name = "FILE")]
    nats_nkey: Option<PathBuf>,

    /// Log in to NATS with this name and --nats-password-file
    #[arg(long, value_name = "NAME")]
    nats_user: Option<String>,

    /// Log in to NATS with the password in this file's first line
    #[arg(long, value_name = "FILE")]
    nats_password_file: Option<PathBuf>,

    /// Speak TLS to NATS, and trust the authorities in this PEM file only
    #[arg(long, value_name = "FILE")]
    nats_tls_ca: Option<PathBuf>,

    /// Show this certificate to NATS servers that demand one, from a PEM file; with --nats-tls-key
    #[arg(long, value_name = "FILE")]
    nats_tls_cert: Option<PathBuf>,

    /// The key of --nats-tls-cert, from a PEM file
    #[arg(long, value_name = "FILE")]
    nats_tls_key: Option<PathBuf>,

    /// Begin TLS before the NATS server says anything
    #[arg(long)]
    nats_tls_first: bool,

    /// At NATS the channel `room` of this node is the subject PREFIX.room [default: the subject is the channel]
    #[arg(long, value_name = "PREFIX")]
    nats_prefix: Option<String>,

    /// Most bytes of messages that wait for NATS while it is away or slow; past it the channel that takes the most loses its
    /// oldest [default: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    nats_buffer: Option<usize>,

    /// Let the upstream header name URLs below this one, by whole segments of the path, such as https://host:port/path or,
    /// with the methods that it may be asked with, 'GET,PUT https://host:port/path' (else GET, HEAD and POST); may be given
    /// several times [default: none, every upstream is refused with 403]
    #[arg(long, value_name = "[METHODS ]URL-PREFIX")]
    upstream_allow: Vec<String>,

    /// Send at most this many upstream requests at once, each on a thread; with several servers one of them has at most half
    /// of these [default: 16]
    #[arg(long, value_name = "N")]
    upstream_workers: Option<usize>,

    /// Most upstream requests that wait for a worker, of one connection a quarter as many as are left free; past it their
    /// senders get error 503 [default: 1024]
    #[arg(long, value_name = "N")]
    upstream_queue: Option<usize>,

    /// Most time for one upstream request, without that in which this process was stopped; past it the sender gets error
    /// 504 [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    upstream_timeout: Option<Duration>,

    /// Most bytes of an upstream's answer that are sent to the client; past it the client gets error 502 [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    upstream_response_max: Option<usize>,

    /// Serve a chat room on this address, IP:PORT, to try the server out with a browser; port 0 takes a free one [default:
    /// no chat room]
    #[arg(long, value_name = "ADDR")]
    pub(crate) demo: Option<SocketAddr>,

    /// Log to stderr what is at least this serious: off, error, warn, info, debug, trace; lines that stderr does not take are
    /// dropped and counted [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<LevelFilter>,
}

impl Args {
    /// Lays what was given over `config`.
    pub(crate) fn lay_over(self, config: &mut Config) {
        if !self.listen.is_empty() {
            config.listen = self.listen;
        }
        // `--cores` and `--cpu-list` are two ways to say one thing: either replaces what the file says of both.
        if self.cores.is_some() || self.cpu_list.is_some() {
            config.cores = self.cores;
            config.cpu_list = self.cpu_list.map(|list| list.0);
        }
        set(&mut config.message_bytes_max, self.max_message);
        set(&mut config.head_bytes_max, self.max_head);
        set(&mut config.headers_max, self.max_headers);
        set(&mut config.publish_channels_max, self.max_publish_channels);
        set(&mut config.http_head_bytes_max, self.max_http_head);
        set(&mut config.connections_max, self.max_connections.map(Some));
        set(&mut config.outbox_bytes_max, self.outbox_max);
        set(&mut config.memory_budget_bytes, self.memory_budget.map(Some));
        set(&mut config.subscriptions_max, self.max_subscriptions);
        set(&mut config.subscription_bytes_max, self.subscription_bytes);
        set(&mut config.idle_timeout, self.idle_timeout);
        set(&mut config.ping_interval, self.ping_interval);
        set(&mut config.handshake_timeout, self.handshake_timeout);
        set(&mut config.message_timeout, self.message_timeout);
        set(&mut config.http_keep_alive, self.http_keep_alive);
        set(&mut config.drain_timeout, self.drain);
        set(&mut config.busy_poll, self.busy_poll);
        set(&mut config.coalesce, self.coalesce);
        set(&mut config.send_buffer_bytes, self.send_buffer);
        set(&mut config.receive_buffer_bytes, self.receive_buffer);
        set(&mut config.publish_key, self.publish_key.map(Some));
        set(&mut config.nats, self.nats.map(Some));
        set(&mut config.nats_creds, self.nats_creds.map(Some));
        set(&mut config.nats_nkey, self.nats_nkey.map(Some));
        set(&mut config.nats_user, self.nats_user.map(Some));
        set(&mut config.nats_password_file, self.nats_password_file.map(Some));
        set(&mut config.nats_tls_ca, self.nats_tls_ca.map(Some));
        set(&mut config.nats_tls_cert, self.nats_tls_cert.map(Some));
        set(&mut config.nats_tls_key, self.nats_tls_key.map(Some));
        config.nats_tls_first |= self.nats_tls_first;
        set(&mut config.nats_prefix, self.nats_prefix.map(Some));
        set(&mut config.nats_buffer_bytes, self.nats_buffer);
        if !self.upstream_allow.is_empty() {
            config.upstream_allow = self.upstream_allow;
        }
        set(&mut config.upstream_workers, self.upstream_workers);
        set(&mut config.upstream_queue_max, self.upstream_queue);
        set(&mut config.upstream_timeout, self.upstream_timeout);
        set(&mut config.upstream_response_bytes_max, self.upstream_response_max);
    }
}

/// The value of one `--cpu-list`. Clap takes a bare `Vec` for a flag that is given several times.
#[derive(Clone, Debug)]
struct CpuList(Vec<usize>);

fn cpu_list(text: &str) -> Result<CpuList, String> {
    parse_cpu_list(text).map(CpuList)
}

fn size(text: &str) -> Result<usize, String> {
    usize::try_from(parse_bytes(text)?).map_err(|_| format!("{text} is more than this machine can address"))
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_option_of_the_library_has_its_flag() {
        let command = Args::command();
        let flags = command.get_arguments().filter_map(|flag| flag.get_long());
        let mut flags: Vec<_> =
            flags.filter(|name| !["config", "check", "health", "demo", "log"].contains(name)).collect();
        let mut names = Config::NAMES;
        flags.sort_unstable();
        names.sort_unstable();
        assert_eq!(flags, names);
    }

    #[test]
    fn the_key_is_not_shown_with_the_flags() {
        let args = Args::parse_from(["lhttpd", "--publish-key", "hunter2"]);
        assert!(!format!("{args:?}").contains("hunter2"));
    }

    #[test]
    fn cores_on_the_command_line_replace_a_cpu_list_of_the_file() {
        let mut config = Config { cpu_list: Some(vec![0]), ..Config::default() };
        Args::parse_from(["lhttpd", "--cores", "1"]).lay_over(&mut config);
        assert_eq!((config.cores, config.cpu_list), (Some(1), None));
    }
}
