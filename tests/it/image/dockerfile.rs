//! What the native engine makes of a Dockerfile: configuration, layers, and errors.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use serde_json::{Value, json};
use shipway::{
    domain::{event::Events, problem::Problem},
    image::{self, Build, Image},
    net,
    registry::{Blob, Client, Content},
};

use crate::support::block_on;

/// A client that reaches loopback registries without credentials.
pub fn client() -> Client {
    net::install_crypto();
    Client::new(net::Options::default(), vec![]).unwrap()
}

/// A build in a folder that holds `context/` and gets `scratch/`.
pub fn build_in(dir: &Path) -> Build {
    Build {
        context: dir.join("context"),
        borrowed: image::Borrowed::default(),
        dockerfile: dir.join("context/Dockerfile"),
        args: BTreeMap::new(),
        target: None,
        generated: false,
        roles: BTreeMap::new(),
        created: 1_700_000_000,
        hidden: Vec::new(),
        platforms: vec!["linux/amd64".to_string()],
        base_registry: None,
        scratch: dir.join("scratch"),
        packed: HashMap::new(),
        root: dir.to_path_buf(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

pub fn built(build: &Build) -> Result<Image, Problem> {
    block_on(image::build(build, &client(), &Events::none()))
}

/// Writes a context; a name that ends in `/` is a folder.
pub fn write_context(dir: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = dir.join("context").join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

fn build_of(dockerfile: &str, files: &[(&str, &str)]) -> Result<(tempfile::TempDir, Image), Problem> {
    let dir = tempfile::tempdir().unwrap();
    write_context(dir.path(), files);
    write_context(dir.path(), &[("Dockerfile", dockerfile)]);
    built(&build_in(dir.path())).map(|image| (dir, image))
}

/// The manifest that stands last, and the configuration it names.
pub fn manifest_and_config(image: &Image) -> (Value, Value) {
    let manifest: Value = serde_json::from_slice(&image.manifests.last().unwrap().bytes).unwrap();
    let digest = manifest["config"]["digest"].as_str().unwrap();
    let blob = image.blobs.iter().find(|blob| blob.digest.as_str() == digest).unwrap();
    let Content::Bytes(bytes) = &blob.content else { panic!("the configuration is not in memory") };
    (manifest, serde_json::from_slice(bytes).unwrap())
}

/// The bytes of a layer of ours.
pub fn packed(blob: &Blob) -> Vec<u8> {
    match &blob.content {
        Content::File(path) => fs::read(path).unwrap(),
        Content::Made(maker) => {
            let mut bytes = Vec::new();
            maker.write(&mut bytes).unwrap();
            bytes
        }
        other => panic!("{other:?} is no layer of ours"),
    }
}

/// Those of an image's blobs that we packed.
fn ours(image: &Image) -> impl Iterator<Item = &Blob> {
    image.blobs.iter().filter(|blob| matches!(blob.content, Content::File(_) | Content::Made(_)))
}

/// A layer's entries: `name mode uid:gid` and, for files, the content.
pub fn entries(blob: &Blob) -> Vec<String> {
    let packed = packed(blob);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let (name, header) = (entry.path().unwrap().display().to_string(), entry.header().clone());
        let (mode, user, group) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        let content = match header.entry_type() {
            tar::EntryType::Symlink => format!(" -> {}", entry.link_name().unwrap().unwrap().display()),
            tar::EntryType::Regular => format!(" {}", std::io::read_to_string(&mut entry).unwrap()),
            _ => String::new(),
        };
        format!("{name} {mode:o} {user}:{group}{content}")
    });
    entries.collect()
}

/// All our layers, one after the other.
fn layers(image: &Image) -> Vec<Vec<String>> {
    ours(image).map(entries).collect()
}

fn check_layers(dockerfile: &str, files: &[(&str, &str)], expected: &[&[&str]]) {
    let (_dir, image) = build_of(dockerfile, files).unwrap_or_else(|problem| panic!("{dockerfile}: {}", problem.message));
    let expected: Vec<Vec<String>> = expected.iter().map(|layer| layer.iter().map(|line| line.to_string()).collect()).collect();
    assert_eq!(layers(&image), expected, "{dockerfile}");
    let (manifest, config) = manifest_and_config(&image);
    let history = config["history"].as_array().unwrap().iter().filter(|one| one["empty_layer"] != json!(true)).count();
    assert_eq!(history, expected.len(), "{dockerfile}: history does not fit the layers");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), manifest["layers"].as_array().unwrap().len());
}

