//! The tables, their indexes, triggers and views, in numbered steps that lead forward and back: for SQLite and for PostgreSQL side by
//! side, with one meaning. Pure: a store runs the texts.

use sha2::{Digest as _, Sha256};

/// What the rows are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// A file on a volume.
    Sqlite,
    /// A server, or PgBouncer before one.
    Postgres,
}

/// The texts of one step in one engine.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// To this version, from the one before.
    pub up: &'static str,
    /// From this version to the one before.
    pub down: &'static str,
}

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// From 1, without a gap.
    pub version: u32,
    /// What it brings.
    pub name: &'static str,
    sqlite: Texts,
    postgres: Texts,
}

impl Migration {
    /// Its texts.
    pub fn texts(&self, engine: Engine) -> Texts {
        match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        }
    }

    /// What is run of its text on the way up: what is made of rows that were there is left to [`crate::store::Store::fill`].
    pub fn made(&self, engine: Engine) -> &'static str {
        let up = self.texts(engine).up;
        up.split_once(FILLED_LATER).map_or(up, |(made, _)| made)
    }

    /// What its text is known by: a step that was changed after it was run is found.
    pub fn checksum(&self, engine: Engine) -> String {
        hex(&Sha256::digest(self.texts(engine).up.as_bytes()), 16)
    }
}

/// What follows it in the text of a step, up to its end, is done in pieces after it. It was not at first, and stays in the text by which the step
/// is known.
const FILLED_LATER: &str = "-- Of those that are there, as `is_sampled` picks them.\n";

/// The step whose table is filled after it.
const FILLED: u32 = 9;
/// The step that notes how far that is.
const FILLS: u32 = 10;

/// `texts!("0001_tables", ".sqlite")`: the files of a step; without an engine where both have the same.
macro_rules! texts {
    ($step:literal, $engine:literal) => {
        Texts {
            up: include_str!(concat!("schema/", $step, ".up", $engine, ".sql")),
            down: include_str!(concat!("schema/", $step, ".down", $engine, ".sql")),
        }
    };
    ($step:literal, $engine:literal, down $down:literal) => {
        Texts {
            up: include_str!(concat!("schema/", $step, ".up", $engine, ".sql")),
            down: include_str!(concat!("schema/", $step, ".down", $down, ".sql")),
        }
    };
}

/// Every step, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "tables",
        sqlite: texts!("0001_tables", ".sqlite"),
        postgres: texts!("0001_tables", ".postgres"),
    },
    Migration {
        version: 2,
        name: "indexes",
        sqlite: texts!("0002_indexes", ""),
        postgres: texts!("0002_indexes", ""),
    },
    Migration {
        version: 3,
        name: "triggers_views",
        sqlite: texts!("0003_triggers_views", ".sqlite"),
        postgres: texts!("0003_triggers_views", ".postgres"),
    },
    Migration {
        version: 4,
        name: "arrivals",
        sqlite: texts!("0004_arrivals", ".sqlite", down ""),
        postgres: texts!("0004_arrivals", ".postgres", down ""),
    },
    Migration {
        version: 5,
        name: "days",
        sqlite: texts!("0005_days", ".sqlite"),
        postgres: texts!("0005_days", ".postgres"),
    },
    Migration {
        version: 6,
        name: "cache_refused_by",
        sqlite: texts!("0006_cache_refused_by", ".sqlite", down ""),
        postgres: texts!("0006_cache_refused_by", ".postgres", down ""),
    },
    Migration {
        version: 7,
        name: "would_refuse_by",
        sqlite: texts!("0007_would_refuse_by", ".sqlite", down ""),
        postgres: texts!("0007_would_refuse_by", ".postgres", down ""),
    },
    Migration {
        version: 8,
        name: "booked_batches",
        sqlite: texts!("0008_booked_batches", ".sqlite", down ""),
        postgres: texts!("0008_booked_batches", ".postgres", down ""),
    },
    Migration {
        version: 9,
        name: "sampled_requests",
        sqlite: texts!("0009_sampled_requests", ".sqlite", down ""),
        postgres: texts!("0009_sampled_requests", ".postgres", down ""),
    },
    Migration {
        version: 10,
        name: "fills",
        sqlite: texts!("0010_fills", ".sqlite", down ""),
        postgres: texts!("0010_fills", ".postgres", down ""),
    },
    Migration {
        version: 11,
        name: "judged_days",
        sqlite: texts!("0011_judged_days", ".sqlite", down ""),
        postgres: texts!("0011_judged_days", ".postgres", down ""),
    },
];

/// The version that this release works with.
pub const LATEST: u32 = 11;

/// The table that says which steps were run.
pub const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
  version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)";

/// A step that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its version.
    pub version: u32,
    /// [`Migration::checksum`] of its text then.
    pub checksum: String,
}

