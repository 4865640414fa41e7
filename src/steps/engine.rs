//! Which engine builds the image: the native one where it can, else what the machine offers; the log says which, and why.

use super::{access, run::Run};
use crate::{
    domain::{
        dockerfile::Dockerfile,
        image_source::ImageSource,
        problem::{Code, Problem, Result},
        redact::Redactor,
    },
    image::{
        self, Build, Image,
        engines::{self, Machine, Other},
    },
    net,
    plan::Plan,
    process::LogFile,
    registry,
    settings::Engine,
};

/// Where the output of other engines goes, below the report folder.
const LOG: &str = "engine.log";

/// Builds by the engine that is set; `auto` is the native one, unless the Dockerfile has what it does not cover.
pub(super) async fn build(run: &Run, build: &Build) -> Result<Image> {
    if run.plan.settings.image.engine == Engine::Native {
        return image::build(build, &run.registry, &run.events).await;
    }
    if let Some(engine) = wanted(&run.plan) {
        return by_other(run, build, Some(engine), &format!("image.engine is {}", engine.name())).await;
    }
    match image::build(build, &run.registry, &run.events).await {
        Err(problem) if problem.code == Code::DockerfileUnsupported => by_other(run, build, None, &problem.message).await,
        built => built,
    }
}

/// Fails when nothing here can build the project's own Dockerfile, which `file` is.
pub(super) async fn foresee(run: &Run, dockerfile: &Dockerfile, file: &str) -> Result<()> {
    let settings = &run.plan.settings.image;
    let (found, wanted) = (image::uncovered_in(dockerfile, file, &settings.build_args)?, wanted(&run.plan));
    match (found, settings.engine) {
        (None, Engine::Native | Engine::Auto) => Ok(()),
        (Some(found), Engine::Native) => Err(image::not_covered(&found, file)),
        (found, _) => {
            let machine = machine_for(&run.plan, &[], &run.redactor)?;
            engines::find(&machine, wanted).await.map(drop).map_err(|problem| match found {
                Some(found) if wanted.is_none() => because(problem, &image::not_covered(&found, file).message),
                _ => problem,
            })
        }
    }
}

/// That there is no engine, with what it is needed for.
fn because(problem: Problem, why: &str) -> Problem {
    Problem { message: format!("{why}; {}", problem.message), ..problem }
}

/// The engine that the settings name, when it is not ours.
pub(super) fn wanted(plan: &Plan) -> Option<Other> {
    match plan.settings.image.engine {
        Engine::Native | Engine::Auto => None,
        Engine::Buildkit => Some(Other::Buildkit),
        Engine::Docker => Some(Other::Docker),
        Engine::Buildah => Some(Other::Buildah),
    }
}

async fn by_other(run: &Run, build: &Build, wanted: Option<Other>, why: &str) -> Result<Image> {
    let bases = image::base_names(build)?;
    let machine = machine_for(&run.plan, &bases, &run.redactor)?;
    let found = engines::find(&machine, wanted).await.map_err(|problem| match wanted {
        Some(_) => problem,
        None => because(problem, why),
    })?;
    run.events.note(format!("{why}; the image is built by {}", found.words));
    if build.base_registry.is_some() && found.engine != Other::Buildah {
        let text = format!("image.base_registry is not known to {}: it pulls base images by its own rules", found.engine.name());
        run.events.warning(text, "set the mirror in the engine's own configuration (registry-mirrors)");
    }
    let own_base = || bases.iter().any(|name| registry_of(name).as_ref() == Some(&run.plan.target.registry));
    if machine.ca.is_some() && found.engine != Other::Buildah && own_base() {
        let text = format!("registry.ca is not known to {}: it pulls base images by its own rules", found.engine.name());
        run.events.warning(
            text,
            "give the authority to the engine itself (docker: /etc/docker/certs.d/HOST/ca.crt; BuildKit: its buildkitd.toml)",
        );
    }
    build.borrowed.copy_into(&build.context)?;
    let image = engines::build(&found, build, &machine, &run.registry, &run.events).await?;
    run.events.note(format!("what {} builds is not reproducible: the same commit may give another digest", found.engine.name()));
    Ok(image)
}

/// What other engines are given of this machine; `bases` are the images that the Dockerfile names.
pub(super) fn machine_for(plan: &Plan, bases: &[String], redactor: &Redactor) -> Result<Machine> {
    let settings = &plan.settings.registry;
    let accesses = access::accesses(plan)?;
    let named = accesses.iter().filter(|access| access.insecure).filter_map(|access| access.prefix.split('/').next()).map(str::to_string);
    let bases = bases.iter().filter_map(|name| registry_of(name));
    let mut insecure: Vec<String> = named.chain(bases.filter(|registry| net::is_loopback(host(registry)))).collect();
    insecure.sort();
    insecure.dedup();
    Ok(Machine {
        env: plan.host.engine_env(),
        dir: plan.facts.dir.clone(),
        credentials: registry::config_of(&accesses),
        ca: settings.ca.as_ref().map(|ca| plan.facts.dir.join(ca)),
        insecure,
        log: LogFile::new(plan.report_dir.join(LOG), redactor),
        timeout: plan.settings.build.timeout,
        epoch: plan.host.source_date_epoch,
    })
}

/// The registry of a base.
fn registry_of(base: &str) -> Option<String> {
    base.parse::<ImageSource>().ok()?.registry().map(|name| name.registry.clone())
}

/// The host of a registry, without its port.
fn host(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    }
}
