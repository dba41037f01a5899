//! Reads `tracing`: the collector of spans, and how many requests are traced.

use super::base_url::BaseUrl;
use super::reader::{ConfigValue, Section};
use super::urls;

/// The share of requests that are traced unless the configuration says otherwise, in percent.
const SAMPLE_PERCENT: u8 = 5;

/// Settings of the spans that a collector gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// The collector, which takes OTLP over HTTP.
    pub collector: BaseUrl,
    /// The share of requests that begin a sampled trace, in percent. A caller's trace context decides for itself.
    pub sample_percent: u8,
}

/// Reads the section; `None` where nothing is traced, or after a fault.
pub(super) fn read(file: &mut Section<'_>) -> Option<Tracing> {
    let mut section = file.get("tracing")?.section();
    let collector = section.required("otlp").and_then(|value| read_url(&value));
    let sample = section.get("sample").map_or(Some(SAMPLE_PERCENT), |value| value.percent("requests", "5%"));
    Some(Tracing { collector: collector?, sample_percent: sample? })
}

/// Reads `http://host[:port]` or `https://host[:port]`. Plain text is accepted to any host: spans hold no secrets.
fn read_url(value: &ConfigValue<'_>) -> Option<BaseUrl> {
    match urls::parse(value.text()?) {
        Ok(url) => Some(url),
        Err(problem) => value.refuse(format!("{problem}; the path /v1/traces is added")),
    }
}
