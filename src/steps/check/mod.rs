//! Looks at what a project brings, without the network: settings, Dockerfile, manifests and patches, pom, steps of ours in pipelines.

mod pipelines;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::custom;
use crate::{
    domain::{
        custom::{File, lint},
        dockerfile::{self, Instruction, stages},
        finding::Finding,
        problem::{Code, Problem, Result},
    },
    image, maven,
    settings::{self, Mistake},
};

/// What was looked at, and what was found, as files are read.
#[derive(Debug, Default)]
pub struct Checked {
    pub files: Vec<String>,
    pub findings: Vec<Finding>,
}

/// What the settings say of an image by the project's own Dockerfile.
#[derive(Default)]
struct OwnImage {
    context: PathBuf,
    args: BTreeMap<String, String>,
    target: Option<String>,
}

/// Looks at the project in `dir`; `file` is the settings file, which has to be there only when it is `named`.
pub fn check(dir: &Path, file: &Path, named: bool) -> Result<Checked> {
    let mut checked = Checked::default();
    let shown = file.strip_prefix("./").unwrap_or(file).display().to_string();
    let (mut named_files, mut image) = (Vec::new(), OwnImage { context: dir.to_path_buf(), ..OwnImage::default() });
    match fs::read_to_string(file) {
        Ok(text) => {
            checked.findings.extend(settings::check(&text, &shown).iter().map(of_mistake));
            named_files = settings::named(&text, &shown);
            image.args = settings::texts(&text, &shown, "image.build_args");
            image.target = settings::texts(&text, &shown, "image.target").into_values().next();
            checked.files.push(shown);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => {}
        Err(error) => {
            return Err(Problem::new(Code::FileUnreadable, format!("cannot read {shown}: {error}"))
                .hint("name the file, or run in its folder; a project without one is fine, too: every setting has a default"));
        }
    }
    if let Some(context) = named_files.iter().find(|named| named.key == "image.context") {
        image.context = dir.join(&context.path);
    }
    for named in &named_files {
        checked.named(dir, &image, named);
    }
    if dir.join("pom.xml").is_file() {
        checked.files.push("pom.xml".to_string());
        checked.findings.extend(maven::read(dir).err().map(|problem| Finding::placed("pom.xml", "", &problem)));
    }
    let (files, findings) = pipelines::check(dir);
    checked.files.extend(files);
    checked.findings.extend(findings);
    Ok(checked)
}

/// A mistake of the settings, wherever it stands.
pub fn of_mistake(mistake: &Mistake) -> Finding {
    let problem = Problem::new(mistake.code, mistake.what.clone()).hint(mistake.fix.clone());
    match &mistake.place {
        Some(place) => Finding::new(place.file.clone(), Some((place.line, place.column)), &problem),
        None => Finding::new(mistake.source.clone(), None, &problem),
    }
}

impl Checked {
    /// Looks at a file or folder that the settings name.
    fn named(&mut self, dir: &Path, image: &OwnImage, named: &settings::Named) {
        let path = dir.join(&named.path);
        // the build makes it
        if named.key == "build.artifact" {
            return;
        }
        if !path.exists() {
            let problem = Problem::new(Code::FileUnreadable, format!("{} of {} is not there", named.path, named.key));
            let at = named.place.as_ref().map(|place| (place.line, place.column));
            let file = named.place.as_ref().map_or_else(|| named.key.clone(), |place| place.file.clone());
            self.findings.push(Finding::new(file, at, &problem.hint("correct the path, which counts from the root of the checkout")));
            return;
        }
        match named.key.as_str() {
            "image.dockerfile" => self.dockerfile(image, &path, &named.path),
            "kubernetes.manifests" => self.objects(dir, named, &lint::manifests),
            "kubernetes.patches" => self.objects(dir, named, &lint::patches),
            _ => {}
        }
    }

    fn objects(&mut self, dir: &Path, named: &settings::Named, look: &dyn Fn(&File) -> Vec<lint::Fault>) {
        match custom::files(dir, &named.key, std::slice::from_ref(&named.path)) {
            Ok(files) => {
                for file in files {
                    self.findings.extend(look(&file).iter().map(|fault| Finding::new(file.path.clone(), Some(fault.at), &fault.problem)));
                    self.files.push(file.path);
                }
            }
            Err(problem) => self.findings.push(Finding::new(named.path.clone(), None, &problem)),
        }
    }

    fn dockerfile(&mut self, own: &OwnImage, path: &Path, shown: &str) {
        self.files.push(shown.to_string());
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let problem = Problem::new(Code::FileUnreadable, format!("it cannot be read: {error}"));
                return self.findings.push(Finding::new(shown, None, &problem));
            }
        };
        let parsed = dockerfile::parse(&text, shown).and_then(|parsed| image::until(parsed, own.target.as_deref(), shown));
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(problem) => return self.findings.push(Finding::placed(shown, &text, &problem)),
        };
        self.findings.extend(not_there(&own.context, &parsed).into_iter().map(|(line, source)| {
            let problem = Problem::new(Code::DockerfileInvalid, format!("{shown}:{line}: {source} is not in the build context"))
                .hint("correct the path, which counts from image.context; when the build makes it, all is well");
            Finding::placed(shown, &text, &problem).warning()
        }));
        match image::uncovered_in(&parsed, shown, &own.args) {
            Ok(Some(uncovered)) => {
                let problem = Problem::new(Code::DockerfileUnsupported, format!("{shown}:{}: {}", uncovered.line, uncovered.why)).hint(
                    "the runner has to have BuildKit, docker or buildah; without this instruction Shipway builds the image by itself",
                );
                self.findings.push(Finding::placed(shown, &text, &problem).warning());
            }
            Ok(None) => {}
            Err(problem) => self.findings.push(Finding::placed(shown, &text, &problem)),
        }
    }
}

/// Sources of COPY that are plainly written and not there, with their lines; what lies in a build's `target` is made later.
fn not_there(context: &Path, dockerfile: &dockerfile::Dockerfile) -> Vec<(usize, String)> {
    let plain =
        |source: &str| !source.contains(['$', '*', '?', '[', '"', '\'', '\\']) && !source.contains("://") && !source.starts_with('-');
    let made = |source: &str| Path::new(source).components().any(|part| part.as_os_str() == "target" || part.as_os_str() == "build");
    let (_, stages) = dockerfile.stages();
    let mut missing = Vec::new();
    for line in stages.iter().flat_map(|stage: &stages::Stage<'_>| stage.lines) {
        let (Instruction::Copy(transfer) | Instruction::Add(transfer)) = &line.instruction else { continue };
        if transfer.from.is_some() {
            continue;
        }
        for source in transfer.sources.iter().map(|word| word.0.as_str()).filter(|source| plain(source) && !made(source)) {
            if !context.join(PathBuf::from(source.trim_start_matches('/'))).exists() {
                missing.push((line.number, source.to_string()));
            }
        }
    }
    missing
}
