//! `run`, `build`, `dockerfile`, `image`, `publish`, `rollback`: jobs of steps, with a log and a report.

use std::path::{Path, PathBuf};

use super::{print, session::Session};
use crate::{
    domain::problem::{Problem, Result},
    plan::{Plan, Publish},
    report::{self, Attachments, Header, Intent, SettingRecord},
    settings::Input,
    steps::{self, Job},
};

/// Does a job to its end and gives the exit code; whatever happens, the report is written and the summary is printed.
pub(super) async fn run(job: Job, input: Input) -> u8 {
    let mut session = match Session::start(input, job.name()) {
        Ok(session) => session,
        Err(problem) => return print::problem(&problem),
    };
    let mut dir = session.loaded.settings.report.dir.clone();
    let mut attachments = Attachments::default();
    let result = execute(job, &mut session, &mut dir, &mut attachments).await;
    finish(&session, result.err(), &dir, &attachments)
}

async fn execute(job: Job, session: &mut Session, dir: &mut PathBuf, attachments: &mut Attachments) -> Result<()> {
    session.listen()?;
    if job == Job::Publish {
        session.publish_by_command();
    }
    let plan = session.plan(job.builds()).await?;
    dir.clone_from(&plan.report_dir);
    describe(session, &plan);
    session.log.header(&header(job, &plan));
    let run = session.run(plan)?;
    let result = steps::execute(job, &run).await;
    attachments.clone_from(&run.attachments());
    if job == Job::Dockerfile
        && let Some(dockerfile) = &attachments.dockerfile
    {
        print::text(dockerfile);
    }
    result
}

/// Ends the run: report files, then the summary, so that its last line can name them.
fn finish(session: &Session, problem: Option<Problem>, dir: &Path, attachments: &Attachments) -> u8 {
    let Some(report) = session.recorder.finish(problem.as_ref(), &session.redactor) else {
        return problem.map_or(0, |problem| problem.exit_code());
    };
    let written = report::write_all(&report, dir, attachments, &session.redactor);
    if let Err(unwritten) = &written {
        // A run that did its work does not fail for want of a place for its report, but it is said.
        let text = format!("the report could not be written: {unwritten}");
        session.events.warning(text, "set report.dir to a folder that can be written");
    }
    session.log.summary(&report, written.is_ok().then_some(dir));
    report.exit_code()
}

/// What the report says of the run beside its steps.
fn describe(session: &Session, plan: &Plan) {
    let ci = report::Ci { kind: plan.ci.kind.name().to_string(), job_url: plan.ci.job_url.clone(), pipeline: plan.ci.pipeline_id };
    session.recorder.record(|draft| {
        draft.app(plan.app.clone(), plan.line.clone());
        draft.environment(plan.settings.environment.clone());
        draft.ci(ci);
        draft.settings(settings(plan));
        if let Some(commit) = commit(plan) {
            draft.commit(commit);
        }
    });
}

/// Every key with its value and source; secrets are words already.
pub(super) fn settings(plan: &Plan) -> Vec<SettingRecord> {
    plan.sources.iter().map(|sourced| SettingRecord::new(sourced.key.clone(), sourced.value.clone(), sourced.source.to_string())).collect()
}

fn commit(plan: &Plan) -> Option<report::Commit> {
    let commit = plan.facts.commit.as_ref()?;
    Some(report::Commit {
        sha: commit.sha.clone(),
        reference: plan.ci.commit.reference.clone().or_else(|| commit.tag.clone()).or_else(|| commit.branch.clone()),
        author: Some(commit.author.clone()).filter(|author| !author.is_empty()),
        title: plan.ci.commit.title.clone(),
    })
}

pub(super) fn header(job: Job, plan: &Plan) -> Header {
    Header {
        version: env!("CARGO_PKG_VERSION").to_string(),
        command: job.name().to_string(),
        app: Some(plan.app.clone()),
        line: Some(plan.line.clone()),
        environment: plan.settings.environment.clone(),
        commit: commit(plan),
        intents: intents(job, plan),
    }
}

fn intents(job: Job, plan: &Plan) -> Vec<Intent> {
    let mut intents = Vec::new();
    if job == Job::Rollback {
        let (namespace, name) = (plan.namespace.clone(), plan.name.clone());
        return vec![Intent::RollBack { namespace, name, revision: plan.settings.rollback.to }];
    }
    match &plan.ready_image {
        Some(image) if matches!(job, Job::Run | Job::Publish) => intents.push(Intent::ReadyImage { reference: image.to_string() }),
        _ if job.builds() => intents.extend(build_intents(job, plan)),
        _ => {}
    }
    if matches!(job, Job::Run | Job::Publish) && !plan.is_library() {
        intents.push(publish_intent(plan));
    }
    intents
}

fn build_intents(job: Job, plan: &Plan) -> Vec<Intent> {
    let build = &plan.settings.build;
    let mut intents = vec![match &build.command {
        Some(argv) => Intent::Command { argv: argv.clone() },
        None => Intent::Maven {
            jdk: build.jdk.or_else(|| plan.facts.project.as_ref()?.java),
            goal: if plan.deploys { "deploy" } else { "package" }.to_string(),
        },
    }];
    if job == Job::Build || plan.is_library() {
        return intents;
    }
    let own = plan.settings.image.dockerfile.as_ref().map(|dockerfile| format!("what {dockerfile} names"));
    let base = own.or_else(|| plan.base(None).ok().map(|base| base.to_string()));
    intents.extend(base.map(|base| Intent::Image { base }));
    if job != Job::Dockerfile {
        intents.push(match plan.pushes {
            true => Intent::Push { reference: plan.target.to_string() },
            false => Intent::Layout { dir: plan.report_dir.join("image").display().to_string() },
        });
    }
    intents
}

fn publish_intent(plan: &Plan) -> Intent {
    match &plan.publish {
        Publish::Cluster => {
            Intent::Publish { context: plan.settings.cluster.context.clone(), namespace: plan.namespace.clone(), name: plan.name.clone() }
        }
        Publish::Render { .. } => Intent::Render { file: plan.report_dir.join("manifests.yaml").display().to_string() },
        Publish::No { because } => Intent::NoPublish { because: because.clone() },
    }
}
