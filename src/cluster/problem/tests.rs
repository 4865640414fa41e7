//! Answers of the API server in, problems out.

use serde_json::json;

use super::*;

fn of(status: serde_json::Value) -> Problem {
    let error = kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()));
    problem(&error, Action { verb: "patch", resource: "deployments", name: "web", namespace: "trade", server: "https://a.test:6443/" })
}

#[test]
fn a_small_role_names_verb_resource_and_account() {
    let sentence = r#"deployments.apps "web" is forbidden: User "system:serviceaccount:trade:ci" cannot patch resource "deployments" in API group "apps" in the namespace "trade""#;
    let problem = of(json!({"code": 403, "reason": "Forbidden", "message": sentence}));
    assert_eq!((problem.code, problem.exit_code()), (Code::ClusterForbidden, 30));
    assert_eq!(problem.message, "system:serviceaccount:trade:ci may not patch deployments in namespace trade");
}

#[test]
fn a_refusal_is_told_from_a_small_role() {
    let quota = of(json!({"code": 403, "message": "pods \"x\" is forbidden: exceeded quota: small"}));
    assert_eq!(quota.code, Code::QuotaExceeded);
    let webhook = of(json!({"code": 403, "message": "admission webhook \"policy.test\" denied the request:\n\u{1b}[31mno\u{1b}[0m"}));
    assert_eq!(webhook.code, Code::AdmissionDenied);
    assert!(!webhook.message.contains('\u{1b}') && !webhook.message.contains('\n'), "{:?}", webhook.message);
}

#[test]
fn conflicts_name_field_and_manager() {
    let causes = json!([{"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using apps/v1", "field": ".spec.minReadySeconds"}]);
    let problem = of(json!({"code": 409, "reason": "Conflict", "message": "Apply failed with 1 conflict", "details": {"causes": causes}}));
    assert_eq!(problem.code, Code::FieldConflict);
    assert!(problem.message.contains(".spec.minReadySeconds (owned by kubectl-edit)"), "{}", problem.message);
}

#[test]
fn immutable_fields_are_named() {
    let causes = json!([{"reason": "FieldValueInvalid", "message": "Invalid value: field is immutable", "field": "spec.selector"}]);
    let problem = of(json!({"code": 422, "reason": "Invalid", "message": "Deployment is invalid", "details": {"causes": causes}}));
    assert_eq!((problem.code, problem.exit_code()), (Code::FieldImmutable, 10));
    assert!(problem.message.starts_with("spec.selector of deployments web cannot be changed"), "{}", problem.message);
    let dump = "Invalid value: {\"env\":[{\"name\":\"A\",\"value\":\"hush\"}]}: field is immutable";
    let causes = json!([{"reason": "FieldValueInvalid", "message": dump, "field": "spec.template"}]);
    let whole = of(
        json!({"code": 422, "reason": "Invalid", "message": format!("Job is invalid: spec.template: {dump}"), "details": {"causes": causes}}),
    );
    assert_eq!(whole.message, "spec.template of deployments web cannot be changed: field is immutable");
    let other = of(json!({"code": 422, "reason": "Invalid", "message": "spec.replicas: Invalid value: -1"}));
    assert_eq!(other.code, Code::ManifestInvalid);
}

#[test]
fn an_answer_without_a_reason_says_what_it_can() {
    let causes = json!([{"reason": "FieldValueInvalid", "message": "must be positive", "field": "spec.replicas"}]);
    let of = |status| of(status).message;
    let told = of(json!({"code": 422, "reason": "Invalid", "details": {"causes": causes}}));
    assert_eq!(told, "the API server refuses deployments web: spec.replicas: must be positive");
    assert_eq!(of(json!({"code": 422, "reason": "Invalid"})), "the API server refuses deployments web: Invalid");
    for body in ["", "<html><head><title>400 Bad Request</title></head></html>"] {
        let silent = of(json!({"code": 400, "message": body, "reason": "Failed to parse error data"}));
        assert_eq!(silent, "the API server refuses deployments web: no reason was given, by the API server or by a proxy before it");
    }
}

#[test]
fn a_webhook_that_does_not_answer_is_named() {
    let message = r#"Internal error occurred: failed calling webhook "slow.test": failed to call webhook: Post "https://a.test:443/?timeout=1s": context deadline exceeded"#;
    let problem = of(json!({"code": 500, "reason": "InternalError", "message": message}));
    assert_eq!((problem.code, problem.exit_code()), (Code::WebhookFailed, 20));
    assert!(problem.message.starts_with("the admission webhook slow.test did not answer for deployments web: failed calling"), "{problem}");
    assert!(problem.hint.contains("slow.test"));
}

#[test]
fn a_node_port_that_another_has_is_told() {
    let message = "Service \"web\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated";
    let problem = of(json!({"code": 422, "reason": "Invalid", "message": message}));
    assert_eq!(problem.code, Code::ManifestInvalid);
    assert!(problem.message.contains("30080") && problem.hint.contains("nodePort"), "{problem:?}");
}

#[test]
fn the_rest_has_its_class() {
    for (code, message, expected) in [
        (401, "Unauthorized", Code::ClusterUnauthorized),
        (404, "namespaces \"trade\" not found", Code::NamespaceMissing),
        (429, "too many requests", Code::ClusterFailed),
        (500, "etcdserver: leader changed", Code::ClusterFailed),
    ] {
        assert_eq!(of(json!({"code": code, "message": message})).code, expected, "{code}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_named_and_its_cause_said_plainly() {
    let of = |cause: &str| unreachable(cause, "https://ada:secret@a.test:6443/").message;
    for (cause, words) in [
        ("ServiceError: client error (Connect): tcp connect error: Connection refused (os error 111)", "connection refused"),
        (
            "ServiceError: client error (Connect): dns error: failed to lookup address information: Name or service not known",
            "failed to lookup address information: Name or service not known",
        ),
        ("ServiceError", "ServiceError"),
    ] {
        assert_eq!(of(cause), format!("the API server at https://a.test:6443 cannot be reached: {words}"));
    }
    let untrusted = of("ServiceError: client error (Connect): invalid peer certificate: UnknownIssuer");
    assert_eq!(
        untrusted,
        "the certificate of the API server at https://a.test:6443 is not trusted: invalid peer certificate: UnknownIssuer"
    );
}

#[test]
fn a_stale_version_is_no_conflict_of_fields() {
    let stale = |status: serde_json::Value| is_stale(&kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())));
    assert!(stale(json!({"code": 409, "reason": "Conflict", "message": "the object has been modified"})));
    assert!(!stale(json!({"code": 409, "reason": "AlreadyExists"})));
    assert!(!stale(json!({"code": 409, "reason": "Conflict", "details": {"causes": [{"reason": "FieldManagerConflict"}]}})));
}
