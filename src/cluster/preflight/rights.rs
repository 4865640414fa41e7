//! What the account may do: one rules review, and a question for each right that it leaves in doubt.

use futures::{StreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::{Api, api::PostParams};

use super::{Publish, surroundings::Presence};
use crate::{
    cluster::{connect::Cluster, problem},
    domain::{
        preflight::rights::{
            Lacking, NEED_OF_BUDGET, NEED_OF_CONFIG, NEED_OF_PULL_SECRET, NEED_OF_RECORD, NEED_OF_SECRET_CONFIG, NEEDS, NEEDS_OF_CHANGE,
            NEEDS_OF_REMOVAL, Need, lacking, refusal,
        },
        problem::Result,
    },
};

/// Questions that are asked at the same time.
const AT_ONCE: usize = 8;

impl Cluster {
    /// What is needed and the account has not; what cannot be found out counts as permitted.
    pub(super) async fn lacking(&self, needs: Vec<&'static Need>) -> Vec<Lacking> {
        let api: Api<SelfSubjectRulesReview> = Api::all(self.client.clone());
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec { namespace: Some(self.namespace.clone()) },
            ..SelfSubjectRulesReview::default()
        };
        let action = ("create", "selfsubjectrulesreviews", self.namespace.as_str());
        let answer = self.call(action, api.create(&PostParams::default(), &review)).await.ok();
        let Some(status) = answer.and_then(|review| review.status) else { return Vec::new() };
        let missing: Vec<Lacking> = needs.into_iter().flat_map(|need| lacking(&status.resource_rules, need)).collect();
        if !status.incomplete {
            return missing;
        }
        // an authorizer that cannot list its rules (a webhook) may permit more than it shows
        let asked = stream::iter(missing).map(|right| async move { (!self.may(right).await).then_some(right) });
        asked.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    /// Whether the account may do what a change of something that runs calls; `records`: it makes a release. Fails with
    /// `cluster-forbidden`, naming all that is missing.
    pub(in crate::cluster) async fn check_rights(&self, records: bool) -> Result<()> {
        let needs = NEEDS_OF_CHANGE.iter().chain(records.then_some(&NEED_OF_RECORD)).collect();
        let (lacking, presence) = tokio::join!(self.lacking(needs), self.presence());
        match presence {
            Presence::Missing => Err(problem::missing_namespace(&self.namespace)),
            _ => refusal(&lacking, &self.namespace).map_or(Ok(()), Err),
        }
    }

    /// Whether the account may delete each of [`NEEDS_OF_REMOVAL`] that is there: a removal must not stop half way. Fails with
    /// `cluster-forbidden`.
    pub(in crate::cluster) async fn check_removal(&self, there: [bool; 5]) -> Result<()> {
        let needs = NEEDS_OF_REMOVAL.iter().zip(there).filter_map(|(need, there)| there.then_some(need));
        refusal(&self.lacking(needs.collect()).await, &self.namespace).map_or(Ok(()), Err)
    }

    async fn may(&self, right: Lacking) -> bool {
        let (resource, part) = right.parts();
        let attributes = ResourceAttributes {
            group: Some(right.group.to_string()),
            resource: Some(resource.to_string()),
            subresource: part.map(str::to_string),
            verb: Some(right.verb.to_string()),
            namespace: Some(self.namespace.clone()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let action = ("create", "selfsubjectaccessreviews", resource);
        match self.call(action, api.create(&PostParams::default(), &review)).await {
            Ok(review) => review.status.is_none_or(|status| status.allowed),
            Err(_) => true,
        }
    }
}

/// What this publish calls: rights for what nobody asked for are not needed.
pub(super) fn needs(publish: &Publish) -> Vec<&'static Need> {
    let secret = publish.workload.config.as_ref().map(|config| config.secret);
    let optional = [
        (publish.pull_secret.is_some() || publish.center.is_some(), &NEED_OF_PULL_SECRET),
        (secret == Some(false), &NEED_OF_CONFIG),
        (secret == Some(true), &NEED_OF_SECRET_CONFIG),
        (publish.workload.disruption.is_some(), &NEED_OF_BUDGET),
    ];
    NEEDS.iter().chain(optional.into_iter().filter_map(|(needed, need)| needed.then_some(need))).collect()
}
