//! The C libraries of lhttp, `liblhttp.so` and `liblhttp.a`, as `include/lhttp.h` describes them. The code is in
//! `src/ffi/` of the crate `lhttp`; this links it into libraries that C can use. `make -C tools/c install` puts them
//! in their place.

#[cfg(not(panic = "unwind"))]
compile_error!("a panic must be stopped before it reaches C, and so the C libraries need `panic = \"unwind\"`");

// The functions are found by their symbols, so nothing else names the crate.
use lhttp as _;
