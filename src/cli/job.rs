//! `run`, `build`, `dockerfile`, `image`, `publish`, `rollback`, `rebase`, `restart`, `scale`, `remove`: jobs of steps, with a log and a
//! report.

use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::FutureExt;

use super::{print, session::Session};
use crate::{
    domain::problem::{Problem, Result},
    plan::{Plan, Publish},
    report::{self, Attachments, Header, Intent, SettingRecord},
    settings::Input,
    steps::{self, Job, Keeper, Teller},
};

/// Does a job to its end and gives the exit code; whatever happens, the report is written and the summary is printed.
pub(super) async fn run(job: Job, input: Input) -> u8 {
    let (mut session, refused) = match Session::begin(input, job.name()) {
        Ok(begun) => begun,
        Err(problem) => return print::problem(&problem),
    };
    let mut ending = Ending { dir: session.report_dir(), attachments: Attachments::default(), teller: None, keeper: None };
    let result = match refused {
        // a job that is cancelled while others are told writes its report all the same
        Some(problem) => session.listen().and(Err(problem)),
        // each of these futures is large, and without a box stands on the stack as often as it is passed on
        None => unwound(Box::pin(execute(job, &mut session, &mut ending))).await,
    };
    if result.is_err() && ending.teller.is_none() {
        ending.teller = Box::pin(tell_without_a_plan(job, &session)).await;
    }
    Box::pin(finish(&session, result.err(), &ending)).await
}

/// Who is told of a run is told of one that ended before it had a plan, too: what the code host says must not stay as it was.
async fn tell_without_a_plan(job: Job, session: &Session) -> Option<Arc<Teller>> {
    let plan = session.plan_that_does_nothing().await?;
    describe(session, &plan);
    Some(Teller::start(job, &plan, &session.recorder, &session.redactor, &session.events))
}

/// What a bug unwinds is the problem of the run: those outside hear of its end all the same, and no status stays pending. Where it
/// stopped the cluster may be changed.
async fn unwound<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let hint = "report the message and the log; `shipway status` says what runs now";
        Err(Problem::bug(format!("the run stopped by itself: {}", words.unwrap_or("no words"))).hint(hint))
    })
}

/// What the end of a run needs, as far as the run came.
struct Ending {
    dir: PathBuf,
    attachments: Attachments,
    teller: Option<Arc<Teller>>,
    keeper: Option<Arc<Keeper>>,
}

async fn execute(job: Job, session: &mut Session, ending: &mut Ending) -> Result<()> {
    session.listen()?;
    let plan = Box::pin(session.plan(job.builds(), job == Job::Publish)).await?;
    ending.dir.clone_from(&plan.report_dir);
    describe(session, &plan);
    session.log.header(&header(job, &plan));
    let teller = Teller::start(job, &plan, &session.recorder, &session.redactor, &session.events);
    let events = teller.listening();
    ending.teller = Some(teller);
    let run = session.run(plan, events)?;
    ending.keeper = Some(run.keeper.clone());
    let result = Box::pin(steps::execute(job, &run)).await;
    ending.attachments.clone_from(&run.attachments());
    if job == Job::Dockerfile
        && let Some(dockerfile) = &ending.attachments.dockerfile
    {
        print::text(dockerfile);
    }
    result
}

/// Ends the run: those outside are told, report files, then the summary, so that its last line can name them.
async fn finish(session: &Session, problem: Option<Problem>, ending: &Ending) -> u8 {
    let Some(report) = session.recorder.finish(problem.as_ref(), &session.redactor) else {
        return problem.map_or(0, |problem| problem.exit_code());
    };
    if let Some(teller) = &ending.teller {
        teller.finish(&report).await;
    }
    if let Some(keeper) = &ending.keeper {
        keeper.result(&report).await;
    }
    let written = report::write_all(&report, &ending.dir, &ending.attachments, &session.redactor);
    if let Err(unwritten) = &written {
        // A run that did its work does not fail for want of a place for its report, but it is said.
        let text = format!("the report could not be written: {unwritten}");
        session.events.warning(text, "set report.dir to a folder that can be written");
    }
    leave_for_ci(session, &report);
    session.log.summary(&report, written.is_ok().then_some(ending.dir.as_path()));
    report.exit_code()
}

