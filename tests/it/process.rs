//! Real children: their output, their end, and what they leave behind.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use shipway::{
    domain::{
        event::{Event, Events},
        problem::Code,
        redact::Redactor,
    },
    process::{Command, Custom, Ended, LogFile, run, run_custom, run_until},
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn env() -> Vec<(String, String)> {
    vec![("PATH".to_string(), "/usr/bin:/bin".to_string())]
}

fn script(dir: &Path, text: &str) -> Command {
    let args = vec!["-c".to_string(), text.to_string()];
    Command { program: PathBuf::from("sh"), args, dir: dir.to_path_buf(), env: env(), timeout: None, log: None, input: None }
}

fn run_lines(command: Command) -> (Ended, Vec<String>) {
    let mut lines = Vec::new();
    let ended = runtime().block_on(run(command, &mut |line| lines.push(line.to_string()))).unwrap();
    (ended, lines)
}

/// The process id that a script wrote to `file`, once it is there.
fn pid(file: &Path) -> u32 {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Ok(pid) = std::fs::read_to_string(file).unwrap_or_default().trim().parse() {
            return pid;
        }
        assert!(Instant::now() < deadline, "{} was never written", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

/// A child, a grandchild that ignores SIGTERM in a session of its own, and one that has lost its parent and its environment's group.
const FAMILY: &str = "setsid sh -c 'trap \"\" TERM; echo $$ >stubborn; while :; do sleep 1; done' & \
     (setsid sh -c 'echo $$ >orphan; exec sleep 300' &) ; \
     echo $$ >child; sleep 300";

fn family(dir: &Path) -> [u32; 3] {
    ["stubborn", "orphan", "child"].map(|name| pid(&dir.join(name)))
}

#[test]
fn who_is_told_to_end_may_say_its_last_words_for_a_while() {
    let stop = async |dir: &Path| {
        while !dir.join("begun").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    for (text, grace, expected) in [
        ("trap 'echo last; exit 5' TERM; touch begun; while :; do sleep 0.05; done", 60, (5, false)),
        ("trap '' TERM; touch begun; while :; do sleep 0.05; done", 1, (137, true)),
        ("touch begun; sleep 300", 0, (143, true)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = Vec::new();
        let mut line = |line: &str| lines.push(line.to_string());
        let work = run_until(script(dir.path(), text), &mut line, stop(dir.path()), Duration::from_secs(grace));
        let ended = runtime().block_on(work).unwrap();
        assert_eq!((ended.code, ended.timed_out), expected, "{text}");
        assert_eq!(lines.is_empty(), ended.code != 5, "{text}: {lines:?}");
    }
}

#[test]
fn both_streams_come_in_order_and_reach_the_log_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("new/out.log");
    let mut command = script(dir.path(), "echo one; echo two >&2; printf 'caf\\351\\r\\nlast'; exit 7");
    command.log = Some(LogFile::new(log.clone(), &Redactor::default()));
    let (ended, lines) = run_lines(command);
    assert_eq!((ended.code, ended.timed_out), (7, false));
    assert_eq!(lines, ["one", "two", "caf\u{fffd}", "last"]);
    assert_eq!(std::fs::read(log).unwrap(), b"one\ntwo\ncaf\xe9\r\nlast");
}

#[test]
fn the_environment_is_the_one_that_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = script(dir.path(), "env; cat");
    command.env.push(("ONLY".to_string(), "this one".to_string()));
    let (_, mut lines) = run_lines(command);
    lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("_=") && !line.starts_with("_SHIPWAY_TREE="));
    lines.retain(|line| !line.starts_with("SHLVL=") && !line.starts_with("OLDPWD="));
    lines.sort();
    assert_eq!(lines, ["ONLY=this one", "PATH=/usr/bin:/bin"]);
}

#[test]
fn the_limit_ends_the_whole_tree_even_what_ignores_it_or_left_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = script(dir.path(), FAMILY);
    command.timeout = Some(Duration::from_secs(1));
    let (ended, _) = run_lines(command);
    assert!(ended.timed_out);
    assert!(ended.seconds < 8.0, "{}", ended.seconds);
    for pid in family(dir.path()) {
        assert!(!is_alive(pid));
    }
}

#[test]
fn dropping_the_future_ends_the_whole_tree() {
    let dir = tempfile::tempdir().unwrap();
    let command = script(dir.path(), FAMILY);
    runtime().block_on(async {
        let mut line = |_: &str| ();
        let running = run(command, &mut line);
        let seen = async {
            while !["stubborn", "orphan", "child"].iter().all(|name| dir.path().join(name).exists()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let alive = family(dir.path());
            assert!(alive.iter().all(|&pid| is_alive(pid)));
        };
        tokio::select! {
            _ = running => panic!("it cannot end by itself"),
            () = seen => (),
        }
    });
    for pid in family(dir.path()) {
        assert!(!is_alive(pid));
    }
}

#[test]
fn a_grandchild_that_keeps_the_pipe_open_does_not_keep_us() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, lines) = run_lines(script(dir.path(), "setsid sh -c 'echo $$ >left; exec sleep 300' & echo done"));
    assert_eq!((ended.code, lines.as_slice()), (0, &["done".to_string()][..]));
    assert!(ended.seconds < 5.0, "{}", ended.seconds);
    assert!(!is_alive(pid(&dir.path().join("left"))));
}

