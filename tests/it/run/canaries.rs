//! Fifty secrets in eight encodings go through whole runs, in everything that is foreign; none is in anything that leaves.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::support::{
    canaries::{assert_clean, leak, lines, secrets},
    fixture::Checkout,
    forge::{Flavour, Mock, TOKEN},
    http::{Answer, serve},
    job::{QUICK, jar_checkout},
    lab::lab,
    shipway::{Finished, Shipway, shipway},
    unique,
};

/// A step of Drone, which collects a card and outputs, with a code host and a chat that listen.
struct Ground {
    checkout: Checkout,
    host: Mock,
    chat: u16,
    heard: Arc<Mutex<String>>,
}

impl Ground {
    fn new() -> Ground {
        let checkout = jar_checkout("web", &crate::support::fixture::archive("shaded-service", ""));
        let heard = Arc::new(Mutex::new(String::new()));
        let ear = heard.clone();
        let chat = serve(move |request| {
            ear.lock().unwrap().push_str(&format!("{:?}\n{}\n", request.headers, request.body));
            Answer { status: 200, ..Answer::default() }
        });
        Ground { checkout, host: Mock::start(Flavour::Github), chat, heard }
    }

    fn job(&self) -> Shipway {
        let secrets = secrets();
        let job = shipway(self.checkout.path())
            .envs([("CI", "true"), ("DRONE", "true"), ("DRONE_REPO", "trade/web"), ("DRONE_REPO_NAME", "web"), ("DRONE_BUILD_NUMBER", "5")])
            .envs([("DRONE_BUILD_EVENT", "pull_request"), ("DRONE_PULL_REQUEST", "7"), ("DRONE_REPO_BRANCH", "main")])
            .env("DRONE_COMMIT_SHA", self.checkout.head())
            .env("DRONE_COMMIT_MESSAGE", leak())
            .env("DRONE_COMMIT_AUTHOR_NAME", leak())
            .env("DRONE_BUILD_LINK", format!("https://drone.example.test/5?{}", secrets[0]))
            .env("DRONE_CARD_PATH", self.checkout.path().join("card.json"))
            .env("DRONE_OUTPUT", self.checkout.path().join("output.env"))
            .env("PLUGIN_FORGE_URL", self.host.api())
            .env("PLUGIN_FORGE_KIND", "github")
            .env("PLUGIN_FORGE_TOKEN", TOKEN)
            .env("PLUGIN_NOTIFY_URL", format!("http://127.0.0.1:{}/hook", self.chat))
            .env("PLUGIN_NOTIFY_WHEN", "always")
            .env("PLUGIN_NOTIFY_SECRET", &secrets[1])
            .env("PLUGIN_MAVEN_URL", "https://maven.example.test/")
            .env("PLUGIN_MAVEN_USERNAME", "ci")
            .env("PLUGIN_MAVEN_PASSWORD", &secrets[2])
            .env("PLUGIN_REPORT_DIR", "shipway-report")
            .env("PLUGIN_IMAGE_BASE", lab().base(17))
            .env("PLUGIN_LINE", unique("canaries"))
            .env("PLUGIN_LOG_LEVEL", "trace")
            .envs(QUICK.iter().copied());
        // all of them are variables of somebody else, too, named like secrets
        secrets.iter().enumerate().fold(job, |job, (number, secret)| job.env(&format!("TEAM_{number}_TOKEN"), secret))
    }

    /// Looks into everything that left; `least` is how many texts that are.
    fn assert_clean(&self, done: &Finished, least: usize) {
        assert_clean("the log", &done.text());
        assert!(done.text().contains("(secret)"), "{}", done.text());
        let mut seen = 1;
        for file in [self.checkout.path().join("card.json"), self.checkout.path().join("output.env")] {
            assert_clean(&file.display().to_string(), &fs::read_to_string(&file).unwrap_or_default());
            seen += usize::from(file.exists());
        }
        each_file(&self.checkout.path().join("shipway-report"), &mut |path, text| {
            assert_clean(&path.display().to_string(), &text);
            seen += 1;
        });
        let state = self.host.state();
        assert!(state.comments.iter().any(|(_, text)| text.contains("(secret)")), "nothing leaked into the comment: {:?}", state.comments);
        for request in &state.seen {
            assert_clean(&format!("{} {}", request.method, request.path), &format!("{} {}", request.path, request.body));
            seen += 1;
        }
        let heard = self.heard.lock().unwrap();
        assert!(heard.contains("(secret)"), "nothing leaked into the message: {heard}");
        assert_clean("the message", &heard);
        assert!(seen >= least, "only {seen} texts were looked into");
    }
}

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path, String)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("image") => {}
            true => each_file(&path, look),
            false => look(&path, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()),
        }
    }
}

#[test]
fn a_build_that_prints_every_secret_and_fails() {
    let ground = Ground::new();
    // what the build is called with, and what all programs around it are called with, goes into a file that only this test reads
    let script = "#!/bin/sh\ncat leak.txt\ncat leak.txt >&2\ncat /proc/[0-9]*/cmdline > argv.seen 2> /dev/null\nexit 1\n";
    ground.checkout.write("leak.txt", &(lines() + &leak() + "\n"));
    ground.checkout.write("build.sh", script);
    fs::set_permissions(ground.checkout.path().join("build.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    ground.checkout.write("shipway.yaml", "app: web\nbuild: {command: [./build.sh], artifact: app.jar}\n");
    ground.checkout.commit("Build by a script");
    for format in ["text", "json"] {
        let done = ground.job().env("PLUGIN_LOG_FORMAT", format).arg("build").run().expect_code(10);
        ground.assert_clean(&done, 12);
        let argv = fs::read(ground.checkout.path().join("argv.seen")).unwrap();
        assert!(argv.windows(8).any(|bytes| bytes == b"build.sh"));
        assert_clean("argv", &String::from_utf8_lossy(&argv));
    }
}

#[test]
fn a_publish_that_crashes_with_every_secret_around_it() {
    let (ground, namespace) = (Ground::new(), lab().namespace("canaries"));
    let variables = serde_json::json!({"LEAK": lines()});
    let job = |tag: &str| {
        let job = ground.job().env("PLUGIN_CLUSTER_KUBECONFIG", &namespace.kubeconfig).env("PLUGIN_KUBERNETES_NAMESPACE", &namespace.name);
        let job = job.env("PLUGIN_KUBERNETES_ENV", variables.to_string()).env("PLUGIN_KUBERNETES_PROBES_READINESS", "/health");
        job.args(["publish", "--image", &lab().web(tag)])
    };
    job("1").run().expect_code(0);
    let done = job("crash").run().expect_code(50);
    ground.assert_clean(&done, 14);
}

#[test]
fn settings_that_are_refused_with_every_secret_around_them() {
    let ground = Ground::new();
    let misplaced = serde_json::to_string(&secrets()[7]).unwrap();
    ground.checkout.write("shipway.yaml", &format!("app: web\nregistry: {{password: {misplaced}}}\n"));
    for format in ["text", "json"] {
        let job = ground.job().env("PLUGIN_LOG_FORMAT", format).env("PLUGIN_BUILD_JDK", leak());
        let done = job.arg("build").run().expect_code(2).expect_text(&["registry.password is secret and must not stand in a file"]);
        ground.assert_clean(&done, 10);
    }
}
