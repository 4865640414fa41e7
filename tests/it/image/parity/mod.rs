//! The same Dockerfiles, built by a real `docker build` and by the native engine: same files, owners, modes, links, configuration.

mod context;
mod docker;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Mutex,
};

use serde_json::{Map, Value};
use shipway::{
    domain::event::Events,
    image::{self, Build},
};

use self::docker::Docker;
use super::dockerfile::{build_in, client};
use crate::support::block_on;

/// Builds that run at the same time, in docker and in us.
const BUILDERS: usize = 3;

/// One Dockerfile and what its context has beside the files that all share.
struct Case {
    name: String,
    dockerfile: String,
    files: Vec<(String, String)>,
    options: Vec<String>,
}

/// What an image holds: path → kind, mode, owner and content; and the part of its configuration that Dockerfiles set.
#[derive(Debug, Default, PartialEq)]
struct Content {
    files: BTreeMap<String, String>,
    config: BTreeMap<String, Value>,
}

#[test]
fn images_are_what_docker_makes_of_the_same_dockerfiles() {
    let dir = tempfile::tempdir().unwrap();
    let docker = Docker::start(dir.path());
    let cases = cases();
    assert!(cases.len() >= 80, "only {} cases were found", cases.len());
    context::write(&dir.path().join("shared"));
    let contexts: Vec<PathBuf> = cases.iter().enumerate().map(|(at, case)| prepare(case, dir.path(), at, &docker)).collect();
    let theirs = in_parallel(&cases, |at, case| docker.build(&contexts[at], case));
    let ours = in_parallel(&cases, |at, case| native(&contexts[at], case));
    let mut read = docker.read(theirs.iter().filter_map(|built| built.as_ref().ok()));
    let mut wrong = Vec::new();
    for ((case, theirs), ours) in cases.iter().zip(theirs).zip(ours) {
        match (theirs, ours) {
            (Ok(id), Ok(ours)) => wrong.extend(differences(&case.name, &read.remove(&id).unwrap(), &ours)),
            (theirs, ours) => wrong.push(format!("{}: docker {:?}, native {:?}", case.name, theirs.map(drop), ours.map(drop))),
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_only_another_engine_can_do_is_told_with_the_base_that_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let docker = Docker::start(dir.path());
    let shared = dir.path().join("context");
    context::write(&shared);
    for (text, slug, part) in [
        ("FROM $BASE_RUN", "dockerfile-unsupported", "has the ONBUILD trigger \"RUN echo\": RUN needs an engine that runs commands"),
        ("FROM scratch\nCOPY --from=$BASE-none /x /x", "base-image-missing", "Dockerfile:2: COPY --from="),
        ("FROM scratch\nCOPY --from=$BASE /none /x", "dockerfile-invalid", "/none is not in the image"),
        ("FROM $BASE AS s\nFROM scratch\nCOPY --from=s /none* /x/", "dockerfile-invalid", "/none* is not in the stage s"),
        ("FROM $BASE\nCOPY --chown=app:none a.txt /x", "dockerfile-invalid", "names \"none\", which is not in the image's /etc/group"),
        ("FROM $BASE\nCOPY tree/app /lib/l.so/", "dockerfile-invalid", "usr/lib/l.so is no folder in the image"),
        ("FROM $BASE\nCOPY swapped /", "dockerfile-invalid", "lib is a link to usr/lib in the image, and a folder cannot take its place"),
        ("FROM $BASE\nCOPY hidden /", "dockerfile-invalid", "a name that begins with .wh. takes a file away"),
    ] {
        fs::create_dir_all(shared.join("swapped/lib/x")).unwrap();
        fs::create_dir_all(shared.join("hidden/.wh.x")).unwrap();
        context::file(&shared.join("Dockerfile"), docker.name_bases(text).as_bytes(), 0o644);
        let problem = block_on(image::build(&build_in(dir.path()), &client(), &Events::none())).err();
        let problem = problem.unwrap_or_else(|| panic!("{text} was built"));
        assert_eq!(problem.code.slug(), slug, "{text}: {}", problem.message);
        assert!(problem.message.contains(part), "{text}: {}", problem.message);
        assert!(!problem.hint.is_empty());
    }
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dockerfiles");
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "txt")) {
        let text = fs::read_to_string(file).unwrap();
        found.extend(format!("\n{text}").split("\n=== ").skip(1).map(case));
    }
    found
}

