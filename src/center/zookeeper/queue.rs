//! The queue for a claim: an ephemeral sequential node for everybody who stands in it, so that it is fair, and that a node goes with its session.
//! Whoever wants it alone waits for the node right before its own; who shares it, for the last one before its own that wants it alone.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{CreateMode, Error};

use super::{PAUSE, Session, is_unsure};
use crate::{
    center::Wanted,
    domain::{
        event::{Event, Events},
        problem::{Code, Problem, Result},
        units::format_duration,
    },
};

/// How often it is said for whom we wait.
const REMIND: Duration = Duration::from_secs(20);
/// As good as never.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How nodes begin that want the claim alone, and those that share it.
const ALONE: &str = "alone";
const SHARED: &str = "shared";

/// A place in the queue.
pub(super) struct Queue<'a> {
    pub session: &'a Session,
    pub wanted: &'a Wanted,
    pub events: &'a Events,
    /// The folder of the claim's nodes.
    folder: String,
    /// Marks our node in the folder: whether one was made whose answer was lost shows there.
    mark: String,
}

/// One node of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    name: String,
    shared: bool,
    sequence: i64,
}

impl Node {
    /// `alone-MARK-0000000001`. None: nobody who stands in a queue made it.
    fn parse(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once('-')?;
        let (_, sequence) = rest.split_once('-')?;
        (kind == ALONE || kind == SHARED).then_some(())?;
        Some(Node { name: name.to_string(), shared: kind == SHARED, sequence: sequence.parse().ok()? })
    }
}

/// Who has to go before this one may have the claim.
fn before<'a>(nodes: &'a [Node], ours: &Node) -> Option<&'a Node> {
    nodes.iter().filter(|node| node.sequence < ours.sequence && !(ours.shared && node.shared)).max_by_key(|node| node.sequence)
}

impl<'a> Queue<'a> {
    pub fn new(session: &'a Session, wanted: &'a Wanted, events: &'a Events) -> Self {
        let folder = session.path(&format!("{}/{}", wanted.claim.kind().word(), wanted.claim.path()));
        Queue { session, wanted, events, folder, mark: format!("{:016x}", RandomState::new().build_hasher().finish()) }
    }

