//! From image to running pods; or to manifests in a file, where there is no cluster.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    config, custom,
    hold::in_turn,
    image::Published,
    rules,
    run::{Done, Run},
};
use crate::{
    cluster,
    domain::{fetch::Pushed, problem::Result, secret::Secret, step::Step, workload::Workload},
    plan::{Plan, Publish},
    report,
};

/// Reads the kubeconfig and the user's manifests before the long part of a run: a wrong context, path or document must not be found out
/// after build and push. The API server is not asked.
pub(super) async fn foresee(run: &Run) -> Result<()> {
    let to_cluster = run.plan.publish == Publish::Cluster && !run.plan.is_library();
    // a worker's build pushes and deploys with the worker's credentials, whatever its repository says of publishing
    if to_cluster || run.plan.host.worker.is_some() {
        run.keeper.foresee().await?;
        rules::foresee(run).await?;
    }
    if to_cluster {
        run.cluster().await?;
    }
    if !matches!(run.plan.publish, Publish::No { .. }) && !run.plan.is_library() {
        custom::read(&run.plan)?;
        config::foresee(&run.plan)?;
    }
    Ok(())
}

pub(super) async fn run(run: &Run, image: &Published) -> Result<()> {
    let version = image.reference.tag.clone().unwrap_or_else(|| image.digest.short().to_string());
    let workload = run.plan.workload(&image.by_digest(), &version, image.application.as_ref(), &image.facts);
    let no = matches!(run.plan.publish, Publish::No { .. });
    let (config, pushed) = if no { (None, None) } else { config::of_release(&run.plan).await? };
    if let Some(Pushed { version, .. }) = &pushed {
        let by = version.author.as_ref().map(|author| format!(" by {author}")).unwrap_or_default();
        run.events.note(format!("the pods get version {} of the configuration, pushed{by} at {}", version.version, version.time));
    }
    let workload = Workload { custom: custom::read(&run.plan)?, config, pushed, ..workload };
    let manifests = render(&workload)?;
    run.attach(|attachments| attachments.manifests = Some(manifests));
    run.watched_step(Step::Publish, async {
        match &run.plan.publish {
            Publish::Cluster => {
                rules::publish(run, image, &workload).await?;
                Box::pin(to_cluster(run, workload)).await
            }
            Publish::Render { missing } => {
                let file = run.plan.report_dir.join("manifests.yaml");
                run.recorder.record(|draft| draft.not_done(not_published(missing, &file)));
                Ok(Done::skipped((), format!("the manifests are at {}", file.display())))
            }
            Publish::No { because } => {
                run.recorder.record(|draft| draft.not_done(report::NotDone::publish_off(because)));
                Ok(Done::skipped((), because.clone()))
            }
        }
    })
    .await
}

/// The manifests of a workload as one YAML stream.
pub(super) fn render(workload: &Workload) -> Result<String> {
    cluster::render(workload)
}

fn not_published(missing: &str, file: &Path) -> report::NotDone {
    let file = file.display().to_string();
    match missing {
        "registry.url" => report::NotDone {
            what: "nothing was published: the cluster has no registry to pull the image from".to_string(),
            instead: Some(format!("the manifests are at {file}")),
            setting: missing.to_string(),
        },
        _ => report::NotDone::no_cluster(&file),
    }
}

async fn to_cluster(run: &Run, workload: Workload) -> Result<Done<()>> {
    let plan = &run.plan;
    let (namespace, name) = (workload.namespace.clone(), workload.name.clone());
    let cluster = run.cluster().await?;
    let request = request(plan, workload);
    run.keeper.intent(plan, "publish").await?;
    let released = in_turn(run, cluster, async |cluster| Box::pin(cluster.publish(&request, &run.events, &run.cancel)).await).await?;
    let summary = format!("{name} in {namespace} is up: revision {}, {} pods", released.revision, released.replicas);
    run.released(&namespace, &name, &released);
    Ok(Done::new((), summary))
}

pub(super) fn request(plan: &Plan, workload: Workload) -> cluster::Publish {
    let commit = plan.facts.commit.as_ref();
    let (kind, number) = plan.sequence();
    cluster::Publish {
        commit: commit.map(|commit| commit.sha.clone()),
        author: commit.map(|commit| commit.author.clone()).filter(|author| !author.is_empty()),
        job_url: plan.ci.job_url.clone(),
        sequence: (kind.to_string(), number),
        create_namespace: plan.settings.kubernetes.create_namespace,
        adopt: plan.settings.kubernetes.adopt,
        force_conflicts: plan.settings.kubernetes.force_conflicts,
        preflight: plan.settings.kubernetes.preflight,
        pull_secret: pull_secret(plan, &workload),
        center: workload.pushed.as_ref().and_then(|pushed| pushed.fetch.as_ref()).map(|_| plan.settings.center.url.clone()),
        lock_wait: plan.settings.lock.wait,
        lock_ttl: plan.settings.lock.ttl,
        holder: plan.holder(),
        evidence: plan.report_dir.join("pods"),
        back_timeout: plan.settings.rollback.timeout,
        history: plan.settings.kubernetes.history,
        workload,
    }
}

/// The image pull secret's `.dockerconfigjson`.
fn pull_secret(plan: &Plan, workload: &Workload) -> Option<Secret> {
    let credentials = plan.pull_credentials()?;
    let auth = BASE64_STANDARD.encode(format!("{}:{}", credentials.username, credentials.password.expose()));
    let config = serde_json::json!({"auths": {workload.image.registry.as_str(): {"auth": auth}}});
    Some(Secret::new(config.to_string()))
}
