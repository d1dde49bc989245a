//! Servers: started, published to, stopped.

use std::{
    ffi::{c_char, c_void},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    config::Listen,
    extension::Publisher,
    ffi::{
        callback,
        config::{self, LhttpConfig},
        handles::{Handles, Kind},
        input::{self, LhttpHeader},
        publish::Publish,
        signals, sized,
        status::{LhttpStatus, guard, guard_or},
    },
    server::Handle,
};

/// `lhttp_server`, never made.
pub(super) enum LhttpServer {}

/// A server that runs.
pub(super) struct Running {
    /// The port of the first place; 0 if that is a unix socket.
    port: u16,
    /// Where it listens, for the log.
    places: String,
    /// One publisher for all threads: if one thread publishes after another, its message also arrives after the other's.
    publisher: Publisher,
    /// The thread that stops the server takes it.
    handle: Mutex<Option<Handle>>,
}

static SERVERS: Handles<LhttpServer, Running> = Handles::new(Kind::Server);

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_start(config: *const LhttpConfig, server: *mut *mut LhttpServer) -> LhttpStatus {
    guard(|| {
        input::check_out("server", server)?;
        // SAFETY: the caller gives what lhttp.h says.
        let builder = config::build(&unsafe { sized::read(config) }?)?;
        let handle = signals::blocked(|| builder.start())?;
        let places = handle.listening().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        log::info!("listening on {places}");
        let running = Running {
            port: handle.listening().first().and_then(Listen::tcp).map_or(0, |address| address.port()),
            places,
            publisher: handle.publisher(),
            handle: Mutex::new(Some(handle)),
        };
        // SAFETY: as above.
        unsafe { input::put("server", server, SERVERS.add(running)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_local_port(server: *const LhttpServer) -> u16 {
    guard_or(0, || Ok(SERVERS.find(server)?.port))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_publish(
    server: *mut LhttpServer,
    channels: *const c_char,
    command: *const c_char,
    headers: *const LhttpHeader,
    body: *const c_void,
    len: usize,
) -> LhttpStatus {
    guard(|| {
        let server = SERVERS.find(server)?;
        // SAFETY: the caller gives what lhttp.h says.
        let publish = unsafe { Publish::read(channels, command, headers, body, len) }?;
        Ok(server.publisher.publish(&publish.channels, publish.command, &publish.headers, publish.body)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_stop(server: *mut LhttpServer, drain_ms: u32) -> LhttpStatus {
    guard(|| {
        callback::check_outside("lhttp_stop")?;
        let running = SERVERS.remove(server)?;
        let handle = running.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle {
            handle.stop(Duration::from_millis(drain_ms.into()));
            handle.join();
            log::info!("stopped listening on {}", running.places);
        }
        Ok(())
    })
}
