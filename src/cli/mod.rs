//! The command line: one file per command; each parses, calls and prints.

mod arguments;
mod check;
mod documents;
mod job;
mod plan;
mod print;
mod session;
mod status;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};
use crate::{domain::problem::Problem, net, settings, steps::Job};

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
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(print::problem(&Problem::bug(format!("cannot start the runtime: {error}")))),
    };
    let code = runtime.block_on(dispatch(arguments));
    // A thread that still compresses a layer must not hold up the end of a cancelled run.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn dispatch(arguments: Arguments) -> u8 {
    let input = arguments.input(settings::environment());
    let done = match arguments.command {
        Some(Command::Version) => documents::version(),
        Some(Command::Schema) => documents::schema(),
        Some(Command::Reference { document }) => documents::reference(document),
        Some(Command::Check { file }) => check::run(file, input),
        Some(Command::Plan) => plan::run(input).await,
        Some(Command::Status { json }) => status::run(input, json).await,
        Some(Command::Run) => return job::run(Job::Run, input).await,
        Some(Command::Build) => return job::run(Job::Build, input).await,
        Some(Command::Dockerfile) => return job::run(Job::Dockerfile, input).await,
        Some(Command::Image) => return job::run(Job::Image, input).await,
        Some(Command::Publish { .. }) => return job::run(Job::Publish, input).await,
        Some(Command::Rollback { .. }) => return job::run(Job::Rollback, input).await,
        None => return configured(input).await,
    };
    done.unwrap_or_else(|problem| print::problem(&problem))
}

/// What the setting `command` says: a plugin step has nothing but settings.
async fn configured(input: settings::Input) -> u8 {
    let loaded = match settings::load(&input) {
        Ok(loaded) => loaded,
        Err(mistakes) => return print::problem(&mistakes.into()),
    };
    let done = match loaded.settings.command {
        settings::Command::Run => return job::run(Job::Run, input).await,
        settings::Command::Build => return job::run(Job::Build, input).await,
        settings::Command::Dockerfile => return job::run(Job::Dockerfile, input).await,
        settings::Command::Image => return job::run(Job::Image, input).await,
        settings::Command::Publish => return job::run(Job::Publish, input).await,
        settings::Command::Rollback => return job::run(Job::Rollback, input).await,
        settings::Command::Plan => plan::run(input).await,
        settings::Command::Status => status::run(input, false).await,
        settings::Command::Check => check::run(None, input),
        settings::Command::Version => documents::version(),
        later => Err(documents::not_there(later)),
    };
    done.unwrap_or_else(|problem| print::problem(&problem))
}