/// Which way.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Run `up`.
    Up(&'static Migration),
    /// Run `down`.
    Down(&'static Migration),
}

/// Why a database cannot be brought to a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotMigrate {
    /// It was written by a later release.
    #[error(
        "the database is at version {found} of the schema and this release knows {LATEST}: run the later release, or its `migrate --to {LATEST}` first"
    )]
    Later {
        /// Its version.
        found: u32,
    },
    /// What was run is not what this release has under that number.
    #[error(
        "step {version} of the schema was run with another text than this release has: restore the database from a backup"
    )]
    Changed {
        /// The step.
        version: u32,
    },
    /// There is no such version.
    #[error("there is no version {wanted} of the schema: 0 to {LATEST}")]
    NoSuchVersion {
        /// What was asked for.
        wanted: u32,
    },
    /// A table would stay with a part of its rows, which the release that knows the wanted version takes for all.
    #[error(
        "what step {FILLED} of the schema makes of rows that were there is not filled yet, and a release of schema {FILLED} would take what there is for all: run `bowsprit-ledger migrate --to {FILLED}` of this release, which fills it first, or `--to {}`, which drops it",
        FILLED - 1
    )]
    NotFilled,
}

/// What leads from what was run to version `to`.
pub fn steps(applied: &[Applied], to: u32, engine: Engine) -> Result<Vec<Step>, CannotMigrate> {
    if to > LATEST {
        return Err(CannotMigrate::NoSuchVersion { wanted: to });
    }
    let at = applied.iter().map(|step| step.version).max().unwrap_or(0);
    if at > LATEST {
        return Err(CannotMigrate::Later { found: at });
    }
    for step in applied {
        let known = MIGRATIONS.iter().find(|known| known.version == step.version);
        if known.is_none_or(|known| known.checksum(engine) != step.checksum) {
            return Err(CannotMigrate::Changed { version: step.version });
        }
    }
    let up = MIGRATIONS.iter().filter(|step| step.version > at && step.version <= to);
    let down = MIGRATIONS
        .iter()
        .rev()
        .filter(|step| step.version <= at && step.version > to);
    Ok(up.map(Step::Up).chain(down.map(Step::Down)).collect())
}

/// Whether these steps drop the note of what is not filled yet, and leave the table that is filled.
pub fn needs_all_filled(steps: &[Step]) -> bool {
    let goes = |version| {
        steps
            .iter()
            .any(|step| matches!(step, Step::Down(step) if step.version == version))
    };
    goes(FILLS) && !goes(FILLED)
}

/// The first `most` bytes as hex digits.
pub(crate) fn hex(bytes: &[u8], most: usize) -> String {
    let bytes = bytes.iter().take(most);
    bytes.fold(String::with_capacity(most * 2), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(through: u32) -> Vec<Applied> {
        let all = MIGRATIONS.iter().filter(|step| step.version <= through);
        all.map(|step| Applied {
            version: step.version,
            checksum: step.checksum(Engine::Sqlite),
        })
        .collect()
    }

    fn path(from: u32, to: u32) -> Vec<i64> {
        let steps = steps(&applied(from), to, Engine::Sqlite).unwrap();
        let signed = |step: &Step| match step {
            Step::Up(step) => i64::from(step.version),
            Step::Down(step) => -i64::from(step.version),
        };
        steps.iter().map(signed).collect()
    }

    #[test]
    fn steps_lead_forward_and_back_in_order() {
        assert_eq!(path(0, LATEST), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(path(2, LATEST), [3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(path(LATEST, LATEST), [0_i64; 0]);
        assert_eq!(path(LATEST, 0), [-11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1]);
        assert_eq!(path(LATEST, 2), [-11, -10, -9, -8, -7, -6, -5, -4, -3]);
        assert_eq!(MIGRATIONS.last().map(|step| step.version), Some(LATEST));
    }

    #[test]
    fn the_step_that_samples_makes_its_table_and_leaves_its_rows_to_be_filled() {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let later: Vec<_> = MIGRATIONS
                .iter()
                .filter(|step| step.made(engine) != step.texts(engine).up)
                .collect();
            assert_eq!(later.iter().map(|step| step.version).collect::<Vec<_>>(), [FILLED]);
            let (made, up) = (later[0].made(engine), later[0].texts(engine).up);
            assert!(made.contains("CREATE TABLE sampled_requests") && !made.contains("INSERT"));
            assert_eq!(up[made.len()..].matches(';').count(), 1);
        }
    }

    #[test]
    fn only_the_way_back_that_leaves_a_table_without_its_note_needs_it_filled() {
        let needs = |from, to| needs_all_filled(&steps(&applied(from), to, Engine::Sqlite).unwrap());
        assert_eq!(
            MIGRATIONS.iter().find(|step| step.name == "fills").unwrap().version,
            FILLS
        );
        assert!(needs(LATEST, FILLED));
        assert!(!needs(LATEST, LATEST) && !needs(LATEST, FILLED - 1) && !needs(LATEST, 0));
        assert!(!needs(FILLED, FILLED) && !needs(FILLED, LATEST) && !needs(FILLED, FILLED - 1));
    }

    #[test]
    fn a_later_or_changed_schema_is_left_alone() {
        let later = [Applied {
            version: LATEST + 1,
            checksum: String::new(),
        }];
        let refused = steps(&later, LATEST, Engine::Sqlite).unwrap_err();
        assert_eq!(refused, CannotMigrate::Later { found: LATEST + 1 });
        // One engine's text is not the other's.
        let refused = steps(&applied(1), LATEST, Engine::Postgres).unwrap_err();
        assert_eq!(refused, CannotMigrate::Changed { version: 1 });
        assert!(steps(&[], LATEST + 1, Engine::Sqlite).is_err());
    }
}
