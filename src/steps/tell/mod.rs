//! Those outside who are told of a run while it goes on: the merge request, the commit, the environment, a chat. All of it happens
//! beside the run: nobody waits for a code host but the run's end, for a few seconds.

mod courier;
mod messages;
mod news;
pub(super) mod place;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use self::{
    courier::{Courier, Errand},
    messages::Messages,
    news::News,
};
use super::Job;
use crate::{
    domain::{
        event::{Event, Events},
        problem::Problem,
        redact::Redactor,
        step::Step,
    },
    forge::{self, Begun},
    notify,
    plan::Plan,
    report::{self, Recorder, Report, Stage, comment},
    settings::{Auto, CiEvent, CiKind, Comment, NotifyWhen},
};

/// How long the end of a run waits for those who are told.
const LAST: Duration = Duration::from_secs(5);

/// Tells of one run; made when its plan is known.
pub struct Teller {
    news: watch::Sender<Arc<News>>,
    couriers: Mutex<Vec<(&'static str, JoinHandle<()>)>>,
    messages: Option<Messages>,
    job: Job,
    plan: Plan,
    recorder: Recorder,
    redactor: Redactor,
    events: Events,
    /// The step that changes the cluster has begun.
    rolling: Mutex<bool>,
}

impl Teller {
    /// Begins to tell; what cannot be told for want of a token is said. Jobs that neither build nor
    /// publish are nobody's news.
    pub fn start(job: Job, plan: &Plan, recorder: &Recorder, redactor: &Redactor, events: &Events) -> Arc<Teller> {
        let first = News::live(recorder, redactor, Stage::Started, false).unwrap_or_default();
        let (news, heard) = watch::channel(Arc::new(first));
        let told = matches!(job, Job::Run | Job::Build | Job::Image | Job::Publish | Job::Rollback | Job::Remove);
        let couriers = if told { couriers(job, plan, events, &heard) } else { Vec::new() };
        let messages = Messages::start(plan, recorder, redactor, events);
        let (plan, recorder, redactor, events) = (plan.clone(), recorder.clone(), redactor.clone(), events.clone());
        let (couriers, rolling) = (Mutex::new(couriers), Mutex::new(false));
        Arc::new(Teller { news, couriers, messages, job, plan, recorder, redactor, events, rolling })
    }

    /// The sink of the run's events, with an ear for those that others want to hear of: at most three in a run.
    pub fn listening(self: &Arc<Self>) -> Events {
        let (inner, teller) = (self.events.clone(), self.clone());
        Events::new(move |event| {
            let stage = match &event {
                Event::StepStarted { step: Step::Publish | Step::Rollback } => Some(Stage::Rolling),
                Event::RollingBack { .. } => Some(Stage::RollingBack),
                _ => None,
            };
            inner.emit(event.clone());
            teller.messages.iter().for_each(|messages| messages.hear(&event));
            stage.into_iter().for_each(|stage| teller.hear(stage));
        })
    }

    fn hear(&self, stage: Stage) {
        let mut rolling = self.rolling.lock().unwrap_or_else(PoisonError::into_inner);
        *rolling |= changes_cluster(self.job, &self.plan);
        let stage = if *rolling { stage } else { Stage::Started };
        if let Some(news) = News::live(&self.recorder, &self.redactor, stage, *rolling) {
            self.news.send_replace(Arc::new(news));
        }
    }

