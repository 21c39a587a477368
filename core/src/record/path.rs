//! The path of a request: what led it from one candidate to the next, in order. A request that is answered at once has none,
//! and pays nothing for it.

use std::sync::Arc;
use std::time::Duration;

use crate::flow::WaitReason;
use crate::flow::moves::Move;
use crate::plan;

/// Turns that are kept of one request. More than candidates and attempts of any sensible configuration; the first ones tell
/// the cause.
pub const MOST_TURNS: usize = 16;

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Since the request's head.
    pub after: Duration,
    /// The ProviderConfig's name.
    pub provider: Arc<str>,
    /// What happened there.
    pub what: Happened,
}

/// What happened at a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was left out of the plan, as it stood when the request came.
    LeftOut(plan::Why),
    /// The flow turned away from it, or to it once more.
    Moved(Move),
    /// It was waited for, so long.
    Waited(WaitReason, Duration),
}

impl Happened {
    /// What it is called where it is told.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::LeftOut(_) | Self::Moved(Move::PassedOver { .. }) => "passed_over",
            Self::Moved(Move::Retried { .. }) => "retried",
            Self::Moved(Move::Failed { .. }) => "failed",
            Self::Waited(..) => "waited",
        }
    }

    /// The error's code, or why it was passed over or waited for.
    pub fn because(&self) -> &'static str {
        match self {
            Self::LeftOut(why) => why.as_str(),
            Self::Moved(Move::PassedOver { reason, .. }) => reason.as_str(),
            Self::Moved(Move::Retried { after: code } | Move::Failed { code, .. }) => code.as_str(),
            Self::Waited(reason, _) => reason.as_str(),
        }
    }
}

/// The turns of a request, with their bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    turns: Vec<Turn>,
    left_out: u32,
}

impl Path {
    /// No turns.
    pub const NONE: &'static Self = &Self {
        turns: Vec::new(),
        left_out: 0,
    };

    /// One more turn.
    pub fn push(&mut self, turn: Turn) {
        if self.turns.len() < MOST_TURNS {
            self.turns.push(turn);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// The turns, in order.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Turns beyond the bound.
    pub fn left_out(&self) -> u32 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_turns_are_kept_and_the_others_counted() {
        let mut path = Path::default();
        for number in 0..20 {
            path.push(Turn {
                after: Duration::from_millis(number),
                provider: "claude".into(),
                what: Happened::LeftOut(plan::Why::CircuitOpen),
            });
        }
        assert_eq!((path.turns().len(), path.left_out()), (MOST_TURNS, 4));
        assert_eq!(path.turns()[0].after, Duration::ZERO);
    }
}
