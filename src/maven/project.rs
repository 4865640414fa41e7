//! The project: the root pom with its modules, what they inherit from each other, and properties put in.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::{
    Project,
    pom::{self, Pom},
};
use crate::domain::problem::{Code, Problem, Result};

/// More modules than this are a loop or an attack, not a project.
const MAX_MODULES: usize = 2000;

/// All poms of a checkout, root first, in the order in which they are named.
pub(super) struct Reactor {
    root: PathBuf,
    pub modules: Vec<Module>,
    /// Properties given from outside (`-Dname=value`); they win over every pom.
    given: BTreeMap<String, String>,
}

/// One module.
pub(super) struct Module {
    /// Folder relative to the root; empty for the root.
    pub dir: PathBuf,
    /// Its pom relative to the root.
    file: PathBuf,
    pub pom: Pom,
}

impl Reactor {
    /// Reads the pom at `root` and all modules below; `args` may define properties.
    pub(super) fn read(root: &Path, args: &[String]) -> Result<Reactor> {
        if !root.join("pom.xml").is_file() {
            return Err(Problem::new(Code::NoPom, format!("there is no pom.xml in {}", root.display())));
        }
        let mut given = BTreeMap::new();
        let config = std::fs::read_to_string(root.join(".mvn/maven.config")).unwrap_or_default();
        for arg in config.split_whitespace().chain(args.iter().map(String::as_str)) {
            if let Some((name, value)) = arg.strip_prefix("-D").and_then(|definition| definition.split_once('=')) {
                given.insert(name.to_string(), value.to_string());
            }
        }
        let mut reactor = Reactor { root: root.to_path_buf(), modules: Vec::new(), given };
        reactor.add(Path::new("pom.xml"), &mut BTreeSet::new())?;
        Ok(reactor)
    }

    /// What all poms together say.
    pub(super) fn project(&self) -> Project {
        let root = &self.modules[0];
        let any = |test: fn(&Pom) -> bool| self.modules.iter().any(|module| test(&module.pom));
        Project {
            group: self.group(root),
            artifact: self.resolve(root, &root.pom.artifact),
            version: self.version(root),
            packaging: self.packaging(root),
            java: self.modules.iter().filter_map(|module| self.java(module)).max(),
            modules: self.modules[1..].iter().map(|module| module.dir.clone()).collect(),
            spring_boot: any(|pom| pom.spring_boot_plugin || boot_parent(pom).is_some()),
            actuator: any(|pom| pom.actuator),
            toolchains: any(|pom| pom.toolchains_plugin),
            distribution_management: any(|pom| pom.distribution_management),
        }
    }

    /// The version of a module; None when it hangs on something that no file here says.
    pub(super) fn version(&self, module: &Module) -> Option<String> {
        let own = module.pom.version.clone().or_else(|| Some(module.pom.parent.as_ref()?.version.clone()))?;
        Some(self.resolve(module, &own)).filter(|version| !version.contains("${"))
    }

    pub(super) fn group(&self, module: &Module) -> Option<String> {
        let own = module.pom.group.clone().or_else(|| Some(module.pom.parent.as_ref()?.group.clone()))?;
        Some(self.resolve(module, &own)).filter(|group| !group.contains("${"))
    }

    pub(super) fn artifact(&self, module: &Module) -> String {
        self.resolve(module, &module.pom.artifact)
    }

    pub(super) fn packaging(&self, module: &Module) -> String {
        module.pom.packaging.as_ref().map_or_else(|| "jar".to_string(), |packaging| self.resolve(module, packaging))
    }

    /// The name of the main artifact without its ending; None when a property in it is unknown.
    pub(super) fn final_name(&self, module: &Module) -> Option<String> {
        let named = self.ancestry(module).find_map(|module| module.pom.final_name.clone());
        let name = match named {
            Some(name) => self.resolve(module, &name),
            None => format!("{}-{}", self.artifact(module), self.version(module)?),
        };
        (!name.contains("${")).then_some(name)
    }

