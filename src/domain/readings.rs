//! How reading each settings file went, from the start of the gateway on.

use std::time::SystemTime;

use super::settings::{PerFile, SettingsFile, SettingsSource, Sources};

/// What stands at a file that is whole while another one is not.
const HELD_BACK: &str = "not in force, because another settings file has faults";

/// The history of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// When it was read last.
    pub last_attempt: Option<SystemTime>,
    /// When what was read came into force.
    pub last_success: Option<SystemTime>,
    /// Why what was read last is not in force; secrets masked.
    pub last_error: Option<String>,
    /// How often it was read.
    pub attempts: u64,
    /// How often what was read came into force.
    pub successes: u64,
    /// Warnings about the settings in force.
    pub last_warnings: Vec<String>,
}

/// The history of all files.
pub type Readings = PerFile<Reading>;

impl Readings {
    /// After the files were read for the first time, without a fault.
    pub fn begun(sources: &Sources) -> Self {
        Self::each(|file| Reading::begun(sources.of(file)))
    }

    /// `files` changed, and all settings came into force.
    pub fn succeeded(&mut self, files: &[SettingsFile], at: SystemTime, sources: &Sources) {
        for file in SettingsFile::ALL {
            let reading = self.of_mut(file);
            // Those of one file may depend on what another one says.
            reading.last_warnings.clone_from(&sources.of(file).warnings);
            // One whose last reading failed was read again, changed or not.
            if files.contains(&file) || reading.last_error.is_some() {
                reading.attempt(at);
                reading.successes += 1;
                reading.last_success = Some(at);
            }
        }
    }

    /// `files` changed, and nothing came into force. `faults` are those of one file, or of none.
    pub fn failed<'f>(
        &mut self,
        files: &[SettingsFile],
        at: SystemTime,
        faults: impl Iterator<Item = (Option<SettingsFile>, &'f str)> + Clone,
    ) {
        for file in SettingsFile::ALL {
            let own: Vec<&str> = faults
                .clone()
                .filter(|(about, _)| about.is_none_or(|about| about == file))
                .map(|(_, text)| text)
                .collect();
            let faulty = faults.clone().any(|(about, _)| about == Some(file));
            let reading = self.of_mut(file);
            if faulty || files.contains(&file) || reading.last_error.is_some() {
                reading.attempt(at);
                let error = if own.is_empty() { HELD_BACK.to_owned() } else { own.join("\n") };
                reading.last_error = Some(error);
            }
        }
    }
}

impl Reading {
    fn begun(source: &SettingsSource) -> Self {
        let read_at = source.path.as_ref().map(|_| source.read_at);
        Self {
            last_attempt: read_at,
            last_success: read_at,
            last_error: None,
            attempts: u64::from(read_at.is_some()),
            successes: u64::from(read_at.is_some()),
            last_warnings: source.warnings.clone(),
        }
    }

    fn attempt(&mut self, at: SystemTime) {
        self.attempts += 1;
        self.last_attempt = Some(at);
        self.last_error = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{HELD_BACK, Readings};
    use crate::domain::settings::{SettingsFile::*, SettingsSource, Sources};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn sources() -> Sources {
        let source = |path: &str| SettingsSource {
            path: Some(path.into()),
            read_at: at(1),
            servers: 0,
            warnings: vec![format!("{path} is odd")],
        };
        Sources { mcp_config: source("m"), rules: source("r"), gateway: source("g") }
    }

    #[test]
    fn a_fault_is_told_of_its_own_file() {
        let mut readings = Readings::begun(&sources());
        let before = readings.clone();
        readings.failed(
            &[Rules],
            at(2),
            [(Some(Rules), "bad"), (Some(Rules), "worse")].into_iter(),
        );
        assert_eq!(readings.mcp_config, before.mcp_config);
        assert_eq!(readings.gateway, before.gateway);
        assert_eq!(readings.rules.last_error.as_deref(), Some("bad\nworse"));
        assert_eq!((readings.rules.attempts, readings.rules.successes), (2, 1));
        assert_eq!(
            (readings.rules.last_attempt, readings.rules.last_success),
            (Some(at(2)), Some(at(1)))
        );
    }

    #[test]
    fn sound_file_waits_until_the_faulty_one_is_mended() {
        let mut readings = Readings::begun(&sources());
        readings.failed(&[Rules], at(2), [(Some(Rules), "bad")].into_iter());
        readings.failed(&[McpConfig], at(3), [(Some(Rules), "bad")].into_iter());
        assert_eq!(readings.mcp_config.last_error.as_deref(), Some(HELD_BACK));
        readings.succeeded(&[Rules], at(4), &sources());
        for reading in [&readings.mcp_config, &readings.rules] {
            assert_eq!((&reading.last_error, reading.successes), (&None, 2));
            assert_eq!(reading.last_success, Some(at(4)));
        }
        assert_eq!((readings.mcp_config.attempts, readings.rules.attempts), (3, 4));
    }
}
