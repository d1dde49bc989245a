//! The configuration: a struct that carries its own size, and behind it the options, processors and filters.

use std::{
    ffi::c_char,
    mem::offset_of,
    sync::{Mutex, MutexGuard, PoisonError},
};

use log::LevelFilter;

use crate::{
    config::Config,
    ffi::{
        callback::User,
        extension::{self, LhttpCallback, LhttpFilter, LhttpProcessor},
        handles::{Handles, Kind},
        input,
        sized::{self, Versioned},
        status::{Failure, LhttpStatus, guard},
    },
    protocol::message::Message,
    server::{Builder, Server},
};

/// `lhttp_options`, never made.
pub(super) enum LhttpOptions {}

/// `lhttp_config`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct LhttpConfig {
    size: usize,
    options: *mut LhttpOptions,
    on_raw: LhttpCallback,
    raw_user: User,
}

// SAFETY: a size and pointers, all of them valid as zeros, and all of one size.
unsafe impl Versioned for LhttpConfig {
    const NAME: &'static str = "config";
    const SIZE_MIN: usize = offset_of!(Self, on_raw);
}

static OPTIONS: Handles<LhttpOptions, Mutex<Options>> = Handles::new(Kind::Options);

/// The values that the functions set.
#[derive(Clone, Default)]
struct Options {
    config: Config,
    /// The level of the log.
    log: Option<LevelFilter>,
    processors: Vec<(String, LhttpProcessor)>,
    filters: Vec<LhttpFilter>,
    publishes_past_filters: bool,
}

impl Options {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        // The only key of the daemon's file that is not a server's.
        if name != "log" {
            return self.config.set(name, value);
        }
        let level = value.parse().map_err(|_| "log: write off, error, warn, info, debug or trace".to_owned())?;
        self.log = Some(level);
        Ok(())
    }
}

/// The builder of the server.
pub(super) fn build(config: &LhttpConfig) -> Result<Builder, Failure> {
    let options = lock(&*OPTIONS.find(config.options)?).clone();
    if let Some(level) = options.log {
        log::set_max_level(level);
    }
    let mut builder = Server::builder().config(options.config);
    for (command, processor) in options.processors {
        builder = builder.processor(command, processor);
    }
    for filter in options.filters {
        builder = builder.filter(filter);
    }
    if options.publishes_past_filters {
        builder = builder.publish_past_filters();
    }
    if let (Some(on_raw), user) = (config.on_raw, config.raw_user) {
        builder = builder.raw(move |context| extension::call(Some(on_raw), user, context));
    }
    Ok(builder)
}

fn lock(options: &Mutex<Options>) -> MutexGuard<'_, Options> {
    options.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes the values behind a config.
unsafe fn change(
    config: *mut LhttpConfig,
    change: impl FnOnce(&mut Options) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // SAFETY: as for this function.
    let config = unsafe { sized::read(config) }?;
    change(&mut lock(&*OPTIONS.find(config.options)?))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_config_init(config: *mut LhttpConfig, size: usize) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says, and behind `init` it is a config whose fields can be written.
        unsafe {
            sized::init(config, size)?;
            (&raw mut (*config).options).write(OPTIONS.add(Mutex::default()));
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_config_set(
    config: *mut LhttpConfig,
    name: *const c_char,
    value: *const c_char,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        unsafe {
            let (name, value) = (input::text("name", name)?, input::text("value", value)?);
            let failure = |sentence: String| Failure::new(LhttpStatus::ERROR_OPTION, sentence);
            change(config, |options| options.set(name, value).map_err(failure))
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_config_processor(
    config: *mut LhttpConfig,
    command: *const c_char,
    processor: *const LhttpProcessor,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        unsafe {
            let (command, processor) = (input::text("command", command)?, sized::read(processor)?);
            Message::new(command)?;
            change(config, |options| {
                options.processors.push((command.to_owned(), processor));
                Ok(())
            })
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_config_filter(config: *mut LhttpConfig, filter: *const LhttpFilter) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        unsafe {
            let filter = sized::read(filter)?;
            change(config, |options| {
                options.filters.push(filter);
                Ok(())
            })
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_config_publish_past_filters(config: *mut LhttpConfig) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        unsafe {
            change(config, |options| {
                options.publishes_past_filters = true;
                Ok(())
            })
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_config_release(config: *mut LhttpConfig) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let config = unsafe { sized::read(config) }?;
        OPTIONS.remove(config.options).map(drop)
    })
}