    /// Ids of the repositories that the poms name, with URLs.
    pub(super) fn repositories(&self) -> Vec<(String, String)> {
        let all = self.modules.iter().flat_map(|module| {
            let named = module.pom.repositories.iter();
            named.map(|(id, url)| (self.resolve(module, id), self.resolve(module, url)))
        });
        all.collect()
    }

    fn java(&self, module: &Module) -> Option<u32> {
        let property = |name: &str| self.property(module, name);
        let texts = self.ancestry(module).find_map(|ancestor| ancestor.pom.compiler_level.clone()).into_iter().chain(
            ["maven.compiler.release", "maven.compiler.target", "maven.compiler.source", "java.version"]
                .iter()
                .filter_map(|name| property(name)),
        );
        let said = texts.map(|text| self.resolve(module, &text)).find_map(|text| level(&text));
        said.or_else(|| self.ancestry(module).find_map(|ancestor| boot_level(boot_parent(&ancestor.pom)?)))
    }

    /// The module, then its parents as far as they are in this checkout.
    fn ancestry<'a>(&'a self, module: &'a Module) -> impl Iterator<Item = &'a Module> {
        let mut left = self.modules.len();
        std::iter::successors(Some(module), move |module| {
            left = left.checked_sub(1)?;
            let parent = module.pom.parent.as_ref()?;
            let path = parent.relative_path.as_deref().unwrap_or("../pom.xml");
            let mut file = normal(&module.dir.join(path));
            if !path.is_empty() && !path.ends_with(".xml") {
                file.push("pom.xml");
            }
            let found = self.modules.iter().find(|candidate| candidate.file == file)?;
            (found.pom.artifact == parent.artifact).then_some(found)
        })
    }

    fn property(&self, module: &Module, name: &str) -> Option<String> {
        if let Some(value) = self.given.get(name) {
            return Some(value.clone());
        }
        let own = self.ancestry(module).find_map(|module| module.pom.properties.get(name).cloned());
        own.or_else(|| {
            let pom = &module.pom;
            let parent = pom.parent.as_ref();
            match name.strip_prefix("project.").or_else(|| name.strip_prefix("pom."))? {
                "artifactId" => Some(pom.artifact.clone()),
                "version" => pom.version.clone().or_else(|| Some(parent?.version.clone())),
                "groupId" => pom.group.clone().or_else(|| Some(parent?.group.clone())),
                "parent.version" => Some(parent?.version.clone()),
                "parent.groupId" => Some(parent?.group.clone()),
                "parent.artifactId" => Some(parent?.artifact.clone()),
                _ => None,
            }
        })
    }

    /// Puts properties in for `${name}`; what is unknown stays as it is written.
    fn resolve(&self, module: &Module, text: &str) -> String {
        let mut text = text.to_string();
        // Bounded, since a property may name itself.
        for _ in 0..20 {
            let Some((start, end, value)) = placeholders(&text).find_map(|(start, end)| {
                let value = self.property(module, &text[start + 2..end])?;
                Some((start, end, value))
            }) else {
                break;
            };
            text.replace_range(start..=end, &value);
            if text.len() > 10_000 {
                break;
            }
        }
        text
    }

    fn add(&mut self, file: &Path, seen: &mut BTreeSet<PathBuf>) -> Result<()> {
        if !seen.insert(file.to_path_buf()) {
            return Ok(());
        }
        if seen.len() > MAX_MODULES {
            return Err(Problem::new(Code::PomInvalid, format!("the project has more than {MAX_MODULES} modules")));
        }
        let pom = pom::read(&self.root.join(file), &file.display().to_string())?;
        let dir = file.parent().map(Path::to_path_buf).unwrap_or_default();
        let names = pom.modules.clone();
        self.modules.push(Module { dir: dir.clone(), file: file.to_path_buf(), pom });
        for name in names {
            let path = normal(&dir.join(name.replace('\\', "/")));
            let module = if self.root.join(&path).is_file() { path } else { path.join("pom.xml") };
            if !self.root.join(&module).is_file() {
                let message = format!("{} names the module {name}, but there is no {}", file.display(), module.display());
                return Err(
                    Problem::new(Code::PomInvalid, message).hint(format!("commit the module, or remove it from {}", file.display()))
                );
            }
            self.add(&module, seen)?;
        }
        Ok(())
    }
}

