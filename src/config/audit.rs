//! Reads `audit`: the destination of the audit log.

use super::outputs::OutputFile;
use super::reader::Section;
use super::sources::Outside;
use super::values::Audit;

/// Reads `stderr` or `{ file: PATH }`. The file is not opened here: only a gateway that serves creates it.
pub(super) fn read<'n>(
    file: &mut Section<'n>,
    outside: &Outside<'_>,
    outputs: &mut Vec<OutputFile<'n>>,
) -> Option<Audit> {
    let value = file.get("audit")?;
    if value.is_text("stderr") {
        return Some(Audit::Stderr);
    }
    if !value.is_section() {
        return value.refuse(format!("expected stderr or {{ file: PATH }}{}", value.not_this()));
    }
    let key = value.section().required("file")?;
    let path = outside.output_file(&key)?;
    outputs.push(OutputFile::of_audit(key, &path));
    Some(Audit::File(path))
}
