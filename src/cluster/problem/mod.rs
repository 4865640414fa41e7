//! Errors of the API server and of the way to it, as problems.

use kube::{client::AuthError, core::Status};

use crate::domain::{
    problem::{Code, EvidenceKind, Problem},
    rollout::Finding,
};

/// What the layers of the client call their own errors; none of it tells what is wrong.
const LAYERS: [&str; 6] = ["ServiceError", "HyperError", "tcp connect error", "dns error", "error trying to connect", "connection error"];

/// The API server's words for a webhook that it could not ask.
const WEBHOOK: &str = "failed calling webhook";
/// What the client puts for the reason of an answer that is not the API server's own.
const UNREADABLE: &str = "Failed to parse error data";

/// What was being done, for the message: `patch`, `deployments`, `web`.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    pub verb: &'a str,
    pub resource: &'a str,
    pub name: &'a str,
    pub namespace: &'a str,
    /// URL of the API server.
    pub server: &'a str,
}

/// The problem behind an error of the client.
pub fn problem(error: &kube::Error, action: Action<'_>) -> Problem {
    match error {
        kube::Error::Api(status) => refused(status, action),
        kube::Error::Auth(cause @ (AuthError::AuthExecStart(_) | AuthError::AuthExecRun { .. } | AuthError::AuthExecParse(_))) => {
            plugin(cause, "")
        }
        kube::Error::Auth(cause) => unauthorized(&chain(cause)),
        kube::Error::SerdeError(cause) => Problem::new(Code::ClusterFailed, format!("the API server's answer cannot be read: {cause}")),
        other => unreachable(&chain(other), action.server),
    }
}

/// The credential plugin of the kubeconfig gave nothing that can be used. What it printed is not shown: it may be a credential.
pub fn plugin(error: &AuthError, plugin: &str) -> Problem {
    let name = clean(plugin);
    let instead = "or set cluster.server and cluster.token";
    match error {
        AuthError::AuthExecStart(cause) => {
            let message = format!("the kubeconfig's credential plugin {name} cannot be started: {cause}");
            Problem::new(Code::ClusterConfigInvalid, message).hint(format!("install it in the job's image, {instead}"))
        }
        AuthError::AuthExecRun { out, .. } => {
            let words = String::from_utf8_lossy(&out.stderr);
            let last = words.lines().rfind(|line| !line.trim().is_empty()).map(clean).unwrap_or_else(|| "it said nothing".to_string());
            let code = out.status.code().map_or_else(|| "a signal".to_string(), |code| format!("exit code {code}"));
            Problem::new(Code::ClusterUnauthorized, format!("the kubeconfig's credential plugin {name} ended with {code}: {last}"))
                .hint(format!("run {name} by hand in the job's image, {instead}"))
        }
        _ => Problem::new(Code::ClusterConfigInvalid, format!("the kubeconfig's credential plugin {name} printed no ExecCredential"))
            .hint(format!("run {name} by hand: it has to print an ExecCredential with a token, {instead}")),
    }
}

/// The credential plugin of the kubeconfig does not come to an end.
pub fn plugin_hangs(plugin: &str, seconds: u64) -> Problem {
    Problem::new(Code::ClusterUnreachable, format!("the kubeconfig's credential plugin {} did not end within {seconds} s", clean(plugin)))
        .hint("run it by hand in the job's image: it may wait for input or for the network")
}

/// An answer did not come in time.
pub fn timed_out(action: Action<'_>, seconds: u64) -> Problem {
    let Action { verb, resource, name, server, .. } = action;
    let server = shown(server);
    let message = format!("the API server at {server} did not answer within {seconds} s (to {verb} {resource} {name})");
    Problem::new(Code::ClusterUnreachable, message)
}

/// The problem that a doomed rollout ends with.
pub fn doomed(finding: &Finding) -> Problem {
    let problem = Problem::new(finding.code, finding.message.clone());
    match &finding.hint {
        Some(hint) => problem.hint(hint.clone()),
        None => problem,
    }
}

/// Whether the API server says that the object is not there.
pub fn is_unauthorized(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 401)
}

pub fn is_not_found(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Whether there is no such resource at all in the API, whatever the object's name.
pub fn is_not_served(error: &kube::Error) -> bool {
    const ABSENT: [&str; 2] = ["could not find the requested resource", "404 page not found"];
    status(error).is_some_and(|status| status.code == 404 && ABSENT.iter().any(|words| status.message.contains(words)))
}

/// Whether the object was changed since it was read (and not that a field belongs to another).
pub fn is_stale(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409 && conflicts(status).is_empty() && status.reason != "AlreadyExists")
}

