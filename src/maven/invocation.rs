//! The one call of Maven: which program, on which Java, with which files and arguments.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use url::Url;

use super::{Jdk, Repository, Request, project::Reactor, toolchains, user_settings};
use crate::{
    domain::{
        problem::{Code, Problem, Result},
        secret::{Credentials, Secret},
    },
    process,
};

/// A program that is Maven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub path: PathBuf,
    /// The project's own wrapper.
    pub wrapper: bool,
    /// As far as the wrapper's properties or the installation say it.
    pub version: Option<(u32, u32, u32)>,
}

/// Files of one run, readable by us alone, gone when dropped.
pub(super) struct Files {
    folder: TempDir,
}

/// The Java that Maven runs on, and whether another one compiles.
pub(super) struct Runtime {
    pub home: PathBuf,
    /// Maven cannot run on the JDK that compiles; its toolchains plugin has to select that one.
    pub select: bool,
}

impl Program {
    /// The wrapper when it is there and can run, else `mvn`. The second value is a word about a wrapper that cannot.
    pub(super) fn find(request: &Request) -> Result<(Program, Option<String>)> {
        let properties = request.dir.join(".mvn/wrapper/maven-wrapper.properties");
        let script = request.dir.join("mvnw");
        let mut word = None;
        if script.is_file() {
            let broken = match (process::is_executable(&script), properties.is_file()) {
                (true, true) => None,
                (false, _) => Some("it is not executable (git update-index --chmod=+x mvnw)"),
                (_, false) => Some(".mvn/wrapper/maven-wrapper.properties is missing"),
            };
            let Some(reason) = broken else {
                let text = std::fs::read_to_string(&properties).unwrap_or_default();
                return Ok((Program { path: script, wrapper: true, version: wrapper_version(&text) }, None));
            };
            word = Some(format!("the Maven wrapper cannot run: {reason}; mvn is used instead"));
        }
        match Program::installed(request) {
            Ok(program) => Ok((program, word)),
            Err(problem) if word.is_some() => {
                Err(problem
                    .hint("repair the wrapper (mvn wrapper:wrapper; git update-index --chmod=+x mvnw), or use an image that has Maven"))
            }
            Err(problem) => Err(problem),
        }
    }

    /// `mvn` of `PATH`, else of `MAVEN_HOME`.
    pub(super) fn installed(request: &Request) -> Result<Program> {
        let homes = request.env.iter().filter(|(name, _)| name == "MAVEN_HOME" || name == "M2_HOME");
        let in_homes = homes.map(|(_, home)| Path::new(home).join("bin/mvn")).find(|path| process::is_executable(path));
        let found = process::find_program(Path::new("mvn"), &request.dir, &request.env).ok().or(in_homes);
        let Some(path) = found else {
            let search = request.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path.as_str());
            return Err(Problem::new(
                Code::MavenMissing,
                format!("mvn was not found, and the project has no Maven wrapper: looked in {search}"),
            ));
        };
        let version = path.canonicalize().ok().and_then(|path| installed_version(path.parent()?.parent()?));
        Ok(Program { path, wrapper: false, version })
    }

    /// The oldest Java that this Maven runs on.
    fn least_java(&self) -> u32 {
        match self.version {
            Some((4.., _, _)) => 17,
            _ => 8,
        }
    }
}

impl Runtime {
    /// Maven runs on the very JDK that compiles. That needs no plugin, no network and no cooperation of the pom, and it also holds
    /// for what knows no toolchains: Kotlin, annotation processors, exec, code generators. The toolchains plugin's
    /// `select-jdk-toolchain` is the way for the one case in which Maven itself cannot run on that JDK (Maven 4 needs 17).
    pub(super) fn choose(program: &Program, jdk: &Jdk, found: &[Jdk]) -> Runtime {
        if jdk.version >= program.least_java() {
            return Runtime { home: jdk.home.clone(), select: false };
        }
        let able = found.iter().filter(|other| other.version >= program.least_java()).min_by_key(|other| other.version);
        match able {
            Some(other) => Runtime { home: other.home.clone(), select: true },
            None => Runtime { home: jdk.home.clone(), select: false },
        }
    }
}

