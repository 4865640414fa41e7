//! What is delivered: the image, which Shipway's own engine builds and the real kubelet runs, and what GitLab includes.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::api::{Api, LogParams, PostParams};
use serde_json::{Value, json};

use crate::support::{
    block_on,
    fixture::{self, Checkout},
    job::{QUICK, jar_checkout},
    lab::{Namespace, lab},
    pipeline::{Server, steps},
    shipway::{report, shipway},
};

/// The most that the small image may take beside the binary, packed, bytes. A binary that is not static, as tests have it, brings the C library
/// and that of its mathematics along: 2 MB of it.
const MOST: u64 = 4_000_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The image by its digest, pushed under this line's name; and the sizes of its layers.
pub(crate) fn own_image(line: &str) -> (String, Vec<u64>) {
    let checkout = packaging("shipway");
    checkout.write("shipway.yaml", "build: {command: ['true']}\nimage: {dockerfile: Dockerfile, context: context}\n");
    let registry = lab().registry().address;
    shipway(checkout.path()).arg("image").env("SHIPWAY_REGISTRY_URL", &registry).env("SHIPWAY_LINE", line).run().expect_code(0);
    let report = report(&checkout.path());
    let layers = report["image"]["layers"].as_array().unwrap().iter().map(|layer| layer["size"].as_u64().unwrap()).collect();
    (format!("{registry}/{line}/shipway@{}", report["image"]["digest"].as_str().unwrap()), layers)
}

/// A checkout with the Dockerfile and its context, which the script puts together of the binary under test.
fn packaging(name: &str) -> Checkout {
    let checkout = fixture::empty_checkout(name);
    checkout.write("Dockerfile", &fs::read_to_string(root().join("Dockerfile")).unwrap());
    let context = checkout.path().join("context");
    let output = Command::new(root().join("tests/gate/context.sh")).arg(&context).arg(env!("CARGO_BIN_EXE_shipway")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    checkout
}

/// Runs a container to its end as a runner does, without root and on the node's network; its phase, and what it said.
async fn ended(namespace: &Namespace, name: &str, container: Value) -> (String, String) {
    let mut container = container;
    container["name"] = json!("step");
    container["securityContext"] = json!({"runAsNonRoot": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
        "restartPolicy": "Never", "hostNetwork": true, "containers": [container],
        "volumes": [{"name": "ca", "configMap": {"name": "authority", "optional": true}}]}}))
    .unwrap();
    let api: Api<Pod> = Api::namespaced(lab().client().await, &namespace.name);
    api.create(&PostParams::default(), &pod).await.unwrap();
    for _ in 0..1200 {
        let status = api.get(name).await.unwrap().status.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        if phase == "Succeeded" || phase == "Failed" {
            return (phase, api.logs(name, &LogParams::default()).await.unwrap_or_default());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the pod {name} did not end: {:?}", api.get(name).await.unwrap().status);
}

#[test]
fn shipway_builds_its_own_image_and_the_kubelet_runs_it_as_a_step() {
    let namespace = lab().namespace("own image");
    let (image, layers) = own_image(&namespace.name);
    assert!(layers.len() == 3 && layers[0] + layers[1] <= MOST, "shell and authorities, home, binary: {layers:?}");
    block_on(async {
        let container = |args: &[&str]| json!({"image": image, "args": args});
        let (phase, said) = ended(&namespace, "version", container(&["shipway", "version"])).await;
        assert_eq!((phase.as_str(), said.as_str()), ("Succeeded", concat!("shipway ", env!("CARGO_PKG_VERSION"), "\n")));
        // what GitLab's executor does: it looks for a shell, and gives it a script
        let script =
            "set -e; [ -x /bin/sh ]; id -u; touch /tmp/a \"$HOME/b\"; echo 'shipway version' | sh; grep -c BEGIN \"$SSL_CERT_FILE\"";
        let (phase, said) = ended(&namespace, "shell", container(&["sh", "-c", script])).await;
        assert_eq!(phase, "Succeeded", "{said}");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "10001");
        assert!(lines[2].parse::<u32>().unwrap() > 50, "{said}");
        publishes_as_a_plugin(&namespace, &image).await;
    });
}

