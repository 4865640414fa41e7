//! Pushed configurations in ZooKeeper: a node with the list of versions, below it a node for each content, and below that one for each file. A
//! push is one transaction, which changes the list only when it is still the one that was read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zookeeper_client::{CreateMode, Error, MultiReadResult};

use super::{SHORT, Session, Zookeeper};
use crate::domain::{
    config::{Config, ConfigReference},
    problem::{Code, Problem, Result},
    pushed::{Change, Place, Pushing, Version, Versions, Wanted},
    units::format_bytes,
};

/// What a server takes in one request (`jute.maxbuffer`), less what its frame needs.
const LIMIT: usize = 0xf_ffff - 1024;
/// What one operation of a transaction takes beside its path and its data.
const OPERATION: usize = 100;
/// How often a reader begins anew that finds what it was going to read taken away.
const ATTEMPTS: usize = 3;

/// What is in the node of a content.
#[derive(Serialize, Deserialize)]
struct Index {
    secret: bool,
    /// Node of each file, and its path.
    files: BTreeMap<String, String>,
}

/// The list as it was read; without a version of its node there is none yet.
struct Head {
    versions: Versions,
    node: Option<i32>,
}

/// One node that a transaction makes.
struct Fresh {
    path: String,
    data: Vec<u8>,
}

impl Zookeeper {
    /// The versions that are kept; none when nothing was pushed.
    pub(in crate::center) async fn versions(&self, place: &Place) -> Result<Versions> {
        Ok(self.session(SHORT).await?.head(place).await?.versions)
    }

    /// The files of a version. Fails with `config-missing` or `revision-unknown`.
    pub(in crate::center) async fn pull(&self, place: &Place, wanted: &Wanted) -> Result<(Version, Config)> {
        let session = self.session(SHORT).await?;
        let mut attempts = ATTEMPTS;
        loop {
            let version = session.head(place).await?.versions.find(place, wanted)?.clone();
            if let Some(config) = session.read(place, &version.config).await? {
                return Ok((version, config));
            }
            attempts -= 1;
            if attempts == 0 {
                return Err(missing(place, &version.config, "is gone"));
            }
        }
    }

    /// Makes these files the current version. Fails with `lock-held` when another changed the versions meanwhile.
    pub(in crate::center) async fn push(&self, pushing: &Pushing, config: &Config) -> Result<(Version, bool)> {
        if config.secret && !self.is_private() {
            return Err(Problem::new(Code::SettingInvalid, "kubernetes.config.secret: everybody could read these files in this ZooKeeper")
                .hint("name a user in center.url: zookeeper://USER:PASSWORD@HOST:PORT"));
        }
        let session = self.session(SHORT).await?;
        let head = session.head(&pushing.place).await?;
        let reference = config.reference(&pushing.place.owner());
        let change = head.versions.push(pushing, reference, config.paths().count(), None);
        match change {
            Change::None(current) => Ok((current, false)),
            Change::Next { versions, version, gone } => {
                session.write(&pushing.place, &head, &versions, &version, Some(config), &gone).await?;
                Ok((version, true))
            }
        }
    }

    /// Makes an earlier version the current one, as a new version; the last one with other files without a number.
    pub(in crate::center) async fn rollback(&self, pushing: &Pushing, to: Option<u64>) -> Result<Version> {
        let (session, place) = (self.session(SHORT).await?, &pushing.place);
        let head = session.head(place).await?;
        let target = head.versions.target(place, to)?.clone();
        // its files must be there before it counts
        if session.read(place, &target.config).await?.is_none() {
            return Err(missing(place, &target.config, "is gone"));
        }
        match head.versions.push(pushing, target.config.clone(), target.files, Some(target.version)) {
            Change::None(current) => Ok(current),
            Change::Next { versions, version, gone } => {
                session.write(place, &head, &versions, &version, None, &gone).await?;
                Ok(version)
            }
        }
    }
}

impl Session {
    pub(super) fn head_path(&self, place: &Place) -> String {
        self.path(&format!("config/{}", place.path()))
    }

    fn content_path(&self, place: &Place, reference: &ConfigReference) -> String {
        format!("{}/{}", self.head_path(place), reference.name)
    }

    /// The list, as new as the leading server has it.
    async fn head(&self, place: &Place) -> Result<Head> {
        let path = self.head_path(place);
        self.surely("catch up with the other servers", || self.client.sync("/")).await?;
        let what = format!("read {path}");
        match self.again(&what, || self.client.get_data(&path)).await? {
            Ok((data, stat)) => {
                let versions = serde_json::from_slice(&data).map_err(|error| {
                    Problem::new(Code::NotOurs, format!("ZooKeeper's node {path} is no list of pushed configurations: {error}"))
                        .hint("delete it when nobody needs it, or choose another path in center.url")
                })?;
                Ok(Head { versions, node: Some(stat.version) })
            }
            Err(Error::NoNode) => Ok(Head { versions: Versions::default(), node: None }),
            Err(error) => Err(self.address.problem(&what, &error)),
        }
    }

