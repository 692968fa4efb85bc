#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| swaptide_fuzz::socket(data));
