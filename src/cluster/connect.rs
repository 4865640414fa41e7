//! The connection: kubeconfig files, server and token, or the pod's own cluster, as the settings name them.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt, retry::RetryPolicy},
    config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};

use super::{
    Target,
    fence::Fence,
    lease::Lock,
    line::Line,
    problem::{self, Action},
};
use crate::domain::problem::{Code, Problem, Result};

/// Longest time that one request (not a watch) may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Longest time that a credential plugin of the kubeconfig may take.
const PLUGIN_LIMIT: Duration = Duration::from_secs(60);
/// Stands in for "no proxy" while kube makes its configuration, so that it does not look into the environment for one.
const NO_PROXY: &str = "http://none.invalid";

/// A connection to one namespace of a cluster.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    /// URL of the API server.
    pub server: String,
    line: Arc<Line>,
    /// Under a lock: nothing is changed when it is lost.
    fence: Option<Fence>,
    /// The publish lock, where it is not a Lease: another holds it for us.
    pub(super) held: Option<Fence>,
}

/// What changes something; the verb of an action.
const CHANGES: [&str; 4] = ["create", "update", "patch", "delete"];

/// Connects; reads the kubeconfig, does not talk to the API server yet.
pub async fn connect(target: &Target, namespace: &str) -> Result<Cluster> {
    // kube would choose a provider by itself, and panic when two are compiled in; a second installation is refused, which is fine
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (client, server) = client(target).await?;
    let line = Line::new(target, client);
    Ok(Cluster { client: line.client(namespace, None), namespace: namespace.to_string(), server, line, fence: None, held: None })
}

/// A client with the credentials as they are now, and the URL of its API server. A credential plugin of the kubeconfig runs here, away
/// from the runtime's thread: it may take its time, or hang.
pub(super) async fn client(target: &Target) -> Result<(Client, String)> {
    let mut config = config(target).await?;
    let server = config.cluster_url.to_string();
    let plugin = config.auth_info.exec.as_mut().map(|exec| {
        // nobody sits at a CI job; its standard error is kept for the message instead of going to the log as it is
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
        exec.command.clone().unwrap_or_default()
    });
    let set_up = tokio::task::spawn_blocking(move || without_delay(config));
    match (tokio::time::timeout(PLUGIN_LIMIT, set_up).await, plugin) {
        (Ok(Ok(Ok(client))), _) => Ok((client, server)),
        (Ok(Ok(Err(kube::Error::Auth(error)))), Some(plugin)) => Err(problem::plugin(&error, &plugin)),
        (Ok(Ok(Err(error))), _) => Err(unusable(&format!("the connection cannot be set up: {error}"))),
        (Ok(Err(error)), _) => Err(Problem::bug(format!("setting up the connection ended: {error}"))),
        (Err(_), plugin) => Err(problem::plugin_hangs(&plugin.unwrap_or_default(), PLUGIN_LIMIT.as_secs())),
    }
}

/// kube's own stack, but for one thing: a request goes out at once. By default the kernel keeps the second part of a request back until the
/// server has acknowledged the first, which servers do 40 ms late (RFC 896 and RFC 1122 §4.2.3.2 together). By a proxy it stays so.
fn without_delay(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        return ClientBuilder::try_from(config).map(ClientBuilder::build);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let client: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

impl Cluster {
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same connection, whose every change asks first whether the lock still holds.
    pub(super) fn under(&self, lock: &Lock) -> Cluster {
        let fence = lock.fence();
        Cluster { client: self.line.client(&self.namespace, Some(fence.clone())), fence: Some(fence), ..self.clone() }
    }

    /// The same connection, for which another holds the publish lock: no Lease is taken.
    pub fn held(&self, fence: Fence) -> Cluster {
        Cluster { held: Some(fence), ..self.clone() }
    }

    /// Requests that were sent, watches included: a publish is measured by it.
    pub fn requests(&self) -> usize {
        self.line.requests()
    }

    /// What the API server warned of (its `Warning` headers) since the last call.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        self.line.take_warnings()
    }

    /// Sends one request, with a time limit and its error as a problem.
    pub(super) async fn call<T>(&self, action: (&str, &str, &str), request: impl Future<Output = kube::Result<T>>) -> Result<T> {
        self.permit(action.0).await?;
        let action = self.action(action);
        match tokio::time::timeout(REQUEST_LIMIT, Box::pin(request)).await {
            Ok(answer) => answer.map_err(|error| problem::problem(&error, action)),
            Err(_) => Err(problem::timed_out(action, REQUEST_LIMIT.as_secs())),
        }
    }

    /// As [`Cluster::call`], for requests whose error has to be looked at first.
    pub(super) async fn attempt<T>(
        &self,
        action: (&str, &str, &str),
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>> {
        self.permit(action.0).await?;
        match tokio::time::timeout(REQUEST_LIMIT, Box::pin(request)).await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(problem::timed_out(self.action(action), REQUEST_LIMIT.as_secs())),
        }
    }

    async fn permit(&self, verb: &str) -> Result<()> {
        match &self.fence {
            Some(fence) if CHANGES.contains(&verb) => fence.hold().await,
            _ => Ok(()),
        }
    }

    pub(super) fn action<'a>(&'a self, (verb, resource, name): (&'a str, &'a str, &'a str)) -> Action<'a> {
        Action { verb, resource, name, namespace: &self.namespace, server: &self.server }
    }
}

async fn config(target: &Target) -> Result<Config> {
    if target.in_cluster {
        return in_cluster(target);
    }
    let (mut kubeconfig, context) = match (&target.kubeconfig[..], &target.server) {
        ([], Some(server)) => (from_server(server)?, Some("shipway".to_string())),
        ([], None) => return Err(Problem::new(Code::ClusterMissing, "no cluster is configured")),
        (files, _) => {
            let kubeconfig = read(files)?;
            let context = context(&kubeconfig, target.context.as_deref())?;
            (kubeconfig, Some(context))
        }
    };
    let own = own_proxy(&mut kubeconfig, context.as_deref());
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unusable(&error.to_string()))?;
    override_by(target, &mut config)?;
    let proxy = own.or_else(|| proxy_for(target, &config));
    config.proxy_url = proxy.map(|proxy| parse("the proxy", &proxy)).transpose()?;
    Ok(config)
}

