//! The settings that reproduce what runs: a `shipway.yaml` made from a live Deployment with its Service and autoscaler.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        autoscaling::v2::{HorizontalPodAutoscaler, MetricIdentifier, MetricSpec, MetricTarget},
        core::v1::{Container, EnvVar, PodSpec, Probe, Service},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Map, Value, json};

use super::{
    containers::JAVA_OPTIONS,
    manifests::{is_ours, keys},
    problem::{Problem, Result},
    shown::hide,
};

/// What is live of one application.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    /// The application's container.
    pub container: &'a str,
    pub deployment: &'a Deployment,
    pub service: Option<&'a Service>,
    pub autoscaler: Option<&'a HorizontalPodAutoscaler>,
    pub disruption: Option<&'a PodDisruptionBudget>,
}

/// Fields of a pod and of a container that the settings say.
const POD_FIELDS: [&str; 8] = [
    "containers",
    "serviceAccountName",
    "serviceAccount",
    "securityContext",
    "restartPolicy",
    "dnsPolicy",
    "schedulerName",
    "terminationGracePeriodSeconds",
];
const CONTAINER_FIELDS: [&str; 14] = [
    "name",
    "image",
    "args",
    "env",
    "resources",
    "ports",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "lifecycle",
    "securityContext",
    "imagePullPolicy",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// The text of `shipway.yaml`; what no setting says is listed in its head, and stays as it is when the Deployment is taken over. So are
/// passwords that stand in plain, which no file may hold that is committed.
pub fn shipway_yaml(running: &Running<'_>) -> Result<String> {
    let spec = running.deployment.spec.clone().unwrap_or_default();
    let pod = spec.template.spec.clone().unwrap_or_default();
    let container = pod.containers.iter().find(|container| container.name == running.container).cloned().unwrap_or_default();
    let labels = running.deployment.metadata.labels.clone().unwrap_or_default();
    let mut root = Map::new();
    root.insert("app".to_string(), json!(labels.get(keys::NAME).filter(|_| ours(running)).map_or(running.name, String::as_str)));
    if let Some(line) = labels.get(keys::PART_OF).filter(|_| ours(running)) {
        root.insert("line".to_string(), json!(line));
    }
    if let Some(port) = container.ports.iter().flatten().next() {
        root.insert("image".to_string(), json!({"port": port.container_port}));
    }
    root.insert("kubernetes".to_string(), Value::Object(kubernetes(running, &spec, &pod, &container)));
    let text = serde_saphyr::to_string(&root).map_err(|error| Problem::bug(format!("settings cannot be written as YAML: {error}")))?;
    Ok(format!("{}{}\n", head(running, &pod, &container), text.trim_end()))
}

fn ours(running: &Running<'_>) -> bool {
    is_ours(&running.deployment.metadata, running.name)
}

fn kubernetes(running: &Running<'_>, spec: &DeploymentSpec, pod: &PodSpec, container: &Container) -> Map<String, Value> {
    let mut made = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            made.insert(key.to_string(), value);
        }
    };
    set("namespace", Some(json!(running.namespace)));
    set("name", Some(json!(running.name)));
    set("adopt", (!ours(running)).then(|| json!(true)));
    set("container", (pod.containers.len() > 1).then(|| json!(running.container)));
    set("replicas", spec.replicas.filter(|_| running.autoscaler.is_none()).map(|replicas| json!(replicas)));
    set("args", container.args.as_ref().map(|args| json!(args)).filter(is_open));
    let (jvm, env, secrets) = environment(container);
    set("jvm", jvm);
    set("env", env);
    set("secrets", secrets);
    set("resources", container.resources.as_ref().and_then(resources));
    set("probes", Some(probes(container)));
    set("rolling", Some(rolling(spec, pod, container)));
    set("service", Some(service(running.service)));
    set("autoscale", running.autoscaler.map(autoscale));
    set("disruption", running.disruption.and_then(disruption));
    set("security", (pod.security_context.as_ref().and_then(|context| context.run_as_non_root) != Some(true)).then(|| json!("off")));
    set("service_account", pod.service_account_name.as_ref().filter(|name| *name != "default").map(|name| json!(name)));
    made
}

