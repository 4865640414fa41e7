//! Rules that the text of a value has to keep, by the `x-kind` of its key.

mod places;
#[cfg(test)]
mod tests;

use self::places::{absolute, archive, file, image, image_or_layout, inside, registry, repository, tag, url};
pub(super) use self::places::{has_credentials, kubeconfig};
use super::{coerce::Wrong, host};
use crate::domain::{reference, units};

type Checked = Result<String, Wrong>;
type Rule = (&'static str, fn(&str) -> Checked);

/// Every rule by its name in the keys' `x-kind`; a test checks that there are no others.
const RULES: &[Rule] = &[
    ("", |text| Ok(text.to_string())),
    ("arguments", |text| if text.contains('\0') { wrong("it holds a zero byte", "remove it") } else { Ok(text.to_string()) }),
    ("token", token),
    ("duration", duration),
    ("quantity", quantity),
    ("int-or-percent", int_or_percent),
    ("probe", probe),
    ("dns-label", dns_label),
    ("dns-name", dns_name),
    ("url", url),
    ("registry", registry),
    ("repository", repository),
    ("image", image),
    ("image-or-layout", image_or_layout),
    ("tag", tag),
    ("tags", tag),
    ("user", user),
    ("goals", goal),
    ("variables", build_variable),
    ("platforms", platform),
    ("inside", inside),
    ("files", inside),
    ("absolute", absolute),
    ("kubeconfig", kubeconfig),
    ("file", file),
    ("secret-keys", secret_key),
    ("label-map", label_value),
    ("annotation-map", |text| Ok(text.to_string())),
    ("metric-map", quantity),
    ("qualified", qualified),
    ("archive", archive),
    ("environment", |text| Ok(text.to_string())),
];

/// Checks a text by its rule; gives it back in the form that is kept.
pub fn check(rule: &str, text: &str) -> Checked {
    match RULES.iter().find(|(name, _)| *name == rule) {
        Some((_, check)) => check(text),
        None => wrong(&format!("its kind {rule} is not known"), "report this as a bug"),
    }
}

/// Checks the name of a map's entry.
pub fn check_name(rule: &str, name: &str) -> Result<(), Wrong> {
    let good = match rule {
        "environment" | "secret-keys" => is_variable(name),
        "label-map" | "annotation-map" => is_qualified(name),
        _ => !name.is_empty(),
    };
    match (good, rule) {
        (true, _) => Ok(()),
        (false, "environment" | "secret-keys") => {
            wrong(&format!("{name:?} cannot be the name of a variable"), "use letters, digits, _ . and -, not starting with a digit")
                .map(|_| ())
        }
        (false, "label-map" | "annotation-map") => wrong(
            &format!("{name:?} is not a name that Kubernetes takes"),
            "write NAME or PREFIX/NAME, NAME of at most 63 letters, digits, - _ and .",
        )
        .map(|_| ()),
        _ => wrong("an entry has no name", "give it one").map(|_| ()),
    }
}

fn wrong(what: &str, fix: &str) -> Checked {
    Err(Wrong::new(what, fix))
}

/// What goes into a header of HTTP; another one would be left out of it, and the server would speak of a token that is not there.
fn token(text: &str) -> Checked {
    match text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_string()),
        false => wrong("a token is one line without spaces", "paste it anew: a line break or a space came along, or two of them are in it"),
    }
}

fn duration(text: &str) -> Checked {
    match units::parse_duration(text) {
        Some(_) => Ok(text.to_string()),
        None => wrong("this is not a duration", "write it like 90s, 10m or 1h30m"),
    }
}

fn quantity(text: &str) -> Checked {
    match units::parse_quantity(text) {
        Some(number) if number > 0.0 => Ok(text.to_string()),
        Some(_) => wrong("this is nothing", "write more than 0, or remove the key"),
        None => wrong("this is not a quantity", "write it like 250m, 2, 768Mi or 1Gi"),
    }
}