/// Whether an object of that name was made meanwhile.
pub fn already_exists(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.reason == "AlreadyExists")
}

/// The fields that other managers own, when that is why an apply was refused.
pub fn conflicting_fields(error: &kube::Error) -> Vec<String> {
    status(error).map(|status| conflicts(status).into_iter().map(|(field, _)| field).collect()).unwrap_or_default()
}

/// Whether it is unknown what became of a write: no answer, or an answer of something in between.
pub fn is_unclear(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500,
        kube::Error::Auth(_) | kube::Error::BuildRequest(_) => false,
        _ => true,
    }
}

fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

fn refused(status: &Status, action: Action<'_>) -> Problem {
    let Action { verb, resource, name, namespace, .. } = action;
    let sentence = said(status);
    let what = format!("{resource} {name}");
    match status.code {
        _ if sentence.contains(WEBHOOK) => webhook(&sentence, &what),
        401 => unauthorized(&sentence),
        403 => forbidden(&sentence, action),
        404 if sentence.starts_with("namespaces ") => missing_namespace(namespace),
        409 if !conflicts(status).is_empty() => conflict(status, &what),
        400 | 422 => invalid(status, &what, &sentence),
        // a field that the schema does not have is answered as a failure of the server's own
        500 if sentence.contains("failed to create typed patch object") => invalid(status, &what, &sentence),
        429 => Problem::new(Code::ClusterFailed, format!("the API server is overloaded and refused to {verb} {what}: {sentence}")),
        code => Problem::new(Code::ClusterFailed, format!("the API server answered {code} to {verb} {what}: {sentence}")),
    }
}

/// The API server's sentence, else what its causes say, else that it says nothing.
fn said(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes: Vec<String> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    let parts = [status.message.as_str(), &causes.join("; "), &status.reason].map(|part| clean(strip_markup(part)));
    let known = |part: &&String| !part.is_empty() && *part != "Unknown" && *part != UNREADABLE;
    parts.iter().find(known).cloned().unwrap_or_else(|| "no reason was given, by the API server or by a proxy before it".to_string())
}

/// A page for a browser, as proxies answer, says nothing in one line.
fn strip_markup(text: &str) -> &str {
    let start = text.trim_start().get(..9).unwrap_or_default().to_lowercase();
    if start.starts_with("<html") || start.starts_with("<!doctype") { "" } else { text }
}

/// A webhook that did not answer, or not in a way that can be read: `failed calling webhook "policy.test": … context deadline exceeded`.
fn webhook(sentence: &str, what: &str) -> Problem {
    let from = sentence.find(WEBHOOK).unwrap_or(0);
    let name = sentence[from..].split('"').nth(1).unwrap_or("of no name");
    Problem::new(Code::WebhookFailed, format!("the admission webhook {name} did not answer for {what}: {}", &sentence[from..]))
        .hint(format!("ask the owner of the webhook {name}, or whoever runs the cluster; retry the job when it answers again"))
}

fn unauthorized(why: &str) -> Problem {
    Problem::new(Code::ClusterUnauthorized, format!("the cluster refused the credentials: {why}"))
        .hint("renew the token or certificate in cluster.kubeconfig (or cluster.token)")
}

/// The problem of a namespace that is not there.
pub fn missing_namespace(namespace: &str) -> Problem {
    Problem::new(Code::NamespaceMissing, format!("namespace {namespace} does not exist"))
        .hint(format!("create it, set kubernetes.create_namespace, or correct kubernetes.namespace (now {namespace})"))
}

/// The problem of a namespace that is on its way out.
pub fn leaving_namespace(namespace: &str) -> Problem {
    Problem::new(Code::NamespaceMissing, format!("namespace {namespace} is being deleted"))
        .hint(format!("wait until it is gone and create it anew, or correct kubernetes.namespace (now {namespace})"))
}

