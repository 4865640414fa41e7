//! Whether a rolling update can be done in its time at all.

use std::time::Duration;

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::util::intstr::IntOrString};

use crate::domain::{
    problem::{Code, Problem},
    rollout::sets::max_unavailable,
    units::format_duration,
};

/// An update that takes longer than `timeout` even if every pod is ready at once: so many pods at a time, each of which has to be ready for
/// minReadySeconds. It would always be put back.
pub fn too_slow(wanted: &Deployment, timeout: Duration) -> Option<Problem> {
    let spec = wanted.spec.as_ref()?;
    let rolling = spec.strategy.as_ref().filter(|strategy| strategy.type_.as_deref() != Some("Recreate"))?.rolling_update.as_ref()?;
    let pods = spec.replicas.unwrap_or(1);
    let surge = match rolling.max_surge.as_ref()? {
        IntOrString::Int(number) => *number,
        // rounds up, as the controller does
        IntOrString::String(percent) => (pods * percent.trim_end_matches('%').parse::<i32>().ok()? + 99) / 100,
    };
    let at_a_time = (surge + max_unavailable(wanted)).max(1);
    let waves = u32::try_from((pods + at_a_time - 1) / at_a_time).ok()?;
    let ready = spec.min_ready_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    let least = Duration::from_secs(ready) * waves;
    (least >= timeout).then(|| {
        let (least, timeout) = (format_duration(least), format_duration(timeout));
        let message = format!(
            "kubernetes.rolling.timeout ({timeout}) is too short: {pods} pods, {at_a_time} at a time, each ready for {ready} s before it \
             counts, take {least} at least"
        );
        Problem::new(Code::SettingInvalid, message)
            .hint("raise kubernetes.rolling.timeout, or let more pods start at once (kubernetes.rolling.max_surge)")
    })
}
