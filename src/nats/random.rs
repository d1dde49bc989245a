//! Random numbers that need not be secret.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

/// A number that differs from process to process and from call to call.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
