//! Handles calls about pictures: they are adapted for phone makers' channels and have a media id afterwards.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::{BareAnswer, Codes, VendorError};
use super::call::AuthenticCall;
use super::form::ReceivedPart;
use super::json::{member, text};
use super::memory::SandboxMemory;
use super::parsed_body::ParsedBody;
use super::picture;
use super::route::Route;
use crate::operation::BudgetName;

/// Use of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PictureKind {
    Big,
    LargeIcon,
    SmallIcon,
}

impl PictureKind {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self::Big),
            "2" => Some(Self::LargeIcon),
            "3" => Some(Self::SmallIcon),
            _ => None,
        }
    }

    const fn number(self) -> usize {
        self as usize + 1
    }

    /// The daily budget that an OPPO picture of this kind draws on.
    const fn oppo_budget(self) -> Option<BudgetName> {
        match self {
            Self::Big => Some(BudgetName::OppoBig),
            Self::LargeIcon => Some(BudgetName::OppoIcon),
            Self::SmallIcon => None,
        }
    }
}

/// The URLs that a channel accepts for a kind of picture.
#[derive(Clone, Copy, Debug)]
enum AddressForm {
    /// The channel has no pictures of this kind: it is left out without an error.
    Never,
    /// http, https or a path in the app; also where the documentation is silent.
    Any,
    /// URLs of http or https.
    Web,
    /// URLs of https.
    Https,
    /// A path that starts with `/raw/`.
    Raw,
}

impl AddressForm {
    fn fits(self, address: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Any => true,
            Self::Web => address.starts_with("http://") || address.starts_with("https://"),
            Self::Https => address.starts_with("https://"),
            Self::Raw => address.starts_with("/raw/"),
        }
    }
}

/// Fields of the channels, with the form they accept for each kind of picture.
const CHANNELS: &[(&str, [AddressForm; 3])] = &[
    ("jiguang_image_url", [AddressForm::Any; 3]),
    ("xiaomi_image_url", [AddressForm::Any; 3]),
    ("oppo_image_url", [AddressForm::Web, AddressForm::Web, AddressForm::Never]),
    ("huawei_image_url", [AddressForm::Never, AddressForm::Https, AddressForm::Raw]),
    ("honor_image_url", [AddressForm::Never, AddressForm::Https, AddressForm::Raw]),
    ("fcm_image_url", [AddressForm::Any, AddressForm::Any, AddressForm::Never]),
    ("hmos_image_url", [AddressForm::Any; 3]),
];

/// OPPO's requirements for one kind of picture.
struct OppoRule {
    kind: PictureKind,
    /// Accepted widths and heights in pixels.
    sizes: &'static [(usize, usize)],
    bytes_max: usize,
}

/// The present sizes, and the earlier one of big pictures.
const OPPO: &[OppoRule] = &[
    OppoRule { kind: PictureKind::Big, sizes: &[(984, 369), (876, 324)], bytes_max: 1024 * 1024 },
    OppoRule { kind: PictureKind::LargeIcon, sizes: &[(144, 144)], bytes_max: 50 * 1024 },
];

const PICTURE_BYTES_MAX: usize = 2 * 1024 * 1024;
const ADDRESS_BYTES_MAX: usize = 2048;

