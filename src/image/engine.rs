//! The native engine: from a Dockerfile to an image, without a daemon and without root.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Build, Image,
    arguments::not_covered,
    assemble,
    base::{Base, Bases},
    config::{ImageConfig, Platform},
    context::{Context, Look, Place, read_text},
    evaluate::{Evaluated, Inputs, evaluate},
    gather::{Gathered, gather, globals},
    layer::{self, Layer},
    tree::Tree,
};
use crate::{
    domain::{
        dockerfile::{
            self, Dockerfile, Instruction, Scope, Uncovered,
            stages::{Origin, copied_from, origin},
        },
        event::Events,
        problem::{Code, Problem, Result},
    },
    registry,
};

/// Layers that are packed at the same time.
const PACKERS: usize = 2;

/// One platform's image before it is wrapped.
pub(super) struct Built {
    pub platform: Platform,
    pub base: Option<Base>,
    pub evaluated: Evaluated,
    /// Links that were copied and lead to files beside the context: path and target.
    strays: BTreeSet<(String, String)>,
}

/// See [`super::build`].
pub(super) async fn build(build: &Build, registry: &registry::Client, events: &Events) -> Result<Image> {
    let (dockerfile, file) = parsed(build)?;
    std::fs::create_dir_all(&build.scratch).map_err(|error| Problem::io("create", &build.scratch, &error))?;
    // Before anything is fetched: another engine may have bases that we do not reach.
    if let Some(found) = uncovered_in(&dockerfile, &file, &build.platforms, &build.args)? {
        return Err(not_covered(&found, &file));
    }
    let wanted = wanted_platforms(&build.platforms)?;
    let mut bases = Bases::new(registry, build.base_registry.as_deref(), &build.root);
    let mut platforms_gathered = Vec::new();
    for platform in platforms(&dockerfile, &file, &wanted, &build.args, &mut bases).await? {
        platforms_gathered.push(gather(&dockerfile, &file, platform, build, &mut bases).await?);
    }
    let owned = Owned::from(build, &file);
    let evaluating = move || platforms_gathered.into_iter().map(|gathered| owned.evaluate(&dockerfile, gathered)).collect();
    let built: Vec<Built> = blocking(evaluating).await?;
    for (path, target) in built.iter().flat_map(|one| &one.strays).collect::<BTreeSet<_>>() {
        let text = format!("the link {path} leads out of the build context, to {target}: in the image it leads to nothing");
        events.warning(text, "replace the link by the file, or leave it out with .dockerignore");
    }
    let layers = pack(&built, build).await?;
    assemble::image(&built, &layers, build)
}

pub(super) fn wanted_platforms(texts: &[String]) -> Result<Vec<Platform>> {
    let parse = |text: &String| {
        Platform::parse(text).ok_or_else(|| {
            Problem::new(Code::SettingInvalid, format!("image.platforms has {text:?}, which is no platform"))
                .hint("write os/architecture, such as linux/amd64")
        })
    };
    texts.iter().map(parse).collect()
}

/// The platforms of the image that the last stage stands on, unless some are asked for.
async fn platforms(
    dockerfile: &Dockerfile,
    file: &str,
    wanted: &[Platform],
    args: &BTreeMap<String, String>,
    bases: &mut Bases<'_>,
) -> Result<Vec<Platform>> {
    let host = Platform::host();
    let globals = globals(dockerfile, file, wanted.first().unwrap_or(&host), args)?;
    match last_image(dockerfile, file, &globals)? {
        Some(name) => bases.platforms(&name, wanted).await,
        None if wanted.is_empty() => Ok(vec![host]),
        None => Ok(wanted.to_vec()),
    }
}

/// The name of the image that the last stage stands on, through all stages in between; None from scratch.
fn last_image(dockerfile: &Dockerfile, file: &str, globals: &Scope) -> Result<Option<String>> {
    let (_, stages) = dockerfile.stages();
    let mut at = stages.len() - 1;
    loop {
        match origin(&stages, at, globals).map_err(|why| Place { file, number: stages[at].number }.invalid(why))? {
            Origin::Stage(before) => at = before,
            Origin::Image(name) => return Ok(Some(name)),
            Origin::Scratch => return Ok(None),
        }
    }
}

/// A build's Dockerfile, and its name for messages.
fn parsed(build: &Build) -> Result<(Dockerfile, String)> {
    let file = build.dockerfile.display().to_string();
    let dockerfile = dockerfile::parse(&read_text(&build.dockerfile)?, &file)?;
    Ok((until(dockerfile, build.target.as_deref(), &file)?, file))
}

