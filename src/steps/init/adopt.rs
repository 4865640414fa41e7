//! The `shipway.yaml` that reproduces what runs.

use std::{fs, io::ErrorKind, path::Path};

use similar::TextDiff;

use super::super::access::connect;
use crate::{
    domain::{
        application::ImageFacts,
        problem::{Code, EvidenceKind, Problem, Result},
    },
    plan::Plan,
};

/// Makes the text of the file from what runs under the application's name.
pub async fn settings_file(plan: &Plan) -> Result<String> {
    if !plan.has_cluster() {
        return Err(Problem::new(Code::ClusterMissing, "init --from-cluster needs a cluster, but none is configured"));
    }
    let workload = plan.workload(&plan.target, "", None, &ImageFacts::default());
    connect(plan).await?.settings_of(&workload).await
}

/// Writes the file; one that is there is left, and shown as a difference, unless `force` says otherwise. False: it is as wanted already.
/// Fails with `file-exists`.
pub fn write_settings(path: &Path, text: &str, force: bool) -> Result<bool> {
    let before = match fs::read_to_string(path) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(Problem::io("read", path, &error)),
    };
    match before {
        Some(before) if before == text => return Ok(false),
        Some(before) if !force => {
            let difference = TextDiff::from_lines(before.as_str(), text).unified_diff().header("there", "would be").to_string();
            let name = path.display();
            return Err(Problem::new(Code::FileExists, format!("{name} is there already, and was left as it is")).evidence(
                EvidenceKind::Diff,
                name.to_string(),
                difference,
            ));
        }
        _ => {}
    }
    fs::write(path, text).map_err(|error| Problem::io("write", path, &error))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_shown_and_left_until_forced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shipway.yaml");
        assert!(write_settings(&path, "app: a\n", false).unwrap());
        assert!(!write_settings(&path, "app: a\n", false).unwrap());
        let problem = write_settings(&path, "app: b\n", false).unwrap_err();
        assert_eq!((problem.code.slug(), problem.exit_code()), ("file-exists", 2));
        assert!(problem.evidence[0].text.contains("-app: a\n+app: b"), "{}", problem.evidence[0].text);
        assert_eq!(fs::read_to_string(&path).unwrap(), "app: a\n");
        assert!(write_settings(&path, "app: b\n", true).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "app: b\n");
    }
}
