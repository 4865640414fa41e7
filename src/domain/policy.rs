//! The company's rules: what may be published where, whatever a repository says. Pure: rules and what is to be published in, every broken
//! rule out.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    permission::Permission,
    problem::{Code, Problem},
    units::parse_quantity,
};

/// A set of rules, as a file or the ledger holds it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub rules: Vec<Rule>,
    /// Names of groups, and who belongs to them.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub permissions: Vec<Permission>,
    /// Where they stand, for messages.
    #[serde(skip)]
    pub place: String,
}

/// One rule; what it does not name it does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// As it is told to those whom it denies something.
    pub name: String,
    /// For which applications, lines and environments; patterns with `*`; none are all.
    pub apps: Vec<String>,
    pub lines: Vec<String>,
    pub environments: Vec<String>,
    /// Patterns, of which the base image has to match one.
    pub base_images: Vec<String>,
    /// Labels that every pod has to have.
    pub labels: Vec<String>,
    /// The most pods, also of an autoscaler.
    pub max_replicas: Option<i64>,
    /// The most memory of one pod: the sum of its limits, which then all have to be there.
    pub max_memory: Option<String>,
    /// Settings that nobody may set, with all below them.
    pub forbidden: Vec<String>,
    /// Times in which nothing is published.
    pub freeze: Vec<Window>,
}

/// A time in which nothing is published, from its first moment to before its last.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
    #[serde(default)]
    pub reason: String,
}

/// Which application is to be published where.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    pub app: String,
    pub line: String,
    pub environment: String,
}

/// What is to be published; what is not known yet breaks no rule.
#[derive(Debug, Clone, Default)]
pub struct Proposal {
    pub now: Option<Timestamp>,
    /// Keys that somebody set, with where.
    pub settings: Vec<(String, String)>,
    /// Some once the image is known; its inner value is the base's name, where the image says it.
    pub base: Option<Option<String>>,
    /// The objects that the cluster will get.
    pub objects: Vec<Value>,
    /// The number of pods that a scale asks for.
    pub replicas: Option<i64>,
}

impl Rules {
    /// Says whether the rules can be kept at all.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        for (number, rule) in (1..).zip(&self.rules) {
            if rule.name.trim().is_empty() {
                return Err(format!("rule {number} has no name"));
            }
            if let Some(memory) = rule.max_memory.as_ref().filter(|memory| parse_quantity(memory).is_none()) {
                return Err(format!("rule {:?}: max_memory {memory:?} is no quantity such as 2Gi", rule.name));
            }
            if rule.freeze.iter().any(|window| window.from >= window.to) {
                return Err(format!("rule {:?}: a freeze ends before it begins", rule.name));
            }
        }
        self.check_permissions()
    }

    /// Every rule that the proposal breaks, in a sentence each.
    pub fn broken(&self, target: &Target, proposal: &Proposal) -> Vec<String> {
        let applying = self.rules.iter().filter(|rule| rule.applies(target));
        applying
            .flat_map(|rule| rule.broken(proposal).into_iter().map(|what| format!("{what} (rule {:?} of {})", rule.name, self.place)))
            .collect()
    }
}

impl Rule {
    fn applies(&self, target: &Target) -> bool {
        covers(&self.apps, &target.app) && covers(&self.lines, &target.line) && covers(&self.environments, &target.environment)
    }

    fn broken(&self, proposal: &Proposal) -> Vec<String> {
        let mut broken = Vec::new();
        broken.extend(proposal.now.and_then(|now| self.frozen(now)));
        for (key, source) in &proposal.settings {
            if self.forbidden.iter().any(|forbidden| key == forbidden || key.starts_with(&format!("{forbidden}."))) {
                broken.push(format!("{key} may not be set, and {source} sets it"));
            }
        }
        if let Some(base) = &proposal.base
            && !self.base_images.is_empty()
        {
            broken.extend(self.wrong_base(base.as_deref()));
        }
        if let (Some(most), Some(replicas)) = (self.max_replicas, proposal.replicas)
            && replicas > most
        {
            broken.push(format!("{replicas} pods are more than {most}"));
        }
        broken.extend(proposal.objects.iter().flat_map(|object| self.broken_by(object)));
        broken
    }

    fn frozen(&self, now: Timestamp) -> Option<String> {
        let window = self.freeze.iter().find(|window| window.from <= now && now < window.to)?;
        let reason = if window.reason.is_empty() { String::new() } else { format!(": {}", window.reason) };
        Some(format!("nothing is published until {}{reason}", window.to))
    }

