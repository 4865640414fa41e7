//! The files that another engine is given: the Dockerfile with an ignore file that hides our report, credentials, rules for registries.
//! They lie in a folder of their own, which only we can read and which goes with this value.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Build, Machine, call};
use crate::{
    domain::{
        problem::{Problem, Result},
        reference::DEFAULT_REGISTRY,
    },
    net::is_loopback,
};

/// Where containers' tools look for rules of registries when nothing names a file.
const SYSTEM_RULES: &str = "/etc/containers/registries.conf";

/// What is given to an engine.
pub(super) struct Ground {
    pub dockerfile: PathBuf,
    pub ignore_file: PathBuf,
    /// Variables that lead the engine to its credentials and rules.
    pub env: Vec<(String, String)>,
    /// Folder with the authority that is trusted beside the system's, for buildah.
    pub certificates: Option<PathBuf>,
    _folder: TempDir,
}

impl Ground {
    pub fn prepare(build: &Build, machine: &Machine) -> Result<Ground> {
        // Folders of tempfile are for their owner alone.
        let folder = tempfile::Builder::new()
            .prefix("engine-")
            .tempdir_in(&build.scratch)
            .map_err(|error| Problem::io("make a folder in", &build.scratch, &error))?;
        let name = build.dockerfile.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let dockerfile = folder.path().join(&name);
        copy(&build.dockerfile, &dockerfile)?;
        let ignore_file = folder.path().join(format!("{name}.dockerignore"));
        write(&ignore_file, ignore_text(build)?.as_bytes())?;
        let mut env = Vec::new();
        if let Some(credentials) = &machine.credentials {
            env.extend(hand_over(machine, credentials.expose(), &folder.path().join("config"))?);
        }
        env.extend(registry_rules(build, machine, folder.path())?);
        let certificates = machine.ca.as_ref().map(|ca| certificates(ca, folder.path())).transpose()?;
        Ok(Ground { dockerfile, ignore_file, env, certificates, _folder: folder })
    }
}

/// The user's ignore file, with what this run writes itself behind it.
fn ignore_text(build: &Build) -> Result<String> {
    let mut own = build.dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    let found = [PathBuf::from(own), build.context.join(".dockerignore")].into_iter().find(|file| file.is_file());
    let mut text = match found {
        Some(file) => fs::read_to_string(&file).map_err(|error| Problem::io("read", &file, &error))?,
        None => String::new(),
    };
    let root = build.context.canonicalize().map_err(|error| Problem::io("open", &build.context, &error))?;
    for hidden in build.hidden.iter().filter_map(|folder| folder.canonicalize().ok()) {
        if let Ok(inside) = hidden.strip_prefix(&root)
            && !inside.as_os_str().is_empty()
        {
            text.push_str(&format!("\n/{}\n", inside.display()));
        }
    }
    Ok(text)
}

/// Writes the credentials where docker, buildctl and buildah read them; never into an argument list. What else is in docker's own
/// folder (plugins, contexts) stays within reach.
fn hand_over(machine: &Machine, credentials: &str, folder: &Path) -> Result<Vec<(String, String)>> {
    fs::create_dir(folder).map_err(|error| Problem::io("create", folder, &error))?;
    let home = call::variable(machine, "HOME").map(|home| Path::new(home).join(".docker"));
    let own = call::variable(machine, "DOCKER_CONFIG").map(PathBuf::from).or(home);
    let mut config: Value = Value::Null;
    for entry in own.iter().filter_map(|own| fs::read_dir(own).ok()).flatten().flatten() {
        if entry.file_name() == "config.json" {
            config = fs::read(entry.path()).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        } else {
            let link = folder.join(entry.file_name());
            symlink(entry.path(), &link).map_err(|error| Problem::io("link", &link, &error))?;
        }
    }
    let ours: Value = serde_json::from_str(credentials).map_err(|_| Problem::bug("the credentials for an engine are no JSON"))?;
    let config = if config.is_object() { config } else { json!({}) };
    let (file, auth_file) = (folder.join("config.json"), folder.join("auth.json"));
    write(&file, with_ours(config.clone(), &ours, true).to_string().as_bytes())?;
    write(&auth_file, with_ours(config, &ours, false).to_string().as_bytes())?;
    let named = |name: &str, path: &Path| (name.to_string(), path.display().to_string());
    Ok(vec![named("DOCKER_CONFIG", folder), named("REGISTRY_AUTH_FILE", &auth_file)])
}

