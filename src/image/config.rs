//! The configuration of an image (OCI image-spec, config.md) and the family of media types that it is wrapped in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{
    digest::Digest,
    problem::{Code, Problem, Result},
};

/// Media types come in two families; an image keeps to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Oci,
    Docker,
}

/// What a media type says of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Family {
    pub fn manifest(self) -> &'static str {
        match self {
            Family::Oci => "application/vnd.oci.image.manifest.v1+json",
            Family::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    pub fn index(self) -> &'static str {
        match self {
            Family::Oci => "application/vnd.oci.image.index.v1+json",
            Family::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    pub fn config(self) -> &'static str {
        match self {
            Family::Oci => "application/vnd.oci.image.config.v1+json",
            Family::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    pub fn layer(self, packing: Packing) -> &'static str {
        match (self, packing) {
            (Family::Oci, Packing::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Family::Oci, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Family::Docker, Packing::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Family::Docker, Packing::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            // Docker's family has no zstd: such a base is carried on in OCI's.
            (_, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// By the media type of a manifest or index.
    pub fn of(media_type: &str) -> Option<Family> {
        [Family::Oci, Family::Docker].into_iter().find(|family| [family.manifest(), family.index()].contains(&media_type))
    }
}

impl Packing {
    pub fn of(media_type: &str) -> Option<Packing> {
        let known = [Packing::Plain, Packing::Gzip, Packing::Zstd];
        known.into_iter().find(|packing| [Family::Oci, Family::Docker].iter().any(|family| family.layer(*packing) == media_type))
    }
}

/// An image's configuration; fields that are not ours to understand are kept as they are.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(super) struct ImageConfig {
    #[serde(default)]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default)]
    pub config: RunConfig,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default)]
    pub history: Vec<History>,
    #[serde(default)]
    pub os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(default)]
    pub rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// How a container of the image runs. Healthcheck, Shell and OnBuild are Docker's; every builder writes them into OCI images, too.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RunConfig {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub on_build: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub shell: Option<Vec<String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(super) struct RootFs {
    pub diff_ids: Vec<Digest>,
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
}

impl Default for RootFs {
    fn default() -> Self {
        RootFs { diff_ids: Vec::new(), kind: layers() }
    }
}

fn layers() -> String {
    "layers".to_string()
}

/// Docker writes null where it means nothing.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

fn non_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(deserializer)?.filter(|words| !words.is_empty()))
}

impl ImageConfig {
    /// What FROM scratch begins with.
    pub fn scratch(platform: &Platform) -> ImageConfig {
        ImageConfig {
            architecture: platform.architecture.clone(),
            author: None,
            config: RunConfig {
                env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string()],
                working_dir: "/".to_string(),
                ..RunConfig::default()
            },
            created: None,
            history: Vec::new(),
            os: platform.os.clone(),
            os_version: None,
            rootfs: RootFs::default(),
            variant: platform.variant.clone(),
        }
    }

    /// Reads a base's configuration and makes its history fit its layers, as the specification wants it.
    pub fn parse(bytes: &[u8], name: &str) -> Result<ImageConfig> {
        let mut config: ImageConfig = serde_json::from_slice(bytes)
            .map_err(|error| Problem::new(Code::RegistryProtocol, format!("the configuration of {name} cannot be read: {error}")))?;
        let layers = config.history.iter().filter(|history| !history.empty_layer).count();
        if layers != config.rootfs.diff_ids.len() {
            let unknown = History { created_by: Some(format!("FROM {name}")), created: config.created.clone(), ..History::default() };
            config.history = vec![unknown; config.rootfs.diff_ids.len()];
        }
        Ok(config)
    }

    pub fn set_env(&mut self, name: &str, value: &str) {
        let line = format!("{name}={value}");
        match self.config.env.iter_mut().find(|old| old.split_once('=').map_or(old.as_str(), |(name, _)| name) == name) {
            Some(old) => *old = line,
            None => self.config.env.push(line),
        }
    }

    /// The values of its environment.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let pairs = self.config.env.iter().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    /// The value of a variable of the environment.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.config.env.iter().rev().find_map(|line| line.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }

    pub fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: self.variant.clone() }
    }
}

/// An operating system and architecture (OCI image-spec, image-index.md, "platform").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

impl Platform {
    /// From `os/arch[/variant]`; architectures may go by the names that machines have for them.
    pub fn parse(text: &str) -> Option<Platform> {
        let mut parts = text.split('/').map(str::to_string);
        let mut platform = Platform { os: parts.next()?, architecture: parts.next()?, variant: parts.next() };
        platform.architecture = usual_name(&platform.architecture).to_string();
        let plain = |part: &String| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        let whole = parts.next().is_none() && plain(&platform.os) && plain(&platform.architecture);
        (whole && platform.variant.as_ref().is_none_or(plain)).then_some(platform)
    }