    fn wrong_base(&self, base: Option<&str>) -> Option<String> {
        match base {
            None => Some("the image does not say which base it stands on".to_string()),
            Some(base) if self.base_images.iter().any(|pattern| matches(pattern, base)) => None,
            Some(base) => Some(format!("the base image {base} is not one of {}", self.base_images.join(", "))),
        }
    }

    fn broken_by(&self, object: &Value) -> Vec<String> {
        let name = format!(
            "{}/{}",
            object["kind"].as_str().unwrap_or("object").to_lowercase(),
            object["metadata"]["name"].as_str().unwrap_or("?")
        );
        let mut broken = Vec::new();
        let counts = ["/spec/replicas", "/spec/maxReplicas", "/spec/parallelism", "/spec/jobTemplate/spec/parallelism"];
        let asked = counts.iter().filter_map(|path| object.pointer(path)?.as_i64()).max();
        if let (Some(most), Some(asked)) = (self.max_replicas, asked)
            && asked > most
        {
            broken.push(format!("{name} may have {asked} pods, more than {most}"));
        }
        let Some(pod) = pod_of(object) else { return broken };
        let labels = &pod["metadata"]["labels"];
        broken.extend(
            self.labels
                .iter()
                .filter(|label| labels[label.as_str()].as_str().unwrap_or_default().is_empty())
                .map(|label| format!("the pods of {name} have no label {label}")),
        );
        if let Some(most) = self.max_memory.as_deref().and_then(parse_quantity) {
            broken.extend(memory(pod).map_or_else(
                |container| Some(format!("container {container} of {name} has no memory limit")),
                |asked| (asked > most).then(|| format!("a pod of {name} may take {}, more than {}", mebibytes(asked), mebibytes(most))),
            ));
        }
        broken
    }
}

/// The pod that an object is or makes, with metadata and spec.
fn pod_of(object: &Value) -> Option<&Value> {
    let places = ["/spec/template", "/spec/jobTemplate/spec/template", ""];
    places.iter().filter_map(|place| object.pointer(place)).find(|pod| pod["spec"]["containers"].is_array())
}

/// The memory that a pod may take at most: its containers run side by side, its init containers one by one before them (but for those that
/// stay).
///
/// # Errors
/// The container that has no limit.
fn memory(pod: &Value) -> Result<f64, String> {
    let limit = |container: &Value| {
        let limit = &container["resources"]["limits"]["memory"];
        let text = limit.as_str().map(str::to_string).or_else(|| limit.as_u64().map(|bytes| bytes.to_string()));
        text.as_deref().and_then(parse_quantity).ok_or_else(|| container["name"].as_str().unwrap_or("?").to_string())
    };
    let list = |name: &str| pod["spec"][name].as_array().cloned().unwrap_or_default();
    let (staying, passing): (Vec<Value>, Vec<Value>) =
        list("initContainers").into_iter().partition(|container| container["restartPolicy"] == "Always");
    let beside: f64 = list("containers").iter().chain(&staying).map(limit).sum::<Result<f64, String>>()?;
    let before = passing.iter().map(limit).collect::<Result<Vec<f64>, String>>()?;
    Ok(before.into_iter().fold(beside, f64::max))
}

/// As Kubernetes writes memory, rounded up.
fn mebibytes(bytes: f64) -> String {
    format!("{}Mi", (bytes / f64::from(1 << 20)).ceil())
}

/// Whether one of the patterns covers a name; none are all.
pub(super) fn covers(patterns: &[String], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
}