#[test]
fn copy_puts_files_where_docker_does() {
    let files: &[(&str, &str)] = &[("a.txt", "A"), ("b.txt", "B"), ("d/e.txt", "E"), ("d/f/g.txt", "G"), ("empty/", "")];
    for (dockerfile, expected) in [
        ("FROM scratch\nCOPY a.txt /x", &[&["x 644 0:0 A"][..]][..]),
        ("FROM scratch\nCOPY a.txt /x/", &[&["x/ 755 0:0", "x/a.txt 644 0:0 A"]]),
        ("FROM scratch\nCOPY a.txt b.txt /x/", &[&["x/ 755 0:0", "x/a.txt 644 0:0 A", "x/b.txt 644 0:0 B"]]),
        ("FROM scratch\nCOPY *.txt /", &[&["a.txt 644 0:0 A", "b.txt 644 0:0 B"]]),
        ("FROM scratch\nCOPY d /x", &[&["x/ 755 0:0", "x/e.txt 644 0:0 E", "x/f/ 755 0:0", "x/f/g.txt 644 0:0 G"]]),
        ("FROM scratch\nCOPY d/**/*.txt /x/", &[&["x/ 755 0:0", "x/g.txt 644 0:0 G"]]),
        (
            "FROM scratch\nCOPY <<EOF <<\"raw\" /x/\n$PATH'\nEOF\n$PATH\nraw",
            &[&["x/ 755 0:0", "x/EOF 644 0:0 /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'\n", "x/raw 644 0:0 $PATH\n"]],
        ),
        ("FROM scratch\nUSER 7\nWORKDIR /w\nCOPY a.txt .", &[&["w/ 755 7:7", "w/a.txt 644 0:0 A"]]),
        ("FROM scratch\nCOPY /d/../a.txt ./y/../x", &[&["x 644 0:0 A"]]),
        ("FROM scratch\nWORKDIR /app\nCOPY a.txt .", &[&["app/ 755 0:0", "app/a.txt 644 0:0 A"]]),
        ("FROM scratch\nWORKDIR /app\nCOPY a.txt /app", &[&["app/ 755 0:0", "app/a.txt 644 0:0 A"]]),
        ("FROM scratch\nWORKDIR /app\nWORKDIR sub\nCOPY a.txt x", &[&["app/ 755 0:0", "app/sub/ 755 0:0", "app/sub/x 644 0:0 A"]]),
        ("FROM scratch\nWORKDIR /app", &[&["app/ 755 0:0"]]),
        ("FROM scratch\nCOPY --chown=7:8 --chmod=600 a.txt /x/", &[&["x/ 755 7:8", "x/a.txt 600 7:8 A"]]),
        ("FROM scratch\nCOPY --chown=7 d/f /x", &[&["x/ 755 7:7", "x/g.txt 644 7:7 G"]]),
        ("FROM scratch\nCOPY --exclude=f --exclude=*.md d /x", &[&["x/ 755 0:0", "x/e.txt 644 0:0 E"]]),
        ("FROM scratch\nCOPY [\"a.txt\", \"/with blank\"]", &[&["with blank 644 0:0 A"]]),
        ("FROM scratch\nCOPY empty /", &[]),
        ("FROM scratch\nCOPY empty /x", &[&["x/ 755 0:0"]]),
        ("FROM scratch\nARG N=a\nENV M=${N}.txt\nCOPY $M /${M%.*}", &[&["a 644 0:0 A"]]),
        ("FROM scratch\nCOPY a.txt /1\nCOPY b.txt /2", &[&["1 644 0:0 A"], &["2 644 0:0 B"]]),
        (
            "FROM scratch\nCOPY --chown=5 a.txt /x/\nCOPY b.txt /x",
            &[&["x/ 755 5:5", "x/a.txt 644 5:5 A"], &["x/ 755 5:5", "x/b.txt 644 0:0 B"]],
        ),
    ] {
        check_layers(dockerfile, files, expected);
    }
}

