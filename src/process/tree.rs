//! A child with all its descendants: how they are found, and how they are ended.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The variable that each descendant inherits, whatever group, session or parent it moves to.
pub const MARKER: &str = "_SHIPWAY_TREE";

/// How long the processes have to end by themselves after SIGTERM; a JVM's shutdown hooks need some of it.
const GRACE: Duration = Duration::from_secs(2);

/// How long SIGKILL is repeated; only a process stuck in the kernel outlives it.
const KILL: Duration = Duration::from_secs(3);

/// The value of [`MARKER`] that tells one tree from all others on the machine.
#[derive(Clone)]
pub struct Marker(String);

impl Default for Marker {
    fn default() -> Self {
        Marker::new()
    }
}

impl Marker {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_nanos()).unwrap_or_default();
        Marker(format!("{}-{}-{nanos}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The marker that another process made.
    pub fn of(text: &str) -> Self {
        Marker(text.trim_end().to_string())
    }

    pub fn value(&self) -> &str {
        &self.0
    }
}

/// A running child with its descendants; all of them are ended when it is dropped.
pub(super) struct Tree {
    root: Option<Pid>,
    /// When the root began, ticks since the machine's start; 0 where that is not known.
    born: u64,
    marker: Vec<u8>,
    grace: Duration,
    ended: bool,
}

impl Tree {
    pub(super) fn new(root: Option<u32>, marker: Marker) -> Self {
        let root = root.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let born = root.and_then(|root| read_process(root.as_raw_nonzero().get())).map_or(0, |process| process.born);
        Tree { root, born, marker: format!("{MARKER}={}", marker.0).into_bytes(), grace: GRACE, ended: false }
    }

    /// What another process started with this marker, and all that descends from it.
    pub(super) fn marked(marker: Marker) -> Self {
        Tree::new(None, marker)
    }

    /// Another time between SIGTERM and SIGKILL.
    pub(super) fn grace(self, grace: Duration) -> Self {
        let mut tree = self;
        tree.grace = grace;
        tree
    }

    /// Ends every process of the tree: SIGTERM, then SIGKILL after the grace. Blocks until they are gone.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if !self.signal_until_gone(Signal::TERM, self.grace) {
            self.signal_until_gone(Signal::KILL, KILL);
        }
    }

    /// Whether all were gone within `limit`. SIGKILL goes to newcomers, too: a process may fork while it is looked for.
    fn signal_until_gone(&self, signal: Signal, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut signalled = Vec::new();
        loop {
            let members = self.members();
            if members.is_empty() {
                return true;
            }
            if signalled.is_empty()
                && let Some(root) = self.root
            {
                let _ = kill_process_group(root, signal);
            }
            for pid in members {
                if signal == Signal::KILL || !signalled.contains(&pid) {
                    let _ = kill_process(pid, signal);
                    signalled.push(pid);
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Living processes that descend from the root: by parent, by group, or by the inherited marker (which also finds those that
    /// left the session and lost their parent).
    fn members(&self) -> Vec<Pid> {
        let processes = processes();
        // Nobody descends from a process that began later: the environments of the rest of a busy machine need not be read.
        let candidates = processes.iter().filter(|(_, process)| process.born >= self.born);
        let marked: HashSet<i32> = candidates.filter(|(_, process)| self.is_marked(process.pid)).map(|(pid, _)| *pid).collect();
        let root = self.root.map(|root| root.as_raw_nonzero().get());
        let belongs = |pid: i32| root == Some(pid) || marked.contains(&pid);
        let descends = |start: &Process| {
            let mut current = Some(start);
            let mut steps = 0;
            while let Some(process) = current {
                if belongs(process.pid.as_raw_nonzero().get()) || belongs(process.group) {
                    return true;
                }
                steps += 1;
                current = if steps < 1000 { processes.get(&process.parent) } else { None };
            }
            false
        };
        let own = std::process::id().cast_signed();
        let alive = processes.values().filter(|process| !process.dead && process.pid.as_raw_nonzero().get() != own);
        alive.filter(|process| descends(process)).map(|process| process.pid).collect()
    }

    fn is_marked(&self, pid: Pid) -> bool {
        let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == self.marker)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.end();
    }
}

/// One line of the process table.
struct Process {
    pid: Pid,
    parent: i32,
    group: i32,
    /// Ticks from the machine's start to the process's.
    born: u64,
    /// A zombie: nothing of it runs, only its status waits to be fetched.
    dead: bool,
}

/// The machine's processes by their id; empty where there is no `/proc`.
fn processes() -> HashMap<i32, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|pid| Some((pid, read_process(pid)?))).collect()
}

/// Reads `/proc/PID/stat` (proc(5)); the name may hold blanks and parentheses, so fields count from the last parenthesis.
fn read_process(pid: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let born = fields.nth(16)?.parse().ok()?;
    Some(Process { pid: Pid::from_raw(pid)?, parent, group, born, dead })
}
