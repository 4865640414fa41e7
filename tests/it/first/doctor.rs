//! `doctor` tells what can be reached, as whom and with which rights, before anybody runs anything.

use serde_json::{Value, json};

use crate::support::{
    block_on, fixture, free_port,
    gitea::Repo,
    http::{Answer, serve},
    job::{gitlab, jar_checkout, on_cluster},
    lab::{Namespace, lab},
    registry::Registry,
    shipway::{Finished, Shipway, shipway},
};

/// What a job has, all of it good: cluster, registry with a password, base image.
fn job(checkout: &fixture::Checkout, namespace: &Namespace, registry: &Registry) -> Shipway {
    on_cluster(gitlab(checkout, 1), namespace, 17)
        .env("SHIPWAY_REGISTRY_URL", registry.host())
        .env("SHIPWAY_REGISTRY_USERNAME", "robot")
        .env("SHIPWAY_REGISTRY_PASSWORD", "registry-secret-1")
        .args(["doctor"])
        .env("NO_COLOR", "1")
}

/// The lines of what was examined, and those of what is to be done.
fn lines(done: &Finished) -> (Vec<&str>, Vec<&str>) {
    let mut parts = done.stdout.split("\n\n");
    let examined = parts.next().unwrap().lines().collect();
    (examined, parts.next().unwrap_or_default().lines().collect())
}

fn line<'a>(done: &'a Finished, what: &str) -> &'a str {
    let found = lines(done).0.into_iter().find(|line| line.get(line.find(' ').unwrap()..).unwrap().trim_start().starts_with(what));
    found.unwrap_or_else(|| panic!("no line of {what} in\n{}", done.text()))
}

#[test]
fn a_job_that_has_everything() {
    let (checkout, namespace) = (fixture::checkout("plain-service"), lab().namespace("doctor"));
    let registry = Registry::start_with_auth("robot", "registry-secret-1");
    let repo = Repo::new("doctor");
    let done = job(&checkout, &namespace, &registry)
        .env("SHIPWAY_FORGE_URL", format!("http://{}", lab().gitea().address))
        .env("SHIPWAY_FORGE_KIND", "gitea")
        .env("SHIPWAY_FORGE_TOKEN", lab().gitea_token())
        .env("CI_PROJECT_PATH", repo.path())
        .run()
        .expect_code(0)
        .expect_text(&["nothing stops a run"]);
    for (what, words) in [
        ("project", "✓"),
        ("project", "price-service 1.0.0, Java 17"),
        ("build", "JDK 17"),
        ("base image", "eclipse-temurin:17-jre is there ("),
        ("registry", "from robot, by registry.username (SHIPWAY_REGISTRY_USERNAME)"),
        ("cluster", &format!("as system:serviceaccount:{}:", namespace.name)),
        ("cluster", &format!("may publish plain-service in namespace {}", namespace.name)),
        // the lab's token may write comments and statuses, and not ask whose it is
        ("code host", &format!("(Gitea) knows SHIPWAY_FORGE_TOKEN as somebody (the token may not ask who) at {}", repo.path())),
        ("messages", "–"),
        ("report", "shipway-report can be written"),
    ] {
        assert!(line(&done, what).contains(words), "no {words:?} in\n{}", done.text());
    }
    assert!(!done.text().contains("registry-secret-1") && !done.text().contains(&lab().gitea_token()));
    // nothing stays: no repository, no upload, no report
    assert!(!checkout.path().join("shipway-report").exists());
    assert!(registry.log().contains("DELETE /v2/"), "the upload was not given up:\n{}", registry.log());
}

#[test]
fn all_that_is_missing_comes_in_the_order_of_a_run() {
    let (checkout, namespace) = (fixture::checkout("plain-service"), lab().namespace("doctor bad"));
    let registry = Registry::start_with_auth("robot", "registry-secret-1");
    let other = block_on(lab().bare_namespace("doctor other"));
    let done = job(&checkout, &namespace, &registry)
        .env("SHIPWAY_BUILD_JDK", "99")
        .env("SHIPWAY_REGISTRY_PASSWORD", "wrong-secret-9")
        .env("SHIPWAY_KUBERNETES_NAMESPACE", &other)
        .env("SHIPWAY_FORGE_URL", format!("http://{}", lab().gitea().address))
        .env("SHIPWAY_FORGE_KIND", "gitea")
        .env("SHIPWAY_FORGE_TOKEN", "0123456789012345678901234567890123456789")
        .run();
    let done = done.expect_code(10);
    for (what, slug) in [
        ("build", "jdk-missing"),
        ("registry", "registry-unauthorized"),
        ("cluster", "cluster-forbidden"),
        ("code host", "forge-unauthorized"),
    ] {
        assert!(line(&done, what).contains(&format!("[{slug}]")), "no {slug} in\n{}", done.text());
    }
    assert!(
        line(&done, "cluster").contains(&format!("namespace {other}: get, list, watch, create, patch deployments.apps")),
        "{}",
        done.text()
    );
    let to_do = lines(&done).1;
    assert_eq!(to_do[0], "4 things would stop a run");
    for (at, words) in [
        (1, "1. install JDK 99, or set build.jdk to one of"),
        (2, "2. "),
        (3, "3. bind the Role of plugin/kubernetes/role.yaml"),
        (4, "4. "),
    ] {
        assert!(to_do[at].contains(words), "{to_do:#?}");
    }
    assert!(to_do[2].contains("shipway explain registry-unauthorized"), "{to_do:#?}");
    assert!(!done.text().contains("wrong-secret-9"));
    block_on(async {
        let api = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(lab().client().await);
        api.delete(&other, &kube::api::DeleteParams::default()).await.unwrap();
    });
}

