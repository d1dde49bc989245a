//! Tests that run twice: against a server of one core and against one of two.

use std::thread;

/// Makes two tests of each function `fn name(cores: usize)`: one with a daemon of one core, one of two.
///
/// A function that is missing from the list is dead code, so the compiler notices.
macro_rules! on_one_and_two_cores {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn on_one_core() {
                super::$name(1);
            }

            #[test]
            fn on_two_cores() {
                if $crate::helpers::enough_cpus(2) {
                    super::$name(2);
                }
            }
        })+
    };
}
pub(crate) use on_one_and_two_cores;

/// True if this machine can run a server of this many cores (a server refuses more cores than there are). Prints a line
/// if not.
pub(crate) fn enough_cpus(cores: usize) -> bool {
    let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get());
    if cpus < cores {
        eprintln!("SKIPPED: {cores} cores asked for, this process may use {cpus}");
    }
    cpus >= cores
}
