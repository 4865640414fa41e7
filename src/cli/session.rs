//! What every job and query begins with: settings, checkout, plan.

use std::sync::Mutex;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::OnceCell,
};
use tokio_util::sync::CancellationToken;

use super::print;
use crate::{
    domain::{
        event::Events,
        problem::{Problem, Result},
        redact::Redactor,
    },
    plan::Plan,
    report::{self, Attachments, Log, Recorder},
    settings::{self, Auto, Input, Loaded},
    steps::{self, Run},
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

    /// For a command whose standard output belongs to somebody else.
    pub(super) fn beside(input: Input, command: &str) -> Result<Session> {
        Session::with(input, command, print::log_beside)
    }

    fn with(input: Input, command: &str, log: fn(&Loaded, &Redactor) -> Log) -> Result<Session> {
        let loaded = settings::load(&input).map_err(Problem::from)?;
        let redactor = Redactor::new(&loaded.secrets);
        print::trace(loaded.settings.log.level, &redactor);
        let log = log(&loaded, &redactor);
        let recorder = Recorder::new(env!("CARGO_PKG_VERSION"), command);
        let events = report::events(&log, &recorder);
        Ok(Session { loaded, input, log, recorder, redactor, events, cancel: CancellationToken::new() })
    }

    /// Cancels the run at the first SIGTERM or SIGINT; a second one ends the process at once, as the system does it. The log beats
    /// from now on.
    pub(super) fn listen(&self) -> Result<()> {
        let failed = |error: std::io::Error| Problem::bug(format!("cannot listen to signals: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
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
            let input = Input { dir: facts.dir.clone(), ..self.input.clone() };
            self.loaded = settings::load(&input).map_err(Problem::from)?;
        }
        if let Err(why) = steps::find_origin(&mut self.loaded, publish).await {
            self.events.note(why);
        }
        if publish {
            self.publish_by_command();
        }
        Plan::new(self.loaded.clone(), facts)
    }

    /// The run of a plan; what happens in it goes to `events`.
    pub(super) fn run(&self, plan: Plan, events: Events) -> Result<Run> {
        Ok(Run {
            registry: steps::registry_client(&plan, &self.events)?,
            plan,
            events,
            recorder: self.recorder.clone(),
            redactor: self.redactor.clone(),
            cancel: self.cancel.clone(),
            attachments: Mutex::new(Attachments::default()),
            look: Mutex::default(),
            cluster: OnceCell::new(),
        })
    }
}
