//! What the company knows of its applications: owners, and settings that rank below those of the repository.

use super::{
    Ledger,
    releases::time,
    store::{Cells, Row, statement},
};
use crate::domain::{
    problem::Result,
    record::{KnownApp, Latest, open_state},
};

/// An application's entry.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    pub app: String,
    #[serde(default)]
    pub owners: Vec<String>,
    /// In the shape of `shipway.yaml`.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl Application {
    fn line(&self) -> &str {
        self.settings.get("line").and_then(|line| line.as_str()).unwrap_or_default()
    }

    fn of(row: Row) -> Application {
        let mut cells = Cells::of(row);
        Application {
            app: cells.word(),
            owners: serde_json::from_str(&cells.word()).unwrap_or_default(),
            settings: serde_json::from_str(&cells.word()).unwrap_or_default(),
        }
    }
}

impl Ledger {
    /// The entry of an application; None when nobody made one.
    pub async fn application(&self, app: &str) -> Result<Option<Application>> {
        let sql = "SELECT app, owners, settings FROM applications WHERE app = $1";
        let rows = self.batch(vec![statement(sql, [app.into()])]).await?.pop().unwrap_or_default();
        Ok(rows.into_iter().next().map(Application::of))
    }

    /// All entries, by name.
    pub async fn applications(&self) -> Result<Vec<Application>> {
        let rows = self.batch(vec![statement("SELECT app, owners, settings FROM applications ORDER BY app", [])]).await?;
        Ok(rows.into_iter().flatten().map(Application::of).collect())
    }

    /// Makes or replaces entries: all or none.
    pub async fn set_applications(&self, applications: &[Application], author: &str) -> Result<()> {
        let sql = "INSERT INTO applications (app, line, owners, settings, changed, author) VALUES ($1, $2, $3, $4, {now}, $5) \
                   ON CONFLICT (app) DO UPDATE SET line = excluded.line, owners = excluded.owners, settings = excluded.settings, \
                   changed = excluded.changed, author = excluded.author";
        let one = |application: &Application| {
            let owners = serde_json::Value::from(application.owners.clone()).to_string();
            let settings = serde_json::Value::Object(application.settings.clone()).to_string();
            let texts = [application.app.as_str(), application.line(), &owners, &settings, author];
            statement(sql, texts.map(Into::into))
        };
        // one order for all, or two imports could wait for each other
        let mut sorted: Vec<&Application> = applications.iter().collect();
        sorted.sort_by(|a, b| a.app.cmp(&b.app));
        self.batch(sorted.into_iter().map(one).collect()).await.map(drop)
    }

    /// A document of the company, such as its rules.
    pub async fn document(&self, name: &str) -> Result<Option<String>> {
        let rows = self.batch(vec![statement("SELECT text FROM documents WHERE name = $1", [name.into()])]).await?;
        Ok(rows.into_iter().flatten().next().and_then(|row| Cells::of(row).text()))
    }

    /// Makes or replaces a document.
    pub async fn set_document(&self, name: &str, text: &str, author: &str) -> Result<()> {
        let sql = "INSERT INTO documents (name, text, changed, author) VALUES ($1, $2, {now}, $3) \
                   ON CONFLICT (name) DO UPDATE SET text = excluded.text, changed = excluded.changed, author = excluded.author";
        self.batch(vec![statement(sql, [name, text, author].map(Into::into))]).await.map(drop)
    }

    /// All applications with their latest change, by name; `line` is empty for any.
    pub async fn known(&self, line: &str) -> Result<Vec<KnownApp>> {
        let sql = "SELECT a.app, a.line, a.owners, r.environment, r.action, r.result, r.author, r.began, r.deadline, {now} \
                   FROM applications a LEFT JOIN releases r ON r.id = \
                   (SELECT id FROM releases WHERE app = a.app ORDER BY began DESC, id DESC LIMIT 1) \
                   WHERE ($1 = '' OR a.line = $1) ORDER BY a.app";
        let rows = self.batch(vec![statement(sql, [line.into()])]).await?;
        Ok(rows.into_iter().flatten().map(known).collect())
    }
}

fn known(row: Row) -> KnownApp {
    let mut cells = Cells::of(row);
    let (app, line) = (cells.word(), cells.word());
    let owners = serde_json::from_str(&cells.word()).unwrap_or_default();
    let (environment, action, result, author) = (cells.word(), cells.word(), cells.text(), cells.text());
    let [began, deadline, now] = std::array::from_fn(|_| cells.number());
    let latest = began.map(|began| {
        let open = || open_state(deadline.unwrap_or(0), now.unwrap_or(0)).to_string();
        Latest { environment, action, result: result.unwrap_or_else(open), author, began: time(began) }
    });
    KnownApp { app, line, owners, latest }
}
