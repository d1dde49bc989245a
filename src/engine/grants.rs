//! What the connections of a core may do: a table of identities. A session holds the number of its identity, its
//! [`Grant`]; anonymous ones need no entry.
//!
//! Connections with the same token share an entry. Each entry has at least one connection, so there are never more entries
//! than connections. Its memory counts in `memory-budget`.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use slab::Slab;

use crate::{
    engine::{rules::Asker, session::Grant},
    token::Claims,
};

/// The approximate memory of an entry beside the claims, in bytes: its places in the two tables and the claims' counters.
const ENTRY_BYTES: usize = 96;

/// Who asks, after the check of a token or a key.
#[derive(Clone, Debug, Default)]
pub(crate) enum Identity {
    /// A client without a token.
    #[default]
    Anonymous,
    /// The holder of the publish key.
    Key,
    /// A client with a valid token.
    User(Arc<Claims>),
}

/// The identities of one core's connections.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    table: Slab<Entry>,
    /// By the address of the claims, which does not change while the entry holds them.
    by_claims: HashMap<usize, usize, RandomState>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    claims: Arc<Claims>,
    /// Connections with this grant.
    connections: usize,
    /// The token has run out; its connections are closed at this time, in Unix milliseconds.
    closes_at: Option<u64>,
}

impl Grants {
    /// Counts one more connection with this identity, and gives its grant; `None` if the table is full.
    pub(crate) fn hold(&mut self, identity: Identity) -> Option<Grant> {
        let claims = match identity {
            Identity::Anonymous => return Some(Grant::ANONYMOUS),
            Identity::Key => return Some(Grant::KEY),
            Identity::User(claims) => claims,
        };
        let address = Arc::as_ptr(&claims).addr();
        if let Some(&number) = self.by_claims.get(&address) {
            self.table[number].connections += 1;
            return Some(Grant::of(number));
        }
        let number = self.table.vacant_key();
        if number >= Grant::TABLE_MAX {
            return None;
        }
        self.bytes += bytes(&claims);
        self.table.insert(Entry { claims, connections: 1, closes_at: None });
        self.by_claims.insert(address, number);
        Some(Grant::of(number))
    }

    /// Counts one connection less. Returns true if the grant is free now: another identity may get the same number, so the
    /// caller must forget all results that are stored with it.
    pub(crate) fn release(&mut self, grant: Grant) -> bool {
        let Some(number) = grant.number() else { return false };
        let entry = &mut self.table[number];
        entry.connections -= 1;
        if entry.connections > 0 {
            return false;
        }
        let Entry { claims, .. } = self.table.remove(number);
        self.by_claims.remove(&Arc::as_ptr(&claims).addr());
        self.bytes -= bytes(&claims);
        if self.table.is_empty() {
            (self.table, self.by_claims) = (Slab::new(), HashMap::default());
        }
        true
    }

    /// The claims of a grant, if it has some.
    pub(crate) fn claims(&self, grant: Grant) -> Option<&Arc<Claims>> {
        grant.number().map(|number| &self.table[number].claims)
    }

    /// Who asks with this grant.
    pub(crate) fn asker(&self, grant: Grant) -> Asker<'_> {
        match self.claims(grant) {
            Some(claims) => Asker::User(claims),
            None if grant == Grant::KEY => Asker::Key,
            None => Asker::Anonymous,
        }
    }

    /// Notes that the token of a grant has run out; its connections are closed at this time at the latest. Returns the time
    /// at which they are closed, which the first call decides.
    pub(crate) fn run_out(&mut self, grant: Grant, closes_at: u64) -> u64 {
        let Some(number) = grant.number() else { return closes_at };
        *self.table[number].closes_at.get_or_insert(closes_at)
    }

    /// Whether the token of a grant has run out, as far as it was noted.
    pub(crate) fn has_run_out(&self, grant: Grant) -> bool {
        grant.number().is_some_and(|number| self.table[number].closes_at.is_some())
    }

    /// The number of identities.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Their memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The part of this memory that one of a grant's connections stands for, in bytes.
    pub(crate) fn bytes_of_connection(&self, grant: Grant) -> usize {
        grant.number().map_or(0, |number| {
            let entry = &self.table[number];
            bytes(&entry.claims) / entry.connections
        })
    }
}

/// The memory of an entry, in bytes.
fn bytes(claims: &Claims) -> usize {
    let list = |names: &[Box<str>]| names.iter().map(|name| size_of::<Box<str>>() + name.len()).sum::<usize>();
    let info = claims.info.as_ref().map_or(0, |info| info.len());
    ENTRY_BYTES + size_of::<Claims>() + claims.user.len() + info + list(&claims.subscribe) + list(&claims.publish)
}

/// For tests: the invariants between two turns.
#[cfg(any(test, feature = "fuzz"))]
impl Grants {
    /// Asserts that each entry counts exactly the connections with its grant.
    pub(crate) fn invariants(&self, of_connections: impl Iterator<Item = Grant>) {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        of_connections.filter_map(Grant::number).for_each(|number| *counts.entry(number).or_default() += 1);
        let expected: HashMap<_, _> = self.table.iter().map(|(number, entry)| (number, entry.connections)).collect();
        assert_eq!(counts, expected, "connections of identities are counted wrongly");
        assert_eq!(self.by_claims.len(), self.table.len());
        assert_eq!(self.bytes, self.table.iter().map(|(_, entry)| bytes(&entry.claims)).sum::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(user: &str) -> Arc<Claims> {
        let (subscribe, publish) = (Box::default(), Box::default());
        Arc::new(Claims { user: user.into(), subscribe, publish, info: None, expires: 0 })
    }

    #[test]
    fn connections_with_the_same_token_share_a_grant_until_the_last_of_them_ends() {
        let mut grants = Grants::default();
        let (mike, eve) = (claims("mike"), claims("eve"));
        let first = grants.hold(Identity::User(Arc::clone(&mike))).unwrap();
        let second = grants.hold(Identity::User(Arc::clone(&mike))).unwrap();
        let other = grants.hold(Identity::User(eve)).unwrap();
        assert_eq!(first, second);
        assert_ne!(first, other);
        assert_eq!(grants.claims(first).unwrap().user, mike.user);
        grants.invariants([first, second, other].into_iter());
        assert!(!grants.release(first));
        assert!(grants.release(second) && grants.release(other));
        assert_eq!((grants.len(), grants.bytes()), (0, 0));
    }

    #[test]
    fn anonymous_clients_and_the_key_need_no_entry() {
        let mut grants = Grants::default();
        let (anonymous, key) = (grants.hold(Identity::Anonymous).unwrap(), grants.hold(Identity::Key).unwrap());
        assert!(matches!(grants.asker(anonymous), Asker::Anonymous) && matches!(grants.asker(key), Asker::Key));
        assert_eq!(grants.len(), 0);
        assert!(!grants.release(anonymous) && !grants.release(key));
    }

    #[test]
    fn the_first_connection_that_learns_of_a_tokens_end_decides_when_all_of_them_are_closed() {
        let mut grants = Grants::default();
        let grant = grants.hold(Identity::User(claims("mike"))).unwrap();
        assert!(!grants.has_run_out(grant));
        assert_eq!((grants.run_out(grant, 7), grants.run_out(grant, 9)), (7, 7));
        assert!(grants.has_run_out(grant) && !grants.has_run_out(Grant::ANONYMOUS));
    }
}
