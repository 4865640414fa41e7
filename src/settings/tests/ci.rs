//! Environments as the CI servers make them, reduced to what matters.

use super::{Ci, CiEvent, CiKind, Loaded, Source, variables};

const GITLAB: &[(&str, &str)] = &[
    ("CI", "true"),
    ("GITLAB_CI", "true"),
    ("CI_API_V4_URL", "https://gitlab.example.test/api/v4"),
    ("CI_COMMIT_AUTHOR", "Ada Lovelace <ada@example.test>"),
    ("CI_COMMIT_SHA", "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b"),
    ("CI_COMMIT_TIMESTAMP", "2026-01-02T03:04:05+00:00"),
    ("CI_COMMIT_TITLE", "Add orders"),
    ("CI_DEFAULT_BRANCH", "main"),
    ("CI_JOB_ID", "99"),
    ("CI_JOB_NAME", "publish"),
    ("CI_JOB_TOKEN", "glcbt-job-token"),
    ("CI_JOB_URL", "https://gitlab.example.test/trade/order-service/-/jobs/99"),
    ("CI_PIPELINE_ID", "4711"),
    ("CI_PIPELINE_URL", "https://gitlab.example.test/trade/order-service/-/pipelines/4711"),
    ("CI_PROJECT_DIR", "/builds/trade/order-service"),
    ("CI_PROJECT_ID", "7"),
    ("CI_PROJECT_NAME", "order-service"),
    ("CI_PROJECT_PATH", "trade/order-service"),
    ("CI_PROJECT_URL", "https://gitlab.example.test/trade/order-service"),
    ("CI_REGISTRY", "registry.example.test"),
    ("CI_REGISTRY_IMAGE", "registry.example.test/trade/order-service"),
    ("CI_REGISTRY_PASSWORD", "glcbt-job-token"),
    ("CI_REGISTRY_USER", "gitlab-ci-token"),
    ("CI_SERVER_HOST", "gitlab.example.test"),
    ("CI_SERVER_PORT", "443"),
];

fn with(common: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]) -> Loaded {
    let all: Vec<(&str, &str)> = common.iter().chain(more).copied().collect();
    variables(&all).good()
}

fn gitlab(more: &[(&'static str, &'static str)]) -> Loaded {
    with(GITLAB, more)
}

fn source(loaded: &Loaded, key: &str) -> String {
    loaded.sources.iter().find(|sourced| sourced.key == key).map(|sourced| sourced.source.to_string()).unwrap_or_default()
}

#[test]
fn gitlab_branch() {
    let loaded = gitlab(&[
        ("CI_COMMIT_BRANCH", "main"),
        ("CI_COMMIT_REF_NAME", "main"),
        ("CI_PIPELINE_SOURCE", "push"),
        ("CI_OPEN_MERGE_REQUESTS", ""),
    ]);
    let ci = &loaded.ci;
    assert_eq!((ci.kind, &ci.event), (CiKind::Gitlab, &CiEvent::Push));
    assert!(ci.on_default_branch() && !ci.is_fork() && ci.sections && ci.merge_request.is_none());
    assert_eq!((ci.pipeline_id, ci.commit.time), (Some(4711), Some(1_767_323_045)));
    assert_eq!((ci.commit.author.as_deref(), ci.commit.author_email.as_deref()), (Some("Ada Lovelace"), Some("ada@example.test")));
    assert_eq!(ci.project.clone_url.as_deref(), Some("https://gitlab.example.test/trade/order-service.git"));
    assert_eq!(ci.registry.as_ref().unwrap().token_server.as_deref(), Some("gitlab.example.test:443"));
    let registry = &loaded.settings.registry;
    assert_eq!((registry.url.as_deref(), registry.username.as_deref()), (Some("registry.example.test"), Some("gitlab-ci-token")));
    assert_eq!(source(&loaded, "registry.password"), "CI_REGISTRY_PASSWORD");
    // The job's token dies with the job: it never pulls for the cluster.
    assert!(registry.pull_username.is_none() && registry.pull_password.is_none());
    assert_eq!(ci.registry.as_ref().unwrap().image.as_deref(), Some("registry.example.test/trade/order-service"));
}