#[test]
fn stages_give_files_and_configuration() {
    let files: &[(&str, &str)] = &[("s/a.txt", "A"), ("s/d/e.txt", "E")];
    let whole: &[&str] = &["w/ 755 0:0", "w/a.txt 644 9:9 A", "w/d/ 755 9:9", "w/d/e.txt 644 9:9 E"];
    for (rest, expected) in [
        ("FROM scratch\nCOPY --from=one /w/d/e.txt /y", &[&["y 644 9:9 E"][..]][..]),
        ("FROM scratch\nCOPY --from=0 w/*.txt /", &[&["a.txt 644 9:9 A"]]),
        ("FROM scratch\nCOPY --from=ONE /w/d /x/", &[&["x/ 755 0:0", "x/e.txt 644 9:9 E"]]),
        ("FROM one\nCOPY s/a.txt $X", &[whole, &["w/ 755 0:0", "w/1 644 0:0 A"]]),
    ] {
        check_layers(&format!("FROM scratch AS one\nWORKDIR /w\nENV X=1\nCOPY --chown=9 s .\n{rest}"), files, expected);
    }
}

#[test]
fn a_stage_that_nothing_needs_is_not_built() {
    let text = "FROM unused.invalid/x AS tests\nRUN mvn verify\nFROM scratch\nCOPY a /a\n";
    let (_dir, image) = build_of(text, &[("a", "A")]).unwrap();
    assert_eq!(layers(&image), [["a 644 0:0 A"]]);
}

