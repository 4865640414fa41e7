//! Taking over a Deployment that others made: what nobody set here stays as it is there, and defaults fill only what is absent.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Container, ContainerPort, PodTemplateSpec, Probe, Service, ServiceSpec},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use serde_json::Value;

use super::{
    containers::{JAVA_OPTIONS, PORT_NAME},
    manifests::{MANAGER, Objects, keys},
    workload::Workload,
};

/// What an autoscaler may aim at.
const AIMS: [&str; 4] =
    ["kubernetes.autoscale.cpu", "kubernetes.autoscale.memory", "kubernetes.autoscale.metrics", "kubernetes.autoscale.external"];

/// What is there of an application that is taken over.
#[derive(Debug, Clone, Copy)]
pub struct There<'a> {
    pub deployment: &'a Deployment,
    pub service: Option<&'a Service>,
    pub autoscaler: Option<&'a HorizontalPodAutoscaler>,
    pub disruption: Option<&'a PodDisruptionBudget>,
}

/// Whether a Deployment was taken over by an earlier publish.
pub fn is_adopted(live: &Deployment) -> bool {
    live.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(keys::ADOPTED))
}

/// Takes out of the objects every default for which the live ones have a value of their own. Left to themselves in a server-side
/// apply, those values stay with whoever set them. `container` is the application's, as it is called in both.
pub fn keep(objects: &mut Objects, workload: &Workload, container: &str, there: There<'_>) {
    let live = there.deployment;
    objects.deployment.metadata.annotations.get_or_insert_default().insert(keys::ADOPTED.to_string(), "true".to_string());
    let (Some(wanted), Some(spec)) = (objects.deployment.spec.as_mut(), live.spec.as_ref()) else { return };
    let kept = Kept { workload, ours: Ours::of(&live.metadata) };
    kept.spec(wanted, spec);
    kept.labels(&mut wanted.template, &spec.template);
    let running = spec.template.spec.as_ref().and_then(|pod| pod.containers.iter().find(|there| there.name == container));
    let grace = spec.template.spec.as_ref().and_then(|pod| pod.termination_grace_period_seconds);
    let mine = wanted.template.spec.as_mut().and_then(|pod| pod.containers.iter_mut().find(|mine| mine.name == container));
    if let (Some(mine), Some(running)) = (mine, running) {
        kept.container(mine, running, grace);
    }
    let port = running.and_then(http_port);
    if let Some(wanted) = objects.service.as_mut().filter(|_| kept.generated("", "Service")) {
        kept.service(wanted, there.service, port);
    }
    let autoscaler = objects.autoscaler.as_mut().filter(|_| kept.generated("autoscaling", "HorizontalPodAutoscaler"));
    if let (Some(wanted), Some(live)) = (autoscaler, there.autoscaler) {
        kept.autoscaler(wanted, live);
    }
    if let (Some(wanted), Some(live)) = (objects.disruption.as_mut(), there.disruption) {
        kept.disruption(wanted, live);
    }
}

/// The port that a Service should lead to: the one called `http`, else the first.
fn http_port(container: &Container) -> Option<&ContainerPort> {
    let ports = container.ports.as_ref()?;
    ports.iter().find(|port| port.name.as_deref() == Some(PORT_NAME)).or_else(|| ports.first())
}

struct Kept<'a> {
    workload: &'a Workload,
    ours: Ours<'a>,
}

