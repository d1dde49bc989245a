//! The crate `lhttp` in the test's own process: servers with extensions, nodes beside NATS, the upstream proxy, the client.

#[path = "../helpers"]
mod helpers {
    #[cfg(feature = "upstream")]
    pub(crate) mod backend;
    #[cfg(feature = "nats")]
    pub(crate) mod bridge;
    #[cfg(feature = "token")]
    #[allow(dead_code, reason = "tests/daemon uses the rest")]
    mod client;
    pub(crate) mod closed_port;
    mod cores;
    #[allow(dead_code, reason = "tests/daemon uses the rest")]
    pub(crate) mod daemon;
    mod extensions;
    pub(crate) mod faulty;
    #[cfg(feature = "token")]
    #[allow(dead_code, reason = "tests/daemon uses the rest")]
    mod frame;
    #[cfg(feature = "token")]
    #[allow(dead_code, reason = "tests/daemon uses the rest")]
    pub(crate) mod http;
    #[cfg(feature = "nats")]
    pub(crate) mod isolated_nats;
    #[cfg_attr(not(feature = "nats"), allow(dead_code, reason = "tests of NATS use the rest"))]
    pub(crate) mod loopback;
    #[cfg(feature = "token")]
    pub(crate) mod message;
    #[cfg(feature = "nats")]
    pub(crate) mod namespace;
    #[cfg(feature = "nats")]
    #[allow(dead_code, reason = "tests/daemon uses the rest")]
    pub(crate) mod nats;
    mod process;
    #[allow(dead_code, reason = "without the feature `nats` nobody asks for its URL")]
    pub(crate) mod proxy;
    #[allow(dead_code, reason = "tests/daemon uses the rest")]
    pub(crate) mod scratch;
    mod server;
    #[cfg(feature = "tls")]
    pub(crate) mod tls;
    #[cfg(feature = "token")]
    #[allow(dead_code, reason = "tests/daemon uses the rest")]
    pub(crate) mod token;
    mod wait;
    mod websocket;
    #[cfg(feature = "token")]
    #[allow(dead_code, reason = "tests/daemon uses the rest")]
    mod wire;

    pub(crate) use self::{
        cores::{enough_cpus, on_one_and_two_cores},
        extensions::{Log, Recorder, on_message},
        server::{one_and_two_cores, start, start_with_cores},
        wait::{PATIENCE, let_pass, wait_for, wait_until},
        websocket::Client,
    };
}

mod client {
    mod calls;
    mod faults;
    mod history;
    mod limits;
    #[cfg(feature = "token")]
    mod presence;
    mod resuming;
    #[cfg(feature = "tls")]
    mod tls;
    mod token;
}

mod extension {
    mod bounds;
    mod changes;
    mod connection;
    mod filters;
    mod panics;
    mod processors;
    mod publisher;
    mod reload;
    mod server;
    mod turns;
}

mod ffi_header;

#[cfg(feature = "admin")]
mod metrics {
    mod connections;
    mod history;
    mod monitoring;
    mod refusals;
    mod series;
    mod text;
    mod times;
    #[cfg(feature = "token")]
    mod tokens;
}

#[cfg(feature = "nats")]
mod nats {
    mod acks;
    mod extension;
    mod order;
    mod outage;
    mod partition;
    mod wide;
}

#[cfg(feature = "token")]
mod permissions {
    mod processors;
    mod table;
}

#[cfg(feature = "tls")]
mod tls {
    mod backlog;
    mod door;
    mod hostile;
    mod openssl;
    mod reload;
    mod server;
}

#[cfg(feature = "upstream")]
mod upstream {
    mod faults;
    mod load;
    mod requests;
}
