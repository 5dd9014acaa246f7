#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vrooli_deploy_edge::fuzzing::message(bytes));
