//! Files as one who polls them sees them: whether they changed, and their text within a bound.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What tells one content of a path from the next without reading it: the inode behind all symlinks, its size and times.
/// `None` where there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<[i64; 6]>);

impl Stamp {
    /// Of a path where nothing is.
    pub const NOTHING: Self = Self(None);

    /// Looks at a path, through all symlinks.
    pub fn of(path: &Path) -> Self {
        Self(std::fs::metadata(path).ok().map(|meta| {
            let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            [
                signed(meta.dev()),
                signed(meta.ino()),
                signed(meta.size()),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime_nsec(),
            ]
        }))
    }
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// Names the path and what is wrong with it.
pub fn read(path: &Path, limit: u64) -> Result<String, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let read = File::open(path)
        .map_err(told)?
        .take(limit + 1)
        .read_to_string(&mut text)
        .map_err(told)?;
    if read as u64 > limit {
        return Err(format!("{}: is larger than {limit} bytes", path.display()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_changes_with_the_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = Stamp::of(file.path());
        std::fs::write(file.path(), "x").unwrap();
        assert_ne!(Stamp::of(file.path()), empty);
        assert_eq!(Stamp::of(Path::new("/nowhere/at/all")), Stamp(None));
    }
}
