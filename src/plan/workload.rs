//! What runs on the cluster: settings over what is known of the application.

use std::collections::BTreeMap;

use super::{Plan, probes};
use crate::{
    domain::{
        application::{Application, ImageFacts},
        custom::Custom,
        java::JavaVersion,
        reference::ImageReference,
        rollout::Budgets,
        units::parse_bytes,
        workload::{Autoscale, Disruption, Given, Resources, Rolling, Security, ServicePort, Workload},
    },
    settings::{AutoscaleSettings, DisruptionSettings, ResourceSettings, RollingSettings, SecuritySetting, ServiceSettings, Source},
};

const DEFAULT_CPU_REQUEST: &str = "100m";
const DEFAULT_MEMORY: &str = "1Gi";
/// Percent of the container's limit that the heap may take; the rest is for metaspace, threads and buffers.
const HEAP_PERCENT: &str = "-XX:MaxRAMPercentage=70";
/// Options that say the heap's size; with any of them ours stays away.
const HEAP_OPTIONS: &[&str] =
    &["-Xmx", "-XX:MaxHeapSize", "-XX:MaxRAMPercentage", "-XX:MaxRAMFraction", "-XX:InitialRAMPercentage", "-XX:MaxRAM="];

impl Plan {
    /// How much of each trouble a rollout of this application bears.
    pub fn budgets(&self) -> Budgets {
        budgets(&self.settings.kubernetes.rolling)
    }

    /// The workload of this image, without configuration files, which the plan does not read; `application` is None for an image that was
    /// built elsewhere.
    pub fn workload(&self, image: &ImageReference, version: &str, application: Option<&Application>, facts: &ImageFacts) -> Workload {
        let kubernetes = &self.settings.kubernetes;
        let port = self.port(application);
        let resources = resources(&kubernetes.resources);
        let user = facts.user.clone().unwrap_or_else(|| self.settings.image.user.clone());
        Workload {
            app: self.app.clone(),
            line: self.line.clone(),
            environment: self.settings.environment.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            image: image.clone(),
            platforms: facts.platforms.clone(),
            version: version.to_string(),
            port,
            replicas: kubernetes.replicas,
            jvm: self.jvm(&resources, application, facts),
            args: kubernetes.args.clone(),
            env: kubernetes.env.clone(),
            secrets: kubernetes.secrets.clone(),
            resources,
            probes: probes::probes(&kubernetes.probes, application, port),
            rolling: rolling(&kubernetes.rolling),
            service: service(&kubernetes.service),
            autoscale: autoscale(&kubernetes.autoscale),
            disruption: disruption(&kubernetes.disruption),
            config: None,
            pushed: None,
            security: match kubernetes.security {
                SecuritySetting::Restricted => Security::Restricted,
                SecuritySetting::Off => Security::Off,
            },
            labels: kubernetes.labels.clone(),
            annotations: kubernetes.annotations.clone(),
            service_account: kubernetes.service_account.clone(),
            pull_secret: self.pull_credentials().map(|_| format!("{}-pull", self.name)),
            user: user.split(':').next().and_then(|user| user.parse().ok()),
            container: kubernetes.container.clone(),
            given: self.given(application),
            custom: Custom::default(),
        }
    }

    /// The keys that somebody set, and the port when the application itself says it.
    fn given(&self, application: Option<&Application>) -> Given {
        let set = self.sources.iter().filter(|sourced| !matches!(sourced.source, Source::Default | Source::Detected(_)));
        let port = application.and_then(|application| application.port("server.port")).map(|_| "image.port".to_string());
        Given::Keys(set.map(|sourced| sourced.key.clone()).chain(port).collect())
    }

    /// The port that the application listens on: set, or found in its properties, or 8080.
    pub fn port(&self, application: Option<&Application>) -> u16 {
        let found = || application.and_then(|application| application.port("server.port"));
        self.settings.image.port.or_else(found).unwrap_or(8080)
    }

    fn jvm(&self, resources: &Resources, application: Option<&Application>, facts: &ImageFacts) -> Vec<String> {
        let mut jvm = self.settings.kubernetes.jvm.clone();
        let said = |options: &[String]| options.iter().any(|option| HEAP_OPTIONS.iter().any(|heap| option.starts_with(heap)));
        let heap_said = said(&jvm) || said(&self.settings.image.jvm) || self.settings.kubernetes.env.contains_key("JAVA_TOOL_OPTIONS");
        if resources.limits.contains_key("memory") && !heap_said && honours_percentage(application, facts) {
            jvm.push(HEAP_PERCENT.to_string());
        }
        jvm
    }
}

