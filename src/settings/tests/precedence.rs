use super::{Case, file};

const KEY: &str = "kubernetes.namespace";
const FLAG: &[(&str, &str)] = &[(KEY, "flag")];
const FILE: &str = "kubernetes: {namespace: top}\nenvironments: {prod: {kubernetes: {namespace: section}}}\n";
const TOP: &str = "kubernetes: {namespace: top}\n";

#[test]
fn the_strongest_source_wins() {
    let all: &[(&str, &str)] = &[
        ("PLUGIN_KUBERNETES_NAMESPACE", "plugin"),
        ("SHIPWAY_KUBERNETES_NAMESPACE", "shipway"),
        ("KUBE_NAMESPACE", "ci"),
        ("SHIPWAY_ENVIRONMENT", "prod"),
    ];
    for (variables, file, flags, value, source) in [
        (all, FILE, FLAG, "flag", "command line"),
        (all, FILE, &[][..], "plugin", "PLUGIN_KUBERNETES_NAMESPACE"),
        (&all[1..], FILE, &[], "shipway", "SHIPWAY_KUBERNETES_NAMESPACE"),
        (&all[2..], FILE, &[], "section", "shipway.yaml environments.prod"),
        (&all[2..], TOP, &[], "top", "shipway.yaml"),
        (&all[2..], "", &[], "ci", "KUBE_NAMESPACE"),
    ] {
        Case { variables, file, flags }.shows(KEY, value, source);
    }
    // Below that is what the plan finds, and then the default, of which this key has none.
    assert_eq!(Case::default().good().settings.kubernetes.namespace, None);
    Case::default().shows("kubernetes.rolling.timeout", "10m", "default");
}

#[test]
fn empty_is_not_set_at_every_level() {
    let case = Case {
        variables: &[
            ("PLUGIN_KUBERNETES_NAMESPACE", ""),
            ("SHIPWAY_KUBERNETES_NAMESPACE", "  "),
            ("SHIPWAY_ENVIRONMENT", "prod"),
            ("KUBE_NAMESPACE", ""),
        ],
        file: "kubernetes: {namespace: top}\nenvironments: {prod: {kubernetes: {namespace: ''}}}\n",
        flags: &[(KEY, "")],
    };
    case.shows(KEY, "top", "shipway.yaml");
    file("app:\nkubernetes:\n  namespace: ~\nenvironments:\n  prod:\n").good();
}

#[test]
fn maps_merge_and_lists_replace() {
    let case = Case {
        variables: &[("SHIPWAY_ENVIRONMENT", "prod"), ("PLUGIN_KUBERNETES_ENV", r#"{"C": "plugin", "D": 4}"#)],
        file: "kubernetes:\n  env: {A: top, B: top, C: top}\n  jvm: [-Xa, -Xb]\nenvironments:\n  prod: {kubernetes: {env: {B: section}, jvm: [-Xc]}}\n",
        flags: &[("kubernetes.env", r#"{"E": ""}"#)],
    };
    let kubernetes = case.good().settings.kubernetes;
    let env: Vec<(&str, &str)> = kubernetes.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "top"), ("B", "section"), ("C", "plugin"), ("D", "4"), ("E", "")]);
    assert_eq!(kubernetes.jvm, ["-Xc"]);
    case.shows("kubernetes.env.B", "section", "shipway.yaml environments.prod");
    case.shows("kubernetes.jvm", r#"["-Xc"]"#, "shipway.yaml environments.prod");
}

#[test]
fn a_leaf_beats_its_parents_json_within_one_source_only() {
    let variables: &[(&str, &str)] = &[
        ("PLUGIN_KUBERNETES", r#"{"rolling": {"timeout": "1m", "drain": "1s", "max_surge": 3}, "replicas": 4}"#),
        ("PLUGIN_KUBERNETES_ROLLING", r#"{"drain": "2s"}"#),
        ("PLUGIN_KUBERNETES_ROLLING_TIMEOUT", "2m"),
        ("SHIPWAY_KUBERNETES_REPLICAS", "9"),
    ];
    let case = Case { variables, ..Case::default() };
    case.shows("kubernetes.rolling.timeout", "2m", "PLUGIN_KUBERNETES_ROLLING_TIMEOUT");
    case.shows("kubernetes.rolling.drain", "2s", "PLUGIN_KUBERNETES_ROLLING");
    case.shows("kubernetes.rolling.max_surge", "3", "PLUGIN_KUBERNETES");
    case.shows("kubernetes.replicas", "4", "PLUGIN_KUBERNETES");
}

#[test]
fn the_last_flag_wins() {
    Case { flags: &[("app", "one"), ("app", "two")], ..Case::default() }.shows("app", "two", "command line");
    Case { flags: &[("kubernetes.rolling", r#"{"drain": "3s"}"#)], ..Case::default() }.shows(
        "kubernetes.rolling.drain",
        "3s",
        "command line",
    );
}

#[test]
fn sections_are_found_by_name_then_by_pattern() {
    let text = "environments:\n  review/*: {app: review}\n  '*': {app: any}\n  review/main: {app: main}\n";
    for (environment, app) in [("review/main", "main"), ("review/feature/x", "review"), ("prod", "any")] {
        Case { variables: &[("SHIPWAY_ENVIRONMENT", environment)], file: text, flags: &[] }.shows("app", app, &section_of(app));
    }
}

fn section_of(app: &str) -> String {
    let name = match app {
        "main" => "review/main",
        "review" => "review/*",
        _ => "*",
    };
    format!("shipway.yaml environments.{name}")
}

#[test]
fn an_environment_without_its_section_is_a_mistake() {
    let case = Case { variables: &[("CI_ENVIRONMENT_NAME", "prd")], file: "environments: {prod: {}, test: {}}\n", flags: &[] };
    case.bad(concat!(
        "CI_ENVIRONMENT_NAME: environment is \"prd\", which no section of shipway.yaml covers ",
        "(did you mean prod? it has prod, test; add a section environments.prd, or a pattern)"
    ));
    Case { variables: &[("CI_ENVIRONMENT_NAME", "prd")], file: "app: a\n", flags: &[] }.shows("environment", "prd", "CI_ENVIRONMENT_NAME");
    Case { file: "environment: dev\nenvironments: {prod: {}}\n", ..Case::default() }.bad(
        "shipway.yaml:1:14: environment is \"dev\", which no section of shipway.yaml covers (it has prod; add a section environments.dev, or a pattern)",
    );
}
