//! Who asks, as well as that can be known: by the token of the job, by the code host, else by what the job says itself.

use std::{path::Path, time::Duration};

use tokio::time::timeout;
use url::Url;

use super::{access, tell::place};
use crate::{
    domain::{
        event::Events,
        identity::{Asker, Proof},
        problem::{Code, Problem, Result},
    },
    forge::{Forge, Token},
    issuer::Issuer,
    net,
    plan::Plan,
    settings::{Ci, CiKind, Host, Loaded, Settings, Sourced},
};

/// How long the code host is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where it is looked for.
pub(super) struct Given<'a> {
    settings: &'a Settings,
    host: &'a Host,
    ci: &'a Ci,
    sources: &'a [Sourced],
    /// What files of settings are relative to.
    dir: &'a Path,
}

impl<'a> Given<'a> {
    pub fn of(plan: &'a Plan) -> Given<'a> {
        Given { settings: &plan.settings, host: &plan.host, ci: &plan.ci, sources: &plan.sources, dir: &plan.facts.work_dir }
    }

    pub fn loaded(loaded: &'a Loaded, dir: &'a Path) -> Given<'a> {
        Given { settings: &loaded.settings, host: &loaded.host, ci: &loaded.ci, sources: &loaded.sources, dir }
    }
}

/// Who asks. What does not prove it is a warning: then the job's own word counts, which is worth what it is.
pub(super) async fn asker(given: &Given<'_>, events: &Events) -> Asker {
    if given.host.worker.is_some() {
        return given.host.asker.clone().unwrap_or_default();
    }
    let proved = match given.ci.kind {
        _ if given.settings.identity.token.is_some() => by_token(given).await.map(Some),
        CiKind::Drone | CiKind::Woodpecker => by_forge(given).await,
        CiKind::Gitlab | CiKind::Shell => Ok(None),
    };
    let claimed = || Asker::claimed(given.host.actor.as_deref());
    proved.map(|asker| asker.unwrap_or_else(claimed)).unwrap_or_else(|problem| {
        events.warning(format!("who asks is not proved: {}", problem.message), problem.hint);
        claimed()
    })
}

async fn by_token(given: &Given<'_>) -> Result<Asker> {
    let identity = &given.settings.identity;
    let address = identity.issuer.as_deref().or(given.ci.issuer.as_deref()).ok_or_else(|| {
        Problem::new(Code::SettingMissing, "identity.token is set, but not who signs it").hint("set identity.issuer to the CI's address")
    })?;
    let token = identity.token.as_ref().ok_or_else(|| Problem::bug("no token"))?;
    Ok(issuer(given, address)?.verify(token, true).await?.asker())
}

/// The one that the settings name, with how it is reached.
pub(super) fn issuer(given: &Given<'_>, address: &str) -> Result<Issuer> {
    let identity = &given.settings.identity;
    let mut options: net::Options = access::network(given.host, given.ci);
    options.ca.extend(identity.ca.as_ref().map(|ca| given.dir.join(ca)));
    Issuer::new(address, &identity.audience, options)
}

/// What stands before the path of a project in the addresses of the issuer's repositories.
pub(super) fn repositories(settings: &Settings, address: &str) -> Vec<String> {
    let set = &settings.identity.repositories;
    let host = Url::parse(address).ok().and_then(|url| url.host_str().map(str::to_string)).unwrap_or_default();
    let usual = || vec![address.to_string(), format!("git@{host}:"), format!("ssh://git@{host}/")];
    let whole = |place: &String| if place.ends_with(['/', ':']) { place.clone() } else { format!("{place}/") };
    (if set.is_empty() { usual() } else { set.clone() }).iter().map(whole).collect()
}

/// Drone and Woodpecker give their jobs no identity: there it is whose token the code host is told of the run with.
async fn by_forge(given: &Given<'_>) -> Result<Option<Asker>> {
    let target = place::known(given.settings, given.ci, given.sources, given.ci.project.clone_url.as_deref());
    let Some(target) = target.filter(|target| matches!(target.token, Token::Own(_))) else { return Ok(None) };
    let host = target.address.host_str().unwrap_or_default().to_string();
    let network = access::forge_network(given.settings, given.host, given.ci, given.dir);
    let asking = async { Forge::connect(target, network).await?.user().await };
    let slow = || Problem::new(Code::ForgeUnreachable, format!("{host} did not answer within {} s", PATIENCE.as_secs()));
    let user = timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(slow()))?;
    Ok(Some(Asker { user, proof: Proof::Forge { host }, ..Asker::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_those_of_the_issuer() {
        let mut settings = crate::settings::load(&crate::settings::Input::default()).unwrap().settings;
        let of = |settings: &Settings| repositories(settings, "https://git.test:8443/code");
        assert_eq!(of(&settings), ["https://git.test:8443/code/", "git@git.test:", "ssh://git@git.test/"]);
        settings.identity.repositories = vec!["https://github.com".to_string(), "git@github.com:".to_string()];
        assert_eq!(of(&settings), ["https://github.com/", "git@github.com:"]);
    }
}