impl Kept<'_> {
    /// Whether the object of this kind is made from the settings: one that the user brings counts whole.
    fn generated(&self, group: &str, kind: &str) -> bool {
        !self.workload.custom.brings(group, kind, &self.workload.name)
    }

    /// Whether a live value at this path stays: nobody set the key here, and it is not ours alone.
    fn stays(&self, keys: &[&str], there: bool, path: &[&str]) -> bool {
        there && !keys.iter().any(|key| self.workload.given.has(key)) && !self.ours.alone(path)
    }

    fn spec(&self, wanted: &mut DeploymentSpec, live: &DeploymentSpec) {
        let rolling = ["kubernetes.rolling.max_surge", "kubernetes.rolling.max_unavailable"];
        if self.stays(&rolling, live.strategy.is_some(), &["f:strategy"]) {
            wanted.strategy = None;
        }
        if self.stays(&["kubernetes.rolling.min_ready_seconds"], live.min_ready_seconds.is_some(), &["f:minReadySeconds"]) {
            wanted.min_ready_seconds = None;
        }
        if self.stays(&["kubernetes.rolling.timeout"], live.progress_deadline_seconds.is_some(), &["f:progressDeadlineSeconds"]) {
            wanted.progress_deadline_seconds = None;
        }
        if self.stays(&[], live.revision_history_limit.is_some(), &["f:revisionHistoryLimit"]) {
            wanted.revision_history_limit = None;
        }
        let (Some(wanted), Some(live)) = (wanted.template.spec.as_mut(), live.template.spec.as_ref()) else { return };
        let pod = |field| ["f:template", "f:spec", field];
        if self.stays(
            &["kubernetes.rolling.drain"],
            live.termination_grace_period_seconds.is_some(),
            &pod("f:terminationGracePeriodSeconds"),
        ) {
            wanted.termination_grace_period_seconds = None;
        }
        // what ran without restrictions may not bear them, so their absence counts as a value, too
        if self.stays(&["kubernetes.security"], true, &pod("f:securityContext")) {
            wanted.security_context = None;
        }
    }

    /// A Service may select by any label that the pods have.
    fn labels(&self, wanted: &mut PodTemplateSpec, live: &PodTemplateSpec) {
        let there = live.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
        let (Some(labels), Some(there)) = (wanted.metadata.as_mut().and_then(|meta| meta.labels.as_mut()), there) else { return };
        let set = &self.workload.labels;
        labels.retain(|key, value| {
            let field = format!("f:{key}");
            let other = there.get(key).is_some_and(|there| there != value);
            !other || set.contains_key(key) || self.ours.alone(&["f:template", "f:metadata", "f:labels", &field])
        });
    }

    fn container(&self, wanted: &mut Container, live: &Container, grace: Option<i64>) {
        let item = format!("k:{}", serde_json::json!({"name": live.name}));
        let path = |field| ["f:template", "f:spec", "f:containers", item.as_str(), field];
        // a limit that was not there before could end what ran well without it
        if self.stays(&["kubernetes.resources"], true, &path("f:resources")) {
            wanted.resources = None;
        }
        let port = http_port(live).map(|port| port.container_port);
        let own = i32::from(self.workload.port);
        // one that is there under another name is the same port
        let there = port == Some(own) && !self.ours.alone(&path("f:ports"));
        if there || self.stays(&["image.port"], port.is_some(), &path("f:ports")) {
            wanted.ports = None;
            let probes = [wanted.startup_probe.as_mut(), wanted.readiness_probe.as_mut(), wanted.liveness_probe.as_mut()];
            probes.into_iter().flatten().for_each(|probe| move_probe(probe, own, port.unwrap_or(own)));
        }
        let probed = live.startup_probe.is_some() || live.readiness_probe.is_some() || live.liveness_probe.is_some();
        if self.stays(&["kubernetes.probes"], probed, &path("f:readinessProbe")) {
            (wanted.startup_probe, wanted.readiness_probe, wanted.liveness_probe) = (None, None, None);
        }
        let short = grace.is_some_and(|grace| u64::try_from(grace).unwrap_or(0) <= self.workload.rolling.drain.as_secs());
        if self.stays(&["kubernetes.rolling.drain"], live.lifecycle.is_some() || short, &path("f:lifecycle")) {
            wanted.lifecycle = None;
        }
        if self.stays(&["kubernetes.security"], true, &path("f:securityContext")) {
            wanted.security_context = None;
        }
        self.java_options(wanted, &path("f:env"));
        from_secrets(wanted, live);
    }

    /// The default share of the heap goes with the default limit.
    fn java_options(&self, wanted: &mut Container, path: &[&str]) {
        let key = format!("k:{}", serde_json::json!({"name": JAVA_OPTIONS}));
        let path: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
        if self.stays(&["kubernetes.jvm", "kubernetes.env.JAVA_TOOL_OPTIONS", "kubernetes.resources"], true, &path) {
            wanted.env = wanted.env.take().map(|env| env.into_iter().filter(|variable| variable.name != JAVA_OPTIONS).collect());
            wanted.env = wanted.env.take().filter(|env: &Vec<_>| !env.is_empty());
        }
    }

    /// A Service that is there keeps leading where it leads.
    fn service(&self, wanted: &mut Service, live: Option<&Service>, port: Option<&ContainerPort>) {
        let Some(spec) = wanted.spec.as_mut() else { return };
        if let (Some(port), Some(ports)) = (port, spec.ports.as_mut()) {
            let target = port.name.clone().map_or(IntOrString::Int(port.container_port), IntOrString::String);
            ports.iter_mut().for_each(|own| own.target_port = Some(target.clone()));
        }
        let Some(live) = live else { return };
        let ours = Ours::of(&live.metadata);
        let stays = |key: &str, field: &str| !self.workload.given.has(key) && !ours.alone(&[field]);
        let own = spec.ports.iter().flatten().map(|port| port.port).next();
        let there = live.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).any(|port| Some(port.port) == own);
        if stays("kubernetes.service.port", "f:ports") || (there && !ours.alone(&["f:ports"])) {
            spec.ports = None;
        }
        if stays("kubernetes.service.type", "f:type") {
            spec.type_ = None;
        }
        if !ours.alone(&["f:selector"]) {
            spec.selector = None;
        }
        if *spec == ServiceSpec::default() {
            wanted.spec = None;
        }
    }

    /// Bounds and aims as they are there; how fast it acts is in no setting, and stays anyway. The bounds are sent along, since they have to
    /// come back when a manual scale ends.
    fn autoscaler(&self, wanted: &mut HorizontalPodAutoscaler, live: &HorizontalPodAutoscaler) {
        let ours = Ours::of(&live.metadata);
        let stays = |keys: &[&str], field: &str| !keys.iter().any(|key| self.workload.given.has(key)) && !ours.alone(&[field]);
        if stays(&["kubernetes.autoscale.min"], "f:minReplicas") {
            wanted.spec.min_replicas = live.spec.min_replicas;
        }
        if stays(&["kubernetes.autoscale.max"], "f:maxReplicas") {
            wanted.spec.max_replicas = live.spec.max_replicas;
        }
        if live.spec.metrics.is_some() && stays(&AIMS, "f:metrics") {
            wanted.spec.metrics = None;
        }
    }

    /// One of the two numbers at most may be set, so that they stay or go together.
    fn disruption(&self, wanted: &mut PodDisruptionBudget, live: &PodDisruptionBudget) {
        let Some(spec) = wanted.spec.as_mut() else { return };
        let ours = Ours::of(&live.metadata);
        let numbers = ["kubernetes.disruption.max_unavailable", "kubernetes.disruption.min_available"];
        let own = ours.alone(&["f:maxUnavailable"]) || ours.alone(&["f:minAvailable"]);
        if !own && !numbers.iter().any(|key| self.workload.given.has(key)) {
            (spec.max_unavailable, spec.min_available) = (None, None);
        }
        if !ours.alone(&["f:selector"]) {
            spec.selector = None;
        }
        // its absence is a value, too: others count on what evictions leave alone
        if !ours.alone(&["f:unhealthyPodEvictionPolicy"]) {
            spec.unhealthy_pod_eviction_policy = None;
        }
        if *spec == PodDisruptionBudgetSpec::default() {
            wanted.spec = None;
        }
    }
}