    /// Stands in the queue until it is our turn; gives the path of our node. When it ends otherwise, the session is to be dropped with the node.
    pub async fn turn(&self, cancel: &CancellationToken) -> Result<String> {
        let since = Instant::now();
        let deadline = since + self.wanted.wait.unwrap_or(FAR);
        let mut remind = since;
        self.stand().await?;
        loop {
            let (nodes, ours) = self.look().await?;
            let path = format!("{}/{}", self.folder, ours.name);
            let Some(other) = before(&nodes, &ours) else { return Ok(path) };
            let other = format!("{}/{}", self.folder, other.name);
            let watch = self.session.again("look at the queue", || self.session.client.check_and_watch_stat(&other)).await?;
            let (Some(_), mut watch) = watch.map_err(|error| self.session.address.problem("look at the queue", &error))? else { continue };
            loop {
                if Instant::now() >= remind {
                    let what = format!("{}, held by {}", self.wanted.claim.words(), self.first(&nodes).await);
                    self.events.emit(Event::Waiting { what, seconds: since.elapsed().as_secs() });
                    remind = Instant::now() + REMIND;
                }
                let changed = watch.changed();
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Err(self.leave(&path, cancelled()).await),
                    _ = changed => break,
                    () = sleep_until(deadline) => {
                        let held = self.held(&self.first(&nodes).await);
                        return Err(self.leave(&path, held).await);
                    }
                    () = sleep_until(remind) => {}
                }
                // the watch was given up with the wait; whoever went meanwhile is seen by the next look
                let again = self.session.again("look at the queue", || self.session.client.check_and_watch_stat(&other)).await?;
                match again.map_err(|error| self.session.address.problem("look at the queue", &error))? {
                    (Some(_), fresh) => watch = fresh,
                    (None, _) => break,
                }
            }
        }
    }

    /// Makes our node. When the answer is lost, a look into the folder tells whether it is there.
    async fn stand(&self) -> Result<()> {
        let (client, limit) = (&self.session.client, Instant::now() + super::PATIENCE);
        let prefix = format!("{}/{}-{}-", self.folder, if self.wanted.shared { SHARED } else { ALONE }, self.mark);
        let options = self.session.options(CreateMode::EphemeralSequential);
        loop {
            let made = match timeout(super::PATIENCE, client.create(&prefix, self.wanted.holder.as_bytes(), &options)).await {
                Ok(made) => made.map(|_| ()),
                Err(_) => Err(Error::Timeout),
            };
            match made {
                Ok(()) => return Ok(()),
                Err(Error::NoNode) => self.session.folder(&self.folder).await?,
                Err(error) if is_unsure(&error) && Instant::now() < limit => {
                    sleep_until(Instant::now() + PAUSE).await;
                    if self.nodes().await?.iter().any(|node| self.is_ours(node)) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(self.session.address.problem("stand in the queue", &error)),
            }
        }
    }

    fn is_ours(&self, node: &Node) -> bool {
        node.name.split('-').nth(1) == Some(self.mark.as_str())
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        let names = self.session.again("list the queue", || self.session.client.list_children(&self.folder)).await?;
        match names {
            Ok(names) => Ok(names.iter().filter_map(|name| Node::parse(name)).collect()),
            Err(Error::NoNode) => Ok(Vec::new()),
            Err(error) => Err(self.session.address.problem("list the queue", &error)),
        }
    }

    /// All nodes, and ours: the first of them, since a request that was given up may have made one, too. That one is taken away.
    async fn look(&self) -> Result<(Vec<Node>, Node)> {
        let mut nodes = self.nodes().await?;
        let mut ours: Vec<Node> = nodes.iter().filter(|node| self.is_ours(node)).cloned().collect();
        ours.sort_unstable_by_key(|node| node.sequence);
        let mut ours = ours.into_iter();
        let Some(first) = ours.next() else {
            return Err(self.session.address.unreachable("our place in the queue went with our session"));
        };
        for more in ours {
            let path = format!("{}/{}", self.folder, more.name);
            let _ = self.session.again("leave the queue", || self.session.client.delete(&path, None)).await?;
        }
        nodes.retain(|node| !self.is_ours(node));
        Ok((nodes, first))
    }

    /// Who holds it: whoever stands first.
    async fn first(&self, nodes: &[Node]) -> String {
        let Some(first) = nodes.iter().min_by_key(|node| node.sequence) else { return "nobody".to_string() };
        let path = format!("{}/{}", self.folder, first.name);
        match timeout(PAUSE * 5, self.session.client.get_data(&path)).await {
            Ok(Ok((holder, _))) => String::from_utf8_lossy(&holder).chars().filter(|c| !c.is_control()).take(200).collect(),
            _ => "somebody".to_string(),
        }
    }

    fn held(&self, holder: &str) -> Problem {
        let waited = self.wanted.wait.map(format_duration).unwrap_or_default();
        let words = self.wanted.claim.words();
        Problem::new(Code::LockHeld, format!("{words} is held by {holder} (waited {waited} for {} in ZooKeeper)", self.folder))
    }

    /// Whoever waits for us need not wait for the end of our session.
    async fn leave(&self, path: &str, problem: Problem) -> Problem {
        let _ = timeout(PAUSE * 5, self.session.client.delete(path, None)).await;
        problem
    }
}

fn cancelled() -> Problem {
    Problem::new(Code::Cancelled, "cancelled while waiting for the lock; nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node::parse(name).unwrap()
    }

    #[test]
    fn who_shares_waits_for_those_alone_and_who_wants_it_alone_for_everybody() {
        let queue: Vec<Node> =
            ["alone-a-0000000007", "shared-b-0000000008", "shared-c-0000000009", "alone-d-0000000010", "shared-e-0000000011"]
                .iter()
                .map(|name| node(name))
                .collect();
        let waits = |at: usize| before(&queue, &queue[at]).map(|node| node.name.as_str());
        assert_eq!(waits(0), None);
        assert_eq!(waits(1), Some("alone-a-0000000007"));
        assert_eq!(waits(2), Some("alone-a-0000000007"));
        assert_eq!(waits(3), Some("shared-c-0000000009"));
        assert_eq!(waits(4), Some("alone-d-0000000010"), "a reader does not overtake a writer");
        let readers: Vec<Node> = queue[1..3].to_vec();
        assert_eq!(before(&readers, &readers[1]), None);
    }

    #[test]
    fn foreign_nodes_are_nobody() {
        for name in ["", "alone", "alone-a", "alone-a-x", "other-a-0000000001", "lock-0000000001"] {
            assert_eq!(Node::parse(name), None, "{name}");
        }
    }
}
