//! Carries news to the code host: the newest only, one after the other, and no further after it was told that it may not.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OnceCell, watch};

use super::{CommentPlace, news::News};
use crate::{
    domain::{
        event::Events,
        problem::{Code, Problem, Result},
    },
    forge::{Begun, Deployment, Forge, Note, Retirement, Status, Target, Token},
    net,
    report::Removed,
};

/// What the couriers of one run share: the connection, and what was said already.
#[derive(Clone)]
pub(super) struct Courier(Arc<Shared>);

struct Shared {
    target: Target,
    network: net::Options,
    forge: OnceCell<Forge>,
    events: Events,
    said: Mutex<BTreeSet<String>>,
}

impl Courier {
    pub fn new(target: Target, network: net::Options, events: Events) -> Self {
        Courier(Arc::new(Shared { target, network, forge: OnceCell::new(), events, said: Mutex::default() }))
    }

    /// GitLab's token of the job may write neither comments nor statuses.
    pub fn has_own_token(&self) -> bool {
        matches!(self.0.target.token, Token::Own(_))
    }

    /// The connection, made at the first need; one that failed is tried again with the next news.
    async fn forge(&self) -> Result<&Forge> {
        self.0.forge.get_or_try_init(|| Forge::connect(self.0.target.clone(), self.0.network.clone())).await
    }

    /// Delivers the newest news until the last is there.
    pub async fn carry(self, mut heard: watch::Receiver<Arc<News>>, mut errand: Errand) {
        loop {
            let news = heard.borrow_and_update().clone();
            let last = news.last;
            // what is under way comes first: given up, it could still arrive after the news that follows it
            let delivered = errand.run(&self, &news).await;
            match delivered {
                Err(problem) if matches!(problem.code, Code::ForgeUnauthorized | Code::ForgeDenied) => return self.say(problem),
                Err(problem) if last => return self.say(problem),
                Err(problem) => tracing::debug!(%problem, "the code host is told again later"),
                Ok(()) => {}
            }
            if last || heard.changed().await.is_err() {
                return;
            }
        }
    }

    /// Once for each cause, however many couriers meet it; what stands in brackets is the request of one of them.
    fn say(&self, problem: Problem) {
        let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
        let cause = problem.message.split(" (").next().unwrap_or_default();
        if said.insert(cause.to_string()) {
            self.0.events.warning(problem.message, problem.hint);
        }
    }
}

/// What one courier does, with what it remembers from one news to the next.
pub(super) enum Errand {
    Status(Status),
    Comment {
        place: CommentPlace,
        note: Option<Note>,
    },
    Deployment {
        deployment: Deployment,
        begun: Begun,
    },
    /// Of this environment, when its application is gone.
    Retirement(Retirement),
}

impl Errand {
    /// For people.
    pub fn name(&self) -> &'static str {
        match self {
            Errand::Status(_) => "commit status",
            Errand::Comment { .. } => "comment",
            Errand::Deployment { .. } => "deployment",
            Errand::Retirement(_) => "end of the deployment",
        }
    }

    async fn run(&mut self, courier: &Courier, news: &News) -> Result<()> {
        match self {
            Errand::Status(status) => {
                let status = Status { state: news.state, description: news.description.clone(), ..status.clone() };
                courier.forge().await?.status(&status).await
            }
            Errand::Comment { place, note } => {
                if note.is_none() {
                    *note = place.note(courier, news).await?;
                }
                match note {
                    Some(note) => courier.forge().await?.comment(note, &news.comment).await,
                    // no merge request is open
                    None => Ok(()),
                }
            }
            Errand::Deployment { deployment, begun } if news.rolling => {
                let url = deployment.url.clone().or_else(|| news.url.clone());
                let description = news.description.clone();
                let deployment = Deployment { state: news.state, description, url, ..deployment.clone() };
                courier.forge().await?.deployment(&deployment, begun).await
            }
            Errand::Deployment { .. } => Ok(()),
            Errand::Retirement(retirement) => match news.removed {
                Some(Removed { others }) if news.last => courier.forge().await?.retire(retirement, others).await,
                _ => Ok(()),
            },
        }
    }
}

impl CommentPlace {
    async fn note(&self, courier: &Courier, news: &News) -> Result<Option<Note>> {
        let marker = news.marker.clone();
        Ok(match self {
            CommentPlace::At { number, project } => {
                Some(Note { project: project.clone(), number: *number, marker, id: None, is_settled: false })
            }
            CommentPlace::Of { sha } => {
                let number = courier.forge().await?.merge_request_of(sha).await?;
                number.map(|number| Note { project: None, number, marker, id: None, is_settled: false })
            }
        })
    }
}
