//! Who may do what to which application where. Whether the name is proved is not asked here.

use serde::Deserialize;

use super::policy::{Rules, Target, covers, matches};

/// What can be permitted.
pub const ACTIONS: [&str; 5] = ["publish", "rollback", "scale", "restart", "remove"];
/// Stands before the name of a group.
const GROUP: &str = "group:";

/// Permits something to somebody; where no permission stands, everybody may do everything.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Permission {
    /// As it is told to those who ask.
    pub name: String,
    /// Users, patterns with `*`; `group:NAME` is everybody of that group.
    pub who: Vec<String>,
    /// Of [`ACTIONS`]; `*` is all of them.
    pub may: Vec<String>,
    /// For which applications, lines and environments; patterns with `*`; none are all.
    pub apps: Vec<String>,
    pub lines: Vec<String>,
    pub environments: Vec<String>,
}

/// What one set of rules says to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It has no permissions, so it restricts nobody.
    Silent,
    /// A sentence that names the permission.
    Yes(String),
    /// A sentence that says why.
    No(String),
}

impl Rules {
    /// Whether `user` may do `action`; an empty user is somebody unknown, whom only `*` covers.
    pub fn may(&self, user: &str, action: &str, target: &Target) -> Answer {
        if self.permissions.is_empty() {
            return Answer::Silent;
        }
        let place = &self.place;
        let environment = if target.environment.is_empty() { "no environment" } else { &target.environment };
        let what = format!("{action} {} in {environment}", target.app);
        let who = if user.is_empty() { "somebody unknown" } else { user };
        let fitting: Vec<&Permission> = self.permissions.iter().filter(|permission| permission.is_for(action, target)).collect();
        match fitting.iter().find(|permission| permission.names(user, self)) {
            Some(permission) => Answer::Yes(format!("{who} may {what}: {:?} of {place} permits it", permission.name)),
            None if fitting.is_empty() => Answer::No(format!("{who} may not {what}: nothing in {place} permits that to anybody")),
            None => {
                let names: Vec<String> = fitting.iter().map(|permission| format!("{:?}", permission.name)).collect();
                Answer::No(format!("{who} may not {what}: in {place} {} permit it to others only", names.join(", ")))
            }
        }
    }

    /// What is wrong with the permissions, in a sentence.
    pub(super) fn check_permissions(&self) -> Result<(), String> {
        for (number, permission) in (1..).zip(&self.permissions) {
            let name = &permission.name;
            if name.trim().is_empty() {
                return Err(format!("permission {number} has no name"));
            }
            if permission.who.is_empty() || permission.may.is_empty() {
                return Err(format!("permission {name:?} has to say who may do what"));
            }
            if let Some(action) = permission.may.iter().find(|action| *action != "*" && !ACTIONS.contains(&action.as_str())) {
                return Err(format!("permission {name:?}: {action:?} is none of {}", ACTIONS.join(", ")));
            }
            let unknown = |who: &&String| who.strip_prefix(GROUP).is_some_and(|group| !self.groups.contains_key(group));
            if let Some(group) = permission.who.iter().find(unknown) {
                return Err(format!("permission {name:?}: {group:?} is not among the groups"));
            }
        }
        Ok(())
    }
}

impl Permission {
    fn is_for(&self, action: &str, target: &Target) -> bool {
        let permitted = self.may.iter().any(|may| may == "*" || may == action);
        permitted && covers(&self.apps, &target.app) && covers(&self.lines, &target.line) && covers(&self.environments, &target.environment)
    }

    fn names(&self, user: &str, rules: &Rules) -> bool {
        self.who.iter().any(|who| match who.strip_prefix(GROUP) {
            Some(group) => rules.groups.get(group).is_some_and(|members| members.iter().any(|member| member == user && !user.is_empty())),
            None => matches(who, user),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rules(permissions: Value) -> Rules {
        let rules = json!({"rules": [], "groups": {"trade": ["ada", "bo"]}, "permissions": permissions});
        Rules { place: "rules.yaml".into(), ..serde_json::from_value(rules).unwrap() }
    }

    fn target(environment: &str) -> Target {
        Target { app: "orders".into(), line: "trade".into(), environment: environment.into() }
    }

    #[test]
    fn a_permission_is_for_those_whom_it_names() {
        let rules = rules(json!([
            {"name": "trade", "who": ["group:trade", "ci-*"], "may": ["publish", "rollback"], "lines": ["trade"], "environments": ["prod", "test-*"]},
            {"name": "operators", "who": ["op"], "may": ["*"]},
            {"name": "looking on", "who": ["*"], "may": ["restart"], "apps": ["ord*"], "environments": ["test-1"]}
        ]));
        for (user, action, environment, expected) in [
            ("ada", "publish", "prod", true),
            ("ada", "scale", "prod", false),
            ("ada", "publish", "stage", false),
            ("ci-bot", "rollback", "test-1", true),
            ("group:trade", "publish", "prod", false),
            ("eve", "publish", "prod", false),
            ("", "publish", "prod", false),
            ("", "restart", "test-1", true),
            ("op", "remove", "", true),
        ] {
            let answer = rules.may(user, action, &target(environment));
            assert_eq!(matches!(answer, Answer::Yes(_)), expected, "{user} {action} {environment}: {answer:?}");
        }
    }

    #[test]
    fn an_answer_says_why() {
        let rules = rules(json!([{"name": "trade", "who": ["group:trade"], "may": ["publish"], "environments": ["prod"]}]));
        let told = |user: &str, action: &str| match rules.may(user, action, &target("prod")) {
            Answer::Yes(text) | Answer::No(text) => text,
            Answer::Silent => String::new(),
        };
        assert_eq!(told("ada", "publish"), "ada may publish orders in prod: \"trade\" of rules.yaml permits it");
        assert_eq!(told("eve", "publish"), "eve may not publish orders in prod: in rules.yaml \"trade\" permit it to others only");
        assert_eq!(told("ada", "remove"), "ada may not remove orders in prod: nothing in rules.yaml permits that to anybody");
        assert_eq!(Rules::default().may("eve", "remove", &target("prod")), Answer::Silent);
    }

    #[test]
    fn permissions_with_an_error_are_refused() {
        for (permission, expected) in [
            (json!({"who": ["*"], "may": ["*"]}), "no name"),
            (json!({"name": "x", "may": ["*"]}), "who may do what"),
            (json!({"name": "x", "who": ["*"]}), "who may do what"),
            (json!({"name": "x", "who": ["*"], "may": ["deploy"]}), "none of publish"),
            (json!({"name": "x", "who": ["group:others"], "may": ["*"]}), "not among the groups"),
        ] {
            assert!(rules(json!([permission])).check().unwrap_err().contains(expected), "{permission}");
        }
        assert_eq!(rules(json!([{"name": "x", "who": ["group:trade"], "may": ["scale"]}])).check(), Ok(()));
    }
}
