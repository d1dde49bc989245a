//! The configuration of C programs.

mod common;

use common::Linkage;

const SOURCE: &str = "tools/c/tests/c/config.c";

#[test]
fn a_config_takes_options_by_name_and_structs_of_other_versions() {
    assert_eq!(common::run(SOURCE, Linkage::Shared), "done\n");
    assert_eq!(common::run(SOURCE, Linkage::Static), "done\n");
}

#[test]
fn and_valgrind_finds_nothing_wrong() {
    common::run_in_valgrind(SOURCE, Linkage::Shared);
}
