//! Keys of what is built: Maven, image, registry.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::kinds::{self, Auto, DurationText, Url};
use crate::domain::secret::Secret;

/// Compile, test, package.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Feature version of the JDK that compiles (8, 17, 21), through Maven toolchains.
    #[schemars(range(min = 6, max = 99), extend("x-default" = "the pom's level"))]
    pub jdk: Option<u32>,
    /// Extra arguments of mvn.
    #[serde(default)]
    #[schemars(extend("x-kind" = "arguments"))]
    pub args: Vec<String>,
    /// Run the tests.
    #[schemars(extend("default" = true))]
    pub tests: bool,
    /// The module that holds the application: its folder or artifact id.
    #[schemars(extend("x-default" = "the only module that makes a runnable jar"))]
    pub module: Option<String>,
    /// Maven goals or phases instead of package or deploy.
    #[schemars(extend("x-kind" = "goals", "x-default" = "deploy when the artifact is deployed, else package"))]
    pub goals: Option<Vec<String>>,
    /// How long the build may take; then its whole process tree is ended.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "30m"))]
    pub timeout: Duration,
    /// Names of variables that Maven may see, such as SONAR_TOKEN or DOCKER_HOST.
    #[serde(default)]
    #[schemars(extend("x-kind" = "variables"))]
    pub env: Vec<String>,
    /// Deploy the artifact to the Maven repository: auto is on the default branch and tags, when a repository is configured.
    #[schemars(extend("default" = "auto"))]
    pub deploy: Auto,
    /// Build with something other than Maven: an argv list, not a shell line.
    #[schemars(extend("x-kind" = "arguments"))]
    pub command: Option<Vec<String>>,
    /// What build.command makes: the jar or war, relative to the checkout.
    #[schemars(extend("x-kind" = "inside"))]
    pub artifact: Option<String>,
}

/// The company's Maven repository.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Maven {
    /// Repository that releases are deployed to, and read from.
    pub url: Option<Url>,
    /// Repository of snapshots.
    #[schemars(extend("x-default" = "maven.url"))]
    pub snapshots_url: Option<Url>,
    /// Mirror that stands in front of all repositories.
    pub mirror: Option<Url>,
    /// User name at the Maven repository and the mirror.
    pub username: Option<String>,
    /// Password or token at the Maven repository and the mirror.
    #[schemars(extend("x-secret" = true))]
    pub password: Option<Secret>,
}

/// The image registry.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Host with an optional port and prefix, such as registry.example.test:5000/team.
    #[schemars(extend("x-kind" = "registry", "x-default" = "GitLab's CI_REGISTRY; else none: the image becomes an OCI layout"))]
    pub url: Option<String>,
    /// User name at the registry.
    #[schemars(extend("x-default" = "GitLab's CI_REGISTRY_USER; docker's config.json"))]
    pub username: Option<String>,
    /// Password or token at the registry.
    #[schemars(extend("x-secret" = true, "x-default" = "GitLab's CI_REGISTRY_PASSWORD; docker's config.json"))]
    pub password: Option<Secret>,
    /// PEM file of a certificate authority to trust beside the system's, at this registry alone.
    #[schemars(extend("x-kind" = "file", "x-default" = "CI_SERVER_TLS_CA_FILE"))]
    pub ca: Option<PathBuf>,
    /// PEM file of our certificate, for a registry that asks its clients for one.
    #[schemars(extend("x-kind" = "file"))]
    pub client_certificate: Option<PathBuf>,
    /// PEM file of that certificate's key, without a password.
    #[schemars(extend("x-kind" = "file"))]
    pub client_key: Option<PathBuf>,
    /// Permit plain http (loopback is always permitted).
    #[schemars(extend("default" = false))]
    pub insecure: bool,
    /// User name that the cluster pulls with; with pull_password it makes an image pull secret.
    #[schemars(extend("x-default" = "GitLab's deploy token: CI_DEPLOY_USER"))]
    pub pull_username: Option<String>,
    /// Password that the cluster pulls with; it has to outlive the job.
    #[schemars(extend("x-secret" = true, "x-default" = "GitLab's deploy token: CI_DEPLOY_PASSWORD"))]
    pub pull_password: Option<Secret>,
}

