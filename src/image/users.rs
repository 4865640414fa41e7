//! Names of users and groups as an image's /etc/passwd and /etc/group have them.

use std::{collections::BTreeSet, path::Path};

use super::{
    context::{Place, read_text},
    source::Source,
    tree::{BaseState, Files, Kind, Owner},
};
use crate::domain::problem::Result;

/// Finds the numbers of names in the files of a stage.
pub(super) struct Users<'a> {
    pub files: &'a Files,
    /// Where files of the base are unpacked to.
    pub scratch: &'a Path,
}

impl Users<'_> {
    /// The owner that `--chown=user[:group]` means. Without a group it is the user's own: the number of the user, or what
    /// /etc/passwd says for a name.
    pub fn owner(&self, text: &str, place: Place<'_>) -> Result<Owner> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let owner = match number(user) {
            Some(user) => Owner { user, group: user },
            None => self.entry("etc/passwd", user, place)?.ok_or_else(|| unknown(text, user, "/etc/passwd", place))?,
        };
        let group = match number(group) {
            _ if group.is_empty() => owner.group,
            Some(group) => group,
            None => self.entry("etc/group", group, place)?.ok_or_else(|| unknown(text, group, "/etc/group", place))?.user,
        };
        Ok(Owner { group, ..owner })
    }

    /// The owner of what WORKDIR makes for the user of USER; one that nobody knows is root, as in Docker.
    pub fn of_user(&self, text: &str, place: Place<'_>) -> Result<Owner> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let owner = match number(user) {
            Some(user) => Owner { user, group: user },
            None => self.entry("etc/passwd", user, place)?.unwrap_or_default(),
        };
        let group = match number(group) {
            _ if group.is_empty() => owner.group,
            Some(group) => group,
            None => self.entry("etc/group", group, place)?.map_or(owner.group, |group| group.user),
        };
        Ok(Owner { group, ..owner })
    }

    /// The line of a name: its number, and for a user that of its group.
    fn entry(&self, file: &str, name: &str, place: Place<'_>) -> Result<Option<Owner>> {
        let Some(text) = self.read(file, place)? else { return Ok(None) };
        Ok(text.lines().find_map(|line| {
            let parts: Vec<&str> = line.split(':').collect();
            let found = parts.first() == Some(&name);
            let number = |at: usize| parts.get(at).and_then(|number| number.trim().parse::<u32>().ok()).map(u64::from);
            found.then(|| Some(Owner { user: number(2)?, group: number(3).unwrap_or_default() })).flatten()
        }))
    }

    fn read(&self, file: &str, place: Place<'_>) -> Result<Option<String>> {
        match (self.files.get(&self.files.resolve(file)).map(|node| &node.kind), &self.files.base) {
            (Some(Kind::File(Source::File(path), _)), _) => read_text(path).map(Some),
            (Some(Kind::Packed { layer, entry, .. }), BaseState::Known(base)) => {
                let unpacked = base.unpack(&BTreeSet::from([(*layer, *entry)]), self.scratch)?;
                unpacked.values().next().map(|path| read_text(path)).transpose()
            }
            (None, BaseState::Unknown) => Err(place.unsupported(format!("/{file} of the base was not looked into"))),
            _ => Ok(None),
        }
    }
}

/// A number, or root, which has one everywhere and stands for a name that is left out.
pub(super) fn number(name: &str) -> Option<u64> {
    if matches!(name, "root" | "") { Some(0) } else { name.parse::<u32>().ok().map(u64::from) }
}

fn unknown(text: &str, name: &str, file: &str, place: Place<'_>) -> crate::domain::problem::Problem {
    place
        .invalid(format!("--chown={text} names {name:?}, which is not in the image's {file}"))
        .hint("write numbers, such as --chown=10001:10001, or a name that the base image has")
}
