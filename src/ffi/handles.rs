//! Handles: C's references to the objects that live here. A handle looks like a pointer, but is a number that is never
//! used again. So a stale handle, a handle of another kind and an invented one are all detected, and none is followed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    marker::PhantomData,
    ptr,
    sync::{Arc, PoisonError, RwLock},
};

use crate::ffi::status::{Failure, LhttpStatus};

/// The low bits of a handle give its kind.
const KIND_BITS: u32 = 3;

/// One for each opaque type of `lhttp.h`; at most 7.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Options = 1,
    Server = 2,
    Replier = 3,
    Client = 4,
    Context = 5,
    Event = 6,
}

impl Kind {
    /// The handle with this number, which is not 0.
    pub(super) fn handle<H>(self, number: usize) -> *mut H {
        ptr::without_provenance_mut(number << KIND_BITS | self as usize)
    }

    /// The number of a handle of this kind.
    pub(super) fn number<H>(self, handle: *const H) -> Option<usize> {
        let is_ours = handle.addr() & ((1 << KIND_BITS) - 1) == self as usize;
        is_ours.then_some(handle.addr() >> KIND_BITS)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Options => "config",
            Self::Server => "server",
            Self::Replier => "replier",
            Self::Client => "client",
            Self::Context => "context",
            Self::Event => "event",
        }
    }
}

/// The open objects of one kind: `T` by handles of the opaque type `H`.
pub(super) struct Handles<H, T> {
    kind: Kind,
    table: RwLock<Table<T>>,
    opaque: PhantomData<fn(H)>,
}

struct Table<T> {
    /// How many there have been so far.
    count: usize,
    open: BTreeMap<usize, Arc<T>>,
}

impl<H, T> Handles<H, T> {
    pub(super) const fn new(kind: Kind) -> Self {
        Self { kind, table: RwLock::new(Table { count: 0, open: BTreeMap::new() }), opaque: PhantomData }
    }

    /// Keeps `value` and gives the handle to it.
    pub(super) fn add(&self, value: T) -> *mut H {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        loop {
            table.count = table.count.wrapping_add(1);
            let handle: *mut H = self.kind.handle(table.count);
            // With pointers of 32 bits the numbers wrap around, within half a billion handles.
            if let Entry::Vacant(place) = table.open.entry(handle.addr()) {
                place.insert(Arc::new(value));
                return handle;
            }
        }
    }

    /// The object of this handle. It stays alive while the caller uses it, even if another thread closes the handle.
    ///
    /// # Errors
    /// NULL, closed, or not a handle of this kind.
    pub(super) fn find(&self, handle: *const H) -> Result<Arc<T>, Failure> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.open.get(&handle.addr()).cloned().ok_or_else(|| self.missing(&table, handle))
    }

    /// Closes the handle. If several threads try, one succeeds.
    ///
    /// # Errors
    /// As [`Handles::find`].
    pub(super) fn remove(&self, handle: *const H) -> Result<Arc<T>, Failure> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.open.remove(&handle.addr()).ok_or_else(|| self.missing(&table, handle))
    }

    fn missing(&self, table: &Table<T>, handle: *const H) -> Failure {
        let word = self.kind.word();
        if handle.is_null() {
            return Failure::argument(format!("{word} is NULL"));
        }
        if self.kind.number(handle).is_some_and(|number| (1..=table.count).contains(&number)) {
            return Failure::new(LhttpStatus::ERROR_CLOSED, format!("this {word} was closed before"));
        }
        let article = if word.starts_with('e') { "an" } else { "a" };
        Failure::argument(format!("{handle:p} is not {article} {word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Opaque;

    fn status<T>(result: Result<T, Failure>) -> LhttpStatus {
        result.map(|_| ()).expect_err("there is none").status
    }

    #[test]
    fn a_handle_is_valid_until_it_is_closed_and_never_again() {
        static HANDLES: Handles<Opaque, u32> = Handles::new(Kind::Server);
        let (one, two) = (HANDLES.add(1), HANDLES.add(2));
        assert_eq!((*HANDLES.find(one).unwrap(), *HANDLES.find(two).unwrap()), (1, 2));
        assert_eq!(*HANDLES.remove(one).unwrap(), 1);
        assert_eq!(status(HANDLES.find(one)), LhttpStatus::ERROR_CLOSED);
        assert_eq!(status(HANDLES.remove(one)), LhttpStatus::ERROR_CLOSED);
        assert_ne!(HANDLES.add(3), one);
        assert_eq!(*HANDLES.find(two).unwrap(), 2);
    }

    #[test]
    fn an_invented_handle_is_detected() {
        let (servers, clients) = (Handles::<Opaque, ()>::new(Kind::Server), Handles::<Opaque, ()>::new(Kind::Client));
        let server = servers.add(());
        let made_up = [ptr::null_mut(), clients.add(()), &raw mut *Box::new(Opaque), server.wrapping_byte_add(8)];
        for handle in made_up {
            assert_eq!(status(servers.find(handle)), LhttpStatus::ERROR_ARGUMENT, "{handle:p}");
        }
    }
}
