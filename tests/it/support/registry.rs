//! A real registry (Debian's docker-registry) of a test's own: on a free port, in a temporary folder, ended when it is dropped.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use shipway::domain::reference::ImageReference;
use tempfile::TempDir;

use super::{checker::Checker, free_port};

pub struct Registry {
    /// Where it is asked: a checker in front of it, but for TLS, into which nobody looks.
    pub port: u16,
    /// Set by `start_with_tls`: the CA's certificate.
    pub ca: PathBuf,
    checker: Option<Checker>,
    dir: TempDir,
    child: Child,
}

#[derive(Default)]
struct Setup<'a> {
    logins: &'a [(&'a str, &'a str)],
    tls: bool,
    data: Option<&'a Path>,
    /// Clients have to show a certificate of the CA.
    client_certificates: bool,
}

impl Registry {
    /// Without authentication, plain http.
    pub fn start() -> Self {
        Registry::with(Setup::default())
    }

    /// Basic authentication (htpasswd, bcrypt), plain http.
    pub fn start_with_auth(username: &str, password: &str) -> Self {
        Registry::start_with_logins(&[(username, password)])
    }

    /// The same for several users.
    pub fn start_with_logins(logins: &[(&str, &str)]) -> Self {
        Registry::with(Setup { logins, ..Setup::default() })
    }

    /// With a certificate of a CA that no system knows.
    pub fn start_with_tls() -> Self {
        Registry::with(Setup { tls: true, ..Setup::default() })
    }

    /// The same, and it takes only clients that have a certificate of that CA, such as [`Registry::client_certificate`].
    pub fn start_with_client_certificates() -> Self {
        Registry::with(Setup { tls: true, client_certificates: true, ..Setup::default() })
    }

    /// With its data in a folder of the test's.
    pub fn start_in(data: &Path) -> Self {
        Registry::with(Setup { data: Some(data), ..Setup::default() })
    }

    /// A certificate and its key, as PEM files.
    pub fn client_certificate(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().join("client.pem"), self.dir.path().join("client.key"))
    }

    /// What stands in front of it.
    pub fn checker(&self) -> &Checker {
        self.checker.as_ref().unwrap()
    }

    /// Its access log: a line for each request.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `name` in this registry.
    pub fn image(&self, name: &str) -> ImageReference {
        format!("{}/{name}", self.host()).parse().unwrap()
    }

    /// Stops it before its time.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it as a crash does, and starts it again with what it had stored.
    pub fn restart(&mut self) {
        self.stop();
        self.child = run(self.dir.path());
        self.wait();
    }

    /// Removes a blob from the registry's storage, as a careless clean-up would.
    pub fn lose_blob(&self, hex: &str) {
        std::fs::remove_dir_all(self.dir.path().join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex)).unwrap();
    }

    fn with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = config(&setup, dir.path(), port);
        std::fs::write(dir.path().join("config.yml"), config).unwrap();
        let child = run(dir.path());
        let mut registry = Registry { port, ca: dir.path().join("ca.pem"), checker: None, dir, child };
        registry.wait();
        if !setup.tls {
            let checker = Checker::of_new(port);
            registry.port = checker.port;
            registry.checker = Some(checker);
        }
        registry
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        let port = self.checker.as_ref().map_or(self.port, Checker::upstream);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().unwrap().is_some();
            if ended || begun.elapsed() > Duration::from_secs(20) {
                panic!("docker-registry does not start:\n{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(dir: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new("docker-registry")
        .args(["serve".as_ref(), dir.join("config.yml").as_os_str()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("docker-registry is not installed (apt-get install docker-registry)")
}

fn config(setup: &Setup, dir: &Path, port: u16) -> String {
    let data = setup.data.map_or_else(|| dir.join("data"), Path::to_path_buf);
    let mut config = format!(
        "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: false}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        data.display()
    );
    if setup.tls {
        make_certificate(dir);
        let clients = if setup.client_certificates { format!(", clientcas: [{}/ca.pem]", dir.display()) } else { String::new() };
        config += &format!("  tls: {{certificate: {0}/server.pem, key: {0}/server.key{clients}}}\n", dir.display());
    }
    let login = |(username, password): &(&str, &str)| {
        Command::new("htpasswd").args(["-Bbn", username, password]).output().expect("htpasswd is not installed (apache2-utils)").stdout
    };
    if !setup.logins.is_empty() {
        let file = dir.join("htpasswd");
        std::fs::write(&file, setup.logins.iter().flat_map(login).collect::<Vec<u8>>()).unwrap();
        config += &format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.display());
    }
    config
}

/// `ca.pem`, and `server.pem` with `server.key` for 127.0.0.1, signed by it.
pub fn make_certificate(dir: &Path) {
    let openssl = |args: &[&str]| {
        let made = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl is not installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    std::fs::write(dir.join("server.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.corp.test\n").unwrap();
    std::fs::write(dir.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(&[&["req", "-x509", "-days", "2", "-subj", "/CN=test ca", "-keyout", "ca.key", "-out", "ca.pem"], &key[..]].concat());
    openssl(&[&["req", "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"], &key[..]].concat());
    let sign = |name: &str, more: &[&str]| {
        let (request, certificate) = (format!("{name}.csr"), format!("{name}.pem"));
        let common =
            ["x509", "-req", "-days", "2", "-in", &request, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", &certificate];
        openssl(&[&common[..], more].concat());
    };
    sign("server", &["-extfile", "server.ext"]);
    openssl(&[&["req", "-subj", "/CN=client", "-keyout", "client.key", "-out", "client.csr"], &key[..]].concat());
    sign("client", &["-extfile", "client.ext"]);
}
