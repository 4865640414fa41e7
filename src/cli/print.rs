//! Standard output and standard error of the commands that are no jobs.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
};

use crate::{
    domain::{
        problem::{Problem, Result},
        redact::Redactor,
    },
    report::{Format, Level, Log, Size, Style},
    settings::{CiKind, Colours, Loaded, LogFormat, LogLevel},
};

/// Prints a text as it is; a closed pipe is no failure.
pub(super) fn text(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Data as JSON for programs.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Problem::bug(format!("an answer cannot be written: {error}")))
}

/// Prints a problem where nothing else is known of how to print, and gives its exit code.
pub(super) fn problem(problem: &Problem) -> u8 {
    let mut err = io::stderr().lock();
    let (slug, hint) = (problem.code.slug(), &problem.hint);
    let _ = writeln!(err, "error: {} [{slug}]\n  help: {hint}\n  more: shipway explain {slug}", problem.message);
    problem.exit_code()
}

/// The log of a job: on a terminal it is drawn anew while the job goes on.
pub(super) fn log(loaded: &Loaded, redactor: &Redactor) -> Log {
    let style = style(loaded);
    let redraws = io::stdout().is_terminal() && loaded.host.redraws && loaded.ci.kind == CiKind::Shell && style.level == Level::Info;
    let log = Log::new(Box::new(io::stdout()), style, redactor.clone());
    if redraws { log.on_screen(terminal_size) } else { log }
}

/// The log of a command whose standard output belongs to the program that it runs.
pub(super) fn log_beside(loaded: &Loaded, redactor: &Redactor) -> Log {
    Log::new(Box::new(io::stderr()), style(loaded), redactor.clone())
}

fn terminal_size() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let size = (usize::from(size.ws_col), usize::from(size.ws_row));
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// How the log looks: colours when they are asked for or the terminal has them, sections on GitLab.
pub(super) fn style(loaded: &Loaded) -> Style {
    let terminal = io::stdout().is_terminal();
    let color = match loaded.host.colours {
        Colours::Always => true,
        Colours::Never => false,
        // GitLab's, Drone's and Woodpecker's pages show colours, a file or a pipe does not.
        Colours::Unsaid => terminal || loaded.ci.kind != CiKind::Shell,
    };
    Style {
        format: match loaded.settings.log.format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        },
        level: match loaded.settings.log.level {
            LogLevel::Error => Level::Error,
            LogLevel::Warn => Level::Warn,
            LogLevel::Info => Level::Info,
            LogLevel::Debug | LogLevel::Trace => Level::Debug,
        },
        color,
        sections: loaded.ci.sections,
        // what CI servers show is UTF-8, whatever the locale of the job's image
        unicode: loaded.ci.kind != CiKind::Shell || loaded.host.unicode,
        width: terminal_size().filter(|_| terminal).map_or(Style::default().width, |(columns, _)| columns.max(40)),
    }
}

/// Shows what the code itself says of its work (`log.level` debug or trace), on standard error; other crates stay silent, secrets are
/// taken out.
pub(super) fn trace(level: LogLevel, redactor: &Redactor) {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
        _ => return,
    };
    let redactor = redactor.clone();
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || Redacting(redactor.clone()));
    let only_ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    // A second subscriber in one process (in a test) is refused, and that is well.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(layer.with_filter(only_ours)));
}

/// Standard error without secrets; each event is one write.
struct Redacting(Redactor);

impl Write for Redacting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        io::stderr().lock().write_all(self.0.redact(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
