//! Shipway: from a commit to running pods in one CI step.
//!
//! The floors, from the ground up: `domain` (plain types and rules), `settings`, `net` and `process` (what the outside systems
//! stand on), the outside systems themselves, `plan` and `report` (pure), `steps` (the order of a run) and `cli`. A floor uses
//! only floors below it; `tests/it/house.rs` keeps that.

pub mod center;
pub mod cli;
pub mod cluster;
pub mod domain;
pub mod forge;
pub mod git;
pub mod image;
pub mod issuer;
pub mod ledger;
pub mod maven;
pub mod net;
pub mod notify;
pub mod plan;
pub mod process;
pub mod queue;
pub mod registry;
pub mod report;
pub mod settings;
pub mod steps;

#[cfg(test)]
extern crate self as shipway;
/// The bodies of the fuzz targets, over their seeds.
#[cfg(test)]
#[path = "../fuzz/bodies.rs"]
mod fuzz_bodies;