/// See [`super::until`].
pub(super) fn until(dockerfile: Dockerfile, target: Option<&str>, file: &str) -> Result<Dockerfile> {
    let Some(target) = target else { return Ok(dockerfile) };
    dockerfile.until(target).map_err(|why| {
        Problem::new(Code::DockerfileInvalid, format!("image.target is {target}, and in {file} {why}"))
            .hint("set image.target to the name of a stage (FROM … AS name)")
    })
}

/// See [`super::uncovered`].
pub(super) fn uncovered(build: &Build) -> Result<Option<Uncovered>> {
    let (dockerfile, file) = parsed(build)?;
    uncovered_in(&dockerfile, &file, &build.platforms, &build.args)
}

/// See [`super::uncovered_in`].
pub(super) fn uncovered_in(
    dockerfile: &Dockerfile,
    file: &str,
    platforms: &[String],
    args: &BTreeMap<String, String>,
) -> Result<Option<Uncovered>> {
    let wanted = wanted_platforms(platforms)?;
    let globals = globals(dockerfile, file, wanted.first().unwrap_or(&Platform::host()), args)?;
    dockerfile::uncovered(dockerfile, &globals).map_err(|(number, why)| Place { file, number }.invalid(why))
}

/// See [`last_image`].
pub(super) fn final_base(build: &Build, platform: Option<&Platform>) -> Result<Option<String>> {
    let (dockerfile, file) = parsed(build)?;
    last_image(&dockerfile, &file, &globals(&dockerfile, &file, platform.unwrap_or(&Platform::host()), &build.args)?)
}

/// See [`super::base_names`].
pub(super) fn base_names(build: &Build) -> Result<Vec<String>> {
    let (dockerfile, file) = parsed(build)?;
    let globals = globals(&dockerfile, &file, &Platform::host(), &build.args)?;
    let (_, stages) = dockerfile.stages();
    let begun = (0..stages.len()).filter_map(|at| match origin(&stages, at, &globals) {
        Ok(Origin::Image(name)) => Some(name),
        _ => None,
    });
    let copied = stages.iter().enumerate().flat_map(|(at, stage)| stage.lines.iter().map(move |line| (at, line)));
    let copied = copied.filter_map(|(at, line)| match &line.instruction {
        Instruction::Copy(transfer) => {
            let name = globals.expand(transfer.from.as_ref()?).ok()?;
            copied_from(&stages, at, &name).is_none().then_some(name)
        }
        _ => None,
    });
    Ok(begun.chain(copied).collect())
}

/// What a thread needs of the build.
struct Owned {
    file: String,
    build: Build,
}

impl Owned {
    fn from(build: &Build, file: &str) -> Owned {
        Owned { file: file.to_string(), build: build.clone() }
    }

    fn evaluate(&self, dockerfile: &Dockerfile, gathered: Gathered) -> Result<Built> {
        let look = Look { hidden: &self.build.hidden, borrowed: &self.build.borrowed, without_umask: self.build.generated };
        let context = Context::open(&self.build.context, &self.build.dockerfile, look)?;
        let (_, stages) = dockerfile.stages();
        let configs: BTreeMap<usize, ImageConfig> = gathered.bases.iter().map(|(at, base)| (*at, base.config.clone())).collect();
        let evaluated = evaluate(&Inputs {
            file: &self.file,
            context: &context,
            roles: &self.build.roles,
            created: self.build.created,
            scratch: &self.build.scratch,
            globals: &gathered.globals,
            platform: &gathered.platform,
            stages: &stages,
            needed: &gathered.needed,
            bases: &configs,
            files: &gathered.files,
            images: &gathered.images,
        })?;
        let mut bases = gathered.bases;
        let base = evaluated.base.and_then(|at| bases.remove(&at));
        let platform = base.as_ref().map_or(gathered.platform, |base| base.platform.clone());
        Ok(Built { platform, base, evaluated, strays: context.strays() })
    }
}

/// Packs every layer once, however many platforms have it.
async fn pack(built: &[Built], build: &Build) -> Result<HashMap<Tree, Layer>> {
    let trees: BTreeSet<&Tree> = built.iter().flat_map(|one| one.evaluated.layers.iter().map(|(tree, _)| tree)).collect();
    let packing = trees.into_iter().map(|tree| {
        let (tree, scratch, packed) = (tree.clone(), build.scratch.clone(), build.packed.clone());
        blocking(move || layer::write(&tree, &scratch, &packed).map(|layer| (tree, layer)))
    });
    stream::iter(packing).buffered(PACKERS).try_collect().await
}

/// Runs what computes away from the runtime's thread.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::bug(format!("a thread of the image engine ended: {error}"))),
    }
}
