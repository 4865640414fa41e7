//! A folder with a pom.xml and nothing else.

use super::left;
use crate::support::{
    fixture,
    job::jar_checkout,
    lab::lab,
    shipway::{report, shipway},
};

#[test]
fn image_and_manifests_become_files_and_the_log_says_which_setting_would_do_more() {
    let checkout = fixture::checkout("plain-service");
    let done = shipway(checkout.path()).env("SHIPWAY_IMAGE_BASE", lab().base(17)).run().expect_code(0);
    let done = done.expect_text(&["registry.url", "cluster.kubeconfig"]);
    let report = report(&checkout.path());
    let digest = report["image"]["digest"].as_str().unwrap();
    let index = left(&checkout.path(), "image/index.json");
    assert!(index.contains(digest), "{index}\n{}", done.text());
    assert!(left(&checkout.path(), "manifests.yaml").contains("kind: Deployment"));
}

#[test]
fn the_same_input_makes_the_same_digest_whatever_the_times_of_files() {
    let jar = fixture::archive("shaded-service", "");
    let checkout = jar_checkout("reproducible", &jar);
    let digest = |seconds: u64| {
        let file = std::fs::File::options().write(true).open(checkout.path().join("app.jar")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        let run = shipway(checkout.path()).env("SHIPWAY_IMAGE_BASE", lab().base(17)).env("SOURCE_DATE_EPOCH", "1700000000");
        run.env("SHIPWAY_IMAGE_TAG", "1")
            .env("SHIPWAY_IMAGE_LABELS", r#"{"org.opencontainers.image.revision":"x"}"#)
            .arg("image")
            .run()
            .expect_code(0);
        let blobs = checkout.path().join("shipway-report/image/blobs/sha256");
        let texts = std::fs::read_dir(blobs)
            .unwrap()
            .map(|blob| String::from_utf8_lossy(&std::fs::read(blob.unwrap().path()).unwrap()).into_owned());
        let configs: Vec<String> = texts.filter(|text| text.starts_with(r#"{"architecture""#)).collect();
        assert!(!configs.is_empty() && configs.iter().all(|config| config.contains(r#""created":"2023-11-14T22:13:20Z""#)), "{configs:?}");
        report(&checkout.path())["image"]["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest(1_000_000_000), digest(1_600_000_000));
}

#[test]
fn a_terminal_without_utf_8_gets_ascii() {
    let checkout = jar_checkout("plain", &fixture::archive("shaded-service", ""));
    for (locale, ascii) in [("C", true), ("C.UTF-8", false)] {
        for command in ["image", "plan"] {
            let job = shipway(checkout.path()).env("SHIPWAY_IMAGE_BASE", lab().base(17)).env("LANG", locale);
            let done = job.arg(command).run().expect_code(0);
            assert_eq!(done.text().is_ascii(), ascii, "{command} with LANG={locale}:\n{}", done.text());
        }
    }
}
