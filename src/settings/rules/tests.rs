use super::*;

fn takes(rule: &str, texts: &[&str]) {
    for text in texts {
        assert!(check(rule, text).is_ok(), "{rule} refuses {text:?}");
    }
}

fn refuses(rule: &str, texts: &[&str]) {
    for text in texts {
        assert!(check(rule, text).is_err(), "{rule} takes {text:?}");
    }
}

#[test]
fn every_kind_of_a_key_has_a_rule() {
    for leaf in crate::settings::shape::root().leaves() {
        assert!(RULES.iter().any(|(name, _)| *name == leaf.rule), "{} is of kind {:?}", leaf.key(), leaf.rule);
    }
}

#[test]
fn tokens_are_one_line() {
    takes("token", &["glpat-x_1", "a.b+c/d="]);
    refuses("token", &["a b", "first\nsecond", "tök"]);
}

#[test]
fn names() {
    takes("dns-label", &["a", "order-service", "a1"]);
    refuses("dns-label", &["Order", "a_b", "-a", "a-", "a.b", &"a".repeat(64)]);
    takes("dns-name", &["a.b", "robot"]);
    refuses("dns-name", &["a..b", "A"]);
    assert_eq!(dns_label("Order_Service").unwrap_err().fix, "write it like order-service");
}

#[test]
fn registries() {
    takes("registry", &["localhost:5000", "registry.example.test/team", "registry.example.test", "[::1]:5000"]);
    refuses(
        "registry",
        &["http://localhost:5000", "user:secret@registry.example.test", "team", "registry.example.test/app:1", "a.test/Team"],
    );
    assert_eq!(check("registry", "https://registry.example.test/").unwrap(), "registry.example.test");
}

#[test]
fn images() {
    takes("repository", &["registry.example.test/a/b", "team/app"]);
    refuses("repository", &["registry.example.test/a:1", "UPPER/case"]);
    takes("tag", &["1.2.3", "v1_a"]);
    refuses("tag", &["a b", "-x", "feature/x"]);
    takes("platforms", &["linux/amd64", "linux/arm/v7"]);
    refuses("platforms", &["amd64", "linux/", "Linux/amd64"]);
}

#[test]
fn paths() {
    takes("inside", &["config/", "docker/Dockerfile", "."]);
    refuses("inside", &["/etc/passwd", "../x", "a/../../x"]);
    takes("absolute", &["/config"]);
    refuses("absolute", &["config", "/a/../b"]);
}

#[test]
fn numbers_of_pods() {
    takes("int-or-percent", &["0", "1", "25%", "100%"]);
    refuses("int-or-percent", &["-1", "101%", "1.5", "%", "many"]);
    takes("quantity", &["250m", "1Gi", "2", "0.5"]);
    refuses("quantity", &["0", "-1", "1 Gi", "lots"]);
}

#[test]
fn addresses_hold_no_password() {
    takes("url", &["https://host.test/x", "git@host.test:team/app.git", "ssh://git@host.test/x", "https://host.test/a:b@c"]);
    refuses("url", &["https://user:pw@host.test", "a b", "--upload-pack=x"]);
}

#[test]
fn credentials_are_no_build_variables() {
    takes("variables", &["SONAR_TOKEN", "DOCKER_HOST"]);
    refuses("variables", &["*", "SONAR_*", "SHIPWAY_REGISTRY_PASSWORD", "KUBECONFIG", "CI_JOB_TOKEN", "PLUGIN_PASSWORD", "A=B"]);
}

#[test]
fn names_of_metrics_finalizers_and_archives() {
    takes("metric-map", &["100", "250m"]);
    refuses("metric-map", &["many", "0"]);
    takes("qualified", &["mesh.example.test/drain", "orphan"]);
    refuses("qualified", &["a b", "/x"]);
    takes("archive", &["logs.tar.gz", "out/logs.tar.zst", "x.tgz"]);
    refuses("archive", &["logs.zip", "logs"]);
}

#[test]
fn keys_of_secrets() {
    takes("secret-keys", &["db/password"]);
    refuses("secret-keys", &["db", "db/", "/password", "DB/password"]);
    assert!(check_name("environment", "JAVA_OPTS").is_ok());
    assert!(check_name("environment", "1A").is_err());
    assert!(check_name("label-map", "example.test/team").is_ok());
    assert!(check_name("label-map", "/team").is_err());
}
