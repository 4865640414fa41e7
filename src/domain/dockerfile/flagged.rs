//! Instructions that take flags: FROM, COPY and ADD, HEALTHCHECK.

use super::{
    Healthcheck, Instruction, Transfer, Word, heredoc,
    lexer::{Logical, go_duration, take_flags},
    parse::Place,
};
use crate::domain::problem::Result;

/// Health checks cannot follow each other faster, nanoseconds.
const MILLISECOND: u64 = 1_000_000;

impl Place<'_> {
    pub(super) fn from(&self, rest: &str) -> Result<Instruction> {
        let (flags, rest) = take_flags(rest, self.escape);
        let mut platform = None;
        for (name, value) in flags {
            match (name.as_str(), value) {
                ("platform", Some(value)) => platform = Some(Word(value)),
                _ => return Err(self.invalid(format!("FROM has no flag --{name}"))),
            }
        }
        match rest.split_whitespace().collect::<Vec<_>>()[..] {
            [image] => Ok(Instruction::From { image: Word(image.to_string()), platform, alias: None }),
            [image, with, alias] if with.eq_ignore_ascii_case("as") => {
                let alias = alias.to_ascii_lowercase();
                let letters = alias.starts_with(|c: char| c.is_ascii_lowercase())
                    && alias.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
                if !letters {
                    return Err(self
                        .invalid(format!("{alias:?} is no name for a stage: it begins with a letter and has letters, digits, . _ and -")));
                }
                Ok(Instruction::From { image: Word(image.to_string()), platform, alias: Some(alias) })
            }
            _ => Err(self.invalid("FROM needs the form FROM image [AS name]")),
        }
    }

    pub(super) fn transfer(&self, rest: &str, logical: &Logical, keyword: &str) -> Result<Transfer> {
        let (flags, rest) = take_flags(rest, self.escape);
        let mut transfer = Transfer::default();
        for (name, value) in flags {
            let word = value.clone().map(Word);
            match (name.as_str(), word) {
                ("from", Some(word)) if keyword == "COPY" => transfer.from = Some(word),
                ("chown", Some(word)) => transfer.chown = Some(word),
                ("chmod", Some(word)) => transfer.chmod = Some(word),
                ("exclude", Some(word)) => transfer.exclude.push(word),
                ("link", None) => transfer.link = true,
                ("link", Some(word)) => transfer.link = word.0 == "true",
                ("parents" | "checksum" | "keep-git-dir" | "unpack", _) => {
                    transfer.other_flags.push(value.map_or_else(|| name.clone(), |value| format!("{name}={value}")));
                }
                _ => return Err(self.invalid(format!("{keyword} has no flag --{name}, or it lacks its value"))),
            }
        }
        let mut words = self.list(rest)?;
        let Some(target) = words.pop().filter(|_| !words.is_empty()) else {
            return Err(self.invalid(format!("{keyword} needs a source and a target")));
        };
        if heredoc::begin(&target.0).is_some() {
            return Err(self.invalid(format!("the target of {keyword} cannot be a here-document")));
        }
        words.retain(|word| heredoc::begin(&word.0).is_none());
        Ok(Transfer { sources: words, target, documents: logical.documents.clone(), ..transfer })
    }

    pub(super) fn healthcheck(&self, rest: &str) -> Result<Healthcheck> {
        let (flags, rest) = take_flags(rest, self.escape);
        let (kind, test) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if kind.eq_ignore_ascii_case("none") && flags.is_empty() && test.is_empty() {
            return Ok(Healthcheck::None);
        }
        if !kind.eq_ignore_ascii_case("cmd") || test.trim().is_empty() {
            return Err(self.invalid("HEALTHCHECK needs the form HEALTHCHECK [flags] CMD command, or HEALTHCHECK NONE"));
        }
        let (mut interval, mut timeout, mut start_period, mut start_interval, mut retries) = (None, None, None, None, None);
        for (name, value) in flags {
            let value = value.unwrap_or_default();
            let duration = || {
                let found = go_duration(&value).filter(|nanoseconds| *nanoseconds == 0 || *nanoseconds >= MILLISECOND);
                found.ok_or_else(|| self.invalid(format!("--{name}={value} is no duration of 1ms or more, such as 30s")))
            };
            match name.as_str() {
                "interval" => interval = Some(duration()?),
                "timeout" => timeout = Some(duration()?),
                "start-period" => start_period = Some(duration()?),
                "start-interval" => start_interval = Some(duration()?),
                "retries" => retries = Some(value.parse().map_err(|_| self.invalid(format!("--retries={value} is no number")))?),
                _ => return Err(self.invalid(format!("HEALTHCHECK has no flag --{name}"))),
            }
        }
        Ok(Healthcheck::Check { command: self.command(test.trim())?, interval, timeout, start_period, start_interval, retries })
    }
}
