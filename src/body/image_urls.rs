//! Checks picture URLs: the `JPush` form with one field per channel, and the `EngageLab` form for OPPO.

use std::borrow::Cow;

use crate::operation::Verb;

use super::channel::{self, ImageType, UrlForm};
use super::json::{self, Value};
use super::media_id;
use super::rule::note;
use super::spelling::may_be;
use super::{BodyFault, Facts, Rule, Subject, Verdict};

/// Upper bound of a picture URL, in bytes of UTF-8. Web servers refuse longer ones.
const URL_BYTES_MAX: usize = 2048;

/// Checks the picture URLs of a new resource or of an update, whose media id gives the picture type.
///
/// A field belongs to a channel, known or new, if its name ends in `image_url`. An empty one inherits `image_url` like
/// an absent one: in the page's sample, `"huawei_image_url": ""` is answered with the URL of `image_url`.
pub(super) fn check(subject: &Subject<'_>, body: &[u8], facts: &mut Facts) -> Verdict {
    let mut fields = PictureFields::default();
    let parsed = json::object(body, |key, value| fields.take(key, value));
    if subject.method == Verb::Put {
        fields.types = subject.value.and_then(media_id::image_type).into_iter().collect();
    }
    fields.record(facts);
    parsed?;
    fields.check_types(subject.method)?;
    if let Some(fault) = fields.fault {
        return Err(fault);
    }
    if fields.urls.is_empty() {
        return Err(BodyFault::new(Rule::ImageUrlMissing, "no …_image_url is given; send at least one"));
    }
    fields.urls.iter().try_for_each(|(field, url)| check_url(field, url, &fields.types))?;
    // In an update, a channel without such pictures keeps what it had. The call has no effect but succeeds.
    if subject.method == Verb::Post { fields.check_channels() } else { Ok(()) }
}

/// The picture fields of a body.
#[derive(Default)]
struct PictureFields<'a> {
    /// Every `image_type` that could be parsed.
    types: Vec<ImageType>,
    /// An `image_type` could not be parsed.
    type_bad: bool,
    /// URLs that are not empty, with their fields.
    urls: Vec<(String, Cow<'a, str>)>,
    /// A field that some parser may take for OPPO's, or for the one that OPPO inherits, is not empty.
    oppo: bool,
    fault: Option<BodyFault>,
}

impl<'a> PictureFields<'a> {
    fn take(&mut self, key: &str, value: Value<'a>) {
        if value.is_null() {
            return;
        }
        self.oppo |= ["oppo_image_url", "image_url"].iter().any(|field| may_be(key, field))
            && value.text().is_none_or(|url| !url.is_empty());
        if may_be(key, "image_type") {
            match ImageType::parse(&value.whole_number()) {
                Some(kind) if !self.types.contains(&kind) => self.types.push(kind),
                Some(_) => {}
                None => self.type_bad |= key == "image_type",
            }
        } else if key.ends_with("image_url") {
            let verdict = if let Some(url) = value.text() {
                self.take_url(key, url)
            } else {
                let what = format!("{} is not a string; send an address", name(key));
                Err(BodyFault::new(Rule::ImageUrlForm, what))
            };
            note(&mut self.fault, verdict);
        }
    }

    fn take_url(&mut self, key: &str, url: Cow<'a, str>) -> Verdict {
        if url.len() > URL_BYTES_MAX {
            let what = format!("{} has {} bytes; up to {URL_BYTES_MAX} pass", name(key), url.len());
            return Err(BodyFault::new(Rule::ImageUrlLength, what));
        }
        if !url.is_empty() {
            self.urls.push((key.to_owned(), url));
        }
        Ok(())
    }

    /// Records pictures for OPPO, which counts them per day: by its own URL, or by the one it inherits.
    fn record(&self, facts: &mut Facts) {
        facts.oppo_big |= self.oppo && self.types.contains(&ImageType::Big);
        facts.oppo_icon |= self.oppo && self.types.contains(&ImageType::Icon);
    }

    fn check_types(&self, method: Verb) -> Verdict {
        let update = method == Verb::Put;
        if update && self.types.is_empty() {
            let what = "the media id is not of the form jgmedia-{1, 2 or 3}-{uuid}";
            return Err(BodyFault::new(Rule::MediaId, what));
        }
        if !update && self.type_bad {
            return Err(BodyFault::new(Rule::ImageType, "image_type is not 1, 2 or 3"));
        }
        if self.types.is_empty() {
            return Err(BodyFault::new(Rule::ImageTypeMissing, "image_type is missing; send 1, 2 or 3"));
        }
        Ok(())
    }

    /// Refuses a new picture if none of the given channels accepts its type: "the result is all of invalid".
    fn check_channels(&self) -> Verdict {
        let takes = |field: &str, kind| channel::forms(field, kind).is_none_or(|forms| !forms.is_empty());
        let useless = |kind: &ImageType| !self.urls.iter().any(|(field, _)| takes(field, *kind));
        if self.types.iter().any(useless) {
            let what = "no channel that is named takes pictures of this image_type; send image_url, or another channel's";
            return Err(BodyFault::new(Rule::ImageUrlChannel, what));
        }
        Ok(())
    }
}

fn check_url(field: &str, url: &str, types: &[ImageType]) -> Verdict {
    for &kind in types {
        let forms = channel::forms(field, kind).unwrap_or_default();
        if !forms.is_empty() && !forms.iter().any(|form| form.fits(url.trim())) {
            let known = forms.iter().map(|form| form.as_str()).collect::<Vec<_>>().join(", ");
            let what =
                format!("{} has no form that its channel takes for this image_type: {known}", name(field));
            return Err(BodyFault::new(Rule::ImageUrlForm, what));
        }
    }
    Ok(())
}

/// A field's name for a message; long names are not quoted.
fn name(field: &str) -> &str {
    if field.len() <= 32 { field } else { "an …_image_url" }
}

/// Checks the `EngageLab` form: a big picture, a small one, or both (`docs/vendor.md`, V51).
pub(super) fn check_v4(body: &[u8], facts: &mut Facts) -> Verdict {
    let mut fault = None;
    let parsed = json::object(body, |key, value| {
        let fact = if may_be(key, "big_picture_url") {
            &mut facts.oppo_big
        } else if may_be(key, "small_picture_url") {
            &mut facts.oppo_icon
        } else {
            return;
        };
        let url = value.text();
        if value.is_null() || url.as_ref().is_some_and(|url| url.is_empty()) {
            return;
        }
        *fact = true;
        let url = url.unwrap_or_default();
        if ![UrlForm::Http, UrlForm::Https].iter().any(|form| form.fits(url.trim())) {
            let what = format!("{key} is not an address; send http://… or https://…");
            note(&mut fault, Err(BodyFault::new(Rule::ImageUrlForm, what)));
        }
    });
    parsed?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    if facts.oppo_big || facts.oppo_icon {
        return Ok(());
    }
    Err(BodyFault::new(
        Rule::ImageUrlMissing,
        "neither big_picture_url nor small_picture_url is given; send one",
    ))
}
