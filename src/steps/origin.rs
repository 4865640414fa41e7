//! Whether a pull request's code comes from another repository, where the CI does not say: the code host knows.

use std::{path::Path, time::Duration};

use tokio::time::timeout;

use super::{access, tell::place};
use crate::{
    forge::Forge,
    settings::{Auto, Loaded},
};

/// How long the answer is waited for; without one the code counts as foreign.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks where the pull request comes from, when that decides whether this run may publish; says nothing when it does not matter.
/// `asked` is set for the command publish.
pub async fn find_origin(loaded: &mut Loaded, asked: bool) -> Result<(), String> {
    let decides = loaded.settings.publish == Auto::Auto && (asked || loaded.settings.environment.is_some());
    let Some(number) = loaded.ci.unsaid_origin().filter(|_| decides) else { return Ok(()) };
    let Some(target) = place::known(&loaded.settings, &loaded.ci, &loaded.sources, loaded.ci.project.clone_url.as_deref()) else {
        return Err(format!("pull request {number} counts as a fork's: no code host is known to ask; set forge.url"));
    };
    let network = access::forge_network(&loaded.settings, &loaded.host, &loaded.ci, Path::new(""));
    let asking = async { Forge::connect(target, network).await?.is_fork(number).await };
    let answer = match timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|problem| format!("{}; {}", problem.message, problem.hint)),
        Err(_) => Err(format!("the code host did not answer within {} s", PATIENCE.as_secs())),
    };
    let fork = answer.map_err(|why| format!("pull request {number} counts as a fork's: {why}"))?;
    if let Some(request) = &mut loaded.ci.merge_request {
        request.fork = Some(fork);
    }
    Ok(())
}
