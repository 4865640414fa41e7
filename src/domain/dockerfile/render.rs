//! Writes instructions as Dockerfile lines; what was parsed and rendered parses to the same again.

use std::fmt;

use super::{Command, Dockerfile, Document, Healthcheck, Instruction, Transfer, Word};

impl fmt::Display for Dockerfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(syntax) = &self.syntax {
            writeln!(f, "# syntax={syntax}")?;
        }
        if self.escape != '\\' {
            writeln!(f, "# escape={}", self.escape)?;
        }
        for line in &self.lines {
            writeln!(f, "{}", line.instruction)?;
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.keyword())?;
        match self {
            Instruction::From { image, platform, alias } => {
                if let Some(platform) = platform {
                    write_flag(f, "platform", platform)?;
                }
                write!(f, "{image}")?;
                alias.as_ref().map_or(Ok(()), |alias| write!(f, " AS {alias}"))
            }
            Instruction::Arg(pairs) => joined(
                f,
                pairs.iter().map(|(name, value)| match value {
                    Some(value) => format!("{name}={value}"),
                    None => name.clone(),
                }),
            ),
            Instruction::Env(pairs) | Instruction::Label(pairs) => joined(f, pairs.iter().map(|(name, value)| format!("{name}={value}"))),
            Instruction::Copy(transfer) | Instruction::Add(transfer) => write_transfer(f, transfer),
            Instruction::Workdir(word) | Instruction::User(word) | Instruction::StopSignal(word) => write!(f, "{word}"),
            Instruction::Expose(words) => joined(f, words.iter().map(Word::to_string)),
            Instruction::Volume(words) => f.write_str(&json(&words.iter().map(|word| word.0.clone()).collect::<Vec<_>>())),
            Instruction::Entrypoint(command) | Instruction::Cmd(command) => write!(f, "{command}"),
            Instruction::Shell(words) => f.write_str(&json(words)),
            Instruction::Healthcheck(check) => write_healthcheck(f, check),
            Instruction::Maintainer(text) | Instruction::Run(text) | Instruction::OnBuild(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Exec(words) => f.write_str(&json(words)),
            Command::Shell(text) => f.write_str(text),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, words: impl Iterator<Item = String>) -> fmt::Result {
    f.write_str(&words.collect::<Vec<_>>().join(" "))
}

/// JSON has no raw line breaks, so nothing in a word can begin a new instruction.
fn json(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| serde_json::Value::from(word.as_str()).to_string()).collect();
    format!("[{}]", quoted.join(", "))
}

fn write_transfer(f: &mut fmt::Formatter<'_>, transfer: &Transfer) -> fmt::Result {
    for (flag, value) in [("from", &transfer.from), ("chown", &transfer.chown), ("chmod", &transfer.chmod)] {
        if let Some(value) = value {
            write_flag(f, flag, value)?;
        }
    }
    for pattern in &transfer.exclude {
        write_flag(f, "exclude", pattern)?;
    }
    for flag in &transfer.other_flags {
        match flag.split_once('=') {
            Some((name, value)) => write_flag(f, name, &Word(value.to_string()))?,
            None => write!(f, "--{flag} ")?,
        }
    }
    if transfer.link {
        f.write_str("--link ")?;
    }
    let documents = transfer.documents.iter().map(opening);
    let words: Vec<String> = documents.chain(transfer.sources.iter().chain([&transfer.target]).map(Word::to_string)).collect();
    if words.iter().any(|word| word.contains(char::is_whitespace)) {
        f.write_str(&json(&words))?;
    } else {
        f.write_str(&words.join(" "))?;
    }
    transfer.documents.iter().try_for_each(|document| write!(f, "\n{}{}", document.content, document.name))
}

/// Flags lose their quotes where they are read, so a blank in one is quoted again.
fn write_flag(f: &mut fmt::Formatter<'_>, flag: &str, value: &Word) -> fmt::Result {
    match value.0.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\')) {
        true => write!(f, "--{flag}={} ", Word::quoted(&value.0).0.replace("\\$", "$")),
        false => write!(f, "--{flag}={value} "),
    }
}

/// The word that begins a here-document; its tabs are gone, so that `<<-` need not be written.
fn opening(document: &Document) -> String {
    if document.expands { format!("<<{}", document.name) } else { format!("<<\"{}\"", document.name) }
}

fn write_healthcheck(f: &mut fmt::Formatter<'_>, check: &Healthcheck) -> fmt::Result {
    let Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries } = check else {
        return f.write_str("NONE");
    };
    for (flag, value) in [("interval", interval), ("timeout", timeout), ("start-period", start_period), ("start-interval", start_interval)]
    {
        if let Some(nanoseconds) = value {
            write!(f, "--{flag}={nanoseconds}ns ")?;
        }
    }
    if let Some(retries) = retries {
        write!(f, "--retries={retries} ")?;
    }
    write!(f, "CMD {command}")
}
