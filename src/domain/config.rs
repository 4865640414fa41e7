//! Configuration files that the pods see: one immutable ConfigMap (or Secret) for each content, named by it, so that a release and
//! its configuration belong together and go back together.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, ConfigMapVolumeSource, KeyToPath, Secret, SecretVolumeSource, Volume, VolumeMount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    digest::Digest,
    manifests::{MANAGER, keys, label_value},
    problem::{Code, Problem, Result},
    units::format_bytes,
};

/// What one ConfigMap or Secret may hold, in bytes of all its values (`MaxSecretSize` of k8s.io/api/core/v1).
pub const LIMIT: usize = 1024 * 1024;
/// Longest key of a ConfigMap (k8s.io/apimachinery, `IsConfigMapKey`).
const LONGEST_KEY: usize = 253;
/// Digits of the content's hash in an object's name.
const DIGITS: usize = 10;
/// Name of the volume.
pub const VOLUME: &str = "config";
/// Says what an object of ours is for; records of releases have it, too.
pub const KIND: &str = "shipway.dev/config";

/// Annotation with the paths of those files whose key is another, as JSON.
const PATHS: &str = "shipway.dev/paths";

/// The files of one release: their paths below the mount, and what is in them.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// Folder of the container.
    pub mount: String,
    /// Kept in a Secret, and never shown.
    pub secret: bool,
    files: BTreeMap<String, Vec<u8>>,
}

/// Which object holds the configuration of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReference {
    pub name: String,
    /// A Secret, no ConfigMap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// Hash of paths and contents.
    pub hash: String,
}

impl ConfigReference {
    /// As people write it: `configmap/web-config-0a1b2c3d4e`.
    pub fn object(&self) -> String {
        format!("{}/{}", if self.secret { "secret" } else { "configmap" }, self.name)
    }
}

/// The object itself.
#[derive(Clone, PartialEq)]
pub enum ConfigObject {
    Map(Box<ConfigMap>),
    Secret(Box<Secret>),
}

impl Config {
    /// Takes the files of `from` (for messages); paths are relative, with `/` between folders.
    /// Fails with `config-too-large` or `config-invalid`, naming the file.
    pub fn new(from: &str, mount: &str, secret: bool, files: BTreeMap<String, Vec<u8>>) -> Result<Self> {
        if files.is_empty() {
            return Err(invalid(format!("{from} holds no file")).hint("put the files there, or remove kubernetes.config.from"));
        }
        for path in files.keys() {
            check_path(from, path)?;
        }
        Config::check_size(from, &files.iter().map(|(path, content)| (path.clone(), content.len())).collect())?;
        Ok(Config { mount: mount.to_string(), secret, files })
    }

    /// Whether files of these sizes fit; asked before they are read.
    pub fn check_size(from: &str, sizes: &BTreeMap<String, usize>) -> Result<()> {
        let whole = sizes.values().fold(0, |sum: usize, size| sum.saturating_add(*size));
        if whole > LIMIT { Err(too_large(from, whole, sizes)) } else { Ok(()) }
    }

    /// The same files, to be mounted there.
    pub fn at(self, mount: &str) -> Self {
        Config { mount: mount.to_string(), ..self }
    }

