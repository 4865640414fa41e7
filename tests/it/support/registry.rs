//! A real registry (Debian's docker-registry) of a test's own: on a free port, in a temporary folder, ended when it is dropped.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use shipway::domain::reference::ImageReference;
use tempfile::TempDir;

use super::free_port;

pub struct Registry {
    pub port: u16,
    /// Set by `start_with_tls`: the CA's certificate.
    pub ca: PathBuf,
    dir: TempDir,
    child: Child,
}

#[derive(Default)]
struct Setup<'a> {
    login: Option<(&'a str, &'a str)>,
    tls: bool,
}

impl Registry {
    /// Without authentication, plain http.
    pub fn start() -> Self {
        Registry::with(Setup::default())
    }

    /// Basic authentication (htpasswd, bcrypt), plain http.
    pub fn start_with_auth(username: &str, password: &str) -> Self {
        Registry::with(Setup { login: Some((username, password)), tls: false })
    }

    /// With a certificate of a CA that no system knows.
    pub fn start_with_tls() -> Self {
        Registry::with(Setup { login: None, tls: true })
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

    /// Removes a blob from the registry's storage, as a careless clean-up would.
    pub fn lose_blob(&self, hex: &str) {
        std::fs::remove_dir_all(self.dir.path().join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex)).unwrap();
    }

    fn with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = config(&setup, dir.path(), port);
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve".as_ref(), file.as_os_str()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("docker-registry is not installed (apt-get install docker-registry)");
        let mut registry = Registry { port, ca: dir.path().join("ca.pem"), dir, child };
        registry.wait();
        registry
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
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

fn config(setup: &Setup, dir: &Path, port: u16) -> String {
    let data = dir.join("data");
    let mut config = format!(
        "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        data.display()
    );
    if setup.tls {
        make_certificate(dir);
        config += &format!("  tls: {{certificate: {0}/server.pem, key: {0}/server.key}}\n", dir.display());
    }
    if let Some((username, password)) = setup.login {
        let made = Command::new("htpasswd").args(["-Bbn", username, password]).output().expect("htpasswd is not installed (apache2-utils)");
        let file = dir.join("htpasswd");
        std::fs::write(&file, made.stdout).unwrap();
        config += &format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.display());
    }
    config
}

fn make_certificate(dir: &Path) {
    let openssl = |args: &[&str]| {
        let made = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl is not installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    std::fs::write(dir.join("server.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(&[&["req", "-x509", "-days", "2", "-subj", "/CN=test ca", "-keyout", "ca.key", "-out", "ca.pem"], &key[..]].concat());
    openssl(&[&["req", "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"], &key[..]].concat());
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "server.ext",
        "-out",
        "server.pem",
    ]);
}