fn case(text: &str) -> Case {
    let (name, rest) = text.split_once('\n').unwrap();
    let mut parts = rest.split("\n--- ");
    let (options, lines): (Vec<&str>, Vec<&str>) = parts.next().unwrap().lines().partition(|line| line.starts_with("#: "));
    let whole = |text: &str| format!("{}\n", text.trim_end_matches('\n'));
    let file = |part: &str| part.split_once('\n').map(|(path, text)| (path.to_string(), whole(text))).unwrap();
    Case {
        name: name.to_string(),
        dockerfile: whole(&lines.join("\n")),
        files: parts.map(file).collect(),
        options: options.into_iter().map(|option| option["#: ".len()..].to_string()).collect(),
    }
}

fn file_of(case: &Case) -> String {
    let named = case.options.iter().find_map(|option| option.strip_prefix("file "));
    named.unwrap_or("Dockerfile").to_string()
}

/// Build arguments of a case: `NAME=value`.
fn given(case: &Case) -> impl Iterator<Item = &str> {
    case.options.iter().filter_map(|option| option.strip_prefix("arg "))
}

fn target(case: &Case) -> Option<&str> {
    case.options.iter().find_map(|option| option.strip_prefix("target "))
}

/// Makes the context of a case, a copy of the shared one with what is its own.
fn prepare(case: &Case, dir: &Path, at: usize, docker: &Docker) -> PathBuf {
    let folder = dir.join(at.to_string()).join("context");
    context::copy(&dir.join("shared"), &folder);
    let has = |option: &str| case.options.iter().any(|one| one == option);
    let mut text = docker.name_bases(&case.dockerfile);
    if has("crlf") {
        text = text.replace('\n', "\r\n");
    }
    if has("bom") {
        text.insert(0, '\u{feff}');
    }
    let mark = if has("bom-ignore") { "\u{feff}" } else { "" };
    for (path, text) in case.files.iter().map(|(path, text)| (path.clone(), format!("{mark}{text}"))).chain([(file_of(case), text)]) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        context::file(&path, text.as_bytes(), 0o644);
    }
    folder
}

fn in_parallel<T: Send>(cases: &[Case], work: impl Fn(usize, &Case) -> T + Sync) -> Vec<T> {
    let (next, done) = (Mutex::new(0..cases.len()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..BUILDERS {
            scope.spawn(|| {
                loop {
                    let Some(at) = next.lock().unwrap().next() else { break };
                    let one = work(at, &cases[at]);
                    done.lock().unwrap().insert(at, one);
                }
            });
        }
    });
    done.into_inner().unwrap().into_values().collect()
}

