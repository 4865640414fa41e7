//! What one process holds for a time, and all others wait for: a lock, or the lead.
//!
//! Two never hold the same claim at once, although nobody can tell a process that is slow from one that is gone. With a TTL of T:
//!
//! - The holder counts each renewal from the moment s at which it was *sent*, by a clock that counts suspended time, too. What it runs is
//!   told to end (SIGTERM) at s + 2T/3 at the latest, and killed with all its descendants at s + 2T/3 + T/6.
//! - Another takes the claim when it has seen no renewal for T, by its own clock that never jumps. It cannot have seen this renewal before it
//!   was sent, so it takes it at s + T at the earliest.
//! - T/6 is left for the kernel to carry out the kill, for the ticks at which the clock is looked at, and for clocks that run at different
//!   rates. A renewal that is under way for long cannot come after the other: it carries the version that it replaces.
//!
//! On ZooKeeper a claim is an ephemeral node, which goes when its session expires: S = 5T/6 after the servers last heard of it (and up to one of
//! their ticks later, which is why S is not T). A leading server hears of sessions at another one each half tick, and a session lasts two ticks
//! at least, so a holder must not count on the pings that its own server answers. It counts from the moment s at which a *write* was sent that
//! the leader has taken, each T/10:
//!
//! - When the leader took the write, it had heard of the session within the last half tick (at most S/4 = 5T/24) or T/10. So the node stays
//!   until s + 5T/6 - 5T/24 = s + 15T/24 at least.
//! - What runs is told to end at s + S/2 = s + 10T/24 at the latest, and killed at s + S/2 + T/6 = s + 14T/24.
//!
//! The servers count by a clock that never jumps, too. Two ticks are ZooKeeper's own minimum (`minSessionTimeout`).
//!
//! What is stopped together with both of its watchers (a suspended machine) is ended when it wakes, which may be too late by what one
//! scheduler's slice lets it do. That is what fencing tokens are for: they grow whenever the claim passes on.

use std::time::Duration;

use super::problem::{Code, Problem, Result};

/// A lock or the lead, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    kind: Kind,
    name: String,
}

/// The uses of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lock,
    Lead,
    /// The publish lock of an application, where it is no Lease.
    Publish,
}

/// Longest name, so that the object that holds the claim may be named by it (253).
const LONGEST: usize = 200;

impl Claim {
    /// Fails with `setting-invalid` when the name is none that Kubernetes takes.
    pub fn new(kind: Kind, name: &str) -> Result<Self> {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let part = |part: &str| part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| edge(c) || c == '-');
        if name.len() > LONGEST || !name.split('.').all(part) {
            let message = format!("{name:?} cannot be the name of a {}", kind.word());
            let hint = format!("write it like nightly-report: at most {LONGEST} lower-case letters, digits, - and .");
            return Err(Problem::new(Code::SettingInvalid, message).hint(hint));
        }
        Ok(Claim { kind, name: name.to_string() })
    }

    /// The publish lock of an application in a namespace.
    pub fn publish(namespace: &str, application: &str) -> Result<Self> {
        Claim::new(Kind::Publish, &format!("{namespace}.{application}"))
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Name of the object that holds it; the dot keeps it apart from every publish lock, as no application's name has one.
    pub fn object(&self) -> String {
        format!("shipway-{}.{}", self.kind.word(), self.name)
    }

    /// Where it is kept in a tree of nodes.
    pub fn path(&self) -> &str {
        &self.name
    }

    /// As people write it: `lock nightly-report`.
    pub fn words(&self) -> String {
        format!("{} {}", self.kind.word(), self.name)
    }

    /// The problem of a holder that does not have it any more; what it ran is ended.
    pub fn lost(&self, why: &str) -> Problem {
        Problem::new(Code::LockLost, format!("{} was lost: {why}; what ran under it was ended", self.words()))
            .hint("see whether what was ended has to be run again")
            .unrestored()
    }
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Lock => "lock",
            Kind::Lead => "lead",
            Kind::Publish => "publish",
        }
    }
}

/// How the TTL of a claim is used; see above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub ttl: Duration,
}

