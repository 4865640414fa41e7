//! A run's entry in the ledger: its intent before anything of the cluster changes, its result when it is over.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{access::network, run::Run, unique::unique};
use crate::{
    domain::{
        digest::Digest,
        event::Events,
        policy::Target,
        problem::{Code, Problem, Result},
        record::{End, Record, StepRow},
    },
    ledger::{Event, Ledger, Place},
    net,
    plan::{Facts, Plan, app_name},
    report::Report,
    settings::{Loaded, company_name},
};

/// The document of the ledger that holds the rules.
pub const RULES: &str = "rules";
/// How much longer than its settings permit a change may take, before a missing result counts as lost.
const SLACK: Duration = Duration::from_secs(15 * 60);

/// Writes what one run changes into the ledger. Connections are short: two hundred rollouts that are watched hold none.
pub struct Keeper {
    place: Option<Place>,
    required: bool,
    limit: Duration,
    keep_days: Option<u32>,
    outbox: PathBuf,
    events: Events,
    /// The intent that waits for its result.
    open: Mutex<Option<Record>>,
}

/// The ledger that the settings name; `dir` is what its file is relative to.
pub async fn ledger(loaded: &Loaded, dir: &Path) -> Result<Ledger> {
    let missing = || Problem::new(Code::SettingMissing, "no ledger is configured").hint("set ledger.url (SHIPWAY_LEDGER_URL)");
    Ledger::open(&place(loaded, dir)?.ok_or_else(missing)?, loaded.settings.ledger.timeout).await
}

/// What the ledger has set for all applications and for this one, the weakest first; nothing without a ledger.
pub async fn company(loaded: &Loaded, facts: &Facts) -> Result<Vec<(String, String)>> {
    let Some(place) = place(loaded, &facts.work_dir)? else { return Ok(Vec::new()) };
    let app = app_name(loaded, facts)?;
    let read = async {
        let ledger = Ledger::open(&place, loaded.settings.ledger.timeout).await?;
        let mut company = Vec::new();
        for name in ["*", &app] {
            let entry = ledger.application(name).await?.filter(|entry| !entry.settings.is_empty());
            company.extend(entry.map(|entry| (company_name(name), serde_json::Value::Object(entry.settings).to_string())));
        }
        Ok(company)
    };
    read.await.map_err(|problem| if loaded.settings.ledger.required { nothing_changed(problem) } else { problem })
}

fn place(loaded: &Loaded, dir: &Path) -> Result<Option<Place>> {
    let settings = &loaded.settings.ledger;
    let Some(url) = &settings.url else { return Ok(None) };
    let mut options = network(&loaded.host, &loaded.ci);
    options.ca.extend(settings.ca.as_ref().map(|ca| dir.join(ca)));
    let roots = if url.expose().starts_with("postgres") { net::root_store(&options)? } else { rustls::RootCertStore::empty() };
    Place::of(url.expose(), dir, roots).map(Some)
}

/// Away from the checkout, whose files anybody may have committed, and from a worker's room, which is gone after the build; a folder for each
/// ledger, named by its digest.
fn outbox(plan: &Plan, place: Option<&Place>) -> PathBuf {
    let (set, cache) = (&plan.settings.ledger.outbox, &plan.host.cache);
    match (set, cache, place) {
        (Some(set), ..) => plan.facts.work_dir.join(set),
        (None, Some(cache), Some(place)) => {
            let digest = Digest::from_sha256(&Sha256::digest(place.name().as_bytes()));
            cache.join("shipway/ledger").join(&digest.hex()[..16])
        }
        _ => plan.report_dir.join("ledger"),
    }
}

impl Keeper {
    pub fn new(plan: &Plan, loaded: &Loaded, events: &Events) -> Result<Arc<Keeper>> {
        let settings = &loaded.settings.ledger;
        let place = place(loaded, &plan.facts.work_dir)?;
        let outbox = outbox(plan, place.as_ref());
        Ok(Arc::new(Keeper {
            place,
            required: settings.required,
            limit: settings.timeout,
            keep_days: settings.keep_days,
            outbox,
            events: events.clone(),
            open: Mutex::default(),
        }))
    }

