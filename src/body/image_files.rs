//! Checks uploads of pictures. The vendor checks and refuses uploaded files, and never rescales them (`docs/vendor.md`,
//! V43).

use crate::operation::Verb;

use super::channel::{ImageType, UploadChannel};
use super::form::{Form, FormPart};
use super::{BodyFault, Facts, Prescan, Rule, Subject, Verdict, check_picture, media_id, query};

/// Checks the pictures of a new resource or of an update. The picture type of an update is in its media id.
pub(super) fn check(
    subject: &Subject<'_>,
    body: &[u8],
    prescan: Option<&Prescan>,
    facts: &mut Facts,
) -> Verdict {
    let update = subject.method == Verb::Put;
    let form = Form::parse(subject.content_type, body, prescan)?;
    let sent = form.part("image_type").map(|part| part.map(image_type));
    let known = if update {
        subject.value.and_then(media_id::image_type)
    } else {
        sent.clone().ok().flatten().flatten()
    };
    record(&form, known, facts);
    match sent? {
        None if !update => {
            let what = "the form has no part named image_type; send 1, 2 or 3";
            return Err(BodyFault::new(Rule::ImageTypeMissing, what));
        }
        Some(None) => return Err(BodyFault::new(Rule::ImageType, "image_type is not 1, 2 or 3")),
        None | Some(Some(_)) => {}
    }
    if !update
        && query::values(subject.query, "image_type").any(|value| ImageType::parse(value.trim()) != known)
    {
        // Java's `getParameter` finds the query's value before the form's, and the type decides which daily budget is
        // used.
        let what = "the query has another image_type than the form; send it in the form alone";
        return Err(BodyFault::new(Rule::ImageType, what));
    }
    let mut found = false;
    for channel in UploadChannel::ALL {
        // Browsers send an empty part for a file input without a file.
        if let Some(file) = form.part(channel.part())?.filter(|file| !file.content.is_empty()) {
            found = true;
            let reported = check_picture(file.content, channel, known, subject.images)?;
            facts.reported = facts.reported.or(reported.map(|fault| fault.rule));
        }
    }
    if found {
        return Ok(());
    }
    let what = "the form has no part named oppo_file or xiaomi_file that is not empty; send at least one";
    Err(BodyFault::new(Rule::PictureMissing, what))
}

/// Records uploads for OPPO, which counts big pictures and icons per day. An unknown type may be either, so it counts
/// as both.
fn record(form: &Form<'_>, known: Option<ImageType>, facts: &mut Facts) {
    if form.fills(UploadChannel::Oppo.part()) {
        facts.oppo_big = matches!(known, None | Some(ImageType::Big));
        facts.oppo_icon = matches!(known, None | Some(ImageType::Icon));
    }
}

fn image_type(part: &FormPart<'_>) -> Option<ImageType> {
    std::str::from_utf8(part.content).ok().and_then(|text| ImageType::parse(text.trim()))
}