#[test]
fn the_configuration_is_what_docker_would_write() {
    let text = "FROM scratch\nMAINTAINER me\nARG V=2\nENV A=1 B=$V\nENV B=\"$A $B\" C=${D:-d}\nLABEL a=b \"c d\"='e $A'\nEXPOSE 8080 53/udp 90-91\n\
                VOLUME /v $A\nWORKDIR /app\nWORKDIR $A\nUSER 5:6\nSTOPSIGNAL SIGQUIT\nSHELL [\"/bin/bash\", \"-c\"]\nCMD echo $A\n\
                ENTRYPOINT [\"java\", \"$A\"]\nHEALTHCHECK --interval=5s --retries=3 CMD curl localhost\n";
    let (_dir, image) = build_of(text, &[]).unwrap();
    let (manifest, config) = manifest_and_config(&image);
    assert_eq!(
        config["config"],
        json!({
            "Cmd": ["/bin/bash", "-c", "echo $A"],
            "Entrypoint": ["java", "$A"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1", "B=1 2", "C=d"],
            "ExposedPorts": {"53/udp": {}, "8080/tcp": {}, "90/tcp": {}, "91/tcp": {}},
            "Healthcheck": {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 5_000_000_000u64, "Retries": 3},
            "Labels": {"a": "b", "c d": "e $A"},
            "Shell": ["/bin/bash", "-c"],
            "StopSignal": "SIGQUIT",
            "User": "5:6",
            "Volumes": {"/v": {}, "1": {}},
            "WorkingDir": "/app/1",
        })
    );
    assert_eq!(config["author"], "me");
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!((&config["os"], &config["architecture"]), (&json!("linux"), &json!("amd64")));
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(config["history"][1]["created_by"], "ENV A=1 B=$V");
    // Only WORKDIR made something.
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
}

#[test]
fn dockerignore_is_followed() {
    let files: &[(&str, &str)] = &[
        (".dockerignore", "# no secrets\n*.key\ntarget\n!target/app.jar\n"),
        ("a.key", "secret"),
        ("b", "B"),
        ("target/app.jar", "J"),
        ("target/other", "O"),
    ];
    check_layers(
        "FROM scratch\nCOPY . /x/",
        files,
        &[&[
            "x/ 755 0:0",
            "x/.dockerignore 644 0:0 # no secrets\n*.key\ntarget\n!target/app.jar\n",
            "x/Dockerfile 644 0:0 FROM scratch\nCOPY . /x/",
            "x/b 644 0:0 B",
            "x/target/ 755 0:0",
            "x/target/app.jar 644 0:0 J",
        ]],
    );
    check_layers("FROM scratch\nCOPY target/* /x/", files, &[&["x/ 755 0:0", "x/app.jar 644 0:0 J"]]);
    let problem = build_of("FROM scratch\n\nCOPY a.key /x", files).unwrap_err();
    assert!(problem.message.ends_with("Dockerfile:3: a.key is left out by line 2 of .dockerignore"), "{}", problem.message);
    let problem = build_of("FROM scratch\n\nCOPY *.key /x", files).unwrap_err();
    assert!(problem.message.ends_with("Dockerfile:3: a.key is left out by line 2 of .dockerignore"), "{}", problem.message);
    assert_eq!(problem.hint, "add the line !a.key at the end of .dockerignore");
    let broken = &[files, &[("Dockerfile.dockerignore", "b\n!\n")]].concat();
    let problem = build_of("FROM scratch\nCOPY b /x", broken).unwrap_err();
    assert!(problem.message.ends_with("Dockerfile.dockerignore:2: ! is no pattern"), "{}", problem.message);
    let own = &[files, &[("Dockerfile.dockerignore", "b\n")]].concat();
    assert!(build_of("FROM scratch\nCOPY b /x", own).unwrap_err().message.contains("left out by line 1 of Dockerfile.dockerignore"));
}

#[test]
fn mistakes_name_file_line_and_way_out() {
    let files: &[(&str, &str)] = &[("a", "A"), ("b", "B"), ("d/e", "E")];
    for (dockerfile, slug, part) in [
        ("FROM scratch\nCOPY ../x /x", "context-escape", "Dockerfile:2: ../x leads out of the build context"),
        ("FROM scratch\nCOPY d/../../x /x", "context-escape", "leads out"),
        ("FROM scratch\nADD ../x /x", "context-escape", "leads out"),
        ("FROM scratch\nCOPY none /x", "dockerfile-invalid", "Dockerfile:2: none is not in the build context"),
        ("FROM scratch\nCOPY *.none /x", "dockerfile-invalid", "no file of the build context matches *.none"),
        ("FROM scratch\nCOPY a b /x", "dockerfile-invalid", "several sources need a folder as target: write /x/"),
        ("FROM scratch\nCOPY ? /x", "dockerfile-invalid", "several sources need a folder"),
        ("FROM scratch\nCOPY a \"/x", "dockerfile-invalid", "double quote is not closed"),
        ("FROM scratch\nENV A=${B:?must be set}", "dockerfile-invalid", "Dockerfile:2: ENV has \"be\""),
        ("FROM scratch\nENV A=\"${B:?must be set}\"", "dockerfile-invalid", "B: must be set"),
        ("FROM scratch\nEXPOSE http", "dockerfile-invalid", "EXPOSE http is no port"),
        ("FROM scratch AS s\nFROM scratch\nCOPY --from=s a /x", "dockerfile-invalid", "a is not in the stage s"),
        (
            "FROM scratch\nCOPY --chown=app a /x",
            "dockerfile-invalid",
            "Dockerfile:2: --chown=app names \"app\", which is not in the image's",
        ),
        ("FROM scratch\nCOPY --chmod=99 a /x", "dockerfile-invalid", "--chmod=99 is no octal mode"),
        ("FROM scratch\nSTOPSIGNAL SIGNONE", "dockerfile-invalid", "STOPSIGNAL SIGNONE is no signal"),
        ("FROM scratch\nCOPY a /x\nCOPY d /x", "dockerfile-invalid", "Dockerfile:3: x is no folder in the image"),
        ("FROM scratch\nCOPY d /x\nCOPY a /x/\nCOPY b /x/e/", "dockerfile-invalid", "Dockerfile:4: x/e is no folder"),
        ("FROM scratch\nCOPY a /x\nWORKDIR /x/y", "dockerfile-invalid", "WORKDIR /x/y: x is a file"),
        ("FROM scratch\nCOPY --chmod=u+x a /x", "dockerfile-unsupported", "--chmod=u+x is no octal mode"),
        ("FROM scratch\nCOPY --parents d/e /x", "dockerfile-unsupported", "--parents"),
        (
            "FROM scratch\nADD https://example.test/x /x",
            "dockerfile-unsupported",
            "Dockerfile:2: ADD https://example.test/x /x: ADD of https://example.test/x needs an engine that fetches",
        ),
        ("FROM scratch\nCOPY a /x\nRUN echo hello", "dockerfile-unsupported", "Dockerfile:3: RUN echo hello: RUN needs an engine"),
        ("FROM $NONE", "dockerfile-invalid", "Dockerfile:1: FROM $NONE is empty"),
        ("FROM --platform=x scratch\nFROM --platform=x Y", "dockerfile-invalid", "Dockerfile:2: --platform=x is no platform"),
        ("FROM UPPER", "image-name-invalid", "UPPER"),
    ] {
        let problem = build_of(dockerfile, files).err().unwrap_or_else(|| panic!("{dockerfile} was built"));
        assert_eq!(problem.code.slug(), slug, "{dockerfile}: {}", problem.message);
        assert!(problem.message.contains(part), "{dockerfile}: {}", problem.message);
        assert!(!problem.hint.is_empty());
    }
}

#[test]
fn links_do_not_lead_out_of_the_context() {
    let dir = tempfile::tempdir().unwrap();
    write_context(dir.path(), &[("a", "A"), ("d/e", "E")]);
    fs::write(dir.path().join("outside"), "secret").unwrap();
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, dir.path().join("context").join(name)).unwrap();
    let build = |text: &str| {
        write_context(dir.path(), &[("Dockerfile", text)]);
        built(&build_in(dir.path()))
    };
    link("a", "inside");
    link("../a", "d/up");
    let image = build("FROM scratch\nCOPY inside /x\nCOPY d /d\n").unwrap();
    assert_eq!(layers(&image), [vec!["x 644 0:0 A"], vec!["d/ 755 0:0", "d/e 644 0:0 E", "d/up 777 0:0 -> ../a"]]);
    link("../outside", "out");
    link("/etc/passwd", "absolute");
    link("..", "parent");
    for text in ["COPY out /x", "COPY absolute /x", "COPY parent/outside /x", "COPY parent/* /x/", "ADD out /x", "COPY o* /x"] {
        let problem = build(&format!("FROM scratch\n{text}")).unwrap_err();
        assert_eq!(problem.code.slug(), "context-escape", "{text}: {}", problem.message);
    }
    // What is copied as a link stays one: nothing is read through it.
    let image = build("FROM scratch\nCOPY . /x").unwrap();
    assert!(layers(&image)[0].contains(&"x/out 777 0:0 -> ../outside".to_string()), "{:?}", layers(&image));
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = told.clone();
    let events = Events::new(move |event| sink.lock().unwrap().push(format!("{event:?}")));
    block_on(image::build(&build_in(dir.path()), &client(), &events)).unwrap();
    let told = told.lock().unwrap().join(" ");
    assert!(told.contains("the link out leads out of the build context, to ../outside") && !told.contains("d/up"), "{told}");
    write_context(dir.path(), &[(".dockerignore", "d\n")]);
    link("d/e", "to-ignored");
    let problem = build("FROM scratch\nCOPY to-ignored /x").unwrap_err();
    assert!(problem.message.ends_with("to-ignored is left out by line 1 of .dockerignore"), "{}", problem.message);
}