    /// A ledger that is required and away is found out before the long part of a run.
    pub(super) async fn foresee(&self) -> Result<()> {
        match &self.place {
            Some(place) if self.required => Ledger::open(place, self.limit).await.map(drop).map_err(nothing_changed),
            _ => self.has_what_it_needs(),
        }
    }

    /// Writes what is about to be done; comes before the first change of the cluster.
    ///
    /// # Errors
    /// The ledger's, when `ledger.required` says that nothing may be done without it.
    pub(super) async fn intent(&self, plan: &Plan, action: &str) -> Result<()> {
        self.has_what_it_needs()?;
        let Some(place) = &self.place else { return Ok(()) };
        let record = record(plan, action)?;
        let written = async {
            let ledger = Ledger::open(place, self.limit).await?;
            ledger.record(&record).await?;
            self.send_outbox(&ledger).await;
            Ok(())
        };
        match written.await {
            Err(problem) if self.required => return Err(nothing_changed(problem)),
            Err(problem) => {
                let text = format!("the ledger does not know of this {action} yet: {}", problem.message);
                self.events.warning(text, problem.hint);
            }
            Ok(()) => {}
        }
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
        Ok(())
    }

    fn has_what_it_needs(&self) -> Result<()> {
        match (&self.place, self.required) {
            (None, true) => {
                Err(Problem::new(Code::SettingMissing, "ledger.required is set, but no ledger is")
                    .hint("set ledger.url (SHIPWAY_LEDGER_URL)"))
            }
            _ => Ok(()),
        }
    }

    /// Writes a decision; one that cannot be written is a warning, and stands.
    pub(super) async fn event(&self, plan: &Plan, kind: &str, target: &Target, detail: serde_json::Value) {
        let Some(place) = &self.place else { return };
        let author = author(plan).unwrap_or_default();
        let written = async { tell(&Ledger::open(place, self.limit).await?, kind, target, &author, detail).await };
        if let Err(problem) = written.await {
            self.events.warning(format!("the ledger does not have this decision: {}", problem.message), problem.hint);
        }
    }

