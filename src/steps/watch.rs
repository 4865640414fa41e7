//! `config watch --to FOLDER -- CMD`: a command that runs beside a folder which always has the version that was pushed last. It goes on with
//! the files that it has while the centre is away, which is said once.

use std::{path::PathBuf, pin::pin, time::Duration};

use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::sleep,
};

use super::write_config;
use crate::{
    center::Center,
    domain::{
        config::Config,
        event::Events,
        problem::{Class, Code, Problem, Result},
        pushed::{Place, Version, Wanted},
    },
    process::{Attached, Command, Marker, Signal, Signals, find_program},
};

/// Between attempts at files that the centre has but does not give.
const AGAIN: Duration = Duration::from_secs(2);

/// A command, and what it is told of.
pub struct Watched {
    /// Program and arguments, never read by a shell.
    pub argv: Vec<String>,
    pub dir: PathBuf,
    /// The command's whole environment.
    pub env: Vec<(String, String)>,
    /// The folder with the files.
    pub to: PathBuf,
    /// What tells it of other files; None: it is ended and started anew.
    pub signal: Option<Signal>,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// What comes from the centre.
enum News {
    Files(Version, Config),
    Away(Problem),
}

/// Runs the command until it ends by itself; gives its exit code. Fails when there is no configuration to begin with.
pub async fn watch(center: &Center, place: &Place, watched: &Watched, events: &Events) -> Result<i32> {
    let command = command(watched)?;
    find_program(&command.program, &command.dir, &command.env)?;
    let mut signals = Signals::listen()?;
    let (version, config) = tokio::select! {
        pulled = center.pull(place, &Wanted::Current) => pulled?,
        _ = signals.next() => return Err(Problem::new(Code::Cancelled, "cancelled before the command was started")),
    };
    write_config(&config, &watched.to)?;
    let mut shown = version.config.hash;
    events.note(format!("version {} of the configuration of {} is in {}", version.version, place.words(), watched.to.display()));
    let (sender, mut news) = unbounded_channel();
    let mut follow = pin!(follow(center, place, &sender));
    let mut away = false;
    let mut child = Attached::start(&command, &Marker::new())?;
    loop {
        tokio::select! {
            biased;
            code = child.wait() => {
                child.end(watched.grace).await;
                return code;
            }
            signal = signals.next() => child.signal(signal),
            problem = &mut follow => {
                child.end(watched.grace).await;
                return Err(problem);
            }
            Some(news) = news.recv() => match news {
                News::Away(problem) if !away => {
                    away = true;
                    events.warning(format!("the command goes on with the files that it has: {}", problem.message), problem.hint);
                }
                News::Away(_) => {}
                News::Files(version, config) => {
                    if std::mem::take(&mut away) {
                        events.note("the centre is there again");
                    }
                    if version.config.hash == shown {
                        continue;
                    }
                    // the next version, or this one told once more, finds the disk as it is then
                    if let Err(problem) = write_config(&config, &watched.to) {
                        events.warning(format!("the command goes on with the files that it has: {}", problem.message), problem.hint);
                        continue;
                    }
                    shown = version.config.hash;
                    events.note(format!("version {} is there: the command is {}", version.version, told(watched)));
                    match watched.signal {
                        Some(signal) => child.signal(signal),
                        None => {
                            child.end(watched.grace).await;
                            child = Attached::start(&command, &Marker::new())?;
                        }
                    }
                }
            },
        }
    }
}

fn told(watched: &Watched) -> &'static str {
    if watched.signal.is_some() { "told" } else { "started anew" }
}

fn command(watched: &Watched) -> Result<Command> {
    let Some((program, args)) = watched.argv.split_first() else {
        return Err(Problem::new(Code::SettingMissing, "no command is named")
            .hint("write it after --: shipway config watch --to FOLDER -- CMD ARGUMENTS"));
    };
    let (program, args) = (PathBuf::from(program), args.to_vec());
    Ok(Command { program, args, dir: watched.dir.clone(), env: watched.env.clone(), timeout: None, log: None, input: None })
}

/// Fetches the current files at each change, and tells of them; ends with a problem that will not go away by itself.
async fn follow(center: &Center, place: &Place, news: &UnboundedSender<News>) -> Problem {
    let (sender, mut changes) = unbounded_channel();
    let fetching = async {
        while let Some(change) = changes.recv().await {
            let problem = match change {
                Err(problem) => problem,
                Ok(()) => match center.pull(place, &Wanted::Current).await {
                    Ok((version, config)) => {
                        let _ = news.send(News::Files(version, config));
                        continue;
                    }
                    Err(problem) => {
                        if problem.class() == Class::Transient {
                            sleep(AGAIN).await;
                            let _ = sender.send(Ok(()));
                        }
                        problem
                    }
                },
            };
            if problem.class() == Class::Auth {
                return problem;
            }
            let _ = news.send(News::Away(problem));
        }
        Problem::bug("nobody tells of changes any more")
    };
    tokio::select! {
        problem = center.changes(place, |change| drop(sender.send(change))) => problem,
        problem = fetching => problem,
    }
}