#[test]
fn gitlab_tag() {
    let ci = gitlab(&[("CI_COMMIT_TAG", "v1.2.3"), ("CI_COMMIT_REF_NAME", "v1.2.3"), ("CI_PIPELINE_SOURCE", "push")]).ci;
    assert_eq!((ci.event.clone(), ci.commit.tag.as_deref(), ci.commit.branch.as_deref()), (CiEvent::Tag, Some("v1.2.3"), None));
    assert!(!ci.on_default_branch());
}

#[test]
fn gitlab_merge_request_of_the_same_project() {
    let ci = gitlab(&[
        ("CI_PIPELINE_SOURCE", "merge_request_event"),
        ("CI_COMMIT_REF_NAME", "feature"),
        ("CI_MERGE_REQUEST_IID", "12"),
        ("CI_MERGE_REQUEST_PROJECT_ID", "7"),
        ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "7"),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "feature"),
        ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
    ])
    .ci;
    let request = ci.merge_request.clone().unwrap();
    assert_eq!((request.number, request.fork, request.project.as_deref()), (12, Some(false), Some("7")));
    assert!(!ci.is_fork() && !ci.on_default_branch());
}

#[test]
fn gitlab_merge_request_of_a_fork() {
    let ci = gitlab(&[
        ("CI_PIPELINE_SOURCE", "merge_request_event"),
        ("CI_MERGE_REQUEST_IID", "12"),
        ("CI_MERGE_REQUEST_PROJECT_ID", "7"),
        ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "31"),
    ])
    .ci;
    assert!(ci.is_fork());
    assert_eq!(ci.merge_request.unwrap().project.as_deref(), Some("7"));
    // Without a word on where it comes from it is foreign.
    let unsaid = gitlab(&[("CI_MERGE_REQUEST_IID", "12"), ("CI_MERGE_REQUEST_PROJECT_ID", "7")]).ci;
    assert!(unsaid.is_fork());
}

#[test]
fn gitlab_branch_with_an_open_merge_request() {
    let ci = gitlab(&[("CI_COMMIT_BRANCH", "feature"), ("CI_OPEN_MERGE_REQUESTS", "trade/order-service!333,other/fork!1")]).ci;
    let request = ci.merge_request.unwrap();
    assert_eq!((request.number, request.project.as_deref(), request.fork), (333, Some("trade/order-service"), Some(false)));
}

#[test]
fn gitlabs_kinds_of_pipelines() {
    // detached, of the merged result, and of a train: the commit is GitLab's own, its ref is no branch
    for (kind, reference) in [
        ("detached", "refs/merge-requests/12/head"),
        ("merged_result", "refs/merge-requests/12/merge"),
        ("merge_train", "refs/merge-requests/12/train"),
    ] {
        let ci = gitlab(&[
            ("CI_PIPELINE_SOURCE", "merge_request_event"),
            ("CI_MERGE_REQUEST_EVENT_TYPE", kind),
            ("CI_MERGE_REQUEST_REF_PATH", reference),
            ("CI_COMMIT_REF_NAME", reference),
            ("CI_MERGE_REQUEST_IID", "12"),
            ("CI_MERGE_REQUEST_PROJECT_ID", "7"),
            ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "7"),
        ])
        .ci;
        assert_eq!((&ci.event, ci.merge_request.as_ref().unwrap().number), (&CiEvent::MergeRequest, 12), "{kind}");
        assert!(!ci.on_default_branch() && !ci.is_fork(), "{kind}");
    }
    for (source, event) in
        [("schedule", CiEvent::Schedule), ("web", CiEvent::Manual), ("api", CiEvent::Manual), ("trigger", CiEvent::Manual)]
    {
        let ci = gitlab(&[("CI_PIPELINE_SOURCE", source), ("CI_COMMIT_BRANCH", "main"), ("CI_COMMIT_REF_NAME", "main")]).ci;
        assert!(ci.event == event && ci.on_default_branch(), "{source}");
    }
    assert_eq!(gitlab(&[("CI_PIPELINE_SOURCE", "parent_pipeline")]).ci.event, CiEvent::Other("parent_pipeline".to_string()));
}

