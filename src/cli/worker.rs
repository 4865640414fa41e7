//! `worker`: builds that are asked for by message.

use super::session::Session;
use crate::{domain::problem::Result, settings::Input, steps};

pub(super) async fn run(input: Input) -> Result<u8> {
    let dir = input.dir.clone();
    let session = Session::start(input, "worker")?;
    session.listen()?;
    steps::work(&session.loaded, &dir, &session.events, &session.cancel).await?;
    Ok(0)
}