    /// Tells how the run ended, and waits for that no longer than a few seconds.
    pub async fn finish(&self, report: &Report) {
        let rolling = *self.rolling.lock().unwrap_or_else(PoisonError::into_inner);
        self.news.send_replace(Arc::new(News::last(report, rolling)));
        let mut couriers = std::mem::take(&mut *self.couriers.lock().unwrap_or_else(PoisonError::into_inner));
        let told = timeout(LAST, join_all(couriers.iter_mut().map(|(_, courier)| courier)));
        let messages = async {
            if let Some(messages) = &self.messages {
                messages.finish(report, LAST).await;
            }
        };
        let (told, notified, ()) = tokio::join!(told, timeout(LAST, self.notify(report)), messages);
        if told.is_err() {
            let late: Vec<&str> = couriers.iter().filter(|(_, courier)| !courier.is_finished()).map(|(what, _)| *what).collect();
            couriers.iter().for_each(|(_, courier)| courier.abort());
            let text = format!("the code host did not take the {} within {} s", late.join(" and the "), LAST.as_secs());
            self.events.warning(text, "look at the code host at forge.url; the run does not wait longer");
        }
        match notified {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => self.events.warning(problem.message, problem.hint),
            Err(_) => {
                let text = format!("the message of notify.url was not taken within {} s", LAST.as_secs());
                self.events.warning(text, "look at its receiver; the run does not wait longer");
            }
        }
    }

