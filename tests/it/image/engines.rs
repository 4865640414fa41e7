//! Dockerfiles that need commands: built by a real Docker, buildah and BuildKit, and pushed by our own client.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::Value;
use shipway::{
    domain::reference::ImageReference,
    net,
    registry::{Access, Client},
};

use crate::support::{
    block_on,
    fixture::Checkout,
    job::{gitlab, jar_checkout},
    lab::{Registry, lab},
    shipway::{Finished, Shipway, report},
    unique,
};

/// A checkout with a Dockerfile that needs an engine which runs commands: `base` with a file that a RUN makes and one that is copied.
fn checkout(base: &str) -> Checkout {
    let dir = tempfile::tempdir().unwrap();
    let jar = super::jar(&dir.path().join("app.jar"), &[("META-INF/MANIFEST.MF", b"Main-Class: a.B\n"), ("a/B.class", &super::class(17))]);
    let checkout = jar_checkout("web", &jar);
    let dockerfile = format!(
        "FROM {base} AS app\nUSER 0\nLABEL own=yes org.opencontainers.image.title=mine\nARG WHO=nobody\nRUN echo made by a command for $WHO | tee /made # {}\n\
         COPY . /srv/\nENTRYPOINT [\"/start\"]\nFROM app\nRUN false\n",
        unique("no cache has it")
    );
    checkout.write("Dockerfile", &dockerfile);
    checkout.write(".dockerignore", ".git\nshipway.yaml\n");
    checkout.commit("Add a Dockerfile");
    checkout
}

fn job(checkout: &Checkout, registry: &Registry, line: &str) -> Shipway {
    gitlab(checkout, 1)
        .env("SHIPWAY_IMAGE_DOCKERFILE", "Dockerfile")
        .env("SHIPWAY_REGISTRY_URL", &registry.address)
        .env("SHIPWAY_LINE", line)
        .env("SHIPWAY_IMAGE_TARGET", "app")
        .env("SHIPWAY_IMAGE_BUILD_ARGS", r#"{"WHO": "orders", "WHOM": "x"}"#)
        .env("SHIPWAY_IMAGE_LABELS", r#"{"team": "orders"}"#)
        .arg("image")
}

/// Where Debian's programs are: another docker on the PATH may want plugins.
const DEBIANS: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// With the lab's Docker; its classic builder, since a RUN of its BuildKit has no network to begin with.
fn with_docker(job: Shipway) -> Shipway {
    job.env("DOCKER_HOST", lab().docker_host()).env("DOCKER_BUILDKIT", "0")
}

/// With a storage of buildah's that is the test's own.
fn with_buildah(job: Shipway, folder: &Path) -> Shipway {
    let conf = folder.join("storage.conf");
    let root = folder.display();
    fs::write(&conf, format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}/storage\"\nrunroot = \"{root}/run\"\n")).unwrap();
    job.env("CONTAINERS_STORAGE_CONF", conf)
}

/// Looks at what was pushed: a base that was mounted, a layer with the command's file, the configuration.
fn check(checkout: &Checkout, done: &Finished, registry: &Registry, base: &str) {
    let report = report(&checkout.path());
    let name: ImageReference = report["image"]["reference"].as_str().unwrap().parse().unwrap();
    let client = client(registry);
    let manifest = block_on(client.manifest(&name)).unwrap();
    assert_eq!(manifest.digest.as_str(), report["image"]["digest"].as_str().unwrap());
    let body: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    let base: ImageReference = base.parse().unwrap();
    let of_base: Value = serde_json::from_slice(&block_on(client.manifest(&base)).unwrap().bytes).unwrap();
    assert_eq!(body["layers"][0]["digest"], of_base["layers"][0]["digest"], "the base's layer as its registry has it");
    assert_eq!(body["annotations"]["org.opencontainers.image.base.name"], base.to_string());
    let layers = report["image"]["layers"].as_array().unwrap();
    let first = layers.iter().find(|layer| layer["digest"] == of_base["layers"][0]["digest"]).unwrap();
    assert_eq!(first["transferred"], false, "{}", done.text());
    let described = &body["config"];
    let digest = described["digest"].as_str().unwrap().parse().unwrap();
    let config = block_on(client.blob(&name, &digest, described["size"].as_u64().unwrap())).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let labels = &config["config"]["Labels"];
    assert_eq!([&labels["own"], &labels["team"], &labels["org.opencontainers.image.title"]], ["yes", "orders", "mine"], "{config}");
    assert_eq!(labels["org.opencontainers.image.revision"], checkout.head());
    assert_eq!(config["config"]["Entrypoint"][0], "/start");
    let files = files(&client, &name, &body);
    assert!(files.contains(&"made".to_string()) && files.contains(&"srv/app.jar".to_string()), "{files:?}");
    assert!(!files.iter().any(|file| file.starts_with("srv/.git/") || file == "srv/shipway.yaml"), "{files:?}");
}

