//! Where settings files are, or would be looked for, and the directories that hold them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::host::files::{Inode, inode};

/// The places of some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WatchedPaths {
    /// The directories that are there. One that was replaced by another of the same name is another
    /// one.
    dirs: BTreeSet<(PathBuf, Inode)>,
    /// The files, by their own names and by those that links lead to.
    files: BTreeSet<PathBuf>,
}

impl WatchedPaths {
    pub(super) fn of(places: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut paths = Self::default();
        for path in places {
            let target = path.canonicalize().ok();
            for file in target.into_iter().chain([path]) {
                let dir = file.parent().filter(|dir| dir.is_dir());
                paths.dirs.extend(dir.map(|dir| (dir.to_owned(), inode(dir).unwrap_or_default())));
                paths.files.insert(file);
            }
        }
        paths
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(|(dir, _)| dir.as_path())
    }

    /// Whether a change of this path may be one of the files.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.files.contains(path) || self.dirs().any(|dir| dir == path)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::WatchedPaths;

    #[test]
    fn target_of_a_link_counts_with_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("2026/deep")).unwrap();
        fs::write(dir.join("2026/deep/file"), "").unwrap();
        symlink("2026", dir.join("..data")).unwrap();
        symlink("..data/deep/../deep/file", dir.join("settings")).unwrap();
        let paths = WatchedPaths::of([dir.join("settings")]);
        for known in ["settings", "2026/deep", "2026/deep/file"] {
            assert!(paths.contains(&dir.join(known)), "{known}: {paths:?}");
        }
        assert!(paths.contains(&dir) && !paths.contains(&dir.join("other")));
        assert!(paths.dirs().any(|watched| watched == dir.join("2026/deep")));
    }

    #[test]
    fn directory_that_is_not_there_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/yet/file");
        let paths = WatchedPaths::of([path.clone()]);
        assert!(paths.contains(&path) && paths.dirs().count() == 0);
        symlink("loop", dir.path().join("loop")).unwrap();
        assert_eq!(WatchedPaths::of([dir.path().join("loop")]).dirs().count(), 1);
    }

    #[test]
    fn replaced_directory_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings/file");
        fs::create_dir(dir.path().join("settings")).unwrap();
        let before = WatchedPaths::of([path.clone()]);
        assert_eq!(before, WatchedPaths::of([path.clone()]));
        fs::rename(dir.path().join("settings"), dir.path().join("old")).unwrap();
        fs::create_dir(dir.path().join("settings")).unwrap();
        assert_ne!(before, WatchedPaths::of([path]));
    }
}