/// A variable may not have both a value and a source: where the settings name a Secret for one that stands there in plain, the value of
/// the others goes.
fn from_secrets(wanted: &mut Container, live: &Container) {
    for variable in wanted.env.iter_mut().flatten().filter(|variable| variable.value_from.is_some()) {
        let there = live.env.iter().flatten().find(|there| there.name == variable.name);
        if there.is_some_and(|there| there.value.as_ref().is_some_and(|value| !value.is_empty())) {
            variable.value = Some(String::new());
        }
    }
}

/// Default probes ask the port that the container really has.
fn move_probe(probe: &mut Probe, from: i32, to: i32) {
    let ports = [probe.http_get.as_mut().map(|get| &mut get.port), probe.tcp_socket.as_mut().map(|socket| &mut socket.port)];
    for port in ports.into_iter().flatten().filter(|port| **port == IntOrString::Int(from)) {
        *port = IntOrString::Int(to);
    }
}

/// Which fields of an object's spec Shipway's last apply owns, and others do not.
struct Ours<'a> {
    ours: Vec<&'a Value>,
    others: Vec<&'a Value>,
}

impl<'a> Ours<'a> {
    fn of(meta: &'a ObjectMeta) -> Self {
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for entry in meta.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none()) {
            let Some(spec) = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:spec")) else { continue };
            let own = entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply");
            if own { ours.push(spec) } else { others.push(spec) }
        }
        Ours { ours, others }
    }

    fn alone(&self, path: &[&str]) -> bool {
        let has = |entries: &[&Value]| entries.iter().any(|spec| path.iter().try_fold(*spec, |at, part| at.get(part)).is_some());
        has(&self.ours) && !has(&self.others)
    }
}

/// The container of a live Deployment whose image Shipway's last apply owns.
pub fn owned_container(live: &Deployment) -> Option<String> {
    let ours = Ours::of(&live.metadata);
    let names = live.spec.as_ref()?.template.spec.as_ref()?.containers.iter().map(|container| container.name.clone());
    let image = |name: &str| {
        let item = format!("k:{}", serde_json::json!({"name": name}));
        let path = ["f:template", "f:spec", "f:containers", item.as_str(), "f:image"];
        ours.ours.iter().any(|spec| path.iter().try_fold(*spec, |at, part| at.get(part)).is_some())
    };
    let mut owned = names.filter(|name| image(name));
    owned.next().filter(|_| owned.next().is_none())
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