fn client(registry: &Registry) -> Client {
    net::install_crypto();
    let auth = serde_json::json!({"auths": {registry.address.as_str(): {"username": registry.user, "password": registry.password}}});
    let accesses: Vec<Access> =
        if registry.user.is_empty() { Vec::new() } else { shipway::registry::docker_config(&auth.to_string(), "test", &[]).ok().unwrap() };
    Client::new(net::Options::default(), accesses).unwrap()
}

/// All paths in the layers above the base's.
fn files(client: &Client, name: &ImageReference, manifest: &Value) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for layer in manifest["layers"].as_array().unwrap().iter().skip(1) {
        let path = dir.path().join("layer");
        let digest = layer["digest"].as_str().unwrap().parse().unwrap();
        block_on(client.blob_to_file(name, &digest, layer["size"].as_u64().unwrap(), &path)).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(&path).unwrap()));
        found.extend(archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()));
    }
    found
}

#[test]
fn docker_builds_what_has_commands_and_our_client_pushes_it() {
    let base = lab().web("1");
    let checkout = checkout(&base);
    let done = with_docker(job(&checkout, &lab().registry(), &unique("by docker"))).run().expect_code(0);
    let done = done.expect_text(&[
        "Dockerfile:5: RUN ",
        "docker build ",
        "--pull",
        "image.build_args.WHOM has no effect: no ARG of this Dockerfile has the name",
        "is not reproducible",
        "made by a command for orders",
    ]);
    check(&checkout, &done, &lab().registry(), &base);
}

#[test]
fn buildah_builds_on_a_private_base_and_sees_the_password_in_no_argument() {
    let registry = lab().registry_auth();
    let base = registry.repository("private base") + ":1";
    seed(&base, &registry);
    let (checkout, folder) = (checkout(&base), tempfile::tempdir().unwrap());
    let job = job(&checkout, &registry, &unique("by buildah"));
    let job = job.env("SHIPWAY_REGISTRY_USERNAME", &registry.user).env("SHIPWAY_REGISTRY_PASSWORD", &registry.password);
    let done = with_buildah(job, folder.path()).env("SHIPWAY_IMAGE_ENGINE", "buildah").run().expect_code(0);
    let done = done.expect_text(&[
        "image.engine is buildah; the image is built by buildah 1.",
        "buildah build",
        "--isolation chroot",
        "for orders",
    ]);
    check(&checkout, &done, &registry, &base);
    let log = fs::read_to_string(checkout.path().join("shipway-report/engine.log")).unwrap();
    assert!(!done.text().contains(&registry.password) && !log.contains(&registry.password));
    let left = fs::read_dir(folder.path().join("storage/vfs-images")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert!(left.count() <= 1, "the image itself is removed; the base may stay");
}

/// Copies the small web server's image to a repository of the test's own.
fn seed(target: &str, registry: &Registry) {
    let dir = tempfile::tempdir().unwrap();
    let open = client(&lab().registry());
    super::dockerfile::write_context(dir.path(), &[("Dockerfile", &format!("FROM {}\n", lab().web("1")))]);
    let build = super::dockerfile::build_in(dir.path());
    let image = block_on(shipway::image::build(&build, &open, &shipway::domain::event::Events::none())).unwrap();
    let push = shipway::registry::Push {
        target: target.parse().unwrap(),
        extra_tags: Vec::new(),
        blobs: image.blobs,
        manifests: image.manifests,
        instead: None,
        look: None,
    };
    block_on(client(registry).push(&push, &shipway::domain::event::Events::none())).unwrap();
}

#[test]
fn buildkit_goes_first_where_its_host_is_named() {
    let base = lab().web("1");
    let checkout = checkout(&base);
    let programs = lab().buildctl().parent().unwrap().display().to_string();
    let job = job(&checkout, &lab().registry(), &unique("by buildkit"));
    let job = job.env("BUILDKIT_HOST", lab().buildkit_host()).env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
    let done = with_docker(job).run().expect_code(0).expect_text(&[
        "Dockerfile:5: RUN ",
        "buildctl build --progress plain",
        "made by a command for orders",
    ]);
    check(&checkout, &done, &lab().registry(), &base);
}

/// A folder with git alone, for a PATH without engines.
fn bare_path(folder: &Path) -> String {
    let git = std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|path| path.join("git")).find(|git| git.is_file()).unwrap();
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    symlink(git, bin.join("git")).unwrap();
    symlink("/bin/true", bin.join("true")).unwrap();
    bin.display().to_string()
}

