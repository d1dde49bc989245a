#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lhttp::fuzzing::tls_records(bytes));