    /// Paths below the mount, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Paths and contents, in order.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The files that an object holds. Fails with `config-invalid` when their paths are none that could have been taken.
    pub fn of_map(map: &ConfigMap) -> Result<Self> {
        let text = map.data.iter().flatten().map(|(key, content)| (key.clone(), content.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(key, content)| (key.clone(), content.0.clone()));
        Config::of(&map.metadata, false, text.chain(binary))
    }

    /// As [`Config::of_map`].
    pub fn of_secret(secret: &Secret) -> Result<Self> {
        Config::of(&secret.metadata, true, secret.data.iter().flatten().map(|(key, content)| (key.clone(), content.0.clone())))
    }

    fn of(metadata: &ObjectMeta, secret: bool, entries: impl Iterator<Item = (String, Vec<u8>)>) -> Result<Self> {
        let from = metadata.name.as_deref().unwrap_or_default();
        let paths = metadata.annotations.as_ref().and_then(|annotations| annotations.get(PATHS));
        let paths: BTreeMap<String, String> = match paths.map(|text| serde_json::from_str(text)).transpose() {
            Ok(paths) => paths.unwrap_or_default(),
            Err(error) => return Err(invalid(format!("the paths of {from} cannot be read: {error}")).hint("push the configuration again")),
        };
        let files = entries.map(|(key, content)| (paths.get(&key).cloned().unwrap_or(key), content)).collect();
        Config::new(from, "", secret, files)
    }

    /// Which object of the application of this name holds these files.
    pub fn reference(&self, application: &str) -> ConfigReference {
        let hash = self.hash();
        ConfigReference { name: format!("{application}-config-{}", &hash[..DIGITS]), secret: self.secret, hash }
    }

    /// The object; it can never change, so that no pod sees other files than its release had.
    pub fn object(&self, application: &str) -> ConfigObject {
        let mut metadata = metadata(application, self.reference(application).name);
        let odd: BTreeMap<String, &String> = self.files.keys().map(|path| (key(path), path)).filter(|(key, path)| key != *path).collect();
        if !odd.is_empty() {
            metadata.annotations.get_or_insert_default().insert(PATHS.to_string(), serde_json::json!(odd).to_string());
        }
        let entry = |(path, content): (&String, &Vec<u8>)| (key(path), content.clone());
        let (text, binary): (BTreeMap<_, _>, BTreeMap<_, _>) = self.files.iter().map(entry).partition(|(_, content)| is_text(content));
        let bytes = |part: BTreeMap<String, Vec<u8>>| part.into_iter().map(|(key, content)| (key, ByteString(content)));
        if self.secret {
            let data = bytes(text).chain(bytes(binary)).collect();
            return ConfigObject::Secret(Box::new(Secret { metadata, data: Some(data), immutable: Some(true), ..Secret::default() }));
        }
        let text: BTreeMap<_, _> = text.into_iter().map(|(key, content)| (key, String::from_utf8_lossy(&content).into_owned())).collect();
        let binary: BTreeMap<_, _> = bytes(binary).collect();
        ConfigObject::Map(Box::new(ConfigMap {
            metadata,
            data: Some(text).filter(|text| !text.is_empty()),
            binary_data: Some(binary).filter(|binary| !binary.is_empty()),
            immutable: Some(true),
        }))
    }

    /// The volume of the pods; every path is named when one of them is no legal key by itself.
    pub(super) fn volume(&self, application: &str) -> Volume {
        let ConfigReference { name, secret, .. } = self.reference(application);
        let item = |path: &String| KeyToPath { key: key(path), path: path.clone(), mode: None };
        let items: Vec<KeyToPath> = self.files.keys().map(item).collect();
        let items = items.iter().any(|item| item.key != item.path).then_some(items);
        let volume = Volume { name: VOLUME.to_string(), ..Volume::default() };
        if secret {
            let source = SecretVolumeSource { secret_name: Some(name), items, ..SecretVolumeSource::default() };
            Volume { secret: Some(source), ..volume }
        } else {
            Volume { config_map: Some(ConfigMapVolumeSource { name, items, ..ConfigMapVolumeSource::default() }), ..volume }
        }
    }

    pub(super) fn volume_mount(&self) -> VolumeMount {
        VolumeMount { name: VOLUME.to_string(), mount_path: self.mount.clone(), read_only: Some(true), ..VolumeMount::default() }
    }

    /// Each part with its length before it, so that no two sets of files give the same bytes.
    fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for (path, content) in &self.files {
            for part in [path.as_bytes(), content] {
                hasher.update(part.len().to_be_bytes());
                hasher.update(part);
            }
        }
        Digest::from_sha256(&hasher.finalize()).hex()[..16].to_string()
    }
}

/// Names and sizes only: the content may be secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.files.iter().map(|(path, content)| format!("{path} ({} bytes)", content.len()));
        write!(f, "Config at {} of {}", self.mount, sizes.collect::<Vec<_>>().join(", "))
    }
}

fn metadata(application: &str, name: String) -> ObjectMeta {
    let labels = [(keys::MANAGED_BY, MANAGER.to_string()), (keys::INSTANCE, label_value(application)), (KIND, "files".to_string())];
    ObjectMeta {
        name: Some(name),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_string(), value)).collect()),
        ..ObjectMeta::default()
    }
}

/// A file's content for people; of one that is no text only how long it is.
pub fn text_of(content: &[u8]) -> String {
    match is_text(content) {
        true => String::from_utf8_lossy(content).into_owned(),
        false => {
            let digest = Digest::from_sha256(&Sha256::digest(content));
            format!("({} bytes that are no text, sha256 {})\n", content.len(), &digest.hex()[..DIGITS])
        }
    }
}

/// A zero byte is legal UTF-8, but no editor takes it for text.
fn is_text(content: &[u8]) -> bool {
    !content.contains(&0) && std::str::from_utf8(content).is_ok()
}

/// The path where it is a legal key, else its legal part with a hash, so that two paths never share a key.
fn key(path: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if path.chars().all(legal) && path.len() <= LONGEST_KEY {
        return path.to_string();
    }
    let slug: String = path.chars().map(|c| if legal(c) { c } else { '_' }).collect();
    let tail = &slug[slug.len().saturating_sub(100)..];
    format!("{}-{}", tail.trim_start_matches('.'), &Digest::from_sha256(&Sha256::digest(path)).hex()[..DIGITS])
}

/// What a volume cannot show (k8s.io/kubernetes, `validateLocalNonReservedPath`).
fn check_path(from: &str, path: &str) -> Result<()> {
    let why = match path {
        path if path.starts_with("..") => "its name begins with two dots, which Kubernetes keeps for itself",
        path if path.contains(':') => "its name holds a colon, which a volume cannot show",
        path if path.len() > 1024 => "its path is longer than 1024 bytes",
        _ => return Ok(()),
    };
    Err(invalid(format!("{from}: the file {path:?} cannot be mounted: {why}")).hint("rename the file"))
}

