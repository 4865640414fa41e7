//! What is on this machine: the project, Maven and its JDK, an engine for the Dockerfile, room for reports.

use std::fs;

use super::{
    super::{build, engine, image::own_dockerfile},
    unset,
};
use crate::{
    domain::{
        checkup::State,
        problem::{Code, Problem, Result},
        redact::Redactor,
    },
    image::{self, engines},
    maven,
    plan::Plan,
    settings::Engine,
};

fn of<T>(looked: Result<T>, words: impl FnOnce(T) -> String) -> State {
    looked.map_or_else(State::Bad, |found| State::Good(words(found)))
}

/// The checkout and its pom.
pub(super) fn project(plan: &Plan) -> State {
    let dir = &plan.facts.dir;
    let commit = plan.facts.commit.as_ref().map(|commit| format!(", commit {}", commit.short())).unwrap_or_default();
    if !dir.join("pom.xml").is_file() {
        let ready = plan.settings.image.reference.as_ref().or(plan.host.earlier_image.as_ref());
        return match (&plan.settings.build.command, ready) {
            (_, Some(image)) => State::Good(format!("{}, ready as {image}: nothing is built", plan.app)),
            (Some(argv), None) => State::Good(format!("{}, built by {}{commit}", plan.app, argv.join(" "))),
            (None, None) => State::Bad(Problem::new(Code::NoPom, "no pom.xml is here, and no image is ready: there is nothing to publish")),
        };
    }
    of(maven::read(dir), |project| {
        let modules = match project.modules.len() {
            0 => String::new(),
            number => format!(", {number} modules"),
        };
        let java = project.java.map(|java| format!(", Java {java}")).unwrap_or_default();
        let boot = if project.spring_boot { ", Spring Boot" } else { "" };
        format!("{} {}{java}{boot}{modules}{commit}", project.artifact, project.version.unwrap_or_default())
    })
}

/// Maven and the JDK that would compile.
pub(super) fn build(plan: &Plan) -> State {
    if plan.settings.build.command.is_some() || !plan.facts.dir.join("pom.xml").is_file() {
        return State::Unset { text: "Maven is not needed here".to_string(), hint: None };
    }
    let found = build::request(plan, None, &Redactor::default()).and_then(|request| maven::tools(&request));
    of(found, |tools| {
        let others: Vec<String> = tools.found.iter().map(|jdk| jdk.version.to_string()).collect();
        let program = if tools.wrapper { "the project's Maven wrapper".to_string() } else { tools.program.display().to_string() };
        format!("{program}; JDK {} ({}) compiles; JDKs found: {}", tools.jdk.full_version, tools.jdk.home.display(), others.join(", "))
    })
}

/// An engine for the user's own Dockerfile, where ours does not cover it.
pub(super) async fn engine(plan: &Plan) -> Result<Option<State>> {
    let Some(own) = &plan.settings.image.dockerfile else { return Ok(None) };
    let parsed = own_dockerfile(plan, &plan.facts.dir.join(own))?;
    let uncovered = image::uncovered_in(&parsed, own, &plan.settings.image.build_args)?;
    let wanted = engine::wanted(plan);
    if plan.settings.image.engine == Engine::Native || (uncovered.is_none() && wanted.is_none()) {
        return Ok(Some(match uncovered {
            None => State::Good(format!("{own} is built natively, without a daemon")),
            Some(why) => {
                unset(format!("{own}:{}: {}", why.line, why.why), "image.engine is native, which does not cover it: set it to auto")
            }
        }));
    }
    let found = engines::find(&engine::machine_for(plan, &[], &Redactor::default())?, wanted).await?;
    let because = uncovered.map(|why| format!(" ({own}:{}: {})", why.line, why.why)).unwrap_or_default();
    Ok(Some(State::Good(format!("{}{because}", found.words))))
}

/// Room for the reports.
pub(super) fn report(plan: &Plan) -> State {
    let dir = &plan.report_dir;
    let try_it = || {
        fs::create_dir_all(dir)?;
        tempfile::tempfile_in(dir)
    };
    let there = dir.exists();
    let tried = try_it().map_err(|error| {
        Problem::io("write into", dir, &error).hint("set report.dir to a folder that can be written; a run goes on without its reports")
    });
    if !there {
        // only an empty one goes
        let _ = fs::remove_dir(dir);
    }
    of(tried, |_| format!("{} can be written", dir.display()))
}
