#![no_main]

use libfuzzer_sys::fuzz_target;
use shipway::domain::dockerfile::ignore::Ignore;

fuzz_target!(|input: (&str, &str)| {
    let (text, path) = input;
    if let Ok(ignore) = Ignore::parse(text) {
        let _ = ignore.ignores(path);
    }
});