#[test]
fn what_is_down_is_told_soon() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let nobody = || format!("127.0.0.1:{}", free_port());
    let done = gitlab(&checkout, 1)
        .env("SHIPWAY_REGISTRY_URL", nobody())
        .env("SHIPWAY_IMAGE_BASE", lab().base(17))
        .env("SHIPWAY_CLUSTER_SERVER", format!("https://{}", nobody()))
        .env("SHIPWAY_CLUSTER_TOKEN", "cluster-secret-1")
        .env("SHIPWAY_MAVEN_URL", format!("http://{}/maven", nobody()))
        .args(["doctor"])
        .env("NO_COLOR", "1")
        .run()
        .expect_code(20);
    for (what, slug) in
        [("Maven repository", "maven-repository-down"), ("registry", "registry-unreachable"), ("cluster", "cluster-unreachable")]
    {
        assert!(line(&done, what).contains(&format!("[{slug}]")), "no {slug} in\n{}", done.text());
    }
    assert!(line(&done, "project").contains("✓ project"), "{}", done.text());
}

#[test]
fn nothing_configured_is_no_failure_and_says_what_is_left_out() {
    let checkout = fixture::checkout("plain-service");
    let doctor = || shipway(checkout.path()).env("SHIPWAY_IMAGE_BASE", lab().base(17)).args(["doctor"]).env("NO_COLOR", "1");
    doctor().run().expect_code(0).expect_text(&[
        "✓ project           price-service",
        "– registry          no registry is set: the image becomes an OCI layout",
        "– cluster           no cluster is set",
        "nothing stops a run",
        "registry, if it is wanted: set registry.url",
    ]);
    let json = doctor().arg("--json").run().expect_code(0).stdout;
    let examined: Vec<Value> = serde_json::from_str(&json).unwrap();
    let registry = examined.iter().find(|one| one["what"] == "registry").unwrap();
    assert_eq!((&registry["state"], registry["hint"].is_string()), (&json!("unset"), true));
}

#[test]
fn a_folder_without_a_project_publishes_only_what_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    shipway(folder.path())
        .args(["doctor"])
        .env("NO_COLOR", "1")
        .run()
        .expect_code(10)
        .expect_text(&["[no-pom]", "1 thing would stop a run"]);
    let job = shipway(folder.path()).args(["doctor"]).env("NO_COLOR", "1").env("SHIPWAY_OUT_IMAGE", lab().web("1"));
    job.run().expect_code(0).expect_text(&["nothing is built"]);
}

#[test]
fn the_maven_repository_is_asked_as_a_build_asks_it() {
    let port = serve(|request| match request.header("authorization") {
        Some("Basic Y2k6Z29vZC1zZWNyZXQ=") => Answer { status: 200, ..Answer::default() },
        _ => Answer { status: 401, ..Answer::default() },
    });
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let doctor = |password: &str| {
        let job = shipway(checkout.path()).env("SHIPWAY_MAVEN_URL", format!("http://127.0.0.1:{port}/releases"));
        job.env("SHIPWAY_MAVEN_USERNAME", "ci").env("SHIPWAY_MAVEN_PASSWORD", password).args(["doctor"]).env("NO_COLOR", "1").run()
    };
    assert!(line(&doctor("good-secret"), "Maven repository").contains("answers ci"));
    let done = doctor("bad-secret").expect_code(30);
    assert!(line(&done, "Maven repository").contains("refuses ci: 401") && line(&done, "Maven repository").contains("[deploy-denied]"));
}

/// The published shapes of `GET /projects/:id`, `/user` and `/personal_access_tokens/self`.
fn gitlab_host(level: u32, scope: &'static str) -> u16 {
    serve(move |request| match (request.path.as_str(), request.header("authorization")) {
        (_, Some("Bearer forge-secret-1")) if request.path.ends_with("/user") => {
            Answer::json(200, &json!({"id": 7, "username": "project_1_bot"}))
        }
        ("/api/v4/projects/trade%2Fweb", Some("Bearer forge-secret-1")) => Answer::json(
            200,
            &json!({"id": 1, "path_with_namespace": "trade/web", "permissions": {"project_access": {"access_level": level}, "group_access": null}}),
        ),
        ("/api/v4/personal_access_tokens/self", _) => Answer::json(200, &json!({"id": 3, "scopes": [scope], "expires_at": "2027-01-31"})),
        _ => Answer::json(401, &json!({"message": "401 Unauthorized"})),
    })
}

#[test]
fn gitlab_tells_role_scopes_and_the_last_day_of_a_token() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let doctor = |level: u32, scope: &'static str| {
        let api = format!("http://127.0.0.1:{}/api/v4", gitlab_host(level, scope));
        gitlab(&checkout, 1)
            .env("CI_API_V4_URL", api)
            .env("SHIPWAY_FORGE_TOKEN", "forge-secret-1")
            .args(["doctor"])
            .env("NO_COLOR", "1")
            .run()
    };
    let good = doctor(30, "api").expect_code(0);
    assert!(line(&good, "code host").contains("as project_1_bot at trade/web, scopes api, until 2027-01-31"), "{}", good.text());
    for (level, scope, why) in [(20, "api", "may read the project, and not write to it"), (40, "read_api", "it has the scope read_api")] {
        let done = doctor(level, scope).expect_code(30);
        assert!(
            line(&done, "code host").contains(why) && done.text().contains("with the role Developer and the scope api"),
            "{}",
            done.text()
        );
    }
}
