//! Reads `callers`: the programs that use the gateway, their tokens and their rights.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

use super::fault::Place;
use super::include::Named;
use super::reader::{ConfigValue, Section, Zero};
use super::values::{BudgetLimit, CallerConfig, TenantConfig, TokenConfig, VendorKey};
use super::{budgets, digests, words};
use crate::operation::{BudgetName, Scope};
use crate::secret::TokenDigest;

/// Upper bound of `weight`: a heavier caller would crowd out everyone else in a queue.
const WEIGHT_MAX: u32 = 1000;

/// The longest name of a caller or of a token, in bytes.
const NAME_LEN_MAX: usize = 64;

/// The longest URI name of a client certificate, in bytes; SPIFFE allows as much.
const URI_LEN_MAX: usize = 2048;

/// The longest DNS name, in bytes (RFC 1035).
const DNS_NAME_LEN_MAX: usize = 253;

/// Reads callers one by one, and remembers of the earlier ones what a later one must not repeat or exceed.
struct CallersReader<'t, 'n> {
    tenants: &'t HashSet<&'t str>,
    /// Whether `tenants` has all of them; not so if an included file could not be read.
    complete: bool,
    /// Place at which each token digest, in lower case, was first written.
    digests: HashMap<String, Place<'n>>,
    /// Place at which each certificate name was first written.
    certificates: HashMap<String, Place<'n>>,
    /// The tenants, unless one has a fault.
    budgets: &'t [TenantConfig],
    by_name: HashMap<&'t str, &'t TenantConfig>,
    /// Calls per window that the callers so far have reserved, by key and budget.
    reserved: HashMap<(VendorKey, BudgetName), u32>,
}

/// Reads the callers. `tenant_names` also has the tenants with faults, so that a caller of one is not reported as well.
pub(super) fn read(
    callers: &Named<'_>,
    tenant_names: &[&str],
    budgets: &[TenantConfig],
) -> Option<Vec<CallerConfig>> {
    let tenants = &tenant_names.iter().copied().collect();
    let (digests, certificates, reserved) = Default::default();
    let complete = callers.complete;
    let by_name = budgets.iter().map(|tenant| (tenant.name.as_str(), tenant)).collect();
    let mut reader = CallersReader { tenants, complete, digests, certificates, budgets, by_name, reserved };
    let read: Vec<_> = callers.entries.iter().map(|(name, value)| reader.caller(name, value)).collect();
    read.into_iter().collect()
}

