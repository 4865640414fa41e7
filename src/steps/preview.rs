//! What a run would make, without making it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{access::connect, config, custom, dockerfile, publish};
use crate::{
    cluster,
    domain::{
        application::{Application, Form, ImageFacts},
        problem::{Problem, Result},
        workload::Workload,
    },
    image,
    plan::{Plan, Publish},
};

/// The documents of a run that has not happened.
pub struct Preview {
    /// None for a library and for a ready image.
    pub dockerfile: Option<String>,
    pub manifests: Option<String>,
    /// What the cluster would change; None when the run does not publish.
    pub diff: Option<Vec<cluster::ObjectDiff>>,
    /// No artifact was there to look into: the documents are what the pom lets expect.
    pub expected: bool,
}

/// Looks into the artifact of the last build when there is one, else at the pom; asks the cluster for a dry run.
pub async fn preview(plan: &Plan) -> Result<Preview> {
    if plan.is_library() {
        return Ok(Preview { dockerfile: None, manifests: None, diff: None, expected: false });
    }
    let built = last_artifact(plan);
    let application = built.clone().or_else(|| expected_application(plan));
    let dockerfile = match (plan.has_ready_image(), &plan.settings.image.dockerfile) {
        (true, _) => None,
        (false, Some(own)) => Some(read(&plan.facts.dir.join(own))?),
        (false, None) => Some(generated(plan, built.as_ref(), application.as_ref())?),
    };
    let image = plan.ready_image.as_ref().unwrap_or(&plan.target);
    let version = image.tag.clone().or_else(|| image.digest.as_ref().map(|digest| digest.short().to_string())).unwrap_or_default();
    let workload = plan.workload(image, &version, application.as_ref(), &ImageFacts::default());
    let (config, pushed) = config::of_release(plan).await?;
    let workload = Workload { custom: custom::read(plan)?, config, pushed, ..workload };
    let manifests = publish::render(&workload)?;
    let diff = match plan.publish {
        Publish::Cluster => {
            let cluster = connect(plan).await?;
            Some(cluster.diff(&publish::request(plan, workload)).await?)
        }
        _ => None,
    };
    Ok(Preview { dockerfile, manifests: Some(manifests), diff, expected: built.is_none() && !plan.has_ready_image() })
}

fn generated(plan: &Plan, built: Option<&Application>, application: Option<&Application>) -> Result<String> {
    let recipe = dockerfile::recipe(plan, application, None)?;
    if let Some(built) = built {
        let folder = tempfile::tempdir_in(&plan.host.temp).map_err(|error| Problem::io("make a folder in", &plan.host.temp, &error))?;
        return read(&image::stage(built, &recipe, folder.path())?.dockerfile);
    }
    let form = application.map_or(Form::Jar { class_path: Vec::new() }, |application| application.form.clone());
    image::expected_dockerfile(&form, &recipe)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Problem::io("read", path, &error))
}

/// The only runnable artifact that lies in the target folders.
fn last_artifact(plan: &Plan) -> Option<Application> {
    let modules = plan.facts.project.iter().flat_map(|project| project.modules.iter().cloned()).chain([PathBuf::new()]);
    let named = |module: &Path| plan.settings.build.module.as_deref().is_none_or(|name| module == Path::new(name));
    let mut found: Vec<Application> =
        modules.filter(|module| named(module)).flat_map(|module| artifacts_in(&plan.facts.dir.join(module).join("target"))).collect();
    let only = found.pop();
    only.filter(|_| found.is_empty())
}

fn artifacts_in(folder: &Path) -> Vec<Application> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let archives = entries.filter(|path| path.extension().is_some_and(|extension| extension == "jar" || extension == "war"));
    archives.filter_map(|path| image::inspect(&path).ok()).filter(Application::runnable).collect()
}

/// What the pom lets expect.
fn expected_application(plan: &Plan) -> Option<Application> {
    let project = plan.facts.project.as_ref()?;
    Some(Application {
        path: PathBuf::new(),
        form: if project.spring_boot { Form::BootJar } else { Form::Jar { class_path: Vec::new() } },
        main_class: None,
        java: plan.settings.build.jdk.or(project.java),
        version: project.version.clone(),
        spring_boot: None,
        actuator: project.actuator,
        properties: BTreeMap::new(),
    })
}