#[test]
fn add_unpacks_archives_and_copies_jars() {
    let dir = tempfile::tempdir().unwrap();
    write_context(
        dir.path(),
        &[("Dockerfile", "FROM scratch\nADD x.tar.gz /x\nADD app.jar plain.gz /y/\nADD --chown=3 x.tar /z"), ("app.jar", "PK no tar")],
    );
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(1);
        header.set_gid(2);
        header.set_size(content.len() as u64);
        if link.is_empty() {
            tar.append_data(&mut header, path, content).unwrap()
        } else {
            tar.append_link(&mut header, path, link).unwrap()
        }
    };
    add(tar::EntryType::Regular, "a/f", "", b"F");
    add(tar::EntryType::Link, "a/hard", "a/f", b"");
    add(tar::EntryType::Symlink, "a/soft", "f", b"");
    let tar = tar.into_inner().unwrap();
    let gzip = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, bytes).unwrap();
        gzip.finish().unwrap()
    };
    let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join("context").join(name), bytes).unwrap();
    put("x.tar.gz", &gzip(&tar));
    put("x.tar", &tar);
    put("plain.gz", &gzip(b"no tar"));
    let image = built(&build_in(dir.path())).unwrap();
    let names = |blob: &Blob| {
        let packed = packed(blob);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let entries = archive.entries().unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| format!("{} {}", entry.path().unwrap().display(), entry.header().uid().unwrap())).collect()
    };
    let layers: Vec<Vec<String>> = ours(&image).map(names).collect();
    assert_eq!(layers[0], ["x/ 0", "x/a/ 0", "x/a/f 1", "x/a/hard 1", "x/a/soft 1"]);
    assert_eq!(layers[1], ["y/ 0", "y/app.jar 0", "y/plain.gz 0"]);
    assert_eq!(layers[2], ["z/ 3", "z/a/ 3", "z/a/f 3", "z/a/hard 3", "z/a/soft 3"]);
    let mut evil = tar.clone();
    evil[..8].copy_from_slice(b"../../ev");
    let sum: u32 = evil[..512].iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    evil[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    put("x.tar", &evil);
    assert_eq!(built(&build_in(dir.path())).unwrap_err().code.slug(), "context-escape");
    put("x.tar", b"BZh91AY&SY");
    // What begins like an archive and is none is a file.
    assert!(built(&build_in(dir.path())).is_ok());
}
