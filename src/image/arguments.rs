//! Arguments of instructions in the form that an image's configuration and layers hold them.

use serde_json::json;

use super::context::Place;
use crate::domain::{
    dockerfile::{Command, Healthcheck, Uncovered, Why},
    problem::{Problem, Result},
};

/// Why an instruction that another engine has to do stops the native one.
pub(super) fn not_covered(found: &Uncovered, file: &str) -> Problem {
    let hint = match found.why {
        Why::Command => {
            "do it in the Maven build or in a base image of your own, and COPY the result; or let BuildKit, Docker or buildah build it \
             (image.engine)"
        }
        Why::Remote(_) => "fetch it in the Maven build, and COPY it; or let another engine build it (image.engine)",
        Why::Flag(_) => "write it without the flag; or let another engine build it (image.engine)",
        Why::Mode(_) => "write it in octal, such as --chmod=755",
        Why::Frontend(_) => "remove the directive, or build with BuildKit (image.engine)",
    };
    Place { file, number: found.line }.unsupported(format!("{}: {}", found.text, found.why)).hint(hint)
}

/// An octal mode.
pub(super) fn mode(text: &str, place: Place<'_>) -> Result<u32> {
    let octal = (1..=5).contains(&text.len()).then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|mode| *mode <= 0o7777);
    octal.ok_or_else(|| place.invalid(format!("--chmod={text} is no octal mode")).hint("write it in octal, such as --chmod=755"))
}

/// `8080`, `53/udp`, `8000-8010/tcp` in the form of the configuration.
pub(super) fn ports(text: &str) -> Option<Vec<String>> {
    // An address and a port of the host in front of it mean nothing here, and Docker takes them.
    let text = text.rsplit(':').next().unwrap_or(text);
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let valid = matches!(protocol.as_str(), "tcp" | "udp" | "sctp") && first > 0 && first <= last;
    valid.then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Names of the signals of Linux, without SIG.
const SIGNALS: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP \
                       TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";

/// Whether a container can be stopped by it: a number, or a name with or without SIG.
pub(super) fn signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    // RTMIN+3 and RTMAX-2 are real-time signals.
    let (name, rest) = name.split_at(name.find(['+', '-']).unwrap_or(name.len()));
    let offset = rest.is_empty() || (name.starts_with("RT") && rest[1..].parse::<u8>().is_ok_and(|offset| (1..=15).contains(&offset)));
    offset && SIGNALS.split_whitespace().any(|known| known == name)
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
        if let Some(number) = number.filter(|number| *number > 0) {
            value[name] = json!(number);
        }
    }
    if let Some(retries) = retries.filter(|retries| *retries > 0) {
        value["Retries"] = json!(retries);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_modes() {
        assert_eq!(ports("8080"), Some(vec!["8080/tcp".to_string()]));
        assert_eq!(ports("1-2/UDP"), Some(vec!["1/udp".to_string(), "2/udp".to_string()]));
        for text in ["0", "x", "1/x", "2-1", "70000", "-1", ""] {
            assert_eq!(ports(text), None, "{text}");
        }
        let place = Place { file: "Dockerfile", number: 3 };
        assert_eq!(mode("0755", place), Ok(0o755));
        assert!(mode("u+x", place).is_err() && mode("99", place).is_err() && mode("888", place).is_err());
        assert_eq!(ports("127.0.0.1:80:8080/udp"), Some(vec!["8080/udp".to_string()]));
    }

    #[test]
    fn signals() {
        for (text, expected) in [
            ("SIGTERM", true),
            ("quit", true),
            ("9", true),
            ("64", true),
            ("SIGRTMIN+3", true),
            ("0", false),
            ("65", false),
            ("SIGNONE", false),
            ("TERM+1", false),
            ("RTMIN+99", false),
        ] {
            assert_eq!(signal(text), expected, "{text}");
        }
    }
}
