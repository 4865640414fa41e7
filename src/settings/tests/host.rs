use super::{Colours, Host, vars};

fn host(pairs: &[(&str, &str)]) -> Host {
    Host::read(&vars(pairs))
}

fn names(host: &Host, wanted: &[&str]) -> Vec<String> {
    let wanted: Vec<String> = wanted.iter().map(|name| name.to_string()).collect();
    host.maven_env(&wanted).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn maven_sees_what_it_needs_and_nothing_else() {
    let host = host(&[
        ("PATH", "/usr/bin"),
        ("LC_ALL", "C"),
        ("JAVA_HOME_17_X64", "/opt/jdk17"),
        ("https_proxy", "http://proxy.test"),
        ("SONAR_TOKEN", "x"),
        ("SONAR_HOST", "y"),
        ("AWS_SECRET_ACCESS_KEY", "z"),
        ("CI_JOB_TOKEN", "t"),
        ("CI_REGISTRY_PASSWORD", "t"),
        ("SHIPWAY_REGISTRY_PASSWORD", "t"),
        ("PLUGIN_KUBERNETES", "{}"),
        ("KUBECONFIG", "k"),
        ("DOCKER_AUTH_CONFIG", "{}"),
        ("GIT_CONFIG_COUNT", "1"),
    ]);
    let usual = ["PATH", "LC_ALL", "JAVA_HOME_17_X64", "https_proxy"];
    assert_eq!(names(&host, &[]), usual);
    assert_eq!(names(&host, &["SONAR_TOKEN"]), [&usual[..], &["SONAR_TOKEN"]].concat());
    // Names are names, not patterns; and a credential of ours stays out even when it is asked for.
    assert_eq!(
        names(&host, &["SONAR_*", "*", "CI_JOB_TOKEN", "SHIPWAY_REGISTRY_PASSWORD", "KUBECONFIG", "PLUGIN_KUBERNETES", "GIT_CONFIG_COUNT"]),
        usual
    );
}

#[test]
fn a_workers_build_has_its_settings_and_nothing_of_a_ci() {
    let kept = ["PATH", "http_proxy", "DOCKER_HOST", "KUBECONFIG", "SHIPWAY_REGISTRY_PASSWORD", "SHIPWAY_LEDGER_URL"];
    let gone = ["CI", "GITLAB_CI", "CI_COMMIT_SHA", "DRONE", "PLUGIN_APP", "AWS_SECRET", "SHIPWAY_WORKER_QUEUE", "SHIPWAY_SOURCE_URL"];
    let gone = [&gone[..], &["SHIPWAY_APP", "SHIPWAY_ENVIRONMENT", "SHIPWAY_OUT_IMAGE", "SHIPWAY_COMMAND", "SHIPWAY_REPORT_DIR"]].concat();
    let all: Vec<(&str, &str)> = kept.iter().chain(&gone).map(|name| (*name, "value")).collect();
    let seen: Vec<String> = host(&all).worker_env().into_iter().map(|(name, _)| name).collect();
    assert_eq!(seen, kept);
}

#[test]
fn colours_by_the_conventions() {
    for (variables, colours) in [
        (&[][..], Colours::Unsaid),
        (&[("NO_COLOR", "1"), ("FORCE_COLOR", "1")], Colours::Never),
        (&[("NO_COLOR", "")], Colours::Unsaid),
        (&[("FORCE_COLOR", "1")], Colours::Always),
        (&[("CLICOLOR_FORCE", "1")], Colours::Always),
        (&[("FORCE_COLOR", "0")], Colours::Unsaid),
        (&[("TERM", "dumb")], Colours::Never),
    ] {
        assert_eq!(host(variables).colours, colours, "{variables:?}");
    }
}

#[test]
fn files_of_registry_credentials_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    std::fs::create_dir_all(home.join(".docker")).unwrap();
    std::fs::create_dir_all(home.join(".config/containers")).unwrap();
    let home = home.display().to_string();
    assert!(host(&[("HOME", &home)]).registry_configs.is_empty());
    std::fs::write(dir.path().join(".docker/config.json"), "{}").unwrap();
    std::fs::write(dir.path().join(".config/containers/auth.json"), "{}").unwrap();
    let found = host(&[("HOME", &home)]).registry_configs;
    assert_eq!(found, [dir.path().join(".docker/config.json"), dir.path().join(".config/containers/auth.json")]);
    let elsewhere = host(&[("HOME", &home), ("DOCKER_CONFIG", "no-such-folder")]).registry_configs;
    assert_eq!(elsewhere.len(), 1);
}

#[test]
fn the_rest() {
    let host = host(&[
        ("HOME", "/h"),
        ("KUBECONFIG", "/a:/b::"),
        ("HTTP_PROXY", "http://upper.test"),
        ("http_proxy", "http://lower.test"),
        ("all_proxy", "http://all.test"),
        ("NO_PROXY", "localhost,.test"),
        ("JAVA_HOME", "/opt/jdk"),
        ("JAVA_HOME_21_X64", "/opt/jdk21"),
        ("SOURCE_DATE_EPOCH", "12"),
        ("SHIPWAY_OUT_IMAGE", "a.test/b@sha256:0"),
        ("USER", "ada"),
    ]);
    assert_eq!(host.maven_home.as_deref(), Some(std::path::Path::new("/h/.m2")));
    assert_eq!(host.kubeconfig.len(), 2);
    assert_eq!(host.proxies.http.unwrap().expose(), "http://lower.test");
    assert_eq!(host.proxies.https.unwrap().expose(), "http://all.test");
    assert_eq!(host.proxies.no_proxy.as_deref(), Some("localhost,.test"));
    assert_eq!(host.java_homes.len(), 2);
    assert_eq!((host.source_date_epoch, host.user.as_deref()), (Some(12), Some("ada")));
    assert_eq!(host.earlier_image.as_deref(), Some("a.test/b@sha256:0"));
}

#[test]
fn a_locale_that_is_no_utf_8_is_known() {
    for (variables, unicode) in [
        (&[][..], true),
        (&[("LANG", "C")], false),
        (&[("LANG", "POSIX")], false),
        (&[("LANG", "zh_CN.GB18030")], false),
        (&[("LANG", "C.UTF-8")], true),
        (&[("LANG", "en_US.utf8")], true),
        (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], false),
        (&[("LANG", "C"), ("LC_CTYPE", "C.UTF-8")], true),
        (&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "")], true),
    ] {
        assert_eq!(host(variables).unicode, unicode, "{variables:?}");
    }
}