impl Files {
    /// Writes settings.xml and toolchains.xml (mode 0600) and makes Maven's own home.
    pub(super) fn write(request: &Request, repository: Option<&Repository>, reactor: &Reactor, jdks: &[Jdk]) -> Result<Files> {
        let folder = tempfile::Builder::new().prefix("shipway-maven-").tempdir();
        let folder = folder.map_err(|error| Problem::io("create a folder in", "the temporary directory", &error))?;
        let files = Files { folder };
        let home = files.home();
        DirBuilder::new().mode(0o700).create(&home).map_err(|error| Problem::io("create", &home, &error))?;
        let user = &request.user_home;
        let named = reactor.repositories();
        let settings = user_settings::merged(&user.join("settings.xml"), &user.join("repository"), repository, &named)?;
        write_private(&files.settings(), &settings)?;
        write_private(&files.toolchains(), &toolchains::merged(&user.join("toolchains.xml"), jdks)?)?;
        Ok(files)
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("settings.xml")
    }

    fn toolchains(&self) -> PathBuf {
        self.folder.path().join("toolchains.xml")
    }
}

/// Whether this run deploys.
pub(super) fn deploys(request: &Request) -> bool {
    match &request.goals {
        Some(goals) => goals.iter().any(|goal| goal == "deploy"),
        None => request.deploy && request.repository.is_some(),
    }
}

/// Everything on the command line after the program; nothing in it is secret.
pub(super) fn arguments(
    request: &Request,
    program: &Program,
    runtime: &Runtime,
    jdk: &Jdk,
    files: &Files,
    target: Option<&Target<'_>>,
) -> Vec<String> {
    let mut args: Vec<String> = ["-B", "-V", "-Dstyle.color=never"].map(String::from).to_vec();
    args.push(match program.version {
        // -ntp came with 3.6.1; the property silences the older ones.
        Some(version) if version < (3, 6, 1) => {
            "-Dorg.slf4j.simpleLogger.log.org.apache.maven.cli.transfer.Slf4jMavenTransferListener=warn".to_string()
        }
        _ => "-ntp".to_string(),
    });
    args.extend(["-s".to_string(), files.settings().display().to_string()]);
    args.extend(["-t".to_string(), files.toolchains().display().to_string()]);
    let security = request.user_home.join("settings-security.xml");
    if security.is_file() {
        args.push(format!("-Dsettings.security={}", security.display()));
    }
    if !request.tests {
        args.push("-DskipTests".to_string());
    }
    if let Some(target) = target {
        args.extend(target.arguments());
    }
    args.extend(request.args.iter().cloned());
    if runtime.select {
        args.push(format!("-Dtoolchain.jdk.version=[{},{})", jdk.version, jdk.version + 1));
        args.push("org.apache.maven.plugins:maven-toolchains-plugin:3.2.0:select-jdk-toolchain".to_string());
    }
    args.extend(goals(request));
    args
}

/// Where to deploy to, for a pom that does not say it.
pub(super) struct Target<'a> {
    pub repository: &'a Repository,
    pub version: Option<&'a str>,
}

impl Target<'_> {
    /// `ID::default::URL` is what deploy plugin 2.x asks for, and what 3.x still takes (with a warning); `ID::URL` is refused by 2.x.
    /// 2.7, which Maven 3.8 binds, knows only the first property, so the version decides it; the others are for a version that
    /// only Maven can tell, and for modules whose versions differ.
    fn arguments(&self) -> Vec<String> {
        let releases = format!("{}::default::{}", user_settings::REPOSITORY_ID, self.repository.url);
        let snapshots = match &self.repository.snapshots_url {
            Some(url) => format!("{}::default::{url}", user_settings::SNAPSHOTS_ID),
            None => releases.clone(),
        };
        let is_snapshot = self.version.is_some_and(|version| version.ends_with("-SNAPSHOT"));
        let either = if is_snapshot { &snapshots } else { &releases };
        let mut arguments = vec![format!("-DaltDeploymentRepository={either}")];
        if snapshots != releases {
            arguments.push(format!("-DaltSnapshotDeploymentRepository={snapshots}"));
            arguments.push(format!("-DaltReleaseDeploymentRepository={releases}"));
        }
        arguments
    }
}