impl Timing {
    /// How long after its last renewal the holder counts on it.
    pub fn tenure(self) -> Duration {
        self.ttl * 2 / 3
    }

    /// Between SIGTERM and SIGKILL.
    pub fn grace(self) -> Duration {
        self.ttl / 6
    }

    /// Time between renewals: three of them fit into a tenure.
    pub fn renewal(self) -> Duration {
        self.ttl / 5
    }

    /// How often the clock is looked at, since a timer alone may sleep through a suspended machine.
    pub fn tick(self) -> Duration {
        self.ttl / 50
    }
}

/// How the TTL of a claim on ZooKeeper is used; see above. The grace between SIGTERM and SIGKILL is that of [`Timing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTiming {
    pub ttl: Duration,
}

impl SessionTiming {
    /// How long the session lives without a sign of us.
    pub fn session(self) -> Duration {
        self.ttl * 5 / 6
    }

    /// How long after its last renewal the holder counts on it.
    pub fn tenure(self) -> Duration {
        self.session() / 2
    }

    /// Time between renewals.
    pub fn renewal(self) -> Duration {
        self.ttl / 10
    }
}

/// What the holder of a claim knows of it at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    /// Grows whenever the claim passes on.
    pub token: u64,
    /// Until when it may be counted on, by the machine's uptime.
    pub until: Duration,
}

impl Tenure {
    /// One line for another process of the same machine.
    pub fn to_line(self) -> String {
        format!("{} {}\n", self.token, self.until.as_nanos())
    }

    /// None: nobody that holds a claim wrote this.
    pub fn parse(line: &str) -> Option<Self> {
        let (token, until) = line.trim_end().split_once(' ')?;
        Some(Tenure { token: token.parse().ok()?, until: Duration::from_nanos(until.parse().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_objects() {
        for good in ["a", "nightly-report", "trade.web", "a1"] {
            assert!(Claim::new(Kind::Lock, good).is_ok(), "{good}");
        }
        let long = "a".repeat(LONGEST + 1);
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", "a/b", "größe", "--wait", long.as_str()] {
            let problem = Claim::new(Kind::Lead, bad).unwrap_err();
            assert_eq!((problem.code, problem.exit_code()), (Code::SettingInvalid, 2), "{bad}");
        }
    }

    #[test]
    fn no_claim_is_another_or_a_publish_lock() {
        let object = |kind, name: &str| Claim::new(kind, name).unwrap().object();
        assert_eq!(object(Kind::Lock, "web"), "shipway-lock.web");
        assert_ne!(object(Kind::Lock, "web"), object(Kind::Lead, "web"));
    }

    #[test]
    fn what_runs_is_gone_before_another_may_begin() {
        for seconds in [5, 15, 61, 3600] {
            let timing = Timing { ttl: Duration::from_secs(seconds) };
            let killed = timing.tenure() + timing.tick() * 2 + timing.grace();
            assert!(killed + timing.ttl / 8 < timing.ttl, "{killed:?} of {seconds} s");
            assert!(timing.renewal() * 3 < timing.tenure(), "{seconds} s");
        }
    }

    #[test]
    fn what_runs_is_gone_before_its_session_may_be() {
        for seconds in [5, 15, 61, 3600] {
            let ttl = Duration::from_secs(seconds);
            let (session, timing) = (SessionTiming { ttl }, Timing { ttl });
            let killed = session.tenure() + timing.grace();
            let unheard = (session.session() / 4).max(session.renewal());
            assert!(killed + timing.tick() * 2 <= session.session() - unheard + Duration::from_millis(1), "{killed:?} of {seconds} s");
            assert!(session.renewal() * 3 < session.tenure(), "{seconds} s");
        }
    }

    #[test]
    fn a_tenure_survives_its_line() {
        let tenure = Tenure { token: 7, until: Duration::new(12, 345) };
        assert_eq!(Tenure::parse(&tenure.to_line()), Some(tenure));
        for bad in ["", "7", "7 x", "x 7", "error: no cluster"] {
            assert_eq!(Tenure::parse(bad), None, "{bad}");
        }
    }
}
