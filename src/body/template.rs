//! Checks pushes made from a template: the parameters, with an audience for each push. Source: `docs/vendor.md`, V40.

use super::audience::{self, AllowedAudience, Reach};
use super::json::{self, Value};
use super::push::{AudienceKey, record_audience, record_audiences};
use super::rule::note;
use super::spelling::may_be;
use super::{BodyFault, Facts, Rule, Verdict};

/// Checks a body with the parameters of a template.
///
/// The page requires an audience for each push. Where one is absent, the template itself may have one that is not known
/// here, so the push may reach everybody.
pub(super) fn check(body: &[u8], facts: &mut Facts) -> Verdict {
    let (mut fault, mut pushes, mut unseen) = (None, false, false);
    json::object(body, |key, value| match key {
        "params" if value.is_null() => unseen = true,
        "params" if value.is_array() => value.each_item(|push| {
            pushes = true;
            unseen |= !has_audience(push, &mut fault, facts);
        }),
        "params" => {
            note(&mut fault, Err(BodyFault::new(Rule::TemplateParams, "params is not a list of objects")));
        }
        _ if may_be(key, "params") => value.each_item(|push| {
            record_audiences(push, facts);
        }),
        _ => {}
    })?;
    if unseen || !pushes {
        facts.reach = Reach::Everybody;
    }
    fault.map_or(Ok(()), Err)
}

/// Checks one push of a template. Returns whether it has an audience in every reading.
fn has_audience(push: Value<'_>, fault: &mut Option<BodyFault>, facts: &mut Facts) -> bool {
    if !push.is_object() {
        note(fault, Err(BodyFault::new(Rule::TemplateParams, "params holds what is not an object")));
    }
    let mut audience = AudienceKey::default();
    push.each_entry(|key, value| match key {
        "audience" => {
            audience.see(value);
            if !value.is_null() {
                note(fault, audience::check(AllowedAudience::DevicesOrFile, value, facts));
            }
        }
        _ => {
            record_audience(key, value, facts);
        }
    });
    audience.is_certain()
}
