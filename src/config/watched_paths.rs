//! The way to a settings file: every name that is looked up on it, links included. When what one of
//! them stands for changes, another file may be at the end of the way.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

/// More links than this are a loop.
const MOST_LINKS: usize = 40;

/// The ways to some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WatchedPaths {
    /// The directories that are passed. One that was replaced by another of the same name is
    /// another one.
    dirs: BTreeSet<(PathBuf, FileId)>,
    /// What is looked up in them.
    names: BTreeSet<PathBuf>,
}

/// Device and number, where the system has them.
pub(super) type FileId = (u64, u64);

impl WatchedPaths {
    /// The ways to these paths, as far as they lead now.
    pub(super) fn to<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        let mut trail = Self::default();
        for path in paths {
            trail.follow(path);
        }
        trail
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(|(dir, _)| dir.as_path())
    }

    /// Whether a change of this path may matter.
    pub(super) fn passes(&self, path: &Path) -> bool {
        self.names.contains(path)
    }

    fn follow(&mut self, path: &Path) {
        let mut here = PathBuf::new();
        let mut left: VecDeque<OsString> = parts(path).collect();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::Normal(name)) => {
                    let next = here.join(name);
                    self.dirs.insert((here.clone(), id(&here)));
                    self.names.insert(next.clone());
                    match fs::read_link(&next) {
                        Ok(target) if links < MOST_LINKS => {
                            links += 1;
                            // An absolute target begins with the root, which takes `here` there.
                            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                                left.push_front(part);
                            }
                        }
                        Ok(_) => return,
                        Err(_) if next.exists() => here = next,
                        // The way ends here, until something of that name appears.
                        Err(_) => return,
                    }
                }
                Some(Component::ParentDir) => {
                    here.pop();
                }
                Some(Component::CurDir) | None => {}
                Some(Component::Prefix(_) | Component::RootDir) => here.push(part),
            }
        }
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().map(|part| part.as_os_str().to_owned())
}

#[cfg(unix)]
pub(super) fn id(path: &Path) -> FileId {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).unwrap_or_default()
}

#[cfg(not(unix))]
pub(super) fn id(_: &Path) -> FileId {
    FileId::default()
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::WatchedPaths;

    #[test]
    fn every_link_on_the_way_counts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("2026/deep")).unwrap();
        fs::write(dir.join("2026/deep/file"), "").unwrap();
        symlink("2026", dir.join("..data")).unwrap();
        symlink("..data/deep/../deep/file", dir.join("settings")).unwrap();
        let trail = WatchedPaths::to([&dir.join("settings")]);
        for passed in ["settings", "..data", "2026", "2026/deep", "2026/deep/file"] {
            assert!(trail.passes(&dir.join(passed)), "{passed}: {trail:?}");
        }
        assert!(trail.passes(&dir) && !trail.passes(&dir.join("other")));
        assert!(trail.dirs().any(|passed| passed == dir.join("2026/deep")));
    }

    #[test]
    fn way_is_known_as_far_as_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let path = dir.join("none/yet/file");
        let trail = WatchedPaths::to([&path]);
        assert!(trail.passes(&dir.join("none")) && !trail.passes(&dir.join("none/yet")));
        symlink("loop", dir.join("loop")).unwrap();
        assert!(WatchedPaths::to([&dir.join("loop")]).passes(&dir.join("loop")));
    }

    #[test]
    fn replaced_directory_makes_another_trail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings/file");
        fs::create_dir(dir.path().join("settings")).unwrap();
        let before = WatchedPaths::to([&path]);
        assert_eq!(before, WatchedPaths::to([&path]));
        fs::rename(dir.path().join("settings"), dir.path().join("old")).unwrap();
        fs::create_dir(dir.path().join("settings")).unwrap();
        assert_ne!(before, WatchedPaths::to([&path]));
    }
}
