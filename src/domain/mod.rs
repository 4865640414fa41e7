//! Plain types and pure rules: what the outside systems and the steps speak of. No input or output happens here.

pub mod application;
pub mod commit;
pub mod containers;
pub mod digest;
pub mod dockerfile;
pub mod event;
pub mod manifests;
pub mod problem;
pub mod project;
pub mod redact;
pub mod reference;
pub mod release;
pub mod rollout;
pub mod secret;
pub mod status;
pub mod step;
pub mod units;
pub mod workload;