fn too_large(from: &str, whole: usize, sizes: &BTreeMap<String, usize>) -> Problem {
    let bytes = |bytes: usize| format_bytes(u64::try_from(bytes).unwrap_or(u64::MAX));
    let largest = sizes.iter().max_by_key(|(_, size)| **size);
    let largest = largest.map(|(path, size)| format!("; the largest file is {path} with {}", bytes(*size))).unwrap_or_default();
    let message =
        format!("kubernetes.config.from: {from} holds {}, more than the 1 MiB that a ConfigMap or Secret takes{largest}", bytes(whole));
    Problem::new(Code::ConfigTooLarge, message)
}

fn invalid(why: String) -> Problem {
    Problem::new(Code::ConfigInvalid, format!("kubernetes.config.from: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(files: &[(&str, &[u8])]) -> Result<Config> {
        Config::new("config/", "/config", false, files.iter().map(|(path, content)| (path.to_string(), content.to_vec())).collect())
    }

    fn map(config: &Config) -> ConfigMap {
        match config.object("web") {
            ConfigObject::Map(map) => *map,
            ConfigObject::Secret(_) => panic!("a Secret"),
        }
    }

    #[test]
    fn the_name_follows_the_content_and_nothing_else() {
        let name = |files: &[(&str, &[u8])]| config(files).unwrap().reference("web").name;
        let one = name(&[("a.yml", b"x: 1")]);
        assert!(one.starts_with("web-config-") && one.len() == "web-config-".len() + DIGITS, "{one}");
        assert_eq!(one, name(&[("a.yml", b"x: 1")]));
        assert_ne!(one, name(&[("a.yml", b"x: 2")]));
        assert_ne!(one, name(&[("b.yml", b"x: 1")]));
        assert_ne!(name(&[("a", b"b"), ("c", b"")]), name(&[("a", b""), ("c", b"b")]));
    }

    #[test]
    fn text_and_bytes_go_to_their_places() {
        let map = map(&config(&[("a.yml", b"x: 1"), ("logo.png", b"\x89PNG\xff"), ("nul.txt", b"a\0b")]).unwrap());
        assert_eq!(map.data.unwrap().into_keys().collect::<Vec<_>>(), ["a.yml"]);
        assert_eq!(map.binary_data.unwrap()["logo.png"], ByteString(b"\x89PNG\xff".to_vec()));
        assert_eq!(map.immutable, Some(true));
    }

    #[test]
    fn folders_and_odd_names_keep_their_paths() {
        let config = config(&[("db/app.yml", b"1"), ("db_app.yml", b"2"), ("größe.txt", b"3"), ("plain.yml", b"4")]).unwrap();
        let items = config.volume("web").config_map.unwrap().items.unwrap();
        assert_eq!(items.iter().map(|item| item.path.as_str()).collect::<Vec<_>>(), ["db/app.yml", "db_app.yml", "größe.txt", "plain.yml"]);
        let keys: std::collections::BTreeSet<&str> = items.iter().map(|item| item.key.as_str()).collect();
        assert_eq!(keys.len(), 4, "{keys:?}");
        assert!(keys.iter().all(|key| key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))), "{keys:?}");
        assert_eq!(map(&config).data.unwrap().len(), 4);
        let plain = super::Config::new("c", "/c", false, BTreeMap::from([("a.yml".to_string(), Vec::new())])).unwrap();
        assert_eq!(plain.volume("web").config_map.unwrap().items, None, "legal names need no list");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let files = BTreeMap::from([("key.pem".to_string(), b"hidden".to_vec())]);
        let config = Config::new("keys/", "/keys", true, files).unwrap();
        assert!(!format!("{config:?}").contains("hidden"));
        assert!(config.reference("web").secret && config.reference("web").object().starts_with("secret/web-config-"));
        assert!(matches!(config.object("web"), ConfigObject::Secret(secret) if secret.immutable == Some(true)));
        assert!(config.volume("web").secret.is_some() && config.volume_mount().read_only == Some(true));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let large = vec![b'x'; LIMIT];
        assert!(config(&[("a", &large)]).is_ok(), "exactly the limit");
        let problem = config(&[("big.csv", &large), ("b", b"1")]).unwrap_err();
        assert_eq!((problem.code, problem.exit_code()), (Code::ConfigTooLarge, 10));
        assert!(problem.message.contains("big.csv with 1.0 MB") && problem.message.contains("config/ holds 1.0 MB"), "{}", problem.message);
        for bad in ["..data", "a:b"] {
            let problem = config(&[(bad, b"1")]).unwrap_err();
            assert!(problem.code == Code::ConfigInvalid && problem.message.contains(bad), "{}", problem.message);
        }
        assert!(config(&[]).unwrap_err().message.contains("config/ holds no file"));
    }
}
