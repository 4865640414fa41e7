use super::{Case, Input, Loaded, Source, check, file, load};

#[test]
fn the_example_of_the_product() {
    let text = "\
app: order-service
line: trade
build: {jdk: 17, args: [-Pprod]}
image: {base: eclipse-temurin:17-jre, port: 8080}
kubernetes:
  resources: {requests: {cpu: 250m, memory: 768Mi}, limits: {memory: 768Mi}}
  jvm: [-Xlog:gc]
  probes: {readiness: /actuator/health/readiness}
  rolling: {max_surge: 1, max_unavailable: 0, min_ready_seconds: 10, timeout: 10m}
  service: {enabled: true, port: 80}
  autoscale: {enabled: false, min: 2, max: 10, cpu: 70}
  config: {from: config/, mount: /config}
environments:
  test: {kubernetes: {replicas: 1}}
  prod: {cluster: {context: prod}, kubernetes: {namespace: trade, autoscale: {enabled: true}, args: [--spring.profiles.active=prod]}}
";
    let case = Case { variables: &[("CI_ENVIRONMENT_NAME", "prod")], file: text, flags: &[] };
    let settings = case.good().settings;
    assert_eq!((settings.build.jdk, settings.image.port), (Some(17), Some(8080)));
    assert_eq!(settings.kubernetes.resources.requests.cpu.unwrap().as_str(), "250m");
    assert_eq!(settings.kubernetes.args, ["--spring.profiles.active=prod"]);
    assert!(settings.kubernetes.autoscale.enabled);
    assert_eq!(settings.cluster.context.as_deref(), Some("prod"));
}

#[test]
fn scalars_stay_what_was_written() {
    let text = "image: {tag: 1.10, extra_tags: [010, 1_0]}\nkubernetes: {env: {A: yes, B: 0x1F, C: 'null', D: no, E: '', F: 2024-01-01}, security: off, replicas: 3}\nbuild: {tests: False}\n";
    let settings = file(text).good().settings;
    assert_eq!(settings.image.tag.as_deref(), Some("1.10"));
    assert_eq!(settings.image.extra_tags, ["010", "1_0"]);
    let env: Vec<&str> = settings.kubernetes.env.values().map(String::as_str).collect();
    assert_eq!(env, ["yes", "0x1F", "null", "no", "", "2024-01-01"]);
    assert!(!settings.build.tests);
    assert_eq!(settings.kubernetes.replicas, Some(3));
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "environments:\n  test: &base {kubernetes: {replicas: 1, jvm: [-Xa]}}\n  prod:\n    <<: *base\n    app: big\n";
    let case = Case { variables: &[("SHIPWAY_ENVIRONMENT", "prod")], file: text, flags: &[] };
    let settings = case.good().settings;
    assert_eq!((settings.kubernetes.replicas, settings.app.as_deref()), (Some(1), Some("big")));
}

#[test]
fn probes_are_paths_words_or_whole() {
    use super::ProbeSetting::{Custom, Off, Path, Tcp};
    let text = "kubernetes:\n  probes:\n    readiness: {httpGet: {path: /up, port: 9000}, periodSeconds: 5}\n    liveness: off\n    startup: tcp\n";
    let probes = file(text).good().settings.kubernetes.probes;
    let whole = serde_json::json!({"httpGet": {"path": "/up", "port": 9000}, "periodSeconds": 5});
    assert_eq!(probes.readiness, Some(Custom(whole.as_object().unwrap().clone())));
    assert_eq!((probes.liveness, probes.startup), (Some(Off), Some(Tcp)));
    let path = Case { variables: &[("PLUGIN_KUBERNETES_PROBES_READINESS", "/up")], ..Case::default() }.good();
    assert_eq!(path.settings.kubernetes.probes.readiness, Some(Path("/up".into())));
    file("kubernetes: {probes: {readiness: up}}").bad(
        "shipway.yaml:1:34: kubernetes.probes.readiness is \"up\": this is no probe (write a path that starts with /, tcp, off, or a whole probe as Kubernetes has it)",
    );
}

