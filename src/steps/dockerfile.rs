//! From artifact to build context: taken apart into layers, with a generated Dockerfile, or the user's own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Job,
    build::Built,
    run::{Done, Run},
};
use crate::{
    domain::{
        application::Application,
        event::LayerRole,
        problem::{Code, Problem, Result},
        step::Step,
        units::format_bytes,
    },
    image::{self, Borrowed, Recipe},
    plan::Plan,
};

/// Where the generated context is staged, below the report folder.
const CONTEXT_FOLDER: &str = "context";

/// A context that an image can be built of.
pub(super) struct Context {
    pub dir: PathBuf,
    /// Files of it that lie elsewhere.
    pub borrowed: Borrowed,
    pub dockerfile: PathBuf,
    pub roles: BTreeMap<PathBuf, LayerRole>,
    /// It was staged by us and is removed after the build.
    pub generated: bool,
}

pub(super) async fn run(run: &Run, built: &Built, job: Job) -> Result<Context> {
    run.step(Step::Dockerfile, async {
        let done = match &run.plan.settings.image.dockerfile {
            Some(own) => own_context(run, own)?,
            None => staged_context(run, built)?,
        };
        let text = fs::read_to_string(&done.value.dockerfile).map_err(|error| Problem::io("read", &done.value.dockerfile, &error))?;
        run.attach(|attachments| attachments.dockerfile = Some(text));
        if job == Job::Dockerfile {
            done.value.borrowed.copy_into(&done.value.dir)?;
            run.events.note(format!("docker build {}", done.value.dir.display()));
        }
        Ok(done)
    })
    .await
}

/// Where the project's own Dockerfile is; for messages, too: `Dockerfile` reads better than `./Dockerfile`.
pub(super) fn own_path(plan: &Plan, dockerfile: &str) -> PathBuf {
    let root = &plan.facts.dir;
    if root == Path::new(".") { PathBuf::from(dockerfile) } else { root.join(dockerfile) }
}

fn own_context(run: &Run, dockerfile: &str) -> Result<Done<Context>> {
    let root = &run.plan.facts.dir;
    let path = own_path(&run.plan, dockerfile);
    if !path.is_file() {
        return Err(Problem::new(Code::FileUnreadable, format!("image.dockerfile: {} is not there", path.display())));
    }
    let dir = run.plan.settings.image.context.as_ref().map_or_else(|| root.clone(), |context| root.join(context));
    if !dir.is_dir() {
        return Err(Problem::new(Code::FileUnreadable, format!("image.context: {} is no folder", dir.display())));
    }
    let context = Context { dir, borrowed: Borrowed::default(), dockerfile: path, roles: BTreeMap::new(), generated: false };
    Ok(Done::new(context, format!("the project's own {dockerfile}")))
}

fn staged_context(run: &Run, built: &Built) -> Result<Done<Context>> {
    let plan = &run.plan;
    let application = built.application.as_ref().ok_or_else(|| Problem::bug("there is no artifact to stage"))?;
    let recipe = recipe(plan, Some(application), built.jdk)?;
    let staged = image::stage(application, &recipe, &plan.report_dir.join(CONTEXT_FOLDER))?;
    let layers: Vec<_> = staged.layers.iter().map(|layer| format!("{} {}", layer.path.display(), format_bytes(layer.bytes))).collect();
    let summary = format!("FROM {}, layers: {}", recipe.base, layers.join(", "));
    let roles = staged.layers.into_iter().map(|layer| (layer.path, layer.role)).collect();
    Ok(Done::new(Context { dir: staged.dir, borrowed: staged.borrowed, dockerfile: staged.dockerfile, roles, generated: true }, summary))
}

/// What the generated Dockerfile says beside the files.
pub(super) fn recipe(plan: &Plan, application: Option<&Application>, compiled_with: Option<u32>) -> Result<Recipe> {
    let version = plan.target.tag.clone().unwrap_or_default();
    Ok(Recipe {
        base: plan.base(compiled_with, application.and_then(|application| application.java))?,
        port: plan.port(application),
        jvm: plan.settings.image.jvm.clone(),
        args: plan.settings.image.args.clone(),
        user: plan.settings.image.user.clone(),
        env: plan.settings.image.env.clone(),
        labels: plan.labels(&version).into_iter().collect(),
    })
}
