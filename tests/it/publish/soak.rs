//! Random interleavings of publish, rollback, scale and kill on the real API server: whatever happens, what runs at the end is exactly
//! what the highest permitted sequence wanted, or its rollback; the records say so; no lock is left beyond its time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::ConfigMap},
    jiff::Timestamp,
};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use shipway::{
    cluster::{Errand, Publish, Rollback},
    domain::{
        digest::Digest,
        reference::ImageReference,
        release::{Outcome, Release, position},
    },
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, image};

/// How long a killed run's lock lives.
const TTL: Duration = Duration::from_secs(3);

/// SplitMix64: a seed gives the same choices, though not the same timing.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Of this number in the sequence.
    Publish(u64),
    Rollback,
    Scale(i32),
}

/// One deed, when it begins, and when it is killed.
#[derive(Clone, Copy, Debug)]
struct Act {
    deed: Deed,
    delay: Duration,
    killed: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
enum End {
    Done,
    Refused(String),
    Killed,
}

/// One application of the soak.
struct Application<'a> {
    ground: &'a Ground,
    name: String,
    random: Random,
    /// The highest number that was ever tried.
    tried: u64,
    /// The highest that was reached when we last looked.
    reached: u64,
    /// Images by revision, of all records that were ever seen.
    images: BTreeMap<u64, String>,
    counts: BTreeMap<String, usize>,
}

/// An image that only the publish of this number has.
fn image_of(number: u64) -> ImageReference {
    let digest: Digest = format!("sha256:{number:064x}").parse().unwrap();
    image("1").with_digest(&digest)
}

impl<'a> Application<'a> {
    fn new(ground: &'a Ground, index: u64, seed: u64) -> Self {
        let random = Random(seed.wrapping_add(index.wrapping_mul(0x1234_5678_9abc_def1)));
        Application { ground, name: format!("app-{index}"), random, tried: 0, reached: 0, images: BTreeMap::new(), counts: BTreeMap::new() }
    }

    fn act(&mut self) -> Act {
        let deed = match self.random.below(10) {
            0..=4 => {
                self.tried += 1;
                Deed::Publish(self.tried)
            }
            5 => Deed::Publish(self.tried.saturating_sub(self.random.below(3)).max(1)),
            6 | 7 => Deed::Rollback,
            _ => Deed::Scale(i32::try_from(self.random.below(4)).unwrap() + 1),
        };
        let killed = (self.random.below(4) == 0).then(|| self.random.millis(1500));
        Act { deed, delay: self.random.millis(500), killed }
    }

    async fn round(&mut self) {
        let acts: Vec<Act> = (0..2 + self.random.below(2)).map(|_| self.act()).collect();
        let ends = futures::future::join_all(acts.iter().map(|act| self.perform(*act))).await;
        for (act, end) in acts.iter().zip(&ends) {
            let deed = match act.deed {
                Deed::Publish(_) => "publish",
                Deed::Rollback => "rollback",
                Deed::Scale(_) => "scale",
            };
            *self.counts.entry(format!("{deed}: {end:?}")).or_default() += 1;
        }
        self.check(&acts, &ends).await;
    }

    async fn perform(&self, act: Act) -> End {
        tokio::time::sleep(act.delay).await;
        let work = async {
            match act.deed {
                Deed::Publish(number) => self.publish(number, Duration::from_secs(120)).await,
                Deed::Rollback => self.rollback().await,
                Deed::Scale(replicas) => self.scale(replicas).await,
            }
        };
        match act.killed {
            // dropped: nothing is tidied up, as with SIGKILL
            Some(after) => tokio::time::timeout(after, work).await.unwrap_or(End::Killed),
            None => work.await,
        }
    }

    async fn publish(&self, number: u64, wait: Duration) -> End {
        let mut workload = self.ground.workload("1");
        workload.image = image_of(number);
        (workload.name, workload.app) = (self.name.clone(), self.name.clone());
        let publish = Publish { lock_ttl: TTL, lock_wait: wait, ..self.ground.publish_of(workload, number) };
        let cluster = self.ground.cluster().await;
        end(cluster.publish(&publish, &self.ground.events, &CancellationToken::new()).await)
    }

    async fn rollback(&self) -> End {
        let errand = Errand { name: self.name.clone(), lock_ttl: TTL, lock_wait: Duration::from_secs(120), ..self.ground.errand() };
        let rollback = Rollback { errand, to: None };
        let cluster = self.ground.cluster().await;
        end(cluster.rollback(&rollback, &self.ground.events, &CancellationToken::new()).await)
    }