#[test]
fn gitlabs_deploy_token_pulls() {
    let loaded = gitlab(&[("CI_DEPLOY_USER", "gitlab+deploy-token-1"), ("CI_DEPLOY_PASSWORD", "gldt-secret")]);
    let registry = &loaded.settings.registry;
    assert_eq!(registry.pull_username.as_deref(), Some("gitlab+deploy-token-1"));
    assert_eq!(registry.pull_password.as_ref().unwrap().expose(), "gldt-secret");
    assert_eq!(source(&loaded, "registry.pull_username"), "CI_DEPLOY_USER");
    let own = gitlab(&[("CI_DEPLOY_USER", "x"), ("CI_DEPLOY_PASSWORD", "gldt-secret"), ("SHIPWAY_REGISTRY_PULL_USERNAME", "mine")]);
    assert!(own.settings.registry.pull_password.is_none());
}

#[test]
fn gitlabs_credentials_go_to_gitlabs_registry_alone() {
    for more in [
        [("SHIPWAY_REGISTRY_URL", "other.example.test"), ("CI_DEPLOY_USER", "x")],
        [("PLUGIN_REPO", "other.example.test/team/app"), ("CI_DEPLOY_USER", "x")],
    ] {
        let registry = gitlab(&more).settings.registry;
        assert_ne!(registry.url.as_deref(), Some("registry.example.test"));
        assert!(registry.username.is_none() && registry.password.is_none());
    }
    // Half a pair of one's own is not completed with GitLab's other half.
    let half = gitlab(&[("SHIPWAY_REGISTRY_USERNAME", "mine")]).settings.registry;
    assert!(half.password.is_none());
    let same = gitlab(&[("SHIPWAY_REGISTRY_URL", "registry.example.test/trade")]).settings.registry;
    assert_eq!((same.url.as_deref(), same.username.as_deref()), (Some("registry.example.test/trade"), Some("gitlab-ci-token")));
}

#[test]
fn gitlabs_environment_namespace_and_ca() {
    let loaded = gitlab(&[
        ("CI_ENVIRONMENT_NAME", "prod"),
        ("KUBE_NAMESPACE", "trade-prod"),
        ("KUBECONFIG", "/builds/trade/.kube"),
        ("CI_SERVER_TLS_CA_FILE", "/builds/ca.pem"),
    ]);
    assert_eq!(loaded.settings.environment.as_deref(), Some("prod"));
    assert_eq!(loaded.settings.kubernetes.namespace.as_deref(), Some("trade-prod"));
    assert_eq!(loaded.settings.cluster.kubeconfig.as_deref(), Some("/builds/trade/.kube"));
    assert_eq!(source(&loaded, "cluster.kubeconfig"), "KUBECONFIG");
    assert_eq!(loaded.settings.registry.ca.as_deref(), Some(std::path::Path::new("/builds/ca.pem")));
    let named = gitlab(&[("KUBECONFIG", "/builds/trade/.kube"), ("SHIPWAY_CLUSTER_SERVER", "https://k8s.example.test")]);
    assert_eq!(named.settings.cluster.kubeconfig, None);
}

#[test]
fn a_kubeconfigs_content_is_neither_taken_for_a_name_nor_shown() {
    let content = "apiVersion: v1\nusers: [{user: {token: hunter2hunter2}}]\n";
    for name in ["KUBECONFIG", "PLUGIN_CLUSTER_KUBECONFIG", "SHIPWAY_CLUSTER_CA", "PLUGIN_CLUSTER"] {
        let json = serde_json::json!({"kubeconfig": content}).to_string();
        let value = if name == "PLUGIN_CLUSTER" { json.as_str() } else { content };
        let mistakes = variables(&[(name, value)]).mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains("name") && mistakes[0].contains("variable of type File"), "{mistakes:?}");
        assert!(name.ends_with("CA") || !mistakes[0].contains("hunter2"), "{mistakes:?}");
    }
}