/// MaxRAMPercentage came with Java 10 and 8u191 (JDK-8186315 and its backport); an older Java would not start with it.
fn honours_percentage(application: Option<&Application>, facts: &ImageFacts) -> bool {
    match facts.java_version.as_deref().and_then(JavaVersion::parse) {
        Some(JavaVersion { feature, update }) => feature >= 10 || (feature == 8 && update >= 191),
        None => application.and_then(|application| application.java).is_some_and(|java| java >= 10),
    }
}

/// Memory request = limit unless both are set; a request of CPU, no limit of it.
fn resources(settings: &ResourceSettings) -> Resources {
    let text = |quantity: &Option<crate::settings::Quantity>| quantity.as_ref().map(|quantity| quantity.as_str().to_string());
    let request = text(&settings.requests.memory);
    let limit = text(&settings.limits.memory).or_else(|| request.clone()).unwrap_or_else(|| DEFAULT_MEMORY.to_string());
    let mut requests: BTreeMap<_, _> = settings.requests.other.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    requests.insert("cpu".to_string(), text(&settings.requests.cpu).unwrap_or_else(|| DEFAULT_CPU_REQUEST.to_string()));
    requests.insert("memory".to_string(), request.unwrap_or_else(|| limit.clone()));
    let mut limits: BTreeMap<_, _> = settings.limits.other.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    limits.extend(text(&settings.limits.cpu).map(|cpu| ("cpu".to_string(), cpu)));
    if parse_bytes(&limit) != Some(0) {
        limits.insert("memory".to_string(), limit);
    }
    Resources { requests, limits }
}

fn rolling(settings: &RollingSettings) -> Rolling {
    Rolling {
        max_surge: settings.max_surge.to_string(),
        max_unavailable: settings.max_unavailable.to_string(),
        min_ready_seconds: settings.min_ready_seconds,
        timeout: settings.timeout,
        drain: settings.drain,
        budgets: budgets(settings),
    }
}

/// How much of each trouble a rollout bears.
fn budgets(settings: &RollingSettings) -> Budgets {
    let given = &settings.budgets;
    Budgets {
        restarts: given.restarts,
        image_pull: given.image_pull,
        unschedulable: given.unschedulable,
        scale_up: given.scale_up,
        refused: given.refused,
        readiness: given.readiness,
        init: given.init,
        timeout: settings.timeout,
        ..Budgets::default()
    }
}

fn service(settings: &ServiceSettings) -> Option<ServicePort> {
    settings.enabled.then(|| ServicePort { port: settings.port, kind: settings.kind.as_str().to_string() })
}

fn autoscale(settings: &AutoscaleSettings) -> Option<Autoscale> {
    let nothing = settings.memory.is_none() && settings.metrics.is_empty() && settings.external.is_empty();
    settings.enabled.then(|| Autoscale {
        min: settings.min,
        max: settings.max,
        cpu: settings.cpu.or_else(|| nothing.then_some(70)),
        memory: settings.memory,
        metrics: settings.metrics.clone(),
        external: settings.external.clone(),
    })
}

fn disruption(settings: &DisruptionSettings) -> Option<Disruption> {
    let text = |number: &Option<crate::settings::IntOrPercent>| number.as_ref().map(|number| number.as_str().to_string());
    let (away, stay) = (text(&settings.max_unavailable), text(&settings.min_available));
    let away = away.or_else(|| stay.is_none().then(|| "1".to_string()));
    settings.enabled.then_some(Disruption { max_unavailable: away, min_available: stay })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_java_is_spared_what_it_does_not_know() {
        let facts = |version: &str| ImageFacts { java_version: Some(version.into()), ..ImageFacts::default() };
        assert!(honours_percentage(None, &facts("17.0.1")));
        assert!(honours_percentage(None, &facts("8u191")));
        assert!(!honours_percentage(None, &facts("8u181")));
        assert!(!honours_percentage(None, &ImageFacts::default()));
    }
}