#[test]
fn without_an_engine_it_is_said_what_was_looked_for() {
    let (checkout, folder) = (checkout(&lab().web("1")), tempfile::tempdir().unwrap());
    let path = bare_path(folder.path());
    let job = || job(&checkout, &lab().registry(), "no-engine").env("PATH", &path);
    let looked = format!("looked in {path}");
    let done =
        job().run().expect_code(2).expect_text(&["engine-missing", "Dockerfile:5: RUN ", "buildkit: BUILDKIT_HOST is not set", &looked]);
    done.expect_text(&["docker: docker was not found", "buildah: buildah", "install buildah"]);
    let done = job().env("SHIPWAY_IMAGE_ENGINE", "buildkit").env("BUILDKIT_HOST", "unix:///nowhere").run().expect_code(2);
    done.expect_text(&["image.engine is buildkit, and it cannot be used", "buildctl was not found"]);
    let done = job().env("SHIPWAY_IMAGE_ENGINE", "docker").env("DOCKER_HOST", "tcp://docker:2375").run().expect_code(2);
    done.expect_text(&[
        "docker was not found",
        "the engine at tcp://docker:2375 is used by this program, which the job's image has to have",
    ]);
    let done = job().env("SHIPWAY_IMAGE_ENGINE", "native").run().expect_code(10);
    done.expect_text(&["dockerfile-unsupported", "Dockerfile:5: RUN ", "image.engine"]);
}

#[test]
fn an_engine_that_does_not_answer_is_told_from_one_that_is_missing() {
    let checkout = checkout(&lab().web("1"));
    let job = job(&checkout, &lab().registry(), "no-daemon").env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let done = job.env("SHIPWAY_IMAGE_ENGINE", "docker").run().expect_code(2);
    done.expect_text(&["engine-missing", "no engine answers at", "unix:///nowhere/docker.sock", "Cannot connect"]);
}

/// Docker's BuildKit, which is asked for where nobody decided otherwise; its commands would have no network here, so there are none.
#[test]
fn an_engine_may_be_wanted_for_what_the_native_one_covers() {
    let base = lab().web("1");
    let checkout = checkout(&base);
    checkout.write("Dockerfile", &format!("FROM {base} AS app\nARG WHO\nLABEL who=$WHO\nCOPY Dockerfile /srv/\n"));
    let job = job(&checkout, &lab().registry(), &unique("by moby")).env("DOCKER_HOST", lab().docker_host());
    let done = job.env("SHIPWAY_IMAGE_ENGINE", "docker").env("PATH", DEBIANS).run().expect_code(0);
    done.expect_text(&["image.engine is docker; the image is built by docker ", "[internal] load build definition"]);
    let name: ImageReference = report(&checkout.path())["image"]["reference"].as_str().unwrap().parse().unwrap();
    let client = client(&lab().registry());
    let manifest: Value = serde_json::from_slice(&block_on(client.manifest(&name)).unwrap().bytes).unwrap();
    assert_eq!(files(&client, &name, &manifest), ["srv/", "srv/Dockerfile"]);
}