/// `JAVA_TOOL_OPTIONS` as a list, plain variables, variables from Secrets; others are in no setting.
fn environment(container: &Container) -> (Option<Value>, Option<Value>, Option<Value>) {
    let (mut jvm, mut env, mut secrets) = (None, Map::new(), Map::new());
    for variable in container.env.iter().flatten().filter(|variable| is_open_variable(variable)) {
        let secret = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref()).filter(|key| key.optional != Some(true));
        match (&variable.value, secret) {
            (Some(options), _) if variable.name == JAVA_OPTIONS && !options.contains(['"', '\'']) => {
                jvm = Some(json!(options.split_whitespace().collect::<Vec<_>>()));
            }
            (Some(value), _) => drop(env.insert(variable.name.clone(), json!(value))),
            (None, Some(key)) => drop(secrets.insert(variable.name.clone(), json!(format!("{}/{}", key.name, key.key)))),
            (None, None) => {}
        }
    }
    let some = |map: Map<String, Value>| (!map.is_empty()).then_some(Value::Object(map));
    (jvm, some(env), some(secrets))
}

/// Whether nothing in it is named like a secret.
fn is_open(value: &Value) -> bool {
    hide(&mut value.clone(), None).is_empty()
}

fn is_open_variable(variable: &EnvVar) -> bool {
    is_open(&json!(variable))
}

/// What is left out because it would show a password: variables, and the arguments when one of them does.
fn closed(container: &Container) -> Vec<String> {
    let variables = container.env.iter().flatten().filter(|variable| !is_open_variable(variable));
    let arguments = container.args.as_ref().filter(|args| !is_open(&json!(args)));
    variables.map(|variable| variable.name.clone()).chain(arguments.map(|_| "the container's arguments".to_string())).collect()
}

fn resources(resources: &k8s_openapi::api::core::v1::ResourceRequirements) -> Option<Value> {
    let mut made = Map::new();
    for (part, given) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        if let Some(given) = given.as_ref().filter(|given| !given.is_empty()) {
            made.insert(part.to_string(), json!(given));
        }
    }
    (!made.is_empty()).then_some(Value::Object(made))
}

/// A probe as it is; one that is not there is off, since the default would be another.
fn probes(container: &Container) -> Value {
    let probe = |probe: &Option<Probe>| probe.as_ref().map_or_else(|| json!("off"), |probe| json!(probe));
    let mut made = json!({"startup": probe(&container.startup_probe), "readiness": probe(&container.readiness_probe)});
    if let Some(liveness) = &container.liveness_probe {
        made["liveness"] = json!(liveness);
    }
    made
}

fn rolling(spec: &DeploymentSpec, pod: &PodSpec, container: &Container) -> Value {
    let mut made = Map::new();
    let text = |value: &IntOrString| match value {
        IntOrString::Int(number) => json!(number.to_string()),
        IntOrString::String(text) => json!(text),
    };
    if let Some(update) = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref()) {
        made.extend(update.max_surge.as_ref().map(|surge| ("max_surge".to_string(), text(surge))));
        made.extend(update.max_unavailable.as_ref().map(|unavailable| ("max_unavailable".to_string(), text(unavailable))));
    }
    made.insert("min_ready_seconds".to_string(), json!(spec.min_ready_seconds.unwrap_or(0)));
    made.extend(spec.progress_deadline_seconds.map(|seconds| ("timeout".to_string(), json!(format!("{seconds}s")))));
    let sleep = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()?.sleep.as_ref()).map(|sleep| sleep.seconds);
    // the time to end follows from the drain, so that only this pair can be said
    if let Some(drain) = sleep.filter(|drain| pod.termination_grace_period_seconds == Some(drain + 30)) {
        made.insert("drain".to_string(), json!(format!("{drain}s")));
    }
    Value::Object(made)
}

