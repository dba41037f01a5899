//! `log`: the form of the lines about what happens to the process, and how many there are.

use super::reader::Section;
use super::values::{LogFormat, LogLevel, LogSettings};

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Reads the value: the form alone, or a section.
pub(super) fn read(file: &mut Section<'_>) -> LogSettings {
    let Some(value) = file.get("log") else { return LogSettings::default() };
    if !value.is_section() {
        let format = value.choice(&FORMATS).unwrap_or_default();
        return LogSettings { format, level: None };
    }
    let mut section = value.section();
    let format = section.get("format").and_then(|value| value.choice(&FORMATS)).unwrap_or_default();
    let levels = LogLevel::ALL.map(|level| (level.as_str(), level));
    let level = section.get("level").and_then(|value| value.choice(&levels));
    LogSettings { format, level }
}
