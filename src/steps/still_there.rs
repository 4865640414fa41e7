//! Whether the image that new pods would start is still in its registry, asked before anything changes.

use std::time::Duration;

use super::run::Run;
use crate::{
    cluster::{Cluster, Pods},
    domain::{
        problem::{Code, Problem, Result},
        reference::ImageReference,
    },
};

/// A registry that says nothing for so long holds nobody up: nodes may have the image.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fails with `image-missing` when the registry says that it does not have the image. One that cannot be asked is no reason not to try.
pub(super) async fn check(run: &Run, cluster: &Cluster, pods: Pods) -> Result<()> {
    if !run.plan.settings.kubernetes.preflight {
        return Ok(());
    }
    let image = match cluster.image_of(&run.plan.name, pods).await {
        Ok(Some(image)) => image,
        Ok(None) => return Ok(()),
        Err(problem) => {
            // whatever is wrong there is told by what is to come
            tracing::debug!("the image of the new pods is not known: {problem}");
            return Ok(());
        }
    };
    let Ok(reference) = image.parse::<ImageReference>() else { return Ok(()) };
    match tokio::time::timeout(PATIENCE, run.registry.head(&reference)).await {
        Ok(Ok(None)) => return Err(gone(&image)),
        Ok(Ok(Some(_))) => {}
        Ok(Err(problem)) => tracing::debug!("the registry could not be asked for {image}: {problem}"),
        Err(_) => tracing::debug!("the registry did not say in time whether it has {image}"),
    }
    Ok(())
}

fn gone(image: &str) -> Problem {
    let hint = "publish its commit again, or go back to another revision (shipway history); with kubernetes.preflight off it is tried with what \
                the nodes still have";
    Problem::new(Code::ImageMissing, format!("{image}, which new pods would start, is not in its registry any more")).hint(hint)
}
