//! Which traces are kept, decided at a request's head: the samplers that OpenTelemetry's `OTEL_TRACES_SAMPLER` names.

use super::{Context, TraceId};

/// A head sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Of trace ids, those whose lower 63 bits are below this: 2^63 for all, 0 for none.
    below: u64,
    /// Whether a caller's own decision goes before.
    heeds_caller: bool,
}

/// Above the largest that 63 bits can be.
const ALL: u64 = 1 << 63;

impl Default for Sampler {
    /// OpenTelemetry's: `parentbased_always_on`.
    fn default() -> Self {
        Self {
            below: ALL,
            heeds_caller: true,
        }
    }
}

impl Sampler {
    /// By its name and argument, a share from 0 to 1 where the name takes one (unset: all).
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn named(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let root = name.strip_prefix("parentbased_").unwrap_or(name);
        let below = match root {
            "always_on" => ALL,
            "always_off" => 0,
            "traceidratio" => share(argument)?,
            _ => {
                return Err(format!(
                    "{name:?} is no sampler: use always_on, always_off, traceidratio, or one of these with parentbased_ before it"
                ));
            }
        };
        Ok(Self {
            below,
            heeds_caller: root != name,
        })
    }

    /// Whether the spans of a request are kept. `caller`: what its `traceparent` says.
    pub fn keeps(self, trace: TraceId, caller: Option<Context>) -> bool {
        match caller {
            Some(caller) if self.heeds_caller => caller.is_sampled,
            // As the other implementations do, so that all keep the same traces.
            _ => trace.lower() >> 1 < self.below,
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of 2^63 is at most that"
)]
fn share(argument: Option<&str>) -> Result<u64, String> {
    let text = argument.unwrap_or("1").trim();
    let share: f64 = text.parse().unwrap_or(f64::NAN);
    if !(0.0..=1.0).contains(&share) {
        return Err(format!("{text:?} is no share: write a number from 0 to 1"));
    }
    Ok((share * ALL as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::SpanId;
    use super::*;

    fn caller(is_sampled: bool) -> Context {
        Context {
            trace: TraceId::new(7),
            span: SpanId::new(7),
            is_sampled,
        }
    }

    #[test]
    fn a_caller_decides_where_he_is_heeded() {
        let sampler = |name| Sampler::named(name, Some("0")).unwrap();
        let trace = TraceId::new(7);
        for (name, root, yes, no) in [
            ("always_on", true, true, true),
            ("always_off", false, false, false),
            ("traceidratio", false, false, false),
            ("parentbased_always_on", true, true, false),
            ("parentbased_always_off", false, true, false),
            ("parentbased_traceidratio", false, true, false),
        ] {
            let decided = |caller| sampler(name).keeps(trace, caller);
            assert_eq!(
                (decided(None), decided(Some(caller(true))), decided(Some(caller(false)))),
                (root, yes, no),
                "{name}"
            );
        }
        assert_eq!(Sampler::default(), sampler("parentbased_always_on"));
    }

    #[test]
    fn a_share_of_traces_is_kept_and_the_same_ones_everywhere() {
        let sampler = Sampler::named("traceidratio", Some("0.25")).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let kept = (0..10_000)
            .filter(|_| sampler.keeps(TraceId::new(random.u128(..)), None))
            .count();
        assert!((2_300..2_700).contains(&kept), "{kept}");
        // What opentelemetry-go keeps: the upper bit of the id's lower half counts most.
        assert!(sampler.keeps(TraceId::new(0x3fff_ffff_ffff_ffff), None));
        assert!(!sampler.keeps(TraceId::new(0x4000_0000_0000_0000), None));
    }

    #[test]
    fn what_is_no_sampler_is_said() {
        assert!(Sampler::named("sometimes", None).unwrap_err().contains("is no sampler"));
        for share in ["2", "-1", "half", "NaN"] {
            assert!(
                Sampler::named("traceidratio", Some(share))
                    .unwrap_err()
                    .contains("is no share"),
                "{share}"
            );
        }
    }
}
