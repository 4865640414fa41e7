//! When a request is tried again, and how long to wait before.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant, SystemTime},
};

use reqwest::{StatusCode, header::HeaderMap};

/// How often and how patiently requests are repeated.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Attempts in all, the first included; at least 1.
    pub attempts: u32,
    /// Longest wait before the second attempt; doubles with each further one.
    pub base: Duration,
    /// No backoff is longer.
    pub longest: Duration,
    /// A server that asks (`Retry-After`) for more than this is not waited for.
    pub patience: Duration,
    /// A server that is away is waited for so long, however many attempts that takes: it is being restarted.
    pub outage: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            attempts: 5,
            base: Duration::from_millis(400),
            longest: Duration::from_secs(15),
            patience: Duration::from_secs(90),
            outage: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// How long to wait after the `attempt`-th attempt (from 1) failed; None: give up. `asked` is what the server asked for.
    pub fn delay(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts { None } else { self.wait(attempt, asked) }
    }

    fn wait(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        match asked {
            Some(asked) if asked > self.patience => None,
            Some(asked) => Some(asked + jitter(self.base)),
            None => {
                let ceiling = self.base.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest);
                Some(ceiling / 2 + jitter(ceiling / 2))
            }
        }
    }
}

/// The attempts at one thing: so many, or so long as the server is away.
pub struct Attempts<'a> {
    policy: &'a Policy,
    failed: u32,
    /// When the current attempt began.
    begun: Instant,
    /// When the first attempt began of those in a row that found nobody.
    away: Option<Instant>,
}

impl<'a> Attempts<'a> {
    pub fn new(policy: &'a Policy) -> Self {
        Attempts { policy, failed: 0, begun: Instant::now(), away: None }
    }

    /// Begins the count anew: something was achieved.
    pub fn restart(&mut self) {
        *self = Attempts::new(self.policy);
    }

    /// How many have failed since the count began.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// An attempt failed: how long to wait before the next; None: give up. `asked` is what the server asked for; `away`: it was there
    /// before and is not now.
    pub fn failed_again(&mut self, asked: Option<Duration>, away: bool) -> Option<Duration> {
        self.failed += 1;
        self.away = away.then(|| self.away.unwrap_or(self.begun));
        let worth = self.failed < self.policy.attempts || self.away.is_some_and(|since| since.elapsed() < self.policy.outage);
        let delay = self.policy.wait(self.failed, asked).filter(|_| worth)?;
        self.begun = Instant::now() + delay;
        Some(delay)
    }
}

/// Whether the same request may well succeed later.
pub fn is_transient(status: StatusCode) -> bool {
    // 501 says that the server cannot do it at all.
    matches!(status.as_u16(), 408 | 425 | 429) || (status.is_server_error() && status.as_u16() != 501)
}

/// Whether a server says that it, or the one behind it, is not there at the moment.
pub fn says_away(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502 | 503)
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// A random part of `most`, so that many jobs do not come back at the same moment.
fn jitter(most: Duration) -> Duration {
    // The standard library seeds each RandomState from the system's randomness: enough for this, and no crate more.
    let random = RandomState::new().build_hasher().finish();
    most.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_and_ends() {
        let policy = Policy::default();
        let second = policy.delay(1, None).unwrap();
        assert!(second >= policy.base / 2 && second <= policy.base, "{second:?}");
        let fifth = policy.delay(4, None).unwrap();
        assert!(fifth >= policy.base * 4 && fifth <= policy.base * 8, "{fifth:?}");
        assert_eq!(policy.delay(5, None), None);
    }

    #[test]
    fn a_server_is_waited_for_within_reason() {
        let policy = Policy::default();
        let wait = policy.delay(1, Some(Duration::from_secs(3))).unwrap();
        assert!(wait >= Duration::from_secs(3) && wait < Duration::from_secs(4), "{wait:?}");
        assert_eq!(policy.delay(1, Some(Duration::from_secs(3600))), None);
    }

    #[test]
    fn a_server_that_is_away_is_waited_for_by_time() {
        let policy = Policy { attempts: 2, outage: Duration::from_secs(60), ..Policy::default() };
        let mut attempts = Attempts::new(&policy);
        for _ in 0..30 {
            assert!(attempts.failed_again(None, true).unwrap() <= policy.longest);
        }
        // It is back, and does not do what it should.
        assert_eq!(attempts.failed_again(None, false), None);
        attempts.restart();
        assert!(attempts.failed_again(None, false).is_some());
        assert_eq!(attempts.failed_again(None, false), None);

        let policy = Policy { outage: Duration::ZERO, ..policy };
        let mut attempts = Attempts::new(&policy);
        assert!(attempts.failed_again(None, true).is_some());
        assert_eq!(attempts.failed_again(None, true), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", text.parse().unwrap());
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn only_passing_states_are_transient() {
        for (status, transient) in [(408, true), (429, true), (500, true), (503, true), (501, false), (400, false), (404, false)] {
            assert_eq!(is_transient(StatusCode::from_u16(status).unwrap()), transient, "{status}");
        }
    }
}
