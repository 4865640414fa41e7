//! Drone's and Woodpecker's way from a pipeline file to the environment of a plugin step, as their compilers do it.

use std::collections::BTreeMap;

use serde_json::Value;

/// A step of a pipeline file.
pub struct Step {
    pub name: String,
    pub image: String,
    /// Where it works, below the checkout (Woodpecker).
    pub directory: Option<String>,
    settings: serde_json::Map<String, Value>,
    server: Server,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Drone,
    Woodpecker,
}

/// The steps of a file; both servers write `steps:` as a list.
pub fn steps(file: &str, server: Server) -> Vec<Step> {
    let pipeline: Value = serde_saphyr::from_str(file).unwrap();
    let steps = pipeline["steps"].as_array().expect("a list of steps");
    steps
        .iter()
        .map(|step| Step {
            name: step["name"].as_str().unwrap().to_owned(),
            image: step["image"].as_str().unwrap().to_owned(),
            directory: step["directory"].as_str().map(str::to_owned),
            settings: step["settings"].as_object().cloned().unwrap_or_default(),
            server,
        })
        .collect()
}

impl Step {
    /// `PLUGIN_…` for each setting, secrets taken from `secrets` by their name.
    pub fn environment(&self, secrets: &BTreeMap<&str, String>) -> BTreeMap<String, String> {
        self.settings.iter().map(|(key, value)| (self.variable(key), self.value(value, secrets))).collect()
    }

    /// Drone keeps dashes, Woodpecker makes underscores of dashes and dots.
    fn variable(&self, key: &str) -> String {
        let key = match self.server {
            Server::Drone => key.to_uppercase(),
            Server::Woodpecker => key.to_uppercase().replace(['-', '.'], "_"),
        };
        format!("PLUGIN_{key}")
    }

    fn value(&self, value: &Value, secrets: &BTreeMap<&str, String>) -> String {
        let known = |name: &str| secrets.get(name).cloned().unwrap_or_else(|| panic!("no secret {name} in the test"));
        match value {
            Value::Object(object) if object.len() == 1 && object.contains_key("from_secret") => {
                known(object["from_secret"].as_str().unwrap())
            }
            Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
                items.iter().map(scalar).collect::<Vec<_>>().join(",")
            }
            Value::Object(_) | Value::Array(_) => match self.server {
                Server::Drone => value.to_string(),
                Server::Woodpecker => nested(value, &known).to_string(),
            },
            plain => scalar(plain),
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Woodpecker resolves `from_secret` at any depth; Drone at the top of a setting alone.
fn nested(value: &Value, known: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(object) if object.len() == 1 && object.contains_key("from_secret") => {
            Value::String(known(object["from_secret"].as_str().unwrap()))
        }
        Value::Object(object) => Value::Object(object.iter().map(|(key, value)| (key.clone(), nested(value, known))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(|item| nested(item, known)).collect()),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_variables_as_the_servers_make_them() {
        let file = "steps: [{name: publish, image: shipway, settings: {text: a b, number: 8080, flag: true, list: [a, 2, true], none: [], \
                    map: {a: {b: [1]}}, lists: [[a], b], dashed-and.dotted: x, password: {from_secret: one}, SHOUTED: loud}}]";
        let secrets = BTreeMap::from([("one", "s3cret".to_owned())]);
        let variables = |server| steps(file, server).remove(0).environment(&secrets);
        let same = [
            ("PLUGIN_TEXT", "a b"),
            ("PLUGIN_NUMBER", "8080"),
            ("PLUGIN_FLAG", "true"),
            ("PLUGIN_LIST", "a,2,true"),
            ("PLUGIN_NONE", ""),
            ("PLUGIN_MAP", r#"{"a":{"b":[1]}}"#),
            ("PLUGIN_LISTS", r#"[["a"],"b"]"#),
            ("PLUGIN_PASSWORD", "s3cret"),
            ("PLUGIN_SHOUTED", "loud"),
        ];
        for (server, dashed) in [(Server::Drone, "PLUGIN_DASHED-AND.DOTTED"), (Server::Woodpecker, "PLUGIN_DASHED_AND_DOTTED")] {
            let expected = same.into_iter().chain([(dashed, "x")]).map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(variables(server), expected.collect(), "{dashed}");
        }
    }

    #[test]
    fn a_secret_below_a_setting_is_woodpeckers_alone() {
        let file = "steps: [{name: publish, image: shipway, settings: {cluster: {token: {from_secret: one}}}}]";
        let secrets = BTreeMap::from([("one", "s3cret".to_owned())]);
        let cluster = |server| steps(file, server).remove(0).environment(&secrets)["PLUGIN_CLUSTER"].clone();
        assert_eq!(cluster(Server::Woodpecker), r#"{"token":"s3cret"}"#);
        assert_eq!(cluster(Server::Drone), r#"{"token":{"from_secret":"one"}}"#);
    }
}
