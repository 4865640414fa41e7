//! How long and how often a registry is tried again.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    time::Instant,
};

use shipway::domain::problem::Code;

use super::{
    faults::{arrived, one_layer, setup},
    *,
};
use crate::support::fake::Act;

#[test]
fn a_manifest_is_asked_about_once_and_when_the_time_has_come() {
    let (registry, fake, client) = setup();
    fake.answer("PUT", "/manifests/", 1, "429 Too Many Requests", &["Retry-After: 1"], "");
    fake.answer("HEAD", "/manifests/", 9, "500 Internal Server Error", &[], "");
    let begun = Instant::now();
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((fake.count("PUT", "/manifests/"), fake.count("HEAD", "/manifests/")), (2, 1));
    arrived(&client, &registry, &image);
}

/// Two attempts, and so long for a registry that is away.
fn waiting(outage: Duration) -> Client {
    let retry = net::retry::Policy { attempts: 2, longest: Duration::from_millis(100), outage, ..options().retry };
    Client::new(net::Options { retry, ..options() }, vec![]).unwrap()
}

#[test]
fn a_registry_that_is_restarted_is_waited_for_by_time() {
    let (registry, fake, _) = setup();
    let client = waiting(Duration::from_secs(30));
    for (method, path) in [("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")] {
        fake.answer(method, path, 10, "503 Service Unavailable", &[], "starting");
    }
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
}

/// The name of an image at a server that answered this client once, and is gone.
fn gone(client: &Client) -> ImageReference {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let name: ImageReference = format!("{}/a/b:1", listener.local_addr().unwrap()).parse().unwrap();
    let server = std::thread::spawn(move || {
        // The first greeting is of TLS, which it does not speak.
        for connection in listener.incoming() {
            let mut reader = BufReader::new(connection.unwrap());
            if reader.fill_buf().is_ok_and(|bytes| bytes.starts_with(b"HEAD ")) {
                let mut line = "HEAD".to_string();
                while line.trim_end() != "" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                return reader.get_mut().write_all(answer).unwrap();
            }
        }
    });
    assert_eq!(block_on(client.head(&name)).unwrap(), None);
    server.join().unwrap();
    name
}

#[test]
fn a_registry_that_answered_before_is_waited_for_and_a_name_that_never_did_is_not() {
    let (known, stranger) = (waiting(Duration::from_secs(2)), waiting(Duration::from_secs(600)));
    let name = gone(&known);
    for (client, least) in [(known, Duration::from_secs(2)), (stranger, Duration::ZERO)] {
        let begun = Instant::now();
        let problem = block_on(client.head(&name)).unwrap_err();
        assert_eq!(problem.code, Code::RegistryUnreachable, "{}", problem.message);
        assert!(begun.elapsed() >= least && begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }
}

#[test]
fn an_upload_gets_its_attempts_back_for_progress() {
    let (_registry, fake, _) = setup();
    let mut image = one_layer(&fake, 1, 5 << 20);
    image.blobs.pop();
    let location = "Location: /v2/trade/app/blobs/uploads/own?at=1";
    fake.answer("POST", "/blobs/uploads/", 1, "202 Accepted", &[location], "");
    fake.rule("PUT", "/uploads/own", 1, Act::HangUp);
    // Broken three times more, each time a little further on; two attempts would be all.
    for part in 1..=4 {
        let range = format!("Range: 0-{}", (part << 20) - 1);
        fake.answer("GET", "/uploads/own", 1, "204 No Content", &[location, &range], "");
    }
    fake.rule("PATCH", "/uploads/own", 3, Act::HangUp);
    fake.answer("PATCH", "/uploads/own", 1, "202 Accepted", &[location], "");
    fake.answer("PUT", "/uploads/own", 1, "201 Created", &[], "");
    fake.answer("PUT", "/manifests/", 1, "201 Created", &[], "");
    push(&waiting(Duration::ZERO), &image).unwrap();
    assert_eq!((fake.count("POST", "/blobs/uploads/"), fake.count("PATCH", "/uploads/own")), (1, 4));

    // Without progress they are all there are.
    fake.answer("POST", "/blobs/uploads/", 1, "202 Accepted", &[location], "");
    fake.rule("PUT", "/uploads/own", 9, Act::HangUp);
    fake.answer("GET", "/uploads/own", 9, "204 No Content", &[location, "Range: 0-1048575"], "");
    fake.rule("PATCH", "/uploads/own", 9, Act::HangUp);
    let problem = push(&waiting(Duration::ZERO), &image).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUnreachable, "{}", problem.message);
    assert!(fake.count("PATCH", "/uploads/own") <= 4 + 2);
}

#[test]
fn a_mount_that_fails_is_not_tried_for_each_layer() {
    let (_registry, fake, client) = setup();
    let base = fake.image("base:1");
    let layers: Vec<Blob> = (0..8).map(|seed| blob(content(seed, 5000))).collect();
    push(&client, &image(&base, layers.clone())).unwrap();
    let from_base: Vec<Blob> = layers.into_iter().map(|layer| Blob { content: Content::Registry(base.clone()), ..layer }).collect();
    fake.answer("POST", "/v2/broken/app/blobs/uploads/?mount=", 99, "500 Internal Server Error", &[], "");
    let pushed = push(&client, &image(&fake.image("broken/app:1"), from_base.clone())).unwrap();
    assert!(pushed.transfers[..8].iter().all(|one| *one == Transfer::Sent), "{:?}", pushed.transfers);
    // As many as are on their way at the same time, each once.
    let asked = fake.count("POST", "?mount=");
    assert!((1..=4).contains(&asked), "{asked}");
    // One that is only busy is asked again: that spares the bytes.
    fake.answer("POST", "/v2/busy/app/blobs/uploads/?mount=", 1, "503 Service Unavailable", &[], "");
    let pushed = push(&client, &image(&fake.image("busy/app:1"), from_base)).unwrap();
    assert!(pushed.transfers[..8].iter().all(|one| *one == Transfer::Mounted), "{:?}", pushed.transfers);
}
