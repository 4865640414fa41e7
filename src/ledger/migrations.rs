//! The tables, step by step: what stands here once is never changed, only added to. Texts and whole numbers are the only types.

use super::store::{Statement, Value, statement};

/// Each item is a version, from 1.
const VERSIONS: &[&[&str]] = &[
    &[
        "CREATE TABLE applications (app TEXT PRIMARY KEY, line TEXT NOT NULL, owners TEXT NOT NULL, settings TEXT NOT NULL, \
     changed BIGINT NOT NULL, author TEXT NOT NULL)",
        "CREATE TABLE releases (id TEXT PRIMARY KEY, app TEXT NOT NULL, line TEXT NOT NULL, environment TEXT NOT NULL, \
     namespace TEXT NOT NULL, name TEXT NOT NULL, action TEXT NOT NULL, commit_sha TEXT, author TEXT, job_url TEXT, \
     version TEXT NOT NULL, began BIGINT NOT NULL, deadline BIGINT NOT NULL, ended BIGINT, result TEXT, exit_code BIGINT, \
     image TEXT, revision BIGINT, problem TEXT, message TEXT)",
        "CREATE INDEX releases_app ON releases (app, began)",
        "CREATE INDEX releases_began ON releases (began)",
        "CREATE TABLE steps (release TEXT NOT NULL, place BIGINT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, \
     began BIGINT NOT NULL, millis BIGINT NOT NULL, summary TEXT NOT NULL, PRIMARY KEY (release, place))",
        "CREATE TABLE events (id TEXT PRIMARY KEY, at BIGINT NOT NULL, kind TEXT NOT NULL, app TEXT NOT NULL, environment TEXT NOT NULL, \
     author TEXT NOT NULL, detail TEXT NOT NULL)",
        "CREATE INDEX events_at ON events (at)",
        "CREATE TABLE documents (name TEXT PRIMARY KEY, text TEXT NOT NULL, changed BIGINT NOT NULL, author TEXT NOT NULL)",
        "CREATE TABLE builds (key TEXT PRIMARY KEY, holder TEXT NOT NULL, attempt BIGINT NOT NULL, began BIGINT NOT NULL, \
     alive BIGINT NOT NULL, ended BIGINT, result TEXT)",
        "CREATE INDEX builds_ended ON builds (ended)",
    ],
    &[
        "ALTER TABLE builds ADD COLUMN content TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX builds_alive ON builds (alive)",
        "CREATE INDEX releases_ended ON releases (ended)",
    ],
];

/// The version that this binary knows.
pub const LATEST: i64 = VERSIONS.len() as i64;

/// The table that holds the version.
pub const FIRST: &str = "CREATE TABLE IF NOT EXISTS shipway_schema (version BIGINT NOT NULL)";
pub const VERSION: &str = "SELECT MAX(version) FROM shipway_schema";

/// What brings tables of version `from` up to date.
pub fn since(from: i64) -> Vec<Statement> {
    let from = usize::try_from(from).unwrap_or(0);
    let mut statements = Vec::new();
    for (version, changes) in (1i64..).zip(VERSIONS).skip(from) {
        statements.extend(changes.iter().map(|sql| statement(sql, [])));
        statements.push(statement("INSERT INTO shipway_schema (version) VALUES ($1)", [Value::Number(version)]));
    }
    statements
}
