//! The tutorial as its reader goes through it: each command line of `docs/tutorial.md`, in its order, on a real project, registry and
//! cluster.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    fixture::{self, Checkout},
    job::QUICK,
    lab::{Namespace, lab},
    shipway::shipway,
};

/// A reader, with what the tutorial's names mean at their place.
struct Reader {
    checkout: Checkout,
    namespace: Namespace,
    home: tempfile::TempDir,
    /// What was exported so far.
    exported: BTreeMap<String, String>,
    said: Vec<String>,
}

impl Reader {
    fn new() -> Reader {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".registry-password"), "any\n").unwrap();
        Reader {
            checkout: fixture::checkout("spring-boot-service"),
            namespace: lab().namespace("tutorial"),
            home,
            exported: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// The tutorial's own names are examples.
    fn here(&self, text: &str) -> String {
        text.replace("registry.example.test", &lab().registry().address)
            .replace("line=trade", &format!("line={}", self.namespace.name))
            .replace("$HOME", &self.home.path().display().to_string())
    }

    fn follow(&mut self, line: &str) {
        let words: Vec<String> = self.here(line).split_whitespace().map(str::to_owned).collect();
        match words[0].as_str() {
            "export" => {
                let (name, value) = words[1].split_once('=').unwrap();
                self.exported.insert(name.to_owned(), value.to_owned());
            }
            "shipway" => self.shipway(line, &words[1..]),
            "kubectl" => self.kubectl(line, &words[1..]),
            other => panic!("a command that the tutorial's test does not know: {other}"),
        }
    }

    fn shipway(&mut self, line: &str, arguments: &[String]) {
        let job = shipway(self.checkout.path()).args(arguments).env("SHIPWAY_IMAGE_BASE", lab().base(17)).envs(QUICK.iter().copied());
        let job = job.env("SHIPWAY_KUBERNETES_RESOURCES_LIMITS_MEMORY", "384Mi");
        // the fourth part is the first that speaks of KUBECONFIG
        let cluster = self.said.iter().any(|said| said.contains("kubectl"));
        let job = if cluster { job.env("KUBECONFIG", &self.namespace.kubeconfig) } else { job };
        let done = self.exported.iter().fold(job, |job, (name, value)| job.env(name, value)).run();
        assert_eq!(done.code, 0, "{line}\n{}", done.text());
        self.said.push(format!("{line}\n{}", done.text()));
    }

    /// The namespace is there already, and its account has the tutorial's role: what is asked for is only tried.
    fn kubectl(&mut self, line: &str, arguments: &[String]) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let arguments = arguments.iter().map(|word| if word == "trade" { &self.namespace.name } else { word });
        let create = line.contains("create namespace");
        let output = Command::new(lab().program("kubectl"))
            .args(arguments.map(|word| if create && *word == self.namespace.name { format!("{word}-2") } else { word.clone() }))
            .args(["--dry-run=server", "--kubeconfig"])
            .arg(lab().kubeconfig())
            .current_dir(root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        self.said.push(line.to_owned());
    }

    fn last(&self) -> &str {
        self.said.last().map_or("", String::as_str)
    }

    fn left(&self, file: &str) -> PathBuf {
        self.checkout.path().join("shipway-report").join(file)
    }
}

#[test]
fn the_tutorial_leads_where_it_says() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorial.md")).unwrap();
    let mut reader = Reader::new();
    let mut lines = text.split("```sh\n").skip(1).flat_map(|part| part.split("```").next().unwrap().lines());
    let mut follow = |reader: &mut Reader, expected: &str| {
        let line = lines.next().unwrap();
        assert_eq!(line, expected);
        reader.follow(line);
    };
    follow(&mut reader, "shipway");
    assert!(reader.left("image/index.json").exists() && reader.left("manifests.yaml").exists() && reader.left("report.html").exists());
    assert!(reader.last().contains("set registry.url") && reader.last().contains("set cluster.kubeconfig"), "{}", reader.last());
    follow(&mut reader, "shipway plan");
    assert!(reader.last().contains("FROM ") && reader.last().contains("kind: Deployment"), "{}", reader.last());
    follow(&mut reader, "export SHIPWAY_REGISTRY_URL=registry.example.test");
    follow(&mut reader, "export SHIPWAY_REGISTRY_USERNAME=ci");
    follow(&mut reader, "export SHIPWAY_REGISTRY_PASSWORD_FILE=$HOME/.registry-password");
    follow(&mut reader, "shipway image");
    assert!(reader.last().contains(&format!("pushed {}/", lab().registry().address)), "{}", reader.last());
    follow(&mut reader, "kubectl create namespace trade");
    follow(&mut reader, "kubectl apply -n trade -f plugin/kubernetes/role.yaml");
    follow(&mut reader, "shipway --set line=trade");
    assert!(reader.last().contains("is up: revision 1"), "{}", reader.last());
    // the same again changes nothing
    reader.follow("shipway --set line=trade");
    assert!(reader.last().contains("is up: revision") && !reader.last().contains("starting"), "{}", reader.last());
    assert_eq!(lines.next(), None, "a command of the tutorial that its test does not follow");
}