/// The card and the output variables that Drone collects.
fn leave_for_ci(session: &Session, report: &report::Report) {
    let (ci, settings) = (&session.loaded.ci, &session.loaded.settings);
    if let Some(path) = &ci.card_path {
        let card = report::card::render(report, settings.report.card.as_deref(), &session.redactor);
        match path == Path::new(report::card::LOG) {
            true => print::text(&report::card::escaped(&card)),
            false => said(session, report::leave(path, &card, false)),
        }
    }
    if let Some(path) = &ci.output_path {
        let variables = session.redactor.redact(&report::dotenv::render(report)).into_owned();
        said(session, report::leave(path, &variables, true));
    }
}

fn said(session: &Session, left: Result<()>) {
    if let Err(unwritten) = left {
        session.events.warning(unwritten.message, "the CI shows no card or output of this step");
    }
}

/// What the report says of the run beside its steps.
fn describe(session: &Session, plan: &Plan) {
    let ci = report::Ci { kind: plan.ci.kind.name().to_string(), job_url: plan.ci.job_url.clone(), pipeline: plan.ci.pipeline_id };
    session.recorder.record(|draft| {
        draft.app(plan.app.clone(), plan.line.clone());
        draft.environment(plan.settings.environment.clone());
        draft.ci(ci);
        draft.report_url(plan.settings.report.url.as_deref().map(str::to_string));
        draft.settings(settings(plan));
        draft.help(plan.settings.help.url.as_deref().map(str::to_string));
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
    if let Some(errand) = errand_intent(job, plan) {
        return vec![errand];
    }
    if job == Job::Rebase {
        let image = plan.settings.rebase.image.clone().or_else(|| plan.settings.image.reference.clone());
        return vec![Intent::Rebase {
            image: image.or_else(|| plan.host.earlier_image.clone()).unwrap_or_else(|| "what runs".to_string()),
            onto: plan.settings.rebase.onto.clone(),
        }];
    }
    match &plan.ready_image {
        Some(image) if matches!(job, Job::Run | Job::Publish) => intents.push(Intent::ReadyImage { reference: image.to_string() }),
        None if plan.ready_layout.is_some() && job != Job::Build && job != Job::Dockerfile => intents.extend(layout_intents(plan)),
        _ if job.builds() => intents.extend(build_intents(job, plan)),
        _ => {}
    }
    if matches!(job, Job::Run | Job::Publish) && !plan.is_library() {
        intents.push(publish_intent(plan));
    }
    intents
}

/// What a job does to an application that runs already.
fn errand_intent(job: Job, plan: &Plan) -> Option<Intent> {
    let (namespace, name) = (plan.namespace.clone(), plan.name.clone());
    match job {
        Job::Rollback => Some(Intent::RollBack { namespace, name, revision: plan.settings.rollback.to }),
        Job::Restart => Some(Intent::Restart { namespace, name }),
        Job::Scale => Some(Intent::Scale { namespace, name, to: plan.settings.scale.to }),
        Job::Remove => Some(Intent::Remove { namespace, name }),
        Job::Run | Job::Build | Job::Dockerfile | Job::Image | Job::Publish | Job::Rebase => None,
    }
}

fn layout_intents(plan: &Plan) -> Vec<Intent> {
    let ready = plan.ready_layout.iter().map(|layout| Intent::ReadyImage { reference: layout.to_string() });
    ready.chain(plan.pushes.then(|| Intent::Push { reference: plan.target.to_string() })).collect()
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
    let base = own.or_else(|| plan.base(None, None).ok().map(|base| base.to_string()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::problem::Code;

    #[tokio::test]
    async fn what_unwinds_ends_the_run_with_a_problem() {
        let problem = unwound(async { panic!("index {} is out of range", 7) as Result<()> }).await.unwrap_err();
        assert!(problem.message.contains("index 7 is out of range"), "{}", problem.message);
        assert_eq!((problem.code, problem.exit_code()), (Code::Bug, 70));
        assert_eq!(unwound(async { Ok(1) }).await.unwrap(), 1);
    }
}
