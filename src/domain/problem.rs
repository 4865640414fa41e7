//! The one error of the product: what failed, why, and what to do about it.

use serde::Serialize;

/// The kind of a problem as CI sees it; each has a stable exit code (see [`Class::exit_code`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Settings or the command line are wrong.
    Usage,
    /// The user's own code or file: compile, tests, Dockerfile, an invalid manifest.
    User,
    /// Worth a retry of the job: network, overloaded servers, a full disk.
    Transient,
    /// Not permitted: credentials, roles, admission policies.
    Auth,
    /// Locked by another run, or superseded by a newer one.
    Busy,
    /// The rollout failed on the cluster.
    Rollout,
    /// Content is not what its digest says.
    Integrity,
    /// A bug of Shipway.
    Internal,
    /// Ended by a signal.
    Cancelled,
}

impl Class {
    /// Every class, in the order of the reference.
    pub const ALL: &'static [Class] = &[
        Class::Usage,
        Class::User,
        Class::Transient,
        Class::Auth,
        Class::Busy,
        Class::Rollout,
        Class::Integrity,
        Class::Internal,
        Class::Cancelled,
    ];

    /// The exit code of this class when nothing is left half done (78 is never used: Drone shows it green).
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Usage => 2,
            Class::User => 10,
            Class::Transient => 20,
            Class::Auth => 30,
            Class::Busy => 40,
            Class::Rollout => 50,
            Class::Integrity => 60,
            Class::Internal => 70,
            Class::Cancelled => 143,
        }
    }
}

macro_rules! codes {
    ($($name:ident $slug:literal $class:ident $cause:literal $fix:literal;)*) => {
        /// The readable slug of a problem; stable, and documented with cause and fix.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($name),* }

        impl Code {
            /// Every code, in the order of the reference.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The slug as it appears in reports, such as `image-not-found`.
            pub fn slug(self) -> &'static str { match self { $(Code::$name => $slug),* } }

            /// The code of a slug.
            pub fn of(slug: &str) -> Option<Code> { match slug { $($slug => Some(Code::$name),)* _ => None } }

            /// The class, and with it the exit code.
            pub fn class(self) -> Class { match self { $(Code::$name => Class::$class),* } }

            /// What brings this problem about.
            pub fn cause(self) -> &'static str { match self { $(Code::$name => $cause),* } }

            /// What the owner can do about it.
            pub fn fix(self) -> &'static str { match self { $(Code::$name => $fix),* } }
        }
    };
}

