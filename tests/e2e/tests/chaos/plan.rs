//! Which faults come when: from the seed alone, so that a run can be had again.

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A ProviderConfig of this team is changed.
    Edit { team: usize, priority: u32 },
    /// This team's key is another one.
    Swap { team: usize },
    /// The operator that leads is killed, or another.
    Operator { leads: bool },
    /// The apiserver stands still for so many milliseconds; a sidecar may be killed meanwhile.
    Cut { millis: u64, sidecar: Option<usize> },
    /// This app's sidecar is killed.
    Sidecar { app: usize },
}

/// A fault after a pause in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) pause: u64,
    pub(super) fault: Fault,
}

/// Teams, and apps of both together.
pub(super) const TEAMS: usize = 2;
pub(super) const APPS: usize = 4;
/// Kills of one sidecar: the kubelet waits 10 s, 20 s, 40 s before it starts it again, which is not what is tried here.
const KILLS: usize = 2;

/// A plan of about so many seconds.
pub(super) fn of(seed: u64, seconds: u64) -> Vec<Step> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut steps, mut spent, mut kills) = (Vec::new(), 0, [0_usize; APPS]);
    while spent < seconds * 1_000 {
        let pause = random.u64(300..2_500);
        let mut victim = |random: &mut fastrand::Rng| {
            let app = random.usize(..APPS);
            (kills[app] < KILLS).then(|| {
                kills[app] += 1;
                app
            })
        };
        let team = random.usize(..TEAMS);
        let edit = Fault::Edit {
            team,
            priority: random.u32(1..1_000),
        };
        let fault = match random.u32(..100) {
            0..45 => edit,
            45..60 => Fault::Swap { team },
            60..75 => Fault::Operator { leads: random.bool() },
            75..88 => {
                let sidecar = if random.bool() { victim(&mut random) } else { None };
                Fault::Cut {
                    millis: random.u64(1_000..6_000),
                    sidecar,
                }
            }
            _ => victim(&mut random).map_or(edit, |app| Fault::Sidecar { app }),
        };
        spent += pause;
        if let Fault::Cut { millis, .. } = fault {
            spent += millis;
        }
        steps.push(Step { pause, fault });
    }
    steps
}

#[test]
fn a_seed_is_a_plan_and_every_kind_of_fault_comes() {
    assert_eq!(of(7, 60), of(7, 60));
    assert_ne!(of(7, 60), of(8, 60));
    let long = of(7, 600);
    let has = |is: fn(&Fault) -> bool| long.iter().any(|step| is(&step.fault));
    assert!(has(|fault| matches!(fault, Fault::Edit { .. })) && has(|fault| matches!(fault, Fault::Swap { .. })));
    assert!(has(|fault| matches!(fault, Fault::Operator { leads: true })));
    assert!(has(|fault| matches!(fault, Fault::Cut { sidecar: Some(_), .. })));
    assert!(has(|fault| matches!(fault, Fault::Sidecar { .. })));
}
