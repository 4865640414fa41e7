//! The real parts that `tests/cluster/lab.sh up` started: a cluster, registries, Gitea.

use super::{block_on, unique};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The variables of `lab.sh env`, from the environment or from the file that `up` wrote.
pub struct Lab {
    variables: BTreeMap<String, String>,
}

/// One registry of the lab: `address` is host:port; user and password where it asks for them.
pub struct Registry {
    pub address: String,
    pub user: String,
    pub password: String,
}

/// A namespace of one test; deleted when it goes out of scope (kept, to be looked at, when the test failed and `LAB_KEEP` is set).
pub struct Namespace {
    pub name: String,
    /// Rights of plugin/kubernetes/role.yaml in this namespace and nothing else.
    pub kubeconfig: PathBuf,
    _folder: tempfile::TempDir,
}

/// The lab of this machine. Panics with what to do when it is not up.
pub fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Lab { variables: variables() }
    })
}

impl Lab {
    /// The kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.variable("KUBECONFIG").into()
    }

    /// A program that the lab compiled: `kubectl`, `helm`.
    pub fn program(&self, name: &str) -> PathBuf {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
        cache.join("shipway/bin").join(name)
    }

    /// The node that KWOK pretends; it takes only pods that mean it.
    pub fn pretended_node(&self) -> String {
        self.variable("LAB_KWOK_NODE")
    }

    /// The open registry.
    pub fn registry(&self) -> Registry {
        self.registry_of("LAB_REGISTRY", "", "")
    }

    /// The registry with a password (Basic).
    pub fn registry_auth(&self) -> Registry {
        self.registry_of("LAB_REGISTRY_AUTH", "LAB_REGISTRY_AUTH_USER", "LAB_REGISTRY_AUTH_PASSWORD")
    }

    /// The open registry with TLS; the certificate of its authority is at [`Lab::registry_tls_ca`].
    pub fn registry_tls(&self) -> Registry {
        self.registry_of("LAB_REGISTRY_TLS", "", "")
    }

    pub fn registry_tls_ca(&self) -> PathBuf {
        self.variable("LAB_REGISTRY_TLS_CA").into()
    }

    /// Gitea: a registry with Bearer tokens, a Maven repository, Git over HTTP. Its password may be the token as well.
    pub fn gitea(&self) -> Registry {
        self.registry_of("LAB_GITEA", "LAB_GITEA_USER", "LAB_GITEA_PASSWORD")
    }

    pub fn gitea_token(&self) -> String {
        self.variable("LAB_GITEA_TOKEN")
    }

    /// Gitea's Maven repository of the user `dev`.
    pub fn maven_repository(&self) -> String {
        format!("http://{}/api/packages/{}/maven", self.gitea().address, self.gitea().user)
    }

    /// The Docker engine, as `DOCKER_HOST` wants it: `unix://…`.
    pub fn docker_host(&self) -> String {
        self.variable("LAB_DOCKER_HOST")
    }

    /// The programs that come from npm: `node`, `gitlab-ci-local`.
    pub fn npm(&self) -> PathBuf {
        self.variable("LAB_NPM").into()
    }

    /// BuildKit's daemon, as BUILDKIT_HOST names it.
    pub fn buildkit_host(&self) -> String {
        self.variable("LAB_BUILDKIT_HOST")
    }

    /// The program that speaks with it.
    pub fn buildctl(&self) -> PathBuf {
        self.variable("LAB_BUILDCTL").into()
    }

    /// The Java base image of that version in the open registry (17 or 25).
    pub fn base(&self, java: u32) -> String {
        self.variable(&format!("LAB_BASE_{java}"))
    }

    /// The folder of the JDK of that version (17 or 25).
    pub fn jdk(&self, java: u32) -> PathBuf {
        self.variable(&format!("LAB_JDK_{java}")).into()
    }

    /// The small web server's image with that tag: `1`, `2`, `3`, `crash`, `never-ready`, `out-of-memory`, `slow-start`, `ignores-term`.
    pub fn web(&self, tag: &str) -> String {
        format!("{}:{tag}", self.variable("LAB_WEB"))
    }

    /// The requests that the open registry got so far whose line holds `part`, say a repository's name: `"GET /v2/… HTTP/1.1" 200 …`.
    pub fn registry_requests(&self, part: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.variable("LAB_REGISTRY_LOG")).unwrap();
        log.lines().filter(|line| line.contains("/v2/") && line.contains(part)).map(str::to_owned).collect()
    }

    /// A client with all rights, to look at what was published.
    pub async fn client(&self) -> kube::Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    /// A new namespace for a test, and a service account in it that may publish.
    pub fn namespace(&self, test: &str) -> Namespace {
        let name = unique(test);
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, self.script(&["kubeconfig", &name])).unwrap();
        Namespace { name, kubeconfig, _folder: folder }
    }

    /// As [`Lab::namespace`], and all of its pods land on the pretended node: they cost nothing and are ready at once, but nothing runs.
    pub async fn pretended_namespace(&self, test: &str) -> Namespace {
        let namespace = self.namespace(test);
        let label = serde_json::json!({"metadata": {"labels": {"lab/pods": "pretended"}}});
        let api = Api::<core::Namespace>::all(self.client().await);
        api.patch(&namespace.name, &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
        namespace
    }

    /// The name of an empty namespace without any account; the caller deletes it.
    pub async fn bare_namespace(&self, test: &str) -> String {
        let name = unique(test);
        let namespace =
            core::Namespace { metadata: kube::core::ObjectMeta { name: Some(name.clone()), ..Default::default() }, ..Default::default() };
        Api::<core::Namespace>::all(self.client().await).create(&PostParams::default(), &namespace).await.unwrap();
        name
    }

    fn registry_of(&self, address: &str, user: &str, password: &str) -> Registry {
        let get = |name: &str| if name.is_empty() { String::new() } else { self.variable(name) };
        Registry { address: get(address), user: get(user), password: get(password) }
    }

    fn variable(&self, name: &str) -> String {
        self.variables.get(name).unwrap_or_else(|| panic!("the lab has no {name}: start it anew with `make lab-down lab-up`")).clone()
    }

    fn script(&self, arguments: &[&str]) -> String {
        let output = Command::new(script_path()).args(arguments).env("SHIPWAY_LAB", self.variable("LAB_FOLDER")).output().unwrap();
        assert!(output.status.success(), "lab.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Registry {
    /// A repository of this registry that only one test uses.
    pub fn repository(&self, test: &str) -> String {
        match self.user.as_str() {
            "dev" => format!("{}/dev/{}", self.address, unique(test)), // Gitea's first part is the owner
            _ => format!("{}/{}/app", self.address, unique(test)),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("LAB_KEEP").is_some() {
            return;
        }
        let name = self.name.clone();
        // a thread of its own: the test may be inside a runtime, where another one cannot run
        let deletion = std::thread::spawn(move || {
            block_on(async {
                let api = Api::<core::Namespace>::all(lab().client().await);
                let _ = api.delete(&name, &DeleteParams::default()).await;
            });
        });
        let _ = deletion.join();
    }
}

fn variables() -> BTreeMap<String, String> {
    let from_environment: BTreeMap<_, _> = std::env::vars().filter(|(name, _)| name.starts_with("LAB_") || name == "KUBECONFIG").collect();
    if from_environment.contains_key("LAB_FOLDER") {
        return from_environment;
    }
    let output = Command::new(script_path()).arg("env").output().unwrap();
    assert!(output.status.success(), "the lab is not up: start it with `make lab-up`");
    parse_exports(&String::from_utf8(output.stdout).unwrap())
}

/// Lines `export NAME='value' NAME='value' …`, as lab.sh writes them.
fn parse_exports(text: &str) -> BTreeMap<String, String> {
    let words = text.lines().flat_map(|line| line.trim_start_matches("export ").split("' "));
    words.filter_map(|word| word.split_once("='")).map(|(name, value)| (name.to_owned(), value.trim_end_matches('\'').to_owned())).collect()
}

pub fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/lab.sh")
}

#[test]
fn reads_the_lines_of_the_environment_file() {
    let variables = parse_exports("export A='1 2' B='x'\nexport C=''\n");
    let expected = [("A", "1 2"), ("B", "x"), ("C", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(variables, BTreeMap::from(expected));
}