codes! {
    SettingInvalid "setting-invalid" Usage "a setting has a value that cannot be used" "correct the setting that the message names";
    SettingUnknown "setting-unknown" Usage "a key is not one of Shipway's settings" "use the nearest known key that the message proposes, or remove it";
    SettingMissing "setting-missing" Usage "a setting that this command needs has no value" "set the key that the message names";
    FileUnreadable "file-unreadable" Usage "a file that a setting names cannot be read" "correct the path or the permissions";
    FileExists "file-exists" Usage "a file that would be written is there already" "look at the difference, then write it with --force";
    NoCheckout "no-checkout" Usage "the working directory holds no checkout and no source is named" "run in a checkout, or set source.url and source.ref";
    NoPom "no-pom" User "there is no pom.xml at the root of the checkout" "run in the folder of the Maven project, or set build.command and build.artifact";
    PomInvalid "pom-invalid" User "pom.xml cannot be read as a Maven project" "correct the file at the place that the message names";
    CloneFailed "clone-failed" Transient "git could not fetch the source" "check source.url, source.ref and the credentials";
    CloneDenied "clone-denied" Auth "the code host refused the credentials" "correct the user name and token of source.url";
    SourceMissing "source-missing" Usage "there is no repository at source.url, or it is hidden from these credentials" "correct source.url, or give credentials that may read it";
    SourceRefMissing "source-ref-missing" Usage "source.ref is no branch, tag or commit of the repository" "correct source.ref";
    ProgramMissing "program-missing" Usage "a program that a step starts is not there or cannot run" "install it, or use an image that has it";
    MavenMissing "maven-missing" Usage "there is no Maven to run" "use an image that has Maven, or add the Maven wrapper to the project";
    JdkMissing "jdk-missing" User "the JDK that the build asks for is not installed" "install it, or set build.jdk to one of those found";
    DependencyUnresolved "dependency-unresolved" User "Maven could not resolve a dependency or plugin" "check its coordinates and the Maven repository";
    MavenRepositoryDown "maven-repository-down" Transient "a Maven repository did not answer" "retry the job; check maven.url and maven.mirror";
    CompileFailed "compile-failed" User "the compiler refused the code" "correct the lines that the message shows";
    TestsFailed "tests-failed" User "tests failed" "correct the code or the tests; build.tests false skips them";
    PackageFailed "package-failed" User "Maven failed while packaging" "see the plugin's own message in mvn.log";
    DeployFailed "deploy-failed" User "Maven could not deploy to the Maven repository" "check maven.url, maven.username and maven.password";
    DeployDenied "deploy-denied" Auth "the Maven repository refused the credentials" "check maven.username and maven.password";
    VersionExists "version-exists" User "this release version is in the Maven repository already" "raise the version in the pom";
    BuildFailed "build-failed" User "the build failed" "see the build's own output";
    BuildTimeout "build-timeout" User "the build ran past its limit" "raise build.timeout or find what hangs";
    ModuleAmbiguous "module-ambiguous" Usage "several modules make a runnable application" "set build.module to one of the candidates";
    ModuleUnknown "module-unknown" Usage "build.module names no module of this project" "set build.module to one of the modules that the message lists";
    ArtifactMissing "artifact-missing" User "the build made no artifact to put into an image" "check the packaging of the module, or set kind to library";
    ArtifactInvalid "artifact-invalid" User "the artifact cannot be used" "build it again; see the message";
    NotRunnable "not-runnable" User "the artifact does not start with java -jar" "add a main class, or bring an own Dockerfile with image.dockerfile";
    DockerfileInvalid "dockerfile-invalid" User "the Dockerfile cannot be used" "correct the line that the message names";
    DockerfileUnsupported "dockerfile-unsupported" User "the native engine does not cover an instruction of the Dockerfile" "remove the instruction, or build the image in a job of its own and publish it with image.ref";
    ContextEscape "context-escape" User "a path leaves the build context" "copy only what is below image.context";
    ImageNameInvalid "image-name-invalid" Usage "an image name or tag is not valid" "see the message for the rule that it breaks";
    BaseImageMissing "base-image-missing" User "the base image is not in its registry" "check image.base and image.base_registry";
    ImageMissing "image-missing" User "the image that is to be published is not in its registry" "correct image.ref, or build and push it first";
    LayoutInvalid "layout-invalid" User "an OCI image layout cannot be used" "correct the path of image.base or image.ref, or write the layout again";
    EngineMissing "engine-missing" Usage "no engine on this machine can build this Dockerfile" "install or start one of the engines that the message lists, or remove the instruction that needs one";
    EngineFailed "engine-failed" User "another engine could not build the Dockerfile" "see the engine's own last lines";
    RebaseRefused "rebase-refused" User "the application's layers do not fit on the new base" "build the application again on that base";
    PlatformMissing "platform-missing" User "an image is not there for the platform that is asked for" "choose another image.platforms or base image";
    RegistryUnreachable "registry-unreachable" Transient "the registry did not answer" "check registry.url and the network; retry the job";
    RegistryInsecure "registry-insecure" Usage "the registry speaks plain http" "use https, or set registry.insecure";
    RegistryUntrusted "registry-untrusted" Usage "the registry's certificate cannot be verified" "set registry.ca to a PEM file of the CA that signed it, and check the host name";
    RegistryUnauthorized "registry-unauthorized" Auth "the registry refused the credentials" "check registry.username and registry.password";
    RegistryDenied "registry-denied" Auth "the registry does not permit this" "give the user the right that the message names";
    RegistryRefused "registry-refused" Auth "the registry does not take this name, tag or content" "see the registry's own message: a rule of it, such as immutable tags, is the usual cause";
    RegistryFailed "registry-failed" Transient "the registry answered with an error" "retry the job; see the registry's own message";
    RegistryProtocol "registry-protocol" Transient "the registry's answer does not follow the specification" "see the message; a proxy in between is a usual cause";
    DigestMismatch "digest-mismatch" Integrity "content is not what its digest says" "find out who changes the bytes on the way; nothing was published";
    ClusterMissing "cluster-missing" Usage "no cluster is configured" "set KUBECONFIG or cluster.kubeconfig";
    ClusterConfigInvalid "cluster-config-invalid" Usage "the kubeconfig cannot be used" "correct cluster.kubeconfig or cluster.context";
    ClusterUnreachable "cluster-unreachable" Transient "the cluster's API server did not answer" "check cluster.server and the network; retry the job";
    ClusterUnauthorized "cluster-unauthorized" Auth "the cluster refused the credentials" "renew the token or certificate of the kubeconfig";
    ClusterForbidden "cluster-forbidden" Auth "the cluster does not permit this" "bind the Role of plugin/kubernetes/role.yaml to the account";
    ClusterFailed "cluster-failed" Transient "the cluster answered with an error" "retry the job; see the API server's own message";
    AdmissionDenied "admission-denied" Auth "an admission webhook or policy refused an object" "change what its sentence names";
    ManifestInvalid "manifest-invalid" User "the API server refused a manifest" "change the setting that makes the field which the message names";
    ReferenceMissing "reference-missing" User "an object that the pods refer to does not exist, or lacks a key" "create what the message names, or correct the setting that names it";
    WebhookFailed "webhook-failed" Transient "an admission webhook of the cluster does not answer" "ask the owner of the webhook that the message names; retry the job";
    FieldImmutable "field-immutable" User "a field cannot be changed on the live object" "keep its value, or remove the object first";
    FieldConflict "field-conflict" User "another field manager owns a field" "set kubernetes.force_conflicts, or leave the field to the other";
    NamespaceMissing "namespace-missing" User "the namespace does not exist" "create it, or set kubernetes.create_namespace";
    NotOurs "not-ours" User "an object of that name was not made by Shipway" "choose another kubernetes.name, or set kubernetes.adopt";
    ConfigInvalid "config-invalid" User "configuration files cannot be mounted into the pods" "change what the message names below kubernetes.config.from";
    ConfigTooLarge "config-too-large" User "the configuration files do not fit into one ConfigMap" "put what is large into the image, or mount a volume of your own; 1 MiB is Kubernetes' limit";
    ConfigMissing "config-missing" User "the configuration of a recorded revision, or a pushed one, is not in the cluster" "publish that commit again, which brings its configuration along, or push it again";
    LockHeld "lock-held" Busy "another run publishes this application, or holds the lock that is wanted" "wait for it, or raise lock.wait";
    LockLost "lock-lost" Rollout "a lock was taken over while we worked, or could not be renewed" "look at what runs, then publish again";
    Superseded "superseded" Busy "a newer pipeline came before this one" "nothing, when the newer one is wanted; shipway rollback --to N goes back to an older release";
    NothingToRollBackTo "nothing-to-roll-back-to" Usage "there is no earlier revision" "publish a good version";
    NotPublished "not-published" User "the application is not on the cluster" "publish it first, or correct kubernetes.name and kubernetes.namespace";
    RevisionUnknown "revision-unknown" Usage "there is no record of that revision" "choose one that history lists";
    ImageNotFound "image-not-found" Rollout "a node cannot find the image" "check that the cluster may read the registry that was pushed to";
    ImagePullFailed "image-pull-failed" Rollout "a node cannot pull the image" "check the node's way to the registry";
    ImagePullDenied "image-pull-denied" Rollout "the registry does not let the node pull the image" "set registry.pull_username and registry.pull_password";
    ContainerConfig "container-config" Rollout "a container cannot be created from its configuration" "correct the Secret, ConfigMap or command that the message names";
    CrashLoop "crash-loop" Rollout "the application ends again and again" "correct what its last log lines name, in the application or in its configuration";
    JavaTooOld "java-too-old" Rollout "the image's Java is older than the classes" "set image.base to a newer Java, or build.jdk to an older one";
    OomKilled "oom-killed" Rollout "a container used more memory than its limit" "raise kubernetes.resources.limits.memory or lower the heap";
    ProbeFailed "probe-failed" Rollout "a probe ended the container before it was up" "check kubernetes.probes and the start-up time";
    InitStuck "init-stuck" Rollout "an init container does not end" "see by its last log lines what it waits for, and why that does not come";
    NeverReady "never-ready" Rollout "the application runs but never gets ready" "check the readiness probe's path and port, and the application's log";
    PodFailed "pod-failed" Rollout "a pod failed" "see its reason and log";
    Unschedulable "unschedulable" Rollout "no node can take the pod" "lower the requests, or add nodes";
    VolumeMissing "volume-missing" Rollout "a volume cannot be mounted" "create the object that the message names";
    PodRejected "pod-rejected" Rollout "the cluster refuses to create the pods" "change what its sentence names";
    QuotaExceeded "quota-exceeded" Rollout "the namespace's quota is used up" "raise the quota, or lower requests, replicas or max_surge";
    DeadlineExceeded "deadline-exceeded" Rollout "the rollout did not finish in time" "see what the pods wait for; raise kubernetes.rolling.timeout";
    RollbackFailed "rollback-failed" Rollout "the rollback did not come up either" "look at what runs now, and act by hand";
    ReleaseStateUnknown "release-state-unknown" Rollout "it is not known what runs now" "look at the Deployment before the next publish";
    ForgeUnauthorized "forge-unauthorized" Auth "the code host does not know the token" "set forge.token to a token that is valid";
    ForgeDenied "forge-denied" Auth "the code host does not permit this to the token" "give the token the scope that the message names";
    ForgeUnreachable "forge-unreachable" Transient "the code host did not answer" "check forge.url and the network";
    ForgeFailed "forge-failed" Transient "the code host answered with an error" "see the host's own message";
    CenterUnreachable "center-unreachable" Transient "the configuration centre did not answer" "check center.url and the network; retry the job";
    CenterDenied "center-denied" Auth "the configuration centre does not permit this" "check the USER:PASSWORD of center.url, and the rights on the node that the message names";
    QueueUnreachable "queue-unreachable" Transient "the message broker of queue.url did not answer" "check queue.url and the network; the events wait in queue.outbox, and the next run sends them";
    QueueDenied "queue-denied" Auth "the message broker of queue.url refused the credentials, the virtual host or the exchange" "correct queue.url, or give its user the right that the message names";
    QueueOutboxFull "queue-outbox-full" User "too many events wait for the message broker already" "bring the broker of queue.url back, or empty the folder of queue.outbox";
    OrderInvalid "order-invalid" User "a build message asks for nothing that can be built" "correct what the reason names, and send it again";
    OrderDenied "order-denied" Auth "a build message names a repository or a ref that this worker does not build" "add it to worker.repositories or worker.refs, or send the message to another worker's queue";
    OrderTaken "order-taken" User "a build message has the id of another build" "send it again with an id of its own";
    OrderExpired "order-expired" User "a build message is too old" "send it again, with the time of now and another id";
    OrderTooLarge "order-too-large" User "a build took more of the disk than it may" "build less, or raise worker.disk";
    OrderGivenUp "order-given-up" Transient "a build was begun again and again, and its worker ended each time" "find out what ends the worker: its memory is a usual cause; then send the message again, with another id";
    NotifyFailed "notify-failed" Transient "the message of notify.url was not taken" "check notify.url and notify.secret; see the answer";
    LedgerUnreachable "ledger-unreachable" Transient "the ledger did not answer" "check ledger.url and the database; retry the job";
    LedgerDenied "ledger-denied" Auth "the ledger may not be used" "check user, password and rights of ledger.url";
    LedgerNewer "ledger-newer" Usage "a later version of Shipway has changed the ledger's tables" "use that version of Shipway";
    LedgerFailed "ledger-failed" Transient "the ledger answered with an error" "see the database's own message; retry the job";
    IdentityMissing "identity-missing" Auth "a build message has no identity token, and the worker wants one" "send the job's token in the header x-shipway-identity-token (docs/how-to/identity.md)";
    IdentityInvalid "identity-invalid" Auth "an identity token proves nothing: another signs it, it is for others, or it was changed" "let the CI make a new one for identity.audience, and look whether identity.issuer names that CI";
    IdentityExpired "identity-expired" Auth "an identity token is too old" "ask again from a job that runs: its token lives as long as its time limit";
    IdentityMismatch "identity-mismatch" Auth "an identity token is of another project or ref than the message asks for" "ask from a job of that very project and ref";
    IssuerUnreachable "issuer-unreachable" Transient "the keys of identity.issuer are not known, so that no token can be verified" "check identity.issuer and the network; until then a worker begins nothing new";
    RuleDenied "rule-denied" Auth "a rule of the company does not permit this" "change what the message names, or ask who keeps the rules";
    RulesInvalid "rules-invalid" Auth "the company's rules cannot be read" "correct them: until then nothing is permitted";
    DiskFull "disk-full" Transient "there is no space left on the disk" "make room on the runner, and retry the job";
    IoFailed "io-failed" Transient "a file could not be read or written" "see the path and the operating system's message";
    Cancelled "cancelled" Cancelled "the job was cancelled" "nothing: start it again when wanted";
    Bug "bug" Internal "Shipway itself failed" "report the message and the log";
}