/// A step of Woodpecker that has nothing but settings.
async fn publishes_as_a_plugin(namespace: &Namespace, image: &str) {
    let config: Value = serde_saphyr::from_str(&fs::read_to_string(&namespace.kubeconfig).unwrap()).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let authority = fs::read_to_string(cluster["certificate-authority"].as_str().unwrap()).unwrap();
    let ca: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "authority"}, "data": {"ca.crt": authority}})).unwrap();
    let client = lab().client().await;
    Api::<ConfigMap>::namespaced(client.clone(), &namespace.name).create(&PostParams::default(), &ca).await.unwrap();
    let quick: BTreeMap<String, &str> =
        QUICK.iter().map(|(name, value)| (name.trim_start_matches("SHIPWAY_").to_lowercase(), *value)).collect();
    let pipeline = json!({"steps": [{"name": "publish", "image": "shipway", "settings": {
        "command": "publish", "app": "web", "image_ref": lab().web("1"), "kubernetes": {"namespace": namespace.name},
        "cluster_server": cluster["server"], "cluster_token": {"from_secret": "cluster_token"}, "cluster_ca": "/authority/ca.crt"}}]});
    let secrets = BTreeMap::from([("cluster_token", config["users"][0]["user"]["token"].as_str().unwrap().to_owned())]);
    let step = steps(&pipeline.to_string(), Server::Woodpecker).remove(0);
    let own = [("CI", "woodpecker"), ("CI_REPO", "trade/web"), ("CI_COMMIT_SHA", "0123456789abcdef0123456789abcdef01234567")];
    let environment = step.environment(&secrets).into_iter().chain(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let environment =
        environment.chain(quick.into_iter().map(|(name, value)| (format!("PLUGIN_{}", name.to_uppercase()), value.to_owned())));
    let environment: Vec<Value> = environment.map(|(name, value)| json!({"name": name, "value": value})).collect();
    let container = json!({"image": image, "env": environment, "volumeMounts": [{"name": "ca", "mountPath": "/authority"}]});
    let (phase, said) = ended(namespace, "plugin", container).await;
    assert_eq!(phase, "Succeeded", "{said}");
    let deployment: Deployment = Api::namespaced(client, &namespace.name).get("web").await.unwrap();
    assert_eq!(deployment.status.unwrap().ready_replicas, Some(1), "{said}");
}

/// The Maven image stands for itself here: what is tested is what is put on top of it.
#[test]
fn docker_builds_the_image_with_maven_and_several_jdks() {
    let checkout = packaging("shipway-maven");
    let (java17, java25) = (lab().base(17), lab().base(25));
    let tag = crate::support::unique("shipway-maven");
    let docker = |arguments: &[&str]| {
        let output =
            Command::new("docker").args(arguments).current_dir(checkout.path()).env("DOCKER_HOST", lab().docker_host()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "docker {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let arguments =
        [("MAVEN", &java17), ("JDK_8", &java17), ("JDK_17", &java17), ("JDK_25", &java25)].map(|(name, image)| format!("{name}={image}"));
    let mut build = vec!["build", "--quiet", "--target", "shipway-maven", "--file", "Dockerfile", "--tag", &tag];
    build.extend(arguments.iter().flat_map(|argument| ["--build-arg", argument.as_str()]));
    build.push("context");
    docker(&build);
    let files = docker(&["run", "--rm", "--network", "none", &tag, "/usr/local/bin/shipway", "version"]);
    let inspected: Value = serde_json::from_str(&docker(&["image", "inspect", &tag])).unwrap();
    docker(&["image", "rm", &tag]);
    assert!(files.starts_with("shipway "), "{files}");
    assert_eq!(inspected[0]["Config"]["Cmd"], json!(["/usr/local/bin/shipway"]));
    assert_eq!(inspected[0]["Config"]["Entrypoint"], Value::Null);
}

/// GitLab's files of the packaging, beside an application in a checkout.
fn with_gitlab_files(checkout: &Checkout, pipeline: &str) {
    for file in ["shipway.gitlab-ci.yml", "templates/shipway.yml", "templates/environment.yml"] {
        checkout.write(&format!("ci/{file}"), &fs::read_to_string(root().join("plugin/gitlab").join(file)).unwrap());
    }
    checkout.write(".gitlab-ci.yml", pipeline);
    checkout.commit("Add the pipeline");
}

#[test]
fn gitlab_includes_the_template() {
    let namespace = lab().namespace("template");
    let checkout = jar_checkout("orders", &fixture::archive("shaded-service", ""));
    with_gitlab_files(&checkout, "include: [{local: ci/shipway.gitlab-ci.yml}]\npublish: {extends: .shipway}\n");
    let text = crate::examples::pipeline(&checkout, &namespace).run(None);
    assert!(text.contains("PASS") && report(&checkout.path())["release"]["revision"] == 1, "{text}");
}

#[test]
fn gitlab_includes_the_components_with_inputs() {
    let (test, prod) = (lab().namespace("component test"), lab().namespace("component prod"));
    let checkout = jar_checkout("orders", &fixture::archive("shaded-service", ""));
    let pipeline = "stages: [test, prod]
include:
  - local: ci/templates/shipway.yml
    inputs: {job: look, stage: test, command: status, arguments: --json, report: report-look}
  - local: ci/templates/environment.yml
    inputs: {job: to-test, stage: test, environment: test}
  - local: ci/templates/environment.yml
    inputs: {job: to-prod, stage: prod, environment: prod, command: publish, when: manual, optional: true, report: report-prod, image: 'shipway:latest'}
";
    with_gitlab_files(&checkout, pipeline);
    let pipeline = crate::examples::pipeline(&checkout, &test).scoped("KUBECONFIG", "prod", prod.kubeconfig.display().to_string()).scoped(
        "SHIPWAY_KUBERNETES_NAMESPACE",
        "prod",
        &prod.name,
    );
    pipeline.run(Some("to-test"));
    let tested = report(&checkout.path());
    assert_eq!((&tested["environment"], &tested["release"]["namespace"]), (&json!("test"), &json!(test.name)));
    pipeline.run(Some("look"));
    pipeline.run(Some("to-prod"));
    let prod_report: Value = serde_json::from_str(&fs::read_to_string(checkout.path().join("report-prod/report.json")).unwrap()).unwrap();
    assert_eq!((&prod_report["environment"], &prod_report["image"]["digest"]), (&json!("prod"), &tested["image"]["digest"]));
}
