//! What the machine's environment says beside the settings, gathered once, so that nobody else has to look at it.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::domain::{identity::Asker, redact::names_a_secret, secret::Secret};

/// The machine and the user, as the environment names them.
#[derive(Clone, Default)]
pub struct Host {
    pub home: Option<PathBuf>,
    /// The user's own Maven folder (`~/.m2`): settings.xml and local repository.
    pub maven_home: Option<PathBuf>,
    /// Folders of `PATH`.
    pub path: Vec<PathBuf>,
    pub temp: PathBuf,
    /// Files of `KUBECONFIG`.
    pub kubeconfig: Vec<PathBuf>,
    /// Files with registry credentials that are there: docker's config.json, podman's auth.json.
    pub registry_configs: Vec<PathBuf>,
    /// Folder of the user's caches: `XDG_CACHE_HOME`, else `~/.cache`.
    pub cache: Option<PathBuf>,
    /// Content of `DOCKER_AUTH_CONFIG`.
    pub registry_config: Option<Secret>,
    pub proxies: Proxies,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub cert_file: Option<PathBuf>,
    pub cert_dirs: Vec<PathBuf>,
    /// Values of `JAVA_HOME`, `JAVA_HOME_17_X64` and their like: folders that may be JDKs.
    pub java_homes: Vec<PathBuf>,
    pub colours: Colours,
    /// `TERM` names a terminal whose lines can be drawn anew.
    pub redraws: bool,
    /// The locale does not say that its texts are no UTF-8.
    pub unicode: bool,
    /// `SOURCE_DATE_EPOCH`, seconds.
    pub source_date_epoch: Option<i64>,
    pub hostname: Option<String>,
    pub user: Option<String>,
    /// This process was started by another of ours, to keep a claim for it.
    pub keeper: bool,
    /// Who started the job: the CI's user, else the machine's.
    pub actor: Option<String>,
    /// Who asked for the build that a worker started this process for; the worker has had it proved.
    pub asker: Option<Asker>,
    /// The worker that started this process for a build.
    pub worker: Option<u32>,
    /// `SHIPWAY_OUT_IMAGE` of an earlier job.
    pub earlier_image: Option<String>,
    environment: Vec<(String, String)>,
}

/// Proxies of the environment; addresses may hold a password.
#[derive(Clone, Default)]
pub struct Proxies {
    pub http: Option<Secret>,
    pub https: Option<Secret>,
    /// Hosts that are reached without, as written.
    pub no_proxy: Option<String>,
}

/// Whether the environment asks for colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colours {
    /// Not said: only on a terminal that has them.
    #[default]
    Unsaid,
    Always,
    Never,
}

/// Set in the environment of a process that keeps a claim for another of ours.
pub const KEEPER: &str = "_SHIPWAY_KEEPER";

/// Names the worker, by its process, that started this one for a build.
pub const WORKER: &str = "_SHIPWAY_WORKER";

/// Names who asked for that build, as JSON.
pub const ASKER: &str = "_SHIPWAY_ASKER";

/// Where CI servers name the user whose job it is.
const ACTORS: [&str; 5] = ["GITLAB_USER_LOGIN", "DRONE_COMMIT_AUTHOR", "CI_COMMIT_AUTHOR", "USER", "LOGNAME"];

/// Variables that Maven and git always see, when they are set.
const ALWAYS: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "TMPDIR",
    "TEMP",
    "TMP",
    "CI",
    "JAVA_HOME",
    "MAVEN_HOME",
    "M2_HOME",
    "MAVEN_OPTS",
    "MAVEN_ARGS",
    "MAVEN_USER_HOME",
    "JDK_JAVA_OPTIONS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SOURCE_DATE_EPOCH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Variables of docker, buildctl and buildah.
const ENGINES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SOURCE_DATE_EPOCH",
    "SSH_AUTH_SOCK",
    "BUILDKIT_HOST",
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
    "REGISTRY_AUTH_FILE",
];

/// Families of such variables.
const ENGINES_START: &[&str] =
    &["DOCKER_HOST", "DOCKER_TLS", "DOCKER_CERT_", "DOCKER_C", "DOCKER_BUILDKIT", "DOCKER_API_", "BUILDX_", "BUILDAH_", "CONTAINERS_"];

/// Families of such variables.
const ALWAYS_STARTS: &[&str] = &["LC_", "JAVA_HOME_"];

