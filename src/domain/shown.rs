//! What of an object anyone may see: a value that is named like a secret is not among it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    custom::Identity,
    redact::{SECRET, names_a_secret},
};

/// In the place of a secret that is another one than it was.
const ANOTHER: &str = "(secret, another one)";

/// The values that were hidden, each with its name.
#[derive(Default)]
pub struct Hidden(BTreeSet<(String, String)>);

impl Hidden {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Hides all that a Secret holds, and in every object the values of variables, fields and arguments that are named like secrets, and the
/// passwords of URLs. A value that is not among those hidden `before`, in the object as it was, is shown as another one; None: there is
/// nothing to compare with.
pub fn hide(object: &mut Value, before: Option<&Hidden>) -> Hidden {
    let mut cloak = Cloak { before, hidden: Hidden::default() };
    let secret = Identity::of(object).is("", "Secret");
    match object {
        Value::Object(fields) if secret => {
            for (part, value) in fields.iter_mut() {
                cloak.value(part, value, part == "data" || part == "stringData");
            }
        }
        other => cloak.value("", other, false),
    }
    cloak.hidden
}

struct Cloak<'a> {
    before: Option<&'a Hidden>,
    hidden: Hidden,
}

impl Cloak<'_> {
    /// `all`: whatever its texts are named.
    fn value(&mut self, name: &str, value: &mut Value, all: bool) {
        match value {
            Value::String(text) if all || names_a_secret(name) => *text = self.secret(name, text),
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => self.items(items, all),
            Value::Object(fields) => self.fields(fields, all),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A variable is an object with a name and a value.
    fn fields(&mut self, fields: &mut Map<String, Value>, all: bool) {
        let variable = fields.get("name").and_then(Value::as_str).filter(|name| names_a_secret(name)).map(str::to_string);
        for (field, value) in fields.iter_mut() {
            let name = variable.as_deref().filter(|_| field == "value").unwrap_or(field);
            self.value(name, value, all);
        }
    }

    /// An argument may have its value behind it: `--password x`.
    fn items(&mut self, items: &mut [Value], all: bool) {
        let mut option = String::new();
        for item in items {
            let next = item.as_str().filter(|text| text.starts_with('-') && names_a_secret(text)).unwrap_or_default().to_string();
            self.value(&std::mem::replace(&mut option, next), item, all);
        }
    }

    /// Words such as `-Dstore.password=x`, lines such as `password: x`, URLs with a password.
    fn text(&mut self, text: &str) -> String {
        text.split_inclusive('\n').map(|line| self.line(line)).collect()
    }

    fn line(&mut self, line: &str) -> String {
        if let Some((name, value)) = line.split_once(": ").filter(|(name, _)| names_a_secret(name.trim_matches([' ', '"', '\'']))) {
            let end = &value[value.trim_end().len()..];
            return format!("{name}: {}{end}", self.secret(name.trim(), value.trim_end()));
        }
        line.split_inclusive(char::is_whitespace).map(|word| self.word(word)).collect()
    }

    fn word(&mut self, word: &str) -> String {
        let (whole, end) = word.split_at(word.trim_end().len());
        if let Some((name, value)) = whole.split_once('=').filter(|(name, _)| names_a_secret(name)) {
            return format!("{name}={}{end}", self.secret(name, value));
        }
        let Some((scheme, rest)) = whole.split_once("://") else { return word.to_string() };
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let user = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        let Some((user, password)) = user else { return word.to_string() };
        let rest = &rest[user.len() + 1 + password.len()..];
        format!("{scheme}://{user}:{}{rest}{end}", self.secret(user, password))
    }

    /// What is empty, or only says where the value comes from (`$(NAME)`), is no secret.
    fn secret(&mut self, name: &str, value: &str) -> String {
        if value.is_empty() || (value.starts_with("$(") && value.ends_with(')')) {
            return value.to_string();
        }
        let entry = (name.to_string(), value.to_string());
        let same = self.before.is_none_or(|before| before.0.contains(&entry));
        self.hidden.0.insert(entry);
        if same { SECRET } else { ANOTHER }.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(mut object: Value) -> Value {
        hide(&mut object, None);
        object
    }

    #[test]
    fn values_that_are_named_like_secrets_are_hidden_wherever_they_stand() {
        let object = json!({"spec": {"jobTemplate": {"containers": [{
            "env": [{"name": "DB_PASSWORD", "value": "hush"}, {"name": "COLOUR", "value": "blue"},
                {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}, {"name": "JWT", "value": "$(API_TOKEN)"},
                {"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g -Djavax.net.ssl.keyStorePassword=hush -Dx=y"},
                {"name": "DB_URL", "value": "postgres://app:hush@db:5432/x?a=b"}],
            "args": ["--api-key=hush", "--password", "hush", "--port", "80"]}]}},
            "data": {"db_password": "hush", "application.properties": "user=x\nspring.datasource.password=hush\n", "a.yaml": "db:\n  password: hush\n  user: x\n"}});
        let expected = json!({"spec": {"jobTemplate": {"containers": [{
            "env": [{"name": "DB_PASSWORD", "value": "(secret)"}, {"name": "COLOUR", "value": "blue"},
                {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}, {"name": "JWT", "value": "$(API_TOKEN)"},
                {"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g -Djavax.net.ssl.keyStorePassword=(secret) -Dx=y"},
                {"name": "DB_URL", "value": "postgres://app:(secret)@db:5432/x?a=b"}],
            "args": ["--api-key=(secret)", "--password", "(secret)", "--port", "80"]}]}},
            "data": {"db_password": "(secret)", "application.properties": "user=x\nspring.datasource.password=(secret)\n", "a.yaml": "db:\n  password: (secret)\n  user: x\n"}});
        assert_eq!(shown(object), expected);
    }

    #[test]
    fn of_a_secret_only_the_names_are_seen() {
        let secret = |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque", "data": data});
        assert_eq!(shown(secret(json!({"user": "eA=="}))), secret(json!({"user": "(secret)"})));
    }

    #[test]
    fn another_secret_is_told_from_the_same_one() {
        let object = |value: &str| json!({"env": [{"name": "DB_PASSWORD", "value": value}], "args": [format!("--token={value}")]});
        let hidden = hide(&mut object("hush"), None);
        let after = |value: &str| {
            let mut object = object(value);
            hide(&mut object, Some(&hidden));
            object.to_string()
        };
        assert!(!after("hush").contains("another") && !after("hush").contains("hush"));
        assert_eq!(after("hush-hush").matches("(secret, another one)").count(), 2);
        assert!(hide(&mut json!({"env": [{"name": "COLOUR", "value": "blue"}]}), None).is_empty());
    }
}
