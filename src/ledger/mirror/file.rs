//! The file of a mirror, held for one writer at a time.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::line::{self, RecordLine};
use crate::{domain::record::Sealed, host::files::make_private};

/// Read from the end in pieces of this size.
const BLOCK: u64 = 64 * 1024;

/// The file, locked against other processes until it is dropped.
#[derive(Debug)]
pub(super) struct LockedFile {
    path: PathBuf,
    file: File,
}

impl LockedFile {
    /// Opens and locks the file, made for the user alone if there is none; None while another process
    /// has the lock.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        if let Some(dir) = path.parent() {
            make_private(dir)?;
        }
        loop {
            if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
                return Err(io::Error::other("it is no regular file"));
            }
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The process that had the lock may have moved the file away.
            if is_at(&file, path)? {
                return Ok(Some(Self { path: path.to_owned(), file }));
            }
        }
    }

    /// The last record of a chain, or of any; None if there is none in the file. What a writer left
    /// behind that was killed within a line is cut off.
    pub(super) fn end(&self, chain: Option<&str>) -> io::Result<Option<Sealed>> {
        let length = self.file.metadata()?.len();
        let mut lines = Backwards { file: &self.file, at: length, bytes: Vec::new() };
        let torn = lines.piece()?;
        if !torn.is_empty() {
            self.cut_back(length, &torn)?;
        }
        let mut last = true;
        while let Some(text) = lines.next()? {
            match std::str::from_utf8(&text).ok().and_then(line::read) {
                Some(RecordLine { chain: found, sealed })
                    if chain.is_none_or(|chain| chain == found) =>
                {
                    return Ok(Some(sealed));
                }
                // Never append to a foreign file.
                None if last => return Err(foreign("its last line is no record")),
                _ => last = false,
            }
        }
        Ok(None)
    }

    fn cut_back(&self, length: u64, torn: &[u8]) -> io::Result<()> {
        let start = line::START.as_bytes();
        // After a loss of power, zeros may stand in place of a record.
        let zeros = torn.iter().all(|byte| *byte == 0);
        if !zeros && !torn.starts_with(start) && !start.starts_with(torn) {
            return Err(foreign("its end is no record"));
        }
        let torn = u64::try_from(torn.len()).unwrap_or(u64::MAX);
        tracing::warn!("{}: a torn record of {torn} bytes is cut off", self.path.display());
        self.file.set_len(length.saturating_sub(torn))
    }

    /// Adds records at the end.
    pub(super) fn append(&self, chain: &str, records: &[Sealed]) -> io::Result<()> {
        let mut text = String::new();
        for sealed in records {
            text.push_str(&line::write(chain, sealed));
            text.push('\n');
        }
        let mut file = &self.file;
        file.seek(SeekFrom::End(0))?;
        file.write_all(text.as_bytes())
    }
}

fn foreign(what: &str) -> io::Error {
    io::Error::other(format!("{what} of Tollgate; move the file away, or name another"))
}

/// Whether a path still leads to an open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino())))
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// The lines of a file from its end to its beginning.
struct Backwards<'a> {
    file: &'a File,
    /// Where `bytes` begins in the file.
    at: u64,
    /// Bytes that were read and not returned yet.
    bytes: Vec<u8>,
}

impl Backwards<'_> {
    /// The text after the last line break.
    fn piece(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.bytes.iter().rposition(|byte| *byte == b'\n') {
                return Ok(self.bytes.split_off(at + 1));
            }
            if self.at == 0 {
                return Ok(std::mem::take(&mut self.bytes));
            }
            self.read()?;
        }
    }

    /// The line before the last one returned, without its line break.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.bytes.pop() {
            Some(_line_break) => self.piece().map(Some),
            None => Ok(None),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let from = self.at.saturating_sub(BLOCK);
        let mut block = Vec::new();
        let mut file = self.file;
        file.seek(SeekFrom::Start(from))?;
        file.take(self.at - from).read_to_end(&mut block)?;
        block.append(&mut self.bytes);
        (self.bytes, self.at) = (block, from);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Backwards, LockedFile};

    #[test]
    fn lines_are_read_backwards_however_long_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let block = usize::try_from(BLOCK).unwrap();
        let lines = [0, 1, block - 1, block, block + 1, 3 * block, 0, 5].map(|n| "x".repeat(n));
        for torn in ["", "torn"] {
            std::fs::write(&path, format!("{}\n{torn}", lines.join("\n"))).unwrap();
            let file = std::fs::File::open(&path).unwrap();
            let at = file.metadata().unwrap().len();
            let mut backwards = Backwards { file: &file, at, bytes: Vec::new() };
            assert_eq!(backwards.piece().unwrap(), torn.as_bytes());
            for line in lines.iter().rev() {
                assert_eq!(backwards.next().unwrap().as_deref(), Some(line.as_bytes()));
            }
            assert_eq!(backwards.next().unwrap(), None);
        }
    }

    #[test]
    fn foreign_file_is_neither_cut_nor_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        for text in ["dear diary", "dear diary\n", "{\"v\":1}\n", "\n", "[1]"] {
            std::fs::write(&path, text).unwrap();
            let held = LockedFile::open(&path).unwrap().unwrap();
            let error = held.end(Some("c")).unwrap_err().to_string();
            assert!(error.contains("move the file away"), "{text:?}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        for torn in ["{", "{\"v\":1,\"cha", "\0\0\0"] {
            std::fs::write(&path, torn).unwrap();
            assert_eq!(LockedFile::open(&path).unwrap().unwrap().end(Some("c")).unwrap(), None);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        }
    }
}