impl<'t, 'n> CallersReader<'t, 'n> {
    fn caller(&mut self, name: &str, value: &ConfigValue<'n>) -> Option<CallerConfig> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !matches!(name.len(), 1..=NAME_LEN_MAX) || !name.bytes().all(letter) {
            value.fault("a caller's name is 1 to 64 of A-Z, a-z, 0-9, dot, _ and -");
        }
        let mut section = value.section();
        let certificates = section.get("certificates").filter(|value| !value.is_empty_list());
        // A caller needs tokens or certificates, not both.
        let tokens = match &certificates {
            None => section.required("tokens").map(|value| self.tokens(&value)),
            Some(_) => Some(section.get("tokens").map_or_else(Vec::new, |value| self.tokens(&value))),
        };
        let certificates = certificates.map_or_else(Vec::new, |value| self.certificates(&value));
        let tenants = section.required("tenants").map(|value| self.tenants(&value));
        let allow = section.required("allow").map(|value| read_scopes(&value));
        let broadcast = section.flag("broadcast", true);
        let quota = section.get("quota").and_then(|value| budgets::read_one(&value, None));
        let weight =
            section.get("weight").and_then(|value| value.positive(WEIGHT_MAX)).unwrap_or(NonZeroU32::MIN);
        let reserve = self.reserve(&mut section, tenants.as_deref().unwrap_or_default());
        let wait = section.duration("wait", Zero::Allowed, Duration::ZERO);
        let name = name.to_owned();
        Some(CallerConfig {
            name,
            tokens: tokens?,
            certificates,
            tenants: tenants?,
            allow: allow?,
            broadcast,
            quota,
            weight,
            reserve,
            wait,
        })
    }

    /// Reads `reserve`: calls per window that are kept for this caller. All callers together must not reserve more than
    /// a budget has.
    fn reserve(&mut self, caller: &mut Section<'_>, tenants: &[String]) -> Vec<(BudgetName, NonZeroU32)> {
        let mut section = caller.section("reserve");
        let mut reserves = Vec::new();
        for name in BudgetName::ALL {
            let Some(value) = section.get(name.as_str()) else { continue };
            let Some(calls) = value.positive(u32::MAX) else { continue };
            self.keep(&value, name, calls.get(), tenants);
            reserves.push((name, calls));
        }
        reserves
    }

    fn tenant_named(&self, name: &str) -> Option<&'t TenantConfig> {
        self.by_name.get(name).copied()
    }

    fn keep(&mut self, value: &ConfigValue<'_>, name: BudgetName, calls: u32, tenants: &[String]) {
        let mut limits: HashMap<&VendorKey, BudgetLimit> = HashMap::new();
        let mut complete = true;
        for granted in tenants {
            let Some(tenant) = self.tenant_named(granted) else {
                complete = false;
                continue;
            };
            let keys = [Some(&tenant.app), tenant.dev.as_ref(), tenant.group.as_ref()].into_iter().flatten();
            limits.extend(keys.filter_map(|credential| Some((&credential.key, tenant.budgets.of(name)?))));
        }
        // A tenant with faults may well have the budget, so nothing is reported then.
        if limits.is_empty() && complete && !tenants.is_empty() {
            value.fault("none of this caller's tenants has this budget");
        }
        let mut keys: Vec<_> = limits.into_iter().collect();
        // Sorted, so that the message does not depend on the order of a hash map.
        keys.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let mut over = None;
        for (key, limit) in keys {
            let kept = self.reserved.entry((key.clone(), name)).or_default();
            *kept = kept.saturating_add(calls);
            if *kept > limit.limit.get() {
                over = Some((*kept, limit.limit));
            }
        }
        if let Some((kept, limit)) = over {
            value.fault(format!("{kept} calls would be kept for callers, of {limit} that the budget has"));
        }
    }

    fn tokens(&mut self, value: &ConfigValue<'n>) -> Vec<TokenConfig> {
        let items = value.items();
        // No more room than is needed here and in `tenants`: there can be a hundred thousand callers.
        let (mut names, mut tokens) = (HashSet::new(), Vec::with_capacity(items.len()));
        for (index, item) in items.iter().enumerate() {
            let mut section = item.section().private();
            let written = section.get("name");
            let name = written.as_ref().map_or_else(|| Some((index + 1).to_string()), read_token_name);
            let digest = section.required("sha256").and_then(|value| self.digest(&value));
            let Some(name) = name else { continue };
            if !names.insert(name.clone()) {
                written.as_ref().unwrap_or(item).fault("another token of this caller has this name");
            }
            tokens.extend(digest.map(|digest| TokenConfig { name, digest }));
        }
        tokens
    }

    fn certificates(&mut self, value: &ConfigValue<'n>) -> Vec<String> {
        let mut names = Vec::new();
        for item in value.items() {
            let Some(name) = item.text() else { continue };
            if !is_certificate_name(name) {
                item.fault("expected a URI such as spiffe://corp/orders or a DNS name such as orders.corp");
                continue;
            }
            match self.certificates.insert(name.to_owned(), item.place()) {
                Some(first) => {
                    let first = first.seen_from(&item.file());
                    item.fault(format!("the same name stands at {first}; it could not tell who calls"));
                }
                None => names.push(name.to_owned()),
            }
        }
        names
    }

    fn digest(&mut self, value: &ConfigValue<'n>) -> Option<TokenDigest> {
        let digest = digests::read(value)?;
        match self.digests.insert(value.text()?.to_ascii_lowercase(), value.place()) {
            Some(first) => {
                let first = first.seen_from(&value.file());
                value.refuse(format!("the same token stands at {first}; it could not tell who calls"))
            }
            None => Some(digest),
        }
    }

    fn tenants(&self, value: &ConfigValue<'_>) -> Vec<String> {
        let items = value.items();
        let (mut granted, mut seen) = (Vec::with_capacity(items.len()), HashSet::new());
        for item in &items {
            match item.text() {
                Some(name) if seen.contains(name) => item.fault("stands twice"),
                Some(name) if self.tenants.contains(name) => {
                    granted.push(name.to_owned());
                    seen.insert(name);
                }
                // The tenant may stand in the file that could not be read.
                Some(_) if !self.complete => {}
                Some(name) => {
                    let quoted = words::quoted(name).unwrap_or_else(|| "of this name".to_owned());
                    let hint = match self.budgets.iter().find(|tenant| tenant.has_key(name)) {
                        Some(tenant) => format!("; it is a key of {}", tenant.name),
                        None => words::hint(name, self.tenants.iter().copied()),
                    };
                    item.fault(format!("there is no tenant {quoted}{hint}"));
                }
                None => {}
            }
        }
        granted
    }
}

/// Whether a text can be a name in a client certificate: a URI, which has a colon, or a DNS name, which has none.
fn is_certificate_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"*._-".contains(&byte);
    match name.split_once(':') {
        Some((scheme, rest)) => {
            let visible = name.len() <= URI_LEN_MAX && name.bytes().all(|byte| byte.is_ascii_graphic());
            visible && !scheme.is_empty() && !rest.is_empty()
        }
        None => name.len() <= DNS_NAME_LEN_MAX && name.bytes().all(letter),
    }
}

fn read_token_name(value: &ConfigValue<'_>) -> Option<String> {
    let name = value.text()?;
    // Operators paste the token itself here by mistake, so the text is not quoted.
    let fits = name.len() <= NAME_LEN_MAX && !name.chars().any(char::is_control);
    if fits { Some(name.to_owned()) } else { value.refuse("a token's name is at most 64 bytes on one line") }
}

/// Reads a list of scopes, or `[ "*" ]` for all of them.
fn read_scopes(value: &ConfigValue<'_>) -> Vec<Scope> {
    let items = value.items();
    if let [only] = items.as_slice()
        && only.is_text("*")
    {
        return Scope::ALL.to_vec();
    }
    let scopes = Scope::ALL.map(|scope| (scope.as_str(), scope));
    let mut allowed = Vec::with_capacity(items.len());
    for item in &items {
        if item.is_text("*") {
            item.fault("\"*\" stands for every scope and must stand alone");
            continue;
        }
        match item.choice(&scopes) {
            Some(scope) if allowed.contains(&scope) => item.fault("stands twice"),
            scope => allowed.extend(scope),
        }
    }
    allowed
}
