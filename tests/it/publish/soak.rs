//! Random interleavings of publish, rollback, scale and kill on the real API server: whatever happens, what runs at the end is exactly
//! what the highest permitted sequence wanted, or its rollback; the records say so; no lock is left beyond its time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::ConfigMap},
    jiff::Timestamp,
};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use shipway::{
    cluster::{Cluster, Errand, Publish, Rollback, Scaling},
    domain::{
        digest::Digest,
        event::{Event, Events},
        problem::Result,
        reference::ImageReference,
        release::{Outcome, Release, position},
    },
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, image};

/// How long a killed run's lock lives.
const TTL: Duration = Duration::from_secs(5);

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
    /// `shipway scale`, or `kubectl scale` beside everything else.
    Scale(i32, By),
}

#[derive(Clone, Copy, Debug)]
enum By {
    Shipway,
    Kubectl,
}

/// What tells one publish from every other: the image, and a variable.
type Print = (String, String);

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
    /// Up, but without the lock at the very end, on a machine that is too slow to renew it: the record is left for the next run to end.
    Unrecorded,
    Refused(String),
    Killed,
}

/// One application of the soak.
struct Application<'a> {
    ground: &'a Ground,
    cluster: Cluster,
    name: String,
    random: Random,
    /// The highest number that was ever tried.
    tried: u64,
    /// The highest that was reached when we last looked.
    reached: u64,
    /// By revision, of all records that were ever seen.
    prints: BTreeMap<u64, Print>,
    counts: BTreeMap<String, usize>,
}

/// An image that only the publish of this number has.
fn image_of(number: u64) -> ImageReference {
    let digest: Digest = format!("sha256:{number:064x}").parse().unwrap();
    image("1").with_digest(&digest)
}

fn print_of(number: u64) -> Print {
    (image_of(number).to_string(), number.to_string())
}

fn print(deployment: &Deployment) -> Print {
    let container = &deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
    let number = container.env.iter().flatten().find(|variable| variable.name == "NUMBER").and_then(|variable| variable.value.clone());
    (container.image.clone().unwrap_or_default(), number.unwrap_or_default())
}

impl<'a> Application<'a> {
    fn new(ground: &'a Ground, cluster: &Cluster, index: u64, seed: u64) -> Self {
        let random = Random(seed.wrapping_add(index.wrapping_mul(0x1234_5678_9abc_def1)));
        let (cluster, name) = (cluster.clone(), format!("app-{index}"));
        Application { ground, cluster, name, random, tried: 0, reached: 0, prints: BTreeMap::new(), counts: BTreeMap::new() }
    }

