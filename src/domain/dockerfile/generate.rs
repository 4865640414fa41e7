//! The Dockerfile of a staged Java application.

use std::collections::BTreeMap;

use super::{Command, Dockerfile, Instruction, Line, Transfer, Word};
use crate::domain::problem::{Code, Problem, Result};

/// What is generated; plain values, quoted here.
#[derive(Debug, Clone)]
pub struct Generate<'a> {
    pub base: String,
    pub labels: &'a BTreeMap<String, String>,
    pub workdir: &'a str,
    /// Folders of the context whose content goes to the image's root, in their order.
    pub copies: Vec<String>,
    pub env: &'a BTreeMap<String, String>,
    pub port: u16,
    /// `USER`, which owns what is copied, too.
    pub user: &'a str,
    pub entrypoint: Vec<String>,
    pub args: &'a [String],
}

/// Makes the instructions; an error names the setting whose value a Dockerfile cannot hold.
pub fn generate(what: &Generate<'_>) -> Result<Dockerfile> {
    let mut instructions = vec![Instruction::From { image: Word::literal(&what.base), platform: None, alias: None }];
    for (name, value) in what.labels {
        check_name(name, "image.labels")?;
        // A label is information for people: a line break in a commit's subject is no reason to fail.
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        instructions.push(Instruction::Label(vec![(Word::literal(name), Word::quoted(&value))]));
    }
    instructions.push(Instruction::Workdir(Word::literal(what.workdir)));
    let owner = owner(what.user)?;
    for folder in &what.copies {
        instructions.push(Instruction::Copy(Transfer {
            sources: vec![Word::literal(&format!("{folder}/"))],
            target: Word::literal("/"),
            chown: Some(Word::literal(&owner)),
            ..Transfer::default()
        }));
    }
    for (name, value) in what.env {
        check_env(name, value)?;
        instructions.push(Instruction::Env(vec![(Word::literal(name), Word::quoted(value))]));
    }
    instructions.push(Instruction::Expose(vec![Word::literal(&what.port.to_string())]));
    instructions.push(Instruction::User(Word::literal(what.user)));
    instructions.push(Instruction::Entrypoint(Command::Exec(what.entrypoint.clone())));
    if !what.args.is_empty() {
        instructions.push(Instruction::Cmd(Command::Exec(what.args.to_vec())));
    }
    let lines = instructions.into_iter().enumerate().map(|(index, instruction)| Line { number: index + 1, instruction });
    Ok(Dockerfile { escape: '\\', syntax: None, lines: lines.collect() })
}

impl Word {
    /// A value that means itself, with quotes only where it needs them.
    pub fn literal(value: &str) -> Word {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@' | ',' | '+');
        if !value.is_empty() && value.chars().all(plain) { Word(value.to_string()) } else { Word::quoted(value) }
    }