#[test]
fn mistakes_have_line_column_and_fix() {
    for (text, expected) in [
        (
            "kubernetes:\n  rolling:\n    maxSurge: 1\n",
            "shipway.yaml:3:5: kubernetes.rolling.maxSurge is not a setting (did you mean kubernetes.rolling.max_surge?)",
        ),
        ("replicas: 2\n", "shipway.yaml:1:1: replicas is not a setting (did you mean kubernetes.replicas?)"),
        (
            "xyzzy: 2\n",
            "shipway.yaml:1:1: xyzzy is not a setting (the file has: command, app, line, kind, environment, publish, comment, status, source, build, maven, registry, image, cluster, kubernetes, rebase, rollback, scale, remove, unstick, logs, lock, forge, notify, center, queue, ledger, rules, identity, worker, report, log, help)",
        ),
        (
            "image:\n  port: 70000\n",
            "shipway.yaml:2:9: image.port is \"70000\", which is not a whole number from 1 to 65535 (write a whole number from 1 to 65535)",
        ),
        (
            "kubernetes: {autoscale: true}\n",
            "shipway.yaml:1:25: kubernetes.autoscale is a single value, where keys are wanted (write its keys below it: enabled, min, max, cpu, …)",
        ),
        ("app: [a]\n", "shipway.yaml:1:6: app is a list, not a single value (write app: VALUE)"),
        ("build: {args: {a: b}}\n", "shipway.yaml:1:15: build.args is a map, not a list (write build.args: [one, two])"),
        ("build: {args: [[a]]}\n", "shipway.yaml:1:15: build.args holds a list, where a text is wanted (write build.args: [one, two])"),
        (
            "kubernetes: {env: [A]}\n",
            "shipway.yaml:1:19: kubernetes.env is a list, where a map is wanted (write it as JSON, such as {\"NAME\": \"value\"}, or as a map in the file)",
        ),
        (
            "kubernetes: {env: {1A: b}}\n",
            "shipway.yaml:1:24: kubernetes.env.1A: \"1A\" cannot be the name of a variable (use letters, digits, _ . and -, not starting with a digit)",
        ),
        (
            "log: {level: inof}\n",
            "shipway.yaml:1:14: log.level is \"inof\", which it does not take (did you mean info? it takes error, warn, info, debug, trace)",
        ),
        (
            "build: {timeout: soon}\n",
            "shipway.yaml:1:18: build.timeout is \"soon\": this is not a duration (write it like 90s, 10m or 1h30m)",
        ),
        ("publish: maybe\n", "shipway.yaml:1:10: publish is \"maybe\", which it does not take (it takes auto, true, false)"),
        ("app: a\napp: b\n", "shipway.yaml:2:1: app stands twice in the same map (keep one of them)"),
        (
            "environments: [prod]\n",
            "shipway.yaml:1:15: environments is a list, where a map is wanted (write a name below it, and keys below that)",
        ),
        ("app: !secret b\n", "shipway.yaml:1:6: the tag !secret is not understood (remove the tag)"),
        ("app: a\n---\napp: b\n", "shipway.yaml:2:1: there is a second document (keep one document in the file)"),
        ("- a\n", "shipway.yaml:1:1: the file is a list, where keys are wanted (write its keys below it: command, app, line, kind, …)"),
    ] {
        file(text).bad(expected);
    }
}

#[test]
fn what_is_baked_into_the_image_cannot_differ() {
    file("environments:\n  prod:\n    image:\n      port: 1\n      tag: x\n    environment: y\n    app: fine\n").load().err().map(|mistakes| {
        let found: Vec<String> = mistakes.0.iter().map(|m| format!("{m} ({})", m.fix)).collect();
        assert_eq!(
            found,
            [
                "shipway.yaml:4:13: image.port cannot differ by environment (set it at the top of the file: it is baked into the image, and one digest travels from test to production)",
                "shipway.yaml:6:18: environment cannot differ by environment (set it at the top of the file, or by a variable)"
            ]
        );
    }).unwrap();
}

