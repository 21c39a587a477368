//! Makes the faults of a plan, watches what comes of them, and writes the history.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::history::{Entry, Event};
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{App, Bed, LONG, asking_manifest, eventually};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::plan::{APPS, Fault, Step, TEAMS};

/// Between two looks at what the sidecars have loaded, and which keys the providers saw.
const LOOK: Duration = Duration::from_millis(400);
const KEYS: Duration = Duration::from_secs(15);
/// No look waits longer, as for an apiserver that stands still.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many requests in a row are of all of a team's pods: each asks ten times a second.
const OF_ALL_PODS: usize = 40;
/// The priority that is set last, and that no fault sets.
const LAST: u32 = 1_000;
const PROVIDERS: [&str; 3] = ["claude", "gemini", "openai"];

struct Chaos<'a> {
    teams: [&'a Bed; TEAMS],
    apps: Vec<(usize, App<'a>)>,
    begun: (Instant, Timestamp),
    history: Mutex<Vec<Entry>>,
    keys: Mutex<[u32; TEAMS]>,
    /// The last request of each team's providers that was looked at.
    looked: Mutex<[u64; TEAMS]>,
}

/// Runs a plan to its end, and gives its history in the order of time.
pub(super) async fn run(teams: [&Bed; TEAMS], plan: &[Step]) -> Result<Vec<Entry>> {
    let mut chaos = Chaos {
        teams,
        apps: Vec::new(),
        begun: (Instant::now(), Timestamp::now()),
        history: Mutex::default(),
        keys: Mutex::default(),
        looked: Mutex::default(),
    };
    for team in 0..TEAMS {
        chaos.swap(team).await?;
    }
    for number in 0..APPS {
        let team = number % TEAMS;
        let bed = *chaos.teams.get(team).context("no such team")?;
        chaos
            .apps
            .push((team, bed.app_from(&asking_manifest(&format!("app-{number}"))).await?));
    }
    let watching = async {
        loop {
            chaos.look().await;
            tokio::time::sleep(LOOK).await;
        }
    };
    let reading = async {
        loop {
            tokio::time::sleep(KEYS).await;
            // Nobody may be there to tell; the last look is the one that counts.
            let _ = tokio::time::timeout(PATIENCE * 2, chaos.read_keys()).await;
        }
    };
    let story = async {
        for step in plan {
            tokio::time::sleep(Duration::from_millis(step.pause)).await;
            chaos.make(step.fault).await.with_context(|| format!("{step:?}"))?;
        }
        chaos.settle().await
    };
    tokio::select! {
        () = watching => {}
        () = reading => {}
        end = story => end?,
    }
    chaos.account().await?;
    let mut history = chaos.history.into_inner().unwrap_or_default();
    history.sort_by_key(|entry| entry.at);
    Ok(history)
}

impl Chaos<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note(&self, at: u64, event: Event) {
        if let Ok(mut history) = self.history.lock() {
            history.push(Entry { at, event });
        }
    }

    fn name(&self, app: &App<'_>, team: usize) -> String {
        format!("{}/{}", self.teams[team].namespace, app.pod)
    }

    async fn make(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Edit { team, priority } => self.edit(team, priority).await,
            Fault::Swap { team } => self.swap(team).await,
            Fault::Operator { leads } => self.kill_operator(leads).await,
            Fault::Sidecar { app } => {
                let sidecar = self.sidecar(app).await?;
                self.kill_sidecar(app, &sidecar)
            }
            Fault::Cut { millis, sidecar } => {
                let victim = match sidecar {
                    Some(app) => Some((app, self.sidecar(app).await?)),
                    None => None,
                };
                let stopped = Process::named("kube-apiserver")?.stop()?;
                self.note(self.now(), Event::ApiserverGone);
                tokio::time::sleep(Duration::from_millis(millis / 2)).await;
                if let Some((app, process)) = victim {
                    self.kill_sidecar(app, &process)?;
                }
                tokio::time::sleep(Duration::from_millis(millis / 2)).await;
                stopped.go_on()?;
                self.note(self.now(), Event::ApiserverBack);
                Ok(())
            }
        }
    }

    async fn edit(&self, team: usize, priority: u32) -> Result<()> {
        let bed = self.teams[team];
        let name = PROVIDERS[priority as usize % PROVIDERS.len()];
        let change = json!({"spec": {"priority": priority}});
        eventually(LONG, "the apiserver takes an edit", async || {
            bed.api::<ProviderConfig>()
                .patch(name, &PatchParams::default(), &Patch::Merge(&change))
                .await?;
            Ok(())
        })
        .await?;
        let change = format!("{name}: priority {priority}");
        let namespace = bed.namespace.clone();
        self.note(self.now(), Event::Edited { namespace, change });
        Ok(())
    }

    async fn swap(&self, team: usize) -> Result<()> {
        let bed = self.teams[team];
        let number = {
            let mut keys = self.keys.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
            keys[team] += 1;
            keys[team]
        };
        let key = format!("key-{number}-of-{}", bed.namespace);
        let namespace = bed.namespace.clone();
        // Before it is there: nobody can use it sooner.
        let event = Event::Swapped {
            namespace,
            key: key.clone(),
        };
        self.note(self.now(), event);
        let change = json!({"stringData": {"anthropic": key, "gemini": key, "openai": key}});
        eventually(LONG, "the apiserver takes a key", async || {
            bed.api::<Secret>()
                .patch("keys", &PatchParams::default(), &Patch::Merge(&change))
                .await?;
            Ok(())
        })
        .await
    }

    async fn kill_operator(&self, leads: bool) -> Result<()> {
        let operators = self.teams[0].operators();
        let pod = eventually(LONG, "an operator is killed", async || {
            let (leader, names) = (operators.leader().await?, operators.names().await?);
            let victim = names
                .into_iter()
                .find(|name| (*name == leader) == leads)
                .context("there is none")?;
            // Without a chance to hand over; a process that is only killed would be started ever more seldom.
            operators
                .pods()
                .delete(&victim, &DeleteParams::default().grace_period(0))
                .await?;
            Ok(victim)
        })
        .await?;
        self.note(self.now(), Event::OperatorKilled { pod });
        Ok(())
    }

    async fn sidecar(&self, app: usize) -> Result<Process> {
        let (team, app) = &self.apps[app];
        eventually(LONG, "the sidecar runs", async || {
            let pod: Pod = self.teams[*team].api::<Pod>().get(&app.pod).await?;
            Process::of(&pod, "bowsprit")
        })
        .await
    }

    fn kill_sidecar(&self, app: usize, process: &Process) -> Result<()> {
        let (team, app) = &self.apps[app];
        let pod = self.name(app, *team);
        self.note(self.now(), Event::SidecarKilled { pod });
        process.signal("KILL")
    }

    /// What each sidecar has loaded.
    async fn look(&self) {
        for (team, app) in &self.apps {
            let Ok(Ok(health)) = tokio::time::timeout(PATIENCE, app.health()).await else {
                continue;
            };
            let config = &health["config"];
            if let (Some(sequence), Some(revision)) = (config["sequence"].as_u64(), config["revision"].as_str()) {
                let (pod, revision) = (self.name(app, *team), revision.to_owned());
                self.note(
                    self.now(),
                    Event::Loaded {
                        pod,
                        sequence,
                        revision,
                    },
                );
            }
        }
    }

    /// Which keys the providers saw since the last look; each run of one key is one line.
    async fn read_keys(&self) -> Result<()> {
        for (team, bed) in self.teams.iter().enumerate() {
            let seen = bed.providers().keys().await?;
            let from = self.looked.lock().map_err(|_| anyhow::anyhow!("poisoned"))?[team];
            let mut last = None;
            for (id, key) in seen.iter().filter(|(id, _)| *id > from) {
                if last != Some(key) {
                    let event = Event::Seen {
                        namespace: bed.namespace.clone(),
                        key: key.clone(),
                    };
                    self.note(self.now(), event);
                }
                last = Some(key);
                self.looked.lock().map_err(|_| anyhow::anyhow!("poisoned"))?[team] = *id;
            }
        }
        Ok(())
    }

    /// The last change, and how long it takes to be everywhere.
    async fn settle(&self) -> Result<()> {
        let last = self.now();
        for team in 0..TEAMS {
            self.edit(team, LAST).await?;
        }
        let mut wanted = std::collections::BTreeMap::new();
        for (team, app) in &self.apps {
            let map = self.teams[*team]
                .rendered(|text| text.contains(&format!("priority: {LAST}\n")))
                .await?;
            let revision = map.data.unwrap_or_default().remove("revision").unwrap_or_default();
            wanted.insert(self.name(app, *team), revision);
        }
        self.note(last, Event::LastFault { wanted: wanted.clone() });
        for (team, app) in &self.apps {
            let pod = self.name(app, *team);
            let revision = wanted.get(&pod).cloned().unwrap_or_default();
            eventually(LONG, &format!("{pod} has the last config"), async || {
                let health = app.health().await?;
                ensure!(health["config"]["revision"] == *revision, "{}", health["config"]);
                Ok(())
            })
            .await?;
            self.note(self.now(), Event::Settled { pod, revision });
        }
        for (team, bed) in self.teams.iter().enumerate() {
            let number = self.keys.lock().map_err(|_| anyhow::anyhow!("poisoned"))?[team];
            let key = format!("key-{number}-of-{}", bed.namespace);
            // By every pod: one has a key while the kubelet has not brought it to another yet.
            eventually(LONG, "the last key is used, and no other any more", async || {
                let seen = bed.providers().keys().await?;
                let newest = seen.iter().rev().take(OF_ALL_PODS);
                let others: Vec<_> = newest.filter(|(_, used)| *used != key).collect();
                ensure!(seen.len() >= OF_ALL_PODS && others.is_empty(), "{others:?}");
                Ok(())
            })
            .await?;
        }
        self.read_keys().await
    }

    /// What every app heard, and whether the sidecars counted the same.
    async fn account(&self) -> Result<()> {
        for (team, app) in &self.apps {
            let pod = self.name(app, *team);
            let asked = app.asked().await?;
            let object = app.object().await?;
            let statuses = object
                .status
                .iter()
                .flat_map(|status| status.init_container_statuses.iter().flatten());
            let restarts: i32 = statuses.into_iter().map(|it| it.restart_count).sum();
            if restarts == 0 {
                let before = asked.len() as u64;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let ended = app.metric("bowsprit_requests_total", &[]).await? as u64;
                let after = eventually(PATIENCE * 5, "the log has caught up", async || {
                    let after = app.asked().await?.len() as u64;
                    ensure!(after + 1 >= ended, "{after} of {ended}");
                    Ok(after)
                })
                .await
                .unwrap_or(before);
                self.note(
                    self.now(),
                    Event::Counted {
                        pod: pod.clone(),
                        before,
                        ended,
                        after,
                    },
                );
            }
            for line in asked {
                let time: Timestamp = line.time.parse()?;
                let at = time.as_millisecond() - self.begun.1.as_millisecond();
                let event = Event::Asked {
                    pod: pod.clone(),
                    ok: line.ok,
                    error: line.error.unwrap_or_default(),
                };
                self.note(u64::try_from(at).unwrap_or_default(), event);
            }
        }
        Ok(())
    }
}
