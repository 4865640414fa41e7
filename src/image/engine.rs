//! The native engine: from a Dockerfile to an image, without a daemon and without root.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Build, Image,
    arguments::not_run,
    assemble,
    base::{Base, Bases},
    config::{ImageConfig, Platform},
    context::{Context, Place, read_text},
    evaluate::{Evaluated, Inputs, evaluate},
    layer::{self, Layer},
    tree::Tree,
};
use crate::{
    domain::{
        dockerfile::{
            self, Dockerfile, Instruction, Scope,
            stages::{Origin, Stage, needed, origin},
        },
        problem::{Problem, Result},
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
}

/// See [`super::build`].
pub(super) async fn build(build: &Build, registry: &registry::Client) -> Result<Image> {
    let file = build.dockerfile.display().to_string();
    let dockerfile = dockerfile::parse(&read_text(&build.dockerfile)?, &file)?;
    std::fs::create_dir_all(&build.scratch).map_err(|error| Problem::io("create", &build.scratch, &error))?;
    let wanted = wanted_platforms(&build.platforms)?;
    let mut bases = Bases::new(registry, build.base_registry.as_deref());
    let mut plans = Vec::new();
    for platform in platforms(&dockerfile, &file, &wanted, &mut bases).await? {
        plans.push(plan(&dockerfile, &file, platform, &mut bases).await?);
    }
    let (owned, dockerfile) = (Owned::from(build, &file), dockerfile);
    let built = blocking(move || plans.into_iter().map(|plan| owned.evaluate(&dockerfile, plan)).collect::<Result<Vec<Built>>>()).await?;
    let layers = pack(&built, build).await?;
    assemble::image(&built, &layers, build)
}

fn wanted_platforms(texts: &[String]) -> Result<Vec<Platform>> {
    let parse = |text: &String| {
        Platform::parse(text).ok_or_else(|| {
            Problem::new(crate::domain::problem::Code::SettingInvalid, format!("image.platforms has {text:?}, which is no platform"))
                .hint("write os/architecture, such as linux/amd64")
        })
    };
    texts.iter().map(parse).collect()
}

/// The platforms of the base of the last stage, unless some are asked for.
async fn platforms(dockerfile: &Dockerfile, file: &str, wanted: &[Platform], bases: &mut Bases<'_>) -> Result<Vec<Platform>> {
    let host = Platform::host();
    let globals = globals(dockerfile, file, wanted.first().unwrap_or(&host))?;
    let (_, stages) = dockerfile.stages();
    let mut at = stages.len() - 1;
    loop {
        let stage = &stages[at];
        match origin(&stages, at, &globals).map_err(|why| Place { file, number: stage.number }.invalid(why))? {
            Origin::Stage(before) => at = before,
            Origin::Image(name) => return bases.platforms(&name, wanted).await,
            Origin::Scratch if wanted.is_empty() => return Ok(vec![host]),
            Origin::Scratch => return Ok(wanted.to_vec()),
        }
    }
}

/// What has to be known of the outside before the instructions can be evaluated for one platform.
struct Plan {
    platform: Platform,
    globals: Scope,
    needed: BTreeSet<usize>,
    bases: BTreeMap<usize, Base>,
}

async fn plan(dockerfile: &Dockerfile, file: &str, platform: Platform, bases: &mut Bases<'_>) -> Result<Plan> {
    let globals = globals(dockerfile, file, &platform)?;
    let (_, stages) = dockerfile.stages();
    let needed = needed(&stages, &globals).map_err(|(number, why)| Place { file, number }.invalid(why))?;
    check_commands(&stages, &needed, file)?;
    let mut loaded = BTreeMap::new();
    for &at in &needed {
        let place = Place { file, number: stages[at].number };
        if let Origin::Image(name) = origin(&stages, at, &globals).map_err(|why| place.invalid(why))? {
            let own = own_platform(&stages[at], &globals, place)?;
            loaded.insert(at, bases.load(&name, own.as_ref().unwrap_or(&platform)).await?);
        }
    }
    Ok(Plan { platform, globals, needed, bases: loaded })
}

/// A RUN is found before anything is fetched or packed.
fn check_commands(stages: &[Stage<'_>], needed: &BTreeSet<usize>, file: &str) -> Result<()> {
    let lines = needed.iter().flat_map(|&at| stages[at].lines);
    match lines.into_iter().find(|line| matches!(line.instruction, Instruction::Run(_) | Instruction::OnBuild(_))) {
        Some(line) => Err(not_run(&line.instruction, Place { file, number: line.number })),
        None => Ok(()),
    }
}

fn own_platform(stage: &Stage<'_>, globals: &Scope, place: Place<'_>) -> Result<Option<Platform>> {
    let Some(word) = stage.platform else { return Ok(None) };
    let text = globals.expand(word).map_err(|why| place.invalid(why))?;
    Platform::parse(&text).map(Some).ok_or_else(|| place.invalid(format!("--platform={text} is no platform, such as linux/amd64")))
}

/// The variables that FROM may use: the platform's, and the ARGs in front of the first stage.
fn globals(dockerfile: &Dockerfile, file: &str, platform: &Platform) -> Result<Scope> {
    let mut scope = Scope { variables: BTreeMap::new(), escape: dockerfile.escape };
    for (prefix, platform) in [("TARGET", platform), ("BUILD", &Platform::host())] {
        let variant = platform.variant.clone().unwrap_or_default();
        let parts = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", variant),
        ];
        scope.variables.extend(parts.map(|(name, value)| (format!("{prefix}{name}"), value)));
    }
    for line in dockerfile.stages().0 {
        let Instruction::Arg(pairs) = &line.instruction else { continue };
        for (name, default) in pairs {
            if let Some(word) = default {
                let value = scope.expand(word).map_err(|why| Place { file, number: line.number }.invalid(why))?;
                scope.variables.insert(name.clone(), value);
            }
        }
    }
    Ok(scope)
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

    fn evaluate(&self, dockerfile: &Dockerfile, plan: Plan) -> Result<Built> {
        let context = Context::open(&self.build.context, &self.build.dockerfile, &self.build.hidden)?;
        let (_, stages) = dockerfile.stages();
        let configs: BTreeMap<usize, ImageConfig> = plan.bases.iter().map(|(at, base)| (*at, base.config.clone())).collect();
        let evaluated = evaluate(&Inputs {
            file: &self.file,
            context: &context,
            roles: &self.build.roles,
            created: self.build.created,
            scratch: &self.build.scratch,
            globals: &plan.globals,
            platform: &plan.platform,
            stages: &stages,
            needed: &plan.needed,
            bases: &configs,
        })?;
        let mut bases = plan.bases;
        let base = evaluated.base.and_then(|at| bases.remove(&at));
        let platform = base.as_ref().map_or(plan.platform, |base| base.platform.clone());
        Ok(Built { platform, base, evaluated })
    }
}

/// Packs every layer once, however many platforms have it.
async fn pack(built: &[Built], build: &Build) -> Result<HashMap<Tree, Layer>> {
    let trees: BTreeSet<&Tree> = built.iter().flat_map(|one| one.evaluated.layers.iter().map(|(tree, _)| tree)).collect();
    let packing = trees.into_iter().map(|tree| {
        let (tree, scratch) = (tree.clone(), build.scratch.clone());
        blocking(move || layer::write(&tree, &scratch).map(|layer| (tree, layer)))
    });
    stream::iter(packing).buffered(PACKERS).try_collect().await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::bug(format!("a thread of the image engine ended: {error}"))),
    }
}
