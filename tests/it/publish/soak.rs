//! Random interleavings of publish, rollback, scale and kill on the real API server: whatever happens, what runs at the end is exactly
//! what the highest permitted sequence wanted, or its rollback: pods, Service, budget and configuration; the records say so, and no lock is left
//! beyond its time. Every fifth release is a broken one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace},
    },
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use shipway::{
    cluster::{Cluster, Errand, Publish, Rollback, Scaling},
    domain::{
        event::{Event, Events},
        problem::Result,
        release::{Outcome, Release, position},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    ground::{Ground, record},
    print::{Print, Pulse, Random, is_as_recorded, is_broken, print_of, print_of_live, print_of_record, workload_of},
};
use crate::support::lab::lab;

/// How long a killed run's lock lives.
const TTL: Duration = Duration::from_secs(5);

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
    /// It lost its lock on a machine that stood still for too long: what was begun is left for the next, as by a killed run.
    Starved(String),
}

impl End {
    fn leaves_a_rest(&self) -> bool {
        matches!(self, End::Killed | End::Starved(_))
    }
}

/// What the namespace says to pods of a broken release.
const REFUSAL: &str = "pod-rejected";

/// One application of the soak.
struct Application<'a> {
    ground: &'a Ground,
    cluster: Cluster,
    pulse: Pulse,
    name: String,
    random: Random,
    /// The highest number that was ever tried.
    tried: u64,
    /// The highest that was reached when we last looked.
    reached: u64,
    /// By revision, of all records that were ever seen.
    prints: BTreeMap<u64, Print>,
    counts: BTreeMap<String, usize>,
    /// What ran when we last looked was a broken release, with nothing to go back to.
    broken: bool,
}

impl<'a> Application<'a> {
    fn new(ground: &'a Ground, cluster: &Cluster, pulse: &Pulse, index: u64, seed: u64) -> Self {
        let random = Random(seed.wrapping_add(index.wrapping_mul(0x1234_5678_9abc_def1)));
        let (cluster, pulse, name) = (cluster.clone(), pulse.clone(), format!("app-{index}"));
        let (prints, counts) = (BTreeMap::new(), BTreeMap::new());
        Application { ground, cluster, pulse, name, random, tried: 0, reached: 0, prints, counts, broken: false }
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
        let workload = workload_of(self.ground, &self.name, number);
        let publish = Publish { lock_ttl: TTL, lock_wait: wait, ..self.ground.publish_of(workload, number) };
        let watched = Watched::new(&self.pulse);
        watched.end(self.cluster.publish(&publish, &watched.events(), &CancellationToken::new()).await)
    }

    fn errand(&self) -> Errand {
        Errand { name: self.name.clone(), lock_ttl: TTL, lock_wait: Duration::from_secs(120), ..self.ground.errand() }
    }

    async fn rollback(&self) -> End {
        let rollback = Rollback { errand: self.errand(), to: None };
        let watched = Watched::new(&self.pulse);
        watched.end(self.cluster.rollback(&rollback, &watched.events(), &CancellationToken::new()).await)
    }

    async fn scale(&self, replicas: i32) -> End {
        let scaling = Scaling { errand: self.errand(), to: Some(replicas), replicas: None };
        let watched = Watched::new(&self.pulse);
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
        let mut records: Vec<Release> = maps.iter().map(|map| serde_json::from_str(&record(map)).unwrap()).collect();
        records.sort_by_key(|record| record.revision);
        self.prints.extend(records.iter().map(|record| (record.revision, print_of_record(record))));
        records
    }

    async fn check(&mut self, acts: &[Act], ends: &[End]) {
        let story = format!("{}: {:?}", self.name, acts.iter().zip(ends).collect::<Vec<_>>());
        self.check_ends(acts, ends, &story);
        let records = self.records().await;
        let Some(live) = self.ground.api::<Deployment>().await.get_opt(&self.name).await.unwrap() else {
            assert!(!ends.iter().zip(acts).any(|(end, act)| *end == End::Done && matches!(act.deed, Deed::Publish(_))), "{story}");
            return;
        };
        let at = position(&live.metadata);
        let (revision, sequence) = (at.revision.unwrap(), at.sequence.unwrap().number);
        let story = format!("{story}; at revision {revision}, sequence {sequence}; records {:?}", outcomes(&records));
        self.check_sequence(acts, ends, sequence, &story);
        let record = records.iter().find(|record| record.revision == revision).unwrap_or_else(|| panic!("no record of what runs: {story}"));
        let expected = match (record.restores, &record.sequence) {
            (Some(restored), _) => self.prints[&restored].clone(),
            (None, published) => print_of(self.ground, &self.name, published.as_ref().unwrap().number),
        };
        assert_eq!(print_of_record(record), expected, "{story}");
        let rest = ends.iter().any(End::leaves_a_rest);
        let ended = |(act, end): (&Act, &End)| !matches!(act.deed, Deed::Scale(..)) && *end == End::Done;
        // one that ended after what was killed has put everything in its place
        let all = !rest && acts.iter().zip(ends).any(ended);
        assert_eq!(print_of_live(self.ground, &live, &expected, all).await, expected, "{story}");
        let number = record.sequence.as_ref().unwrap().number;
        self.broken = record.restores.is_none() && is_broken(number);
        if record.restores.is_none() && number < sequence {
            let newer = |known: &&Release| known.restores.is_none() && known.sequence.as_ref().unwrap().number == sequence;
            let failed = records.iter().find(newer).unwrap_or_else(|| panic!("{sequence} was overtaken without a trace: {story}"));
            assert!(is_broken(sequence) && failed.outcome != Outcome::Succeeded, "{sequence} was good, and does not run: {story}");
        }
        let fine = record.outcome == Outcome::Succeeded || (record.outcome == Outcome::Failed && self.broken);
        assert!(fine || rest || self.broken, "{story}");
        assert!(records.iter().filter(|record| record.outcome == Outcome::Pending).count() <= usize::from(rest) * acts.len(), "{story}");
        assert!(records.iter().all(|later| later.revision <= revision || later.outcome != Outcome::Succeeded), "{story}");
        self.check_lock(rest, &story).await;
    }

