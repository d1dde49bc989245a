//! Errors of C programs.

mod common;

use common::Linkage;

const SOURCE: &str = "tools/c/tests/c/misuse.c";

#[test]
fn every_misuse_gives_a_status_and_a_sentence() {
    assert_eq!(common::run(SOURCE, Linkage::Shared), "done\n");
    assert_eq!(common::run(SOURCE, Linkage::Static), "done\n");
}

#[test]
fn and_valgrind_finds_nothing_wrong() {
    common::run_in_valgrind(SOURCE, Linkage::Shared);
}
