//! A plain shell, or a CI that is not known: what many of them have in common.

use serde::Deserialize;

use super::{Ci, CiKind};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Variables {
    /// Jenkins.
    build_url: Option<String>,
}

impl Variables {
    pub fn into_ci(self) -> Ci {
        Ci { kind: CiKind::Shell, job_url: self.build_url, ..Ci::default() }
    }
}