fn service(service: Option<&Service>) -> Value {
    let Some(spec) = service.and_then(|service| service.spec.as_ref()) else { return json!({"enabled": false}) };
    let mut made = Map::new();
    made.extend(spec.ports.iter().flatten().next().map(|port| ("port".to_string(), json!(port.port))));
    made.extend(spec.type_.as_ref().map(|kind| ("type".to_string(), json!(kind))));
    Value::Object(made)
}

/// Bounds, and what it aims at as far as all of it can be said: aims that nobody sets stay as they are when it is taken over.
fn autoscale(autoscaler: &HorizontalPodAutoscaler) -> Value {
    let spec = &autoscaler.spec;
    let mut made = Map::from_iter([
        ("enabled".to_string(), json!(true)),
        ("min".to_string(), json!(spec.min_replicas.unwrap_or(1))),
        ("max".to_string(), json!(spec.max_replicas)),
    ]);
    if unsaid(autoscaler).is_empty() {
        for (part, name, aim) in spec.metrics.iter().flatten().filter_map(said) {
            match part {
                "" => drop(made.insert(name, aim)),
                part => made.entry(part).or_insert_with(|| json!({}))[name] = aim,
            }
        }
    }
    Value::Object(made)
}

/// A metric as settings say it: where among those of the autoscaler, its name and its aim; None where there is more to it.
fn said(metric: &MetricSpec) -> Option<(&'static str, String, Value)> {
    let average = |part, identifier: &MetricIdentifier, target: &MetricTarget| {
        let value = target.average_value.as_ref().filter(|_| identifier.selector.is_none())?;
        Some((part, identifier.name.clone(), json!(value)))
    };
    match (&metric.resource, &metric.pods, &metric.external) {
        (Some(resource), _, _) if ["cpu", "memory"].contains(&resource.name.as_str()) => {
            Some(("", resource.name.clone(), json!(resource.target.average_utilization?)))
        }
        (_, Some(pods), _) => average("metrics", &pods.metric, &pods.target),
        (_, _, Some(external)) => average("external", &external.metric, &external.target),
        _ => None,
    }
}

fn disruption(budget: &PodDisruptionBudget) -> Option<Value> {
    let spec = budget.spec.as_ref()?;
    let mut made = Map::from_iter([("enabled".to_string(), json!(true))]);
    let text = |value: &IntOrString| match value {
        IntOrString::Int(number) => json!(number.to_string()),
        IntOrString::String(text) => json!(text),
    };
    made.extend(spec.max_unavailable.as_ref().map(|most| ("max_unavailable".to_string(), text(most))));
    made.extend(spec.min_available.as_ref().map(|least| ("min_available".to_string(), text(least))));
    Some(Value::Object(made))
}

/// What of an autoscaler no setting says.
fn unsaid(autoscaler: &HorizontalPodAutoscaler) -> Vec<String> {
    let metrics = autoscaler.spec.metrics.iter().flatten().enumerate().filter(|(_, metric)| said(metric).is_none());
    metrics.map(|(at, metric)| format!("autoscaler.spec.metrics[{at}] ({})", metric.type_)).collect()
}

/// What the file cannot say.
fn head(running: &Running<'_>, pod: &PodSpec, container: &Container) -> String {
    let mut beyond = beyond("spec.template.spec", json!(pod), &POD_FIELDS);
    let own = format!("containers[{}]", container.name);
    beyond.extend(self::beyond(&own, json!(container), &CONTAINER_FIELDS));
    beyond.extend(pod.containers.iter().filter(|other| other.name != container.name).map(|other| format!("containers[{}]", other.name)));
    let other = |variable: &&k8s_openapi::api::core::v1::EnvVar| {
        let from = variable.value_from.as_ref();
        from.is_some_and(|from| from.secret_key_ref.as_ref().is_none_or(|key| key.optional == Some(true)))
    };
    beyond.extend(container.env.iter().flatten().filter(other).map(|variable| format!("{own}.env.{}", variable.name)));
    if let Some(autoscaler) = running.autoscaler {
        beyond.extend(unsaid(autoscaler));
        beyond.extend(autoscaler.spec.behavior.as_ref().map(|_| "autoscaler.spec.behavior".to_string()));
    }
    let list = |names: &[String]| names.iter().map(|name| format!("#   {name}\n")).collect::<String>();
    let mut head = "# Made by shipway init --from-cluster: what runs, as settings.\n".to_string();
    if !beyond.is_empty() {
        head += "# No setting says the following, which stays as it is in the cluster; kubernetes.patches can say it for a new one:\n";
        head += &list(&beyond);
    }
    let closed = closed(container);
    if !closed.is_empty() {
        head += "# The following holds a password in plain, and is left out of a file that is committed. Put it into a Secret and name that\n\
                 # below kubernetes.secrets (VARIABLE: secret/key); until then a Deployment that is taken over keeps what it has:\n";
        head += &list(&closed);
    }
    head
}

