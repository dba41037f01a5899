//! The vendor calls the gateway knows: what they need and how a request is matched to one.
//!
//! [`table::OPERATIONS`] is the whole list; everything that differs between two vendor calls is a column there.
//! This module holds the column types and [`find`]. It is pure: a method and a path in, a row or a fault out.

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
    /// Stable name, used in metrics, logs and `explain`.
    pub name: &'static str,
    /// HTTP method.
    pub method: Verb,
    /// Path as the vendor documents it; `{…}` stands for one segment.
    pub path: &'static str,
    /// Which of the vendor's hosts answers.
    pub host: Host,
    /// Whose credential the vendor expects.
    pub credential: CredentialRule,
    /// Right a caller needs.
    pub scope: Scope,
    /// Budget every call draws on; a body may add others.
    pub budget: BudgetName,
    /// What a body must look like.
    pub body: BodyRule,
    /// Where a body says whom the call reaches.
    pub audience: Audience,
    /// How the vendor words an error here, and so how we do.
    pub envelope: Envelope,
}

impl Operation {
    /// The error-code family of the vendor's documentation this call belongs to.
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

/// A row of the table by its position, so that per-operation state can live in plain arrays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OperationId(u8);

impl OperationId {
    /// Every row, in table order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..OPERATIONS.len())
            .map(|index| Self(u8::try_from(index).expect("the table has fewer than 256 rows")))
    }

    /// The row with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|id| id.name == name)
    }

    /// Position in the table.
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

/// The HTTP methods the vendor uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
}

impl Verb {
    /// The method as it stands in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Reads a method; methods are case-sensitive (RFC 9110, 9.1).
    pub fn parse(method: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Delete].into_iter().find(|verb| verb.as_str() == method)
    }
}

/// The vendor's hosts. The base URL of each is configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// api.jpush.cn: pushes, schedules, files, pictures.
    Api,
    /// device.jpush.cn: devices, tags, aliases.
    Device,
    /// report.jpush.cn: statistics.
    Report,
    /// An `EngageLab` region; off unless configured.
    ImageV4,
}

impl Host {
    /// Every host, in the order of the configuration.
    pub const ALL: [Self; 4] = [Self::Api, Self::Device, Self::Report, Self::ImageV4];

    /// Name of the key in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Device => "device",
            Self::Report => "report",
            Self::ImageV4 => "image_v4",
        }
    }
}

/// Which credential the vendor expects for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialRule {
    /// App key and master secret.
    App,
    /// App, or dev when the caller asks for it.
    AppOrDev,
    /// `group-` + group key and group master secret.
    Group,
}

/// The rights a caller can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Pushes to devices of one app.
    Push,
    /// Target lists and pushes to them.
    File,
    /// Pushes to a whole group of apps, and the dev credential.
    Group,
    /// Pushes in the future.
    Schedule,
    /// Pictures.
    Image,
    /// Devices, tags and aliases.
    Device,
    /// Statistics.
    Report,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] =
        [Self::Push, Self::File, Self::Group, Self::Schedule, Self::Image, Self::Device, Self::Report];

    /// Name in the configuration.
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

/// The vendor's budgets: how many calls a key may make in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BudgetName {
    /// Pushes, pictures and whatever the vendor counts with them.
    Push,
    /// Target lists and pushes to them.
    File,
    /// Schedules.
    Schedule,
    /// Devices, tags and aliases.
    Device,
    /// Statistics.
    Report,
    /// Pushes to every device, a day.
    Broadcast,
    /// Big OPPO pictures, a day.
    OppoBig,
    /// OPPO icons, a day.
    OppoIcon,
}

impl BudgetName {
    /// Every budget.
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

    /// Name in the configuration, in headers and in metrics.
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

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it is a limit a day on top of a minute's, which the vendor's rate headers say nothing about.
    pub const fn is_daily(self) -> bool {
        matches!(self, Self::Broadcast | Self::OppoBig | Self::OppoIcon)
    }
}

/// The shape of an error body. SDKs parse these strictly (`docs/vendor.md`, V68).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// `{"error":{"code":…,"message":…}}`
    Nested,
    /// Flat and nested at once.
    Both,
    /// `{"code":…,"message":…}` alone.
    Flat,
}

/// Families of calls with error codes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 10xx and 20xx.
    Push,
    /// 11xx of the file API.
    File,
    /// 11xx of the image API.
    Image,
    /// 8xxx.
    Schedule,
    /// 7xxx.
    Device,
    /// 2xxxx of the `EngageLab` image API.
    V4,
}

/// A request matched to a row, with the value of the path's `{…}` that comes last.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'p> {
    /// The row.
    pub operation: OperationId,
    /// The last `{…}` of the path, as sent (still percent-encoded).
    pub value: Option<&'p str>,
}

/// Why no row fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// No row has this path.
    UnknownEndpoint,
    /// Rows have this path, none with this method. `allow` lists theirs, for the `Allow` header.
    MethodNotAllowed {
        /// Methods that would pass.
        allow: String,
    },
}

/// Finds the row for a method and a normalised path.
///
/// Literal segments win over `{…}`. A value that has not its column's form (`msg_id`: digits) is an unknown path.
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

/// Rows by the shape of their path: the names inside `{…}` differ between methods of one path.
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