/// What the target says of a proxy for the server that is to be talked to.
fn proxy_for(target: &Target, config: &Config) -> Option<String> {
    target.proxy.as_ref().and_then(|choose| choose(&config.cluster_url.to_string()))
}

fn in_cluster(target: &Target) -> Result<Config> {
    let mut config = Config::incluster_dns().map_err(|error| {
        Problem::new(Code::ClusterConfigInvalid, format!("cluster.in_cluster is set, but this is no pod with a service account: {error}"))
            .hint("run in a pod that has a service account's token mounted, or set cluster.kubeconfig")
    })?;
    override_by(target, &mut config)?;
    config.proxy_url = proxy_for(target, &config).map(|proxy| parse("the proxy", &proxy)).transpose()?;
    Ok(config)
}

/// Single settings win over what the kubeconfig says.
fn override_by(target: &Target, config: &mut Config) -> Result<()> {
    if let Some(server) = &target.server {
        config.cluster_url = parse("cluster.server", server)?;
    }
    if let Some(token) = &target.token {
        config.auth_info = serde_json::from_value(json!({ "token": token.expose() })).map_err(|error| Problem::bug(error.to_string()))?;
    }
    if let Some(ca) = &target.ca {
        config.root_cert = Some(certificates(ca)?);
        config.root_cert_file = None;
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>> {
    let unreadable = |why: String| Problem::new(Code::FileUnreadable, format!("cluster.ca {} cannot be read: {why}", path.display()));
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    let certificates = read.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| unreadable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unreadable("it holds no PEM certificate".to_string()));
    }
    Ok(certificates.into_iter().map(|certificate| certificate.to_vec()).collect())
}

/// A server without any file: a kubeconfig of one context.
fn from_server(server: &str) -> Result<Kubeconfig> {
    let _: http::Uri = parse("cluster.server", server)?;
    let kubeconfig = json!({
        "clusters": [{"name": "shipway", "cluster": {"server": server}}],
        "users": [{"name": "shipway", "user": {}}],
        "contexts": [{"name": "shipway", "context": {"cluster": "shipway", "user": "shipway"}}],
    });
    serde_json::from_value(kubeconfig).map_err(|error| Problem::bug(error.to_string()))
}

/// Merges the files as kubectl does: files that are missing do not matter as long as one is there.
fn read(files: &[std::path::PathBuf]) -> Result<Kubeconfig> {
    let mut merged = Kubeconfig::default();
    let present: Vec<_> = files.iter().filter(|file| file.exists()).collect();
    if present.is_empty() {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        return Err(Problem::new(Code::FileUnreadable, format!("the kubeconfig {} does not exist", names.join(", ")))
            .hint("correct cluster.kubeconfig (or KUBECONFIG)"));
    }
    for file in present {
        let next = Kubeconfig::read_from(file).map_err(|error| unusable(&format!("{}: {error}", file.display())))?;
        merged = merged.merge(next).map_err(|error| unusable(&format!("{}: {error}", file.display())))?;
    }
    Ok(merged)
}

/// The context that is named, else the current one; the message lists what is there.
fn context(kubeconfig: &Kubeconfig, named: Option<&str>) -> Result<String> {
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    let list = if known.is_empty() { "it has no context".to_string() } else { format!("it has {}", known.join(", ")) };
    match named.or(kubeconfig.current_context.as_deref()).filter(|name| !name.is_empty()) {
        Some(name) if known.contains(&name) => Ok(name.to_string()),
        Some(name) => Err(unusable(&format!("it has no context {name:?}; {list}")).hint("set cluster.context to one of those")),
        None => Err(unusable(&format!("it has no current context; {list}")).hint("set cluster.context")),
    }
}

