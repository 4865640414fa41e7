//! Arguments of instructions in the form that an image's configuration and layers hold them.

use serde_json::json;

use super::{context::Place, tree::Owner};
use crate::domain::{
    dockerfile::{Command, Healthcheck, Instruction},
    problem::{Problem, Result},
};

/// Why an instruction that starts commands stops the build.
pub(super) fn not_run(instruction: &Instruction, place: Place<'_>) -> Problem {
    match instruction {
        Instruction::OnBuild(_) => place
            .unsupported("ONBUILD is for base images, and Shipway builds applications")
            .hint("write the instruction without ONBUILD"),
        other => place.unsupported(format!("{} needs an engine that runs commands, and the native engine runs none", other.keyword())).hint(
            "do it in the Maven build or in a base image of your own, and COPY the result; or build the image in a job of its own and publish it with image.ref",
        ),
    }
}

/// `user[:group]` in numbers; the group is the user's number when it is left out, as in Docker.
pub(super) fn owner(text: &str, place: Place<'_>) -> Result<Owner> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let number = |name: &str| match name {
        "root" => Ok(0),
        name => name.parse::<u32>().map(u64::from).map_err(|_| {
            place
                .unsupported(format!("--chown={text} names {name:?}, and the native engine does not look into the base's /etc/passwd"))
                .hint("write numbers: --chown=10001:10001; for a generated Dockerfile set image.user to a number")
        }),
    };
    Ok(Owner { user: number(user)?, group: number(group)? })
}

/// An octal mode.
pub(super) fn mode(text: &str, place: Place<'_>) -> Result<u32> {
    let octal = (3..=5).contains(&text.len()).then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|mode| *mode <= 0o7777);
    octal.ok_or_else(|| place.unsupported(format!("--chmod={text} is no octal mode")).hint("write it in octal, such as --chmod=755"))
}

/// `8080`, `53/udp`, `8000-8010/tcp` in the form of the configuration.
pub(super) fn ports(text: &str) -> Option<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let valid = matches!(protocol.as_str(), "tcp" | "udp" | "sctp") && first > 0 && first <= last;
    valid.then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// HEALTHCHECK in the form of the configuration.
pub(super) fn healthcheck(check: &Healthcheck) -> serde_json::Value {
    let Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries } = check else {
        return json!({"Test": ["NONE"]});
    };
    let test = match command {
        Command::Exec(words) => [&["CMD".to_string()], words.as_slice()].concat(),
        Command::Shell(text) => vec!["CMD-SHELL".to_string(), text.clone()],
    };
    let mut value = json!({"Test": test});
    for (name, number) in [("Interval", interval), ("Timeout", timeout), ("StartPeriod", start_period), ("StartInterval", start_interval)] {
        if let Some(number) = number {
            value[name] = json!(number);
        }
    }
    if let Some(retries) = retries {
        value["Retries"] = json!(retries);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_modes_and_owners() {
        assert_eq!(ports("8080"), Some(vec!["8080/tcp".to_string()]));
        assert_eq!(ports("1-2/UDP"), Some(vec!["1/udp".to_string(), "2/udp".to_string()]));
        for text in ["0", "x", "1/x", "2-1", "70000", "-1", ""] {
            assert_eq!(ports(text), None, "{text}");
        }
        let place = Place { file: "Dockerfile", number: 3 };
        assert_eq!(mode("0755", place), Ok(0o755));
        assert!(mode("u+x", place).is_err() && mode("99", place).is_err() && mode("888", place).is_err());
        assert_eq!(owner("5", place), Ok(Owner { user: 5, group: 5 }));
        assert_eq!(owner("root:7", place), Ok(Owner { user: 0, group: 7 }));
        assert!(owner("app", place).unwrap_err().message.starts_with("Dockerfile:3: "));
    }
}
