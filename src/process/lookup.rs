//! Finding a program as a shell would, so that a missing one is told with the places that were looked at.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::domain::problem::{Code, Problem, Result};

/// The file of a program: a name is looked up in `PATH` of `env`, a relative path counts from `dir`.
pub fn find_program(program: &Path, dir: &Path, env: &[(String, String)]) -> Result<PathBuf> {
    if program.components().count() != 1 || program.is_absolute() {
        let path = dir.join(program);
        return match is_executable(&path) {
            true => Ok(std::path::absolute(&path).unwrap_or(path)),
            false => Err(not_runnable(&path)),
        };
    }
    let search = env.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.as_str()).unwrap_or_default();
    // An empty entry would mean the current folder: what a checkout holds must not be started for lack of the real program.
    let folders = std::env::split_paths(search).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(program)).find(|path| is_executable(path)).ok_or_else(|| {
        let places = if search.is_empty() { "PATH is empty".to_string() } else { format!("looked in {search}") };
        Problem::new(Code::ProgramMissing, format!("{} was not found: {places}", program.display()))
            .hint(format!("install {}, or use an image that has it", program.display()))
    })
}

/// Whether it is a file with an execute permission.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn not_runnable(path: &Path) -> Problem {
    let (reason, hint) = match path.metadata() {
        Err(error) => (error.to_string(), "correct the path".to_string()),
        Ok(data) if !data.is_file() => ("it is not a file".to_string(), "correct the path".to_string()),
        Ok(_) => ("it is not executable".to_string(), format!("chmod +x {}", path.display())),
    };
    Problem::new(Code::ProgramMissing, format!("cannot start {}: {reason}", path.display())).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_the_path_of_the_given_environment_only() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        std::fs::write(&tool, "#!/bin/sh\n").unwrap();
        let env = vec![("PATH".to_string(), format!(":.:/nowhere:{}", folder.path().display()))];
        let problem = find_program(Path::new("tool"), folder.path(), &env).unwrap_err();
        assert_eq!(problem.code, Code::ProgramMissing);
        assert!(problem.message.starts_with("tool was not found: looked in :.:/nowhere:"), "{}", problem.message);

        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program(Path::new("tool"), Path::new("/"), &env).unwrap(), tool);
        assert_eq!(find_program(Path::new("./tool"), folder.path(), &[]).unwrap(), folder.path().join("./tool"));
        assert!(find_program(Path::new("tool"), folder.path(), &[]).unwrap_err().message.ends_with("PATH is empty"));
    }

    #[test]
    fn a_path_that_cannot_run_is_told_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("script"), "").unwrap();
        let problem = find_program(Path::new("./script"), folder.path(), &[]).unwrap_err();
        assert!(problem.message.ends_with("it is not executable"), "{}", problem.message);
        assert!(problem.hint.starts_with("chmod +x "), "{}", problem.hint);
        let problem = find_program(Path::new("/no/such"), folder.path(), &[]).unwrap_err();
        assert!(problem.message.contains("/no/such: No such file"), "{}", problem.message);
    }
}