fn beyond(path: &str, value: Value, known: &[&str]) -> Vec<String> {
    let fields = value.as_object().into_iter().flatten();
    let other = fields.filter(|(field, value)| !known.contains(&field.as_str()) && value.as_array().is_none_or(|list| !list.is_empty()));
    other.map(|(field, _)| format!("{path}.{field}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn autoscaler(metrics: &[Value]) -> HorizontalPodAutoscaler {
        let reference = json!({"kind": "Deployment", "name": "web"});
        let spec = json!({"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 5, "metrics": metrics});
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    #[test]
    fn no_password_goes_into_a_file_that_is_committed() {
        let deployment: Deployment =
            serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {"selector": {}, "template": {"spec": {
            "containers": [{"name": "app", "args": ["--db.password=hush", "--verbose"], "env": [{"name": "COLOUR", "value": "blue"},
                {"name": "DB_PASSWORD", "value": "hush"}, {"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g -Dstore.password=hush"},
                {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}]}]}}}}))
            .unwrap();
        let running = Running {
            namespace: "trade",
            name: "web",
            container: "app",
            deployment: &deployment,
            service: None,
            autoscaler: None,
            disruption: None,
        };
        let text = shipway_yaml(&running).unwrap();
        assert!(!text.contains("hush") && text.contains("COLOUR: blue") && text.contains("API_TOKEN: web/token"), "{text}");
        assert!(text.contains("#   DB_PASSWORD\n#   JAVA_TOOL_OPTIONS\n#   the container's arguments\n"), "{text}");
    }

    #[test]
    fn an_autoscaler_and_a_budget_are_said_whole_or_named() {
        let metric =
            |kind: &str, field: &str, metric: Value, target: Value| json!({"type": kind, field: {"metric": metric, "target": target}});
        let average = |value: &str| json!({"type": "AverageValue", "averageValue": value});
        let all = [
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}),
            metric("Pods", "pods", json!({"name": "requests"}), average("100")),
            metric("External", "external", json!({"name": "queue"}), average("30")),
            metric("External", "external", json!({"name": "picked", "selector": {}}), average("30")),
            json!({"type": "Resource", "resource": {"name": "memory", "target": average("500Mi")}}),
        ];
        let expected = json!({"enabled": true, "min": 2, "max": 5, "cpu": 70, "metrics": {"requests": "100"}, "external": {"queue": "30"}});
        assert_eq!(autoscale(&autoscaler(&all[..3])), expected);
        let bounds = json!({"enabled": true, "min": 2, "max": 5});
        assert_eq!(autoscale(&autoscaler(&all)), bounds, "half of the aims would be others");
        assert_eq!(unsaid(&autoscaler(&all)), ["autoscaler.spec.metrics[3] (External)", "autoscaler.spec.metrics[4] (Resource)"]);
        let budget: PodDisruptionBudget =
            serde_json::from_value(json!({"metadata": {}, "spec": {"maxUnavailable": "25%", "selector": {}}})).unwrap();
        assert_eq!(disruption(&budget), Some(json!({"enabled": true, "max_unavailable": "25%"})));
    }
}
