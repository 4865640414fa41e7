//! The order of a run. Each step takes plain structs, asks one outside system to act, and gives the next step its plain struct.

mod access;
mod build;
mod checkout;
mod dockerfile;
mod image;
mod preview;
mod publish;
mod rollback;
mod run;

pub use self::{
    access::{connect, registry_client},
    checkout::checkout,
    preview::{Preview, preview},
    run::{Done, Run, cancelled},
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
        }
    }

    /// Whether the job needs the source at all.
    pub fn builds(self) -> bool {
        !matches!(self, Job::Publish | Job::Rollback)
    }
}

/// Does a job, step by step.
pub async fn execute(job: Job, run: &Run) -> Result<()> {
    match job {
        Job::Rollback => return rollback::run(run).await,
        Job::Publish => return publish::run(run, &image::ready(run).await?).await,
        Job::Run if run.plan.ready_image.is_some() => return publish::run(run, &image::ready(run).await?).await,
        _ => {}
    }
    if job == Job::Run {
        publish::foresee(run).await?;
    }
    checkout::tell(run).await?;
    let built = build::run(run).await?;
    if job == Job::Build || built.library {
        return Ok(());
    }
    let context = dockerfile::run(run, &built, job).await?;
    if job == Job::Dockerfile {
        return Ok(());
    }
    let image = image::run(run, &context, built).await?;
    if job == Job::Image {
        return Ok(());
    }
    publish::run(run, &image).await
}
