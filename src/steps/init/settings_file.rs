//! The text of a first `shipway.yaml`: what was found, and as comments what most projects set sooner or later.

use super::look::Scene;

/// Columns before a line's comment.
const COLUMN: usize = 44;

/// The file; `schema` is where editors find its schema.
pub fn text(scene: &Scene, schema: Option<&str>) -> String {
    let mut file = File::default();
    if let Some(schema) = schema {
        file.line(&format!("# yaml-language-server: $schema={schema}"), "");
    }
    file.line("# Everything has a default: `shipway plan` shows each setting with its value and where that comes from.", "");
    file.line("", "");
    file.line(&format!("app: {}", scene.app.0), &format!("names the image, the Deployment and the Service ({})", scene.app.1));
    file.line(&format!("line: {}", scene.line.0), &format!("product line: in the image's path, and the namespace ({})", scene.line.1));
    build(&mut file, scene);
    image(&mut file, scene);
    kubernetes(&mut file, scene);
    file.line("", "");
    file.line("# environments:", "what differs; the CI's environment selects a section");
    file.line("#   test: {kubernetes: {replicas: 1}}", "");
    file.line("#   prod: {kubernetes: {replicas: 3, args: [--spring.profiles.active=prod]}}", "");
    file.text
}

fn build(file: &mut File, scene: &Scene) {
    file.line("", "");
    match &scene.project {
        Some(project) => {
            file.line("# build:", "");
            let (jdk, why) =
                project.java.map_or(("21".to_string(), "the pom names no Java level"), |java| (java.to_string(), "else the pom's level"));
            file.line(&format!("#   jdk: {jdk}"), &format!("which installed JDK compiles; {why}"));
            if !project.modules.is_empty() {
                let modules: Vec<String> = project.modules.iter().map(|module| module.display().to_string()).collect();
                let module = modules.first().cloned().unwrap_or_default();
                file.line(&format!("#   module: {module}"), &format!("needed when several run; there are {}", modules.join(", ")));
            }
            file.line("#   args: [-Pprod]", "more arguments of mvn");
            file.line("#   tests: false", "leaves the tests out");
        }
        None if scene.gradle => {
            file.line("build:", "no pom.xml is here, so this builds; correct both lines");
            file.line("  command: [./gradlew, --no-daemon, bootJar]", "");
            file.line(&format!("  artifact: build/libs/{}.jar", scene.app.0), "what it makes");
        }
        None => {
            file.line("# build:", "no pom.xml is here: say what builds, and what it makes");
            file.line("#   command: [make, jar]", "");
            file.line("#   artifact: out/app.jar", "");
        }
    }
}

fn image(file: &mut File, scene: &Scene) {
    file.line("", "");
    match &scene.dockerfile {
        Some(dockerfile) => {
            file.line("image:", "");
            file.line(&format!("  dockerfile: {dockerfile}"), "yours; without this line Shipway generates one");
        }
        None => {
            let java = scene.project.as_ref().and_then(|project| project.java).unwrap_or(21);
            file.line("# image:", "");
            file.line(&format!("#   base: eclipse-temurin:{java}-jre"), "what the generated Dockerfile begins FROM");
        }
    }
    file.line("#   port: 8080", "else that of the application's properties");
    match &scene.registry {
        Some(registry) => file.line(&format!("# registry: {{url: {registry}}}"), "set outside of this file already"),
        None => file.line("# registry: {url: registry.example.test}", "GitLab's own is found by itself; the password is a variable"),
    }
}

fn kubernetes(file: &mut File, scene: &Scene) {
    file.line("", "");
    file.line("kubernetes:", "");
    file.line(&format!("  namespace: {}", scene.namespace), "");
    file.line("#   replicas: 2", "2 at first, afterwards left alone unless it is set");
    file.line("#   resources: {requests: {cpu: 250m, memory: 768Mi}, limits: {memory: 768Mi}}", "");
    file.line("#   probes: {readiness: /health}", "Spring Boot's actuator is found by itself, else the port is asked");
    file.line("#   env: {TZ: UTC}", "");
    match scene.manifests.as_slice() {
        [] => {}
        found => file.line(&format!("#   manifests: [{}]", found.join(", ")), "yours: published along; one of the same name replaces ours"),
    }
}

/// Lines whose comments stand below each other.
#[derive(Default)]
struct File {
    text: String,
}

impl File {
    fn line(&mut self, line: &str, comment: &str) {
        let line = match comment {
            "" => line.to_string(),
            _ => format!("{line:<COLUMN$} # {comment}"),
        };
        self.text += line.trim_end();
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::project::Project, settings};

    fn scenes() -> Vec<Scene> {
        let named = |name: &str| (name.to_string(), "folder".to_string());
        let plain = Scene { app: named("orders"), line: named("trade"), namespace: "trade".into(), ..Scene::default() };
        let project = Project { java: Some(17), modules: vec!["a".into(), "b".into()], ..Project::default() };
        vec![
            plain.clone(),
            Scene { gradle: true, ..plain.clone() },
            Scene { project: Some(project.clone()), registry: Some("registry.example.test".into()), ..plain.clone() },
            Scene { project: Some(project), dockerfile: Some("Dockerfile".into()), manifests: vec!["k8s/".into()], ..plain },
        ]
    }

    #[test]
    fn the_file_is_accepted_as_it_is_and_with_every_comment_taken_up() {
        for scene in scenes() {
            let text = text(&scene, Some("x.json"));
            assert_eq!(settings::check(&text, "shipway.yaml"), [], "{text}");
            let taken_up: String = text
                .lines()
                .skip(2)
                .map(|line| line.strip_prefix("# ").or_else(|| line.strip_prefix('#')).unwrap_or(line).to_string() + "\n")
                .collect();
            assert_eq!(settings::check(&taken_up, "shipway.yaml"), [], "{taken_up}");
        }
    }

    #[test]
    fn the_first_line_is_for_editors() {
        let text = text(&scenes()[0], Some("https://docs.example.test/shipway.schema.json"));
        assert!(text.starts_with("# yaml-language-server: $schema=https://docs.example.test/shipway.schema.json\n"), "{text}");
    }
}
