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
    /// For which applications and lines; patterns with `*`; none are all.
    pub apps: Vec<String>,
    pub lines: Vec<String>,
    /// For which environments or namespaces, whichever of them fits: what an environment is called is the repository's word, and the namespace is
    /// where it really goes. A target that names no environment may be any.
    pub environments: Vec<String>,
    pub namespaces: Vec<String>,
    /// Patterns, of which every namespace that gets something has to match one; see [`filled`].
    pub into: Vec<String>,
    /// Patterns, of which the name of every object has to match one; see [`filled`].
    pub names: Vec<String>,
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
    /// Where the application goes, and under which name.
    pub namespace: String,
    pub name: String,
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
        let applying = self.rules.iter().filter(|rule| rule.applies(target, proposal));
        applying
            .flat_map(|rule| {
                rule.broken(target, proposal).into_iter().map(|what| format!("{what} (rule {:?} of {})", rule.name, self.place))
            })
            .collect()
    }
}

impl Rule {
    fn applies(&self, target: &Target, proposal: &Proposal) -> bool {
        covers(&self.apps, &target.app) && covers(&self.lines, &target.line) && self.is_of_the_place(target, proposal)
    }

    fn is_of_the_place(&self, target: &Target, proposal: &Proposal) -> bool {
        let environment = &target.environment;
        let any = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches(pattern, name));
        let anywhere = self.environments.is_empty() && self.namespaces.is_empty();
        let unsaid = !self.environments.is_empty() && environment.is_empty();
        let named = !environment.is_empty() && any(&self.environments, environment);
        anywhere || unsaid || named || proposal.namespaces().any(|namespace| any(&self.namespaces, namespace))
    }

    fn broken(&self, target: &Target, proposal: &Proposal) -> Vec<String> {
        let mut broken = self.astray(target, proposal);
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

    /// What goes into other namespaces, or has another name, than it may.
    fn astray(&self, target: &Target, proposal: &Proposal) -> Vec<String> {
        let permits = |patterns: &[String], name: &str| {
            patterns.iter().filter_map(|pattern| filled(pattern, target)).any(|pattern| matches(&pattern, name))
        };
        let mut broken = Vec::new();
        if !self.into.is_empty() {
            let mut namespaces: Vec<&str> = proposal.namespaces().filter(|namespace| !permits(&self.into, namespace)).collect();
            namespaces.sort_unstable();
            namespaces.dedup();
            broken.extend(namespaces.iter().map(|namespace| format!("the namespace {namespace} is not one of {}", self.into.join(", "))));
        }
        if !self.names.is_empty() {
            let objects = proposal.objects.iter().map(named);
            let own = (!proposal.name.is_empty()).then(|| (format!("the application's name {}", proposal.name), proposal.name.as_str()));
            let wrong = own.into_iter().chain(objects).filter(|(_, name)| !permits(&self.names, name));
            broken.extend(wrong.map(|(what, _)| format!("{what} is not one of {}", self.names.join(", "))));
        }
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
        let (name, _) = named(object);
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

impl Proposal {
    /// Every namespace that gets something.
    fn namespaces(&self) -> impl Iterator<Item = &str> {
        let of_objects = self.objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str());
        let made =
            self.objects.iter().filter(|object| object["kind"] == "Namespace").filter_map(|object| object["metadata"]["name"].as_str());
        std::iter::once(self.namespace.as_str()).chain(of_objects).chain(made).filter(|namespace| !namespace.is_empty())
    }
}

/// A pattern with the target's words for `{app}`, `{line}` and `{environment}`; None where the word is missing, or could cover others.
fn filled(pattern: &str, target: &Target) -> Option<String> {
    let mut filled = pattern.to_string();
    for (place, word) in [("{app}", &target.app), ("{line}", &target.line), ("{environment}", &target.environment)] {
        if filled.contains(place) && (word.is_empty() || word.contains(['*', '{'])) {
            return None;
        }
        filled = filled.replace(place, word);
    }
    Some(filled)
}

/// `kind/name` for messages, and the name.
fn named(object: &Value) -> (String, &str) {
    let name = object["metadata"]["name"].as_str().unwrap_or("?");
    (format!("{}/{name}", object["kind"].as_str().unwrap_or("object").to_lowercase()), name)
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
        // a limit of 0 is none
        let bytes = text.as_deref().and_then(parse_quantity).filter(|bytes| *bytes > 0.0);
        bytes.ok_or_else(|| container["name"].as_str().unwrap_or("?").to_string())
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
#[path = "policy_tests.rs"]
mod tests;
