//! The company's rules at a run: where they are read from, and when they are asked.

use std::{io::ErrorKind, path::Path};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    identity::{self, Given},
    image::Published,
    ledger::rules_of_ledger,
    run::Run,
};
use crate::{
    cluster,
    domain::{
        event::Events,
        identity::Asker,
        permission::Answer,
        policy::{Proposal, Rules, Target, denied},
        problem::{Code, Problem, Result},
        workload::Workload,
    },
    plan::Plan,
    settings::{self, Settings, Source},
};

/// Who owns the runner puts rules here that no setting can take away.
const OF_THE_RUNNER: &str = "/etc/shipway/rules.yaml";

/// Before the build: freezes, and settings that nobody may set.
pub(super) async fn foresee(run: &Run) -> Result<()> {
    permit(run, "publish").await?;
    judge(run, Proposal { settings: set_by_hand(&run.plan), ..Proposal::default() }).await
}

/// Before anything of the cluster changes: all that will be there.
pub(super) async fn publish(run: &Run, image: &Published, workload: &Workload) -> Result<()> {
    permit(run, "publish").await?;
    let proposal = Proposal {
        settings: set_by_hand(&run.plan),
        base: Some(image.facts.base.clone()),
        objects: cluster::objects(workload)?,
        ..Proposal::default()
    };
    judge(run, proposal).await
}

/// A number of pods that is set by hand.
pub(super) async fn scale(run: &Run, replicas: Option<i32>) -> Result<()> {
    permit(run, "scale").await?;
    judge(run, Proposal { replicas: replicas.map(i64::from), ..Proposal::default() }).await
}

/// Whether the one who asks may do this. In a worker's build, whose asker the worker has had proved, a no binds. Where a job holds the
/// cluster's credentials itself it is advice: a warning, and a record. Asked once in a run.
pub(super) async fn permit(run: &Run, action: &str) -> Result<()> {
    run.permitted.get_or_try_init(|| decide(run, action)).await.copied()
}

async fn decide(run: &Run, action: &str) -> Result<()> {
    let plan = &run.plan;
    let rules = run.rules.get_or_try_init(|| all(run)).await?;
    if rules.iter().all(|rules| rules.permissions.is_empty()) {
        return Ok(());
    }
    let asker = identity::asker(&Given::of(plan), &run.events).await;
    let target = target(plan);
    let decision = Decision::of(&asker, action, &target, rules);
    run.events.note(format!("{} asks to {action}, {}", asker.name(), asker.proof.words()));
    run.keeper.event(plan, "permission", &target, decision.detail.clone()).await;
    decision.hold(plan.host.worker.is_some(), &run.events)
}

/// What all places together say.
pub(super) struct Decision {
    pub answers: Vec<Answer>,
    /// For the ledger.
    pub detail: Value,
}

impl Decision {
    pub(super) fn of(asker: &Asker, action: &str, target: &Target, rules: &[Rules]) -> Decision {
        let answers: Vec<Answer> = rules.iter().map(|rules| rules.may(asker, action, target)).collect();
        let permitted = answers.iter().filter_map(|answer| if let Answer::Yes { by, .. } = answer { Some(by) } else { None });
        let refusal = refusal(&answers);
        let detail = json!({
            "user": asker.user, "proved": asker.proof.is_proved(), "proof": asker.proof, "project": asker.project,
            "ref": asker.reference, "protected": asker.protected, "action": action, "app": target.app, "environment": target.environment,
            "allowed": refusal.is_none(), "permitted_by": permitted.collect::<Vec<_>>(), "why": refusal,
        });
        Decision { answers, detail }
    }

