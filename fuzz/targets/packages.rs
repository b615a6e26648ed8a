#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| guestfs_tests::fuzz::packages::run(bytes));
