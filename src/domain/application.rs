//! What a Java artifact is, seen from its content alone.

use std::{collections::BTreeMap, path::PathBuf};

/// An application archive; nothing of it was run to learn this.
#[derive(Debug, Clone)]
pub struct Application {
    pub path: PathBuf,
    pub form: Form,
    pub main_class: Option<String>,
    /// Java that the newest class file needs (class-file major − 44); None without classes.
    pub java: Option<u32>,
    /// `Implementation-Version`, for people.
    pub version: Option<String>,
    pub spring_boot: Option<String>,
    pub actuator: bool,
    /// From application.properties / application.yml inside: `server.port`, `management.server.port`, `server.servlet.context-path`,
    /// `management.endpoints.web.base-path`; keys as written in properties files.
    pub properties: BTreeMap<String, String>,
}

/// How the artifact starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Spring Boot fat jar: `BOOT-INF`.
    BootJar,
    /// Executable war: `WEB-INF` with Spring Boot's launcher.
    BootWar,
    /// A jar with a main class; libraries beside it when its manifest has a `Class-Path` (paths relative to the jar).
    Jar { class_path: Vec<String> },
    /// Cannot be started with `java -jar`; says why.
    NotRunnable { why: String },
}

/// What an image's configuration says of what runs in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `JAVA_VERSION` of the image's environment.
    pub java_version: Option<String>,
    /// `JAVA_HOME` of the image's environment.
    pub java_home: Option<String>,
    /// `User` of the image: a number or name, with an optional group.
    pub user: Option<String>,
    /// What the image is built for, as `linux/amd64` or `linux/arm64/v8`; empty: not known.
    pub platforms: Vec<String>,
    /// The name of its base, where the image says it.
    pub base: Option<String>,
}

impl Application {
    /// Whether `java -jar` can start it.
    pub fn runnable(&self) -> bool {
        !matches!(self.form, Form::NotRunnable { .. })
    }

    /// A port among the application's properties, when it is a plain number there.
    pub fn port(&self, property: &str) -> Option<u16> {
        self.properties.get(property)?.trim().parse().ok().filter(|port| *port > 0)
    }
}
