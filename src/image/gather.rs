//! What has to be known of the outside before the instructions can be evaluated: bases, their files, and images that COPY takes from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Build,
    arguments::not_covered,
    base::{Base, Bases},
    base_files::{self, BaseFiles},
    config::Platform,
    context::Place,
    users::number,
};
use crate::domain::{
    dockerfile::{
        self, Dockerfile, Instruction, Scope,
        stages::{Origin, Stage, copied_from, needed, origin},
    },
    problem::{Code, Problem, Result},
};

/// All that the evaluation for one platform needs.
pub(super) struct Gathered {
    pub platform: Platform,
    pub globals: Scope,
    /// Places of the stages that the last one stands on.
    pub needed: BTreeSet<usize>,
    /// The base of each stage that begins with an image.
    pub bases: BTreeMap<usize, Base>,
    /// The files of those bases that are looked into.
    pub files: BTreeMap<usize, Arc<BaseFiles>>,
    /// The files of images that `COPY --from` names.
    pub images: BTreeMap<String, Arc<BaseFiles>>,
}

/// Reads what one platform needs; what the native engine does not cover is found before anything is fetched.
pub(super) async fn gather(
    dockerfile: &Dockerfile,
    file: &str,
    platform: Platform,
    build: &Build,
    bases: &mut Bases<'_>,
) -> Result<Gathered> {
    let globals = globals(dockerfile, file, &platform, &build.args)?;
    if let Some(found) = dockerfile::uncovered(dockerfile, &globals).map_err(|(number, why)| Place { file, number }.invalid(why))? {
        return Err(not_covered(&found, file));
    }
    let (_, stages) = dockerfile.stages();
    let needed = needed(&stages, &globals).map_err(|(number, why)| Place { file, number }.invalid(why))?;
    let looked = looked_into(&stages, &needed, &globals, build.generated);
    let mut gathered = Gathered { platform, globals, needed, bases: BTreeMap::new(), files: BTreeMap::new(), images: BTreeMap::new() };
    for &at in &gathered.needed {
        let place = Place { file, number: stages[at].number };
        if let Origin::Image(name) = origin(&stages, at, &gathered.globals).map_err(|why| place.invalid(why))? {
            let own = own_platform(&stages[at], &gathered.globals, place)?;
            let base = bases.load(&name, own.as_ref().unwrap_or(&gathered.platform)).await?;
            if looked.contains(&at) {
                gathered.files.insert(at, Arc::new(base_files::fetch(&base, bases.registry(), &build.scratch).await?));
            }
            gathered.bases.insert(at, base);
        }
    }
    for (name, place) in images(&stages, &gathered.needed, file) {
        let named = |problem: Problem| no_stage(problem, &name, place);
        let base = bases.load(&name, &gathered.platform).await.map_err(named)?;
        gathered.images.insert(name, Arc::new(base_files::fetch(&base, bases.registry(), &build.scratch).await?));
    }
    Ok(gathered)
}

/// A stage that is misspelled looks like an image that nobody has.
fn no_stage(problem: Problem, name: &str, place: Place<'_>) -> Problem {
    let told = place.problem(problem.code, format!("COPY --from={name} names no earlier stage, and as an image: {}", problem.message));
    let hint = match problem.code {
        Code::BaseImageMissing | Code::ImageNameInvalid => "correct the name of the stage, or of the image".to_string(),
        _ => problem.hint,
    };
    Problem { hint, evidence: problem.evidence, ..told }
}

/// Images that COPY takes from, each with the first instruction that does.
fn images<'a>(stages: &[Stage<'_>], needed: &BTreeSet<usize>, file: &'a str) -> BTreeMap<String, Place<'a>> {
    let mut found = BTreeMap::new();
    for &at in needed {
        for line in stages[at].lines {
            if let Instruction::Copy(transfer) = &line.instruction
                && let Some(from) = &transfer.from
                && copied_from(stages, at, &from.0).is_none()
            {
                found.entry(from.0.clone()).or_insert(Place { file, number: line.number });
            }
        }
    }
    found
}

/// The stages whose base's files have to be known: where something is laid over them, or taken from them. What we generated goes
/// where no base has anything, unless it names a user.
fn looked_into(stages: &[Stage<'_>], needed: &BTreeSet<usize>, globals: &Scope, generated: bool) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for &at in needed {
        for line in stages[at].lines {
            let (own, other) = match &line.instruction {
                Instruction::Copy(transfer) | Instruction::Add(transfer) => {
                    let named = transfer.chown.as_ref().is_some_and(|word| word.0.split(':').any(|part| number(part).is_none()));
                    (!generated || named, transfer.from.as_ref().and_then(|from| copied_from(stages, at, &from.0)))
                }
                Instruction::Workdir(_) => (!generated, None),
                _ => (false, None),
            };
            found.extend(own.then(|| bottom(stages, at, globals)));
            found.extend(other.map(|other| bottom(stages, other, globals)));
        }
    }
    found
}

/// The stage whose FROM names the image that a stage stands on.
fn bottom(stages: &[Stage<'_>], mut at: usize, globals: &Scope) -> usize {
    while let Ok(Origin::Stage(before)) = origin(stages, at, globals) {
        at = before;
    }
    at
}

fn own_platform(stage: &Stage<'_>, globals: &Scope, place: Place<'_>) -> Result<Option<Platform>> {
    let Some(word) = stage.platform else { return Ok(None) };
    let text = globals.expand(word).map_err(|why| place.invalid(why))?;
    Platform::parse(&text).map(Some).ok_or_else(|| place.invalid(format!("--platform={text} is no platform, such as linux/amd64")))
}

/// The variables that FROM may use: the platform's, and the ARGs in front of the first stage, for which `given` has values.
pub(super) fn globals(dockerfile: &Dockerfile, file: &str, platform: &Platform, given: &BTreeMap<String, String>) -> Result<Scope> {
    let mut scope = Scope { given: given.clone(), escape: dockerfile.escape, ..Scope::default() };
    for (prefix, platform) in [("TARGET", platform.normal()), ("BUILD", Platform::host())] {
        let variant = platform.variant.clone().unwrap_or_default();
        let parts = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", variant),
        ];
        let parts = parts.map(|(name, value)| (format!("{prefix}{name}"), value));
        scope.variables.extend(parts.map(|(name, value)| (name.clone(), given.get(&name).cloned().unwrap_or(value))));
    }
    for line in dockerfile.stages().0 {
        let Instruction::Arg(pairs) = &line.instruction else { continue };
        for (name, default) in pairs {
            let value = scope.argument(name, default.as_ref(), &scope).map_err(|why| Place { file, number: line.number }.invalid(why))?;
            scope.variables.extend(value.map(|value| (name.clone(), value)));
        }
    }
    Ok(scope)
}
