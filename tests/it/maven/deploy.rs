//! Deploying to a real Maven repository: Gitea's.

use shipway::{
    domain::secret::{Credentials, Secret},
    maven::Repository,
};

use super::*;
use crate::support::{lab::lab, unique};

/// A project with a name of its own, since a repository keeps what it gets.
fn project(version: &str, body: &str) -> (Checkout, String) {
    let checkout = witness(body);
    let name = unique("deploy");
    checkout.replace("pom.xml", "<artifactId>witness</artifactId>", &format!("<artifactId>{name}</artifactId>"));
    checkout.replace("pom.xml", "<version>1.0.0</version>", &format!("<version>{version}</version>"));
    (checkout, name)
}

fn repository(password: &str) -> Repository {
    let credentials = Credentials { username: lab().gitea().user, password: Secret::new(password) };
    Repository { url: lab().maven_repository(), snapshots_url: None, mirror: None, credentials: Some(credentials) }
}

fn deploying(checkout: &Checkout) -> Request {
    let mut request = request(&checkout.path());
    request.args.clear();
    request.repository = Some(repository(&lab().gitea().password));
    request.deploy = true;
    request
}

/// Whether the repository has that file.
fn is_there(path: &str) -> bool {
    let gitea = lab().gitea();
    let url = format!("{}/{path}", lab().maven_repository());
    let status = std::process::Command::new("curl")
        .args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--user",
            &format!("{}:{}", gitea.user, gitea.password),
            &url,
        ])
        .output()
        .unwrap();
    status.stdout == b"200"
}

fn level_17() -> String {
    plugins(&compiler("<release>17</release>"))
}

#[test]
fn a_snapshot_is_deployed_as_often_as_one_likes() {
    let (checkout, name) = project("1.0.0-SNAPSHOT", &level_17());
    let request = deploying(&checkout);
    let (built, heard) = build_heard(&request);
    let built = built.unwrap();
    assert!(built.deployed && built.summary.ends_with("deployed"), "{}", built.summary);
    assert!(is_there(&format!("demo/{name}/1.0.0-SNAPSHOT/maven-metadata.xml")));
    assert_eq!(heard.iter().filter(|line| line.starts_with("command ")).count(), 1);
    let log = std::fs::read_to_string(&request.log.path).unwrap();
    let secret = lab().gitea().password;
    assert!(!heard.iter().any(|line| line.contains(&secret)) && !log.contains(&secret));
    build(&request).unwrap();
}

#[test]
fn a_release_is_deployed_once() {
    let (checkout, name) = project("1.0.0", &level_17());
    let mut request = deploying(&checkout);
    assert!(build(&request).unwrap().deployed);
    assert!(is_there(&format!("demo/{name}/1.0.0/{name}-1.0.0.jar")));

    let problem = build(&request).unwrap_err();
    assert_eq!(problem.code, Code::VersionExists, "{}", problem.message);
    assert_eq!(problem.message, format!("deploy failed: {name} 1.0.0 is in the Maven repository already"));

    request.skip_existing_release = true;
    let (built, heard) = build_heard(&request);
    let built = built.unwrap();
    assert_eq!((built.deployed, built.artifacts.len()), (false, 1));
    assert!(heard.contains(&format!("note {name} 1.0.0 is in the Maven repository already; it is not deployed again")), "{heard:?}");
}

#[test]
fn an_existing_release_does_not_keep_later_modules_from_being_packaged() {
    let (checkout, name) = project(
        "2.0.0",
        &level_17().replace("<properties>", "<packaging>pom</packaging><modules><module>a</module></modules><properties>"),
    );
    let module = format!(
        "<project><modelVersion>4.0.0</modelVersion><parent><groupId>demo</groupId><artifactId>{name}</artifactId><version>2.0.0</version></parent><artifactId>{name}-a</artifactId></project>"
    );
    checkout.write("a/pom.xml", &module);
    checkout.write("a/src/main/java/demo/A.java", "package demo; public class A { }");
    let mut request = deploying(&checkout);
    request.skip_existing_release = true;
    assert!(build(&request).unwrap().deployed);
    std::fs::remove_dir_all(checkout.path().join("a/target")).unwrap();
    let built = build(&request).unwrap();
    assert_eq!((built.deployed, built.artifacts.len()), (false, 1));
    assert!(built.artifacts[0].path.is_file());
}

#[test]
fn the_deploy_plugin_of_maven_3_8_takes_it_too() {
    // Neither the pom nor a parent pins the plugin: Maven 3.8 binds 2.7, which knows the old form only.
    let body = level_17().replace("<plugin><artifactId>maven-deploy-plugin</artifactId><version>3.1.4</version></plugin>", "");
    let (checkout, name) = project("1.0.0", &body);
    assert!(build(&deploying(&checkout)).unwrap().deployed);
    assert!(is_there(&format!("demo/{name}/1.0.0/{name}-1.0.0.pom")));
}

#[test]
fn a_pom_that_says_where_to_deploy_gets_the_credentials_of_its_host() {
    let management = format!(
        "<distributionManagement><repository><id>own</id><url>{}</url></repository></distributionManagement>",
        lab().maven_repository()
    );
    let (checkout, name) = project("1.0.0", &format!("{}{management}", level_17()));
    assert!(build(&deploying(&checkout)).unwrap().deployed);
    assert!(is_there(&format!("demo/{name}/1.0.0/{name}-1.0.0.jar")));
}

#[test]
fn a_wrong_password_names_repository_user_and_setting() {
    let (checkout, _) = project("1.0.0-SNAPSHOT", &level_17());
    let mut request = deploying(&checkout);
    request.repository = Some(repository("wrong-password"));
    let problem = build(&request).unwrap_err();
    assert_eq!(problem.code, Code::DeployDenied, "{}", problem.message);
    assert!(problem.message.contains(&lab().gitea().address) && problem.message.contains("refused user dev"), "{}", problem.message);
    assert!(problem.hint.contains("maven.password"), "{}", problem.hint);
    assert!(!format!("{problem:?}").contains("wrong-password"));
}

#[test]
fn a_repository_that_is_not_there_fails_the_deploy_as_worth_a_retry() {
    let (checkout, _) = project("1.0.0-SNAPSHOT", &level_17());
    let mut request = deploying(&checkout);
    let address = format!("127.0.0.1:{}", crate::support::free_port());
    request.repository.as_mut().unwrap().url = format!("http://{address}/maven");
    let problem = build(&request).unwrap_err();
    assert_eq!(problem.code, Code::MavenRepositoryDown, "{}", problem.message);
    assert!(problem.message.contains(&address), "{}", problem.message);
}