    /// A no binds where only a worker holds the credentials; elsewhere it is said.
    pub(super) fn hold(self, binds: bool, events: &Events) -> Result<()> {
        match refusal(&self.answers) {
            Some(why) if binds => Err(Problem::new(Code::RuleDenied, why)),
            Some(why) => {
                events.warning(why, "this job holds the credentials itself, so it goes on; shipway can says who may");
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A no of one place counts more than every yes.
fn refusal(answers: &[Answer]) -> Option<&str> {
    answers.iter().find_map(|answer| if let Answer::No(why) = answer { Some(why.as_str()) } else { None })
}

fn target(plan: &Plan) -> Target {
    Target { app: plan.app.clone(), line: plan.line.clone(), environment: plan.settings.environment.clone().unwrap_or_default() }
}

async fn judge(run: &Run, proposal: Proposal) -> Result<()> {
    let plan = &run.plan;
    let (namespace, name) = (plan.namespace.clone(), plan.name.clone());
    let proposal = Proposal { now: Some(Timestamp::now()), namespace, name, ..proposal };
    let rules = run.rules.get_or_try_init(|| all(run)).await?;
    let target = target(plan);
    let broken: Vec<String> = rules.iter().flat_map(|rules| rules.broken(&target, &proposal)).collect();
    let Some(problem) = denied(&broken) else { return Ok(()) };
    run.keeper.event(plan, "rules", &target, json!({"allowed": false, "broken": broken})).await;
    Err(problem)
}

/// The rules of all places: each adds to the others.
async fn all(run: &Run) -> Result<Vec<Rules>> {
    of_all_places(&run.plan.settings, &run.plan.facts.work_dir, rules_of_ledger(run).await?.as_deref())
}

/// The rules of the runner, of the file that is named, relative to `dir`, and of the ledger.
pub(super) fn of_all_places(settings: &Settings, dir: &Path, of_ledger: Option<&str>) -> Result<Vec<Rules>> {
    let named = settings.rules.file.as_ref().map(|file| dir.join(file));
    // what is there and cannot be read denies
    let is_missing = |path: &Path| path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let of_runner = Some(Path::new(OF_THE_RUNNER)).filter(|path| !is_missing(path));
    let mut rules = Vec::new();
    for path in [of_runner, named.as_deref()].into_iter().flatten() {
        let text = std::fs::read_to_string(path).map_err(|error| invalid(&path.display().to_string(), &error.to_string()))?;
        rules.push(parse(&path.display().to_string(), &text)?);
    }
    if let Some(text) = of_ledger {
        rules.push(parse("the ledger", text)?);
    }
    Ok(rules)
}

/// Reads rules; what is wrong with them denies everything, or a slip of the pen would switch them off.
pub fn parse(place: &str, text: &str) -> Result<Rules> {
    let rules: Rules = serde_saphyr::from_str(text).map_err(|error| invalid(place, &error.to_string()))?;
    rules.check().map_err(|wrong| invalid(place, &wrong))?;
    // a key with a slip of the pen would forbid nothing
    for (rule, key) in rules.rules.iter().flat_map(|rule| rule.forbidden.iter().map(move |key| (rule, key))) {
        settings::check_key(key).map_err(|wrong| invalid(place, &format!("rule {:?}: forbidden has {wrong}", rule.name)))?;
    }
    Ok(Rules { place: place.to_string(), ..rules })
}

fn invalid(place: &str, wrong: &str) -> Problem {
    Problem::new(Code::RulesInvalid, format!("the company's rules in {place} cannot be read, so nothing is permitted: {wrong}"))
}

/// What a repository, a job or a person has set; what the company itself has set for the application is no offence.
fn set_by_hand(plan: &Plan) -> Vec<(String, String)> {
    let by_hand = |source: &Source| match source {
        Source::File { .. } | Source::Section { .. } | Source::Flag | Source::Plugin(_) | Source::Variable(_) => true,
        Source::Company(_) | Source::Ci(_) | Source::Detected(_) | Source::Default => false,
    };
    plan.sources.iter().filter(|set| by_hand(&set.source)).map(|set| (set.key.clone(), set.source.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_the_rules_denies() {
        for text in
            ["", "rules: 1", "rules: [{name: x, max_replica: 3}]", "rules: [{name: x, freeze: [{from: soon, to: later}]}]", "rule: []"]
        {
            let problem = parse("rules.yaml", text).unwrap_err();
            assert_eq!((problem.code, problem.exit_code()), (Code::RulesInvalid, 30), "{text}");
        }
        let slip = parse("rules.yaml", "rules: [{name: x, forbidden: [kubernetes.patchs]}]").unwrap_err();
        assert!(slip.message.contains("did you mean kubernetes.patches?"), "{}", slip.message);
        assert!(parse("rules.yaml", "rules: [{name: x, forbidden: [kubernetes, kubernetes.env.A, build.jdk]}]").is_ok());
        let good = "rules:\n- name: no nights\n  environments: [prod]\n  max_replicas: 4\n  freeze: [{from: 2026-12-20T00:00:00Z, to: 2027-01-06T00:00:00+01:00}]\n";
        assert_eq!(parse("rules.yaml", good).unwrap().rules[0].max_replicas, Some(4));
    }
}
