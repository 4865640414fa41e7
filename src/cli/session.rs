//! What every job and query begins with: settings, checkout, plan.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::OnceCell,
};
use tokio_util::sync::CancellationToken;

use super::print;
use crate::{
    domain::{
        event::Events,
        policy::Target,
        problem::{Problem, Result},
        redact::Redactor,
    },
    plan::{Facts, Plan},
    process,
    report::{self, Attachments, Log, Recorder},
    settings::{self, Auto, Input, Loaded, Refused},
    steps::{self, Keeper, Run},
};

/// The settings and where the run's words go.
pub(super) struct Session {
    pub loaded: Loaded,
    input: Input,
    pub log: Log,
    pub recorder: Recorder,
    pub redactor: Redactor,
    pub events: Events,
    pub cancel: CancellationToken,
}

impl Session {
    pub(super) fn start(input: Input, command: &str) -> Result<Session> {
        Session::with(input, command, print::log)
    }

    /// For a job, whose report is written when its settings are refused, too: as far as they could be read, with what is wrong.
    pub(super) fn begin(input: Input, command: &str) -> Result<(Session, Option<Problem>)> {
        match settings::load_or_rest(&input) {
            Ok(loaded) => Ok((Session::of(input, loaded, command, print::log), None)),
            Err(Refused { mistakes, rest: Some(rest) }) => {
                Ok((Session::of(input, *rest, command, print::log), Some(Problem::from(mistakes))))
            }
            Err(Refused { mistakes, rest: None }) => Err(Problem::from(mistakes)),
        }
    }

    /// For a command whose standard output belongs to somebody else.
    pub(super) fn beside(input: Input, command: &str) -> Result<Session> {
        Session::with(input, command, print::log_beside)
    }

    fn with(input: Input, command: &str, log: fn(&Loaded, &Redactor) -> Log) -> Result<Session> {
        let loaded = settings::load(&input).map_err(Problem::from)?;
        Ok(Session::of(input, loaded, command, log))
    }

    fn of(input: Input, loaded: Loaded, command: &str, log: fn(&Loaded, &Redactor) -> Log) -> Session {
        let redactor = Redactor::new(&loaded.secrets);
        print::trace(loaded.settings.log.level, &redactor);
        let log = log(&loaded, &redactor);
        let recorder = Recorder::new(env!("CARGO_PKG_VERSION"), command);
        let events = report::events(&log, &recorder);
        Session { loaded, input, log, recorder, redactor, events, cancel: CancellationToken::new() }
    }

    /// Cancels the run at the first SIGTERM or SIGINT; a second one ends the process at once, as the system does it. The log beats
    /// from now on.
    pub(super) fn listen(&self) -> Result<()> {
        let failed = |error: std::io::Error| Problem::bug(format!("cannot listen to signals: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        // a worker that was killed cannot end its builds
        if self.loaded.host.worker.is_some_and(|worker| !process::end_with(worker)) {
            self.cancel.cancel();
        }
        let cancel = self.cancel.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            cancel.cancel();
        });
        let log = self.log.clone();
        tokio::spawn(async move {
            let mut pulse = tokio::time::interval(log.pulse());
            loop {
                pulse.tick().await;
                log.beat();
            }
        });
        Ok(())
    }

    /// Where the report goes as long as no plan says it.
    pub(super) fn report_dir(&self) -> PathBuf {
        let dir = self.input.dir.join(&self.loaded.settings.report.dir);
        dir.strip_prefix(".").map(Path::to_path_buf).unwrap_or(dir)
    }

    /// Who runs `publish` wants it on any branch; a fork's merge request stays out.
    fn publish_by_command(&mut self) {
        let publish = &mut self.loaded.settings.publish;
        if *publish == Auto::Auto && !self.loaded.ci.is_fork() {
            *publish = Auto::Yes;
        }
    }

    /// The plan of this run; clones the source when there is none. `needs_source` is false for commands that only talk to the cluster,
    /// `publish` is set for the command of that name.
    pub(super) async fn plan(&mut self, needs_source: bool, publish: bool) -> Result<Plan> {
        for warning in std::mem::take(&mut self.loaded.warnings) {
            self.events.warning(warning.to_string(), warning.fix.clone());
        }
        let facts = steps::checkout(&self.loaded, &self.input.dir, needs_source, &self.events);
        let facts = tokio::select! {
            biased;
            facts = facts => facts?,
            () = self.cancel.cancelled() => return Err(steps::cancelled("checkout")),
        };
        if facts.cloned {
            self.input.dir.clone_from(&facts.dir);
            self.loaded = settings::load(&self.input).map_err(Problem::from)?;
        }
        self.with_company(&facts).await?;
        if let Err(why) = steps::find_origin(&mut self.loaded, publish).await {
            self.events.note(why);
        }
        if publish {
            self.publish_by_command();
        }
        Plan::new(self.loaded.clone(), facts)
    }

    /// For those who are told of a run that ended before it had its plan; none where not even the application's name is known.
    pub(super) async fn plan_that_does_nothing(&self) -> Option<Plan> {
        let dir = &self.input.dir;
        let facts = steps::checkout(&self.loaded, dir, false, &self.events).await;
        let facts = facts.unwrap_or_else(|_| Facts { work_dir: dir.clone(), dir: dir.clone(), ..Facts::default() });
        Plan::that_does_nothing(self.loaded.clone(), facts)
    }

    /// Loads the settings anew, with those that the ledger has for this application and for all.
    async fn with_company(&mut self, facts: &Facts) -> Result<()> {
        match steps::company(&self.loaded, facts).await {
            Ok(company) if company.is_empty() => Ok(()),
            Ok(company) => {
                self.input.company = company;
                self.loaded = settings::load(&self.input).map_err(Problem::from)?;
                self.loaded.warnings.clear();
                Ok(())
            }
            Err(problem) if self.loaded.settings.ledger.required => Err(problem),
            Err(problem) => {
                let text = format!("what the company has set for this application is not used: {}", problem.message);
                self.events.warning(text, "set ledger.required where a run must not go on without it");
                Ok(())
            }
        }
    }

    /// Asks whether whoever runs this may do `action`, where no run does it.
    pub(super) async fn ask(&self, plan: &Plan, action: &str) -> Result<()> {
        let environment = plan.settings.environment.clone().unwrap_or_default();
        let target = Target { app: plan.app.clone(), line: plan.line.clone(), environment };
        steps::ask(&self.loaded, &plan.facts.work_dir, &self.events, action, &[target]).await.map(drop)
    }

    /// The run of a plan; what happens in it goes to `events`.
    pub(super) fn run(&self, plan: Plan, events: Events) -> Result<Run> {
        Ok(Run {
            registry: steps::registry_client(&plan, &self.events)?,
            keeper: Keeper::new(&plan, &self.loaded, &self.events)?,
            plan,
            events,
            recorder: self.recorder.clone(),
            redactor: self.redactor.clone(),
            cancel: self.cancel.clone(),
            attachments: Mutex::new(Attachments::default()),
            look: Mutex::default(),
            cluster: OnceCell::new(),
            rules: OnceCell::new(),
            permitted: OnceCell::new(),
        })
    }
}
