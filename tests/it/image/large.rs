//! Files, layers and uploads of more than 32 bits can count: the memory stays, and the disk holds nothing of them.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use crate::support::{
    fixture::{Checkout, empty_checkout},
    job::gitlab,
    shipway::{Finished, report},
    sink::Sink,
};

/// More than 2^32.
const LARGE: u64 = (4 << 30) + (200 << 20);

/// A file with a hole for most of it. It begins with what does not pack, so that its layer is stored, and is as large.
fn sparse(path: &Path, size: u64) {
    let mut file = fs::File::create(path).unwrap();
    let mut state = 88_172_645_463_325_252u64;
    for _ in 0..8192 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
    file.seek(SeekFrom::Start(size - 3)).unwrap();
    file.write_all(b"end").unwrap();
}

/// A checkout whose Dockerfile copies one file of that size, which git does not know.
fn checkout(size: u64) -> Checkout {
    let checkout = empty_checkout("large");
    checkout.write("shipway.yaml", "build: {command: ['true']}\nimage: {dockerfile: Dockerfile, platforms: [linux/amd64]}\n");
    checkout.write("Dockerfile", "FROM scratch\nCOPY data.bin /data.bin\nENTRYPOINT [\"/data.bin\"]\n");
    checkout.write(".gitignore", "data.bin\n");
    checkout.commit("Add a Dockerfile");
    sparse(&checkout.path().join("data.bin"), size);
    checkout
}

/// Builds and pushes it with a temporary folder that has room for nothing of it.
fn pushed(checkout: &Checkout, sink: &Sink) -> Finished {
    let temp = checkout.path().parent().unwrap().join("temp");
    fs::create_dir_all(&temp).unwrap();
    let job = gitlab(checkout, 1).env("SHIPWAY_REGISTRY_URL", sink.host()).env("TMPDIR", &temp).arg("image");
    let done = job.run().expect_code(0);
    assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "what was temporary is gone");
    done
}

#[test]
fn a_layer_of_more_than_4_gib_is_sent_in_the_memory_of_a_small_one() {
    let small = Sink::start();
    let usual = pushed(&checkout(1 << 20), &small).peak;
    let sink = Sink::start();
    let checkout = checkout(LARGE);
    // The line breaks behind 2^32 bytes, and what has arrived is not sent again.
    sink.hang_up_at(LARGE - (64 << 20));
    let done = pushed(&checkout, &sink);
    assert!(done.peak < usual + (8 << 20), "{} bytes at the peak, and {usual} for a small file", done.peak);
    let blobs = sink.blobs();
    let layer = report(&checkout.path())["image"]["size"].as_u64().unwrap();
    assert!(layer > LARGE && blobs.contains(&layer), "{layer}: {blobs:?}");
    let resumed = sink.resumed();
    assert!(resumed.len() == 1 && resumed[0] > u64::from(u32::MAX), "{resumed:?}");
}
