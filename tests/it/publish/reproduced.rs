//! The settings that `init --from-cluster` writes: published as they are, they change nothing of what runs.

use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Service, policy::v1::PodDisruptionBudget};
use serde_json::json;

use super::{
    adopt::{kept, manifests, program, settle},
    ground::{Ground, NAME, image},
};

#[tokio::test]
async fn the_settings_that_init_writes_reproduce_what_runs() {
    let ground = Ground::pretended("init").await;
    program(&ground, "kubectl", &["apply", "-f", "-"], Some(&manifests(3)));
    settle(&ground).await;
    let folder = ground.folder.path();
    let init = |arguments: &[&str]| ground.binary(&[&["init", "--from-cluster"], arguments].concat()).run();
    init(&[]).expect_code(0).expect_text(&["shipway.yaml is written"]);
    let text = std::fs::read_to_string(folder.join("shipway.yaml")).unwrap();
    for said in [
        "adopt: true",
        "replicas: 3",
        "max_surge: ",
        "COLOUR: blue",
        "memory: 70Mi",
        "#   spec.template.spec.volumes",
        "#   containers[server].volumeMounts",
    ] {
        assert!(text.contains(said), "no {said} in\n{text}");
    }
    init(&[]).expect_code(0).expect_text(&["says this already"]);
    std::fs::write(folder.join("shipway.yaml"), "app: mine\n").unwrap();
    init(&[]).expect_code(2).expect_text(&["-app: mine", "file-exists", "--force"]);
    assert_eq!(std::fs::read_to_string(folder.join("shipway.yaml")).unwrap(), "app: mine\n");
    init(&["--force"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(folder.join("shipway.yaml")).unwrap(), text);

    // with these settings a publish of what runs already changes nothing of the pods but their labels
    let plan = ground.binary(&["plan", "--set", &format!("image.ref={}", image("1"))]).run().expect_code(0);
    let difference = plan.stdout.split_once("changes on the cluster").unwrap().1;
    // the sign stands before the text's own indentation
    let changed: Vec<&str> = difference.lines().filter(|line| line.starts_with("    -  ")).collect();
    assert!(changed.is_empty(), "{changed:?}\n{}", plan.stdout);
}

#[tokio::test]
async fn an_autoscaler_and_a_budget_are_reproduced_too() {
    let ground = Ground::pretended("init whole").await;
    let mut all = manifests(3);
    let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 65}}});
    let queue =
        json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "30"}}});
    all["items"].as_array_mut().unwrap().extend([
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": NAME},
            "spec": {"scaleTargetRef": reference, "minReplicas": 3, "maxReplicas": 7, "metrics": [cpu, queue]}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": NAME},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"run": "theirs"}}}}),
    ]);
    program(&ground, "kubectl", &["apply", "-f", "-"], Some(&all));
    let before = settle(&ground).await;
    let beside = async || {
        let autoscaler = ground.api::<HorizontalPodAutoscaler>().await.get(NAME).await.unwrap().spec;
        let budget = ground.api::<PodDisruptionBudget>().await.get(NAME).await.unwrap().spec;
        (autoscaler, budget, ground.api::<Service>().await.get(NAME).await.unwrap().spec)
    };
    let specs = beside().await;
    ground.binary(&["init", "--from-cluster"]).run().expect_code(0);
    let text = std::fs::read_to_string(ground.folder.path().join("shipway.yaml")).unwrap();
    for said in ["min: 3", "max: 7", "cpu: 65", "queue: ", "min_available: "] {
        assert!(text.contains(said), "no {said} in\n{text}");
    }
    let published = format!("image.ref={}", image("1"));
    ground.binary(&["publish", "--set", &published]).run().expect_code(0);
    assert_eq!(kept(&settle(&ground).await), kept(&before));
    assert_eq!(beside().await, specs);
    let plan = ground.binary(&["plan", "--set", &published]).run().expect_code(0);
    let difference = plan.stdout.split_once("changes on the cluster").unwrap().1;
    assert!(!difference.contains("would be configured") && difference.contains("would stay as it is"), "{}", plan.stdout);
}