#[test]
fn last_words_after_the_exit_are_heard() {
    let dir = tempfile::tempdir().unwrap();
    let (_, lines) = run_lines(script(dir.path(), "(sleep 0.2; echo late) & echo early"));
    assert_eq!(lines, ["early", "late"]);
}

#[test]
fn a_signal_gives_the_code_of_a_shell() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run_lines(script(dir.path(), "kill -9 $$")).0.code, 137);
}

#[test]
fn endless_output_without_a_line_end_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, lines) = run_lines(script(dir.path(), "head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end"));
    assert_eq!(ended.code, 0);
    assert_eq!(lines.len(), 2);
    assert!(lines[0].len() < 17_000);
    assert_eq!(lines[1], "end");
}

#[test]
fn a_missing_program_and_a_missing_folder_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = script(dir.path(), "");
    command.program = PathBuf::from("no-such-tool");
    let problem = runtime().block_on(run(command, &mut |_| ())).unwrap_err();
    assert_eq!(problem.code, Code::ProgramMissing);
    assert_eq!(problem.message, "no-such-tool was not found: looked in /usr/bin:/bin");

    let gone = dir.path().join("gone");
    let problem = runtime().block_on(run(script(&gone, ""), &mut |_| ())).unwrap_err();
    assert!(problem.message.contains("gone: no such folder"), "{}", problem.message);

    std::fs::write(dir.path().join("tool"), "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(dir.path().join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = script(dir.path(), "");
    command.program = PathBuf::from("./tool");
    let problem = runtime().block_on(run(command, &mut |_| ())).unwrap_err();
    assert_eq!(problem.code, Code::ProgramMissing);
    assert!(problem.hint.contains("interpreter"), "{}", problem.hint);
}

fn custom(dir: &Path, argv: &[&str]) -> Custom {
    let argv = argv.iter().map(|arg| arg.to_string()).collect();
    Custom {
        argv,
        dir: dir.to_path_buf(),
        env: env(),
        timeout: Duration::from_secs(60),
        log: LogFile::new(dir.join("build.log"), &Redactor::default()),
    }
}

#[test]
fn an_own_build_command_runs_without_a_shell_and_shows_its_last_lines_on_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, seen) = std::sync::mpsc::channel();
    let events = Events::new(move |event| drop(sender.send(event)));
    runtime().block_on(run_custom(&custom(dir.path(), &["printf", "%s\n", "$HOME;*"]), &events)).unwrap();
    let seen: Vec<Event> = seen.try_iter().collect();
    assert!(matches!(&seen[0], Event::CommandStarted { argv } if argv[0] == "printf"));
    assert!(matches!(&seen[1], Event::BuildLine { line } if line == "$HOME;*"));

    let failing = custom(dir.path(), &["sh", "-c", "for i in $(seq 100); do echo line $i; done; exit 3"]);
    let problem = runtime().block_on(run_custom(&failing, &Events::none())).unwrap_err();
    assert_eq!((problem.code, problem.message.as_str()), (Code::BuildFailed, "sh ended with exit code 3"));
    let tail = &problem.evidence[0];
    assert_eq!(tail.source, "build.log");
    assert!(tail.text.starts_with("line 61\n") && tail.text.ends_with("\nline 100"), "{}", tail.text);
}

#[test]
fn an_own_build_command_that_is_missing_or_hangs_names_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    let problem = runtime().block_on(run_custom(&custom(dir.path(), &["no-such-tool"]), &Events::none())).unwrap_err();
    assert!(problem.message.starts_with("build.command cannot be started: no-such-tool was not found"), "{}", problem.message);
    let problem = runtime().block_on(run_custom(&custom(dir.path(), &[]), &Events::none())).unwrap_err();
    assert_eq!(problem.code, Code::SettingInvalid);

    let mut hanging = custom(dir.path(), &["sh", "-c", "echo waiting; sleep 300"]);
    hanging.timeout = Duration::from_secs(1);
    let problem = runtime().block_on(run_custom(&hanging, &Events::none())).unwrap_err();
    assert_eq!((problem.code, problem.message.as_str()), (Code::BuildTimeout, "sh ran past build.timeout (1s)"));
    assert_eq!(problem.evidence[0].text, "waiting");
}