#[test]
fn relations_between_keys() {
    for (text, expected) in [
        (
            "image: {target: app}\n",
            "shipway.yaml:1:17: image.target is for a Dockerfile of your own, and image.dockerfile is not set (set image.dockerfile, or remove it: image.env, image.jvm and image.args go into the generated one)",
        ),
        (
            "image: {build_args: {A.B: x}}\n",
            "shipway.yaml:1:27: image.build_args.A.B is for a Dockerfile of your own, and image.dockerfile is not set (set image.dockerfile, or remove it: image.env, image.jvm and image.args go into the generated one)",
        ),
        (
            "kubernetes: {autoscale: {min: 20}}\n",
            "shipway.yaml:1:31: kubernetes.autoscale.min is 20, more than kubernetes.autoscale.max, which is 10 (make max at least as great as min)",
        ),
        (
            "kubernetes: {rolling: {max_surge: 0%}}\n",
            "shipway.yaml:1:35: kubernetes.rolling.max_surge and kubernetes.rolling.max_unavailable are both 0, so no pod could ever be replaced (make one of them 1 or more)",
        ),
        (
            "kubernetes: {rolling: {timeout: 5s}}\n",
            "shipway.yaml:1:33: kubernetes.rolling.timeout ends before a pod was ready for 10 seconds (raise the timeout, or lower min_ready_seconds)",
        ),
        (
            "kubernetes: {rolling: {budgets: {unschedulable: 15m}}}\n",
            "shipway.yaml:1:49: kubernetes.rolling.budgets.unschedulable is longer than the whole rollout may take, which is 10m (raise kubernetes.rolling.timeout, or lower the budget)",
        ),
        (
            "kubernetes: {resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}}\n",
            "shipway.yaml:1:45: kubernetes.resources.requests.memory is 2Gi, more than the limit, which is 1Gi (raise the limit, or lower the request)",
        ),
        (
            "build: {command: [make]}\n",
            "shipway.yaml:1:18: build.command is set, but not what it makes (set build.artifact to the jar, or image.dockerfile)",
        ),
        (
            "lock: {backend: zookeeper}\n",
            "shipway.yaml:1:17: lock.backend is zookeeper, but center.url names none (set center.url to zookeeper://HOST:PORT)",
        ),
        (
            "registry: {url: a.test}\nimage: {repository: team/app}\n",
            "shipway.yaml:2:21: image.repository is on docker.io, but registry.url is a.test (write image.repository with a.test/ in front, or remove one of the two)",
        ),
        (
            "center: {url: 'etcd://h1:2379'}\n",
            "shipway.yaml:1:15: center.url is no configuration centre (write kubernetes, or zookeeper://HOST:PORT/PATH)",
        ),
        ("lock: {ttl: 1s}\n", "shipway.yaml:1:13: lock.ttl is too short to be renewed in time (write 5s or more)"),
    ] {
        file(text).bad(expected);
    }
    file("kubernetes: {rolling: {max_surge: 0, max_unavailable: 25%}}\n").good();
    file("build: {command: [make]}\nkind: library\n").good();
}

#[test]
fn secrets_stay_out_of_files() {
    let mistakes = file("registry:\n  username: u\n  password: hunter2hunter2\nqueue: {url: 'amqp://u:hunter2hunter2@mq.test'}\nnotify: {url: 'https://hooks.test/hunter2hunter2'}\n").mistakes();
    assert_eq!(mistakes.len(), 3);
    assert!(!mistakes.concat().contains("hunter2"), "{mistakes:?}");
    assert_eq!(
        mistakes[0],
        "shipway.yaml:3:13: registry.password is secret and must not stand in a file (set SHIPWAY_REGISTRY_PASSWORD or SHIPWAY_REGISTRY_PASSWORD_FILE, and renew the secret)"
    );
    file("queue: {url: 'amqp://mq.test'}\n").shows("queue.url", "amqp://mq.test", "shipway.yaml");
}

