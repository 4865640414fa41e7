//! What an image's configuration says of what runs in it.

use serde_json::Value;

use super::{Image, wrap::BASE_NAME};
use crate::{
    domain::{
        application::ImageFacts,
        problem::{Code, Problem, Result},
        reference::ImageReference,
    },
    registry::{self, Content, Manifest},
};

impl Image {
    /// Read from the configuration that was built; what all platforms share.
    pub fn facts(&self) -> ImageFacts {
        let image = self.manifests.last().and_then(|manifest| serde_json::from_slice(&manifest.bytes).ok()).unwrap_or_default();
        let config = self.manifests.first().and_then(|manifest| config_digest(&manifest.bytes));
        let blob = config.and_then(|digest| self.blobs.iter().find(|blob| blob.digest.as_str() == digest));
        let facts = match blob.map(|blob| &blob.content) {
            Some(Content::Bytes(bytes)) => of_config(bytes),
            _ => ImageFacts::default(),
        };
        let manifest = self.manifests.first().and_then(|manifest| serde_json::from_slice(&manifest.bytes).ok()).unwrap_or_default();
        of_index(ImageFacts { base: base_of(&manifest), ..facts }, &image)
    }
}

/// Reads the configuration of an image that is in a registry; of an index, that of its first image for Linux.
pub async fn facts_of(reference: &ImageReference, manifest: &Manifest, client: &registry::Client) -> Result<ImageFacts> {
    let invalid = || Problem::new(Code::RegistryProtocol, format!("{reference} is neither an image nor an index of images"));
    let mut manifest = manifest.clone();
    let document: Value = serde_json::from_slice(&manifest.bytes).map_err(|_| invalid())?;
    let index = document.clone();
    if let Some(images) = document["manifests"].as_array() {
        let linux = images.iter().find(|image| image["platform"]["os"] == "linux").or(images.first());
        let digest = linux.and_then(|image| image["digest"].as_str()).ok_or_else(invalid)?;
        manifest = client.manifest(&reference.with_digest(&digest.parse()?)).await?;
    }
    let document: Value = serde_json::from_slice(&manifest.bytes).map_err(|_| invalid())?;
    let config = &document["config"];
    let (digest, size) = config["digest"].as_str().zip(config["size"].as_u64()).ok_or_else(invalid)?;
    let facts = of_config(&client.blob(reference, &digest.parse()?, size).await?);
    Ok(of_index(ImageFacts { base: base_of(&document), ..facts }, &index))
}

/// What a manifest says of its base.
fn base_of(manifest: &Value) -> Option<String> {
    manifest["annotations"][BASE_NAME].as_str().map(str::to_string)
}

fn config_digest(manifest: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(manifest).ok()?;
    document["config"]["digest"].as_str().map(str::to_string)
}

/// OCI image-spec, config.md: `config.Env` and `config.User`.
fn of_config(bytes: &[u8]) -> ImageFacts {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let config = &document["config"];
    let variable = |name: &str| {
        let variables = config["Env"].as_array().into_iter().flatten().rev().filter_map(Value::as_str);
        variables.filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    };
    let user = config["User"].as_str().filter(|user| !user.is_empty());
    let platforms = platform(&document).into_iter().collect();
    ImageFacts {
        java_version: variable("JAVA_VERSION"),
        java_home: variable("JAVA_HOME"),
        user: user.map(str::to_string),
        platforms,
        base: None,
    }
}

/// The platforms of an index are those of its images; attestations have none.
fn of_index(facts: ImageFacts, document: &Value) -> ImageFacts {
    match document["manifests"].as_array() {
        Some(images) => ImageFacts { platforms: images.iter().filter_map(|image| platform(&image["platform"])).collect(), ..facts },
        None => facts,
    }
}

/// `os/architecture[/variant]` of a configuration or of an entry of an index.
fn platform(document: &Value) -> Option<String> {
    let part = |name: &str| document[name].as_str().filter(|part| !part.is_empty() && *part != "unknown");
    let (os, architecture) = (part("os")?, part("architecture")?);
    Some([Some(os), Some(architecture), part("variant")].into_iter().flatten().collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_and_user_are_read() {
        let config = br#"{"os": "linux", "architecture": "amd64", "config": {"Env": ["PATH=/bin", "JAVA_VERSION=jdk-17.0.15+6"], "User": "10001:0"}}"#;
        let facts = of_config(config);
        assert_eq!((facts.java_version.as_deref(), facts.user.as_deref()), (Some("jdk-17.0.15+6"), Some("10001:0")));
        assert_eq!(facts.platforms, ["linux/amd64"]);
        let index = r#"{"manifests": [{"platform": {"os": "linux", "architecture": "amd64"}}, {"platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            {"platform": {"os": "unknown", "architecture": "unknown"}}]}"#;
        assert_eq!(of_index(facts, &serde_json::from_str(index).unwrap()).platforms, ["linux/amd64", "linux/arm64/v8"]);
        assert_eq!(of_config(b"no json"), ImageFacts::default());
    }
}
