//! A ledger in a file. SQLite's own locks keep processes apart; each batch that writes takes the right to do so first, so that none has to give
//! way in its middle.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params_from_iter, types::ValueRef};

use super::{
    migrations,
    store::{Failure, Row, Statement, Value, newer},
};
use crate::domain::problem::{Code, Problem};

/// How long a batch waits for others that write.
const BUSY: Duration = Duration::from_secs(60);
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// An open file.
pub struct Link {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
}

impl Link {
    pub async fn open(path: &Path) -> Result<Link, Failure> {
        let (path, opened) = (path.to_path_buf(), path.to_path_buf());
        let connection = blocking(move || {
            let connection = Connection::open(&opened)?;
            connection.busy_timeout(BUSY)?;
            Ok(Ok(connection))
        });
        let connection = connection.await.map_err(|error| error.with(&path))?;
        Ok(Link { connection: Arc::new(Mutex::new(connection)), path })
    }

    pub async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, Failure> {
        let reads = statements.iter().all(|statement| statement.sql.trim_start().starts_with("SELECT"));
        let behavior = if reads { TransactionBehavior::Deferred } else { TransactionBehavior::Immediate };
        self.transaction(behavior, move |transaction| Ok(Ok(all(transaction, &statements)?))).await
    }

    pub async fn migrate(&self) -> Result<(), Failure> {
        // two hundred who open it must not wait for each other to find that nothing is to be done
        if self.transaction(TransactionBehavior::Deferred, |transaction| Ok(Ok(is_latest(transaction)?))).await? {
            return Ok(());
        }
        let work = |transaction: &Transaction| {
            transaction.execute_batch(migrations::FIRST)?;
            let found: Option<i64> = transaction.query_row(migrations::VERSION, [], |row| row.get(0))?;
            let found = found.unwrap_or(0);
            if found > migrations::LATEST {
                return Ok(Err(newer(found, migrations::LATEST)));
            }
            all(transaction, &migrations::since(found))?;
            Ok(Ok(()))
        };
        self.transaction(TransactionBehavior::Immediate, work).await
    }

    async fn transaction<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let connection = self.connection.clone();
        let done = blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(behavior)?;
            let done = work(&transaction)?;
            if done.is_ok() {
                transaction.commit()?;
            }
            Ok(done)
        });
        done.await.map_err(|error| error.with(&self.path))
    }
}

fn is_latest(transaction: &Transaction) -> rusqlite::Result<bool> {
    let table = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'shipway_schema'";
    let there: i64 = transaction.query_row(table, [], |row| row.get(0))?;
    if there == 0 {
        return Ok(false);
    }
    let found: Option<i64> = transaction.query_row(migrations::VERSION, [], |row| row.get(0))?;
    Ok(found == Some(migrations::LATEST))
}

/// What went wrong: of SQLite, or told already.
enum Wrong {
    Sqlite(rusqlite::Error),
    Told(Failure),
}

impl Wrong {
    fn with(self, path: &Path) -> Failure {
        match self {
            Wrong::Sqlite(error) => failure(&error, path),
            Wrong::Told(failure) => failure,
        }
    }
}

/// Files are waited for on a thread of their own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> rusqlite::Result<Result<T, Failure>> + Send + 'static) -> Result<T, Wrong> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Wrong::Sqlite)?.map_err(Wrong::Told),
        Err(error) => Err(Wrong::Told(Failure { problem: Problem::bug(format!("the ledger's thread ended: {error}")), again: false })),
    }
}

fn all(transaction: &Transaction, statements: &[Statement]) -> rusqlite::Result<Vec<Vec<Row>>> {
    statements.iter().map(|statement| one(transaction, statement)).collect()
}

fn one(transaction: &Transaction, statement: &Statement) -> rusqlite::Result<Vec<Row>> {
    // numbered parameters are spelled ?1 here
    let mut prepared = transaction.prepare(&statement.sql.replace("{now}", NOW).replace('$', "?"))?;
    let columns = prepared.column_count();
    let values = statement.values.iter().map(|value| match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Text(text) => rusqlite::types::Value::Text(text.clone()),
        Value::Number(number) => rusqlite::types::Value::Integer(*number),
    });
    let mut rows = prepared.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Integer(number) => Value::Number(number),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                _ => Value::Null,
            })
        });
        found.push(cells.collect::<rusqlite::Result<Row>>()?);
    }
    Ok(found)
}

fn failure(error: &rusqlite::Error, path: &Path) -> Failure {
    let path = path.display();
    let (code, hint) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (Code::DiskFull, Code::DiskFull.fix()),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            (Code::LedgerDenied, "make the folder and the file writable, or correct ledger.url")
        }
        Some(ErrorCode::NotADatabase) => (Code::LedgerDenied, "the file is no SQLite database: correct ledger.url"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (Code::LedgerUnreachable, "another process holds the file; retry the job")
        }
        _ => (Code::LedgerFailed, Code::LedgerFailed.fix()),
    };
    Failure { problem: Problem::new(code, format!("the ledger {path} cannot be used: {error}")).hint(hint), again: false }
}
