//! What runs on the cluster: settings over what is known of the application.

use std::collections::BTreeMap;

use super::{Plan, probes};
use crate::{
    domain::{
        application::{Application, ImageFacts},
        reference::ImageReference,
        units::parse_bytes,
        workload::{Autoscale, Resources, Rolling, Security, ServicePort, Workload},
    },
    settings::{AutoscaleSettings, ResourceSettings, RollingSettings, SecuritySetting, ServiceSettings},
};

const DEFAULT_CPU_REQUEST: &str = "100m";
const DEFAULT_MEMORY: &str = "1Gi";
/// Percent of the container's limit that the heap may take; the rest is for metaspace, threads and buffers.
const HEAP_PERCENT: &str = "-XX:MaxRAMPercentage=70";
/// Options that say the heap's size; with any of them ours stays away.
const HEAP_OPTIONS: &[&str] =
    &["-Xmx", "-XX:MaxHeapSize", "-XX:MaxRAMPercentage", "-XX:MaxRAMFraction", "-XX:InitialRAMPercentage", "-XX:MaxRAM="];

impl Plan {
    /// The workload of this image; `application` is None for an image that was built elsewhere.
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
            security: match kubernetes.security {
                SecuritySetting::Restricted => Security::Restricted,
                SecuritySetting::Off => Security::Off,
            },
            labels: kubernetes.labels.clone(),
            annotations: kubernetes.annotations.clone(),
            service_account: kubernetes.service_account.clone(),
            pull_secret: self.pull_credentials().map(|_| format!("{}-pull", self.name)),
            user: user.split(':').next().and_then(|user| user.parse().ok()),
            image_has_sleep: false,
        }
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
    match facts.java_version.as_deref().and_then(java_version) {
        Some((feature, update)) => feature >= 10 || (feature == 8 && update >= 191),
        None => application.and_then(|application| application.java).is_some_and(|java| java >= 10),
    }
}

/// Feature and update of `17.0.15+6`, `jdk-17.0.15+6`, `8u402`, `jdk8u402-b06`, `1.8.0_402`.
fn java_version(text: &str) -> Option<(u32, u32)> {
    let text = text.trim_start_matches("jdk").trim_start_matches('-');
    let numbers: Vec<u32> =
        text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).map_while(|part| part.parse().ok()).collect();
    match numbers.as_slice() {
        [1, feature, _, update, ..] => Some((*feature, *update)),
        [8, update, ..] if text.contains('u') => Some((8, *update)),
        // Java 8 in the new scheme is 8.0.update: the third number.
        [8, _, update, ..] => Some((8, *update)),
        [feature, ..] => Some((*feature, 0)),
        [] => None,
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
    }
}

fn service(settings: &ServiceSettings) -> Option<ServicePort> {
    settings.enabled.then(|| ServicePort { port: settings.port, kind: settings.kind.as_str().to_string() })
}

fn autoscale(settings: &AutoscaleSettings) -> Option<Autoscale> {
    let cpu = settings.cpu.or_else(|| settings.memory.is_none().then_some(70));
    settings.enabled.then_some(Autoscale { min: settings.min, max: settings.max, cpu, memory: settings.memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_in_all_their_spellings() {
        for (text, expected) in [
            ("17.0.15+6", (17, 0)),
            ("jdk-21.0.7+6", (21, 0)),
            ("jdk8u402-b06", (8, 402)),
            ("8u181", (8, 181)),
            ("1.8.0_181", (8, 181)),
            ("8.0.402", (8, 402)),
            ("25", (25, 0)),
        ] {
            assert_eq!(java_version(text), Some(expected), "{text}");
        }
        assert_eq!(java_version("unknown"), None);
    }

    #[test]
    fn an_old_java_is_spared_what_it_does_not_know() {
        let facts = |version: &str| ImageFacts { java_version: Some(version.into()), user: None };
        assert!(honours_percentage(None, &facts("17.0.1")));
        assert!(honours_percentage(None, &facts("8u191")));
        assert!(!honours_percentage(None, &facts("8u181")));
        assert!(!honours_percentage(None, &ImageFacts::default()));
    }
}
