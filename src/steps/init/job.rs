//! The job of a first pipeline, by itself or added to the pipeline that is there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::look::Scene;
use crate::settings::CiKind;

/// The image that a job which builds runs in; its registry is the company's.
const IMAGE: &str = "shipway-maven:latest";

/// The pipeline with our job in it; the error says why it stays as it is.
pub fn with_job(scene: &Scene, ci: CiKind, before: Option<&str>) -> Result<String, String> {
    let Some(before) = before else { return Ok(alone(scene, ci)) };
    if before.contains("shipway") {
        return Err("it calls shipway already".to_string());
    }
    let joint = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    match ci {
        CiKind::Gitlab | CiKind::Shell => match serde_saphyr::from_str::<Option<BTreeMap<String, Value>>>(before) {
            Ok(pipeline) => Ok(format!("{before}{joint}\n{}", gitlab(&pipeline.unwrap_or_default()))),
            // a name that is taken in it would be taken away from its owner
            Err(_) => Err(format!("what it has cannot be read; this job has to be added to it:\n\n{}", gitlab(&BTreeMap::new()))),
        },
        // a second pipeline beside those that are there
        CiKind::Drone => Ok(format!("{before}{joint}---\n{}", alone(scene, ci))),
        CiKind::Woodpecker => {
            Err(format!("a step cannot be added to it by itself; this one has to stand below its steps:\n\n{}", steps(scene)))
        }
    }
}

fn alone(scene: &Scene, ci: CiKind) -> String {
    match ci {
        CiKind::Gitlab | CiKind::Shell => gitlab(&BTreeMap::new()),
        CiKind::Drone => format!("kind: pipeline\ntype: docker\nname: shipway\n\n{BY_HAND}trigger:\n{EVENTS}\nsteps:\n{}", steps(scene)),
        CiKind::Woodpecker => format!("{BY_HAND}when:\n{EVENTS}\nsteps:\n{}", steps(scene)),
    }
}

/// A rollback is started by hand, and what publishes must not start beside it.
const BY_HAND: &str = "# what is started by hand, such as a rollback, is another pipeline's\n";
const EVENTS: &str = "  event: [push, tag, pull_request]\n";

/// GitLab's job: in the stage where the pipeline deploys, under a name that is free.
fn gitlab(pipeline: &BTreeMap<String, Value>) -> String {
    let name = ["publish", "shipway", "publish-by-shipway"].into_iter().find(|name| !pipeline.contains_key(*name)).unwrap_or("publish");
    let stages: Vec<&str> = pipeline.get("stages").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let usual = ["deploy", "publish", "release", "delivery"].into_iter().find(|usual| stages.contains(usual));
    let stage = usual.or(stages.last().copied()).map(|stage| format!("  stage: {stage}\n")).unwrap_or_default();
    format!(
        "# The registry is GitLab's own; the cluster is that of KUBECONFIG, a variable of type File. `shipway doctor` says what is missing.\n\
         {name}:\n{stage}  image: {IMAGE}\n  script: shipway\n  variables:\n    \
         SHIPWAY_REPORT_URL: $CI_JOB_URL/artifacts/file/shipway-report/report.html\n  artifacts:\n    \
         when: always\n    paths: [shipway-report/]\n    \
         reports: {{junit: shipway-report/junit.xml, dotenv: shipway-report/shipway.env}}\n"
    )
}

/// The step of a plugin: it has settings, and nothing else.
fn steps(scene: &Scene) -> String {
    let registry = scene.registry.as_deref().unwrap_or("registry.example.test");
    format!(
        "  - name: publish\n    image: {IMAGE}\n    settings:\n      registry: {registry}\n      username: ci\n      \
         password: {{from_secret: registry_password}}\n      cluster_server: https://kubernetes.example.test:6443\n      \
         cluster_token: {{from_secret: cluster_token}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn gitlabs_job_finds_its_stage_and_a_free_name() {
        let text = with_job(&Scene::default(), CiKind::Gitlab, None).unwrap();
        assert_eq!(parsed(&text)["publish"]["script"], "shipway");
        assert!(parsed(&text)["publish"].get("stage").is_none());
        let before = "stages: [test, deploy, clean]\npublish: {stage: test, script: 'true'}";
        let text = with_job(&Scene::default(), CiKind::Gitlab, Some(before)).unwrap();
        assert!(text.starts_with(before), "{text}");
        assert_eq!(parsed(&text)["shipway"]["stage"], "deploy");
        let text = with_job(&Scene::default(), CiKind::Gitlab, Some("stages:\n  - one\n  - two\n")).unwrap();
        assert_eq!(parsed(&text)["publish"]["stage"], "two");
    }

    #[test]
    fn a_pipeline_that_cannot_be_read_keeps_its_jobs() {
        let refused = with_job(&Scene::default(), CiKind::Gitlab, Some("publish: [\n")).unwrap_err();
        assert!(refused.contains("script: shipway"), "{refused}");
        let before = "publish:\n  script:\n    - !reference [.setup, script]\n";
        let text = with_job(&Scene::default(), CiKind::Gitlab, Some(before)).unwrap_or_default();
        assert!(text.lines().filter(|line| line.starts_with("publish:")).count() < 2, "{text}");
        let text = with_job(&Scene::default(), CiKind::Gitlab, Some("# nothing yet\n")).unwrap();
        assert_eq!(parsed(&text)["publish"]["script"], "shipway");
    }

    #[test]
    fn what_calls_us_already_stays() {
        assert!(with_job(&Scene::default(), CiKind::Gitlab, Some("a: {image: shipway}\n")).is_err());
    }

    #[test]
    fn drone_gets_a_pipeline_and_woodpecker_a_step_to_copy() {
        let scene = Scene { registry: Some("registry.example.test/team".into()), ..Scene::default() };
        let text = with_job(&scene, CiKind::Drone, Some("kind: pipeline\nname: test\nsteps: []")).unwrap();
        let second = text.split("---\n").nth(1).unwrap();
        assert_eq!(parsed(second)["steps"][0]["settings"]["registry"], "registry.example.test/team");
        assert_eq!(parsed(&with_job(&scene, CiKind::Woodpecker, None).unwrap())["steps"][0]["name"], "publish");
        assert!(with_job(&scene, CiKind::Woodpecker, Some("steps: []\n")).unwrap_err().contains("from_secret"));
    }
}