const DRONE: &[(&str, &str)] = &[
    ("CI", "true"),
    ("DRONE", "true"),
    ("DRONE_BUILD_LINK", "https://drone.example.test/trade/order-service/42"),
    ("DRONE_BUILD_NUMBER", "42"),
    ("DRONE_CARD_PATH", "/dev/stdout"),
    ("DRONE_COMMIT_AUTHOR", "ada"),
    ("DRONE_COMMIT_AUTHOR_NAME", ""),
    ("DRONE_COMMIT_BRANCH", "main"),
    ("DRONE_COMMIT_MESSAGE", "Add orders\n\nlong text\n"),
    ("DRONE_COMMIT_SHA", "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b"),
    ("DRONE_DEPLOY_TO", ""),
    ("DRONE_GIT_HTTP_URL", "https://git.example.test/trade/order-service.git"),
    ("DRONE_OUTPUT", "/tmp/drone.env"),
    ("DRONE_REPO", "trade/order-service"),
    ("DRONE_REPO_BRANCH", "main"),
    ("DRONE_REPO_LINK", "https://git.example.test/trade/order-service"),
    ("DRONE_REPO_NAME", "order-service"),
    ("DRONE_STEP_NAME", "ship"),
    ("DRONE_STEP_NUMBER", "2"),
    ("DRONE_TARGET_BRANCH", "main"),
];

fn drone(more: &[(&'static str, &'static str)]) -> Ci {
    with(DRONE, more).ci
}

#[test]
fn drone_push() {
    let ci = drone(&[("DRONE_BUILD_EVENT", "push"), ("DRONE_COMMIT_REF", "refs/heads/main")]);
    assert_eq!((ci.kind, &ci.event, ci.pipeline_id), (CiKind::Drone, &CiEvent::Push, Some(42)));
    assert!(ci.on_default_branch() && !ci.sections && ci.merge_request.is_none());
    assert_eq!((ci.commit.author.as_deref(), ci.commit.title.as_deref()), (Some("ada"), Some("Add orders")));
    assert_eq!(ci.card_path.as_deref(), Some(std::path::Path::new("/dev/stdout")));
    assert!(ci.output_path.is_some());
}

#[test]
fn drone_tag() {
    let ci = drone(&[("DRONE_BUILD_EVENT", "tag"), ("DRONE_COMMIT_REF", "refs/tags/v1"), ("DRONE_TAG", "v1")]);
    assert_eq!((&ci.event, ci.commit.tag.as_deref(), ci.commit.branch.as_deref()), (&CiEvent::Tag, Some("v1"), None));
}

#[test]
fn drone_pull_request() {
    let ci = drone(&[
        ("DRONE_BUILD_EVENT", "pull_request"),
        ("DRONE_COMMIT_REF", "refs/pull/12/head"),
        ("DRONE_PULL_REQUEST", "12"),
        ("DRONE_SOURCE_BRANCH", "feature"),
    ]);
    // The branch that Drone names is the target: it was not pushed.
    assert!(!ci.on_default_branch() && ci.is_fork());
    assert_eq!(ci.unsaid_origin(), Some(12));
    let request = ci.merge_request.unwrap();
    assert_eq!(
        (request.number, request.source_branch.as_deref(), request.project.as_deref()),
        (12, Some("feature"), Some("trade/order-service"))
    );
    assert_eq!(ci.commit.reference.as_deref(), Some("feature"));
}

#[test]
fn drone_promotion() {
    let environment: Vec<(&str, &str)> = DRONE.iter().filter(|(name, _)| *name != "DRONE_DEPLOY_TO").copied().collect();
    let loaded =
        with(&environment, &[("DRONE_BUILD_EVENT", "promote"), ("DRONE_DEPLOY_TO", "production"), ("DRONE_COMMIT_REF", "refs/heads/main")]);
    assert_eq!(loaded.ci.event, CiEvent::Deployment);
    assert_eq!(loaded.settings.environment.as_deref(), Some("production"));
    assert_eq!(source(&loaded, "environment"), Source::Ci("DRONE_DEPLOY_TO".into()).to_string());
}