    /// Writes how it ended, or keeps it for later: what is done cannot fail for want of a record.
    pub async fn result(&self, report: &Report) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(place), Some(mut record)) = (&self.place, open) else { return };
        record.end = Some(end(report));
        let written = async {
            let ledger = Ledger::open(place, self.limit).await?;
            ledger.record(&record).await?;
            self.send_outbox(&ledger).await;
            match self.keep_days {
                Some(days) => ledger.prune(days).await,
                None => Ok(()),
            }
        };
        let Err(problem) = written.await else { return };
        match self.keep(&record) {
            Ok(file) => {
                let text = format!("the ledger does not have the result yet: {}; it is kept in {}", problem.message, file.display());
                self.events.warning(text, "keep ledger.outbox between jobs, as a cache of the CI: the next run sends what is in it");
            }
            Err(unkept) => {
                let text = format!("the ledger does not have the result ({}), and it could not be kept: {unkept}", problem.message);
                self.events.warning(text, "the cluster's own record has it: `shipway history`");
            }
        }
    }

    fn keep(&self, record: &Record) -> Result<PathBuf> {
        fs::create_dir_all(&self.outbox).map_err(|error| Problem::io("make", &self.outbox, &error))?;
        let (file, part) = (self.outbox.join(format!("{}.json", record.id)), self.outbox.join(format!("{}.part", record.id)));
        let text = serde_json::to_string(record).map_err(|error| Problem::bug(format!("a record cannot be written: {error}")))?;
        fs::write(&part, text).and_then(|()| fs::rename(&part, &file)).map_err(|error| Problem::io("write", &file, &error))?;
        Ok(file)
    }

    /// Sends what earlier runs could not. Two runs may send the same: the ledger has it once.
    async fn send_outbox(&self, ledger: &Ledger) {
        let Ok(files) = fs::read_dir(&self.outbox) else { return };
        for path in files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "json")) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let Ok(record) = serde_json::from_str::<Record>(&text) else {
                self.events.warning(format!("{} is no record of the ledger's", path.display()), "look at it, and remove it");
                continue;
            };
            if ledger.record(&record).await.is_ok() {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// Writes an event.
///
/// # Errors
/// The ledger's.
pub async fn tell(ledger: &Ledger, kind: &str, target: &Target, author: &str, detail: serde_json::Value) -> Result<()> {
    let (app, environment) = (target.app.clone(), target.environment.clone());
    ledger.event(&Event { id: unique()?, kind: kind.to_string(), app, environment, author: author.to_string(), detail }).await
}

/// The rules that the ledger holds. Of one that is away nothing is known: who keeps rules there sets `ledger.required`.
pub(super) async fn rules_of_ledger(run: &Run) -> Result<Option<String>> {
    let keeper = &run.keeper;
    let Some(place) = &keeper.place else { return Ok(None) };
    let read = async { Ledger::open(place, keeper.limit).await?.document(RULES).await };
    match read.await {
        Err(problem) if keeper.required => Err(nothing_changed(problem)),
        Err(problem) => {
            say_unknown(&run.events, &problem);
            Ok(None)
        }
        found => found,
    }
}

/// The rules of a ledger that is away, and need not be there.
pub(super) fn say_unknown(events: &Events, problem: &Problem) {
    let text = format!("the company's rules in the ledger are not known: {}", problem.message);
    events.warning(text, "set ledger.required where rules must be kept");
}

fn nothing_changed(problem: Problem) -> Problem {
    let message = format!("{}; nothing was changed, since ledger.required is set", problem.message);
    Problem { message, ..problem }
}

/// Who asked for it, as far as it is known: the broker has proved the one of a message.
fn author(plan: &Plan) -> Option<String> {
    let of_commit = || plan.facts.commit.as_ref().map(|commit| commit.author.clone());
    let asker = plan.host.asker.as_ref().and_then(|asker| asker.named()).map(str::to_string);
    asker.or_else(|| plan.ci.commit.author.clone()).or_else(of_commit).or_else(|| plan.host.user.clone())
}

fn record(plan: &Plan, action: &str) -> Result<Record> {
    let now = Timestamp::now().as_millisecond();
    let settings = &plan.settings;
    let longest = settings.lock.wait + settings.kubernetes.rolling.timeout + settings.rollback.timeout + SLACK;
    let commit = plan.facts.commit.as_ref();
    Ok(Record {
        id: unique()?,
        app: plan.app.clone(),
        line: plan.line.clone(),
        environment: settings.environment.clone().unwrap_or_default(),
        namespace: plan.namespace.clone(),
        name: plan.name.clone(),
        action: action.to_string(),
        commit: commit.map(|commit| commit.sha.clone()),
        author: author(plan),
        job_url: plan.ci.job_url.clone(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        began: now,
        deadline: now + i64::try_from(longest.as_millis()).unwrap_or(i64::MAX / 2),
        end: None,
    })
}

fn end(report: &Report) -> End {
    let problem = report.problem();
    End {
        at: Timestamp::now().as_millisecond(),
        result: word(&report.result()),
        exit_code: report.exit_code(),
        image: report.image_by_digest(),
        revision: report.release.as_ref().map(|release| release.revision).filter(|revision| *revision > 0),
        problem: problem.map(|problem| problem.code.clone()),
        message: problem.map(|problem| problem.message.clone()),
        steps: report.steps.iter().map(step).collect(),
    }
}

/// As `report.json` has it.
fn word(state: &impl serde::Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|word| Some(word.as_str()?.to_string())).unwrap_or_default()
}

fn step(step: &crate::report::StepRecord) -> StepRow {
    StepRow {
        name: step.name.name().to_string(),
        state: word(&step.state),
        began: step.started.as_millisecond(),
        seconds: step.seconds,
        summary: step.summary.clone(),
    }
}
