use super::{Auto, Case, Comment, Source, file, variables};

#[test]
fn four_spellings_of_one_key() {
    let key = "kubernetes.rolling.timeout";
    file("kubernetes: {rolling: {timeout: 7m}}").shows(key, "7m", "shipway.yaml");
    variables(&[("SHIPWAY_KUBERNETES_ROLLING_TIMEOUT", "7m")]).shows(key, "7m", "SHIPWAY_KUBERNETES_ROLLING_TIMEOUT");
    variables(&[("PLUGIN_KUBERNETES_ROLLING_TIMEOUT", "7m")]).shows(key, "7m", "PLUGIN_KUBERNETES_ROLLING_TIMEOUT");
    variables(&[("PLUGIN_KUBERNETES", r#"{"rolling":{"timeout":"7m"}}"#)]).shows(key, "7m", "PLUGIN_KUBERNETES");
    Case { flags: &[(key, "7m")], ..Case::default() }.shows(key, "7m", "command line");
}

#[test]
fn every_key_has_its_own_variable() {
    use crate::settings::shape::{root, variable};
    let mut names = std::collections::BTreeSet::new();
    for leaf in root().leaves() {
        assert!(names.insert(leaf.variable()), "{} is ambiguous", leaf.variable());
        assert!(!leaf.has_file() || names.insert(format!("{}_FILE", leaf.variable())), "{}_FILE is ambiguous", leaf.variable());
    }
    for section in root().sections().iter().filter(|section| !section.path.is_empty()) {
        assert!(names.insert(variable(&section.path)), "{:?} is ambiguous", section.path);
    }
    assert!(names.len() > 90, "only {} names", names.len());
}

#[test]
fn booleans() {
    for (text, value) in [("true", true), ("1", true), ("TRUE", true), ("false", false), ("0", false), ("", true), (" ", true)] {
        assert_eq!(variables(&[("PLUGIN_BUILD_TESTS", text)]).good().settings.build.tests, value, "{text:?}");
    }
    assert!(!variables(&[("PLUGIN_BUILD", r#"{"tests": "false"}"#)]).good().settings.build.tests);
    assert!(!variables(&[("PLUGIN_BUILD", r#"{"tests": 0}"#)]).good().settings.build.tests);
    variables(&[("SHIPWAY_BUILD_TESTS", "yes")])
        .bad("SHIPWAY_BUILD_TESTS: build.tests is \"yes\", which is neither true nor false (write true or false)");
}

#[test]
fn what_a_log_shows_in_the_place_of_a_secret_is_none() {
    for mask in ["[MASKED]", " [MASKED]\n", "********"] {
        let said = "SHIPWAY_REGISTRY_PASSWORD: registry.password is what a CI's log shows in the place of a secret \
                    (set the secret itself, not what was copied from a log)";
        variables(&[("SHIPWAY_REGISTRY_USERNAME", "ci"), ("SHIPWAY_REGISTRY_PASSWORD", mask)]).bad(said);
    }
    let copied = "SHIPWAY_QUEUE_URL: queue.url is what a CI's log shows in the place of a secret \
                  (set the secret itself, not what was copied from a log)";
    variables(&[("SHIPWAY_QUEUE_URL", "amqp://ci:[MASKED]@mq.example.test/")]).bad(copied);
    let star = variables(&[("PLUGIN_BUILD_GOALS", "*")]).good().settings.build.goals;
    assert_eq!(star.unwrap(), ["*"]);
}

#[test]
fn words_and_flags() {
    for (text, value) in [("auto", Auto::Auto), ("true", Auto::Yes), ("0", Auto::No), ("Auto", Auto::Auto)] {
        assert_eq!(variables(&[("SHIPWAY_PUBLISH", text)]).good().settings.publish, value);
    }
    // Drone's YAML has made false of `off` before it reaches us.
    assert_eq!(variables(&[("PLUGIN_COMMENT", "false")]).good().settings.comment, Comment::Off);
    assert_eq!(variables(&[("PLUGIN_COMMENT", "off")]).good().settings.comment, Comment::Off);
}

#[test]
fn lists() {
    for (text, items) in [
        ("a,b", &["a", "b"][..]),
        (" a , b ,", &["a", "b"]),
        ("a,b\nc\n", &["a,b", "c"]),
        (r#"["a,b", "c"]"#, &["a,b", "c"]),
        (r#"["a", 2]"#, &["a", "2"]),
    ] {
        assert_eq!(variables(&[("PLUGIN_BUILD_GOALS", text)]).good().settings.build.goals.unwrap(), items, "{text:?}");
    }
    for text in ["", "[]", ",", "[\"\"]"] {
        assert_eq!(variables(&[("PLUGIN_BUILD_GOALS", text)]).good().settings.build.goals, None, "{text:?}");
    }
}

#[test]
fn arguments_are_never_split_on_commas() {
    for (text, items) in [("-Pa,b", &["-Pa,b"][..]), ("-Pa\n-Dx=1,2\n", &["-Pa", "-Dx=1,2"]), (r#"["-Dx=a b", "-q"]"#, &["-Dx=a b", "-q"])]
    {
        assert_eq!(variables(&[("SHIPWAY_BUILD_ARGS", text)]).good().settings.build.args, items, "{text:?}");
    }
    let joined = variables(&[("PLUGIN_BUILD_ARGS", "-Pa,-q")]).good();
    assert_eq!(joined.settings.build.args, ["-Pa,-q"]);
    assert_eq!(joined.warnings.len(), 1);
    assert!(joined.warnings[0].fix.contains("one argument a line"));
}

#[test]
fn a_line_break_is_taken_off_an_end_and_refused_inside() {
    for end in ["\n", "\r\n", "\n\n"] {
        let (name, token) = (format!("orders{end}"), format!("glpat-0123456789{end}"));
        let settings = variables(&[("SHIPWAY_APP", &name), ("PLUGIN_FORGE_TOKEN", &token)]).good().settings;
        assert_eq!((settings.app.as_deref(), settings.forge.token.unwrap().expose()), (Some("orders"), "glpat-0123456789"));
    }
    let mistakes = variables(&[("SHIPWAY_APP", "orders\nEVIL=1"), ("PLUGIN_FORGE_TOKEN", "glpat-0123456789\nglpat-9876543210")]).mistakes();
    assert!(mistakes.len() == 2 && mistakes.iter().any(|mistake| mistake.starts_with("SHIPWAY_APP: ")), "{mistakes:?}");
    assert!(mistakes.iter().any(|mistake| mistake.contains("a token is one line")) && !mistakes.concat().contains("glpat"), "{mistakes:?}");
}

#[test]
fn json_says_where_it_is_broken_and_nothing_else() {
    let secret = "hunter2hunter2";
    let text = format!("{{\"password\": \"{secret}\",\n \"url\" \"x.test\"}}");
    let mistakes = variables(&[("PLUGIN_REGISTRY", &text)]).mistakes();
    assert_eq!(mistakes, ["PLUGIN_REGISTRY: the JSON is broken at line 2 column 8 (correct the JSON there: quotes, commas, brackets)"]);
    variables(&[("PLUGIN_BUILD_GOALS", "[\"a\"")])
        .bad("PLUGIN_BUILD_GOALS: the JSON is broken at line 1 column 4 (correct the JSON there: quotes, commas, brackets)");
    variables(&[("PLUGIN_KUBERNETES", r#"{"rolling": {"surge": 1}}"#)])
        .bad("PLUGIN_KUBERNETES: kubernetes.rolling.surge is not a setting (did you mean kubernetes.rolling.max_surge?)");
}

#[test]
fn unknown_plugin_variables_are_mistakes() {
    for (name, fix) in [
        ("PLUGIN_KUBERNETES_REPLICS", "did you mean PLUGIN_KUBERNETES_REPLICAS?"),
        ("PLUGIN_KUBERNETES_ROLLING_TIME_OUT", "did you mean PLUGIN_KUBERNETES_ROLLING_TIMEOUT?"),
        ("PLUGIN_REGISTRY_PASSWORT", "did you mean PLUGIN_REGISTRY_PASSWORD?"),
        ("PLUGIN_ENVIRONMENTS", "sections of environments stand in shipway.yaml; PLUGIN_ENVIRONMENT selects one"),
        ("PLUGIN_XYZZY", "remove it, or see the settings reference for the names that there are"),
    ] {
        variables(&[(name, "x")]).bad(&format!("{name} is not a setting ({fix})"));
    }
}

#[test]
fn unknown_shipway_variables_are_warnings() {
    let loaded = variables(&[
        ("SHIPWAY_SERVICE_HOST", "10.0.0.1"),
        ("SHIPWAY_KUBERNETES_REPLICS", "1"),
        ("SHIPWAY_OUT_TAG", "x"),
        ("SHIPWAYS", "x"),
    ])
    .good();
    let found: Vec<(&str, &str)> = loaded.warnings.iter().map(|warning| (warning.what.as_str(), warning.fix.as_str())).collect();
    assert_eq!(
        found,
        [
            (
                "SHIPWAY_SERVICE_HOST is not a setting",
                "nothing: Kubernetes sets it in each pod beside a Service named shipway; it is ignored"
            ),
            ("SHIPWAY_KUBERNETES_REPLICS is not a setting", "did you mean SHIPWAY_KUBERNETES_REPLICAS?"),
        ]
    );
}

#[test]
fn drone_keeps_dashes_and_dots() {
    variables(&[("PLUGIN_KUBERNETES.REPLICAS", "3")]).shows("kubernetes.replicas", "3", "PLUGIN_KUBERNETES.REPLICAS");
    variables(&[("PLUGIN_KUBERNETES-REPLICAS", "3")]).shows("kubernetes.replicas", "3", "PLUGIN_KUBERNETES-REPLICAS");
}

#[test]
fn what_drone_dockers_users_have() {
    let case = variables(&[
        ("PLUGIN_USERNAME", "robot"),
        ("PLUGIN_PASSWORD", "hunter2"),
        ("PLUGIN_REPO", "registry.example.test/team/app"),
        ("PLUGIN_REGISTRY", "registry.example.test"),
        ("PLUGIN_TAGS", "1.2,latest,1"),
    ]);
    let settings = case.good().settings;
    assert_eq!(settings.registry.url.as_deref(), Some("registry.example.test"));
    assert_eq!(settings.registry.username.as_deref(), Some("robot"));
    assert_eq!(settings.registry.password.unwrap().expose(), "hunter2");
    assert_eq!(settings.image.repository.as_deref(), Some("registry.example.test/team/app"));
    assert_eq!((settings.image.tag.as_deref(), settings.image.extra_tags), (Some("1.2"), vec!["latest".to_string(), "1".to_string()]));
    case.shows("image.tag", "1.2", "PLUGIN_TAGS");
    variables(&[("PLUGIN_REPO", "a.test/x"), ("PLUGIN_IMAGE_REPOSITORY", "b.test/y")]).shows(
        "image.repository",
        "b.test/y",
        "PLUGIN_IMAGE_REPOSITORY",
    );
    assert_eq!(variables(&[("PLUGIN_TAGS", "only")]).good().settings.image.extra_tags, Vec::<String>::new());
}

#[test]
fn secrets_come_from_variables_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "hunter2 \n").unwrap();
    let name = path.display().to_string();
    let case_variables = [("PLUGIN_REGISTRY_PASSWORD_FILE", name.as_str())];
    let case = variables(&case_variables);
    assert_eq!(case.good().settings.registry.password.unwrap().expose(), "hunter2");
    case.shows("registry.password", "(secret)", "PLUGIN_REGISTRY_PASSWORD_FILE");
    assert_eq!(variables(&[("PLUGIN_PASSWORD_FILE", &name)]).good().settings.registry.password.unwrap().expose(), "hunter2");
    // The other one empty: not set twice.
    variables(&[("PLUGIN_REGISTRY_PASSWORD_FILE", &name), ("PLUGIN_REGISTRY_PASSWORD", "")]).good();
    variables(&[("PLUGIN_REGISTRY_PASSWORD_FILE", &name), ("PLUGIN_REGISTRY_PASSWORD", "x")])
        .bad("PLUGIN_REGISTRY_PASSWORD_FILE and PLUGIN_REGISTRY_PASSWORD are both set (keep one of them)");
    let missing = variables(&[("SHIPWAY_FORGE_TOKEN_FILE", "no/such/file")]).mistakes();
    assert!(missing[0].starts_with("SHIPWAY_FORGE_TOKEN_FILE: the file \"no/such/file\" cannot be read: "), "{missing:?}");
    for (content, what) in [(&b""[..], "is empty"), (b"\xff", "is not UTF-8 text"), (&[b'x'; 70_000], "is larger than 65536 bytes")] {
        std::fs::write(&path, content).unwrap();
        let mistakes = variables(&case_variables).mistakes();
        assert!(mistakes[0].contains(what), "{mistakes:?}");
    }
    variables(&[("PLUGIN_APP_FILE", &name)]).mistakes();
}

#[test]
fn flags_take_no_secrets() {
    let case = Case { flags: &[("registry.password", "hunter2hunter2"), ("app", "ok")], ..Case::default() };
    case.bad(concat!(
        "--set registry.password: registry.password is secret and must not stand in the command line ",
        "(set SHIPWAY_REGISTRY_PASSWORD or SHIPWAY_REGISTRY_PASSWORD_FILE, and renew the secret)"
    ));
    Case { flags: &[("kubernetes.replica", "1")], ..Case::default() }
        .bad("--set kubernetes.replica is not a setting (did you mean kubernetes.replicas?)");
    Case { flags: &[("app.name", "1")], ..Case::default() }.mistakes();
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "hunter2hunter2";
    let queue = format!("amqp://user:{secret}@mq.test/vhost");
    let loaded = variables(&[
        ("PLUGIN_REGISTRY", &format!("{{\"password\": \"{secret}\", \"username\": \"u\"}}")),
        ("SHIPWAY_QUEUE_URL", &queue),
        ("SHIPWAY_NOTIFY_URL", &format!("https://hooks.test/{secret}")),
        ("CI_JOB_TOKEN", secret),
    ])
    .good();
    for sourced in &loaded.sources {
        assert!(!sourced.value.contains(secret), "{sourced:?}");
    }
    let shown = |key: &str| loaded.sources.iter().find(|sourced| sourced.key == key).unwrap().value.clone();
    assert_eq!(shown("queue.url"), "amqp://(secret)@mq.test/vhost");
    assert_eq!(shown("registry.password"), "(secret)");
    assert_eq!(loaded.settings.queue.url.unwrap().expose(), queue);
    let known: Vec<&str> = loaded.secrets.iter().map(|secret| secret.expose()).collect();
    assert!(known.contains(&secret) && known.contains(&format!("https://hooks.test/{secret}").as_str()), "{known:?}");
    // Secrets with a wrong form are not quoted either.
    let password = format!("{{\"password\": [\"{secret}\"]}}");
    let address = format!("https://u:{secret}@maven.test");
    let registry = format!("u:{secret}@registry.test");
    let wrong = [("PLUGIN_MAVEN", password.as_str()), ("PLUGIN_MAVEN_URL", &address), ("PLUGIN_REGISTRY", &registry)];
    let mistakes = variables(&wrong).mistakes();
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    assert!(!mistakes.concat().contains(secret), "{mistakes:?}");
}

#[test]
fn what_is_not_utf8_becomes_a_legible_mistake() {
    let lossy = String::from_utf8_lossy(b"caf\xe9").into_owned();
    let mistakes = variables(&[("SHIPWAY_APP", &lossy), ("OTHER", &lossy)]).mistakes();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].starts_with("SHIPWAY_APP: app is \"caf\u{fffd}\": "), "{mistakes:?}");
}

#[test]
fn sources_are_in_the_order_of_the_reference() {
    let loaded = file("kubernetes: {env: {B: b, A: a}, resources: {limits: {memory: 1Gi, nvidia.com/gpu: 1}}}\napp: x\n").good();
    let keys: Vec<&str> = loaded.sources.iter().filter(|s| s.source != Source::Default).map(|s| s.key.as_str()).collect();
    assert_eq!(
        keys,
        ["app", "kubernetes.env.A", "kubernetes.env.B", "kubernetes.resources.limits.memory", "kubernetes.resources.limits.nvidia.com/gpu"]
    );
    let limits = loaded.settings.kubernetes.resources.limits;
    assert_eq!(limits.other["nvidia.com/gpu"].as_str(), "1");
}
