//! From the text of a Dockerfile to typed instructions.

use super::{
    Command, Dockerfile, Instruction, Line, Word,
    lexer::{Logical, Quotes, directives, logical_lines, split_words},
};
use crate::domain::problem::{Code, EvidenceKind, Problem, Result};

/// Parses a Dockerfile; `file` is its name for messages, which read `file:line: …`.
pub fn parse(text: &str, file: &str) -> Result<Dockerfile> {
    let text = text.trim_start_matches('\u{feff}');
    let directives = directives(text, file)?;
    let escape = directives.escape;
    let mut lines: Vec<Line> = Vec::new();
    let mut in_stage = false;
    let logical = logical_lines(text, escape).map_err(|(number, end)| {
        Place { file, number, escape }.invalid(format!("a here-document does not end: a line with {end} alone is missing"))
    })?;
    for logical in logical {
        let number = logical.number;
        let place = Place { file, number, escape };
        let instruction = place.instruction(&logical).map_err(|problem| place.with_text(problem, &logical.text))?;
        in_stage |= matches!(instruction, Instruction::From { .. });
        if !in_stage && !matches!(instruction, Instruction::Arg(_)) {
            return Err(place.invalid(format!("{} stands before FROM", instruction.keyword())));
        }
        lines.push(Line { number, instruction });
    }
    if !in_stage {
        return Err(Problem::new(Code::DockerfileInvalid, format!("{file} has no FROM")).hint("begin it with FROM and the base image"));
    }
    Ok(Dockerfile { escape, syntax: directives.syntax, lines })
}

/// Where an instruction stands, for messages.
pub(super) struct Place<'a> {
    file: &'a str,
    number: usize,
    pub escape: char,
}

