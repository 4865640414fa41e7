//! Builds that were asked for by message: each key is done once, whoever is killed meanwhile.

use std::time::Duration;

use super::{
    Ledger,
    store::{Cells, Row, statement},
};
use crate::domain::problem::{Problem, Result};

/// What a holder is told that asks for a build.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// The build is this holder's; the how-manyth claim it is, from 1.
    New { attempt: i64 },
    /// Another holder has it, for so long at most unless it is kept.
    AlreadyRunning { holder: String, left: Duration },
    /// It is done; its result as [`Ledger::finish`] got it.
    AlreadyDone(serde_json::Value),
    /// The key is that of a build with other content.
    Another,
}

/// What became of a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Finished {
    /// It is recorded, by this call or an earlier one of the same holder.
    Recorded,
    /// The result of another holder was recorded before; this one is thrown away.
    Already(serde_json::Value),
    /// The claim has passed to another holder, which has not finished: the result is thrown away.
    Lost,
}

const SEEN: &str = "SELECT holder, alive - {now}, ended, result, content FROM builds WHERE key = $1";

/// A build as it stands in the ledger.
struct Standing {
    holder: String,
    left: Duration,
    ended: bool,
    result: serde_json::Value,
    content: String,
}

impl Standing {
    fn of(rows: Option<Vec<Row>>) -> Option<Standing> {
        let mut cells = Cells::of(rows?.pop()?);
        Some(Standing {
            holder: cells.word(),
            left: Duration::from_millis(cells.number().and_then(|millis| u64::try_from(millis).ok()).unwrap_or(0)),
            ended: cells.number().is_some(),
            result: serde_json::from_str(&cells.word()).unwrap_or_default(),
            content: cells.word(),
        })
    }

    /// Whether it is the build that is meant; of one that an older version began it is not known.
    fn is_of(&self, content: &str) -> bool {
        self.content.is_empty() || self.content == content
    }
}

impl Ledger {
    /// Claims the build `key` for `holder` (another name at each attempt: host, process and a number), for `ttl` from now by the ledger's
    /// own clock. A claim that is not kept passes to the next who asks. Asking again as the same holder is the same attempt. `content` is
    /// what the key stands for, as a digest: nobody gets the result of something else under a name that he has taken.
    pub async fn begin(&self, key: &str, content: &str, holder: &str, ttl: Duration) -> Result<Begun> {
        let claim = "INSERT INTO builds (key, holder, attempt, began, alive, content) VALUES ($1, $2, 1, {now}, {now} + $3, $4) \
                     ON CONFLICT (key) DO UPDATE SET holder = excluded.holder, alive = excluded.alive, \
                     attempt = CASE WHEN builds.holder = excluded.holder THEN builds.attempt ELSE builds.attempt + 1 END \
                     WHERE builds.ended IS NULL AND builds.content IN ('', excluded.content) AND \
                     (builds.alive < {now} OR builds.holder = excluded.holder) RETURNING attempt";
        let claim = statement(claim, [key.into(), holder.into(), millis(ttl).into(), content.into()]);
        let mut answers = self.batch(vec![claim, statement(SEEN, [key.into()])]).await?;
        let standing = Standing::of(answers.pop());
        if let Some(attempt) = answers.pop().and_then(|mut rows| rows.pop()).and_then(|row| Cells::of(row).number()) {
            return Ok(Begun::New { attempt });
        }
        match standing {
            Some(build) if !build.is_of(content) => Ok(Begun::Another),
            Some(build) if build.ended => Ok(Begun::AlreadyDone(build.result)),
            Some(build) => Ok(Begun::AlreadyRunning { holder: build.holder, left: build.left }),
            None => Err(Problem::bug(format!("the ledger neither took nor had the build {key}"))),
        }
    }

    /// Whether the ledger has heard of this build already.
    pub async fn knows(&self, key: &str) -> Result<bool> {
        let answers = self.batch(vec![statement("SELECT attempt FROM builds WHERE key = $1", [key.into()])]).await?;
        Ok(answers.iter().any(|rows| !rows.is_empty()))
    }

    /// Puts the end of the claim off to `ttl` from now. False when it has passed to another, or is done: the build is to be stopped.
    pub async fn keep(&self, key: &str, holder: &str, ttl: Duration) -> Result<bool> {
        let sql = "UPDATE builds SET alive = {now} + $3 WHERE key = $1 AND holder = $2 AND ended IS NULL RETURNING attempt";
        let answers = self.batch(vec![statement(sql, [key.into(), holder.into(), millis(ttl).into()])]).await?;
        Ok(answers.iter().any(|rows| !rows.is_empty()))
    }

    /// Records the result of a build, exactly once for each key. May be called again after an error: what was recorded stays so.
    pub async fn finish(&self, key: &str, holder: &str, result: &serde_json::Value) -> Result<Finished> {
        let sql = "UPDATE builds SET result = $3, ended = {now} WHERE key = $1 AND holder = $2 AND ended IS NULL";
        let record = statement(sql, [key.into(), holder.into(), result.to_string().as_str().into()]);
        let mut answers = self.batch(vec![record, statement(SEEN, [key.into()])]).await?;
        Ok(match Standing::of(answers.pop()) {
            Some(build) if build.ended && build.holder == holder => Finished::Recorded,
            Some(build) if build.ended => Finished::Already(build.result),
            _ => Finished::Lost,
        })
    }

    /// Gives a claim up without a result, at the end of a worker, say: the next who asks gets it at once, and it does not count.
    pub async fn give_up(&self, key: &str, holder: &str) -> Result<()> {
        let sql =
            "UPDATE builds SET alive = {now} - 1, attempt = attempt - 1, holder = '' WHERE key = $1 AND holder = $2 AND ended IS NULL";
        self.batch(vec![statement(sql, [key.into(), holder.into()])]).await.map(drop)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}