fn int_or_percent(text: &str) -> Checked {
    let digits = text.strip_suffix('%').unwrap_or(text);
    match digits.parse::<u32>() {
        Ok(number) if number <= 100 || !text.ends_with('%') => Ok(text.to_string()),
        _ => wrong("this is neither a number nor a percentage", "write it like 1 or 25%"),
    }
}

fn probe(text: &str) -> Checked {
    match text {
        "off" | "tcp" => Ok(text.to_string()),
        "false" => Ok("off".to_string()),
        path if path.starts_with('/') && !path.contains(char::is_whitespace) => Ok(path.to_string()),
        _ => wrong("this is no probe", "write a path that starts with /, tcp, off, or a whole probe as Kubernetes has it"),
    }
}

/// RFC 1123, as Kubernetes wants names of Services.
fn dns_label(text: &str) -> Checked {
    if reference::dns_label(text).as_deref() == Some(text) {
        return Ok(text.to_string());
    }
    let fix = match reference::dns_label(text) {
        Some(label) => format!("write it like {label}"),
        None => "use a name such as order-service".to_string(),
    };
    wrong("a name has at most 63 lower-case letters, digits and -, and starts and ends with a letter or digit", &fix)
}

/// RFC 1123 subdomain: labels with dots between them.
fn dns_name(text: &str) -> Checked {
    match text.len() <= 253 && text.split('.').all(|label| dns_label(label).is_ok()) {
        true => Ok(text.to_string()),
        false => wrong("this is not a name that Kubernetes takes", "use lower-case letters, digits, - and ."),
    }
}

/// `USER` of a Dockerfile: name or number, with an optional group.
fn user(text: &str) -> Checked {
    let name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let parts: Vec<&str> = text.split(':').collect();
    match parts.len() <= 2 && parts.iter().all(|part| name(part)) && !text.starts_with('-') {
        true => Ok(text.to_string()),
        false => wrong("this is not a user", "write it like 10001, app or 10001:10001"),
    }
}

fn goal(text: &str) -> Checked {
    match text.contains(char::is_whitespace) || text.starts_with('-') {
        true => wrong("a goal has no spaces and starts with no -", "separate goals by commas; arguments belong to build.args"),
        false => Ok(text.to_string()),
    }
}

fn build_variable(text: &str) -> Checked {
    if !is_variable(text) {
        return wrong("this is not the name of one variable", "write each name out, such as SONAR_TOKEN; patterns are not understood");
    }
    match host::is_credential(text) {
        true => wrong("Maven never sees this variable: it may hold a credential of registry, cluster or forge", "remove it from build.env"),
        false => Ok(text.to_string()),
    }
}

fn platform(text: &str) -> Checked {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let parts: Vec<&str> = text.split('/').collect();
    match matches!(parts.len(), 2 | 3) && parts.iter().all(|p| part(p)) {
        true => Ok(text.to_string()),
        false => wrong("this is not a platform", "write it like linux/amd64 or linux/arm64"),
    }
}

fn secret_key(text: &str) -> Checked {
    match text.split_once('/') {
        Some((secret, key))
            if dns_name(secret).is_ok() && !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) =>
        {
            Ok(text.to_string())
        }
        _ => wrong("this does not name a key of a Secret", "write SECRET/KEY; the value itself stays in the cluster"),
    }
}

/// The name of a finalizer.
fn qualified(text: &str) -> Checked {
    match is_qualified(text) {
        true => Ok(text.to_string()),
        false => wrong("this is not a name that Kubernetes takes", "write it as it stands in the list: PREFIX/NAME"),
    }
}

fn label_value(text: &str) -> Checked {
    match text.is_empty() || is_label(text) {
        true => Ok(text.to_string()),
        false => wrong("a label's value has at most 63 letters, digits, - _ and .", "shorten it, or use kubernetes.annotations"),
    }
}

fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63 && text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

/// Kubernetes' qualified names: `name` or `prefix.example/name`.
fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => dns_name(prefix).is_ok() && is_label(name),
        None => is_label(text),
    }
}

fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '.' | '-'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}
