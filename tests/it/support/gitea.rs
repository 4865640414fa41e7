//! Repositories at the lab's real Gitea, each of one test.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{block_on, fixture, fixture::Checkout, lab::lab, shipway::Shipway, unique};

/// A private repository of the lab's user.
pub struct Repo {
    pub name: String,
    pub owner: String,
}

/// A request as the lab's administrator; panics with the answer when it is refused.
pub fn call(method: Method, path: &str, body: Option<Value>) -> Value {
    let gitea = lab().gitea();
    let url = format!("http://{}/api/v1/{path}", gitea.address);
    block_on(async {
        let request = Client::new().request(method.clone(), &url).basic_auth(&gitea.user, Some(&gitea.password));
        let request = match &body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{method} {url}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    })
}

impl Repo {
    pub fn new(test: &str) -> Repo {
        let (name, owner) = (unique(test), lab().gitea().user);
        call(Method::POST, "user/repos", Some(json!({"name": name, "private": true})));
        Repo { name, owner }
    }

    pub fn path(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        call(method, &format!("repos/{}/{path}", self.path()), body)
    }

    /// Pushes what is checked out.
    pub fn push(&self, checkout: &Checkout, branch: &str) {
        let gitea = lab().gitea();
        let url = format!("http://{}:{}@{}/{}.git", gitea.user, gitea.password, gitea.address, self.path());
        fixture::git(&checkout.path(), &["push", "--quiet", &url, &format!("HEAD:refs/heads/{branch}")]);
    }

    /// Pushes the checkout as main, one commit more as `feature`, and opens a pull request of that.
    pub fn with_pull_request(test: &str, checkout: &Checkout) -> (Repo, u64) {
        let repo = Repo::new(test);
        repo.push(checkout, "main");
        checkout.write("README.md", "more\n");
        checkout.commit("Say more");
        repo.push(checkout, "feature");
        let number = repo.open("feature");
        (repo, number)
    }

    /// Opens a pull request of a branch (`owner:branch` of a fork) against main.
    pub fn open(&self, head: &str) -> u64 {
        let opened = self.until_taken("pulls", &json!({"head": head, "base": "main", "title": "Say more"}));
        opened["number"].as_u64().unwrap()
    }

    /// Posts something that Gitea takes once it has looked at a push in the background: until then it answers 404 or 405.
    fn until_taken(&self, path: &str, body: &Value) -> Value {
        let gitea = lab().gitea();
        let url = format!("http://{}/api/v1/repos/{}/{path}", gitea.address, self.path());
        let mut last = String::new();
        for _ in 0..150 {
            let request = Client::new().post(&url).basic_auth(&gitea.user, Some(&gitea.password));
            let request = request.header("content-type", "application/json").body(body.to_string());
            let (status, text) = block_on(async {
                let answer = request.send().await.unwrap();
                (answer.status(), answer.text().await.unwrap())
            });
            if status.is_success() {
                return serde_json::from_str(&text).unwrap_or(Value::Null);
            }
            last = format!("{status} {text}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("{url}: {last}");
    }

    /// Number and text of each comment.
    pub fn comments(&self, number: u64) -> Vec<(u64, String)> {
        let comments = self.call(Method::GET, &format!("issues/{number}/comments"), None);
        let comment = |comment: &Value| (comment["id"].as_u64().unwrap(), comment["body"].as_str().unwrap().to_string());
        comments.as_array().unwrap().iter().map(comment).collect()
    }

    /// Others say these, several at a time.
    pub fn say(&self, number: u64, texts: Vec<String>) {
        let gitea = lab().gitea();
        let url = format!("http://{}/api/v1/repos/{}/issues/{number}/comments", gitea.address, self.path());
        let (client, url, gitea) = (Client::new(), &url, &gitea);
        let say = |text: String| {
            let request = client.post(url).basic_auth(&gitea.user, Some(&gitea.password)).header("content-type", "application/json");
            async move { assert!(request.body(json!({"body": text}).to_string()).send().await.unwrap().status().is_success()) }
        };
        block_on(async {
            for some in texts.chunks(8) {
                futures::future::join_all(some.iter().cloned().map(&say)).await;
            }
        });
    }

    pub fn delete_comment(&self, id: u64) {
        self.call(Method::DELETE, &format!("issues/comments/{id}"), None);
    }

    /// The statuses of a commit, oldest first.
    pub fn statuses(&self, sha: &str) -> Vec<Value> {
        let statuses = self.call(Method::GET, &format!("commits/{sha}/statuses?sort=oldest"), None);
        let mut statuses = statuses.as_array().unwrap().clone();
        statuses.sort_by_key(|status| status["id"].as_u64());
        statuses
    }

    pub fn close(&self, number: u64) {
        self.call(Method::PATCH, &format!("pulls/{number}"), Some(json!({"state": "closed"})));
    }

    pub fn merge(&self, number: u64) {
        self.until_taken(&format!("pulls/{number}/merge"), &json!({"Do": "merge"}));
    }

    /// What Drone tells a step of a pull request's build, with the forge at `address`.
    pub fn drone(&self, checkout: &Checkout, number: u64, address: &str) -> Shipway {
        super::shipway::shipway(checkout.path())
            .envs([("CI", "true"), ("DRONE", "true"), ("DRONE_REPO_BRANCH", "main"), ("DRONE_COMMIT_BRANCH", "main")])
            .envs([("DRONE_BUILD_EVENT", "pull_request"), ("DRONE_BUILD_NUMBER", "5"), ("DRONE_SOURCE_BRANCH", "feature")])
            .env("DRONE_BUILD_LINK", format!("https://drone.example.test/{}/5", self.path()))
            .env("DRONE_COMMIT_REF", format!("refs/pull/{number}/head"))
            .env("DRONE_PULL_REQUEST", number.to_string())
            .env("DRONE_REPO", self.path())
            .env("DRONE_REPO_NAME", &self.name)
            .env("DRONE_REPO_LINK", format!("{address}/{}", self.path()))
            .env("DRONE_COMMIT_SHA", checkout.head())
            .env("PLUGIN_APP", "web")
    }
}

/// The address of the lab's Gitea.
pub fn address() -> String {
    format!("http://{}", lab().gitea().address)
}

/// A new token of the lab's user with these scopes.
pub fn token(scopes: &[&str]) -> String {
    let name = unique("token");
    let made = call(Method::POST, &format!("users/{}/tokens", lab().gitea().user), Some(json!({"name": name, "scopes": scopes})));
    made["sha1"].as_str().unwrap().to_string()
}

/// A token that is known no more.
pub fn removed_token() -> String {
    let (name, user) = (unique("removed"), lab().gitea().user);
    let made = call(Method::POST, &format!("users/{user}/tokens"), Some(json!({"name": name, "scopes": ["all"]})));
    call(Method::DELETE, &format!("users/{user}/tokens/{name}"), None);
    made["sha1"].as_str().unwrap().to_string()
}

/// Another user: name and a token with every scope.
pub fn stranger() -> (String, String) {
    let (name, password) = (unique("stranger"), "stranger-password-1");
    let user = json!({"username": name, "email": format!("{name}@example.test"), "password": password, "must_change_password": false});
    call(Method::POST, "admin/users", Some(user));
    let url = format!("http://{}/api/v1/users/{name}/tokens", lab().gitea().address);
    let token = block_on(async {
        let request = Client::new().post(&url).basic_auth(&name, Some(password)).header("content-type", "application/json");
        let answer = request.body(json!({"name": "all", "scopes": ["all"]}).to_string()).send().await.unwrap();
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["sha1"].as_str().unwrap().to_string()
    });
    (name, token)
}
