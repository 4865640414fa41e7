//! A ledger in PostgreSQL.

use std::{fmt::Write, time::Duration};

use rustls::RootCertStore;
use tokio_postgres::{
    Client, Config, Error, GenericClient, Row as Answer,
    config::SslMode,
    error::SqlState,
    types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked},
};

use super::{
    migrations,
    store::{Failure, Row, Statement, Value, newer, statement},
    tls::Tls,
};
use crate::domain::problem::{Code, Problem};

/// Milliseconds since 1970, in the midst of a transaction, too.
const NOW: &str = "(extract(epoch from clock_timestamp()) * 1000)::bigint";
/// Any number that nobody else locks: "shipway" in ASCII.
const LOCK: i64 = 0x0073_6869_7077_6179;
const CONNECT: Duration = Duration::from_secs(5);

/// How to reach it.
#[derive(Clone)]
pub struct Server {
    config: Config,
    /// For messages: without user and password.
    pub(super) shown: String,
    roots: RootCertStore,
}

/// A connection; it lives as long as this.
pub struct Link {
    client: Client,
    shown: String,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Server {
    /// From `postgres://user:password@host/database`; sslmode and the like are those of libpq.
    pub fn of(url: &str, roots: RootCertStore) -> Result<Server, Problem> {
        // the error could quote the password
        let invalid = || {
            Problem::new(Code::SettingInvalid, "ledger.url is no address of a PostgreSQL database")
                .hint("write it like postgres://USER:PASSWORD@HOST:5432/DATABASE, with special characters percent-encoded")
        };
        let mut config: Config = url.parse().map_err(|_| invalid())?;
        config.connect_timeout(CONNECT).application_name("shipway");
        if !url.contains("sslmode=") {
            // the crate's own default goes on in clear text where the server asks for it
            config.ssl_mode(SslMode::Require);
        }
        let mut shown = String::from("postgres://");
        for (number, host) in config.get_hosts().iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let _ = match host {
                tokio_postgres::config::Host::Tcp(host) => write!(shown, "{comma}{host}"),
                tokio_postgres::config::Host::Unix(path) => write!(shown, "{comma}{}", path.display()),
            };
        }
        let _ = write!(shown, "/{}", config.get_dbname().unwrap_or_default());
        Ok(Server { config, shown, roots })
    }
}

impl Link {
    pub async fn open(server: &Server) -> Result<Link, Failure> {
        let connected = server.config.connect(Tls::new(&server.roots)).await;
        let (client, connection) = connected.map_err(|error| failure(&error, &server.shown))?;
        // its error is that of the statement that is cut by it
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Link { client, shown: server.shown.clone(), driver })
    }

    pub async fn batch(&mut self, statements: &[Statement]) -> Result<Vec<Vec<Row>>, Failure> {
        let shown = &self.shown;
        let work = async {
            let transaction = self.client.transaction().await?;
            let rows = all(&transaction, statements).await?;
            transaction.commit().await?;
            Ok(rows)
        };
        work.await.map_err(|error| failure(&error, shown))
    }

    pub async fn migrate(&mut self) -> Result<(), Failure> {
        let shown = &self.shown;
        let work = async {
            let there = self.client.query_one("SELECT to_regclass('shipway_schema') IS NOT NULL", &[]).await?.get::<_, bool>(0);
            // who may write rows, but make no tables, can use a ledger that is up to date
            if there && version(&self.client).await? == migrations::LATEST {
                return Ok(Ok(()));
            }
            let transaction = self.client.transaction().await?;
            // until the transaction ends, also by the death of this process
            all(&transaction, &[statement("SELECT 1 FROM pg_advisory_xact_lock($1)", [LOCK.into()])]).await?;
            transaction.batch_execute(migrations::FIRST).await?;
            let found = version(&transaction).await?;
            if found > migrations::LATEST {
                return Ok(Err(newer(found, migrations::LATEST)));
            }
            all(&transaction, &migrations::since(found)).await?;
            transaction.commit().await?;
            Ok(Ok(()))
        };
        work.await.map_err(|error: Error| failure(&error, shown))?
    }
}

async fn version(client: &impl GenericClient) -> Result<i64, Error> {
    Ok(client.query_one(migrations::VERSION, &[]).await?.get::<_, Option<i64>>(0).unwrap_or(0))
}

async fn all(client: &impl GenericClient, statements: &[Statement]) -> Result<Vec<Vec<Row>>, Error> {
    let mut found = Vec::new();
    for statement in statements {
        let values: Vec<&(dyn ToSql + Sync)> = statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let rows = client.query(&statement.sql.replace("{now}", NOW), &values).await?;
        found.push(rows.iter().map(cells).collect::<Result<Vec<Row>, Error>>()?);
    }
    Ok(found)
}

fn cells(row: &Answer) -> Result<Row, Error> {
    let cell = |column: usize| {
        Ok(match *row.columns()[column].type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map_or(Value::Null, Value::Number),
            Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map_or(Value::Null, |number| Value::Number(number.into())),
            Type::TEXT => row.try_get::<_, Option<String>>(column)?.map_or(Value::Null, Value::Text),
            // the answer of a function that says nothing
            _ => Value::Null,
        })
    };
    (0..row.len()).map(cell).collect()
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Text(text) => text.to_sql(kind, out),
            Value::Number(number) => number.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::TEXT | Type::INT8)
    }

    to_sql_checked!();
}

/// Which errors pass: a server that starts, stops or is full, a connection that was cut, a deadlock.
fn failure(error: &Error, shown: &str) -> Failure {
    let state = error.code().map(SqlState::code);
    let words = error.as_db_error().map_or_else(|| deepest(error), |error| error.message().to_string());
    let (code, again, hint) = match state {
        None if words.contains("certificate") => {
            (Code::LedgerDenied, false, "set ledger.ca to a PEM file of the CA that signed it, or sslmode=disable in ledger.url")
        }
        None if words.contains("does not support TLS") => {
            (Code::LedgerDenied, false, "let the server speak TLS, or set sslmode=disable in ledger.url where the network may be trusted")
        }
        None => (Code::LedgerUnreachable, true, Code::LedgerUnreachable.fix()),
        Some(state) if state.starts_with("28") || state == "3D000" => {
            (Code::LedgerDenied, false, "correct user, password and database of ledger.url")
        }
        Some("42501") => (Code::LedgerDenied, false, "grant the user of ledger.url the right to the tables (and to make them, once)"),
        Some(state) if state.starts_with("57P") || state.starts_with("53") || state.starts_with("08") => {
            (Code::LedgerUnreachable, true, Code::LedgerUnreachable.fix())
        }
        Some(state) if state.starts_with("40") => (Code::LedgerFailed, true, Code::LedgerFailed.fix()),
        Some(_) => (Code::LedgerFailed, false, Code::LedgerFailed.fix()),
    };
    Failure { problem: Problem::new(code, format!("the ledger {shown} cannot be used: {words}")).hint(hint), again }
}

/// The crate's own sentence says only what it was doing.
fn deepest(error: &Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