impl Place<'_> {
    pub fn invalid(&self, why: impl std::fmt::Display) -> Problem {
        Problem::new(Code::DockerfileInvalid, format!("{}:{}: {why}", self.file, self.number))
    }

    fn with_text(&self, problem: Problem, text: &str) -> Problem {
        problem.evidence(EvidenceKind::Log, format!("{}:{}", self.file, self.number), text)
    }

    fn instruction(&self, logical: &Logical) -> Result<Instruction> {
        let line = logical.text.trim();
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (keyword, rest) = (keyword.to_ascii_uppercase(), rest.trim());
        if rest.is_empty() {
            let known = format!("{keyword} needs an argument");
            return Err(self.invalid(if is_keyword(&keyword) { known } else { format!("{keyword} is no instruction") }));
        }
        Ok(match keyword.as_str() {
            "FROM" => self.from(rest)?,
            "ARG" => Instruction::Arg(self.arguments(rest)?),
            "ENV" => Instruction::Env(self.pairs(rest, "ENV")?),
            "LABEL" => Instruction::Label(self.pairs(rest, "LABEL")?),
            "COPY" => Instruction::Copy(self.transfer(rest, logical, "COPY")?),
            "ADD" => Instruction::Add(self.transfer(rest, logical, "ADD")?),
            "WORKDIR" => Instruction::Workdir(Word(rest.to_string())),
            "USER" => Instruction::User(self.single(rest, "USER")?),
            "EXPOSE" => Instruction::Expose(blank_separated(rest)),
            "VOLUME" => Instruction::Volume(self.list(rest)?),
            "STOPSIGNAL" => Instruction::StopSignal(self.single(rest, "STOPSIGNAL")?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.command(rest)?),
            "CMD" => Instruction::Cmd(self.command(rest)?),
            "SHELL" => Instruction::Shell(self.shell(rest)?),
            "HEALTHCHECK" => Instruction::Healthcheck(self.healthcheck(rest)?),
            "MAINTAINER" => Instruction::Maintainer(rest.to_string()),
            "RUN" => Instruction::Run(with_documents(rest, logical)),
            "ONBUILD" => Instruction::OnBuild(self.trigger(rest, logical)?),
            _ => return Err(self.invalid(format!("{keyword} is no instruction"))),
        })
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

    /// Words in the JSON form, or with blanks in between.
    pub fn list(&self, text: &str) -> Result<Vec<Word>> {
        Ok(self.exec_form(text)?.map_or_else(|| blank_separated(text), |words| words.into_iter().map(Word).collect()))
    }

    pub fn command(&self, text: &str) -> Result<Command> {
        Ok(self.exec_form(text)?.map_or_else(|| Command::Shell(text.to_string()), Command::Exec))
    }

    /// The exec form is a JSON list of strings; what is no JSON is the shell form, as in Docker.
    fn exec_form(&self, text: &str) -> Result<Option<Vec<String>>> {
        let list: Option<Vec<serde_json::Value>> = text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten();
        let words = list.map(|list| list.iter().map(|word| word.as_str().map(str::to_string)).collect::<Option<Vec<String>>>());
        match words {
            Some(None) => Err(self.invalid(format!("{text} has something else than strings: put each word in double quotes"))),
            words => Ok(words.flatten()),
        }
    }

    fn shell(&self, rest: &str) -> Result<Vec<String>> {
        let words = self.exec_form(rest)?.filter(|words| !words.is_empty());
        words.ok_or_else(|| self.invalid("SHELL needs the JSON form: [\"/bin/sh\", \"-c\"]"))
    }

    fn trigger(&self, rest: &str, logical: &Logical) -> Result<String> {
        let keyword = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_str() {
            "ONBUILD" | "FROM" | "MAINTAINER" => Err(self.invalid(format!("{keyword} cannot be a trigger of ONBUILD"))),
            _ if !is_keyword(&keyword) => Err(self.invalid(format!("{keyword} is no instruction"))),
            _ => Ok(with_documents(rest, logical)),
        }
    }

    fn single(&self, rest: &str, keyword: &str) -> Result<Word> {
        match split_words(rest, self.escape).as_slice() {
            [word] => Ok(Word(word.clone())),
            _ => Err(self.invalid(format!("{keyword} takes one argument"))),
        }
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

/// An instruction with the here-documents that follow it, as it is written.
fn with_documents(rest: &str, logical: &Logical) -> String {
    let documents = logical.documents.iter().map(|document| format!("\n{}{}", document.content, document.name));
    format!("{rest}{}", documents.collect::<String>())
}

fn blank_separated(text: &str) -> Vec<Word> {
    text.split_whitespace().map(|word| Word(word.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dockerfile::{Document, Healthcheck, Transfer};

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
    fn flags_may_be_quoted() {
        let expected = Transfer {
            sources: vec![word("a")],
            target: word("b"),
            chown: Some(word("x y")),
            exclude: vec![word("*.md")],
            ..Transfer::default()
        };
        assert_eq!(one("COPY --chown=\"x y\" --exclude='*.md' -- a b"), Instruction::Copy(expected));
    }

    #[test]
    fn here_documents_belong_to_their_instruction() {
        let found = lines("FROM x\nCOPY --chmod=600 <<EOF a <<-\"E\" /x/\nFROM $y\nEOF\n\tz\nE\nRUN <<A\nUSER 1\nA\nUSER 2\n");
        let document = |name: &str, expands, content: &str| Document { name: name.to_string(), expands, content: content.to_string() };
        let expected = Transfer {
            sources: vec![word("a")],
            documents: vec![document("EOF", true, "FROM $y\n"), document("E", false, "z\n")],
            target: word("/x/"),
            chmod: Some(word("600")),
            ..Transfer::default()
        };
        assert_eq!(found[1], (2, Instruction::Copy(expected)));
        assert_eq!(found[2], (7, Instruction::Run("<<A\nUSER 1\nA".to_string())));
        assert_eq!(found[3], (10, Instruction::User(word("2"))));
    }

    #[test]
    fn what_is_rendered_parses_to_the_same() {
        let text = "ARG V=1\nFROM --platform=$P a:$V AS b\nENV a b  \"c  d\"\nLABEL x=\"y\\\"\"\nCOPY --chown=1 --chmod=755 --link a b/ c/\n\
                    ADD [\"a b\", \"c\"]\nVOLUME /v\nSHELL [\"a\"]\nHEALTHCHECK --interval=1s CMD [\"a\"]\nHEALTHCHECK NONE\nARG Q\nEXPOSE 1 2/udp\n\
                    STOPSIGNAL 9\nWORKDIR /a b\nRUN x && y\nONBUILD RUN z\nMAINTAINER me\nENTRYPOINT a b\nCMD [\"\\n\"]\n\
                    COPY <<A c <<-'B' /d/\na\nA\n\tb\nB\nRUN <<C\nc\nC\nADD --chown=\"a b\" x y\n";
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
            ("FROM a\nRUN <<EOF\nx\n", Code::DockerfileInvalid, "d/Dockerfile:2: a here-document does not end: a line with EOF"),
            ("FROM a\nCOPY a <<EOF\nx\nEOF", Code::DockerfileInvalid, "d/Dockerfile:2: the target of COPY cannot be a here-document"),
            ("FROM a\nCMD [\"a\", 1]", Code::DockerfileInvalid, "something else than strings"),
            ("FROM a\nSHELL []", Code::DockerfileInvalid, "JSON form"),
            ("FROM a\nONBUILD ONBUILD RUN x", Code::DockerfileInvalid, "ONBUILD cannot be a trigger"),
            ("FROM a\nONBUILD FORM x", Code::DockerfileInvalid, "FORM is no instruction"),
            ("FROM a\nHEALTHCHECK --timeout=1us CMD x", Code::DockerfileInvalid, "of 1ms or more"),
        ] {
            let problem = parse(text, "d/Dockerfile").unwrap_err();
            assert_eq!(problem.code, code, "{text}");
            assert!(problem.message.contains(part), "{text}: {}", problem.message);
        }
        let problem = parse("FROM a\n\nENV a=b \\\n  c", "Dockerfile").unwrap_err();
        let told = problem.evidence.first().map(|evidence| (evidence.source.as_str(), evidence.text.as_str()));
        assert_eq!(told, Some(("Dockerfile:3", "ENV a=b   c")));
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
            let _ = super::super::ignore::Ignore::parse(&pattern).map(|ignore| ignore.ignores(&path));
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