    /// The machine that builds; an image from scratch is for it when nothing else is said.
    pub fn host() -> Platform {
        let architecture = usual_name(std::env::consts::ARCH);
        Platform { os: "linux".to_string(), architecture: architecture.to_string(), variant: None }
    }

    /// The one way to write it that containerd has: what an architecture means without a variant is left out, but for arm.
    pub fn normal(&self) -> Platform {
        let architecture = usual_name(&self.architecture).to_string();
        let variant = match (architecture.as_str(), self.variant.as_deref()) {
            ("amd64", Some("v1")) | ("arm64", Some("v8" | "8")) => None,
            ("arm", None) => Some("v7".to_string()),
            ("arm", Some(number @ ("5" | "6" | "7" | "8"))) => Some(format!("v{number}")),
            (_, variant) => variant.map(str::to_string),
        };
        Platform { os: self.os.clone(), architecture, variant }
    }

    /// How far this is from what `wanted` asks for, 0: it is that; None: it does not serve. A machine of a later variant runs what was
    /// made for an earlier one, and a wish without a variant takes a later one where there is nothing else.
    pub fn distance(&self, wanted: &Platform) -> Option<u32> {
        const NOTHING_ELSE: u32 = 1000;
        let (has, wants) = (self.normal(), wanted.normal());
        if (&has.os, &has.architecture) != (&wants.os, &wants.architecture) {
            return None;
        }
        if has.variant == wants.variant {
            return Some(0);
        }
        match (has.level(), wants.level()) {
            (Some(has), Some(wants)) if has <= wants => Some(wants - has),
            _ => wanted.variant.is_none().then_some(NOTHING_ELSE),
        }
    }

    pub fn fits(&self, wanted: &Platform) -> bool {
        self.distance(wanted).is_some()
    }

    /// The number of a variant, where a later one runs what an earlier one does; of a normal platform.
    fn level(&self) -> Option<u32> {
        let unsaid = match self.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            "arm" => 7,
            _ => return None,
        };
        self.variant.as_ref().map_or(Some(unsaid), |variant| variant.strip_prefix('v')?.parse().ok())
    }

    pub fn json(&self) -> Value {
        let mut platform = json!({"architecture": self.architecture, "os": self.os});
        if let Some(variant) = &self.variant {
            platform["variant"] = json!(variant);
        }
        platform
    }
}

/// The name that images have for an architecture, by that of machines.
fn usual_name(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        other => other,
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// Seconds since the epoch as RFC 3339, in UTC.
pub(super) fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_one_family_stay_in_it() {
        for family in [Family::Oci, Family::Docker] {
            assert_eq!(Family::of(family.manifest()), Some(family));
            for packing in [Packing::Plain, Packing::Gzip] {
                assert_eq!(Packing::of(family.layer(packing)), Some(packing));
            }
        }
        assert_eq!(Family::of("application/json"), None);
    }

    #[test]
    fn a_history_that_does_not_fit_is_replaced() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":null,"Cmd":null,"Labels":null}},"history":[{{"empty_layer":true}}],"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
            "0".repeat(64)
        );
        let config = ImageConfig::parse(text.as_bytes(), "base").unwrap();
        assert_eq!(config.history.len(), 1);
        assert!(!config.history[0].empty_layer);
    }

    #[test]
    fn platforms() {
        assert_eq!(Platform::parse("linux/arm/v7").unwrap().to_string(), "linux/arm/v7");
        for text in ["linux", "linux/", "a/b/c/d", "linux/amd 64", ""] {
            assert_eq!(Platform::parse(text), None, "{text}");
        }
        assert_eq!(Platform::parse("linux/x86_64").unwrap().to_string(), "linux/amd64");
    }

    #[test]
    fn variants_fit_as_machines_run_them() {
        for (has, wanted, distance) in [
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/amd64/v1", "linux/x86_64", Some(0)),
            ("linux/arm/v7", "linux/arm", Some(0)),
            ("linux/arm/v6", "linux/arm/v7", Some(1)),
            ("linux/arm/v7", "linux/arm/v6", None),
            ("linux/amd64", "linux/amd64/v3", Some(2)),
            ("linux/amd64/v3", "linux/amd64/v2", None),
            ("linux/amd64/v3", "linux/amd64", Some(1000)),
            ("linux/riscv64/odd", "linux/riscv64", Some(1000)),
            ("linux/amd64", "linux/arm64", None),
            ("windows/amd64", "linux/amd64", None),
        ] {
            let platform = |text| Platform::parse(text).unwrap();
            assert_eq!(platform(has).distance(&platform(wanted)), distance, "{has} for {wanted}");
        }
    }

    #[test]
    fn variables_are_replaced_in_place() {
        let mut config = ImageConfig::scratch(&Platform::host());
        config.set_env("A", "1");
        config.set_env("PATH", "/x");
        config.set_env("A", "2");
        assert_eq!(config.config.env, ["PATH=/x", "A=2"]);
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
    }
}
