//! A message as it came, with its head parsed in place.

use super::{Control, Head, numbered};

/// A message and the head that was parsed from it.
#[derive(Clone, Copy)]
pub(crate) struct Parsed<'m> {
    pub(crate) head: &'m Head,
    /// The whole message, from its first line on.
    pub(crate) payload: &'m [u8],
    pub(crate) is_text: bool,
}

impl<'m> Parsed<'m> {
    pub(crate) fn command(self) -> &'m [u8] {
        self.head.command(self.payload)
    }

    /// All headers in order, as name and value.
    pub(crate) fn headers(self) -> impl Iterator<Item = (&'m [u8], &'m [u8])> {
        self.head.headers(self.payload)
    }

    /// Whether it has header lines of names that the server writes itself.
    pub(crate) fn has_own_lines(self) -> bool {
        self.headers().any(|(name, _)| numbered::is_own_name(name))
    }

    pub(crate) fn body(self) -> &'m [u8] {
        self.head.body(self.payload)
    }

    /// The names in all headers of one kind, in order.
    pub(crate) fn names(self, control: Control) -> impl Iterator<Item = &'m [u8]> {
        self.head.names(self.payload, control)
    }

    /// The value of the first header of one kind.
    pub(crate) fn value(self, control: Control) -> Option<&'m [u8]> {
        self.head.value(self.payload, control)
    }

    /// The values of all headers of one kind, in order.
    pub(crate) fn values(self, control: Control) -> impl Iterator<Item = &'m [u8]> {
        self.head.values(self.payload, control)
    }
}
