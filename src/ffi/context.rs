//! The context of a callback: which one this thread is in, and what C can read from it. [`actions`] has what C can do
//! with it.

mod actions;
mod parts;
mod texts;

use std::{
    cell::{Cell, RefCell},
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use self::texts::Texts;
use crate::{
    extension::Context,
    ffi::{
        callback::{self, User},
        handles::Kind,
        input,
        status::{Failure, LhttpStatus, guard, guard_or},
    },
};

/// `lhttp_context`, never made.
pub(super) enum LhttpContext {}

/// The data of a callback.
struct Call {
    handle: *mut LhttpContext,
    context: *mut Context<'static>,
}

/// How many numbers of contexts a thread takes at once.
const BLOCK: usize = 1 << 20;

thread_local! {
    /// The call that this thread is in. It is borrowed while one of our functions uses its context; a callback of the log
    /// that runs during that finds it borrowed.
    static CURRENT: RefCell<Option<Call>> = const { RefCell::new(None) };

    /// Texts that C got during this call.
    static TEXTS: RefCell<Texts> = const { RefCell::new(Texts::new()) };

    /// The next number for a context on this thread, and the end of this thread's numbers.
    static NUMBERS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Calls C with a handle to this context. The handle is valid on this thread, until the call returns.
pub(super) fn enter(context: &mut Context<'_>, call: impl FnOnce(*mut LhttpContext)) {
    let handle = Kind::Context.handle(number());
    let context = ptr::from_mut(context).cast::<Context<'static>>();
    CURRENT.replace(Some(Call { handle, context }));
    let _leave = Leave;
    callback::inside(|| call(handle));
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        CURRENT.replace(None);
        TEXTS.with_borrow_mut(Texts::clear);
    }
}

/// A number that no other context of this process has.
fn number() -> usize {
    static NEXT_BLOCK: AtomicUsize = AtomicUsize::new(1);
    let (mut next, mut end) = NUMBERS.get();
    if next == end {
        next = NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
        end = next.wrapping_add(BLOCK);
    }
    NUMBERS.set((next.wrapping_add(1), end));
    next
}

/// Uses the context that this thread is in, if it is the handle's.
fn with<R>(
    handle: *const LhttpContext,
    use_it: impl for<'c> FnOnce(&mut Context<'c>) -> Result<R, Failure>,
) -> Result<R, Failure> {
    CURRENT.with(|current| {
        let failure = |sentence: &str| Failure::new(LhttpStatus::ERROR_CALLBACK, sentence);
        let mut current =
            current.try_borrow_mut().map_err(|_| failure("this context is in use, further up the stack"))?;
        match &mut *current {
            // SAFETY: `enter` borrows the context for as long as it is the current one. Nothing else uses it: this thread
            // came here from C, through the borrow of CURRENT. `use_it` cannot rely on `'static`, so it cannot keep
            // anything of the context for longer.
            Some(call) if ptr::eq(call.handle, handle) => use_it(unsafe { &mut *call.context }),
            _ if handle.is_null() => Err(Failure::argument("context is NULL")),
            _ if Kind::Context.number(handle).is_none() => {
                Err(Failure::argument(format!("{handle:p} is not a context")))
            }
            _ => Err(failure("this context belongs to a callback that has returned, or to another thread")),
        }
    })
}

/// Copies a text for C, until the callback returns.
fn keep(text: &str) -> *const c_char {
    TEXTS.with_borrow_mut(|texts| texts.keep(text))
}

/// The same; NULL if there is no text.
fn keep_or_null(text: Option<&str>) -> *const c_char {
    text.map_or(ptr::null(), keep)
}

/// Gives C one of several headers.
unsafe fn put_header<'h>(
    header: Option<(&'h str, &'h str)>,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> Result<(), Failure> {
    let none = || Failure::new(LhttpStatus::ERROR_NOT_FOUND, "there are not so many headers");
    let header = header.ok_or_else(none)?;
    // SAFETY: as for this function.
    unsafe {
        input::put("name", name, keep(header.0))?;
        input::put("value", value, keep(header.1))
    }
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_command(context: *const LhttpContext) -> *const c_char {
    guard_or(ptr::null(), || with(context, |context| Ok(keep(context.command()))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_context_header(context: *const LhttpContext, name: *const c_char) -> *const c_char {
    guard_or(ptr::null(), || {
        // SAFETY: the caller gives what lhttp.h says.
        let name = unsafe { input::text("name", name) }?;
        with(context, |context| Ok(keep_or_null(context.header(name))))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_context_header_at(
    context: *const LhttpContext,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        with(context, |context| unsafe { put_header(context.headers().nth(index), name, value) })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_context_body(context: *const LhttpContext, len: *mut usize) -> *const c_void {
    guard_or(ptr::null(), || {
        // SAFETY: the caller gives what lhttp.h says.
        with(context, |context| unsafe {
            input::put("len", len, context.body().len())?;
            Ok(context.body().as_ptr().cast())
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_is_text(context: *const LhttpContext) -> c_int {
    guard_or(0, || with(context, |context| Ok(context.is_text().into())))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_connection(context: *const LhttpContext) -> *const c_char {
    guard_or(ptr::null(), || with(context, |context| Ok(keep(&context.connection_id().to_string()))))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_peer(context: *const LhttpContext) -> *const c_char {
    guard_or(ptr::null(), || {
        with(context, |context| {
            let peer = context.peer_addr().map_or_else(|| "unix".to_owned(), |address| address.to_string());
            Ok(keep(&peer))
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_token_user(context: *const LhttpContext) -> *const c_char {
    guard_or(ptr::null(), || with(context, |context| Ok(keep_or_null(context.token_user()))))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_path(context: *const LhttpContext) -> *const c_char {
    guard_or(ptr::null(), || with(context, |context| Ok(keep(context.path()))))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_query(context: *const LhttpContext) -> *const c_char {
    guard_or(ptr::null(), || with(context, |context| Ok(keep_or_null(context.query()))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_context_handshake_header(
    context: *const LhttpContext,
    name: *const c_char,
) -> *const c_char {
    guard_or(ptr::null(), || {
        // SAFETY: the caller gives what lhttp.h says.
        let name = unsafe { input::text("name", name) }?;
        with(context, |context| Ok(keep_or_null(context.handshake_header(name))))
    })
}

/// `lhttp_release_callback`.
pub(super) type LhttpReleaseCallback = Option<unsafe extern "C" fn(value: User)>;

/// The pointer that C keeps with a connection.
struct Kept {
    value: User,
    release: LhttpReleaseCallback,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the host's function, called once, with its own value.
            callback::inside(|| unsafe { release(self.value) });
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_set_user(
    context: *mut LhttpContext,
    value: User,
    release: LhttpReleaseCallback,
) -> LhttpStatus {
    guard(|| {
        with(context, |context| {
            context.set_user(Kept { value, release });
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_user(context: *const LhttpContext) -> *mut c_void {
    guard_or(ptr::null_mut(), || {
        with(context, |context| Ok(context.user::<Kept>().map_or(ptr::null_mut(), |kept| kept.value.0)))
    })
}
