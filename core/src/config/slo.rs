//! An objective, valid by construction.

use std::time::Duration;

use bowsprit_crds::Slo as Spec;

/// The share of streams, in percent, whose first content must come in time.
pub const FIRST_TOKEN_PERCENT: f64 = 95.0;
/// A week: burn rates over less say nothing.
const SHORTEST: Duration = Duration::from_hours(7 * 24);
/// Ninety days.
const LONGEST: Duration = Duration::from_hours(90 * 24);

/// What must go well, how often, over which time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slo {
    /// Percentage that must be answered, 50 to 99.999.
    pub availability: Option<f64>,
    /// How soon [`FIRST_TOKEN_PERCENT`] of the streams must show their first content.
    pub first_token: Option<Duration>,
    /// Over this time.
    pub window: Duration,
}

/// What is wrong with it: field, problem, remedy.
pub(super) type Wrong = (&'static str, String, &'static str);

impl Slo {
    /// Checks a spec.
    ///
    /// # Errors
    /// Everything that is wrong with it, with the field's path from the spec.
    pub(super) fn of(spec: &Spec) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let availability = spec.availability.as_ref().and_then(|text| {
            let read = text.parse().ok().filter(|percent| (50.0..=99.999).contains(percent));
            if read.is_none() {
                let remedy = "set a percentage from 50 to 99.999, such as \"99.5\"";
                wrong.push(("slo.availability", format!("is {text:?}"), remedy));
            }
            read
        });
        if spec.availability.is_none() && spec.first_token.is_none() {
            let remedy = "set availability (such as \"99.5\") or firstToken (such as 5s)";
            wrong.push(("slo", "asks for nothing".to_owned(), remedy));
        }
        let window = spec.over_window.get();
        if !(SHORTEST..=LONGEST).contains(&window) {
            let remedy = "set it to 168h (a week) to 2160h (90 days)";
            wrong.push(("slo.overWindow", format!("is {}", spec.over_window), remedy));
        }
        if wrong.is_empty() {
            Ok(Self {
                availability,
                first_token: spec.first_token.map(bowsprit_crds::DurationText::get),
                window,
            })
        } else {
            Err(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Slo, Vec<&'static str>> {
        let document = bowsprit_crds::yaml::documents(yaml).unwrap().remove(0);
        let spec = serde_json::from_value(document).unwrap();
        Slo::of(&spec).map_err(|wrong| wrong.into_iter().map(|(field, ..)| field).collect())
    }

    #[test]
    fn a_month_is_meant_where_no_time_is_named() {
        let slo = read("{availability: '99.5'}").unwrap();
        assert_eq!(slo.window, Duration::from_hours(30 * 24));
        assert_eq!((slo.availability, slo.first_token), (Some(99.5), None));
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_field() {
        assert_eq!(read("{}"), Err(vec!["slo"]));
        for text in ["100", "0.5", "ninety", "49.9", "NaN", "inf"] {
            let one = format!("{{availability: '{text}'}}");
            assert_eq!(read(&one), Err(vec!["slo.availability"]), "{text}");
        }
        for window in ["1h", "2161h"] {
            let one = format!("{{firstToken: 5s, overWindow: {window}}}");
            assert_eq!(read(&one), Err(vec!["slo.overWindow"]), "{window}");
        }
    }
}
