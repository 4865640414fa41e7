//! The order of a run. Each step takes plain structs, asks one outside system to act, and gives the next step its plain struct.

mod access;
mod ask;
mod build;
mod can;
mod check;
mod checkout;
mod config;
mod custom;
mod dockerfile;
mod doctor;
mod engine;
mod errand;
mod hold;
mod identity;
mod image;
mod init;
mod ledger;
mod logs;
mod origin;
mod preview;
mod publish;
mod pushed;
mod rebase;
mod rollback;
mod rules;
mod run;
mod still_there;
mod tell;
mod unique;
mod watch;
mod worker;

pub use self::{
    access::{connect, registry_client},
    ask::ask,
    can::{Question, can},
    check::{Checked, check, of_mistake},
    checkout::checkout,
    doctor::examine,
    errand::cluster_for,
    hold::{Guarded, center, guard, keep, serve, wanted},
    init::{Draft, Scene, Wishes, drafts, look, settings_file, write, write_settings},
    ledger::{Keeper, RULES, company, ledger, tell as tell_ledger},
    logs::{Archived, archive_logs},
    origin::find_origin,
    preview::{Preview, preview},
    pushed::{Copy, config_files, place, pull, pushing, write_config},
    rules::parse as parse_rules,
    run::{Done, Run, cancelled},
    tell::Teller,
    watch::{Watched, watch},
    worker::work,
};
use crate::domain::problem::Result;

/// What a run is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Everything, from the commit to running pods.
    Run,
    /// Up to the artifact.
    Build,
    /// Up to the staged context with its Dockerfile.
    Dockerfile,
    /// Up to the pushed image.
    Image,
    /// A ready image to the cluster.
    Publish,
    /// An earlier revision to the cluster.
    Rollback,
    /// New pods of the same revision.
    Restart,
    /// Another number of pods.
    Scale,
    /// Out of the cluster.
    Remove,
    /// A ready image onto a new base.
    Rebase,
}

impl Job {
    pub fn name(self) -> &'static str {
        match self {
            Job::Run => "run",
            Job::Build => "build",
            Job::Dockerfile => "dockerfile",
            Job::Image => "image",
            Job::Publish => "publish",
            Job::Rollback => "rollback",
            Job::Restart => "restart",
            Job::Scale => "scale",
            Job::Remove => "remove",
            Job::Rebase => "rebase",
        }
    }

    /// Whether the job needs the source at all.
    pub fn builds(self) -> bool {
        matches!(self, Job::Run | Job::Build | Job::Dockerfile | Job::Image)
    }
}

/// Does a job, step by step; each step's state is kept apart from the others', or one run would need more stack than a thread has.
pub async fn execute(job: Job, run: &Run) -> Result<()> {
    match job {
        Job::Rollback => return Box::pin(rollback::run(run)).await,
        Job::Restart => return Box::pin(errand::restart(run)).await,
        Job::Scale => return Box::pin(errand::scale(run)).await,
        Job::Remove => return Box::pin(errand::remove(run)).await,
        Job::Rebase => return Box::pin(rebase::run(run)).await,
        Job::Publish => return Box::pin(publish::run(run, &Box::pin(image::ready(run)).await?)).await,
        Job::Run if run.plan.has_ready_image() => return Box::pin(publish::run(run, &Box::pin(image::ready(run)).await?)).await,
        Job::Image if run.plan.ready_layout.is_some() => return Box::pin(image::ready(run)).await.map(|_| ()),
        _ => {}
    }
    if job == Job::Run {
        Box::pin(publish::foresee(run)).await?;
    }
    if matches!(job, Job::Run | Job::Image) {
        Box::pin(image::foresee(run)).await?;
    }
    Box::pin(checkout::tell(run)).await?;
    let built = Box::pin(build::run(run)).await?;
    if job == Job::Build || built.library {
        return Ok(());
    }
    let context = Box::pin(dockerfile::run(run, &built, job)).await?;
    if job == Job::Dockerfile {
        return Ok(());
    }
    let image = Box::pin(image::run(run, &context, built)).await?;
    if job == Job::Image {
        return Ok(());
    }
    Box::pin(publish::run(run, &image)).await
}
