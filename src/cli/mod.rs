//! The command line: one file per command; each parses, calls and prints.

mod app;
mod arguments;
mod asked;
mod can;
mod check;
mod config;
mod doctor;
mod documents;
mod history;
mod hold;
mod init;
mod job;
mod logs;
mod plan;
mod print;
mod rules;
mod session;
mod status;
mod unstick;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};
use crate::{
    domain::{claim::Kind, problem::Problem},
    net, process,
    settings::{self, Refused},
    steps::Job,
};

/// Bytes of stack, of which only what is used is taken: unoptimized builds keep far more there than a main thread may have.
const STACK: usize = 64 << 20;

/// Runs the command line of this process and gives its exit code (see `docs/exit-codes.md`).
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed pipe is no reason to fail twice.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    net::install_crypto();
    let run = std::thread::Builder::new().name("shipway".to_string()).stack_size(STACK).spawn(move || run(arguments));
    // whatever a bug unwinds has printed itself
    let code =
        run.map(|run| run.join().unwrap_or(70)).unwrap_or_else(|error| print::problem(&Problem::bug(format!("cannot start: {error}"))));
    ExitCode::from(code)
}

/// Runs the command, and gives its exit code.
fn run(arguments: Arguments) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return print::problem(&Problem::bug(format!("cannot start the runtime: {error}"))),
    };
    let code = runtime.block_on(dispatch(arguments));
    // A thread that still compresses a layer must not hold up the end of a cancelled run.
    runtime.shutdown_background();
    code
}

async fn dispatch(arguments: Arguments) -> u8 {
    let environment = settings::environment();
    let names = |wanted: &str| environment.iter().any(|(name, _)| name == wanted);
    let of_worker = names(settings::WORKER) || matches!(arguments.command, Some(Command::Worker));
    // whoever holds a lock for us finds us by our environment, should we have to be ended
    if of_worker || !names(process::MARKER) {
        process::hide();
    }
    let input = arguments.input(settings::handed_over(environment));
    let done = match arguments.command {
        Some(Command::Version) => documents::version(),
        Some(Command::Schema) => documents::schema(),
        Some(Command::Completions { shell }) => documents::completions(shell),
        Some(Command::Explain { name }) => documents::explain(name.as_deref(), &input),
        Some(Command::Reference { document }) => documents::reference(document),
        Some(Command::Check { file, json }) => check::run(file, json, input),
        Some(Command::Init(asked)) => init::run(input, asked).await,
        Some(Command::Doctor { json }) => doctor::run(input, json).await,
        Some(Command::Plan) => plan::run(input).await,
        Some(Command::Status { json, watch }) => status::run(input, json, watch).await,
        Some(Command::History(asked)) if asked.all => history::all(input, &asked).await,
        Some(Command::History(asked)) => history::run(input, asked.json).await,
        Some(Command::Rules { action }) => rules::run(input, action).await,
        Some(Command::App { action }) => app::run(input, action).await,
        Some(Command::Logs { .. }) => logs::run(input).await,
        Some(Command::Unstick { .. }) => unstick::run(input).await,
        Some(Command::Config { action }) => config::run(action, input).await,
        Some(Command::Lock { name, shared, command, .. }) => hold::run(Kind::Lock, &name, shared, command, input).await,
        Some(Command::Lead { name, http: Some(address), .. }) => hold::serve(&name, &address, input).await,
        Some(Command::Lead { name, command, .. }) => hold::run(Kind::Lead, &name, false, command, input).await,
        Some(Command::Can(asked)) => can::run(input, asked).await,
        Some(Command::Worker) => worker::run(input).await,
        Some(Command::Run) => return job::run(Job::Run, input).await,
        Some(Command::Build) => return job::run(Job::Build, input).await,
        Some(Command::Dockerfile) => return job::run(Job::Dockerfile, input).await,
        Some(Command::Image) => return job::run(Job::Image, input).await,
        Some(Command::Publish { .. }) => return job::run(Job::Publish, input).await,
        Some(Command::Rollback { .. }) => return job::run(Job::Rollback, input).await,
        Some(Command::Restart) => return job::run(Job::Restart, input).await,
        Some(Command::Scale { .. }) => return job::run(Job::Scale, input).await,
        Some(Command::Remove { .. }) => return job::run(Job::Remove, input).await,
        Some(Command::Rebase { .. }) => return job::run(Job::Rebase, input).await,
        None => return configured(input).await,
    };
    done.unwrap_or_else(|problem| print::problem(&problem))
}

/// What the setting `command` says: a plugin step has nothing but settings.
async fn configured(input: settings::Input) -> u8 {
    let command = match settings::load_or_rest(&input) {
        Ok(loaded) => loaded.settings.command,
        // it says itself what is wrong, in its own way
        Err(Refused { rest: Some(rest), .. }) => rest.settings.command,
        Err(Refused { mistakes, rest: None }) => return print::problem(&mistakes.into()),
    };
    let done = match command {
        settings::Command::Run => return job::run(Job::Run, input).await,
        settings::Command::Build => return job::run(Job::Build, input).await,
        settings::Command::Dockerfile => return job::run(Job::Dockerfile, input).await,
        settings::Command::Image => return job::run(Job::Image, input).await,
        settings::Command::Publish => return job::run(Job::Publish, input).await,
        settings::Command::Rollback => return job::run(Job::Rollback, input).await,
        settings::Command::Restart => return job::run(Job::Restart, input).await,
        settings::Command::Scale => return job::run(Job::Scale, input).await,
        settings::Command::Remove => return job::run(Job::Remove, input).await,
        settings::Command::Rebase => return job::run(Job::Rebase, input).await,
        settings::Command::Plan => plan::run(input).await,
        settings::Command::Status => status::run(input, false, false).await,
        settings::Command::History => history::run(input, false).await,
        settings::Command::Logs => logs::run(input).await,
        settings::Command::Unstick => unstick::run(input).await,
        settings::Command::Doctor => doctor::run(input, false).await,
        settings::Command::Check => check::run(None, false, input),
        settings::Command::Version => documents::version(),
        later => Err(documents::not_there(later)),
    };
    done.unwrap_or_else(|problem| print::problem(&problem))
}