#[test]
fn bombs_are_refused_quickly() {
    let laughs: String = (1..9).map(|i| format!("k{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "))).collect();
    let bomb = format!("k0: &a0 [x, x]\n{laughs}");
    let begun = std::time::Instant::now();
    let mistakes = file(&bomb).mistakes();
    assert!(mistakes[0].contains("there are more than 10000 values, aliases included"), "{mistakes:?}");
    let deep = file(&format!("app: {}x{}\n", "[".repeat(60), "]".repeat(60))).mistakes();
    assert!(deep[0].contains("deeper than 24 levels"), "{deep:?}");
    let large = file(&format!("app: a\n#{}", "x".repeat(300 * 1024))).mistakes();
    assert!(large[0].contains("is larger than 256 KiB"), "{large:?}");
    let own = file("app: &a [*a]\n").mistakes();
    assert!(own[0].starts_with("shipway.yaml:1:10: "), "{own:?}");
    let broken = file("app: [a\nline: 'x\n").mistakes();
    assert!(broken[0].contains("this is not YAML"), "{broken:?}");
    assert!(begun.elapsed().as_secs_f64() < 5.0, "{:?}", begun.elapsed());
}

#[test]
fn no_file_can_pass_for_what_the_company_has_set() {
    let dir = tempfile::tempdir().unwrap();
    let name = crate::settings::company_name("a");
    std::fs::write(dir.path().join(&name), "app: a\nline: ours\n").unwrap();
    let company = vec![(name.clone(), r#"{"kind": "service"}"#.to_string())];
    let input = Input { file: Some(dir.path().join(&name)), dir: dir.path().into(), company, ..Input::default() };
    let loaded = load(&input).unwrap_or_else(|m| panic!("{}", m.0[0]));
    let source = |key: &str| loaded.sources.iter().find(|sourced| sourced.key == key).unwrap().source.clone();
    assert_eq!(source("kind"), Source::Company(name));
    assert!(matches!(source("line"), Source::File { .. }), "{:?}", source("line"));
}

#[test]
fn another_file_may_be_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.yml");
    let read = |path: &std::path::Path| load(&Input { file: Some(path.into()), dir: dir.path().into(), ..Input::default() });
    let missing = read(&path).err().unwrap();
    assert!(missing.0[0].what.contains("cannot be read"), "{}", missing.0[0]);
    assert_eq!(missing.0[0].code, crate::domain::problem::Code::FileUnreadable);
    std::fs::write(&path, "app: other\n").unwrap();
    assert_eq!(read(&path).unwrap_or_else(|m| panic!("{}", m.0[0])).settings.app.as_deref(), Some("other"));
    std::fs::write(&path, b"app: \xff\n").unwrap();
    assert!(read(&path).err().unwrap().0[0].what.contains("not UTF-8"));
}

#[test]
fn check_looks_at_every_section_once() {
    let text = "kubernetes: {autoscale: {max: 1}}\nenvironments:\n  a: {image: {port: 1}}\n  b: {kubernetes: {autoscale: {min: 1}}}\n  c: {nme: x}\n";
    let found: Vec<String> =
        check(text, "shipway.yaml").iter().map(|m| format!("{}:{}", m.place.as_ref().unwrap().line, m.setting)).collect();
    assert_eq!(found, ["1:kubernetes.autoscale.max", "3:image.port", "5:nme"]);
    assert!(check("app: fine\n", "shipway.yaml").is_empty());
    assert!(check(&"# long\n".repeat(100_000), "shipway.yaml")[0].what.contains("larger than 256 KiB"));
}

#[test]
fn a_link_out_of_the_checkout_is_not_read() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(other.path().join("secret"), "app: elsewhere\n").unwrap();
    let link = dir.path().join("shipway.yaml");
    std::os::unix::fs::symlink(other.path().join("secret"), &link).unwrap();
    let read = || load(&Input { dir: dir.path().into(), ..Input::default() });
    let refused = read().err().unwrap().0;
    assert!(refused.len() == 1 && refused[0].what.contains("leaves the checkout"), "{}", refused[0]);
    std::fs::remove_file(&link).unwrap();
    std::fs::write(dir.path().join("ci.yaml"), "app: here\n").unwrap();
    std::os::unix::fs::symlink("ci.yaml", &link).unwrap();
    assert_eq!(read().unwrap_or_else(|m| panic!("{}", m.0[0])).settings.app.as_deref(), Some("here"));
}

