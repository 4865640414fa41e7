//! The application's container: command, environment, resources, probes, graceful stop and security.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, Lifecycle, LifecycleHandler, PodSecurityContext,
        Probe as ContainerProbe, ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext, SleepAction, TCPSocketAction,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};

use super::{
    fetch,
    manifests::{invalid, some},
    problem::Result,
    units::parse_quantity,
    workload::{Probe, Resources, Security, Timing, Workload},
};

/// Name of the application's container.
pub const NAME: &str = "app";
/// Name of the application's port, which the Service refers to.
pub const PORT_NAME: &str = "http";
/// The variable that every Java since 5 reads its options from.
pub const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// The application's container under this name; `native_sleep` says that the cluster has the `sleep` lifecycle handler.
pub fn application(workload: &Workload, name: &str, native_sleep: bool) -> Result<Container> {
    let restricted = matches!(workload.security, Security::Restricted);
    Ok(Container {
        name: name.to_string(),
        image: Some(workload.image.to_string()),
        args: (!workload.args.is_empty()).then(|| workload.args.clone()),
        env: environment(workload),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_string()),
            container_port: i32::from(workload.port),
            protocol: Some("TCP".to_string()),
            ..ContainerPort::default()
        }]),
        resources: resources(&workload.resources)?,
        startup_probe: probe("startup", workload.probes.startup.as_ref())?,
        readiness_probe: probe("readiness", workload.probes.readiness.as_ref())?,
        liveness_probe: probe("liveness", workload.probes.liveness.as_ref())?,
        lifecycle: drain(workload, native_sleep),
        volume_mounts: fetch::mounts(workload),
        security_context: restricted.then(container_security),
        ..Container::default()
    })
}

/// What a namespace with the restricted Pod Security Standard asks of the pod.
pub fn pod_security(user: Option<i64>) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user,
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_string(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// Whether pods of this workload get time to leave the Service before SIGTERM; false when it was asked for and nothing can do it.
pub fn can_drain(workload: &Workload, native_sleep: bool) -> bool {
    workload.rolling.drain.is_zero() || drain(workload, native_sleep).is_some()
}

pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_string()]), add: None }),
        ..SecurityContext::default()
    }
}

fn environment(workload: &Workload) -> Option<Vec<EnvVar>> {
    let mut plain = workload.env.clone();
    if !workload.jvm.is_empty() {
        let ours = java_options(&workload.jvm);
        let value = match plain.get(JAVA_OPTIONS) {
            Some(theirs) => format!("{theirs} {ours}"),
            None => ours,
        };
        plain.insert(JAVA_OPTIONS.to_string(), value);
    }
    let plain = plain.into_iter().map(|(name, value)| EnvVar { name, value: Some(value), value_from: None });
    let secret = workload.secrets.iter().map(|(name, from)| EnvVar {
        name: name.clone(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector { name: from.secret.clone(), key: from.key.clone(), optional: None }),
            ..EnvVarSource::default()
        }),
    });
    let all: Vec<EnvVar> = plain.chain(secret).collect();
    (!all.is_empty()).then_some(all)
}

/// One option a word; HotSpot reads quotes around an option that has white space in it.
fn java_options(options: &[String]) -> String {
    let quoted = |option: &String| match (option.contains(char::is_whitespace), option.contains('"')) {
        (false, _) => option.clone(),
        (true, false) => format!("\"{option}\""),
        (true, true) => format!("'{option}'"),
    };
    options.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn resources(resources: &Resources) -> Result<Option<ResourceRequirements>> {
    let requests = quantities("requests", &resources.requests)?;
    let limits = quantities("limits", &resources.limits)?;
    let any = requests.is_some() || limits.is_some();
    Ok(any.then_some(ResourceRequirements { requests, limits, claims: None }))
}

fn quantities(part: &str, given: &BTreeMap<String, String>) -> Result<Option<BTreeMap<String, Quantity>>> {
    let mut quantities = BTreeMap::new();
    for (resource, amount) in given {
        if parse_quantity(amount).is_none() {
            let key = format!("kubernetes.resources.{part}.{resource}");
            return Err(invalid(&key, format!("{amount:?} is no Kubernetes quantity such as 250m or 768Mi")));
        }
        quantities.insert(resource.clone(), Quantity(amount.clone()));
    }
    Ok(some(quantities))
}

fn probe(which: &str, probe: Option<&Probe>) -> Result<Option<ContainerProbe>> {
    Ok(match probe {
        None => None,
        Some(Probe::Http { path, port, timing }) => {
            let path = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
            let get = HTTPGetAction { path: Some(path), port: IntOrString::Int(i32::from(*port)), ..HTTPGetAction::default() };
            Some(ContainerProbe { http_get: Some(get), ..timed(timing) })
        }
        Some(Probe::Tcp { port, timing }) => {
            let socket = TCPSocketAction { port: IntOrString::Int(i32::from(*port)), host: None };
            Some(ContainerProbe { tcp_socket: Some(socket), ..timed(timing) })
        }
        Some(Probe::Custom(value)) => Some(custom(which, value)?),
    })
}

fn timed(timing: &Timing) -> ContainerProbe {
    ContainerProbe {
        period_seconds: Some(timing.period),
        timeout_seconds: Some(timing.timeout),
        failure_threshold: Some(timing.failure_threshold),
        ..ContainerProbe::default()
    }
}

/// A misspelt field would be dropped in silence, so what was read is written back and compared.
fn custom(which: &str, value: &serde_json::Value) -> Result<ContainerProbe> {
    let key = format!("kubernetes.probes.{which}");
    let read: ContainerProbe = serde_json::from_value(value.clone()).map_err(|error| invalid(&key, error))?;
    let back = serde_json::to_value(&read).map_err(|error| invalid(&key, error))?;
    let fields = value.as_object().into_iter().flatten();
    if let Some((field, _)) = fields.into_iter().find(|(field, _)| back.get(field.as_str()).is_none()) {
        return Err(invalid(&key, format!("a Kubernetes probe has no field {field:?}")));
    }
    Ok(read)
}

fn drain(workload: &Workload, native_sleep: bool) -> Option<Lifecycle> {
    let seconds = i64::try_from(workload.rolling.drain.as_secs()).ok().filter(|seconds| *seconds > 0)?;
    // An older cluster would need a program of the image for it, and most Java images have none that can be relied upon.
    let sleep = native_sleep.then(|| LifecycleHandler { sleep: Some(SleepAction { seconds }), ..LifecycleHandler::default() })?;
    Some(Lifecycle { pre_stop: Some(sleep), post_start: None, stop_signal: None })
}