/// Maven's environment: the given one, on that Java, in a home of its own.
pub(super) fn environment(request: &Request, runtime: &Runtime, files: &Files) -> Vec<(String, String)> {
    let given = |name: &str| request.env.iter().rfind(|(other, _)| other == name).map(|(_, value)| value.clone());
    let home = files.home().display().to_string();
    // Java takes user.home from the password file, not from HOME.
    let options = format!("-Duser.home={home} {}", given("MAVEN_OPTS").unwrap_or_default());
    let path = format!("{}:{}", runtime.home.join("bin").display(), given("PATH").unwrap_or_default());
    let own = [
        ("JAVA_HOME", runtime.home.display().to_string()),
        ("PATH", path.trim_end_matches(':').to_string()),
        ("HOME", home),
        ("MAVEN_OPTS", options.trim_end().to_string()),
        // The wrapper keeps what it downloads there; in the run's own home each run would download again.
        ("MAVEN_USER_HOME", request.user_home.display().to_string()),
    ];
    // Maven's official image sets MAVEN_CONFIG to a folder, which the wrapper's script takes for arguments.
    let dropped = |name: &str| own.iter().any(|(other, _)| *other == name) || name == "MAVEN_CONFIG";
    let mut env: Vec<(String, String)> = request.env.iter().filter(|(name, _)| !dropped(name)).cloned().collect();
    env.extend(own.map(|(name, value)| (name.to_string(), value)));
    env
}

/// The repository with the credentials that someone wrote into its URL moved to where they belong.
pub(super) fn without_userinfo(repository: &Repository) -> Repository {
    let mut clean = repository.clone();
    let mut found = None;
    let urls = [Some(&mut clean.url), clean.snapshots_url.as_mut(), clean.mirror.as_mut()];
    for text in urls.into_iter().flatten() {
        let Ok(mut url) = Url::parse(text) else { continue };
        if url.username().is_empty() && url.password().is_none() {
            continue;
        }
        let username = url.username().to_string();
        let password = Secret::new(url.password().unwrap_or_default());
        found.get_or_insert(Credentials { username, password });
        if url.set_username("").is_ok() && url.set_password(None).is_ok() {
            *text = url.to_string();
        }
    }
    clean.credentials = clean.credentials.or(found);
    clean
}

fn goals(request: &Request) -> Vec<String> {
    match &request.goals {
        Some(goals) => goals.clone(),
        None if deploys(request) => vec!["deploy".to_string()],
        None => vec!["package".to_string()],
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| Problem::io("write", path, &error))
}

/// `distributionUrl=…/apache-maven-3.9.9-bin.zip` → 3.9.9.
fn wrapper_version(properties: &str) -> Option<(u32, u32, u32)> {
    let url = properties.lines().find_map(|line| line.trim().strip_prefix("distributionUrl"))?;
    let rest = url.split("apache-maven-").last()?;
    parse_version(rest)
}

/// From the name of its core library; the start script does not say it without starting.
fn installed_version(home: &Path) -> Option<(u32, u32, u32)> {
    let names = std::fs::read_dir(home.join("lib")).ok()?.flatten().map(|entry| entry.file_name());
    let mut versions = names.filter_map(|name| parse_version(name.to_str()?.strip_prefix("maven-core-")?));
    versions.next()
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut numbers = text[..end].split('.').filter_map(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
}