/// Whether a name is covered by a pattern, in which `*` stands for any characters.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// One problem for all rules that are broken; None when there are none.
pub fn denied(broken: &[String]) -> Option<Problem> {
    let message = match broken {
        [] => return None,
        [only] => only.clone(),
        many => format!("{} rules are broken:{}", many.len(), many.iter().map(|what| format!("\n  {what}")).collect::<String>()),
    };
    Some(Problem::new(Code::RuleDenied, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(rule: Value) -> Rules {
        let mut rule = rule;
        rule["name"] = "r".into();
        Rules { rules: vec![serde_json::from_value(rule).unwrap()], place: "rules.yaml".into(), ..Rules::default() }
    }

    fn broken(rules: &Rules, proposal: &Proposal) -> Vec<String> {
        let target = Target { app: "orders".into(), line: "trade".into(), environment: "prod".into() };
        rules.broken(&target, proposal).iter().map(|what| what.replace(" (rule \"r\" of rules.yaml)", "")).collect()
    }

    fn objects(objects: Value) -> Proposal {
        Proposal { objects: objects.as_array().unwrap().clone(), ..Proposal::default() }
    }

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("r/*", "r/x/y", true),
            ("r/*", "s/x", false),
            ("*-prod", "eu-prod", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("ab*b", "ab", false),
            ("a*a", "aa", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_rule_counts_where_it_says() {
        let proposal = Proposal { replicas: Some(5), ..Proposal::default() };
        for (place, expected) in [
            (json!({}), true),
            (json!({"environments": ["prod*"]}), true),
            (json!({"environments": ["test"]}), false),
            (json!({"apps": ["x", "ord*"], "lines": ["trade"]}), true),
            (json!({"apps": ["ord*"], "lines": ["other"]}), false),
        ] {
            let mut one = place.clone();
            one["max_replicas"] = 4.into();
            assert_eq!(!broken(&rule(one), &proposal).is_empty(), expected, "{place}");
        }
    }

    #[test]
    fn a_freeze_ends() {
        let rules = rule(json!({"freeze": [{"from": "2026-12-20T00:00:00Z", "to": "2027-01-06T00:00:00Z", "reason": "year's end"}]}));
        let at = |now: &str| broken(&rules, &Proposal { now: Some(now.parse().unwrap()), ..Proposal::default() });
        assert_eq!(at("2026-12-20T00:00:00Z"), ["nothing is published until 2027-01-06T00:00:00Z: year's end"]);
        assert!(at("2026-12-19T23:59:59Z").is_empty() && at("2027-01-06T00:00:00Z").is_empty());
    }

    #[test]
    fn forbidden_keys_and_bases_are_told() {
        let rules = rule(json!({"forbidden": ["kubernetes.patches", "kubernetes.env"], "base_images": ["registry.test/base/*"]}));
        let settings = ["kubernetes.env.A", "kubernetes.environment", "app"].map(|key| (key.to_string(), "shipway.yaml".to_string()));
        let proposal = Proposal { settings: settings.to_vec(), base: Some(Some("docker.io/library/x:1".into())), ..Proposal::default() };
        assert_eq!(
            broken(&rules, &proposal),
            [
                "kubernetes.env.A may not be set, and shipway.yaml sets it",
                "the base image docker.io/library/x:1 is not one of registry.test/base/*"
            ]
        );
        assert_eq!(broken(&rules, &Proposal { base: Some(None), ..Proposal::default() }).len(), 1, "an unknown base is no permitted one");
        assert!(broken(&rules, &Proposal { base: Some(Some("registry.test/base/jre:17".into())), ..Proposal::default() }).is_empty());
        assert!(broken(&rules, &Proposal::default()).is_empty(), "the image is not known yet");
    }

    #[test]
    fn objects_of_every_kind_are_looked_at() {
        let rules = rule(json!({"labels": ["team"], "max_replicas": 3, "max_memory": "1Gi"}));
        let container = |memory: Value| json!({"name": "c", "resources": {"limits": {"memory": memory}}});
        let pod = |containers: Value, init: Value| json!({"metadata": {"labels": {"team": "a"}}, "spec": {"containers": containers, "initContainers": init}});
        let fits = pod(json!([container("512Mi".into()), container("512Mi".into())]), json!([container("1Gi".into())]));
        let good = json!([
            {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 3, "template": fits}},
            {"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": []}}
        ]);
        assert!(broken(&rules, &objects(good)).is_empty());
        let stays = json!({"name": "s", "restartPolicy": "Always", "resources": {"limits": {"memory": "1Mi"}}});
        let bad = json!([
            {"kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {"replicas": 4, "template": {"spec": {"containers": [{"name": "c"}]}}}},
            {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {"maxReplicas": 9}},
            {"kind": "CronJob", "metadata": {"name": "j"}, "spec": {"jobTemplate": {"spec": {"template": pod(json!([container("1Gi".into())]), json!([stays]))}}}}
        ]);
        assert_eq!(
            broken(&rules, &objects(bad)),
            [
                "statefulset/db may have 4 pods, more than 3",
                "the pods of statefulset/db have no label team",
                "container c of statefulset/db has no memory limit",
                "horizontalpodautoscaler/web may have 9 pods, more than 3",
                "a pod of cronjob/j may take 1025Mi, more than 1024Mi"
            ]
        );
    }

    #[test]
    fn rules_with_an_error_are_refused() {
        assert!(serde_json::from_value::<Rules>(json!({"rules": [{"name": "x", "max_replica": 1}]})).is_err());
        assert!(rule(json!({"max_memory": "many"})).check().unwrap_err().contains("no quantity"));
        assert!(Rules { rules: vec![Rule::default()], ..Rules::default() }.check().unwrap_err().contains("no name"));
        let backwards = json!({"freeze": [{"from": "2027-01-06T00:00:00Z", "to": "2026-12-20T00:00:00Z"}]});
        assert!(rule(backwards).check().unwrap_err().contains("before it begins"));
        assert!(rule(json!({"max_memory": "2Gi"})).check().is_ok());
    }
}
