//! Who may do what to which application where.

use serde::Deserialize;

use super::{
    identity::Asker,
    policy::{Rules, Target, covers, matches},
};

/// What can be permitted: changes of what runs, of its configuration, and of what the company has set.
pub const ACTIONS: [&str; 10] = ["publish", "rollback", "scale", "restart", "remove", "rebase", "unstick", "config", "app", "rules"];
/// Stands before the name of a group.
const GROUP: &str = "group:";
/// So many permissions at most are named that would have permitted it.
const MOST_NAMED: usize = 3;

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
    /// From jobs of which projects, as the job's token says; patterns with `*`; with none it does not matter.
    pub projects: Vec<String>,
    /// From jobs of protected refs alone, as the job's token says.
    pub protected: bool,
}

/// What one set of rules says to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It has no permissions, so it restricts nobody.
    Silent,
    /// The permission's name, with its place, and a sentence.
    Yes { by: String, text: String },
    /// A sentence that says why, and what would have permitted it.
    No(String),
}

impl Rules {
    /// Whether this one may do `action`; somebody unknown is covered by `*` only.
    pub fn may(&self, asker: &Asker, action: &str, target: &Target) -> Answer {
        if self.permissions.is_empty() {
            return Answer::Silent;
        }
        let place = &self.place;
        let (who, what) = (asker.name(), deed(action, target));
        let lacking: Vec<(&Permission, Vec<String>)> =
            self.permissions.iter().map(|permission| (permission, permission.lacking(asker, action, target, self))).collect();
        if let Some((permission, _)) = lacking.iter().find(|(_, lacks)| lacks.is_empty()) {
            let name = &permission.name;
            return Answer::Yes { by: format!("{name:?} of {place}"), text: format!("{who} may {what}: {name:?} of {place} permits it") };
        }
        let least = lacking.iter().map(|(_, lacks)| lacks.len()).min().unwrap_or_default();
        let nearest = lacking.iter().filter(|(_, lacks)| lacks.len() == least).take(MOST_NAMED);
        let nearest: Vec<String> =
            nearest.map(|(permission, lacks)| format!("{:?} permits it {}", permission.name, lacks.join(" and "))).collect();
        let anybody = self.permissions.iter().any(|permission| permission.is_for(action, target));
        let nobody = if anybody { "" } else { "nobody may; " };
        Answer::No(format!("{who} may not {what}: {nobody}in {place} {}", nearest.join(", ")))
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

/// An action in words, behind "may".
fn deed(action: &str, target: &Target) -> String {
    let environment = if target.environment.is_empty() { "no environment" } else { &target.environment };
    let app = &target.app;
    match action {
        "config" => format!("change the configuration of {app} in {environment}"),
        "unstick" => format!("unstick pods of {app} in {environment}"),
        "app" => format!("set what is known of {app}"),
        "rules" => "push rules".to_string(),
        action => format!("{action} {app} in {environment}"),
    }
}

impl Permission {
    fn is_for(&self, action: &str, target: &Target) -> bool {
        let permitted = self.may.iter().any(|may| may == "*" || may == action);
        permitted && covers(&self.apps, &target.app) && covers(&self.lines, &target.line) && covers(&self.environments, &target.environment)
    }

    /// Why it does not permit this, each reason as the end of a sentence; nothing when it does.
    fn lacking(&self, asker: &Asker, action: &str, target: &Target, rules: &Rules) -> Vec<String> {
        let only = |words: &str, names: &[String]| format!("{words} {} only", names.join(", "));
        let project = asker.project.as_deref().is_some_and(|project| covers(&self.projects, project));
        [
            (!self.names(&asker.user, rules)).then(|| only("to", &self.who)),
            (!self.may.iter().any(|may| may == "*" || may == action)).then(|| only("for", &self.may)),
            (!covers(&self.apps, &target.app)).then(|| only("for the application", &self.apps)),
            (!covers(&self.lines, &target.line)).then(|| only("for the line", &self.lines)),
            (!covers(&self.environments, &target.environment)).then(|| only("in", &self.environments)),
            (!self.projects.is_empty() && !project).then(|| only("with an identity token of the project", &self.projects)),
            (self.protected && !asker.protected).then(|| "with an identity token of a protected ref only".to_string()),
        ]
        .into_iter()
        .flatten()
        .collect()
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
            let answer = rules.may(&Asker::claimed(Some(user)), action, &target(environment));
            assert_eq!(matches!(answer, Answer::Yes { .. }), expected, "{user} {action} {environment}: {answer:?}");
        }
    }

    #[test]
    fn an_answer_says_why() {
        let rules = rules(json!([{"name": "trade", "who": ["group:trade"], "may": ["publish"], "environments": ["prod"]}]));
        let told = |user: &str, action: &str| match rules.may(&Asker::claimed(Some(user)), action, &target("prod")) {
            Answer::Yes { text, .. } | Answer::No(text) => text,
            Answer::Silent => String::new(),
        };
        assert_eq!(told("ada", "publish"), "ada may publish orders in prod: \"trade\" of rules.yaml permits it");
        assert_eq!(told("eve", "publish"), "eve may not publish orders in prod: in rules.yaml \"trade\" permits it to group:trade only");
        assert_eq!(
            told("ada", "remove"),
            "ada may not remove orders in prod: nobody may; in rules.yaml \"trade\" permits it for publish only"
        );
        assert_eq!(Rules::default().may(&Asker::default(), "remove", &target("prod")), Answer::Silent);
    }

    #[test]
    fn a_permission_may_want_a_token_of_a_project_and_of_a_protected_ref() {
        let rules = rules(json!([{"name": "prod", "who": ["ada"], "may": ["publish"], "projects": ["trade/*"], "protected": true}]));
        let asker = |project: Option<&str>, protected: bool| Asker {
            project: project.map(str::to_string),
            protected,
            ..Asker::claimed(Some("ada"))
        };
        for (asker, expected) in [
            (asker(Some("trade/orders"), true), None),
            (asker(Some("trade/orders"), false), Some("\"prod\" permits it with an identity token of a protected ref only")),
            (asker(Some("play/orders"), true), Some("\"prod\" permits it with an identity token of the project trade/* only")),
            (asker(None, false), Some("trade/* only and with an identity token of a protected ref only")),
        ] {
            match (rules.may(&asker, "publish", &target("prod")), expected) {
                (Answer::Yes { by, .. }, None) => assert_eq!(by, "\"prod\" of rules.yaml"),
                (Answer::No(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
                (answer, _) => panic!("{asker:?}: {answer:?}"),
            }
        }
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