/// The image and what is baked into it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The whole name of the image, without a tag.
    #[schemars(extend("x-kind" = "repository", "x-default" = "<registry.url>/<line>/<app>; on GitLab's own registry $CI_REGISTRY_IMAGE"))]
    pub repository: Option<String>,
    /// Tag of the image.
    #[schemars(extend("x-kind" = "tag", "x-default" = "the Git tag without its v, else the first 12 digits of the commit"))]
    pub tag: Option<String>,
    /// More tags for the same digest.
    #[serde(default)]
    #[schemars(extend("x-kind" = "tags"))]
    pub extra_tags: Vec<String>,
    /// A ready image, by tag or digest, or an OCI layout that is pushed as it is (oci:path[:tag]): nothing is built.
    #[serde(rename = "ref")]
    #[schemars(extend("x-kind" = "image-or-layout", "x-default" = "for publish: SHIPWAY_OUT_IMAGE of an earlier job"))]
    pub reference: Option<String>,
    /// Base image: a name, or an OCI layout (oci:path[:tag], relative to the checkout).
    #[schemars(extend("x-kind" = "image-or-layout", "x-baked" = true, "x-default" = "eclipse-temurin:<jdk>-jre"))]
    pub base: Option<String>,
    /// Mirror that stands in front of the base image's name.
    #[schemars(extend("x-kind" = "registry", "x-baked" = true))]
    pub base_registry: Option<String>,
    /// Port that the application listens on.
    #[schemars(range(min = 1, max = 65535), extend("x-baked" = true, "x-default" = "8080, or the one of the application's properties"))]
    pub port: Option<u16>,
    /// Java options in the image's entry point.
    #[serde(default)]
    #[schemars(extend("x-kind" = "arguments", "x-baked" = true))]
    pub jvm: Vec<String>,
    /// Arguments of the application in the image.
    #[serde(default)]
    #[schemars(extend("x-kind" = "arguments", "x-baked" = true))]
    pub args: Vec<String>,
    /// User that the image runs as: a number or name, with an optional group.
    #[schemars(extend("x-kind" = "user", "x-baked" = true, "default" = "10001"))]
    pub user: String,
    /// Variables of the image.
    #[serde(default)]
    #[schemars(extend("x-kind" = "environment", "x-baked" = true))]
    pub env: BTreeMap<String, String>,
    /// Labels of the image, beside the OCI annotations.
    #[serde(default)]
    #[schemars(extend("x-baked" = true))]
    pub labels: BTreeMap<String, String>,
    /// The user's own Dockerfile, relative to the checkout.
    #[schemars(extend("x-kind" = "inside", "x-baked" = true, "x-default" = "generated"))]
    pub dockerfile: Option<String>,
    /// Build context of the user's own Dockerfile, relative to the checkout.
    #[schemars(extend("x-kind" = "inside", "x-baked" = true, "x-default" = "the checkout"))]
    pub context: Option<String>,
    /// Values for ARGs of the user's own Dockerfile; no secrets: they stand in the image's history.
    #[serde(default)]
    #[schemars(extend("x-kind" = "environment", "x-baked" = true))]
    pub build_args: BTreeMap<String, String>,
    /// The stage of the user's own Dockerfile that makes the image (FROM … AS name).
    #[schemars(extend("x-baked" = true, "x-default" = "the last stage"))]
    pub target: Option<String>,
    /// Platforms such as linux/amd64.
    #[serde(default)]
    #[schemars(extend("x-kind" = "platforms", "x-baked" = true, "x-default" = "the base image's"))]
    pub platforms: Vec<String>,
    /// What builds the image.
    #[schemars(extend("default" = "auto", "x-baked" = true))]
    pub engine: Engine,
    /// Folder, which CI may keep between jobs, of what earlier runs learnt of registries and of bases' layers that they fetched (1 GiB at
    /// most); off: none.
    #[schemars(extend("x-kind" = "file", "x-default" = "shipway/images in XDG_CACHE_HOME or ~/.cache"))]
    pub cache: Option<PathBuf>,
}

/// For the command rebase.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rebase {
    /// The image whose application layers go onto a new base.
    #[schemars(extend("x-kind" = "image", "x-default" = "image.ref, else SHIPWAY_OUT_IMAGE of an earlier job, else what runs on the cluster"))]
    pub image: Option<String>,
    /// The new base: a name, or an OCI layout.
    #[schemars(extend("x-kind" = "image-or-layout", "x-default" = "what is now under the name of the base that the image was built on"))]
    pub onto: Option<String>,
}

/// What builds an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    Auto,
    Native,
    Buildkit,
    Docker,
    Buildah,
}
