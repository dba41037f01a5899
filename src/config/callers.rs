//! `callers`: the internal programs, their tokens and their rights.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

use super::reader::{Section, Value, Zero};
use super::values::{BudgetLimit, CallerConfig, TenantConfig, TokenConfig, VendorKey};
use super::{budgets, digests, words};
use crate::operation::{BudgetName, Scope};
use crate::secret::TokenDigest;

/// The most a caller can weigh: its turns would otherwise crowd out everyone else's.
const WEIGHT_MAX: u32 = 1000;

/// The longest name of a caller or a token, in bytes.
const NAME_LEN_MAX: usize = 64;

/// The longest name of a client certificate that is a URI, in bytes: what SPIFFE allows.
const URI_LEN_MAX: usize = 2048;

/// The longest that is a DNS name.
const DNS_NAME_LEN_MAX: usize = 253;

/// What is known while the callers are read.
struct Known<'t> {
    tenants: &'t HashSet<&'t str>,
    /// Where each digest was first written.
    digests: HashMap<String, String>,
    /// The same of names of certificates.
    certificates: HashMap<String, String>,
    /// The tenants without faults, and what the callers so far keep of each key's budgets.
    budgets: &'t [TenantConfig],
    kept: HashMap<(VendorKey, BudgetName), u32>,
}

/// Reads the section.
pub(super) fn read(
    file: &mut Section<'_>,
    names: &[&str],
    budgets: &[TenantConfig],
) -> Option<Vec<CallerConfig>> {
    let tenants = &names.iter().copied().collect();
    let (digests, certificates, kept) = Default::default();
    let mut known = Known { tenants, digests, certificates, budgets, kept };
    let callers: Vec<_> = file
        .required("callers")?
        .named()
        .into_iter()
        .map(|(name, value)| known.caller(name, &value))
        .collect();
    callers.into_iter().collect()
}

impl Known<'_> {
    fn caller(&mut self, name: &str, value: &Value<'_>) -> Option<CallerConfig> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !matches!(name.len(), 1..=NAME_LEN_MAX) || !name.bytes().all(letter) {
            value.fault("a caller's name is 1 to 64 of A-Z, a-z, 0-9, dot, _ and -");
        }
        let mut section = value.section();
        let certificates = section.get("certificates").filter(|value| !value.is_empty_list());
        // One way to say who calls is enough.
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

    /// Reads `reserve`: calls kept for this caller in the budgets of its tenants, never more than there are.
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

    fn keep(&mut self, value: &Value<'_>, name: BudgetName, calls: u32, tenants: &[String]) {
        let mut limits: HashMap<&VendorKey, BudgetLimit> = HashMap::new();
        let mut complete = true;
        for granted in tenants {
            let Some(tenant) = self.budgets.iter().find(|tenant| tenant.name == *granted) else {
                complete = false;
                continue;
            };
            let keys = [Some(&tenant.app), tenant.dev.as_ref(), tenant.group.as_ref()].into_iter().flatten();
            limits.extend(keys.filter_map(|credential| Some((&credential.key, tenant.budgets.of(name)?))));
        }
        // Of tenants with faults nothing is known.
        if limits.is_empty() && complete && !tenants.is_empty() {
            value.fault("none of this caller's tenants has this budget");
        }
        let mut keys: Vec<_> = limits.into_iter().collect();
        keys.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let mut over = None;
        for (key, limit) in keys {
            let kept = self.kept.entry((key.clone(), name)).or_default();
            *kept = kept.saturating_add(calls);
            if *kept > limit.limit.get() {
                over = Some((*kept, limit.limit));
            }
        }
        if let Some((kept, limit)) = over {
            value.fault(format!("{kept} calls would be kept for callers, of {limit} that the budget has"));
        }
    }

    fn tokens(&mut self, value: &Value<'_>) -> Vec<TokenConfig> {
        let mut names = HashSet::new();
        let mut tokens = Vec::new();
        for (index, item) in value.items().iter().enumerate() {
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

    fn certificates(&mut self, value: &Value<'_>) -> Vec<String> {
        let mut names = Vec::new();
        for item in value.items() {
            let Some(name) = item.text() else { continue };
            if !is_certificate_name(name) {
                item.fault("expected a URI such as spiffe://corp/orders or a DNS name such as orders.corp");
                continue;
            }
            match self.certificates.insert(name.to_owned(), item.path().to_owned()) {
                Some(first) => {
                    item.fault(format!("the same name stands at {first}; it could not tell who calls"));
                }
                None => names.push(name.to_owned()),
            }
        }
        names
    }

    fn digest(&mut self, value: &Value<'_>) -> Option<TokenDigest> {
        let digest = digests::read(value)?;
        match self.digests.insert(digest.to_hex(), value.path().to_owned()) {
            Some(first) => {
                value.refuse(format!("the same token stands at {first}; it could not tell who calls"))
            }
            None => Some(digest),
        }
    }

    fn tenants(&self, value: &Value<'_>) -> Vec<String> {
        let mut granted = Vec::new();
        for item in value.items() {
            match item.text() {
                Some(name) if granted.iter().any(|known| known == name) => item.fault("stands twice"),
                Some(name) if self.tenants.contains(name) => granted.push(name.to_owned()),
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

/// A URI has a colon, a DNS name has none.
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

fn read_token_name(value: &Value<'_>) -> Option<String> {
    let name = value.text()?;
    // The name of a token is where someone pastes the token itself: it is not quoted.
    let fits = name.len() <= NAME_LEN_MAX && !name.chars().any(char::is_control);
    if fits { Some(name.to_owned()) } else { value.refuse("a token's name is at most 64 bytes on one line") }
}

/// Reads a list of scopes, or `[ "*" ]` for all of them.
fn read_scopes(value: &Value<'_>) -> Vec<Scope> {
    let items = value.items();
    if let [only] = items.as_slice()
        && only.is_text("*")
    {
        return Scope::ALL.to_vec();
    }
    let scopes = Scope::ALL.map(|scope| (scope.as_str(), scope));
    let mut allowed = Vec::new();
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
