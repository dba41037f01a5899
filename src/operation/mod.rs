//! Lists the vendor calls that the gateway knows, and matches requests to them.
//!
//! [`table::OPERATIONS`] is the whole list; everything that differs between two vendor calls is a column there. This
//! module holds the column types and [`find`]. It is pure: a method and a path in, a row or an error out.

mod audience;
mod body_rule;
mod effect;
mod path;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::sync::LazyLock;

pub use audience::Audience;
pub use body_rule::BodyRule;
pub use path::{BadPath, Path, check_query};
pub use table::OPERATIONS;

/// One row of the operation table: a vendor call and everything that is particular to it.
#[derive(Debug)]
pub struct Operation {
    /// Stable name in metrics, logs and `explain`.
    pub name: &'static str,
    /// HTTP method of the call.
    pub method: Verb,
    /// Path as the vendor documents it; `{…}` stands for one segment.
    pub path: &'static str,
    /// Vendor host that answers the call.
    pub host: Host,
    /// Credential that the vendor expects.
    pub credential: CredentialRule,
    /// Scope that a caller needs for the call.
    pub scope: Scope,
    /// Budget that every call draws on. A body may add others, such as that of broadcasts.
    pub budget: BudgetName,
    /// Rule that the request's body must satisfy.
    pub body: BodyRule,
    /// Place in the body that names the recipients.
    pub audience: Audience,
    /// Form of the vendor's error bodies for this call, which the gateway's own answers copy.
    pub envelope: Envelope,
}

impl Operation {
    /// The family of error codes that the vendor's documentation gives for this call.
    pub fn family(&self) -> Family {
        match (self.host, self.scope) {
            (Host::ImageV4, _) => Family::V4,
            (Host::Device, _) => Family::Device,
            (_, Scope::Image) => Family::Image,
            (_, Scope::Schedule) => Family::Schedule,
            (_, Scope::File) if self.path.starts_with("/v3/files") => Family::File,
            _ => Family::Push,
        }
    }
}

/// Position of a row in the table, so that state for each operation can live in plain arrays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OperationId(u8);

impl OperationId {
    /// All rows, in table order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..OPERATIONS.len())
            .map(|index| Self(u8::try_from(index).expect("the table has fewer than 256 rows")))
    }

    /// The row with this name; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|id| id.name == name)
    }

    /// Position in the table, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Deref for OperationId {
    type Target = Operation;

    fn deref(&self) -> &Operation {
        &OPERATIONS[self.index()]
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The HTTP methods of the vendor's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `GET`, for calls that read.
    Get,
    /// `POST`, for calls that send or create something, and for some that read.
    Post,
    /// `PUT`, for calls that change something.
    Put,
    /// `DELETE`, for calls that delete something.
    Delete,
}

impl Verb {
    /// The method as a request line spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Parses a method; `None` if no row uses it. Methods are case-sensitive (RFC 9110, 9.1).
    pub fn parse(method: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Delete].into_iter().find(|verb| verb.as_str() == method)
    }
}

/// Hosts of the vendor. Their base URLs come from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// api.jpush.cn: pushes, schedules, files, pictures.
    Api,
    /// device.jpush.cn: devices, tags, aliases.
    Device,
    /// report.jpush.cn: statistics of deliveries and users.
    Report,
    /// An `EngageLab` region; off unless configured.
    ImageV4,
}

impl Host {
    /// All hosts, in the order of the configuration.
    pub const ALL: [Self; 4] = [Self::Api, Self::Device, Self::Report, Self::ImageV4];

    /// Key of the host's base URL in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Device => "device",
            Self::Report => "report",
            Self::ImageV4 => "image_v4",
        }
    }
}

/// Credential that the vendor expects for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialRule {
    /// App key and master secret, whatever the request asks for.
    App,
    /// App key and master secret, or the dev key and its secret if the caller asks for it.
    AppOrDev,
    /// `group-` + group key and group master secret.
    Group,
}

/// Rights that a caller can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Pushes to devices of one app.
    Push,
    /// Target lists, and pushes to them.
    File,
    /// Pushes to a whole group of apps, and use of the dev credential.
    Group,
    /// Pushes that are sent later.
    Schedule,
    /// Uploads of pictures for notifications.
    Image,
    /// Devices, tags and aliases.
    Device,
    /// Statistics of deliveries and users.
    Report,
}

impl Scope {
    /// All scopes, for `allow: [ "*" ]`.
    pub const ALL: [Self; 7] =
        [Self::Push, Self::File, Self::Group, Self::Schedule, Self::Image, Self::Device, Self::Report];

    /// Name of the scope in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::File => "file",
            Self::Group => "group",
            Self::Schedule => "schedule",
            Self::Image => "image",
            Self::Device => "device",
            Self::Report => "report",
        }
    }
}

