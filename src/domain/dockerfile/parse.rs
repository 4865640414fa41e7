//! From the text of a Dockerfile to typed instructions.

use super::{
    Command, Dockerfile, Healthcheck, Instruction, Line, Transfer, Word,
    lexer::{Quotes, directives, go_duration, logical_lines, split_words},
};
use crate::domain::problem::{Code, Problem, Result};

/// Parses a Dockerfile; `file` is its name for messages, which read `file:line: …`.
pub fn parse(text: &str, file: &str) -> Result<Dockerfile> {
    let text = text.trim_start_matches('\u{feff}');
    let escape = directives(text, file)?;
    let mut lines: Vec<Line> = Vec::new();
    let mut in_stage = false;
    for (number, logical) in logical_lines(text, escape) {
        let place = Place { file, number, escape };
        let instruction = place.instruction(&logical)?;
        in_stage |= matches!(instruction, Instruction::From { .. });
        if !in_stage && !matches!(instruction, Instruction::Arg(_)) {
            return Err(place.invalid(format!("{} stands before FROM", instruction.keyword())));
        }
        lines.push(Line { number, instruction });
    }
    if !in_stage {
        return Err(Problem::new(Code::DockerfileInvalid, format!("{file} has no FROM")).hint("begin it with FROM and the base image"));
    }
    Ok(Dockerfile { escape, lines })
}

/// Where an instruction stands, for messages.
struct Place<'a> {
    file: &'a str,
    number: usize,
    escape: char,
}

