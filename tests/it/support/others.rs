//! What others have made on the cluster before we come.

use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Namespace},
    jiff::Timestamp,
};
use kube::api::{Api, DeleteParams, PostParams};

use super::{block_on, lab::lab};

/// Deletes a namespace when it goes out of scope.
pub struct Guard(String);

/// Sees to the end of a namespace that the product creates.
pub fn guard(namespace: &str) -> Guard {
    Guard(namespace.to_owned())
}

impl Drop for Guard {
    fn drop(&mut self) {
        let name = self.0.clone();
        let deletion = std::thread::spawn(move || {
            block_on(async {
                let _ = Api::<Namespace>::all(lab().client().await).delete(&name, &DeleteParams::default()).await;
            });
        });
        let _ = deletion.join();
    }
}

/// A Deployment as `kubectl create deployment` makes it.
pub fn deployment(namespace: &str, name: &str) {
    block_on(deployment_async(namespace, name));
}

/// The same, for a test that is async by itself.
pub async fn deployment_async(namespace: &str, name: &str) {
    let object = serde_json::json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": lab().web("1")}]},
            },
        },
    });
    let object: Deployment = serde_json::from_value(object).unwrap();
    Api::namespaced(lab().client().await, namespace).create(&PostParams::default(), &object).await.unwrap();
}

/// A Lease that another job holds from now on.
pub fn lease(namespace: &str, name: &str, seconds: i32) {
    let now = Timestamp::now().to_string();
    let now = if now.contains('.') { format!("{}.000000Z", now.split('.').next().unwrap()) } else { now.replace('Z', ".000000Z") };
    let object = serde_json::json!({
        "metadata": {"name": name},
        "spec": {"holderIdentity": "https://git.example.test/another-job", "leaseDurationSeconds": seconds, "acquireTime": now, "renewTime": now},
    });
    let object: Lease = serde_json::from_value(object).unwrap();
    block_on(async { Api::namespaced(lab().client().await, namespace).create(&PostParams::default(), &object).await.unwrap() });
}
