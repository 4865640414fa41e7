//! What the user brings beside the settings: whole manifests (`kubernetes.manifests`) and patches for objects (`kubernetes.patches`).
//! Reading text and merging values only; who reads the files and who applies the objects is elsewhere.

mod document;
mod image;
mod kinds;
pub mod lint;
mod merge;
mod patch;
pub mod positions;
mod strict;

pub use self::{
    document::{Document, cluster_scoped, documents},
    image::{Chosen, application_container, pin},
    kinds::{Identity, KEPT_KINDS, known_resource, sorted, without_secrets},
    patch::{Patch, patches},
    strict::typed,
};
use super::problem::Result;

/// The user's own manifests and patches, as read from the checkout.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Custom {
    pub manifests: Vec<Document>,
    pub patches: Vec<Patch>,
}

/// One file: its path in the checkout, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub text: String,
}

impl Custom {
    /// Reads the files; fails with `manifest-invalid` naming file, document and path.
    pub fn read(manifests: &[File], patch_files: &[File], namespace: &str) -> Result<Custom> {
        let mut read = Custom::default();
        for file in manifests {
            read.manifests.extend(documents(file)?);
        }
        document::check(&read.manifests, namespace)?;
        for file in patch_files {
            read.patches.extend(patches(file)?);
        }
        Ok(read)
    }

    /// Whether there is a manifest of this kind and name.
    pub fn brings(&self, group: &str, kind: &str, name: &str) -> bool {
        self.manifests.iter().map(Document::identity).any(|identity| identity.is(group, kind) && identity.name == name)
    }

    pub fn is_empty(&self) -> bool {
        self.manifests.is_empty() && self.patches.is_empty()
    }
}

#[cfg(test)]
mod tests;
