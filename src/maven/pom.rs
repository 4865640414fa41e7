//! One pom.xml as it is written: no inheritance, no profiles, properties not yet put in.

use std::{collections::BTreeMap, path::Path};

use roxmltree::Node;

use super::xml::{self, child, children, descend, text};
use crate::domain::problem::{Code, Problem, Result};

/// What one file says.
#[derive(Debug, Default, Clone)]
pub(super) struct Pom {
    pub group: Option<String>,
    pub artifact: String,
    pub version: Option<String>,
    pub packaging: Option<String>,
    pub parent: Option<Parent>,
    pub properties: BTreeMap<String, String>,
    pub modules: Vec<String>,
    pub final_name: Option<String>,
    /// What the compiler plugin's configuration says: release before target before source.
    pub compiler_level: Option<String>,
    pub spring_boot_plugin: bool,
    pub actuator: bool,
    pub toolchains_plugin: bool,
    pub distribution_management: bool,
    /// Ids and URLs of all repositories that are named, for downloads or for deploying.
    pub repositories: Vec<(String, String)>,
}

/// The `<parent>` element.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    pub group: String,
    pub artifact: String,
    pub version: String,
    /// None: `../pom.xml`, Maven's default; empty: not in this checkout.
    pub relative_path: Option<String>,
}

/// Reads the pom at `path`; `shown` is how messages name it.
pub(super) fn read(path: &Path, shown: &str) -> Result<Pom> {
    let text = xml::read_text(path)?;
    let invalid = |message: String| Problem::new(Code::PomInvalid, message);
    let document = xml::parse(&text).map_err(|error| {
        let place = error.pos();
        invalid(format!("{shown}:{}:{} is not valid XML: {error}", place.row, place.col)).hint(format!("correct {shown} at that place"))
    })?;
    let root = document.root_element();
    if root.tag_name().name() != "project" {
        return Err(invalid(format!("{shown} is not a pom: its root element is <{}>, not <project>", root.tag_name().name())));
    }
    let artifact = self::text(root, "artifactId").ok_or_else(|| {
        invalid(format!("{shown} has no <artifactId>")).hint(format!("add <artifactId> to the <project> element of {shown}"))
    })?;
    Ok(from_root(root, artifact))
}

fn from_root(root: Node<'_, '_>, artifact: String) -> Pom {
    let management = child(root, "distributionManagement");
    Pom {
        group: text(root, "groupId"),
        artifact,
        version: text(root, "version"),
        packaging: text(root, "packaging"),
        parent: child(root, "parent").map(parent),
        properties: child(root, "properties").map(properties).unwrap_or_default(),
        modules: child(root, "modules").map(|modules| contents(modules, "module")).unwrap_or_default(),
        final_name: descend(root, &["build"]).and_then(|build| text(build, "finalName")),
        compiler_level: compiler_level(root),
        spring_boot_plugin: active_plugins(root).any(|plugin| text(plugin, "artifactId").as_deref() == Some("spring-boot-maven-plugin")),
        actuator: child(root, "dependencies").is_some_and(|dependencies| {
            let mut all = children(dependencies, "dependency");
            all.any(|dependency| text(dependency, "artifactId").is_some_and(|name| name.ends_with("spring-boot-starter-actuator")))
        }),
        toolchains_plugin: active_plugins(root).any(|plugin| text(plugin, "artifactId").as_deref() == Some("maven-toolchains-plugin")),
        // A site or a relocation alone says nothing about where artifacts go.
        distribution_management: management.is_some_and(|node| child(node, "repository").is_some()),
        repositories: repositories(root),
    }
}

fn parent(node: Node<'_, '_>) -> Parent {
    Parent {
        group: text(node, "groupId").unwrap_or_default(),
        artifact: text(node, "artifactId").unwrap_or_default(),
        version: text(node, "version").unwrap_or_default(),
        relative_path: child(node, "relativePath").map(|_| text(node, "relativePath").unwrap_or_default()),
    }
}

fn properties(node: Node<'_, '_>) -> BTreeMap<String, String> {
    let elements = node.children().filter(Node::is_element);
    elements.map(|element| (element.tag_name().name().to_string(), element.text().unwrap_or_default().trim().to_string())).collect()
}

fn contents(node: Node<'_, '_>, name: &str) -> Vec<String> {
    children(node, name).filter_map(|element| Some(element.text()?.trim().to_string())).filter(|text| !text.is_empty()).collect()
}

fn active_plugins<'a, 'input: 'a>(root: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    descend(root, &["build", "plugins"]).into_iter().flat_map(|plugins| children(plugins, "plugin"))
}

fn compiler_level(root: Node<'_, '_>) -> Option<String> {
    let managed = descend(root, &["build", "pluginManagement", "plugins"]).into_iter().flat_map(|plugins| children(plugins, "plugin"));
    let compilers =
        active_plugins(root).chain(managed).filter(|plugin| text(*plugin, "artifactId").as_deref() == Some("maven-compiler-plugin"));
    let mut configurations = compilers.filter_map(|plugin| child(plugin, "configuration"));
    configurations.find_map(|node| ["release", "target", "source"].iter().find_map(|name| text(node, name)))
}

fn repositories(root: Node<'_, '_>) -> Vec<(String, String)> {
    let lists = [("repositories", "repository"), ("pluginRepositories", "pluginRepository"), ("distributionManagement", "repository")];
    let listed = lists.into_iter().filter_map(|(list, item)| Some((child(root, list)?, item)));
    let snapshots = child(root, "distributionManagement").map(|node| (node, "snapshotRepository"));
    let nodes = listed.chain(snapshots).flat_map(|(list, item)| children(list, item).collect::<Vec<_>>());
    nodes.filter_map(|node| Some((text(node, "id")?, text(node, "url")?))).collect()
}
