//! The style sheet of the page, and the policy that allows it and nothing else.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// The style sheet, which every page has in its head.
pub(super) const STYLE: &str = include_str!("style.css");

/// The `Content-Security-Policy` of every page but one. A browser applies the style sheet whose digest this is, and no
/// `style` attribute.
pub(in crate::admin) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy("'none'"));

/// The policy of the page with a form, which may be sent to this listener.
pub(in crate::admin) static FORM_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy("'self'"));

fn policy(form_action: &str) -> HeaderValue {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("the policy is visible ASCII")
}