    fn act(&mut self) -> Act {
        let deed = match self.random.below(10) {
            0..=4 => {
                self.tried += 1;
                Deed::Publish(self.tried)
            }
            5 => {
                let older = self.tried.saturating_sub(self.random.below(3)).max(1);
                self.tried = self.tried.max(older);
                Deed::Publish(older)
            }
            6 | 7 => Deed::Rollback,
            by => Deed::Scale(i32::try_from(self.random.below(4)).unwrap() + 1, if by == 8 { By::Shipway } else { By::Kubectl }),
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
                Deed::Scale(..) => "scale",
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
                Deed::Scale(replicas, By::Shipway) => self.scale(replicas).await,
                Deed::Scale(replicas, By::Kubectl) => self.scale_beside(replicas).await,
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
        workload.env.insert("NUMBER".to_string(), number.to_string());
        (workload.name, workload.app) = (self.name.clone(), self.name.clone());
        let publish = Publish { lock_ttl: TTL, lock_wait: wait, ..self.ground.publish_of(workload, number) };
        let watched = Watched::default();
        watched.end(self.cluster.publish(&publish, &watched.events(), &CancellationToken::new()).await)
    }

    fn errand(&self) -> Errand {
        Errand { name: self.name.clone(), lock_ttl: TTL, lock_wait: Duration::from_secs(120), ..self.ground.errand() }
    }

    async fn rollback(&self) -> End {
        let rollback = Rollback { errand: self.errand(), to: None };
        let watched = Watched::default();
        watched.end(self.cluster.rollback(&rollback, &watched.events(), &CancellationToken::new()).await)
    }

    async fn scale(&self, replicas: i32) -> End {
        let scaling = Scaling { errand: self.errand(), to: Some(replicas), replicas: None };
        let watched = Watched::default();
        watched.end(self.cluster.scale(&scaling, &watched.events(), &CancellationToken::new()).await)
    }

    async fn scale_beside(&self, replicas: i32) -> End {
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
        self.prints.extend(records.iter().map(|record| (record.revision, print(&record.deployment))));
        records
    }

    async fn check(&mut self, acts: &[Act], ends: &[End]) {
        let story = format!("{}: {:?}", self.name, acts.iter().zip(ends).collect::<Vec<_>>());
        for (act, end) in acts.iter().zip(ends) {
            let fine = match (act.deed, end) {
                (_, End::Done | End::Unrecorded | End::Killed) => true,
                (Deed::Publish(_), End::Refused(why)) => why == "superseded",
                (Deed::Rollback, End::Refused(why)) => ["nothing-to-roll-back-to", "not-published"].contains(&why.as_str()),
                (Deed::Scale(..), End::Refused(why)) => why == "not-published",
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
                (Deed::Publish(number), End::Done | End::Unrecorded) => assert!(sequence >= number, "{story}"),
                (Deed::Publish(number), End::Refused(_)) => assert!(sequence > number, "superseded by nobody: {story}"),
                _ => {}
            }
        }
        self.reached = sequence;
        let record = records.iter().find(|record| record.revision == revision).unwrap_or_else(|| panic!("no record of what runs: {story}"));
        let expected = match record.restores {
            Some(restored) => self.prints[&restored].clone(),
            None => print_of(sequence),
        };
        assert_eq!(print(&live), expected, "{story}");
        assert_eq!((print(&record.deployment), &record.image), (expected.clone(), &expected.0), "{story}");
        let killed = ends.contains(&End::Killed) || ends.contains(&End::Unrecorded);
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
        assert!(spec.lease_duration_seconds == Some(5) && age.as_secs() >= -1, "{story}");
    }

    /// All runs have ended: what was killed last is seen to by one more publish, which has not to wait longer than a lock lives.
    async fn settle(&mut self) {
        self.tried += 1;
        let begun = Instant::now();
        let mut end = self.publish(self.tried, Duration::from_secs(60)).await;
        if end == End::Unrecorded {
            end = self.publish(self.tried, Duration::from_secs(60)).await;
        }
        assert_eq!(end, End::Done, "{}", self.name);
        println!("{}: settled after {:.1?}; {:?}", self.name, begun.elapsed(), self.counts);
        let records = self.records().await;
        assert!(records.iter().all(|record| record.outcome != Outcome::Pending), "{}: {:?}", self.name, outcomes(&records));
        let live = self.ground.api::<Deployment>().await.get(&self.name).await.unwrap();
        assert_eq!(print(&live), print_of(self.tried));
        let lease: Lease = self.ground.api().await.get(&format!("shipway-{}", self.name)).await.unwrap();
        assert_eq!(lease.spec.unwrap().holder_identity, None, "{}", self.name);
    }
}

/// What a run says of a record that it could not complete.
#[derive(Default)]
struct Watched(Arc<Mutex<Option<String>>>);

impl Watched {
    fn events(&self) -> Events {
        let kept = self.0.clone();
        Events::new(move |event| match event {
            Event::Warning { text, .. } if text.starts_with("the release's record was not completed") => *kept.lock().unwrap() = Some(text),
            _ => {}
        })
    }

    fn end<T>(&self, result: Result<T>) -> End {
        match result {
            Ok(_) => match self.0.lock().unwrap().take() {
                Some(why) if why.contains("was lost to another run, or could not be renewed") => End::Unrecorded,
                Some(why) => End::Refused(why),
                None => End::Done,
            },
            // on a machine that is too slow to renew the lock, or to answer, in time: what was begun is left for the next, as by a killed run
            Err(problem) if ["lock-lost", "cluster-unreachable"].contains(&problem.code.slug()) => End::Killed,
            Err(problem) => End::Refused(problem.code.slug().to_string()),
        }
    }
}

fn outcomes(records: &[Release]) -> Vec<(u64, Outcome, Option<u64>)> {
    records.iter().map(|record| (record.revision, record.outcome, record.restores)).collect()
}

async fn soak(test: &str, seed: u64, applications: u64, rounds: u64) {
    println!("seed {seed}, {applications} applications, {rounds} rounds each");
    let ground = Ground::pretended(test).await;
    let cluster = ground.cluster().await;
    let one = async |index: u64| {
        let mut application = Application::new(&ground, &cluster, index, seed);
        for _ in 0..rounds {
            application.round().await;
        }
        application.settle().await;
    };
    futures::future::join_all((0..applications).map(one)).await;
}

#[tokio::test]
async fn whatever_interleaves_the_newest_wins() {
    soak("soak", 7, 8, 4).await;
}

/// `make soak`: a thousand rounds, by another seed each time (or SOAK_SEED).
#[tokio::test]
#[ignore = "takes many minutes; run by make soak"]
async fn a_thousand_interleavings() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // while one waits for the lock of a run that was killed, the others go on
    let applications = number("SOAK_APPLICATIONS").unwrap_or(32);
    let rounds = number("SOAK_ROUNDS").unwrap_or(1000);
    let begun = Instant::now();
    soak("soak long", number("SOAK_SEED").unwrap_or(now), applications, rounds.div_ceil(applications)).await;
    println!("{} interleavings in {:.0?}", rounds.div_ceil(applications) * applications, begun.elapsed());
}