    /// Each run ended as it may end.
    fn check_ends(&self, acts: &[Act], ends: &[End], story: &str) {
        let breaks = self.broken || acts.iter().any(|act| matches!(act.deed, Deed::Publish(number) if is_broken(number)));
        for (act, end) in acts.iter().zip(ends) {
            let fine = match (act.deed, end) {
                (Deed::Publish(number), End::Done) => !is_broken(number),
                (_, End::Done | End::Killed | End::Starved(_)) => true,
                (Deed::Publish(number), End::Refused(why)) => why == "superseded" || (is_broken(number) && why == REFUSAL),
                (Deed::Rollback, End::Refused(why)) => ["nothing-to-roll-back-to", "not-published"].contains(&why.as_str()),
                (Deed::Scale(..), End::Refused(why)) => why == "not-published" || (breaks && why == REFUSAL),
            };
            assert!(fine, "{story}");
        }
    }

    fn check_sequence(&mut self, acts: &[Act], ends: &[End], sequence: u64, story: &str) {
        assert!(sequence >= self.reached && sequence <= self.tried, "the sequence never goes back: {story}");
        for (act, end) in acts.iter().zip(ends) {
            match (act.deed, end) {
                (Deed::Publish(number), End::Refused(why)) if why == "superseded" => assert!(sequence > number, "by nobody: {story}"),
                (Deed::Publish(number), End::Done | End::Refused(_)) => assert!(sequence >= number, "{story}"),
                _ => {}
            }
        }
        self.reached = sequence;
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
        self.tried += 1 + u64::from(is_broken(self.tried + 1));
        let begun = Instant::now();
        let end = self.publish(self.tried, Duration::from_secs(60)).await;
        assert_eq!(end, End::Done, "{}", self.name);
        println!("{}: settled after {:.1?}; {:?}", self.name, begun.elapsed(), self.counts);
        let records = self.records().await;
        assert!(records.iter().all(|record| record.outcome != Outcome::Pending), "{}: {:?}", self.name, outcomes(&records));
        let live = self.ground.api::<Deployment>().await.get(&self.name).await.unwrap();
        let expected = print_of(self.ground, &self.name, self.tried);
        assert_eq!(print_of_live(self.ground, &live, &expected, true).await, expected);
        assert!(is_as_recorded(self.ground, &live, records.last().unwrap()).await, "{}", self.name);
        let selector = format!("shipway.dev/config=files,app.kubernetes.io/instance={}", self.name);
        let configs = self.ground.api::<ConfigMap>().await.list(&ListParams::default().labels(&selector)).await.unwrap().items;
        let needed =
            |map: &ConfigMap| records.iter().any(|record| record.config.as_ref().map(|config| &config.name) == map.metadata.name.as_ref());
        assert!(!configs.is_empty() && configs.iter().all(needed), "{}: a configuration that nobody needs", self.name);
        let lease: Lease = self.ground.api().await.get(&format!("shipway-{}", self.name)).await.unwrap();
        assert_eq!(lease.spec.unwrap().holder_identity, None, "{}", self.name);
    }
}

/// What a run says of a record that it could not complete.
struct Watched<'a> {
    unrecorded: Arc<Mutex<Option<String>>>,
    pulse: &'a Pulse,
}

impl<'a> Watched<'a> {
    fn new(pulse: &'a Pulse) -> Self {
        Watched { unrecorded: Arc::default(), pulse }
    }

    fn events(&self) -> Events {
        let kept = self.unrecorded.clone();
        Events::new(move |event| match event {
            Event::Warning { text, .. } if text.starts_with("the release's record was not completed") => *kept.lock().unwrap() = Some(text),
            _ => {}
        })
    }

    fn end<T>(&self, result: Result<T>) -> End {
        let starved = |why: String| if self.pulse.missed(TTL) { End::Starved(why) } else { End::Refused(why) };
        match (result, self.unrecorded.lock().unwrap().take()) {
            (Ok(_), None) => End::Done,
            (Ok(_), Some(why)) => starved(why),
            (Err(problem), _) if ["lock-lost", "cluster-unreachable"].contains(&problem.code.slug()) => starved(problem.to_string()),
            (Err(problem), _) => End::Refused(problem.code.slug().to_string()),
        }
    }
}

fn outcomes(records: &[Release]) -> Vec<(u64, Outcome, Option<u64>)> {
    records.iter().map(|record| (record.revision, record.outcome, record.restores)).collect()
}

async fn soak(test: &str, seed: u64, applications: u64, rounds: u64) {
    println!("seed {seed}, {applications} applications, {rounds} rounds each");
    let ground = Ground::pretended(test).await;
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(lab().client().await);
    namespaces.patch(&ground.namespace.name, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    let (cluster, pulse) = (ground.cluster().await, Pulse::default());
    let one = async |index: u64| {
        let mut application = Application::new(&ground, &cluster, &pulse, index, seed);
        for _ in 0..rounds {
            application.round().await;
        }
        application.settle().await;
    };
    tokio::select! {
        _ = futures::future::join_all((0..applications).map(one)) => {}
        () = pulse.beat(&ground) => {}
    }
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
