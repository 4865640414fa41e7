//! The log as text.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use super::{
    super::{
        foreign,
        model::{self, ProblemRecord, Report},
        paint::{Mark, Paint, seconds},
    },
    Header, Level, Style,
    going::short_goal,
    problem,
    style::command_line,
    summary,
};
use crate::domain::{
    digest::Digest,
    event::{Event, LayerRole, Transfer},
    step::{Step, StepState},
    units::{format_bytes, format_duration},
};

/// Columns of a line of foreign text, whatever the terminal's width: a compiler's message must not be cut off.
const LONGEST_LINE: usize = 400;
/// Longest command line that is shown whole.
const LONGEST_COMMAND: usize = 600;

/// Turns events into lines; keeps what it needs to know of the lines before.
pub struct Text {
    style: Style,
    paint: Paint,
    /// Rows below the lines show what goes on: lines that only say so are left out, and none stays without its end.
    live: bool,
    /// The line of goals that has not ended yet.
    goals: Option<Goals>,
    /// The step whose section is open.
    section: Option<Step>,
    last_rollout: Option<String>,
}

/// Goals of one module share a line that grows as Maven works.
struct Goals {
    module: String,
    line: String,
}

impl Text {
    pub fn new(style: Style) -> Self {
        Text { paint: Paint::new(&style), style, live: false, goals: None, section: None, last_rollout: None }
    }

    /// From now on for a terminal that shows what goes on by itself.
    pub fn live(&mut self) {
        self.live = true;
    }

    pub fn header(&mut self, header: &Header, will: &[String]) -> String {
        if self.style.level < Level::Info {
            return String::new();
        }
        let app = header.app.as_deref().map(|app| match &header.line {
            Some(line) => format!("{}{app} ({line})", self.paint.dot()),
            None => format!("{}{app}", self.paint.dot()),
        });
        let environment = header.environment.as_deref().map(|name| format!(" {} {name}", self.paint.mark(Mark::Next)));
        let title = format!("shipway {} {}", header.version, header.command);
        let rest = foreign::line(&format!("{}{}", app.unwrap_or_default(), environment.unwrap_or_default()), 200);
        let mut lines = vec![self.paint.strong(&format!("{title}{rest}"))];
        lines.extend(header.commit.as_ref().map(|commit| format!("  commit  {}", self.commit(commit))));
        for (at, intent) in will.iter().enumerate() {
            let label = if at == 0 { "will" } else { "" };
            lines.push(format!("  {label:<6}  {}", foreign::line(intent, self.style.width.saturating_sub(10).max(60))));
        }
        self.paint.plain(lines.join("\n") + "\n")
    }

    pub fn event(&mut self, event: &Event, now: Timestamp) -> String {
        if super::level(event) > self.style.level {
            return String::new();
        }
        match event {
            Event::MavenGoal { goal, module } => return self.goal(goal, module),
            Event::Sending { .. } => return String::new(),
            Event::Pod { .. } | Event::Rollout { .. } | Event::Waiting { .. } if self.live => return String::new(),
            _ => {}
        }
        let end = self.end_of_goals();
        let words = match event {
            Event::StepStarted { step } => self.step_started(*step, now),
            Event::StepFinished { step, state, seconds, summary } => self.step_finished(*step, *state, *seconds, summary, now),
            event => self.detail(event),
        };
        self.paint.plain(format!("{end}{words}"))
    }

    pub fn summary(&mut self, report: &Report, dir: Option<&Path>, now: Timestamp) -> String {
        let mut words = self.close(now);
        if let Some(problem) = report.problem() {
            words += &problem::block(problem, report.exit_code(), &self.style);
        }
        words += &summary::block(report, dir, &self.style);
        self.paint.plain(words)
    }

    pub fn problem(&mut self, problem: &ProblemRecord, exit_code: u8, now: Timestamp) -> String {
        let words = self.close(now) + &problem::block(problem, exit_code, &self.style);
        self.paint.plain(words)
    }

    /// Ends what is open: a line of goals, a section whose step never said its end.
    fn close(&mut self, now: Timestamp) -> String {
        let end = self.end_of_goals();
        let section = self.section.take().map(|step| self.section_end(step, now)).unwrap_or_default();
        format!("{end}{section}")
    }

    fn commit(&self, commit: &model::Commit) -> String {
        let sha = commit.sha.get(..12).unwrap_or(&commit.sha);
        let parts = [commit.reference.as_deref(), commit.author.as_deref(), commit.title.as_deref()];
        let rest = parts.into_iter().flatten().map(|part| format!("{}{}", self.paint.dot(), foreign::line(part, 72)));
        foreign::line(sha, 40) + &rest.collect::<String>()
    }

    fn step_started(&mut self, step: Step, now: Timestamp) -> String {
        self.last_rollout = None;
        let title = format!("{} {}", self.paint.mark(Mark::Step), self.paint.strong(step.name()));
        if !self.style.sections {
            return format!("\n{title}\n");
        }
        self.section = Some(step);
        let collapsed = if step < Step::Publish { "[collapsed=true]" } else { "" };
        let unix = now.as_second();
        format!("\n\u{1b}[0Ksection_start:{unix}:shipway_{}{collapsed}\r\u{1b}[0K{title}\n", step.name())
    }