    /// The one message of `notify.url`, when this run is one of those that send it.
    async fn notify(&self, report: &Report) -> Result<(), Problem> {
        let settings = &self.plan.settings.notify;
        let Some(url) = settings.url.as_ref().filter(|_| wants_message(settings.when, &self.plan, report)) else { return Ok(()) };
        let report::message::Message { title, good, facts, links, data } = report::message::message(report);
        let owned = |pairs: Vec<(&'static str, String)>| pairs.into_iter().map(|(label, text)| (label.to_string(), text)).collect();
        let message = notify::Message { title, good, facts: owned(facts), links: owned(links), data };
        let options = notify::network(super::access::network(&self.plan.host, &self.plan.ci));
        notify::send(options, url, settings.secret.as_ref(), &message).await
    }
}

/// The rule of `notify.when` (see the settings' reference).
fn wants_message(when: NotifyWhen, plan: &Plan, report: &Report) -> bool {
    let ci = &plan.ci;
    let changed = report.problem().is_some_and(|problem| problem.unrestored);
    // who cancelled a run, or pushed a newer commit, knows it
    let failed = changed || matches!(report.result(), report::Outcome::Failed | report::Outcome::RolledBack);
    let watched = ci.on_default_branch()
        || ci.commit.tag.is_some()
        || plan.settings.environment.is_some()
        || matches!(ci.event, CiEvent::Schedule | CiEvent::Deployment | CiEvent::Rollback)
        || ci.kind == CiKind::Shell;
    let failed = failed && (changed || (watched && ci.event != CiEvent::MergeRequest));
    match when {
        NotifyWhen::Always => true,
        NotifyWhen::Failure => failed,
        NotifyWhen::Publish => failed || (report.result() == report::Outcome::Succeeded && report.release.is_some()),
    }
}

/// Those who carry news to the code host, each on its own: one that hangs holds up no other.
fn couriers(job: Job, plan: &Plan, events: &Events, heard: &watch::Receiver<Arc<News>>) -> Vec<(&'static str, JoinHandle<()>)> {
    let wanted = Wanted::of(job, plan);
    let (target, silence) = place::target(plan, &wanted);
    match silence {
        Some(said) if said.loud => events.warning(said.text, said.hint),
        Some(said) => events.note(format!("{}: {}", said.text, said.hint)),
        None => {}
    }
    let Some(target) = target else { return Vec::new() };
    let network = super::access::forge_network(&plan.settings, &plan.host, &plan.ci, &plan.facts.dir);
    let courier = Courier::new(target, network, events.clone());
    let own = courier.has_own_token();
    let errands = [
        wanted.status.filter(|_| own).map(Errand::Status),
        wanted.comment.filter(|_| own).map(|place| Errand::Comment { place, note: None }),
        wanted.deployment.map(|deployment| Errand::Deployment { deployment, begun: Begun::default() }),
        wanted.retirement.map(Errand::Retirement),
    ];
    let sent = errands.into_iter().flatten().map(|errand| (errand.name(), tokio::spawn(courier.clone().carry(heard.clone(), errand))));
    sent.collect()
}

/// What of a run the code host is to be told.
pub(super) struct Wanted {
    pub comment: Option<CommentPlace>,
    pub status: Option<forge::Status>,
    pub deployment: Option<forge::Deployment>,
    /// The environment that nothing runs in any longer.
    pub retirement: Option<forge::Retirement>,
    /// The status was asked for by its setting.
    pub status_is_asked: bool,
}

/// Where the comment goes.
pub(super) enum CommentPlace {
    /// At this merge request, of this project when it is another one.
    At { number: u64, project: Option<String> },
    /// At the open merge request of this commit, should there be one.
    Of { sha: String },
}

impl Wanted {
    fn of(job: Job, plan: &Plan) -> Wanted {
        let (settings, ci) = (&plan.settings, &plan.ci);
        let sha = ci.commit.sha.clone().or_else(|| plan.facts.commit.as_ref().map(|commit| commit.sha.clone()));
        let status = match settings.status {
            Auto::Yes => true,
            Auto::No => false,
            Auto::Auto => !matches!(ci.kind, CiKind::Gitlab | CiKind::Shell),
        };
        Wanted {
            comment: comment_place(plan).filter(|_| settings.comment == Comment::Update),
            // what is removed says nothing of a commit
            status: sha.clone().filter(|_| status && job != Job::Remove).map(|sha| status_of(job, plan, sha)),
            deployment: sha.filter(|_| changes_cluster(job, plan) && !ci.is_fork()).and_then(|sha| deployment_of(plan, sha)),
            // what a job of GitLab's environment is for (`action: stop`), GitLab does itself
            retirement: settings
                .environment
                .clone()
                .filter(|_| job == Job::Remove && !ci.environment_by_ci && !ci.is_fork())
                .map(|environment| forge::Retirement { environment, application: plan.name.clone() }),
            status_is_asked: settings.status == Auto::Yes,
        }
    }
}

fn comment_place(plan: &Plan) -> Option<CommentPlace> {
    let ci = &plan.ci;
    match &ci.merge_request {
        Some(request) => Some(CommentPlace::At { number: request.number, project: request.project.clone() }),
        // GitLab's pipelines of a branch do not always name the merge request
        None if ci.kind == CiKind::Gitlab && ci.commit.branch.is_some() && !ci.on_default_branch() => {
            Some(CommentPlace::Of { sha: ci.commit.sha.clone()? })
        }
        None => None,
    }
}

fn status_of(job: Job, plan: &Plan, sha: String) -> forge::Status {
    let place = match (job, &plan.settings.environment) {
        (Job::Run | Job::Publish | Job::Rollback, None) => String::new(),
        (Job::Run | Job::Publish | Job::Rollback, Some(environment)) => format!("/{environment}"),
        // another job of the pipeline publishes: its status is another
        (job, _) => format!("/{}", job.name()),
    };
    let of_request = plan.ci.event == CiEvent::MergeRequest;
    forge::Status {
        sha,
        context: format!("shipway/{}{place}", plan.app),
        state: forge::State::Running,
        description: String::new(),
        link: plan.ci.job_url.clone(),
        reference: plan.ci.commit.reference.clone().filter(|_| !of_request),
        pipeline: plan.ci.pipeline_id.filter(|_| plan.ci.kind == CiKind::Gitlab),
    }
}

fn changes_cluster(job: Job, plan: &Plan) -> bool {
    match job {
        Job::Run | Job::Publish => plan.publishes(),
        Job::Rollback => true,
        _ => false,
    }
}

fn deployment_of(plan: &Plan, sha: String) -> Option<forge::Deployment> {
    let ci = &plan.ci;
    let reference = ci.commit.reference.clone().or_else(|| plan.facts.commit.as_ref()?.branch.clone()).unwrap_or_else(|| sha.clone());
    Some(forge::Deployment {
        environment: plan.settings.environment.clone()?,
        application: plan.name.clone(),
        sha,
        reference,
        is_tag: ci.commit.tag.is_some(),
        state: forge::State::Running,
        description: String::new(),
        url: plan.settings.forge.environment_url.as_deref().map(str::to_string).or_else(|| ci.environment_url.clone()),
        link: ci.job_url.clone(),
        by_ci: ci.environment_by_ci,
    })
}

/// As much as every host takes.
const LONGEST_COMMENT: usize = comment::LIMIT;
