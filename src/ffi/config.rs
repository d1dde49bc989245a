//! The configuration: a struct that carries its own size, and behind it the options by name and what is plugged in.

use std::{
    ffi::{c_char, c_void},
    mem::{offset_of, size_of},
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use log::LevelFilter;

use crate::{
    config::Config,
    ffi::{
        context::LhttpContext,
        handles::{Handles, Kind},
        input,
        status::{Failure, LhttpStatus, guard},
    },
    server::{Builder, Server},
};

/// `lhttp_options`, never made.
pub(super) enum LhttpOptions {}

/// `lhttp_callback`.
pub(super) type LhttpCallback = Option<unsafe extern "C" fn(*mut LhttpContext, *mut c_void)>;

/// `lhttp_config`. New fields go behind these, and mean by zero what was before there were any.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct LhttpConfig {
    pub(super) size: usize,
    pub(super) options: *mut LhttpOptions,
    pub(super) on_raw: LhttpCallback,
    pub(super) raw_user: *mut c_void,
}

/// The size of the first `lhttp_config` that there was: no program has a smaller one.
const SIZE_MIN: usize = offset_of!(LhttpConfig, on_raw);

/// A size that no version will reach: a larger one was never filled.
const SIZE_MAX: usize = 1024;

/// What the functions put in.
#[derive(Clone, Default)]
pub(super) struct Options {
    config: Config,
    /// The level of the log.
    log: Option<LevelFilter>,
}

impl Options {
    /// One sentence is the error.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        // The one key of the daemon's file that is not a server's.
        if name != "log" {
            return self.config.set(name, value);
        }
        let level = value.parse().map_err(|_| "log: write off, error, warn, info, debug or trace".to_owned())?;
        self.log = Some(level);
        Ok(())
    }

    /// What is to be started.
    pub(super) fn build(self) -> Builder {
        if let Some(level) = self.log {
            log::set_max_level(level);
        }
        Server::builder().config(self.config)
    }
}

pub(super) static OPTIONS: Handles<LhttpOptions, Mutex<Options>> = Handles::new(Kind::Options);

impl LhttpConfig {
    /// Reads a program's struct, which may be smaller or larger than ours.
    pub(super) unsafe fn read(config: *const Self) -> Result<Self, Failure> {
        input::check_pointer("config", config)?;
        // SAFETY: neither NULL nor misaligned, and every version's struct begins with its size.
        let size = unsafe { (&raw const (*config).size).read() };
        check_size(size)?;
        // SAFETY: the caller's struct has as many bytes, by its own word.
        let given = unsafe { input::bytes("config", config.cast(), size) }?;
        let (known, unknown) = given.split_at(size.min(size_of::<Self>()));
        if unknown.iter().any(|&byte| byte != 0) {
            let sentence = "config: the program sets a field that this library is too old for";
            return Err(Failure::new(LhttpStatus::ERROR_OPTION, sentence));
        }
        let mut read = Self { size, options: ptr::null_mut(), on_raw: None, raw_user: ptr::null_mut() };
        // SAFETY: no more bytes than `read` has; those fields of `known` are valid in it, for C has nothing but pointers
        // and numbers, and fields that a smaller struct lacks stay as they are. No field is cut in two: `check_size`.
        unsafe { ptr::copy_nonoverlapping(known.as_ptr(), (&raw mut read).cast::<u8>(), known.len()) };
        Ok(read)
    }

    pub(super) fn find(&self) -> Result<Arc<Mutex<Options>>, Failure> {
        OPTIONS.find(self.options)
    }
}

fn check_size(size: usize) -> Result<(), Failure> {
    if !(SIZE_MIN..=SIZE_MAX).contains(&size) || !size.is_multiple_of(align_of::<LhttpConfig>()) {
        return Err(Failure::argument(format!("config: {size} is not the size of an lhttp_config")));
    }
    Ok(())
}

pub(super) fn lock(options: &Mutex<Options>) -> MutexGuard<'_, Options> {
    options.lock().unwrap_or_else(PoisonError::into_inner)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_config_init(config: *mut LhttpConfig, size: usize) -> LhttpStatus {
    guard(|| {
        input::check_out("config", config)?;
        check_size(size)?;
        // SAFETY: neither NULL nor misaligned, and the caller gives a place of as many bytes.
        unsafe {
            config.cast::<u8>().write_bytes(0, size);
            (&raw mut (*config).size).write(size);
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
        let (config, name, value) =
            unsafe { (LhttpConfig::read(config)?, input::text("name", name)?, input::text("value", value)?) };
        let set = lock(&*config.find()?).set(name, value);
        set.map_err(|sentence| Failure::new(LhttpStatus::ERROR_OPTION, sentence))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_config_release(config: *mut LhttpConfig) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let read = unsafe { LhttpConfig::read(config) }?;
        OPTIONS.remove(read.options).map(drop)
    })
}