impl Place<'_> {
    fn invalid(&self, why: impl std::fmt::Display) -> Problem {
        Problem::new(Code::DockerfileInvalid, format!("{}:{}: {why}", self.file, self.number))
    }

    fn instruction(&self, line: &str) -> Result<Instruction> {
        let line = line.trim();
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (keyword, rest) = (keyword.to_ascii_uppercase(), rest.trim());
        if matches!(keyword.as_str(), "COPY" | "ADD" | "RUN") && rest.split_whitespace().any(is_heredoc) {
            return Err(Problem::new(
                Code::DockerfileUnsupported,
                format!("{}:{}: {keyword} with a here-document is not supported", self.file, self.number),
            )
            .hint("put the text into a file of the context and COPY it"));
        }
        if rest.is_empty() {
            let known = format!("{keyword} needs an argument");
            return Err(self.invalid(if is_keyword(&keyword) { known } else { format!("{keyword} is no instruction") }));
        }
        Ok(match keyword.as_str() {
            "FROM" => self.from(rest)?,
            "ARG" => Instruction::Arg(self.arguments(rest)?),
            "ENV" => Instruction::Env(self.pairs(rest, "ENV")?),
            "LABEL" => Instruction::Label(self.pairs(rest, "LABEL")?),
            "COPY" => Instruction::Copy(self.transfer(rest, "COPY")?),
            "ADD" => Instruction::Add(self.transfer(rest, "ADD")?),
            "WORKDIR" => Instruction::Workdir(Word(rest.to_string())),
            "USER" => Instruction::User(self.single(rest, "USER")?),
            "EXPOSE" => Instruction::Expose(blank_separated(rest)),
            "VOLUME" => {
                Instruction::Volume(exec_form(rest).map_or_else(|| blank_separated(rest), |words| words.into_iter().map(Word).collect()))
            }
            "STOPSIGNAL" => Instruction::StopSignal(self.single(rest, "STOPSIGNAL")?),
            "ENTRYPOINT" => Instruction::Entrypoint(command(rest)),
            "CMD" => Instruction::Cmd(command(rest)),
            "SHELL" => Instruction::Shell(exec_form(rest).ok_or_else(|| self.invalid("SHELL needs the JSON form: [\"/bin/sh\", \"-c\"]"))?),
            "HEALTHCHECK" => Instruction::Healthcheck(self.healthcheck(rest)?),
            "MAINTAINER" => Instruction::Maintainer(rest.to_string()),
            "RUN" => Instruction::Run(rest.to_string()),
            "ONBUILD" => Instruction::OnBuild(rest.to_string()),
            _ => return Err(self.invalid(format!("{keyword} is no instruction"))),
        })
    }

    fn from(&self, rest: &str) -> Result<Instruction> {
        let (flags, rest) = take_flags(rest);
        let mut platform = None;
        for (name, value) in flags {
            match (name, value) {
                ("platform", Some(value)) => platform = Some(Word(value.to_string())),
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

    fn arguments(&self, rest: &str) -> Result<Vec<(String, Option<Word>)>> {
        let mut found = Vec::new();
        for word in split_words(rest, self.escape) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(Word(value.to_string()))),
                None => (word.as_str(), None),
            };
            if !is_variable(name) {
                return Err(self.invalid(format!("{name:?} is no name for an ARG")));
            }
            found.push((name.to_string(), value));
        }
        Ok(found)
    }

    fn pairs(&self, rest: &str, keyword: &str) -> Result<Vec<(Word, Word)>> {
        let words = split_words(rest, self.escape);
        if !words.first().is_some_and(|word| word.contains('=')) {
            let Some((name, value)) = rest.split_once(char::is_whitespace) else {
                return Err(self.invalid(format!("{keyword} needs the form name=value")));
            };
            return Ok(vec![(Word(name.to_string()), Word(self.escape_blanks(value.trim())))]);
        }
        let split = |word: &String| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((Word(name.to_string()), Word(value.to_string()))),
            _ => {
                Err(self.invalid(format!("{keyword} has {word:?}, which is not of the form name=value; put a value with blanks in quotes")))
            }
        };
        words.iter().map(split).collect()
    }

    /// The old form `ENV name all of this` takes blanks as they are: made explicit, so that it is one word.
    fn escape_blanks(&self, value: &str) -> String {
        let mut out = String::new();
        let mut quotes = Quotes::new(self.escape);
        for c in value.chars() {
            if c.is_whitespace() && quotes.outside() {
                out.push(self.escape);
            }
            quotes.step(c);
            out.push(c);
        }
        out
    }

    fn transfer(&self, rest: &str, keyword: &str) -> Result<Transfer> {
        let (flags, rest) = take_flags(rest);
        let mut transfer = Transfer::default();
        for (name, value) in flags {
            let word = value.map(|value| Word(value.to_string()));
            match (name, word) {
                ("from", Some(word)) if keyword == "COPY" => transfer.from = Some(word),
                ("chown", Some(word)) => transfer.chown = Some(word),
                ("chmod", Some(word)) => transfer.chmod = Some(word),
                ("exclude", Some(word)) => transfer.exclude.push(word),
                ("link", None) => transfer.link = true,
                ("link", Some(word)) => transfer.link = word.0 == "true",
                ("parents" | "checksum" | "keep-git-dir" | "unpack", value) => {
                    transfer.other_flags.push(value.map_or_else(|| name.to_string(), |value| format!("{name}={value}")));
                }
                _ => return Err(self.invalid(format!("{keyword} has no flag --{name}, or it lacks its value"))),
            }
        }
        let mut words = exec_form(rest).map_or_else(|| blank_separated(rest), |words| words.into_iter().map(Word).collect());
        match words.pop() {
            Some(target) if !words.is_empty() => Ok(Transfer { sources: words, target, ..transfer }),
            _ => Err(self.invalid(format!("{keyword} needs a source and a target"))),
        }
    }

    fn single(&self, rest: &str, keyword: &str) -> Result<Word> {
        match split_words(rest, self.escape).as_slice() {
            [word] => Ok(Word(word.clone())),
            _ => Err(self.invalid(format!("{keyword} takes one argument"))),
        }
    }

    fn healthcheck(&self, rest: &str) -> Result<Healthcheck> {
        let (flags, rest) = take_flags(rest);
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
            let duration = || go_duration(value).ok_or_else(|| self.invalid(format!("--{name}={value} is no duration, such as 30s")));
            match name {
                "interval" => interval = Some(duration()?),
                "timeout" => timeout = Some(duration()?),
                "start-period" => start_period = Some(duration()?),
                "start-interval" => start_interval = Some(duration()?),
                "retries" => retries = Some(value.parse().map_err(|_| self.invalid(format!("--retries={value} is no number")))?),
                _ => return Err(self.invalid(format!("HEALTHCHECK has no flag --{name}"))),
            }
        }
        Ok(Healthcheck::Check { command: command(test.trim()), interval, timeout, start_period, start_interval, retries })
    }
}

/// Whether `text` can name a variable.
pub(super) fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_keyword(text: &str) -> bool {
    let known = "FROM ARG ENV LABEL COPY ADD WORKDIR USER EXPOSE VOLUME STOPSIGNAL ENTRYPOINT CMD SHELL HEALTHCHECK MAINTAINER RUN ONBUILD";
    known.split(' ').any(|keyword| keyword == text)
}

