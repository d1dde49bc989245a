//! The programs, seen from outside: each test starts `lhttpd`, an example or a tool, and talks to it over real sockets.

#[path = "../helpers"]
mod helpers {
    #[cfg(feature = "admin")]
    pub(crate) mod admin;
    #[cfg(feature = "upstream")]
    #[allow(dead_code, reason = "tests/library uses the rest")]
    pub(crate) mod backend;
    #[cfg(feature = "tls")]
    pub(crate) mod certificates;
    pub(crate) mod client;
    pub(crate) mod closed_port;
    mod cores;
    #[allow(dead_code, reason = "tests/library uses the rest")]
    pub(crate) mod daemon;
    pub(crate) mod frame;
    pub(crate) mod http;
    #[cfg(all(feature = "tls", feature = "upstream"))]
    pub(crate) mod https;
    pub(crate) mod loopback;
    pub(crate) mod message;
    pub(crate) mod namespace;
    pub(crate) mod nats;
    pub(crate) mod process;
    mod random;
    #[cfg(all(feature = "tls", feature = "upstream"))]
    pub(crate) mod reverse_proxy;
    pub(crate) mod scratch;
    #[cfg(all(feature = "tls", feature = "upstream"))]
    #[allow(dead_code, reason = "tests/library uses its server, too")]
    pub(crate) mod tls;
    #[cfg(feature = "token")]
    #[allow(dead_code, reason = "tests/library uses the rest")]
    pub(crate) mod token;
    mod wait;
    #[allow(dead_code, reason = "tests/library uses the rest")]
    pub(crate) mod websocket;
    mod wire;

    pub(crate) use self::{
        cores::{enough_cpus, on_one_and_two_cores},
        random::seeded_rng,
        wait::{PATIENCE, let_pass, wait_for, wait_until},
    };
}

#[cfg(feature = "admin")]
mod admin {
    mod access;
    mod connections;
    mod figures;
    mod messages;
    mod metrics;
    mod openapi;
    #[cfg(feature = "token")]
    mod presence;
    mod publish;
}

mod cli {
    mod options;
    mod process;
    mod running;
    mod secrets;
}

mod deploy {
    mod activation;
    mod health;
    mod listening;
    mod log;
    mod log_lines;
    mod notify;
    #[cfg(all(feature = "tls", feature = "upstream"))]
    mod proxies;
    mod reload;
}

mod door {
    mod addresses;
    mod origins;
    mod proxies;
    mod rates;
}

mod limits {
    mod backlog;
    mod chaos;
    mod connection;
    mod descriptors;
    mod drain;
    mod full;
    mod kernel;
    mod memory;
    mod stalls;
    mod subscriptions;
    mod time;
}

#[cfg(feature = "nats")]
mod nats {
    mod crashes;
    mod example;
    mod gaps;
    mod history;
    mod hostile;
    mod login;
    mod moves;
    mod nodes;
    #[cfg(feature = "admin")]
    mod operators;
    #[cfg(feature = "token")]
    mod presence;
    #[cfg(feature = "tls")]
    mod tls;
}

mod programs {
    #[cfg(all(feature = "admin", feature = "token"))]
    mod backends;
    mod demo;
    mod examples;
}

mod protocol {
    mod bounds;
    mod channels;
    mod control;
    mod errors;
    mod handshake;
    mod history;
    #[cfg(feature = "sqlite")]
    mod history_file;
    mod http;
    mod http_hostile;
    mod http_routes;
    mod message;
    mod multipart;
    mod order;
    #[cfg(feature = "token")]
    mod presence;
    #[cfg(feature = "token")]
    mod tokens;
    mod websocket;
    mod websocket_hostile;
}

#[cfg(feature = "tls")]
mod tls {
    mod files;
    mod handshakes;
    mod records;
    mod renewal;
    mod s_client;
}

#[cfg(feature = "upstream")]
mod upstream;