    /// As `kubectl scale` does it, beside everything else.
    async fn scale(&self, replicas: i32) -> End {
        let params = PatchParams { field_manager: Some("kubectl-scale".to_string()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        match self.ground.api::<Deployment>().await.patch(&self.name, &params, &patch).await {
            Ok(_) => End::Done,
            Err(error) => {
                End::Refused(if error.to_string().contains("not found") { "not-published".to_string() } else { error.to_string() })
            }
        }
    }

    async fn records(&mut self) -> Vec<Release> {
        let selector = format!("shipway.dev/record=release,app.kubernetes.io/instance={}", self.name);
        let maps = self.ground.api::<ConfigMap>().await.list(&ListParams::default().labels(&selector)).await.unwrap().items;
        let mut records: Vec<Release> =
            maps.iter().map(|map| serde_json::from_str(&map.data.as_ref().unwrap()["release.json"]).unwrap()).collect();
        records.sort_by_key(|record| record.revision);
        self.images.extend(records.iter().map(|record| (record.revision, record.image.clone())));
        records
    }

    async fn check(&mut self, acts: &[Act], ends: &[End]) {
        let story = format!("{}: {:?}", self.name, acts.iter().zip(ends).collect::<Vec<_>>());
        for (act, end) in acts.iter().zip(ends) {
            let fine = match (act.deed, end) {
                (_, End::Done | End::Killed) => true,
                (Deed::Publish(_), End::Refused(why)) => why == "superseded",
                (Deed::Rollback, End::Refused(why)) => ["nothing-to-roll-back-to", "not-published"].contains(&why.as_str()),
                (Deed::Scale(_), End::Refused(why)) => why == "not-published",
            };
            assert!(fine, "{story}");
        }
        let records = self.records().await;
        let Some(live) = self.ground.api::<Deployment>().await.get_opt(&self.name).await.unwrap() else {
            assert!(!ends.iter().zip(acts).any(|(end, act)| *end == End::Done && matches!(act.deed, Deed::Publish(_))), "{story}");
            return;
        };
        let at = position(&live.metadata);
        let (revision, sequence) = (at.revision.unwrap(), at.sequence.unwrap().number);
        let story = format!("{story}; at revision {revision}, sequence {sequence}; records {:?}", outcomes(&records));
        assert!(sequence >= self.reached && sequence <= self.tried, "the sequence never goes back: {story}");
        for (act, end) in acts.iter().zip(ends) {
            match (act.deed, end) {
                (Deed::Publish(number), End::Done) => assert!(sequence >= number, "{story}"),
                (Deed::Publish(number), End::Refused(_)) => assert!(sequence > number, "superseded by nobody: {story}"),
                _ => {}
            }
        }
        self.reached = sequence;
        let record = records.iter().find(|record| record.revision == revision).unwrap_or_else(|| panic!("no record of what runs: {story}"));
        let expected = match record.restores {
            Some(restored) => self.images[&restored].clone(),
            None => image_of(sequence).to_string(),
        };
        let running = live.spec.unwrap().template.spec.unwrap().containers[0].image.clone().unwrap();
        assert_eq!(running, expected, "{story}");
        assert_eq!(record.image, expected, "{story}");
        let killed = ends.contains(&End::Killed);
        assert!(record.outcome == Outcome::Succeeded || killed, "{story}");
        assert!(records.iter().filter(|record| record.outcome == Outcome::Pending).count() <= usize::from(killed) * acts.len(), "{story}");
        assert!(records.iter().all(|later| later.revision <= revision || later.outcome != Outcome::Succeeded), "{story}");
        self.check_lock(killed, &story).await;
    }

    async fn check_lock(&self, killed: bool, story: &str) {
        let lease: Lease = self.ground.api().await.get(&format!("shipway-{}", self.name)).await.unwrap();
        let spec = lease.spec.unwrap();
        let Some(holder) = spec.holder_identity else { return };
        assert!(killed, "{holder} ended and holds the lock: {story}");
        let age = Timestamp::now().duration_since(spec.renew_time.unwrap().0);
        assert!(spec.lease_duration_seconds == Some(3) && age.as_secs() >= -1, "{story}");
    }

    /// All runs have ended: what was killed last is seen to by one more publish, which has not to wait longer than a lock lives.
    async fn settle(&mut self) {
        self.tried += 1;
        let begun = Instant::now();
        let end = self.publish(self.tried, Duration::from_secs(60)).await;
        assert_eq!(end, End::Done, "{}", self.name);
        println!("{}: settled after {:.1?}; {:?}", self.name, begun.elapsed(), self.counts);
        let records = self.records().await;
        assert!(records.iter().all(|record| record.outcome != Outcome::Pending), "{}: {:?}", self.name, outcomes(&records));
        let live = self.ground.api::<Deployment>().await.get(&self.name).await.unwrap();
        let running = live.spec.unwrap().template.spec.unwrap().containers[0].image.clone().unwrap();
        assert_eq!(running, image_of(self.tried).to_string());
        let lease: Lease = self.ground.api().await.get(&format!("shipway-{}", self.name)).await.unwrap();
        assert_eq!(lease.spec.unwrap().holder_identity, None, "{}", self.name);
    }
}

fn end<T>(result: shipway::domain::problem::Result<T>) -> End {
    match result {
        Ok(_) => End::Done,
        // on a machine that is too slow to renew it in time: what was begun is left for the next, as by a killed run
        Err(problem) if problem.code.slug() == "lock-lost" => End::Killed,
        Err(problem) => End::Refused(problem.code.slug().to_string()),
    }
}

fn outcomes(records: &[Release]) -> Vec<(u64, Outcome, Option<u64>)> {
    records.iter().map(|record| (record.revision, record.outcome, record.restores)).collect()
}

async fn soak(test: &str, seed: u64, applications: u64, rounds: u64) {
    println!("seed {seed}, {applications} applications, {rounds} rounds each");
    let ground = Ground::pretended(test).await;
    let one = async |index: u64| {
        let mut application = Application::new(&ground, index, seed);
        for _ in 0..rounds {
            application.round().await;
            // what was said is not looked at, and would only take room
            ground.said();
        }
        application.settle().await;
    };
    futures::future::join_all((0..applications).map(one)).await;
}

#[tokio::test]
async fn whatever_interleaves_the_newest_wins() {
    soak("soak", 7, 4, 6).await;
}

/// `make soak`: a thousand rounds, by another seed each time (or SOAK_SEED).
#[tokio::test]
#[ignore = "takes many minutes; run by make soak"]
async fn a_thousand_interleavings() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let applications = 8;
    let rounds = number("SOAK_ROUNDS").unwrap_or(1000);
    let begun = Instant::now();
    soak("soak long", number("SOAK_SEED").unwrap_or(now), applications, rounds / applications).await;
    println!("{} interleavings in {:.0?}", rounds / applications * applications, begun.elapsed());
}
