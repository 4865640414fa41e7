//! `status`: what runs, on one screen, or as JSON.

use jiff::Timestamp;

use super::{print, session::Session};
use crate::{
    domain::problem::{Code, Problem, Result},
    report,
    settings::Input,
    steps,
};

pub(super) async fn run(input: Input, json: bool) -> Result<u8> {
    let mut session = Session::start(input, "status")?;
    let plan = session.plan(false).await?;
    if !plan.has_cluster() {
        return Err(Problem::new(Code::ClusterMissing, "status needs a cluster, but none is configured"));
    }
    let cluster = steps::connect(&plan).await?;
    let status = cluster.status(&plan.name).await?;
    print::text(&match json {
        true => format!("{:#}\n", serde_json::to_value(&status).map_err(|error| Problem::bug(format!("status: {error}")))?),
        false => report::status(&status, Timestamp::now(), &print::style(&session.loaded)),
    });
    Ok(0)
}