    fn step_finished(&mut self, step: Step, state: StepState, took: f64, summary: &str, now: Timestamp) -> String {
        let end = self.section.take().map(|step| self.section_end(step, now)).unwrap_or_default();
        let (mark, time) = match state {
            StepState::Succeeded => (Mark::Good, seconds(took)),
            StepState::Failed => (Mark::Bad, seconds(took)),
            StepState::Skipped => (Mark::Skipped, "skipped".to_string()),
        };
        let room = self.style.width.saturating_sub(30).max(160);
        let summary = foreign::line(summary, room);
        let line = format!("{} {:<10} {:>9}  {summary}", self.paint.mark(mark), step.name(), time);
        format!("{end}{}\n", line.trim_end())
    }

    fn section_end(&self, step: Step, now: Timestamp) -> String {
        format!("\u{1b}[0Ksection_end:{}:shipway_{}\r\u{1b}[0K", now.as_second(), step.name())
    }

    fn detail(&mut self, event: &Event) -> String {
        match event {
            Event::CommandStarted { argv } => {
                self.line(&self.paint.faint(&format!("$ {}", foreign::line(&command_line(argv), LONGEST_COMMAND))))
            }
            Event::BuildLine { line } => self.line(&self.foreign(line)),
            Event::Layer { digest, size, role, transfer } => self.line(&layer(digest, *size, *role, *transfer)),
            Event::ImagePushed { reference, digest } => self.line(&format!("pushed {}@{digest}", self.foreign(reference))),
            Event::Applied { kind, name, change } => {
                let object = self.foreign(&format!("{}/{name}", kind.to_lowercase()));
                self.line(&format!("{object} {}", model::change_word(*change)))
            }
            Event::Pod { name, state, ready, old } => self.pod(name, state, *ready, *old),
            Event::Rollout { desired, updated, ready, available } => self.rollout(*desired, *updated, *ready, *available),
            Event::Waiting { what, seconds: since } => {
                let since = format_duration(Duration::from_secs(*since));
                self.line(&self.paint.faint(&format!("waiting for {} ({since})", self.foreign(what))))
            }
            Event::RollingBack { revision, because } => {
                let words = format!("rolling back to revision {revision}: {}", self.foreign(because));
                format!("  {} {}\n", self.paint.mark(Mark::Back), self.paint.strong(&words))
            }
            Event::Note { text } => self.indented(&foreign::clean(text), "  "),
            Event::Warning { text, hint } => self.warning(text, hint),
            // the report has it
            Event::Difference { .. } => String::new(),
            Event::StepStarted { .. } | Event::StepFinished { .. } | Event::MavenGoal { .. } | Event::Sending { .. } => String::new(),
        }
    }

    fn pod(&self, name: &str, state: &str, ready: bool, old: bool) -> String {
        let age = if old && state != "gone" { " (old)" } else { "" };
        let words = format!("pod/{} {}", self.foreign(name), self.foreign(state));
        let ready = if ready && !state.eq_ignore_ascii_case("ready") { ", ready" } else { "" };
        let line = format!("{words}{ready}{age}");
        if old { self.line(&self.paint.faint(&line)) } else { self.line(&line) }
    }

    fn rollout(&mut self, desired: i32, updated: i32, ready: i32, available: i32) -> String {
        let words = format!("{updated} of {desired} updated, {ready} ready, {available} available");
        if self.last_rollout.as_ref() == Some(&words) {
            return String::new();
        }
        let line = self.line(&self.paint.faint(&words));
        self.last_rollout = Some(words);
        line
    }

    fn warning(&self, text: &str, hint: &str) -> String {
        let mut words = format!("  {} {}\n", self.paint.mark(Mark::Warning), self.paint.warning(&self.foreign(text)));
        if !hint.is_empty() {
            words += &self.indented(&format!("{} {}", self.paint.mark(Mark::Next), self.foreign(hint)), "    ");
        }
        words
    }

    fn goal(&mut self, goal: &str, module: &str) -> String {
        let goal = foreign::line(short_goal(goal), 40);
        let module = foreign::line(module, 60);
        let (end, more) = match &mut self.goals {
            Some(goals) if goals.module == module && goals.line.width() + goal.width() + 2 < self.style.width => {
                let more = format!(", {goal}");
                goals.line += &more;
                (String::new(), more)
            }
            _ => {
                let (end, line) = (self.end_of_goals(), format!("  {module}: {goal}"));
                self.goals = Some(Goals { module, line: line.clone() });
                (end, line)
            }
        };
        if self.live { end } else { format!("{end}{}", self.paint.faint(&more)) }
    }

    fn end_of_goals(&mut self) -> String {
        match self.goals.take() {
            Some(goals) if self.live => self.paint.faint(&goals.line) + "\n",
            Some(_) => "\n".to_string(),
            None => String::new(),
        }
    }

    fn line(&self, words: &str) -> String {
        format!("  {words}\n")
    }

    fn indented(&self, text: &str, indent: &str) -> String {
        let width = self.style.width.saturating_sub(indent.len()).max(40);
        text.lines().flat_map(|line| foreign::wrap(line, width)).map(|line| format!("{indent}{line}\n")).collect()
    }

    fn foreign(&self, text: &str) -> String {
        foreign::line(text, self.style.width.max(LONGEST_LINE))
    }
}

fn layer(digest: &Digest, size: u64, role: LayerRole, transfer: Transfer) -> String {
    let how = match transfer {
        Transfer::Present => "there already",
        Transfer::Mounted => "mounted",
        Transfer::Sent => "sent",
    };
    format!("layer {} {:>9} {how} ({})", digest.short(), format_bytes(size), model::role_words(role))
}
