//! The lhttp daemon.

fn main() {}