#[test]
fn a_base_that_only_the_engine_has_is_not_pulled() {
    let (local, folder) = (lab().registry().repository("only here") + ":1", tempfile::tempdir().unwrap());
    let docker = |words: &[&str]| {
        let mut program = std::process::Command::new("/usr/bin/docker");
        let run = program.args(words).env("DOCKER_HOST", lab().docker_host()).env("DOCKER_BUILDKIT", "0").output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    fs::write(folder.path().join("Dockerfile"), format!("FROM {}\nLABEL only=here\n", lab().web("1"))).unwrap();
    docker(&["build", "--quiet", "--tag", &local, &folder.path().display().to_string()]);
    let checkout = checkout(&local);
    let done = with_docker(job(&checkout, &lab().registry(), &unique("only here"))).run();
    docker(&["image", "rm", &local]);
    let done = done.expect_code(0).expect_text(&[&format!("docker has the base {local}"), "which no registry shows", "for orders"]);
    assert!(!done.text().contains("--pull"), "{}", done.text());
}

/// A builder of buildx may be a container of its own, which keeps the image unless it is told to load it. The program stands in for a
/// client whose build fails.
#[test]
fn buildx_is_told_to_load_the_image() {
    let (checkout, folder) = (checkout(&lab().web("1")), tempfile::tempdir().unwrap());
    let program = folder.path().join("docker");
    let answers = "#!/bin/sh\ncase $1 in version) echo 28.2.2 28.2.2 linux;; buildx) echo v0.24;; *) echo no builder; exit 1;; esac\n";
    fs::write(&program, answers).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let job = || {
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        job(&checkout, &lab().registry(), "by-buildx").env("PATH", path).env("SHIPWAY_IMAGE_ENGINE", "docker")
    };
    let done = job().run().expect_code(10).expect_text(&["docker build ", "--pull", "--load", "--target app", "no builder"]);
    assert!(done.text().contains("--build-arg WHO=orders"));
    for off in ["0", "false", "F"] {
        let done = job().env("DOCKER_BUILDKIT", off).run().expect_code(10);
        assert!(!done.text().contains("--load"), "{}", done.text());
    }
}

#[test]
fn a_stage_that_is_not_there_and_a_secret_among_the_arguments_are_refused() {
    let checkout = checkout(&lab().web("1"));
    let job = || job(&checkout, &lab().registry(), "arguments");
    let done = job().env("SHIPWAY_IMAGE_TARGET", "apk").run().expect_code(10);
    let done = done.expect_text(&["dockerfile-invalid", "image.target is apk, and in Dockerfile there is no stage apk: it has app"]);
    assert!(!done.text().contains("ended well after"), "before the build: {}", done.text());
    let job = job().env("SHIPWAY_REGISTRY_USERNAME", "robot").env("SHIPWAY_REGISTRY_PASSWORD", "a-long-password-9");
    let done = job.env("SHIPWAY_IMAGE_BUILD_ARGS", r#"{"WHO": "x a-long-password-9"}"#).run().expect_code(2);
    let done = done.expect_text(&["setting-invalid", "image.build_args.WHO holds a secret"]);
    assert!(!done.text().contains("a-long-password-9"));
}

#[test]
fn a_command_that_fails_shows_its_last_lines() {
    let checkout = checkout(&lab().web("1"));
    checkout.write("Dockerfile", &format!("FROM {} AS app\nRUN echo the reason is this && false\n", lab().web("1")));
    let done = with_docker(job(&checkout, &lab().registry(), &unique("fails"))).run().expect_code(10);
    done.expect_text(&["engine-failed", "docker could not build", "the reason is this"]);
}

#[test]
fn a_cancelled_build_leaves_no_process() {
    let (checkout, folder) = (checkout(&lab().web("1")), tempfile::tempdir().unwrap());
    let marker = unique("sleeper");
    checkout.write("Dockerfile", &format!("FROM {} AS app\nRUN echo begun {marker} && sleep 300\n", lab().web("1")));
    let job = with_buildah(job(&checkout, &lab().registry(), &unique("cancelled")), folder.path()).env("SHIPWAY_IMAGE_ENGINE", "buildah");
    let mut run = job.spawn();
    let begun = format!("begun {marker}");
    // The command itself is printed before it runs; its output is a line of its own.
    run.wait_until("the command runs", |printed| printed.lines().any(|line| line.trim() == begun));
    run.terminate();
    run.wait().expect_code(143).expect_text(&["cancelled during image"]);
    let lives = fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&marker)
    });
    assert!(!lives, "a process of the build still lives");
}
