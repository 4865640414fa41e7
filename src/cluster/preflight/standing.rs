//! Who we are at a cluster, and what we may there; asks, and changes nothing.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, api::PostParams};

use super::{
    super::{Publish, connect::Cluster, problem},
    rights,
    surroundings::Presence,
};
use crate::domain::{
    preflight,
    problem::{Problem, Result},
};

/// How we stand at a cluster.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Of the API server: `v1.36.3`.
    pub version: String,
    /// Where the cluster does not tell, None.
    pub user: Option<String>,
    /// What a publish of this application would end with.
    pub problem: Option<Problem>,
}

impl Cluster {
    /// Asks who we are, whether the namespace is there, and whether everything is permitted that the publish calls.
    pub async fn standing(&self, publish: &Publish) -> Result<Standing> {
        let version = self.attempt(("get", "the version", "of the API server"), self.client.apiserver_version()).await?;
        let version = version.map_err(|error| problem::problem(&error, self.action(("get", "the version", "of the API server"))))?;
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = SelfSubjectReview::default();
        let action = ("create", "selfsubjectreviews", "");
        let user = match self.attempt(action, api.create(&PostParams::default(), &review)).await? {
            Ok(review) => review.status.and_then(|status| status.user_info?.username),
            Err(error) if problem::is_unauthorized(&error) => return Err(problem::problem(&error, self.action(action))),
            Err(_) => None,
        };
        let (lacking, presence) = tokio::join!(self.lacking(rights::needs(publish)), self.presence());
        let problem = match presence {
            Presence::Missing if !publish.create_namespace => Some(problem::missing_namespace(&self.namespace)),
            Presence::Terminating => Some(problem::leaving_namespace(&self.namespace)),
            _ => preflight::rights::refusal(&lacking, &self.namespace),
        };
        Ok(Standing { version: version.git_version, user, problem })
    }
}
