#![no_main]

use libfuzzer_sys::fuzz_target;
use shipway::domain::image_source::ImageSource;

fuzz_target!(|text: &str| {
    if let Ok(source) = text.parse::<ImageSource>() {
        assert_eq!(source.to_string().parse::<ImageSource>().ok(), Some(source));
    }
});
