//! The C libraries of lhttp, `liblhttp.so` and `liblhttp.a`, as `include/lhttp.h` describes them. The code is in
//! `src/ffi/` of the crate `lhttp`; this package links it into libraries for C. `make -C tools/c install` installs
//! them.

#[cfg(not(panic = "unwind"))]
compile_error!("a panic must be stopped before it reaches C, and so the C libraries need `panic = \"unwind\"`");

// Programs find the functions by their symbols, so nothing else names the crate.
use lhttp as _;
