//! Files as the watcher sees them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What tells one content of a path from the next without reading it: the inode behind all symlinks, its size and times.
/// `None` where there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<[i64; 6]>);

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
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

/// A text file of a bounded size.
pub(super) fn read(path: &Path, limit: u64) -> Result<String, String> {
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

/// The downward API's file of labels: lines of `key="value"`. What cannot be read counts as no labels, which selectors
/// that ask for one do not match.
pub(super) fn labels(path: &Path) -> BTreeMap<String, String> {
    let text = read(path, 1 << 20).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (key, quoted) = line.split_once('=')?;
            let value = serde_json::from_str(quoted).unwrap_or_else(|_| quoted.trim_matches('"').to_owned());
            Some((key.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_the_kubelet_writes_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "app=\"shop\"\ntier=\"\"\npath=\"a\\\\b\"").unwrap();
        let labels = labels(file.path());
        assert_eq!(labels["app"], "shop");
        assert_eq!(labels["tier"], "");
        assert_eq!(labels["path"], "a\\b");
    }

    #[test]
    fn a_stamp_changes_with_the_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = Stamp::of(file.path());
        std::fs::write(file.path(), "x").unwrap();
        assert_ne!(Stamp::of(file.path()), empty);
        assert_eq!(Stamp::of(Path::new("/nowhere/at/all")), Stamp(None));
    }
}