    /// None: it was taken away.
    async fn read(&self, place: &Place, reference: &ConfigReference) -> Result<Option<Config>> {
        let path = self.content_path(place, reference);
        let what = format!("read {path}");
        let index: Index = match self.again(&what, || self.client.get_data(&path)).await? {
            Ok((data, _)) => serde_json::from_slice(&data).map_err(|_| missing(place, reference, "cannot be read"))?,
            Err(Error::NoNode) => return Ok(None),
            Err(error) => return Err(self.address.problem(&what, &error)),
        };
        let nodes: Vec<String> = index.files.keys().map(|node| format!("{path}/{node}")).collect();
        let answers = self
            .surely(&what, || {
                let mut reader = self.client.new_multi_reader();
                let added = nodes.iter().try_for_each(|node| reader.add_get_data(node));
                async move { added.map(|()| reader.commit())?.await }
            })
            .await?;
        let mut files = BTreeMap::new();
        for (answer, path) in answers.into_iter().zip(index.files.into_values()) {
            match answer {
                MultiReadResult::Data { data, .. } => drop(files.insert(path, data)),
                _ => return Ok(None),
            }
        }
        let config = Config::new(&path, "", index.secret, files)?;
        // never hand out files that are not those of the version
        if config.reference(&place.owner()) == *reference {
            Ok(Some(config))
        } else {
            Err(missing(place, reference, "holds other files than were pushed"))
        }
    }

    /// The transaction. Whether it was done when its answer is lost tells the list; done once, it fails when it comes again.
    async fn write(
        &self,
        place: &Place,
        before: &Head,
        versions: &Versions,
        version: &Version,
        config: Option<&Config>,
        gone: &[ConfigReference],
    ) -> Result<()> {
        let path = self.head_path(place);
        let list = serde_json::to_vec(versions).map_err(|error| Problem::bug(format!("a list of versions cannot be written: {error}")))?;
        let fresh = match config {
            Some(config) if before.versions.versions.iter().all(|old| old.config != version.config) => {
                self.fresh(&self.content_path(place, &version.config), config)?
            }
            _ => Vec::new(),
        };
        check_size(list.len() + fresh.iter().map(|node| node.path.len() + node.data.len() + OPERATION).sum::<usize>())?;
        if before.node.is_none() {
            self.folder(path.rsplit_once('/').map_or("/", |(parent, _)| parent)).await?;
        }
        let gone = self.with_files(place, gone).await?;
        let options = self.options(CreateMode::Persistent);
        let what = format!("write {path}");
        let answer = self
            .again(&what, || {
                let mut writer = self.client.new_multi_writer();
                let added = match before.node {
                    Some(node) => writer.add_set_data(&path, &list, Some(node)),
                    None => writer.add_create(&path, &list, &options),
                };
                let added = added.and_then(|()| fresh.iter().try_for_each(|node| writer.add_create(&node.path, &node.data, &options)));
                let added = added.and_then(|()| gone.iter().try_for_each(|node| writer.add_delete(node, None)));
                async move { added.map(|()| writer.commit())?.await.map_err(Error::from) }
            })
            .await?;
        match answer {
            Ok(_) => Ok(()),
            Err(Error::BadVersion | Error::NodeExists) => {
                let now = self.head(place).await?.versions;
                if now.versions.contains(version) { Ok(()) } else { Err(place.changed_meanwhile(now.current())) }
            }
            Err(error) => Err(self.address.problem(&what, &error)),
        }
    }

    /// The nodes of a content, the upper one first.
    fn fresh(&self, path: &str, config: &Config) -> Result<Vec<Fresh>> {
        let node =
            |at: usize, path: &str| format!("{at:04}-{}", path.replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "_"));
        let named: Vec<(String, &str, &[u8])> =
            config.files().enumerate().map(|(at, (path, content))| (node(at, path), path, content)).collect();
        let files = named.iter().map(|(node, path, _)| (node.clone(), path.to_string())).collect();
        let index = serde_json::to_vec(&Index { secret: config.secret, files });
        let data = index.map_err(|error| Problem::bug(format!("the list of files cannot be written: {error}")))?;
        let files = named.into_iter().map(|(node, _, content)| Fresh { path: format!("{path}/{node}"), data: content.to_vec() });
        Ok(std::iter::once(Fresh { path: path.to_string(), data }).chain(files).collect())
    }

    /// Contents with the nodes below them, in the order in which they can be deleted.
    async fn with_files(&self, place: &Place, contents: &[ConfigReference]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for reference in contents {
            let path = self.content_path(place, reference);
            let what = format!("list {path}");
            match self.again(&what, || self.client.list_children(&path)).await? {
                Ok(children) => {
                    found.extend(children.iter().map(|child| format!("{path}/{child}")));
                    found.push(path);
                }
                Err(Error::NoNode) => {}
                Err(error) => return Err(self.address.problem(&what, &error)),
            }
        }
        Ok(found)
    }
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes <= LIMIT {
        return Ok(());
    }
    let bytes = format_bytes(u64::try_from(bytes).unwrap_or(u64::MAX));
    let message = format!("kubernetes.config.from: the files make a transaction of {bytes}, more than the 1 MiB that ZooKeeper takes");
    Err(Problem::new(Code::ConfigTooLarge, message).hint("put what is large into the image; nothing was sent"))
}

fn missing(place: &Place, reference: &ConfigReference, what: &str) -> Problem {
    let message = format!("the node {} with the files of {} {what}", reference.name, place.words());
    Problem::new(Code::ConfigMissing, message).hint("push the configuration again")
}
