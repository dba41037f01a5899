//! Reads `log`: format and level of the process log.

use super::reader::Section;

/// Format and level of the process log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Format of each line.
    pub format: LogFormat,
    /// Least severe level that is written; `None` leaves it to the environment, or else to `info`.
    pub level: Option<LogLevel>,
}

/// Format of the process log's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people to read.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Faults that need somebody's attention.
    Error,
    /// Events that may need somebody's attention.
    Warn,
    /// Events in the life of the process, such as its start and reloads.
    Info,
    /// Also each attempt to call the vendor. Libraries stay at [`Self::Info`].
    Debug,
    /// All details of the gateway. Libraries stay at [`Self::Info`].
    Trace,
}

impl LogLevel {
    /// All levels, the most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level as the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Reads the value: the format alone, or a section with format and level.
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
