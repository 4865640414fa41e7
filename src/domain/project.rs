//! What a pom says of its project, without running Maven.

use std::path::PathBuf;

/// A Maven project with all its modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    pub group: Option<String>,
    pub artifact: String,
    pub version: Option<String>,
    pub packaging: String,
    /// Java level that the pom asks for (8, 17, …), when it says so plainly.
    pub java: Option<u32>,
    /// Modules, as folders relative to the root, nested ones too; empty for a single-module project.
    pub modules: Vec<PathBuf>,
    /// Spring Boot's plugin or parent is used.
    pub spring_boot: bool,
    /// The actuator is among the dependencies.
    pub actuator: bool,
    /// The pom configures the toolchains plugin by itself.
    pub toolchains: bool,
    pub distribution_management: bool,
}