/// A role that is too small, an admission policy and a quota all answer 403.
fn forbidden(sentence: &str, action: Action<'_>) -> Problem {
    let Action { verb, resource, name, namespace, .. } = action;
    if sentence.contains("exceeded quota") {
        return Problem::new(Code::QuotaExceeded, format!("the quota does not let {resource} {name} be made: {sentence}"));
    }
    if sentence.contains("because it is being terminated") {
        return leaving_namespace(namespace);
    }
    let account = sentence.split_once("User \"").and_then(|(_, rest)| rest.split_once('"')).map(|(account, _)| account);
    match account {
        Some(account) if sentence.contains(" cannot ") => {
            let message = format!("{account} may not {verb} {resource} in namespace {namespace}");
            Problem::new(Code::ClusterForbidden, message)
                .hint(format!("bind a Role with {verb} on {resource} to {account}; plugin/kubernetes/role.yaml has all that Shipway needs"))
        }
        _ => Problem::new(Code::AdmissionDenied, format!("the cluster does not admit {resource} {name}: {sentence}")),
    }
}

fn conflicts(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let ours = causes.filter(|cause| cause.reason == "FieldManagerConflict");
    ours.map(|cause| (cause.field.clone(), manager(&cause.message))).collect()
}

/// The name in `conflict with "kubectl-edit" using apps/v1`.
fn manager(message: &str) -> String {
    message.split('"').nth(1).unwrap_or(message).to_string()
}

fn conflict(status: &Status, what: &str) -> Problem {
    let fields: Vec<String> = conflicts(status).into_iter().map(|(field, manager)| format!("{field} (owned by {manager})")).collect();
    Problem::new(Code::FieldConflict, format!("another field manager owns fields of {what}: {}", fields.join(", ")))
        .hint("set kubernetes.force_conflicts to take the fields over, or leave them to their manager")
        .evidence(EvidenceKind::Diff, what, clean(&status.message))
}

fn invalid(status: &Status, what: &str, sentence: &str) -> Problem {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fixed: Vec<_> = causes.filter(|cause| is_immutable(&cause.message)).collect();
    if sentence.contains("provided port is already allocated") {
        let problem =
            Problem::new(Code::ManifestInvalid, format!("another Service of the cluster has the node port of {what}: {sentence}"));
        return problem.hint("choose another nodePort, or leave it out: the cluster then gives a free one");
    }
    if fixed.is_empty() && !is_immutable(sentence) {
        return Problem::new(Code::ManifestInvalid, format!("the API server refuses {what}: {sentence}"));
    }
    // the value that stands before the reason is a whole template at times, with all that is secret in it
    let (field, why) = match fixed.first() {
        None => ("a field".to_string(), sentence),
        Some(first) => {
            let fields: Vec<&str> = fixed.iter().map(|cause| cause.field.as_str()).collect();
            (fields.join(", "), first.message.rsplit(": ").next().unwrap_or_default())
        }
    };
    Problem::new(Code::FieldImmutable, format!("{field} of {what} cannot be changed: {}", clean(why)))
        .hint(format!("keep its value, or remove the object first; nothing was recreated ({what})"))
}

fn is_immutable(text: &str) -> bool {
    text.contains("immutable") || text.contains("may not change once set")
}

fn unreachable(cause: &str, server: &str) -> Problem {
    let (cause, server) = (plain(cause), shown(server));
    let lower = cause.to_lowercase();
    if lower.contains("certificate") || lower.contains("unknownissuer") || lower.contains("notvalidforname") {
        return Problem::new(Code::ClusterUnreachable, format!("the certificate of the API server at {server} is not trusted: {cause}"))
            .hint("set cluster.ca to the cluster's certificate authority, or correct cluster.server");
    }
    Problem::new(Code::ClusterUnreachable, format!("the API server at {server} cannot be reached: {cause}"))
}

/// A URL for messages: without a user's name and password.
fn shown(server: &str) -> String {
    let server = server.trim_end_matches('/');
    match server.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => server.to_string(),
    }
}

/// The cause without the names of the client's layers and the operating system's number.
fn plain(cause: &str) -> String {
    let parts = cause.split(": ").filter(|part| !LAYERS.contains(part) && !part.starts_with("client error ("));
    let text = parts.map(|part| part.split(" (os error ").next().unwrap_or(part)).collect::<Vec<_>>().join(": ");
    let mut letters = text.chars();
    match letters.next() {
        // a name such as UnknownIssuer stays as it is
        Some(first) if text.contains(' ') => first.to_lowercase().collect::<String>() + letters.as_str(),
        Some(_) => text,
        None => cause.to_string(),
    }
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        match parts.last_mut() {
            Some(last) if last.contains(&text) => {}
            // an outer error that repeats its cause says more with the cause alone cut off
            _ => parts.push(text),
        }
        next = error.source();
    }
    clean(&parts.join(": "))
}

/// One line without control characters, at most 1000 characters: it comes from outside.
pub fn clean(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(1000) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
