//! `log`: the form of the lines about what happens to the process, and how many there are.

use super::reader::Section;

/// How the log of the process is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// The form of its lines.
    pub format: LogFormat,
    /// How much of it there is; `None`: as the environment says, or `info`.
    pub level: Option<LogLevel>,
}

/// The form of the log's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// The least of what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What somebody has to look after.
    Error,
    /// What somebody may have to look after.
    Warn,
    /// What happens to the process.
    Info,
    /// Each attempt at the vendor.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word for it.
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
