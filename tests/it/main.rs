//! All integration tests in one binary: the real parts are started once and shared.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod accounts;
mod dependencies;
mod docs;
mod examples;
mod first;
mod forge;
mod git;
mod hold;
mod house;
mod image;
mod issuer;
mod lab;
mod ledger;
mod maven;
mod package;
mod process;
mod publish;
mod pushed;
mod queue;
mod registry;
mod report;
mod run;
mod support;
mod tutorial;
mod worker;
mod zookeeper;
