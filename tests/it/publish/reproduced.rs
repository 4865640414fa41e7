//! The settings that `init --from-cluster` writes: published as they are, they change nothing of what runs.

use super::{
    adopt::{manifests, program, settle},
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