/// What leads a worker's builds to their cluster, registries and caches, beside the families above.
const OF_A_WORKER: &[&str] =
    &["HOSTNAME", "KUBECONFIG", "DOCKER_AUTH_CONFIG", "XDG_CACHE_HOME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// Settings of a worker that are not those of its builds, by their beginning: the message or the worker itself says them.
const NOT_OF_A_BUILD: &[&str] = &[
    "SHIPWAY_APP",
    "SHIPWAY_COMMAND",
    "SHIPWAY_ENVIRONMENT",
    "SHIPWAY_IDENTITY_",
    "SHIPWAY_LOG_",
    "SHIPWAY_OUT_",
    "SHIPWAY_REPORT_DIR",
    "SHIPWAY_SOURCE_",
    "SHIPWAY_WORKER_",
];

/// Variables of registry, cluster, forge and CI that hold credentials or lead to them: never for the code that is built.
const CREDENTIALS: &[&str] = &[
    "KUBECONFIG",
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CONFIG",
    "REGISTRY_AUTH_FILE",
    "GITHUB_TOKEN",
    "GITEA_TOKEN",
    "GITLAB_TOKEN",
    "GITLAB_PRIVATE_TOKEN",
    "CI_DEPLOY_PASSWORD",
    "CI_DEPLOY_USER",
    "CI_DEPENDENCY_PROXY_PASSWORD",
    "CI_REGISTRY_PASSWORD",
    "CI_REGISTRY_USER",
    "CI_REPOSITORY_URL",
    "CI_BUILD_TOKEN",
    "CI_SERVER_TLS_KEY_FILE",
    "NETRC",
    "SSH_AUTH_SOCK",
    "GIT_ASKPASS",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
];

/// Families of such variables.
const CREDENTIALS_START: &[&str] =
    &["SHIPWAY_", "PLUGIN_", "CI_JOB_TOKEN", "CI_JOB_JWT", "DRONE_NETRC_", "CI_NETRC_", "KUBE_", "DRONE_RPC_", "GIT_CONFIG_"];

/// Whether a variable may hold a credential of registry, cluster, forge or CI.
pub fn is_credential(name: &str) -> bool {
    let name = name.to_uppercase();
    CREDENTIALS.contains(&name.as_str()) || CREDENTIALS_START.iter().any(|start| name.starts_with(start))
}

/// Whether a variable is named like a secret, whoever set it, and its value is long enough to be one.
pub fn is_secret(name: &str, value: &str) -> bool {
    let value = value.trim();
    names_a_secret(name) && value.len() >= 8 && !value.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_proxy(name: &str) -> bool {
    let upper = name.to_uppercase();
    upper.ends_with("_PROXY") && ALWAYS.contains(&upper.as_str())
}

fn is_of_builds(name: &str) -> bool {
    ALWAYS.contains(&name) || is_proxy(name) || ALWAYS_STARTS.iter().any(|start| name.starts_with(start))
}

fn is_of_engines(name: &str) -> bool {
    ENGINES.contains(&name) || is_proxy(name) || ENGINES_START.iter().any(|start| name.starts_with(start))
}

impl Host {
    /// Gathers what the environment says; looks at files only to see whether they are there.
    pub fn read(environment: &[(String, String)]) -> Host {
        let look = Look(environment);
        let home = look.path("HOME").or_else(|| look.path("USERPROFILE"));
        Host {
            maven_home: look.path("MAVEN_USER_HOME").or_else(|| Some(home.as_ref()?.join(".m2"))),
            path: look.paths("PATH"),
            temp: look.path("TMPDIR").unwrap_or_else(env::temp_dir),
            kubeconfig: if look.text("KUBECONFIG").is_some_and(|text| text.contains('\n')) { Vec::new() } else { look.paths("KUBECONFIG") },
            registry_configs: registry_configs(&look, home.as_deref()),
            cache: look.path("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(home.as_ref()?.join(".cache"))),
            registry_config: look.text("DOCKER_AUTH_CONFIG").map(Secret::new),
            proxies: Proxies {
                http: look.either("HTTP_PROXY").or_else(|| look.either("ALL_PROXY")).map(Secret::new),
                https: look.either("HTTPS_PROXY").or_else(|| look.either("ALL_PROXY")).map(Secret::new),
                no_proxy: look.either("NO_PROXY"),
            },
            cert_file: look.path("SSL_CERT_FILE"),
            cert_dirs: look.paths("SSL_CERT_DIR"),
            java_homes: java_homes(environment),
            colours: colours(&look),
            redraws: look.text("TERM").is_some_and(|terminal| terminal != "dumb"),
            unicode: unicode(&look),
            source_date_epoch: look.text("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()),
            hostname: look.text("HOSTNAME").or_else(kernel_hostname),
            user: look.text("USER").or_else(|| look.text("LOGNAME")).or_else(|| look.text("GITLAB_USER_LOGIN")),
            keeper: look.text(KEEPER).is_some(),
            actor: ACTORS.iter().find_map(|name| look.text(name)),
            asker: look.text(ASKER).and_then(|asker| serde_json::from_str(&asker).ok()),
            worker: look.text(WORKER).and_then(|id| id.parse().ok()),
            earlier_image: look.text("SHIPWAY_OUT_IMAGE"),
            environment: environment.to_vec(),
            home,
        }
    }

    /// The whole environment as we have it: for a command of the user's own, which would have had it without us, too.
    pub fn own_env(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    /// The whole environment of an image engine's program: what leads it to its daemon, its storage and its registries. The build itself
    /// sees nothing of it.
    pub fn engine_env(&self) -> Vec<(String, String)> {
        self.environment.iter().filter(|(name, _)| is_of_engines(name)).cloned().collect()
    }

    /// The environment of a worker's builds: our own settings, and what leads to the machine's programs, caches and daemons, to cluster and
    /// registries; nothing of a CI.
    pub fn worker_env(&self) -> Vec<(String, String)> {
        let ours = |name: &str| name.starts_with("SHIPWAY_") && !NOT_OF_A_BUILD.iter().any(|start| name.starts_with(start));
        let seen = |name: &str| ours(name) || OF_A_WORKER.contains(&name) || is_of_engines(name) || (name != "CI" && is_of_builds(name));
        self.environment.iter().filter(|(name, _)| seen(name)).cloned().collect()
    }

    /// The whole environment of Maven and git: what they need of the machine, and the variables that `build.env` names; never a
    /// credential of registry, cluster or forge.
    pub fn maven_env(&self, names: &[String]) -> Vec<(String, String)> {
        let seen = |name: &str| (is_of_builds(name) || names.iter().any(|wanted| wanted == name)) && !is_credential(name);
        self.environment.iter().filter(|(name, _)| seen(name)).cloned().collect()
    }

    /// The whole environment of a credential helper: all but the credentials of registry, cluster and forge that are ours.
    pub fn helper_env(&self) -> Vec<(String, String)> {
        // Where docker's own configuration is, its helpers may look, too.
        let docker = |name: &str| matches!(name, "DOCKER_CONFIG" | "REGISTRY_AUTH_FILE");
        self.environment.iter().filter(|(name, _)| docker(name) || !is_credential(name)).cloned().collect()
    }
}

/// The environment, looked at by name; empty is not set.
struct Look<'a>(&'a [(String, String)]);

impl Look<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, value)| key == name && !value.trim().is_empty()).map(|(_, value)| value.trim().to_string())
    }

    /// Lower case first: curl's order, for names that both cases are in use of.
    fn either(&self, name: &str) -> Option<String> {
        self.text(&name.to_lowercase()).or_else(|| self.text(name))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn paths(&self, name: &str) -> Vec<PathBuf> {
        let text = self.text(name).unwrap_or_default();
        env::split_paths(&text).filter(|path| !path.as_os_str().is_empty()).collect()
    }
}

/// What is named first, then docker's config.json, then podman's auth.json, where they are there.
fn registry_configs(look: &Look<'_>, home: Option<&Path>) -> Vec<PathBuf> {
    let docker = look.path("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker"))).map(|folder| folder.join("config.json"));
    let named = look.path("REGISTRY_AUTH_FILE");
    let runtime = look.path("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    let config = look.path("XDG_CONFIG_HOME").or_else(|| Some(home?.join(".config"))).map(|folder| folder.join("containers/auth.json"));
    [named, docker, runtime, config].into_iter().flatten().filter(|path| path.is_file()).collect()
}

