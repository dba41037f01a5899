//! Reads `audit`: the destination of the audit log.

use std::path::Path;

use super::reader::Section;
use super::values::Audit;

/// Reads `stderr` or `{ file: PATH }`. The file is not opened here: only a gateway that serves creates it.
pub(super) fn read(file: &mut Section<'_>, base: &Path) -> Option<Audit> {
    let value = file.get("audit")?;
    if value.is_text("stderr") {
        return Some(Audit::Stderr);
    }
    if !value.is_section() {
        return value.refuse(format!("expected stderr or {{ file: PATH }}{}", value.not_this()));
    }
    let path = value.section().required("file")?.text()?;
    Some(Audit::File(base.join(path)))
}
