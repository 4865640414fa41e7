//! Changes of pushed configurations, told by a watch on the object that lists the versions.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};

use super::{connect::Cluster, problem};
use crate::domain::{
    problem::{Class, Problem, Result},
    pushed::Place,
};

impl Cluster {
    /// Tells at first and whenever there may be another version, and when the server is away; comes back only with what will not change.
    pub async fn config_changes(&self, place: &Place, tell: impl Fn(Result<()>)) -> Problem {
        let name = place.head();
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut changes = std::pin::pin!(watcher::watcher(api, config).default_backoff());
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::InitDone | watcher::Event::Apply(_)) => tell(Ok(())),
                Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) => {
                    let problem = problem::problem(&error, self.action(("watch", "configmaps", &name)));
                    if problem.class() == Class::Auth {
                        return problem;
                    }
                    tell(Err(problem));
                }
                // a watch that was cut comes back by itself
                Ok(_) | Err(_) => {}
            }
        }
        Problem::bug("a watch came to its end")
    }
}
