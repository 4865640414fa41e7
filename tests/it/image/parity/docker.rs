//! The lab's Docker engine, and the base images that the cases stand on.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use serde_json::{Value, json};

use super::{Case, Content, config_of, context, file_of, given, put_layer, target};
use crate::support::{lab::lab, unique};

/// Debian's client: another one on the PATH may want plugins.
const PROGRAM: &str = "/usr/bin/docker";

pub struct Docker {
    dir: PathBuf,
    /// `host:port/name` of the base images in the lab's registry, without a tag.
    base: String,
    /// All that has to be removed in the end.
    images: Mutex<Vec<String>>,
}

impl Docker {
    /// Makes the base images and brings them to the registry.
    pub fn start(dir: &Path) -> Docker {
        let base = format!("{}/{}", lab().registry().address, unique("parity"));
        let docker = Docker { dir: dir.to_path_buf(), base, images: Mutex::default() };
        std::fs::write(dir.join("base.tar"), context::base()).unwrap();
        let changes = ["ENV BASE=1", "ENV PATH=/bin", "CMD [\"base\"]", "LABEL base=yes", "EXPOSE 1", "WORKDIR /"];
        let mut import = vec!["import"];
        import.extend(changes.iter().flat_map(|change| ["--change", change]));
        let (archive, plain) = (dir.join("base.tar").display().to_string(), docker.tag("plain"));
        import.extend([archive.as_str(), plain.as_str()]);
        docker.run(&import).unwrap();
        docker.more("entry", "ENTRYPOINT [\"/base-entry\"]\nHEALTHCHECK CMD base\nUSER svc\nWORKDIR /home\n");
        docker.more("onbuild", "ONBUILD COPY a.txt /triggered/\nONBUILD ENV T=1\nONBUILD LABEL t=$T\n");
        docker.more("run", "ONBUILD RUN echo\n");
        for tag in ["plain", "entry", "onbuild", "run"] {
            docker.images.lock().unwrap().push(docker.tag(tag));
            docker.run(&["push", "-q", &docker.tag(tag)]).unwrap();
        }
        docker
    }

    fn tag(&self, tag: &str) -> String {
        format!("{}:{tag}", self.base)
    }

    fn more(&self, tag: &str, lines: &str) {
        let folder = self.dir.join(format!("base-{tag}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("Dockerfile"), format!("FROM {}\n{lines}", self.tag("plain"))).unwrap();
        self.run(&["build", "-q", "-t", &self.tag(tag), &folder.display().to_string()]).unwrap();
    }

    /// Puts the names of the base images into a Dockerfile. `--from` takes no variables, so it is not left to ARG.
    pub fn name_bases(&self, text: &str) -> String {
        let names = [("$BASE_ENTRY", "entry"), ("$BASE_ONBUILD", "onbuild"), ("$BASE_RUN", "run"), ("$BASE", "plain")];
        names.iter().fold(text.to_string(), |text, (name, tag)| text.replace(name, &self.tag(tag)))
    }

    /// Builds with BuildKit; the image's id, or docker's last words.
    pub fn build(&self, context: &Path, case: &Case) -> Result<String, String> {
        let (file, folder) = (context.join(file_of(case)).display().to_string(), context.display().to_string());
        let given: Vec<&str> = given(case).flat_map(|given| ["--build-arg", given]).collect();
        let target: Vec<&str> = target(case).into_iter().flat_map(|target| ["--target", target]).collect();
        let words = [&["build", "-q", "--no-cache", "-f", &file], given.as_slice(), target.as_slice(), &[&folder]].concat();
        let id = self.run(&words)?.trim().to_string();
        self.images.lock().unwrap().push(id.clone());
        Ok(id)
    }

    /// The content of images by their ids.
    pub fn read<'a>(&self, ids: impl Iterator<Item = &'a String>) -> BTreeMap<String, Content> {
        let ids: Vec<&str> = ids.map(String::as_str).collect();
        let told: Vec<Value> = serde_json::from_str(&self.run(&[&["inspect"], ids.as_slice()].concat()).unwrap()).unwrap();
        let mut found = BTreeMap::new();
        let mut with_layers = Vec::new();
        for (id, told) in ids.iter().zip(&told) {
            let top = json!({"config": told["Config"], "author": told["Author"], "os": told["Os"], "architecture": told["Architecture"]});
            found.insert(id.to_string(), Content { config: config_of(&top), ..Content::default() });
            if told["RootFS"]["Layers"].as_array().is_some_and(|layers| !layers.is_empty()) {
                with_layers.push(*id);
            }
        }
        self.read_files(&with_layers, &mut found);
        found
    }

    /// One archive holds them all, so that what they share is read once.
    fn read_files(&self, ids: &[&str], found: &mut BTreeMap<String, Content>) {
        let (archive, folder) = (self.dir.join("images.tar").display().to_string(), self.dir.join("images"));
        self.run(&[&["save", "-o", &archive], ids].concat()).unwrap();
        tar::Archive::new(File::open(archive).unwrap()).unpack(&folder).unwrap();
        let manifests: Vec<Value> = serde_json::from_reader(File::open(folder.join("manifest.json")).unwrap()).unwrap();
        for manifest in manifests {
            let id = format!("sha256:{}", manifest["Config"].as_str().unwrap().trim_end_matches(".json"));
            let content = found.get_mut(&id).unwrap();
            for layer in manifest["Layers"].as_array().unwrap() {
                put_layer(&mut content.files, File::open(folder.join(layer.as_str().unwrap())).unwrap());
            }
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .env_clear()
            .env("DOCKER_HOST", lab().docker_host())
            .env("DOCKER_CONFIG", &self.dir)
            .env("DOCKER_BUILDKIT", "1")
            .stdin(Stdio::null())
            .output()
            .expect("docker is not installed (apt-get install docker.io)");
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(format!("docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))),
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let images = std::mem::take(&mut *self.images.lock().unwrap());
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let _ = self.run(&[&["rmi", "-f"], images.as_slice()].concat());
    }
}