/// `17`, `1.8` → 17, 8.
pub(super) fn level(text: &str) -> Option<u32> {
    let text = text.trim();
    text.strip_prefix("1.").filter(|rest| !rest.is_empty()).unwrap_or(text).parse().ok().filter(|level| (1..=99).contains(level))
}

/// Version of Spring Boot's own parent, when that is the parent.
fn boot_parent(pom: &Pom) -> Option<&str> {
    pom.parent.as_ref().filter(|parent| parent.artifact == "spring-boot-starter-parent").map(|parent| parent.version.as_str())
}

/// The level that Spring Boot's parent sets when the project says nothing.
fn boot_level(version: &str) -> Option<u32> {
    match version.split('.').next()?.parse::<u32>().ok()? {
        1 => None,
        2 => Some(8),
        _ => Some(17),
    }
}

fn placeholders(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.match_indices("${").filter_map(|(start, _)| Some((start, start + text[start..].find('}')?)))
}

/// Resolves `.` and `..` by name, so that one pom has one path.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => (),
            Component::ParentDir if parts.file_name().is_some() => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)], args: &[&str]) -> Result<(Project, Vec<Option<String>>)> {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        let reactor = Reactor::read(dir.path(), &args)?;
        Ok((reactor.project(), reactor.modules.iter().map(|module| reactor.final_name(module)).collect()))
    }

    fn single(pom: &str) -> Project {
        project(&[("pom.xml", pom)], &[]).unwrap().0
    }

    #[test]
    fn a_spring_boot_service_is_read_from_its_one_file() {
        let project = single(
            r#"<?xml version="1.0"?>
            <project xmlns="http://maven.apache.org/POM/4.0.0">
              <parent><groupId>org.springframework.boot</groupId><artifactId>spring-boot-starter-parent</artifactId><version>3.3.0</version></parent>
              <groupId>trade</groupId><artifactId>orders</artifactId><version>1.2.0</version>
              <properties><java.version>21</java.version></properties>
              <dependencies><dependency><artifactId>spring-boot-starter-actuator</artifactId></dependency></dependencies>
              <build><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build>
              <profiles><profile><modules><module>gone</module></modules><properties><java.version>8</java.version></properties></profile></profiles>
            </project>"#,
        );
        assert_eq!((project.group.as_deref(), project.version.as_deref()), (Some("trade"), Some("1.2.0")));
        assert_eq!((project.java, project.spring_boot, project.actuator), (Some(21), true, true));
        assert_eq!((project.modules.len(), project.packaging.as_str()), (0, "jar"));
    }

    #[test]
    fn the_level_is_found_wherever_it_is_written() {
        let pom = |body: &str| format!("<project><artifactId>a</artifactId><version>1</version>{body}</project>");
        let properties = |list: &str| pom(&format!("<properties>{list}</properties>"));
        let compiler = |configuration: &str| {
            let plugin =
                format!("<plugin><artifactId>maven-compiler-plugin</artifactId><configuration>{configuration}</configuration></plugin>");
            pom(&format!("<properties><jdk>11</jdk><loop>${{loop}}</loop></properties><build><plugins>{plugin}</plugins></build>"))
        };
        for (pom, java) in [
            (properties("<maven.compiler.release>17</maven.compiler.release><maven.compiler.target>8</maven.compiler.target>"), Some(17)),
            (properties("<maven.compiler.target>1.8</maven.compiler.target>"), Some(8)),
            (properties("<v>21</v><java.version>${v}</java.version>"), Some(21)),
            (compiler("<source>1.7</source><target>${jdk}</target>"), Some(11)),
            (compiler("<release>${loop}</release>"), None),
            (compiler("<release>${unknown}</release>"), None),
            (pom(""), None),
            (pom("<parent><artifactId>spring-boot-starter-parent</artifactId><version>2.7.18</version></parent>"), Some(8)),
        ] {
            assert_eq!(single(&pom).java, java, "{pom}");
        }
    }

    #[test]
    fn modules_are_found_in_the_depth_and_inherit_from_each_other() {
        let root = "<project><groupId>g</groupId><artifactId>root</artifactId><version>${revision}</version><packaging>pom</packaging>
            <properties><revision>2.0</revision><maven.compiler.release>17</maven.compiler.release></properties>
            <modules><module>lib</module><module>apps</module></modules>
            <distributionManagement><repository><id>r</id><url>http://r</url></repository></distributionManagement></project>";
        let lib = "<project><parent><groupId>g</groupId><artifactId>root</artifactId><version>${revision}</version></parent><artifactId>lib</artifactId></project>";
        let apps = "<project><parent><groupId>g</groupId><artifactId>root</artifactId><version>${revision}</version></parent>
            <artifactId>apps</artifactId><packaging>pom</packaging><modules><module>web</module></modules></project>";
        let web = "<project><parent><groupId>g</groupId><artifactId>apps</artifactId><version>${revision}</version></parent><artifactId>web</artifactId>
            <properties><maven.compiler.release>21</maven.compiler.release></properties><build><finalName>${project.artifactId}-${project.version}-x</finalName></build></project>";
        let files = [("pom.xml", root), ("lib/pom.xml", lib), ("apps/pom.xml", apps), ("apps/web/pom.xml", web)];
        let (found, names) = project(&files, &[]).unwrap();
        assert_eq!(found.modules, [Path::new("lib"), Path::new("apps"), Path::new("apps/web")]);
        assert_eq!((found.version.as_deref(), found.java, found.distribution_management), (Some("2.0"), Some(21), true));
        assert_eq!(names[1].as_deref(), Some("lib-2.0"));
        assert_eq!(names[3].as_deref(), Some("web-2.0-x"));

        let (found, names) = project(&files, &["-Drevision=3.1"]).unwrap();
        assert_eq!(found.version.as_deref(), Some("3.1"));
        assert_eq!(names[1].as_deref(), Some("lib-3.1"));
    }

    #[test]
    fn what_is_no_project_is_told_with_its_place() {
        let problem = |files: &[(&str, &str)]| project(files, &[]).unwrap_err();
        assert_eq!(problem(&[]).code, Code::NoPom);
        let broken = problem(&[("pom.xml", "<project>\n  <artifactId>a</artifact>\n</project>")]);
        assert_eq!(broken.code, Code::PomInvalid);
        assert!(broken.message.starts_with("pom.xml:2:"), "{}", broken.message);
        assert!(problem(&[("pom.xml", "<html/>")]).message.contains("<html>"));
        assert!(problem(&[("pom.xml", "<project/>")]).message.contains("<artifactId>"));
        let module = "<project><artifactId>a</artifactId><modules><module>gone</module></modules></project>";
        assert_eq!(problem(&[("pom.xml", module)]).message, "pom.xml names the module gone, but there is no gone/pom.xml");
        let looped = "<project><artifactId>a</artifactId><modules><module>.</module><module>b</module></modules></project>";
        let back = "<project><artifactId>b</artifactId><modules><module>..</module></modules></project>";
        assert_eq!(project(&[("pom.xml", looped), ("b/pom.xml", back)], &[]).unwrap().0.modules, [Path::new("b")]);
    }
}