/// Takes the proxy of the context's cluster out of the kubeconfig and leaves a stand-in.
fn own_proxy(kubeconfig: &mut Kubeconfig, context: Option<&str>) -> Option<String> {
    let context = kubeconfig.contexts.iter().find(|named| Some(named.name.as_str()) == context)?;
    let cluster = context.context.as_ref()?.cluster.clone();
    let named = kubeconfig.clusters.iter_mut().find(|named| named.name == cluster)?;
    named.cluster.as_mut()?.proxy_url.replace(NO_PROXY.to_string()).filter(|proxy| !proxy.is_empty())
}

fn parse(what: &str, url: &str) -> Result<http::Uri> {
    url.parse().map_err(|error| {
        // the URL itself may hold a password
        Problem::new(Code::ClusterConfigInvalid, format!("{what} is not a URL: {error}")).hint(format!("correct {what}"))
    })
}

fn unusable(why: &str) -> Problem {
    Problem::new(Code::ClusterConfigInvalid, format!("the kubeconfig cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const KUBECONFIG: &str = "apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: 'https://a.test:6443', proxy-url: 'http://proxy.test:3128'}}]
contexts: [{name: test, context: {cluster: a, user: u}}, {name: prod, context: {cluster: a, user: u}}]
users: [{name: u, user: {token: t}}]
";

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn target(text: &str) -> (tempfile::TempDir, Target) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, text).unwrap();
        (folder, Target { kubeconfig: vec![PathBuf::from("/nowhere/at-all"), file], ..Target::default() })
    }

    fn refused(target: &Target) -> Problem {
        block_on(config(target)).err().unwrap()
    }

    #[test]
    fn a_context_that_is_not_there_lists_those_that_are() {
        let (_folder, mut target) = target(KUBECONFIG);
        target.context = Some("production".to_string());
        let problem = refused(&target);
        assert_eq!(problem.code, Code::ClusterConfigInvalid);
        assert!(problem.message.contains("test, prod") && problem.hint.contains("cluster.context"), "{problem:?}");
        target.context = None;
        assert!(refused(&target).message.contains("no current context"));
    }

    #[test]
    fn settings_win_over_the_file() {
        let (_folder, mut target) = target(KUBECONFIG);
        target.context = Some("prod".to_string());
        let own = block_on(config(&target)).unwrap();
        assert_eq!(
            (own.cluster_url.to_string(), own.proxy_url.unwrap().to_string()),
            ("https://a.test:6443/".to_string(), "http://proxy.test:3128/".to_string())
        );
        target.server = Some("https://b.test".to_string());
        assert_eq!(block_on(config(&target)).unwrap().cluster_url.host(), Some("b.test"));
        target.ca = Some(PathBuf::from("/nowhere/ca.pem"));
        let problem = refused(&target);
        assert!(problem.message.contains("cluster.ca /nowhere/ca.pem"), "{}", problem.message);
    }

    #[test]
    fn a_proxy_is_chosen_for_the_server_that_is_talked_to() {
        let (_folder, mut target) = target(KUBECONFIG);
        target.proxy = Some(Arc::new(|server| server.contains("b.test").then(|| "http://other.test:3128".to_string())));
        target.context = Some("prod".to_string());
        let proxy = |target: &Target| block_on(config(target)).unwrap().proxy_url.map(|proxy| proxy.to_string());
        assert_eq!(proxy(&target).as_deref(), Some("http://proxy.test:3128/"), "the kubeconfig's own wins");
        target.kubeconfig.clear();
        target.server = Some("https://b.test:1".to_string());
        assert_eq!(proxy(&target).as_deref(), Some("http://other.test:3128/"));
        target.server = Some("https://c.test:1".to_string());
        assert_eq!(proxy(&target), None);
    }

    #[test]
    fn a_server_alone_is_enough() {
        let target = Target { server: Some("https://b.test:1".to_string()), ..Target::default() };
        let config = block_on(config(&target)).unwrap();
        assert_eq!((config.cluster_url.port_u16(), config.proxy_url), (Some(1), None));
    }

    #[test]
    fn what_cannot_be_used_names_its_setting() {
        assert_eq!(refused(&Target::default()).code, Code::ClusterMissing);
        let missing = refused(&Target { kubeconfig: vec![PathBuf::from("/nowhere/at-all")], ..Target::default() });
        assert!(missing.message.contains("/nowhere/at-all") && missing.hint.contains("cluster.kubeconfig"), "{missing:?}");
        let (_folder, broken) = target("clusters: {");
        assert_eq!(refused(&broken).code, Code::ClusterConfigInvalid);
        let (_folder, mut bad) = target(KUBECONFIG);
        (bad.context, bad.server) = (Some("test".to_string()), Some("not a url".to_string()));
        assert!(refused(&bad).message.contains("cluster.server"));
    }
}