/// A piece of what was seen when things went wrong, kept for the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Which sort of thing this is.
    pub kind: EvidenceKind,
    /// Where it comes from, such as `pod/web-5d9c/app (previous)` or `mvn.log`.
    pub source: String,
    /// The text itself: foreign, untrusted.
    pub text: String,
}

/// Sorts of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    Log,
    Event,
    Probe,
    Diff,
}

/// What failed, why, and what to do: the only error type that crosses module borders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable slug; class and exit code follow from it.
    pub code: Code,
    /// One sentence: lower case, no final period, with the nouns concerned.
    pub message: String,
    /// The next action; the code's general fix unless a better one is known.
    pub hint: String,
    /// What was seen, best first.
    pub evidence: Vec<Evidence>,
    /// The cluster was changed and is not back at its previous release (exit 51 instead of 50 or 143).
    pub unrestored: bool,
    /// The cluster was changed, and its previous release runs again (exit 50 whatever the class, but for a cancellation).
    pub restored: bool,
}

/// The result of everything that can fail.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Problem { code, message: message.into(), hint: code.fix().to_string(), evidence: Vec::new(), unrestored: false, restored: false }
    }

    /// Replaces the general fix by the exact next action.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds something that was seen.
    pub fn evidence(mut self, kind: EvidenceKind, source: impl Into<String>, text: impl Into<String>) -> Self {
        self.evidence.push(Evidence { kind, source: source.into(), text: text.into() });
        self
    }

    /// Marks that the cluster is left changed.
    pub fn unrestored(mut self) -> Self {
        self.unrestored = true;
        self
    }

    /// An IO error with the path that it met; a full disk gets its own code.
    pub fn io(action: &str, path: impl AsRef<std::path::Path>, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::DiskFull,
            _ => Code::IoFailed,
        };
        Problem::new(code, format!("cannot {action} {}: {error}", path.as_ref().display()))
    }

    /// A state that cannot be; what it says goes into a bug report.
    pub fn bug(message: impl Into<String>) -> Self {
        Problem::new(Code::Bug, message)
    }

    pub fn class(&self) -> Class {
        self.code.class()
    }

    /// Marks that the previous release runs again.
    pub fn restored(mut self) -> Self {
        self.restored = true;
        self
    }

    /// A new release was tried, and the one before runs.
    pub fn is_rolled_back(&self) -> bool {
        !self.unrestored && (self.class() == Class::Rollout || (self.restored && self.class() != Class::Cancelled))
    }

    /// The exit code of the process when it ends with this problem.
    pub fn exit_code(&self) -> u8 {
        match self.unrestored {
            true => 51,
            false if self.is_rolled_back() => Class::Rollout.exit_code(),
            false => self.class().exit_code(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_of_one_form() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let slug = code.slug();
            assert!(seen.insert(slug), "{slug} stands twice");
            assert!(slug.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{slug}");
            assert!(!code.cause().is_empty() && !code.fix().is_empty(), "{slug} is not documented");
        }
    }

    #[test]
    fn an_unrestored_rollout_exits_51() {
        let problem = Problem::new(Code::CrashLoop, "x");
        assert_eq!(problem.exit_code(), 50);
        assert_eq!(problem.unrestored().exit_code(), 51);
    }

    #[test]
    fn what_was_put_back_exits_50_whatever_the_cause() {
        let late = Problem::new(Code::ClusterUnreachable, "x");
        assert_eq!((late.exit_code(), late.restored().exit_code()), (20, 50));
        assert_eq!(Problem::new(Code::Cancelled, "x").restored().exit_code(), 143);
    }

    #[test]
    fn a_full_disk_has_its_own_code() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Problem::io("write", "x", &full).code, Code::DiskFull);
    }
}