fn java_homes(environment: &[(String, String)]) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = Vec::new();
    let named = |name: &str| name == "JAVA_HOME" || name.starts_with("JAVA_HOME_") || (name.starts_with("JDK") && name.ends_with("HOME"));
    for (name, value) in environment {
        let home = PathBuf::from(value.trim());
        if named(name) && home.is_absolute() && !homes.contains(&home) {
            homes.push(home);
        }
    }
    homes
}

/// no-color.org, and the CLICOLOR convention; GitLab's and Drone's logs show colours, but only when asked for.
fn colours(look: &Look<'_>) -> Colours {
    let asked = |name: &str| look.text(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"));
    if look.text("NO_COLOR").is_some() || look.text("TERM").as_deref() == Some("dumb") {
        Colours::Never
    } else if asked("FORCE_COLOR") || asked("CLICOLOR_FORCE") {
        Colours::Always
    } else {
        Colours::Unsaid
    }
}

/// The first of the variables that is set decides (POSIX, 8.2); where none is, most terminals and all CI servers take UTF-8.
fn unicode(look: &Look<'_>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| look.text(name)).map(|locale| locale.to_lowercase());
    locale.is_none_or(|locale| locale.contains("utf-8") || locale.contains("utf8"))
}

/// Containers seldom export HOSTNAME; the kernel knows it.
fn kernel_hostname() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_string()).filter(|name| !name.is_empty())
}
