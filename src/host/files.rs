//! Files and directories for the user's eyes only.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

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

fn private_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true);
    options
}