/// Builds by the native engine and reads the image back from a layout.
fn native(context: &Path, case: &Case) -> Result<Content, String> {
    let dir = context.parent().unwrap();
    let args = given(case).filter_map(|given| given.split_once('=')).map(|(name, value)| (name.to_string(), value.to_string()));
    let target = target(case).map(str::to_string);
    let build = Build { dockerfile: context.join(file_of(case)), args: args.collect(), target, ..build_in(dir) };
    let (client, layout) = (client(), dir.join("layout"));
    block_on(async {
        let image = image::build(&build, &client, &Events::none()).await?;
        image::write_layout(&image, &"parity.test/x:1".parse()?, &layout, &client).await
    })
    .map_err(|problem: shipway::domain::problem::Problem| problem.message)?;
    let index = json_file(&layout.join("index.json"));
    let blob = |descriptor: &Value| layout.join("blobs/sha256").join(&descriptor["digest"].as_str().unwrap()["sha256:".len()..]);
    let manifest = json_file(&blob(&index["manifests"][0]));
    let mut content = Content { config: config_of(&json_file(&blob(&manifest["config"]))), ..Content::default() };
    for layer in manifest["layers"].as_array().unwrap() {
        let packed = fs::File::open(blob(layer)).unwrap();
        put_layer(&mut content.files, flate2::read::MultiGzDecoder::new(packed));
    }
    Ok(content)
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What Dockerfiles set of a configuration; what is empty is as if it were not there.
fn config_of(config: &Value) -> BTreeMap<String, Value> {
    const SET: [&str; 12] = [
        "Cmd",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Healthcheck",
        "Labels",
        "OnBuild",
        "Shell",
        "StopSignal",
        "User",
        "Volumes",
        "WorkingDir",
    ];
    let empty =
        |value: &Value| value.is_null() || *value == "" || *value == Value::Object(Map::new()) || *value == Value::Array(Vec::new());
    let run = SET.iter().map(|key| (key.to_string(), config["config"][*key].clone()));
    let top = ["author", "os", "architecture"].iter().map(|key| (key.to_string(), config[*key].clone()));
    run.chain(top).filter(|(_, value)| !empty(value)).collect()
}

/// Lays a layer over the files (OCI image-spec, layer.md).
fn put_layer(files: &mut BTreeMap<String, String>, tar: impl Read) {
    let (mut own, mut archive) = (BTreeMap::new(), tar::Archive::new(tar));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string().trim_start_matches("./").trim_matches('/').to_string();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if path.is_empty() {
            continue;
        }
        if name == ".wh..wh..opq" {
            files.retain(|file, _| !file.starts_with(&format!("{folder}/")));
        } else if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = format!("{folder}/{gone}").trim_start_matches('/').to_string();
            files.retain(|file, _| *file != gone && !file.starts_with(&format!("{gone}/")));
        } else if entry.header().entry_type() == tar::EntryType::Link {
            let target = entry.link_name().unwrap().unwrap().display().to_string();
            let there: &String = own.get(&target).or_else(|| files.get(&target)).unwrap();
            own.insert(path, there.clone());
        } else {
            own.insert(path, told(&mut entry));
        }
    }
    files.extend(own);
}

/// `kind mode user:group content`; long contents by their length and digest. Times are not compared: ours never change.
fn told(entry: &mut tar::Entry<'_, impl Read>) -> String {
    use sha2::{Digest as _, Sha256};
    let header = entry.header().clone();
    let (mode, owner) = (header.mode().unwrap() & 0o7777, format!("{}:{}", header.uid().unwrap(), header.gid().unwrap()));
    match header.entry_type() {
        tar::EntryType::Directory => format!("folder {mode:o} {owner}"),
        tar::EntryType::Symlink => format!("link {owner} -> {}", entry.link_name().unwrap().unwrap().display()),
        _ => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let short = String::from_utf8(bytes.clone()).ok().filter(|text| text.len() < 40);
            let digest = || Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            format!("file {mode:o} {owner} {} bytes {:?}", bytes.len(), short.unwrap_or_else(digest))
        }
    }
}

fn differences(name: &str, theirs: &Content, ours: &Content) -> Vec<String> {
    let mut found = Vec::new();
    let none = "nothing".to_string();
    for path in theirs.files.keys().chain(ours.files.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (their, our) = (theirs.files.get(path).unwrap_or(&none), ours.files.get(path).unwrap_or(&none));
        if their != our {
            found.push(format!("{name}: {path}: docker has {their}, we have {our}"));
        }
    }
    for key in theirs.config.keys().chain(ours.config.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (their, our) = (theirs.config.get(key), ours.config.get(key));
        if their != our {
            found.push(format!("{name}: {key}: docker has {}, we have {}", shown(their), shown(our)));
        }
    }
    found
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("nothing".to_string(), Value::to_string)
}