/// Daily budgets that a call draws on because it uploads to OPPO.
pub(super) fn demands(route: &Route, payload: &ParsedBody) -> Vec<BudgetName> {
    let address = |name: &str| payload.member(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // A channel without a URL of its own inherits the common one.
    let oppo_address = || address("oppo_image_url").or_else(|| address("image_url")).is_some();
    let media_kind = || route.segments.get(3).and_then(|id| media_kind(id));
    let (kind, uploads) = match route.operation.name {
        "image-create-urls" => {
            let kind = payload.member("image_type").and_then(kind_of);
            (kind, oppo_address())
        }
        "image-update-urls" => (media_kind(), oppo_address()),
        "image-create-files" => {
            let kind = payload.part("image_type").and_then(kind_of_part);
            (kind, payload.file("oppo_file").is_some())
        }
        "image-update-files" => (media_kind(), payload.file("oppo_file").is_some()),
        "image-v4-oppo" => {
            let urls =
                [("big_picture_url", BudgetName::OppoBig), ("small_picture_url", BudgetName::OppoIcon)];
            return urls
                .into_iter()
                .filter(|(name, _)| address(name).is_some())
                .map(|(_, budget)| budget)
                .collect();
        }
        _ => return Vec::new(),
    };
    kind.filter(|_| uploads).and_then(PictureKind::oppo_budget).into_iter().collect()
}

fn kind_of(value: &Value) -> Option<PictureKind> {
    match value {
        Value::Number(number) => PictureKind::parse(&number.to_string()),
        Value::String(text) => PictureKind::parse(text),
        _ => None,
    }
}

fn kind_of_part(part: &ReceivedPart) -> Option<PictureKind> {
    PictureKind::parse(str::from_utf8(&part.data).ok()?.trim())
}

/// The kind in `jgmedia-{kind}-{uuid}`; `None` if the id is malformed.
fn media_kind(id: &str) -> Option<PictureKind> {
    let (kind, uuid) = id.strip_prefix("jgmedia-")?.split_once('-')?;
    Uuid::try_parse(uuid).ok()?;
    PictureKind::parse(kind)
}

/// Creates a picture from URLs (`POST /v3/images/byurls`).
pub(super) fn create_by_urls(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    let body = call.object()?;
    let kind = member(body, "image_type").ok_or_else(|| codes.missing("Missing parameter: image_type"))?;
    let kind = kind_of(kind).ok_or_else(|| codes.bad("The image_type is not 1, 2 or 3"))?;
    let adapted = adapt(codes, body, kind, memory)?;
    if adapted.values().all(Value::is_null) {
        return Err(codes.bad("the result is all of invalid"));
    }
    let id = format!("jgmedia-{}-{}", kind.number(), Uuid::new_v4());
    Ok(keep(call, memory, id, Map::new(), adapted))
}

/// Updates a picture from URLs (`PUT /v3/images/byurls/{media_id}`).
pub(super) fn update_by_urls(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let (id, kind, kept) = known(call, memory)?;
    let mut adapted = adapt(call.codes(), call.object()?, kind, memory)?;
    // A channel that is not given, or has no pictures of this kind, keeps what it had.
    adapted.retain(|name, value| !value.is_null() || !kept.contains_key(name));
    Ok(keep(call, memory, id, kept, adapted))
}

/// The answer's fields for the URLs of a body; `null` for a channel that got none it accepts.
fn adapt(
    codes: &Codes,
    body: &Map<String, Value>,
    kind: PictureKind,
    memory: &mut SandboxMemory,
) -> Result<Map<String, Value>, VendorError> {
    let common = text(body, "image_url");
    let addresses = || CHANNELS.iter().map(|(name, _)| text(body, name)).chain([common]).flatten();
    if addresses().next().is_none() {
        return Err(codes.missing("Every image url is empty"));
    }
    if addresses().any(|address| address.len() > ADDRESS_BYTES_MAX) {
        return Err(codes.bad("An image url is too long"));
    }
    let mut adapted = Map::new();
    for (name, forms) in CHANNELS {
        let form = forms[kind.number() - 1];
        let own = text(body, name);
        if own.is_some_and(|address| !form.fits(address)) && !matches!(form, AddressForm::Never) {
            return Err(codes.bad(format!("The {name} is invalid")));
        }
        let address = own.or(common).filter(|address| form.fits(address));
        let value = match (*name, address) {
            ("oppo_image_url", Some(_)) => Value::from(oppo_id(memory)),
            (_, address) => Value::from(address),
        };
        adapted.insert((*name).to_owned(), value);
    }
    Ok(adapted)
}

/// Creates a picture from files (`POST /v3/images/byfiles`).
pub(super) fn create_by_files(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    call.parts()?;
    let kind =
        call.payload.part("image_type").ok_or_else(|| codes.missing("Missing parameter: image_type"))?;
    let kind = kind_of_part(kind).ok_or_else(|| codes.bad("The image_type is not 1, 2 or 3"))?;
    let adapted = adapt_files(call, kind, memory)?;
    let id = format!("jgmedia-{}-{}", kind.number(), Uuid::new_v4());
    let empty = ["oppo", "xiaomi", "huawei", "honor", "fcm", "jiguang"];
    let empty = empty.map(|channel| (format!("{channel}_image_url"), Value::from("")));
    Ok(keep(call, memory, id, Map::from_iter(empty), adapted))
}

/// Updates a picture from files (`PUT /v3/images/byfiles/{media_id}`).
pub(super) fn update_by_files(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let (id, kind, kept) = known(call, memory)?;
    call.parts()?;
    let adapted = adapt_files(call, kind, memory)?;
    Ok(keep(call, memory, id, kept, adapted))
}

fn adapt_files(
    call: &AuthenticCall<'_>,
    kind: PictureKind,
    memory: &mut SandboxMemory,
) -> Result<Map<String, Value>, VendorError> {
    let codes = call.codes();
    let (oppo, xiaomi) = (call.payload.file("oppo_file"), call.payload.file("xiaomi_file"));
    if oppo.is_none() && xiaomi.is_none() {
        return Err(codes.missing("Missing parameter: oppo_file or xiaomi_file"));
    }
    for part in [oppo, xiaomi].into_iter().flatten() {
        check_picture(codes, part)?;
    }
    let mut adapted = Map::new();
    if let Some(part) = oppo
        && let Some(rule) = OPPO.iter().find(|rule| rule.kind == kind)
    {
        let size = picture::size(&part.data).ok_or_else(|| codes.bad("The picture is damaged"))?;
        if !rule.sizes.contains(&size) || part.data.len() > rule.bytes_max {
            return Err(codes.bad("The picture does not meet OPPO's requirements"));
        }
        adapted.insert("oppo_image_url".to_owned(), Value::from(oppo_id(memory)));
    }
    if xiaomi.is_some() {
        let address =
            format!("http://f6.market.xiaomi.com/download/MiPass/{:024x}/picture.png", memory.serial());
        adapted.insert("xiaomi_image_url".to_owned(), Value::from(address));
    }
    if adapted.is_empty() { Err(codes.bad("the result is all of invalid")) } else { Ok(adapted) }
}

fn check_picture(codes: &Codes, part: &ReceivedPart) -> Result<(), VendorError> {
    if part.data.len() > PICTURE_BYTES_MAX {
        return Err(codes.bad("The picture is larger than 2M"));
    }
    if picture::is_known(&part.data) { Ok(()) } else { Err(codes.bad("The picture is neither PNG nor JPEG")) }
}

fn oppo_id(memory: &mut SandboxMemory) -> String {
    format!("3653918_5f92b573{:016x}", memory.serial())
}

/// The picture of an update: its id, kind and stored fields. A well-formed id that was never given out is accepted, as
/// in the vendor's samples.
fn known(
    call: &AuthenticCall<'_>,
    memory: &SandboxMemory,
) -> Result<(String, PictureKind, Map<String, Value>), VendorError> {
    let id = call.segment(3).to_owned();
    let kind = media_kind(&id).ok_or_else(|| call.codes().bad("The mediaId is invalid"))?;
    let known = memory.images.get(&(call.account.key.clone(), id.clone()));
    Ok((id, kind, known.and_then(Value::as_object).cloned().unwrap_or_default()))
}

fn keep(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
    id: String,
    kept: Map<String, Value>,
    adapted: Map<String, Value>,
) -> BareAnswer {
    let mut fields = kept;
    fields.extend(adapted);
    fields.insert("media_id".to_owned(), Value::from(id.as_str()));
    let answer = Value::Object(fields);
    memory.images.insert((call.account.key.clone(), id), answer.clone());
    BareAnswer::good(&answer)
}

/// Uploads pictures to OPPO (`POST /v4/image/oppo`).
pub(super) fn upload_to_oppo(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    let body = call.object()?;
    let mut ids = Map::new();
    for (field, id) in [("big_picture_url", "big_picture_id"), ("small_picture_url", "small_picture_id")] {
        let Some(value) = member(body, field).filter(|value| *value != "") else { continue };
        if !value.as_str().is_some_and(|address| AddressForm::Web.fits(address)) {
            return Err(codes.bad("Parameter value is invalid"));
        }
        ids.insert(id.to_owned(), json!(oppo_id(memory)));
    }
    if ids.is_empty() {
        Err(codes.missing("Missing parameter!"))
    } else {
        Ok(BareAnswer::good(&Value::Object(ids)))
    }
}