/// Budgets of the vendor: limits on the calls of one key in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BudgetName {
    /// Calls of the push API, of the image API and of others that the vendor counts with them.
    Push,
    /// Calls of the file API: target lists and pushes to them.
    File,
    /// Calls of the schedule API.
    Schedule,
    /// Calls of the device API.
    Device,
    /// Calls of the report API.
    Report,
    /// Pushes to every device, per day.
    Broadcast,
    /// Big OPPO pictures, per day.
    OppoBig,
    /// OPPO icons, per day.
    OppoIcon,
}

impl BudgetName {
    /// All budgets, in the order of [`Self::index`].
    pub const ALL: [Self; 8] = [
        Self::Push,
        Self::File,
        Self::Schedule,
        Self::Device,
        Self::Report,
        Self::Broadcast,
        Self::OppoBig,
        Self::OppoIcon,
    ];

    /// Name of the budget in the configuration, in headers and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::File => "file",
            Self::Schedule => "schedule",
            Self::Device => "device",
            Self::Report => "report",
            Self::Broadcast => "broadcast",
            Self::OppoBig => "oppo_big",
            Self::OppoIcon => "oppo_icon",
        }
    }

    /// Position in [`Self::ALL`], from 0.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether this is a daily limit on top of one by the minute. The vendor's rate headers say nothing about daily
    /// ones.
    pub const fn is_daily(self) -> bool {
        matches!(self, Self::Broadcast | Self::OppoBig | Self::OppoIcon)
    }
}

/// Form of an error body. SDKs parse error bodies strictly (`docs/vendor.md`, V68).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Nested form: `{"error":{"code":…,"message":…}}`.
    Nested,
    /// Flat and nested form in one object.
    Both,
    /// Flat form alone: `{"code":…,"message":…}`.
    Flat,
}

/// Families of calls that have error codes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Codes 10xx and 20xx of the push API.
    Push,
    /// Codes 11xx of the file API.
    File,
    /// Codes 11xx of the image API.
    Image,
    /// Codes 8xxx of the schedule API.
    Schedule,
    /// Codes 7xxx of the device API.
    Device,
    /// Codes 2xxxx of the `EngageLab` image API.
    V4,
}

/// A request matched to a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'p> {
    /// The row that matches.
    pub operation: OperationId,
    /// Value of the last `{…}` in the row's path, as sent (still percent-encoded).
    pub value: Option<&'p str>,
}

/// The reason why no row matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// No row has this path.
    UnknownEndpoint,
    /// Rows have this path, but none with this method.
    MethodNotAllowed {
        /// Methods of those rows, for the `Allow` header: `GET, PUT`.
        allow: String,
    },
}

/// Finds the row for a method and a normalised path.
///
/// Literal segments win over `{…}`. A value that does not have the form its column demands (`msg_id`: digits) makes the
/// path unknown.
///
/// ```
/// use jpush_gateway::operation::{BudgetName, Path, Scope, find};
///
/// let path = Path::parse("/v3/push").expect("a plain path");
/// let push = find("POST", &path).expect("a row of the table").operation;
/// assert_eq!((push.name, push.scope, push.budget), ("push", Scope::Push, BudgetName::Push));
/// assert!(find("DELETE", &path).is_err());
/// ```
pub fn find<'p>(method: &str, path: &'p Path<'_>) -> Result<Matched<'p>, NoMatch> {
    let hit = ROUTER.at(path.as_str()).map_err(|_| NoMatch::UnknownEndpoint)?;
    let value = hit.params.iter().last().map(|(_, value)| value);
    let rows = || hit.value.iter().copied().filter(|row| value_fits(row, value));
    if let Some(operation) = rows().find(|row| row.method.as_str() == method) {
        return Ok(Matched { operation, value });
    }
    let allow = rows().map(|row| row.method.as_str()).collect::<Vec<_>>().join(", ");
    if allow.is_empty() { Err(NoMatch::UnknownEndpoint) } else { Err(NoMatch::MethodNotAllowed { allow }) }
}

fn value_fits(row: &Operation, value: Option<&str>) -> bool {
    !row.path.ends_with("{msg_id}")
        || value.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Rows by the shape of their path. Several methods may share a path and name its values differently, so the router
/// knows values by position.
static ROUTER: LazyLock<matchit::Router<Vec<OperationId>>> = LazyLock::new(|| {
    let mut shapes: Vec<(String, Vec<OperationId>)> = Vec::new();
    for id in OperationId::all() {
        let shape = path::shape(id.path);
        match shapes.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, rows)) => rows.push(id),
            None => shapes.push((shape, vec![id])),
        }
    }
    let mut router = matchit::Router::new();
    for (shape, rows) in shapes {
        router.insert(shape, rows).expect("no two shapes of the table conflict; a test builds the router");
    }
    router
});