fn is_heredoc(word: &str) -> bool {
    let Some(rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else { return false };
    let name = rest.strip_prefix('-').unwrap_or(rest).trim_matches(['"', '\'']);
    is_variable(name)
}

type Flag<'a> = (&'a str, Option<&'a str>);

/// The `--name[=value]` words at the front.
fn take_flags(text: &str) -> (Vec<Flag<'_>>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while let Some(flag) = rest.strip_prefix("--") {
        let (word, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        flags.push(word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value))));
        rest = after.trim_start();
    }
    (flags, rest)
}

fn blank_separated(text: &str) -> Vec<Word> {
    text.split_whitespace().map(|word| Word(word.to_string())).collect()
}

/// The exec form is a JSON list of strings; what is not one is the shell form, as in Docker.
fn exec_form(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn command(text: &str) -> Command {
    exec_form(text).map_or_else(|| Command::Shell(text.to_string()), Command::Exec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, Instruction)> {
        parse(text, "Dockerfile").unwrap().lines.into_iter().map(|line| (line.number, line.instruction)).collect()
    }

    fn one(text: &str) -> Instruction {
        lines(&format!("FROM x\n{text}")).pop().unwrap().1
    }

    fn word(text: &str) -> Word {
        Word(text.to_string())
    }

    #[test]
    fn comments_continuations_and_numbers() {
        let text =
            "# syntax=docker/dockerfile:1\n# a comment\n\nFROM a AS Build\n  env A=1 \\\n  # inside\n\n    B=2\nCMD x\\\\\nUSER 1\r\n";
        let found = lines(text);
        assert_eq!(found[0], (4, Instruction::From { image: word("a"), platform: None, alias: Some("build".to_string()) }));
        assert_eq!(found[1], (5, Instruction::Env(vec![(word("A"), word("1")), (word("B"), word("2"))])));
        assert_eq!(found[2], (9, Instruction::Cmd(Command::Shell("x\\\\".to_string()))));
        assert_eq!(found[3], (10, Instruction::User(word("1"))));
    }

    #[test]
    fn the_escape_directive_changes_continuations() {
        let dockerfile = parse("# escape=`\nFROM x\nENV A=1 `\n B=\\\n", "Dockerfile").unwrap();
        assert_eq!(dockerfile.lines.len(), 2);
        assert_eq!(dockerfile.lines[1].instruction, Instruction::Env(vec![(word("A"), word("1")), (word("B"), word("\\"))]));
        // After the first line that is no directive there are none.
        assert_eq!(parse("# x\n# escape=`\nFROM x", "Dockerfile").unwrap().escape, '\\');
    }

    #[test]
    fn both_forms_of_everything() {
        assert_eq!(one("ENV a b  c"), Instruction::Env(vec![(word("a"), word("b\\ \\ c"))]));
        assert_eq!(
            one("LABEL a=\"b c\" d='e f' g=h\\ i"),
            Instruction::Label(vec![(word("a"), word("\"b c\"")), (word("d"), word("'e f'")), (word("g"), word("h\\ i")),])
        );
        assert_eq!(one("CMD [\"a\", \"b c\"]"), Instruction::Cmd(Command::Exec(vec!["a".to_string(), "b c".to_string()])));
        assert_eq!(one("CMD ['a']"), Instruction::Cmd(Command::Shell("['a']".to_string())));
        assert_eq!(one("VOLUME /a /b"), one("VOLUME [\"/a\", \"/b\"]"));
        assert_eq!(
            one("COPY --chown=1:2 --from=b [\"a b\", \"/c/\"]"),
            Instruction::Copy(Transfer {
                sources: vec![word("a b")],
                target: word("/c/"),
                from: Some(word("b")),
                chown: Some(word("1:2")),
                ..Transfer::default()
            })
        );
        let Instruction::Healthcheck(Healthcheck::Check { interval, timeout, retries, .. }) =
            one("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=2 CMD curl x")
        else {
            panic!()
        };
        assert_eq!((interval, timeout, retries), (Some(90_000_000_000), Some(500_000_000), Some(2)));
    }

    #[test]
    fn what_is_rendered_parses_to_the_same() {
        let text = "ARG V=1\nFROM --platform=$P a:$V AS b\nENV a b  \"c  d\"\nLABEL x=\"y\\\"\"\nCOPY --chown=1 --chmod=755 --link a b/ c/\n\
                    ADD [\"a b\", \"c\"]\nVOLUME /v\nSHELL [\"a\"]\nHEALTHCHECK --interval=1s CMD [\"a\"]\nHEALTHCHECK NONE\nARG Q\nEXPOSE 1 2/udp\n\
                    STOPSIGNAL 9\nWORKDIR /a b\nRUN x && y\nONBUILD RUN z\nMAINTAINER me\nENTRYPOINT a b\nCMD [\"\\n\"]\n";
        let first = parse(text, "Dockerfile").unwrap();
        let second = parse(&first.to_string(), "Dockerfile").unwrap();
        let bare = |dockerfile: &Dockerfile| dockerfile.lines.iter().map(|line| line.instruction.clone()).collect::<Vec<_>>();
        assert_eq!(bare(&first), bare(&second));
    }

    #[test]
    fn mistakes_name_file_and_line() {
        for (text, code, part) in [
            ("", Code::DockerfileInvalid, "has no FROM"),
            ("# only\n", Code::DockerfileInvalid, "has no FROM"),
            ("COPY a b", Code::DockerfileInvalid, "d/Dockerfile:1: COPY stands before FROM"),
            ("FROM a\nFORM b", Code::DockerfileInvalid, "d/Dockerfile:2: FORM is no instruction"),
            ("FROM a\n\nCOPY b", Code::DockerfileInvalid, "d/Dockerfile:3: COPY needs a source and a target"),
            ("FROM a\nCOPY --frm=x a b", Code::DockerfileInvalid, "no flag --frm"),
            ("FROM a\nADD --from=x a b", Code::DockerfileInvalid, "no flag --from"),
            ("FROM a b", Code::DockerfileInvalid, "FROM needs the form"),
            ("FROM a AS 1", Code::DockerfileInvalid, "no name for a stage"),
            ("FROM", Code::DockerfileInvalid, "FROM needs an argument"),
            ("FROM a\nENV a=b c", Code::DockerfileInvalid, "name=value"),
            ("FROM a\nENV a", Code::DockerfileInvalid, "name=value"),
            ("FROM a\nARG 1=x", Code::DockerfileInvalid, "no name for an ARG"),
            ("FROM a\nUSER a b", Code::DockerfileInvalid, "one argument"),
            ("FROM a\nSHELL sh -c", Code::DockerfileInvalid, "JSON form"),
            ("FROM a\nHEALTHCHECK curl", Code::DockerfileInvalid, "HEALTHCHECK needs"),
            ("FROM a\nHEALTHCHECK --interval=5 CMD x", Code::DockerfileInvalid, "no duration"),
            ("# escape=x\nFROM a", Code::DockerfileInvalid, "d/Dockerfile:1: the escape directive"),
            ("FROM a\nRUN <<EOF\nx\nEOF", Code::DockerfileUnsupported, "d/Dockerfile:2: RUN with a here-document"),
            ("FROM a\nCOPY <<-\"EOF\" /x\nx\nEOF", Code::DockerfileUnsupported, "d/Dockerfile:2: COPY with a here-document"),
        ] {
            let problem = parse(text, "d/Dockerfile").unwrap_err();
            assert_eq!(problem.code, code, "{text}");
            assert!(problem.message.contains(part), "{text}: {}", problem.message);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "(?s)[A-Za-z$#{}\\[\\]\"'\\\\=:/* \\n\u{e9}-]{0,120}", keyword in "(FROM|ENV|COPY|LABEL|ADD|HEALTHCHECK|ARG|CMD) ") {
            for text in [format!("FROM x\n{keyword}{text}"), text] {
                let Ok(first) = parse(&text, "Dockerfile") else { continue };
                let scope = super::super::Scope::default();
                for line in &first.lines {
                    if let Instruction::Env(pairs) = &line.instruction {
                        for (name, value) in pairs {
                            let _ = (scope.expand(name), scope.expand(value));
                        }
                    }
                }
            }
        }

        #[test]
        fn no_pattern_breaks_the_matcher(pattern in "[a\\[\\]^*?/\\\\-]{0,30}", path in "[a/\\]-]{0,30}") {
            super::super::pattern::matches_path(&pattern, &path);
            super::super::ignore::Ignore::parse(&pattern).ignores(&path);
        }

        #[test]
        fn a_quoted_word_means_itself(value in "[^\\r\\n]{0,60}") {
            let scope = super::super::Scope::default();
            proptest::prop_assert_eq!(scope.expand(&Word::quoted(&value)).unwrap(), value.clone());
            let line = format!("FROM x\nENV A={} B=1", Word::quoted(&value));
            let Instruction::Env(pairs) = parse(&line, "Dockerfile").unwrap().lines.pop().unwrap().instruction else { panic!() };
            proptest::prop_assert_eq!((pairs.len(), scope.expand(&pairs[0].1).unwrap()), (2, value));
        }
    }
}
