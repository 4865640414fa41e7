//! A child that runs in our place: it has our input, our output and our process group, and is ended with all its descendants.

use std::{process::Stdio, time::Duration};

use rustix::process::Signal;
use tokio::process::Child;

use super::{
    Command, exit_code, find_program, start_problem, tell,
    tree::{self, Marker, Tree},
};
use crate::domain::problem::{Code, Problem, Result};

/// How long beyond its grace a child is waited for.
const STUCK: Duration = Duration::from_secs(5);

/// The running child. Dropping it ends its whole tree.
pub struct Attached {
    child: Child,
    tree: Tree,
}

impl Attached {
    /// Starts it (`Command::log` and `Command::timeout` have no effect); its descendants can be found by the marker.
    pub fn start(command: &Command, marker: &Marker) -> Result<Self> {
        let program = find_program(&command.program, &command.dir, &command.env)?;
        let mut builder = tokio::process::Command::new(&program);
        builder.args(&command.args).current_dir(&command.dir).env_clear();
        builder.envs(command.env.iter().map(|(name, value)| (name, value))).env(tree::MARKER, marker.value());
        builder.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let child = builder.spawn().map_err(|error| start_problem(&program, &error))?;
        let tree = Tree::new(child.id(), marker.clone());
        Ok(Attached { child, tree })
    }

    /// Its exit code, 128 + signal when a signal ended it; what it left behind may still run.
    pub async fn wait(&mut self) -> Result<i32> {
        let status = self.child.wait().await;
        status.map(exit_code).map_err(|error| Problem::new(Code::IoFailed, format!("cannot wait for the command: {error}")))
    }

    /// Passes a signal on; one that has ended already takes no harm.
    pub fn signal(&self, signal: Signal) {
        tell(&self.child, signal);
    }

    /// Ends it with all its descendants: SIGTERM, then SIGKILL after `grace`. They are gone when this comes back.
    pub async fn end(self, grace: Duration) {
        let Attached { mut child, tree } = self;
        // its status is fetched meanwhile, or it would stay as a zombie; one that is stuck in the kernel is not waited for
        let gone = tokio::time::timeout(grace + STUCK, child.wait());
        let (tree, _) = futures::future::join(super::end(tree.grace(grace)), gone).await;
        drop(tree);
    }
}

/// Ends what another process started with this marker, and all that descends from it.
pub async fn end_marked(marker: Marker, grace: Duration) {
    super::end(Tree::marked(marker).grace(grace)).await;
}
