//! Changes of what runs, with their steps; and events.

use jiff::Timestamp;

use super::{
    Ledger,
    store::{Cells, Row, Statement, Value, statement},
};
use crate::domain::{
    problem::Result,
    record::{Change, End, Filter, Record, open_state},
};

/// Something that was decided or set: kind is a slug such as `rules` or `app-set`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// No two events have the same.
    pub id: String,
    pub kind: String,
    pub app: String,
    pub environment: String,
    /// Who did it or asked for it.
    pub author: String,
    pub detail: serde_json::Value,
}

const COLUMNS: &str = "SELECT id, app, line, environment, namespace, name, action, result, problem, message, image, revision, commit_sha, \
                       author, job_url, began, ended, deadline, {now} FROM releases WHERE ($1 = '' OR app = $1) AND \
                       ($2 = '' OR line = $2) AND ($3 = '' OR environment = $3) AND \
                       ($4 = '' OR (ended IS NOT NULL AND result = $4) OR (ended IS NULL AND $4 = 'running' AND deadline >= {now}) OR \
                       (ended IS NULL AND $4 = 'unknown' AND deadline < {now})) AND \
                       began >= $5 ORDER BY began DESC, id DESC LIMIT $6";

impl Ledger {
    /// Writes a change as it is known now: its intent, or its intent with its result. What has a result keeps it.
    pub async fn record(&self, record: &Record) -> Result<()> {
        let mut statements = vec![known(record), intent(record)];
        if let Some(end) = &record.end {
            statements.push(result(&record.id, end));
            statements.extend(end.steps.iter().zip(0i64..).map(|(step, place)| {
                let sql = "INSERT INTO steps (release, place, name, state, began, millis, summary) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                           ON CONFLICT (release, place) DO NOTHING";
                let (name, state, summary) = (step.name.as_str().into(), step.state.as_str().into(), step.summary.as_str().into());
                let millis = (step.seconds * 1000.0).round() as i64;
                statement(sql, [record.id.as_str().into(), place.into(), name, state, step.began.into(), millis.into(), summary])
            }));
        }
        self.batch(statements).await.map(drop)
    }

    /// The changes that a filter lets through, the latest first.
    pub async fn changes(&self, filter: &Filter) -> Result<Vec<Change>> {
        let values = [
            filter.app.as_str().into(),
            filter.line.as_str().into(),
            filter.environment.as_str().into(),
            filter.result.as_str().into(),
            filter.since.into(),
            i64::from(filter.limit).into(),
        ];
        let rows = self.batch(vec![statement(COLUMNS, values)]).await?.pop().unwrap_or_default();
        Ok(rows.into_iter().map(change).collect())
    }

    /// Writes one event; writing it again changes nothing.
    pub async fn event(&self, event: &Event) -> Result<()> {
        let sql = "INSERT INTO events (id, at, kind, app, environment, author, detail) VALUES ($1, {now}, $2, $3, $4, $5, $6) \
                   ON CONFLICT (id) DO NOTHING";
        let texts = [&event.id, &event.kind, &event.app, &event.environment, &event.author, &event.detail.to_string()];
        self.batch(vec![statement(sql, texts.map(|text| text.as_str().into()))]).await.map(drop)
    }

    /// Forgets what ended more than so many days ago; applications and changes that are still open stay; a build that nobody has
    /// taken up for as long goes.
    pub async fn prune(&self, days: u32) -> Result<()> {
        let age = || Value::Number(i64::from(days) * 86_400_000);
        let steps = "DELETE FROM steps WHERE release IN (SELECT id FROM releases WHERE ended < {now} - $1)";
        let rest = [
            "DELETE FROM releases WHERE ended < {now} - $1",
            "DELETE FROM events WHERE at < {now} - $1",
            "DELETE FROM builds WHERE ended < {now} - $1",
            // nobody has asked for it since, and whoever does is too late
            "DELETE FROM builds WHERE ended IS NULL AND alive < {now} - $1",
        ];
        let statements = std::iter::once(steps).chain(rest).map(|sql| statement(sql, [age()])).collect();
        self.batch(statements).await.map(drop)
    }
}

/// An application that was never set by hand is known from its first change on.
fn known(record: &Record) -> Statement {
    let sql = "INSERT INTO applications (app, line, owners, settings, changed, author) VALUES ($1, $2, '[]', '{}', {now}, '') \
               ON CONFLICT (app) DO NOTHING";
    statement(sql, [record.app.as_str().into(), record.line.as_str().into()])
}

fn intent(record: &Record) -> Statement {
    let sql = "INSERT INTO releases (id, app, line, environment, namespace, name, action, commit_sha, author, job_url, version, began, \
               deadline) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id) DO NOTHING";
    let texts = [&record.id, &record.app, &record.line, &record.environment, &record.namespace, &record.name, &record.action];
    let mut values: Vec<Value> = texts.iter().map(|text| text.as_str().into()).collect();
    values.extend([&record.commit, &record.author, &record.job_url].map(Value::from));
    values.extend([record.version.as_str().into(), record.began.into(), record.deadline.into()]);
    Statement { sql, values }
}

fn result(id: &str, end: &End) -> Statement {
    let sql = "UPDATE releases SET ended = $2, result = $3, exit_code = $4, image = $5, revision = $6, problem = $7, message = $8 \
               WHERE id = $1 AND ended IS NULL";
    let revision = end.revision.and_then(|revision| i64::try_from(revision).ok()).map_or(Value::Null, Value::Number);
    let image = Value::from(&end.image);
    let values = [id.into(), end.at.into(), end.result.as_str().into(), i64::from(end.exit_code).into(), image, revision];
    Statement { sql, values: values.into_iter().chain([&end.problem, &end.message].map(Value::from)).collect() }
}

fn change(row: Row) -> Change {
    let mut cells = Cells::of(row);
    let mut change = Change {
        id: cells.word(),
        app: cells.word(),
        line: cells.word(),
        environment: cells.word(),
        namespace: cells.word(),
        name: cells.word(),
        action: cells.word(),
        result: cells.word(),
        problem: cells.text(),
        message: cells.text(),
        image: cells.text(),
        revision: cells.number().and_then(|number| u64::try_from(number).ok()),
        commit: cells.text(),
        author: cells.text(),
        job_url: cells.text(),
        began: String::new(),
        seconds: None,
    };
    let [began, ended, deadline, now] = std::array::from_fn(|_| cells.number());
    change.began = time(began.unwrap_or(0));
    change.seconds = began.zip(ended).map(|(began, ended)| (ended - began) as f64 / 1000.0);
    if ended.is_none() {
        change.result = open_state(deadline.unwrap_or(0), now.unwrap_or(0)).to_string();
    }
    change
}

/// RFC 3339, to the millisecond.
pub(super) fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| time.to_string())
}
