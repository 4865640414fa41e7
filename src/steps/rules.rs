//! The company's rules at a run: where they are read from, and when they are asked.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::{image::Published, ledger::rules_of_ledger, run::Run};
use crate::{
    cluster,
    domain::{
        policy::{Proposal, Rules, Target, denied},
        problem::{Code, Problem, Result},
        workload::Workload,
    },
    plan::Plan,
    settings::Source,
};

/// Who owns the runner puts rules here that no setting can take away.
const OF_THE_RUNNER: &str = "/etc/shipway/rules.yaml";

/// Before the build: freezes, and settings that nobody may set.
pub(super) async fn foresee(run: &Run) -> Result<()> {
    judge(run, Proposal { settings: set_by_hand(&run.plan), ..Proposal::default() }).await
}

/// Before anything of the cluster changes: all that will be there.
pub(super) async fn publish(run: &Run, image: &Published, workload: &Workload) -> Result<()> {
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
    judge(run, Proposal { replicas: replicas.map(i64::from), ..Proposal::default() }).await
}

async fn judge(run: &Run, proposal: Proposal) -> Result<()> {
    let plan = &run.plan;
    let environment = plan.settings.environment.clone().unwrap_or_default();
    let target = Target { app: plan.app.clone(), line: plan.line.clone(), environment };
    let proposal = Proposal { now: Some(Timestamp::now()), ..proposal };
    let rules = run.rules.get_or_try_init(|| all(run)).await?;
    let broken: Vec<String> = rules.iter().flat_map(|rules| rules.broken(&target, &proposal)).collect();
    let Some(problem) = denied(&broken) else { return Ok(()) };
    run.keeper.event(plan, "rules", json!({"allowed": false, "broken": broken})).await;
    Err(problem)
}

/// The rules of all places: each adds to the others.
async fn all(run: &Run) -> Result<Vec<Rules>> {
    let of_runner = Path::new(OF_THE_RUNNER);
    let named = run.plan.settings.rules.file.as_ref().map(|file| run.plan.facts.work_dir.join(file));
    let mut rules = Vec::new();
    for path in [of_runner.exists().then(|| of_runner.to_path_buf()), named].into_iter().flatten() {
        let text = std::fs::read_to_string(&path).map_err(|error| invalid(&path.display().to_string(), &error.to_string()))?;
        rules.push(parse(&path.display().to_string(), &text)?);
    }
    if let Some(text) = rules_of_ledger(run).await? {
        rules.push(parse("the ledger", &text)?);
    }
    Ok(rules)
}

/// Reads rules; what is wrong with them denies everything, or a slip of the pen would switch them off.
pub fn parse(place: &str, text: &str) -> Result<Rules> {
    let rules: Rules = serde_saphyr::from_str(text).map_err(|error| invalid(place, &error.to_string()))?;
    rules.check().map_err(|wrong| invalid(place, &wrong))?;
    Ok(Rules { place: place.to_string(), ..rules })
}

fn invalid(place: &str, wrong: &str) -> Problem {
    Problem::new(Code::RulesInvalid, format!("the company's rules in {place} cannot be read, so nothing is permitted: {wrong}"))
}

/// What a repository, a job or a person has set; what the company itself has set for the application is no offence.
fn set_by_hand(plan: &Plan) -> Vec<(String, String)> {
    let by_hand = |source: &Source| match source {
        Source::File { file } => !file.starts_with("ledger: "),
        Source::Section { file, .. } => !file.starts_with("ledger: "),
        Source::Flag | Source::Plugin(_) | Source::Variable(_) => true,
        Source::Ci(_) | Source::Detected(_) | Source::Default => false,
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
        let good = "rules:\n- name: no nights\n  environments: [prod]\n  max_replicas: 4\n  freeze: [{from: 2026-12-20T00:00:00Z, to: 2027-01-06T00:00:00+01:00}]\n";
        assert_eq!(parse("rules.yaml", good).unwrap().rules[0].max_replicas, Some(4));
    }
}
