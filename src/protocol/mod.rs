//! The protocol as values: bytes in, values out. No sockets, threads, clocks or logging here.
