//! The Roles of plugin/kubernetes/roles/ on the real API server: what each account may do works, and the rest is denied in our words.

use std::path::{Path, PathBuf};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::support::{
    fixture::{Checkout, empty_checkout},
    job::publishing,
    lab::{Namespace, lab},
    shipway::{Finished, Shipway},
};

/// A service account, as a kubeconfig.
struct Account {
    kubeconfig: PathBuf,
    _folder: tempfile::TempDir,
}

fn delivered(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin/kubernetes/roles").join(file)).unwrap()
}

async fn api<K>(namespace: &str) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(lab().client().await, namespace)
}

async fn apply_role(namespace: &str, file: &str) -> Role {
    let role: Role = serde_saphyr::from_str(&delivered(file)).unwrap();
    api::<Role>(namespace).await.create(&PostParams::default(), &role).await.unwrap()
}

/// A service account that no rule names.
async fn account(namespace: &Namespace, name: &str) -> Account {
    let accounts = api::<ServiceAccount>(&namespace.name).await;
    let made = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    accounts.create(&PostParams::default(), &made).await.unwrap();
    let request = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() }),
        ..TokenRequest::default()
    };
    let token = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap().status.unwrap().token;
    let mut kubeconfig: Value = serde_saphyr::from_str(&std::fs::read_to_string(&namespace.kubeconfig).unwrap()).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    Account { kubeconfig: path, _folder: folder }
}

/// One that has a delivered Role, as the file's own comment binds it.
async fn with_role(namespace: &Namespace, name: &str) -> Account {
    let role = apply_role(&namespace.name, &format!("{name}.yaml")).await;
    let binding = json!({"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
        "name": role.metadata.name}, "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace.name}]});
    let binding = serde_json::from_value(binding).unwrap();
    api::<RoleBinding>(&namespace.name).await.create(&PostParams::default(), &binding).await.unwrap();
    account(namespace, name).await
}

/// Jobs in one namespace, as one account or another.
struct Place<'a> {
    checkout: &'a Checkout,
    namespace: &'a Namespace,
}

impl Place<'_> {
    fn job(&self, account: &Account, pipeline: u64) -> Shipway {
        publishing(self.checkout, self.namespace, pipeline)
            .env("KUBECONFIG", &account.kubeconfig)
            .env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health")
    }

    fn publish(&self, account: &Account, pipeline: u64) -> Finished {
        let tag = (1 + pipeline % 2).to_string();
        self.job(account, pipeline).args(["publish", "--image", &lab().web(&tag)]).run()
    }

    fn works(&self, account: &Account, arguments: &[&str]) -> Finished {
        self.job(account, 9).args(arguments).run().expect_code(0)
    }

    /// Denied before anything has changed, with what is missing.
    fn is_denied(&self, account: &Account, arguments: &[&str], missing: &str) {
        let before = self.state();
        self.job(account, 9).args(arguments).run().expect_code(30).expect_text(&["may not", missing]);
        assert_eq!(self.state(), before, "{arguments:?} changed something");
    }

    /// Generation and existence of what an application is made of, as the administrator sees them.
    fn state(&self) -> String {
        let kubectl = std::process::Command::new(lab().program("kubectl"))
            .args(["get", "deployments,services,configmaps,horizontalpodautoscalers", "-n", &self.namespace.name, "-o"])
            .arg("jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{\"\\n\"}{end}")
            .env("KUBECONFIG", lab().kubeconfig())
            .output()
            .unwrap();
        assert!(kubectl.status.success(), "{}", String::from_utf8_lossy(&kubectl.stderr));
        String::from_utf8(kubectl.stdout).unwrap()
    }
}

#[tokio::test]
async fn each_role_permits_what_it_is_for_and_nothing_else() {
    let (checkout, namespace) = (empty_checkout("roles"), lab().namespace("roles"));
    let place = Place { checkout: &checkout, namespace: &namespace };
    let publisher = with_role(&namespace, "publisher").await;
    let operator = with_role(&namespace, "operator").await;
    let reader = with_role(&namespace, "reader").await;

    for pipeline in [1, 2] {
        place.publish(&publisher, pipeline).expect_code(0);
    }
    for account in [&publisher, &operator, &reader] {
        place.works(account, &["status"]).expect_text(&["roles"]);
        place.works(account, &["history"]).expect_text(&["2"]);
        place.works(account, &["logs"]);
    }
    for account in [&publisher, &operator] {
        place.works(account, &["scale", "2"]);
        place.works(account, &["restart"]);
        place.works(account, &["rollback"]);
        place.works(account, &["scale", "--reset"]);
    }

    let image = lab().web("2");
    place.is_denied(&operator, &["publish", "--image", &image], "create deployments.apps");
    for arguments in [&["publish", "--image", &image][..], &["scale", "3"], &["restart"], &["rollback"]] {
        place.is_denied(&reader, arguments, "patch deployments.apps");
    }
    for account in [&publisher, &operator] {
        place.is_denied(account, &["remove"], "delete deployments.apps");
    }
    place.is_denied(&reader, &["remove"], "leases");
}

#[tokio::test]
async fn a_worker_reaches_the_environments_that_bind_it() {
    let checkout = empty_checkout("reaches");
    let (home, bound, other) = (lab().namespace("worker home"), lab().namespace("worker bound"), lab().namespace("worker other"));
    let worker = account(&home, "worker").await;
    apply_role(&bound.name, "publisher.yaml").await;
    let binding = delivered("worker.yaml").replace("namespace: shipway", &format!("namespace: {}", home.name));
    let binding: RoleBinding = serde_saphyr::from_str(&binding).unwrap();
    api::<RoleBinding>(&bound.name).await.create(&PostParams::default(), &binding).await.unwrap();
    Place { checkout: &checkout, namespace: &bound }.publish(&worker, 1).expect_code(0);
    for namespace in [&home, &other] {
        let place = Place { checkout: &checkout, namespace };
        place.is_denied(&worker, &["publish", "--image", &lab().web("1")], "create, patch deployments.apps");
        place.is_denied(&worker, &["status"], &namespace.name);
    }
}