    /// A value that means itself, in double quotes; line breaks must not be in it (a Dockerfile cannot hold them).
    pub fn quoted(value: &str) -> Word {
        let mut text = String::from("\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
        Word(text)
    }
}

/// `chown` wants a group; without one the number of the user is the group's, as Docker does it.
fn owner(user: &str) -> Result<String> {
    let fits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let valid = match user.split_once(':') {
        Some((user, group)) => fits(user) && fits(group),
        None => fits(user),
    };
    if !valid || user.starts_with('-') {
        return Err(Problem::new(Code::SettingInvalid, format!("image.user {user:?} is no user"))
            .hint("set image.user to a number or a name, with an optional group: 10001, 10001:0, app:app"));
    }
    Ok(if user.contains(':') || !user.bytes().all(|b| b.is_ascii_digit()) { user.to_string() } else { format!("{user}:{user}") })
}

fn check_env(name: &str, value: &str) -> Result<()> {
    check_name(name, "image.env")?;
    if value.contains(['\n', '\r', '\0']) {
        return Err(Problem::new(Code::SettingInvalid, format!("image.env {name} has a line break, which a Dockerfile cannot hold"))
            .hint("set it per environment with kubernetes.env instead"));
    }
    Ok(())
}

fn check_name(name: &str, setting: &str) -> Result<()> {
    if name.is_empty() || name.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '=' | '"' | '\'' | '\\' | '$')) {
        return Err(Problem::new(Code::SettingInvalid, format!("{setting} has the name {name:?}, which a Dockerfile cannot hold"))
            .hint("use letters, digits, and . _ - / in names"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dockerfile::{Scope, parse};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn generated(labels: &BTreeMap<String, String>, env: &BTreeMap<String, String>, args: &[String], user: &str) -> Result<Dockerfile> {
        generate(&Generate {
            base: "docker.io/library/eclipse-temurin:17-jre".to_string(),
            labels,
            workdir: "/app",
            copies: vec!["dependencies".to_string(), "application".to_string()],
            env,
            port: 8080,
            user,
            entrypoint: ["java", "-Xlog:gc", "-jar", "/app/app.jar"].map(String::from).to_vec(),
            args,
        })
    }

    #[test]
    fn a_whole_dockerfile() {
        let text =
            generated(&map(&[("a.b", "c \"d\" $e")]), &map(&[("TZ", "UTC")]), &["--x=a b".to_string()], "10001").unwrap().to_string();
        assert_eq!(
            text,
            r#"FROM docker.io/library/eclipse-temurin:17-jre
LABEL a.b="c \"d\" \$e"
WORKDIR /app
COPY --chown=10001:10001 dependencies/ /
COPY --chown=10001:10001 application/ /
ENV TZ="UTC"
EXPOSE 8080
USER 10001
ENTRYPOINT ["java", "-Xlog:gc", "-jar", "/app/app.jar"]
CMD ["--x=a b"]
"#
        );
    }

    #[test]
    fn nothing_injects_an_instruction() {
        let evil = "x\nRUN evil";
        let args = vec![evil.to_string(), "a\"b\\".to_string()];
        let dockerfile = generated(&map(&[("l", evil), ("q", "\"\\$HOME' #")]), &map(&[("E", "`$(x)` \\\" #\\")]), &args, "1:0").unwrap();
        let parsed = parse(&dockerfile.to_string(), "Dockerfile").unwrap();
        let keywords: Vec<_> = parsed.lines.iter().map(|line| line.instruction.keyword()).collect();
        assert_eq!(keywords, ["FROM", "LABEL", "LABEL", "WORKDIR", "COPY", "COPY", "ENV", "EXPOSE", "USER", "ENTRYPOINT", "CMD"]);
        let scope = Scope::default();
        let Instruction::Env(env) = &parsed.lines[6].instruction else { panic!() };
        assert_eq!(scope.expand(&env[0].1).unwrap(), "`$(x)` \\\" #\\");
        let Instruction::Label(label) = &parsed.lines[2].instruction else { panic!() };
        assert_eq!(scope.expand(&label[0].1).unwrap(), "\"\\$HOME' #");
        let Instruction::Cmd(Command::Exec(words)) = &parsed.lines[10].instruction else { panic!() };
        assert_eq!(*words, args);
    }

    #[test]
    fn what_a_dockerfile_cannot_hold_names_the_setting() {
        let none = map(&[]);
        for (labels, env, user, setting) in [
            (map(&[("a b", "")]), none.clone(), "1", "image.labels"),
            (none.clone(), map(&[("A", "x\ny")]), "1", "image.env"),
            (none.clone(), map(&[("A=", "x")]), "1", "image.env"),
            (none.clone(), none.clone(), "1\nRUN x", "image.user"),
            (none.clone(), none.clone(), "", "image.user"),
            (none.clone(), none.clone(), "--x", "image.user"),
        ] {
            let problem = generated(&labels, &env, &[], user).unwrap_err();
            assert_eq!(problem.code, Code::SettingInvalid);
            assert!(problem.message.contains(setting), "{}", problem.message);
        }
    }
}
