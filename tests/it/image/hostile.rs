//! Archives that are large or hostile: each is taken as it is meant, or refused with the file's name and the reason.

use std::{fs, io::Write, path::Path};

use shipway::{
    domain::problem::Code,
    image::{self, Build, Form},
};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use super::{
    class,
    dockerfile::{build_in, built, write_context},
    jar_bytes, recipe, staged, whole,
};
use crate::support::small_disk::SmallDisk;

const MANIFEST: (&str, &[u8]) = ("META-INF/MANIFEST.MF", b"Main-Class: a.B\n");

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

#[test]
fn seventy_thousand_entries_are_taken_apart_and_put_together_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.jar");
    let mut zip = ZipWriter::new(std::io::BufWriter::new(fs::File::create(&path).unwrap()));
    for (name, content) in [MANIFEST, ("a/B.class", &class(17))] {
        zip.start_file(name, stored()).unwrap();
        zip.write_all(content).unwrap();
    }
    // More than the 65,535 that the end record of a plain zip can count.
    for number in 0..70_000 {
        zip.start_file(format!("r/{number}"), stored()).unwrap();
    }
    zip.finish().unwrap();
    let application = image::inspect(&path).unwrap();
    assert_eq!((&application.form, application.java), (&Form::Jar { class_path: vec![] }, Some(17)));
    let staged = staged(&application, &dir.path().join("context"));
    let made = ZipArchive::new(fs::File::open(staged.dir.join("application/app/app.jar")).unwrap()).unwrap();
    assert!(made.len() >= 70_002, "{} entries", made.len());
}

#[test]
fn entries_with_sizes_of_64_bits_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.jar");
    let mut zip = ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, content) in [MANIFEST, ("a/B.class", &class(21)), ("data", &[7; 100_000])] {
        zip.start_file(name, SimpleFileOptions::default().large_file(true)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    let application = image::inspect(&path).unwrap();
    assert_eq!(application.java, Some(21));
    let staged = staged(&application, &dir.path().join("context"));
    let mut made = ZipArchive::new(fs::File::open(staged.dir.join("application/app/app.jar")).unwrap()).unwrap();
    assert_eq!(made.by_name("data").unwrap().size(), 100_000);
}

/// Replaces the size that the directory gives the last entry; `at` is where it stands in its record (APPNOTE.TXT 4.3.12).
fn with_size(bytes: &[u8], at: usize, size: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let record = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[record + at..record + at + 4].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn stage_problem(dir: &Path, bytes: &[u8]) -> shipway::domain::problem::Problem {
    let path = dir.join("liar.jar");
    fs::write(&path, bytes).unwrap();
    match image::inspect(&path) {
        Ok(application) => whole(&application, &recipe(), &dir.join("context")).unwrap_err(),
        Err(problem) => problem,
    }
}

#[test]
fn sizes_that_lie_are_found() {
    const UNPACKED: usize = 24;
    const PACKED: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let text = b"a line that packs well\n".repeat(4000);
    let good = jar_bytes(&[MANIFEST, ("a/B.class", &class(17)), ("text", &text)], 2020);
    for (at, size) in [(UNPACKED, 10), (UNPACKED, 200_000), (UNPACKED, 0), (PACKED, 5), (PACKED, 60_000_000)] {
        let problem = stage_problem(dir.path(), &with_size(&good, at, size));
        assert_eq!(problem.code, Code::ArtifactInvalid, "{at} {size}: {}", problem.message);
        assert!(problem.message.contains("liar.jar"), "{}", problem.message);
    }
    let problem = stage_problem(dir.path(), &with_size(&good, UNPACKED, u32::MAX - 1));
    assert!(problem.message.contains("bomb"), "{}", problem.message);
}

#[test]
fn what_was_cut_or_glued_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = jar_bytes(&[MANIFEST, ("a/B.class", &class(17)), ("noise", &[3; 50_000])], 2020);
    // A download that ended early, in front of the directory and within it.
    for length in [good.len() / 2, good.len() - 40, good.len() - 1] {
        let problem = stage_problem(dir.path(), &good[..length]);
        assert_eq!(problem.code, Code::ArtifactInvalid, "{length}: {}", problem.message);
    }
    // Two entries that claim the same bytes.
    let mut overlapping = jar_bytes(&[MANIFEST, ("a/B.class", &class(17)), ("x", b"1"), ("y", b"2")], 2020);
    let records: Vec<usize> = overlapping.windows(4).enumerate().filter(|(_, window)| *window == b"PK\x01\x02").map(|(at, _)| at).collect();
    let offset = overlapping[records[2] + 42..records[2] + 46].to_vec();
    overlapping[records[3] + 42..records[3] + 46].copy_from_slice(&offset);
    assert_eq!(stage_problem(dir.path(), &overlapping).code, Code::ArtifactInvalid);
}

#[test]
fn a_disk_that_is_full_of_our_layers_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    // Hexadecimal digits pack to half their size: a layer that is worth packing, and larger than the disk all the same.
    let digits: String = (0..40_000u64).map(|number| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    write_context(dir.path(), &[("Dockerfile", "FROM scratch\nCOPY digits /digits\n"), ("digits", &digits)]);
    let small = SmallDisk::of(64);
    let problem = built(&Build { scratch: small.path().to_path_buf(), ..build_in(dir.path()) }).unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::DiskFull, 20), "{}", problem.message);
    assert!(problem.message.contains(small.path().to_str().unwrap()), "{}", problem.message);

    // The context that a jar is taken apart into.
    let path = dir.path().join("app.jar");
    fs::write(&path, jar_bytes(&[MANIFEST, ("a/B.class", &class(17)), ("digits", digits.as_bytes())], 2020)).unwrap();
    let problem = whole(&image::inspect(&path).unwrap(), &recipe(), &small.path().join("context")).unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::DiskFull, 20), "{}", problem.message);
}