const WOODPECKER: &[(&str, &str)] = &[
    ("CI", "woodpecker"),
    ("CI_COMMIT_AUTHOR", "ada"),
    ("CI_COMMIT_BRANCH", "main"),
    ("CI_COMMIT_MESSAGE", "Add orders"),
    ("CI_COMMIT_SHA", "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b"),
    ("CI_FORGE_URL", "https://git.example.test"),
    ("CI_PIPELINE_NUMBER", "8"),
    ("CI_PIPELINE_URL", "https://ci.example.test/repos/7/pipeline/8"),
    ("CI_REPO", "trade/order-service"),
    ("CI_REPO_CLONE_URL", "https://git.example.test/trade/order-service.git"),
    ("CI_REPO_DEFAULT_BRANCH", "main"),
    ("CI_REPO_NAME", "order-service"),
    ("CI_REPO_URL", "https://git.example.test/trade/order-service"),
    ("CI_STEP_URL", "https://ci.example.test/repos/7/pipeline/8/3"),
    // Woodpecker sets Drone's variables too: they do not make it Drone.
    ("DRONE", "true"),
];

#[test]
fn woodpecker_push() {
    let ci = with(WOODPECKER, &[("CI_PIPELINE_EVENT", "push")]).ci;
    assert_eq!((ci.kind, &ci.event, ci.pipeline_id), (CiKind::Woodpecker, &CiEvent::Push, Some(8)));
    assert!(ci.on_default_branch());
    assert_eq!(ci.job_url.as_deref(), Some("https://ci.example.test/repos/7/pipeline/8/3"));
}

#[test]
fn woodpecker_pull_request() {
    let ci = with(
        WOODPECKER,
        &[
            ("CI_PIPELINE_EVENT", "pull_request"),
            ("CI_COMMIT_PULL_REQUEST", "3"),
            ("CI_COMMIT_SOURCE_BRANCH", "x"),
            ("CI_COMMIT_TARGET_BRANCH", "main"),
        ],
    )
    .ci;
    assert!(ci.is_fork() && !ci.on_default_branch());
    assert_eq!(ci.merge_request.unwrap().number, 3);
}

#[test]
fn woodpecker_deployment() {
    let loaded = with(WOODPECKER, &[("CI_PIPELINE_EVENT", "deployment"), ("CI_PIPELINE_DEPLOY_TARGET", "prod")]);
    assert_eq!((loaded.ci.event, loaded.settings.environment.as_deref()), (CiEvent::Deployment, Some("prod")));
}

#[test]
fn what_a_clock_or_a_person_starts() {
    for (event, expected) in [("cron", CiEvent::Schedule), ("custom", CiEvent::Manual), ("rollback", CiEvent::Rollback)] {
        assert_eq!(drone(&[("DRONE_BUILD_EVENT", event), ("DRONE_COMMIT_REF", "refs/heads/main")]).event, expected, "Drone's {event}");
    }
    for (event, expected) in [("cron", CiEvent::Schedule), ("manual", CiEvent::Manual)] {
        let ci = with(WOODPECKER, &[("CI_PIPELINE_EVENT", event)]).ci;
        assert!(ci.event == expected && ci.on_default_branch(), "Woodpecker's {event}: {:?}", ci.event);
    }
}

#[test]
fn a_plain_shell() {
    let loaded = variables(&[("PATH", "/usr/bin"), ("LANG", "C.UTF-8")]).good();
    assert_eq!((loaded.ci.kind, loaded.ci.event), (CiKind::Shell, CiEvent::Unknown));
    assert!(loaded.ci.pipeline_id.is_none() && loaded.ci.registry.is_none());
    // An unknown CI that says CI=true is no known one.
    assert_eq!(variables(&[("CI", "true"), ("CI_COMMIT_SHA", "x")]).good().ci.kind, CiKind::Shell);
}

#[test]
fn the_jobs_own_image_fetches_pushed_files_when_it_is_one_of_ours() {
    let pushed = ("SHIPWAY_KUBERNETES_CONFIG_PUSHED", "true");
    let image = |more: &[(&'static str, &'static str)]| gitlab(more).settings.kubernetes.config.image;
    let ours = ("CI_JOB_IMAGE", "registry.example.test/tools/shipway-maven:1");
    assert_eq!(image(&[pushed, ours]).as_deref(), Some(ours.1));
    assert_eq!(image(&[ours]), None, "nobody asked for it");
    assert_eq!(image(&[pushed, ("CI_JOB_IMAGE", "maven:3-shipway")]), None);
    let named = ("SHIPWAY_KUBERNETES_CONFIG_IMAGE", "mirror.example.test/shipway:2");
    assert_eq!(image(&[pushed, ours, named]).as_deref(), Some(named.1));
}
