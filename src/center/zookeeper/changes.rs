//! Changes of pushed configurations, told by a watch on the node that lists the versions. A session that ends is followed by another.

use tokio::time::{Duration, sleep};

use super::{SHORT, Session, Zookeeper};
use crate::domain::{
    problem::{Class, Problem, Result},
    pushed::Place,
};

/// Between attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

impl Zookeeper {
    /// Tells at first and whenever there may be another version, and when the servers are away; comes back only with what will not change.
    pub(in crate::center) async fn changes(&self, place: &Place, tell: impl Fn(Result<()>)) -> Problem {
        loop {
            let watched = match self.session(SHORT).await {
                Ok(session) => session.changes(place, &tell).await,
                Err(problem) => problem,
            };
            if watched.class() == Class::Auth {
                return watched;
            }
            tell(Err(watched));
            sleep(PAUSE).await;
        }
    }
}

impl Session {
    /// Until the session ends. The watch is there before the list is read, so that no change falls between them.
    async fn changes(&self, place: &Place, tell: &impl Fn(Result<()>)) -> Problem {
        let path = self.head_path(place);
        let what = format!("watch {path}");
        loop {
            let watch = match self.surely(&what, || self.client.check_and_watch_stat(&path)).await {
                Ok((_, watch)) => watch,
                Err(problem) => return problem,
            };
            tell(Ok(()));
            watch.changed().await;
        }
    }
}
