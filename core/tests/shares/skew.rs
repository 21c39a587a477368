//! Who wants how much, when. All together always want half as much again as the limit.

/// The shape of the demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// All want the same.
    Uniform,
    /// One wants nearly everything.
    Hot,
    /// The n-th wants an n-th of the first.
    Zipf,
    /// All want the same, in bursts of ten seconds with ten between them, half of them in turn.
    Bursts,
    /// One wants nearly everything, another one every minute.
    Moving,
}

/// The demand of all together, as a multiple of the limit.
const OVERALL: f64 = 1.5;

impl Skew {
    pub const ALL: [Self; 5] = [Self::Uniform, Self::Hot, Self::Zipf, Self::Bursts, Self::Moving];

    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Hot => "hot",
            Self::Zipf => "zipf",
            Self::Bursts => "bursts",
            Self::Moving => "moving",
        }
    }

    /// Whether who wants it changes under way.
    pub fn changes(self) -> bool {
        matches!(self, Self::Bursts | Self::Moving)
    }

    /// What the pod `index` of `pods` wants of the limit at this second.
    pub fn part(self, index: usize, pods: usize, second: f64) -> f64 {
        let even = 1.0 / pods as f64;
        let hot = |at: usize| {
            if index == at {
                0.95
            } else {
                0.05 / (pods - 1).max(1) as f64
            }
        };
        OVERALL
            * match self {
                Self::Uniform => even,
                Self::Hot => hot(0),
                Self::Zipf => {
                    let all: f64 = (1..=pods).map(|n| 1.0 / n as f64).sum();
                    1.0 / (index + 1) as f64 / all
                }
                Self::Bursts => {
                    let mine = (second / 10.0) as usize % 2 == index % 2;
                    if mine { 2.0 * even } else { 0.0 }
                }
                Self::Moving => hot((second / 60.0) as usize % pods),
            }
    }
}
