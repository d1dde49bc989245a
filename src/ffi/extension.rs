//! Processors and filters that are C functions.

use std::mem::offset_of;

use crate::{
    error::Refusal,
    extension::{Context, Filter, Processor},
    ffi::{
        callback::User,
        context::{self, LhttpContext},
        sized::Versioned,
    },
};

/// `lhttp_callback`.
pub(super) type LhttpCallback = Option<unsafe extern "C" fn(context: *mut LhttpContext, user: User)>;

/// `lhttp_processor`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct LhttpProcessor {
    size: usize,
    on_open: LhttpCallback,
    on_message: LhttpCallback,
    on_close: LhttpCallback,
    user: User,
}

// SAFETY: a size and pointers, all of them valid as zeros, and all of one size.
unsafe impl Versioned for LhttpProcessor {
    const NAME: &'static str = "processor";
    const SIZE_MIN: usize = offset_of!(Self, user) + size_of::<User>();
}

/// `lhttp_filter`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct LhttpFilter {
    size: usize,
    on_open: LhttpCallback,
    before_request: LhttpCallback,
    after_request: LhttpCallback,
    on_close: LhttpCallback,
    user: User,
}

// SAFETY: a size and pointers, all of them valid as zeros, and all of one size.
unsafe impl Versioned for LhttpFilter {
    const NAME: &'static str = "filter";
    const SIZE_MIN: usize = offset_of!(Self, user) + size_of::<User>();
}

/// Calls a function of the host, unless it is NULL.
pub(super) fn call(callback: LhttpCallback, user: User, context: &mut Context<'_>) {
    let Some(callback) = callback else { return };
    // SAFETY: the host's function, with a handle to a context that lives until the function returns. lhttp.h says on
    // which threads it is called.
    context::enter(context, |handle| unsafe { callback(handle, user) });
}

impl Processor for LhttpProcessor {
    fn on_open(&self, context: &mut Context<'_>) {
        call(self.on_open, self.user, context);
    }

    fn on_message(&self, context: &mut Context<'_>) {
        call(self.on_message, self.user, context);
    }

    fn on_close(&self, context: &mut Context<'_>) {
        call(self.on_close, self.user, context);
    }
}

/// A C filter refuses with `lhttp_refuse`, as processors do, not by its return value.
impl Filter for LhttpFilter {
    fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        call(self.on_open, self.user, context);
        Ok(())
    }

    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        call(self.before_request, self.user, context);
        Ok(())
    }

    fn after_request(&self, context: &mut Context<'_>) {
        call(self.after_request, self.user, context);
    }

    fn on_close(&self, context: &mut Context<'_>) {
        call(self.on_close, self.user, context);
    }
}
