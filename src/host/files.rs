//! Files and directories: for the user's eyes only, and those of the user that a command edits.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::clock;

/// Makes a directory and what leads to it, for its owner alone. An existing one stays as it is.
pub fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

/// Makes a file that only its owner can read. Fails if it exists.
pub fn create_private(path: &Path) -> io::Result<fs::File> {
    private_options().create_new(true).open(path)
}

/// Replaces a file: writes beside it and renames, so that no reader sees half of it.
pub fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        make_private(dir)?;
    }
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    private_options().create(true).truncate(true).open(&beside)?.write_all(text)?;
    fs::rename(&beside, path)
}

/// Writes a file, in a directory that is made if it is missing.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text)
}

/// Opens a file to be read.
pub fn open(path: &Path) -> io::Result<impl io::Read + use<>> {
    fs::File::open(path)
}

/// The text of a file; None if there is none.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Removes a file, which may be missing.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes a file that stands for another: a link, or a copy where there are no links.
pub fn link(original: &Path, link: &Path) -> io::Result<()> {
    remove(link)?;
    #[cfg(unix)]
    return std::os::unix::fs::symlink(original, link);
    #[cfg(not(unix))]
    fs::copy(original, link).map(drop)
}

/// The file that a path leads to, through links; the path itself if nothing is there.
///
/// # Errors
/// A link that leads nowhere.
pub fn target(path: PathBuf) -> io::Result<PathBuf> {
    match fs::canonicalize(&path) {
        Ok(found) => Ok(found),
        Err(_) if path.is_symlink() => Err(io::Error::other(
            "it is a link that leads to no file; make the file, or remove the link",
        )),
        Err(_) => Ok(path),
    }
}

/// Replaces a file of the user's that was `before`, at once or not at all. Keeps its permissions and
/// returns the path of a copy of what it was.
///
/// # Errors
/// A file that is read-only, or was changed meanwhile; then nothing changes.
pub fn replace(path: &Path, before: Option<&str>, text: &str) -> io::Result<Option<PathBuf>> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    if before.is_some() {
        check_writable(path)?;
    }
    let copy = before.map(|before| keep(path, before)).transpose()?;
    let beside = named(path, &format!("new-{}", std::process::id()));
    let written = write_new(&beside, text).and_then(|()| {
        if let Ok(found) = fs::metadata(path) {
            fs::set_permissions(&beside, found.permissions())?;
        }
        if read(path)?.as_deref() != before {
            return Err(io::Error::other("it was changed meanwhile; run this again"));
        }
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // The error that counts is the first one; nothing changed, so no copy is needed.
        let _ = fs::remove_file(&beside);
        let _ = copy.as_ref().map(fs::remove_file);
    }
    written.map(|()| copy)
}

/// Fails for a read-only file, which a rename would replace all the same.
fn check_writable(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.permissions().readonly() {
        return Err(io::Error::other("it is read-only; make it writable, or edit it by hand"));
    }
    fs::OpenOptions::new().write(true).open(path).map(drop)
}

/// Keeps a copy under an unused name.
fn keep(path: &Path, text: &str) -> io::Result<PathBuf> {
    let mut at = clock::since_1970().as_secs();
    loop {
        let copy = named(path, &format!("bak-{at}"));
        match write_new(&copy, text) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => at += 1,
            written => return written.map(|()| copy),
        }
    }
}

fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{ending}"));
    path.with_file_name(name)
}

/// Settings can hold secrets, so a new file is for its owner alone.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes the oldest files of a directory until no more than `most` are left.
pub fn keep_newest(dir: &Path, most: usize) -> io::Result<()> {
    let mut files: Vec<_> = fs::read_dir(dir)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(most);
    files.iter().take(surplus).try_for_each(|(_, path)| remove(path))
}

fn private_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true);
    options
}

/// The device and number of a file, which tell it from another one of the same name.
pub type Inode = (u64, u64);

/// The file that a path leads to, if there is one; zeros where the system has no such numbers.
#[cfg(unix)]
pub fn inode(path: &Path) -> Option<Inode> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether there is a file: the system has no numbers for files.
#[cfg(not(unix))]
pub fn inode(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|_| (0, 0))
}
