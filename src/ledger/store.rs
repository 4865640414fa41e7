//! One way to speak to both databases: statements with numbered parameters, texts and whole numbers, each batch one transaction.

use super::{Place, postgres, sqlite};
use crate::domain::problem::{Code, Problem, Result};

/// What a cell holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Text(String),
    Number(i64),
}

/// SQL that both databases understand. `$1` is a parameter, `{now}` the database's own clock in milliseconds since 1970: those who share
/// a ledger need not agree on the time.
#[derive(Debug, Clone)]
pub struct Statement {
    pub sql: &'static str,
    pub values: Vec<Value>,
}

pub type Row = Vec<Value>;

/// Why a batch was not done, and whether to try it again.
#[derive(Debug)]
pub struct Failure {
    pub problem: Problem,
    pub again: bool,
}

/// A connection to a database.
pub enum Link {
    Sqlite(sqlite::Link),
    Postgres(Box<postgres::Link>),
}

impl Link {
    pub async fn open(place: &Place) -> Result<Link, Failure> {
        match place {
            Place::File(path) => sqlite::Link::open(path).await.map(Link::Sqlite),
            Place::Server(server) => postgres::Link::open(server).await.map(Box::new).map(Link::Postgres),
        }
    }

    /// Does all statements or none, and gives the rows of each.
    pub async fn batch(&mut self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, Failure> {
        match self {
            Link::Sqlite(link) => link.batch(statements).await,
            Link::Postgres(link) => link.batch(&statements).await,
        }
    }

    /// Brings the tables up to date, one process at a time.
    pub async fn migrate(&mut self) -> Result<(), Failure> {
        match self {
            Link::Sqlite(link) => link.migrate().await,
            Link::Postgres(link) => link.migrate().await,
        }
    }
}

pub fn statement<const N: usize>(sql: &'static str, values: [Value; N]) -> Statement {
    Statement { sql, values: values.into() }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        // PostgreSQL's texts cannot hold it
        Value::Text(text.replace('\0', ""))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Number(number)
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Value {
        text.as_deref().map_or(Value::Null, Value::from)
    }
}

/// Cells from left to right.
pub struct Cells(std::vec::IntoIter<Value>);

impl Cells {
    pub fn of(row: Row) -> Cells {
        Cells(row.into_iter())
    }

    pub fn text(&mut self) -> Option<String> {
        match self.0.next() {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn word(&mut self) -> String {
        self.text().unwrap_or_default()
    }

    pub fn number(&mut self) -> Option<i64> {
        match self.0.next() {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }
}

/// What a database of a later version is answered.
pub fn newer(found: i64, known: i64) -> Failure {
    let message = format!("the ledger has tables of version {found}, and this Shipway knows those up to {known}");
    let problem = Problem::new(Code::LedgerNewer, message).hint("use the Shipway that wrote it, or a later one; nothing was changed");
    Failure { problem, again: false }
}
