//! Which rule turned a request away, as one text that every sink tells alike: `KIND:NAME`. The kinds are a closed list; the
//! ledger's schema has the same.

/// What kind of rule it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refuser {
    /// A limit of requests, tokens, concurrency or cost.
    Limit,
    /// A rule of who may ask for what.
    Access,
    /// A budget that is used up.
    Budget,
    /// A guard that looked at the content.
    Guard,
    /// A kill switch.
    Pause,
}

impl Refuser {
    /// All five.
    pub const ALL: [Self; 5] = [Self::Limit, Self::Access, Self::Budget, Self::Guard, Self::Pause];

    /// The text before the name, its colon included.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Limit => "limit:",
            Self::Access => "access:",
            Self::Budget => "budget:",
            Self::Guard => "guard:",
            Self::Pause => "pause:",
        }
    }

    /// The text for the rule of this name, as the request's record has it.
    pub fn named(self, name: &str) -> Box<str> {
        [self.prefix(), name].concat().into_boxed_str()
    }

    /// Of which kind and name a text tells; `None`: it is of no kind that this release knows.
    pub fn parse(text: &str) -> Option<(Self, &str)> {
        let found = Self::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        text.strip_prefix(found.prefix()).map(|name| (found, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_its_kind_and_its_name_whatever_the_name_is() {
        for kind in Refuser::ALL {
            for name in ["tokens-per-minute", "", "a:b"] {
                assert_eq!(Refuser::parse(&kind.named(name)), Some((kind, name)));
            }
        }
        assert_eq!(Refuser::parse(""), None);
        assert_eq!(Refuser::parse("later:x"), None);
    }
}