/// A `config.json` with our credentials in it. A helper that is named for a registry, or for all, would go before what stands in the
/// file; docker takes the file for a registry whose helper has no name, and buildah would look for a program without one.
fn with_ours(mut config: Value, ours: &Value, docker: bool) -> Value {
    for (registry, helper) in ours["credHelpers"].as_object().into_iter().flatten() {
        config["credHelpers"][registry] = helper.clone();
    }
    if config["credsStore"].is_null() && !ours["credsStore"].is_null() {
        config["credsStore"] = ours["credsStore"].clone();
    }
    let helped = config["credsStore"].is_string() || config["credHelpers"].is_object();
    for (registry, auth) in ours["auths"].as_object().into_iter().flatten() {
        if docker && helped {
            config["credHelpers"][registry] = json!("");
        } else if let Some(helpers) = config.get_mut("credHelpers").and_then(Value::as_object_mut) {
            helpers.shift_remove(registry);
        }
        config["auths"][registry] = auth.clone();
    }
    config
}

/// Our authority in a folder, as buildah wants it.
fn certificates(ca: &Path, folder: &Path) -> Result<PathBuf> {
    let certificates = folder.join("certificates");
    fs::create_dir(&certificates).map_err(|error| Problem::io("create", &certificates, &error))?;
    copy(ca, &certificates.join("ca.crt"))?;
    Ok(certificates)
}

/// Rules for buildah, as the native engine has them: short names are Docker Hub's, a mirror stands in front of it, loopback may be
/// plain http. Who brought rules of their own keeps them.
fn registry_rules(build: &Build, machine: &Machine, folder: &Path) -> Result<Vec<(String, String)>> {
    if call::variable(machine, "CONTAINERS_REGISTRIES_CONF").is_some() || has_own_rules() {
        return Ok(Vec::new());
    }
    let mut text = format!("unqualified-search-registries = [\"{DEFAULT_REGISTRY}\"]\nshort-name-mode = \"disabled\"\n");
    let quoted = |text: &str| Value::from(text).to_string();
    if let Some(mirror) = &build.base_registry {
        text += &format!("[[registry]]\nlocation = \"{DEFAULT_REGISTRY}\"\n[[registry.mirror]]\nlocation = {}\n", quoted(mirror));
        let host = mirror.split('/').next().unwrap_or_default();
        text += if is_loopback(host) || machine.insecure.iter().any(|one| one == host) { "insecure = true\n" } else { "" };
    }
    for registry in &machine.insecure {
        text += &format!("[[registry]]\nlocation = {}\ninsecure = true\n", quoted(registry));
    }
    let file = folder.join("registries.conf");
    write(&file, text.as_bytes())?;
    Ok(vec![("CONTAINERS_REGISTRIES_CONF".to_string(), file.display().to_string())])
}

/// A file as Debian and others ship it has comments alone.
fn has_own_rules() -> bool {
    let text = fs::read_to_string(SYSTEM_RULES).unwrap_or_default();
    text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read(from).map_err(|error| Problem::io("read", from, &error))?;
    write(to, &text)
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text)).map_err(|error| Problem::io("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_before_the_users_store_and_nothing_else_does() {
        let own = json!({"credsStore": "desktop", "credHelpers": {"own.test": "own", "both.test": "own"}, "auths": {"old.test": {"auth": "b2xk"}}});
        let ours = json!({"auths": {"both.test": {"auth": "Ym90aA=="}, "new.test": {"auth": "bmV3"}},
            "credHelpers": {"cloud.test": "cloud"}, "credsStore": "pass"});
        let docker = with_ours(own.clone(), &ours, true);
        let helpers = json!({"own.test": "own", "both.test": "", "new.test": "", "cloud.test": "cloud"});
        assert_eq!((&docker["credHelpers"], &docker["credsStore"]), (&helpers, &json!("desktop")));
        assert_eq!(docker["auths"]["old.test"]["auth"], "b2xk");
        let buildah = with_ours(own, &ours, false);
        assert_eq!(buildah["credHelpers"], json!({"own.test": "own", "cloud.test": "cloud"}));
        assert_eq!(buildah["auths"], docker["auths"]);
        // No helper anywhere: nothing to go before.
        let plain = with_ours(json!({}), &json!({"auths": {"a.test": {"auth": "YQ=="}}, "credHelpers": {}, "credsStore": null}), true);
        assert_eq!(plain, json!({"auths": {"a.test": {"auth": "YQ=="}}}));
    }
}