/// What a worker's build is started with, and what else its worker has set.
fn in_a_worker(file: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let variables: Vec<(&str, &str)> = [("_SHIPWAY_WORKER", "1")].iter().chain(variables).copied().collect();
    let case = Case { variables: &variables, file, ..Case::default() };
    case.load().map_err(|mistakes| mistakes.0.iter().map(|mistake| format!("{mistake} ({})", mistake.fix)).collect())
}

#[test]
fn a_repository_leads_no_credential_of_a_worker_anywhere() {
    for (key, text) in [
        ("cluster.server", "cluster: {server: 'https://evil.test'}"),
        ("cluster.context", "environments: {prod: {cluster: {context: other}}}"),
        ("cluster.in_cluster", "cluster: {in_cluster: true}"),
        ("forge.url", "forge: {url: 'https://evil.test'}"),
        ("registry.url", "registry: {url: evil.test}"),
        ("registry.insecure", "registry: {insecure: true}"),
        ("image.repository", "image: {repository: evil.test/a/b}"),
        ("image.engine", "image: {engine: docker}"),
        ("maven.url", "maven: {url: 'https://evil.test'}"),
        ("maven.mirror", "maven: {mirror: 'https://evil.test'}"),
        ("queue.url", "queue: {url: 'amqp://evil.test'}"),
        ("center.url", "center: {url: 'zookeeper://evil.test:2181'}"),
        ("build.env", "build: {env: [DOCKER_HOST]}"),
        ("worker.refs", "worker: {refs: ['*']}"),
        ("source.url", "source: {url: 'https://evil.test/x'}"),
    ] {
        let mistakes = in_a_worker(text, &[("SHIPWAY_ENVIRONMENT", "prod")]).err().unwrap_or_else(|| panic!("{text} was taken"));
        let expected = format!("{key} cannot be set by a repository that a worker builds");
        assert!(mistakes.len() == 1 && mistakes[0].contains(&expected) && mistakes[0].starts_with("shipway.yaml:1:"), "{mistakes:?}");
        assert!(mistakes[0].contains(&format!("SHIPWAY_{}", key.replace('.', "_").to_uppercase())), "{mistakes:?}");
        assert!(Case { file: text, variables: &[("SHIPWAY_ENVIRONMENT", "prod")], ..Case::default() }.load().is_ok(), "{text}: a CI step");
    }
}

#[test]
fn what_the_worker_or_the_company_says_wins_over_the_repository() {
    let text = "cluster: {server: 'https://evil.test'}\n";
    let loaded = in_a_worker(text, &[("SHIPWAY_CLUSTER_SERVER", "https://ours.test")]).unwrap_or_else(|m| panic!("{m:?}"));
    assert_eq!(loaded.settings.cluster.server.as_deref(), Some("https://ours.test"));
    let loaded = in_a_worker("environments: {prod: {}, test: {cluster: {context: x}}}", &[("SHIPWAY_ENVIRONMENT", "prod")]);
    assert!(loaded.is_ok(), "a section that does not apply");
    let company = vec![(crate::settings::company_name("*"), r#"{"cluster": {"context": "ours"}}"#.to_string())];
    let environment = vec![("_SHIPWAY_WORKER".to_string(), "1".to_string())];
    let loaded = load(&Input { company, environment, ..Input::default() }).unwrap_or_else(|m| panic!("{}", m.0[0]));
    assert_eq!(loaded.settings.cluster.context.as_deref(), Some("ours"));
}
