//! Pins threads to CPUs: the generator to one, the server to another.

use std::thread;

use core_affinity::CoreId;

/// Pins the calling thread. Returns whether the system allowed it.
pub(crate) fn pin(cpu: usize) -> bool {
    // core_affinity aborts the process at 1024 and above.
    cpu < 1024 && core_affinity::set_for_current(CoreId { id: cpu })
}

/// Runs `action` on a new thread that is pinned to CPU `cpu`. Processes that `action` starts stay there.
pub(crate) fn on_cpu<T: Send>(cpu: usize, action: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin(cpu);
            action()
        });
        pinned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Chooses two CPUs, moves the calling thread to the generator's, and returns both, the generator's first. A problem
/// with them is a warning on stderr and not an error, because the figures are still of use.
pub(crate) fn arrange(generator: Option<usize>, server: Option<usize>) -> (usize, usize) {
    let ids: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let first = ids.first().copied().unwrap_or(0);
    let server = server.unwrap_or_else(|| ids.iter().copied().find(|id| Some(*id) != generator).unwrap_or(first));
    let generator = generator.unwrap_or_else(|| ids.iter().copied().find(|id| *id != server).unwrap_or(first));
    if generator == server {
        eprintln!("warning: the server and this generator share CPU {server}; each figure contains both");
    }
    if !pin(generator) {
        eprintln!("warning: the system does not let this run on CPU {generator}");
    }
    (generator, server)
}
